//! Probes found and watched in programs of every kind, on the kernel that runs.
//!
//! The programs are compiled here, from `programs/probes.c`, by the compiler that Rust
//! links with. What needs privileges is left out without them.

#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rstest::rstest;
use virtscope_record::{FORMAT_VERSION, Flags, QueueId};
use virtscope_tracer::usdt::{Target, UsdtError, UsdtOptions, UsdtTracer};

/// Compiles the program, with these options, as `name`.
fn compile(dir: &Path, name: &str, version: u32, options: &[&str]) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs/probes.c");
    let to = dir.join(name);
    let done = Command::new("cc")
        .arg(format!("-DVERSION=\"{version}\""))
        .args(["-O1", "-pthread", "-o"])
        .arg(&to)
        .args(options)
        .arg(&source)
        .status()
        .unwrap();
    assert!(done.success(), "cc {options:?}: {done}");
    to
}

fn may_trace() -> bool {
    let may = virtscope_tracer::trace::missing_privileges().0.is_empty();
    if !may {
        eprintln!("SKIPPED: watching probes needs root");
    }
    may
}

/// A process that is ended, whatever comes.
struct Process(Child);

impl Process {
    fn start(program: &Path, count: usize) -> Self {
        let child = Command::new(program)
            .arg(count.to_string())
            .stdin(Stdio::null())
            .spawn();
        Self(child.unwrap())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What came of each queue: sequence and payload of each record.
type Seen = BTreeMap<QueueId, Vec<(u32, Vec<u8>, Flags)>>;

/// Traces until `enough` says so, and a look longer.
fn collect(tracer: &mut UsdtTracer, mut enough: impl FnMut(&UsdtTracer, &Seen) -> bool) -> Seen {
    let mut seen = Seen::new();
    let end = Instant::now() + Duration::from_secs(60);
    let mut more = 3;
    while more > 0 {
        assert!(Instant::now() < end, "the records do not come");
        tracer.begun();
        tracer.drain(|record, payload| {
            seen.entry(record.queue()).or_default().push((
                record.sequence().0,
                payload.to_vec(),
                record.flags(),
            ));
        });
        if enough(tracer, &seen) {
            more -= 1;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    seen
}

fn content(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n as u8).wrapping_mul(7)).collect()
}

#[rstest]
#[case::position_independent("pie", &["-pie", "-fPIE"])]
#[case::at_a_fixed_address("fixed", &["-no-pie", "-fno-pie"])]
#[case::stripped("stripped", &["-pie", "-fPIE", "-s"])]
#[timeout(Duration::from_secs(120))]
fn every_record_comes_whole_and_the_process_may_end(#[case] name: &str, #[case] options: &[&str]) {
    if !may_trace() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let program = compile(dir.path(), name, FORMAT_VERSION.into(), options);
    const COUNT: usize = 2_000;
    let process = Process::start(&program, COUNT);
    let target = Target::Process(process.0.id());
    let options = UsdtOptions {
        snaplen: 20_000,
        buffer_bytes: 1 << 27,
        ..UsdtOptions::default()
    };
    let mut tracer = UsdtTracer::start(&target, &options).unwrap();
    let seen = collect(&mut tracer, |tracer, _| tracer.process_ended());
    let mut told: Vec<_> = tracer.queues().into_iter().map(|told| told.text).collect();
    told.dedup();
    assert_eq!(told, ["virtio0/made-up"]);
    assert_eq!(seen.len(), 2);
    for records in seen.values() {
        assert_eq!(records.len(), COUNT);
        for (n, (sequence, payload, flags)) in records.iter().enumerate() {
            assert_eq!(*sequence as usize, n);
            // The largest room there is.
            assert!(
                *payload == content((997 * n % 20_000).min(16384)),
                "record {n}"
            );
            assert_eq!(*flags, Flags::empty());
        }
    }
    for counters in tracer.counters() {
        assert_eq!((counters.emitted, counters.lost), (COUNT as u64, 0));
    }
    assert_eq!(tracer.unreadable(), 0);
}

/// A buffer of one page holds next to nothing: what it had no room for is counted, for
/// each producer, to the last one.
#[rstest]
#[timeout(Duration::from_secs(120))]
fn what_the_buffer_had_no_room_for_is_counted_exactly() {
    if !may_trace() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let program = compile(dir.path(), "p", FORMAT_VERSION.into(), &[]);
    const COUNT: usize = 20_000;
    let process = Process::start(&program, COUNT);
    let options = UsdtOptions {
        snaplen: 64,
        buffer_bytes: 4096,
        ..UsdtOptions::default()
    };
    let mut tracer = UsdtTracer::start(&Target::Process(process.0.id()), &options).unwrap();
    let seen = collect(&mut tracer, |tracer, _| tracer.process_ended());
    let counters = tracer.counters();
    assert_eq!(counters.len(), 2);
    for counters in counters {
        let stored = seen.get(&counters.queue).map_or(0, Vec::len) as u64;
        assert_eq!(counters.emitted, COUNT as u64);
        assert_eq!(counters.emitted, stored + counters.lost + counters.filtered);
        assert!(counters.lost > 0);
    }
    let cost = tracer.cost();
    assert!(
        cost.most_waiting > 0 && cost.most_waiting <= 4096,
        "{cost:?}"
    );
}

/// Two processes of one program: their queues have the same numbers, and stay apart.
#[rstest]
#[timeout(Duration::from_secs(120))]
fn a_program_is_traced_whenever_it_runs() {
    if !may_trace() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let program = compile(dir.path(), "p", FORMAT_VERSION.into(), &[]);
    let mut tracer =
        UsdtTracer::start(&Target::Program(program.clone()), &UsdtOptions::default()).unwrap();
    let _first = Process::start(&program, 100);
    let _second = Process::start(&program, 100);
    let seen = collect(&mut tracer, |_, seen| {
        seen.len() == 4 && seen.values().all(|records| records.len() == 100)
    });
    assert_eq!(
        seen.keys().map(ToString::to_string).collect::<Vec<_>>(),
        ["virtio0.0", "virtio0.1", "virtio1.0", "virtio1.1"]
    );
    let told = tracer.queues();
    assert!(told.iter().all(|told| told.text.contains("\nprocess=")));
}

#[test]
fn programs_without_probes_say_what_is_the_matter() {
    let dir = tempfile::tempdir().unwrap();
    let text = |target: Target| target.probes().unwrap_err().to_string();
    let program = |path: PathBuf| text(Target::Program(path));

    let gone = program(dir.path().join("none"));
    assert!(gone.contains("No such file"), "{gone}");

    let script = dir.path().join("script");
    std::fs::write(&script, "#!/bin/sh\n").unwrap();
    let script = program(script);
    assert!(script.contains("no 64-bit ELF program"), "{script}");

    let other = program("/proc/self/exe".into());
    assert!(other.contains("no probes of provider"), "{other}");
    let process = text(Target::Process(std::process::id()));
    assert!(
        process.contains("leave --pid and --program out"),
        "{process}"
    );

    let folder = program(dir.path().to_owned());
    assert!(folder.contains("it is no file"), "{folder}");

    let good = compile(dir.path(), "good", FORMAT_VERSION.into(), &[]);
    let found = Target::Program(good.clone()).probes().unwrap();
    let names: Vec<_> = found[0]
        .notes
        .iter()
        .map(|note| note.name.as_str())
        .collect();
    assert_eq!(names, ["queue", "record"]);
    assert!(found[0].notes.iter().all(|note| note.semaphore.is_some()));

    let bare = dir.path().join("bare");
    let done = Command::new("objcopy")
        .args(["--remove-section", ".note.stapsdt"])
        .args([&good, &bare])
        .status()
        .unwrap();
    assert!(done.success());
    let bare = program(bare);
    assert!(bare.contains(".note.stapsdt"), "{bare}");

    // Without section headers: what `sstrip` leaves.
    let mut bytes = std::fs::read(&good).unwrap();
    bytes[40..48].fill(0);
    bytes[58..64].fill(0);
    let headless = dir.path().join("headless");
    std::fs::write(&headless, bytes).unwrap();
    let headless = program(headless);
    assert!(
        headless.contains("stripped of its section headers"),
        "{headless}"
    );

    let newer = compile(dir.path(), "newer", u32::from(FORMAT_VERSION) + 1, &[]);
    let error = Target::Program(newer).probes().unwrap_err();
    assert!(matches!(error, UsdtError::Version { .. }), "{error}");
}
