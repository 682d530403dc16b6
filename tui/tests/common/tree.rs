//! A generated tree of files, and a demo that works on it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use virtscope::demo::{DemoOptions, MSIZE, MountOptions, Running, Summary, Witness};
use virtscope_device::fault::Faults;
use virtscope_device::p9::Delay;
use virtscope_driver::ring::QueueSize;
use virtscope_record::FeatureBits;

/// Directories and files of all sorts of names and sizes below `root`; the
/// files' contents by path.
pub(crate) fn generate(root: &Path) -> BTreeMap<Vec<Vec<u8>>, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut byte = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    let directories = [
        "",
        "plain",
        "with space",
        "plain/deep",
        "plain/deep/deeper",
        "ümläut",
    ];
    for directory in directories {
        fs::create_dir_all(root.join(directory)).unwrap();
        // Around the sizes where a page, a message and a batch end.
        for size in [0, 1, 4095, 4096, 32_757, 32_758, 100_000, 400_000] {
            let name = format!("file of {size}");
            let content: Vec<u8> = (0..size).map(|_| byte()).collect();
            fs::write(root.join(directory).join(&name), &content).unwrap();
            let path = directory
                .split('/')
                .filter(|part| !part.is_empty())
                .chain([&name[..]])
                .map(|part| part.as_bytes().to_vec())
                .collect();
            files.insert(path, content);
        }
    }
    // Things that are listed and not read.
    std::os::unix::fs::symlink("/etc/passwd", root.join("link")).unwrap();
    fs::create_dir(root.join("empty")).unwrap();
    files
}

/// Compares what the demo read through the ring with what is on disk.
pub(crate) struct Comparison<'a> {
    files: &'a BTreeMap<Vec<Vec<u8>>, Vec<u8>>,
    seen: Mutex<BTreeSet<Vec<Vec<u8>>>>,
}

impl<'a> Comparison<'a> {
    pub(crate) fn with(files: &'a BTreeMap<Vec<Vec<u8>>, Vec<u8>>) -> Self {
        Self {
            files,
            seen: Mutex::default(),
        }
    }

    /// Whether every file was read at least once.
    pub(crate) fn is_complete(&self) -> bool {
        self.seen.lock().unwrap().len() == self.files.len()
    }
}

impl Witness for Comparison<'_> {
    fn file_read(&self, path: &[Vec<u8>], content: &[u8]) {
        let expected = self.files.get(path).expect("a file that was generated");
        assert_eq!(content.len(), expected.len(), "{path:?}");
        assert!(content == expected, "{path:?} was read wrongly");
        self.seen.lock().unwrap().insert(path.to_vec());
    }
}

/// A demo on `root`.
pub(crate) fn options(root: &Path) -> DemoOptions {
    DemoOptions {
        directory: root.to_owned(),
        mount: MountOptions {
            queue_size: QueueSize::new(128).unwrap(),
            features: FeatureBits::EVENT_IDX,
            delay: Delay::none(),
            faults: Faults::none(),
            msize: MSIZE,
        },
        snaplen: 256,
        ring_bytes: 4 << 20,
        rate: 20_000,
        readers: 6,
        writers: 2,
    }
}

/// Ends a demo when `enough` says so, after `least`; a minute is the end in any
/// case.
pub(crate) fn until(running: &Running<'_>, least: Duration, enough: impl Fn() -> bool) {
    let began = Instant::now();
    while !running.stop.load(Ordering::Acquire) && began.elapsed() < Duration::from_secs(60) {
        if began.elapsed() >= least && enough() {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Nothing went wrong on the way.
pub(crate) fn assert_sound(summary: &Summary) {
    assert!(summary.trouble.is_none(), "{:?}", summary.trouble);
    assert!(summary.recorded.failure.is_none());
}
