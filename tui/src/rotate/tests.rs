//! One recording, in one file and in several.

use super::*;
use virtscope_analyzer::{Analyzer, CaptureEnd, Options, Report, RequestTotals};
use virtscope_captures::edit::{Combine, Source};
use virtscope_captures::{CaptureReader, ClockOffset, Item, Ledger, Origin, Selection, Totals};
use virtscope_record::{Add, Callback, FeatureBits, Layout, Notification, RingIndex, Used};

const QUEUE: QueueId = QueueId::new(1, 0);
const SIZE: u16 = 64;
const REQUESTS: u64 = 1200;
/// Requests under way at any moment.
const DEPTH: u64 = 5;

type Written = Vec<(Record, Vec<u8>)>;

/// Records of two CPUs and of the recorder, in the order in which they are written.
struct Story {
    records: Written,
    next: [u32; 3],
    /// Records of the first CPU that were lost, of which it tells at times.
    lost: u64,
}

impl Story {
    fn push(&mut self, at: u64, producer: usize, token: u64, flags: Flags, body: Body) {
        let who = [Producer::Cpu(0), Producer::Cpu(1), Producer::Recorder];
        let common = Common {
            time: Timestamp::from_nanos(1_000_000_000 + at),
            queue: QUEUE,
            producer: who[producer].id(),
            sequence: Sequence(self.next[producer]),
            token: virtscope_record::Token(token),
            flags,
            ..Common::default()
        };
        self.next[producer] += 1;
        let text: &[u8] = match body {
            Body::QueueFacts(_) => b"virtio1/requests\ndriver=virtio_blk",
            _ => b"",
        };
        self.records
            .push((Record::new(common, body), text.to_vec()));
    }

    fn statistics(&mut self, at: u64, is_final: bool) {
        for cpu in [0, 1] {
            let statistics = Statistics {
                about: Producer::Cpu(cpu).id(),
                is_final,
                missed: 0,
                emitted: self.next[usize::from(cpu)].into(),
                lost: if cpu == 0 { self.lost } else { 0 },
                filtered: 0,
            };
            self.push(at, 2, 0, Flags::empty(), Body::Statistics(statistics));
        }
    }

    /// As of CPUs that take the time and the number one way round, and write the other.
    fn disorder(&mut self) {
        for at in (3..self.records.len() - 8).step_by(7) {
            self.records.swap(at, at + 1);
        }
        for at in (30..self.records.len() - 60).step_by(101) {
            let late = self.records.remove(at);
            self.records.insert(at + 40, late);
        }
    }

    /// Another queue, of which is told when all of the first one has been written: its
    /// records were held until then, and all are of earlier moments.
    fn late_queue(&mut self) {
        let held: Written = self.records.clone();
        self.records.extend(held.into_iter().map(|(record, text)| {
            let queue = QueueId::new(2, 0);
            (record.of_queue(queue), text)
        }));
    }

    /// Requests that overlap; of some, if that is asked for, a record is lost.
    fn of(with_losses: bool) -> Self {
        let mut story = Self {
            records: Vec::new(),
            next: [0; 3],
            lost: 0,
        };
        let facts = QueueFacts {
            size: SIZE,
            device_type: 2,
            layout: Layout::Split,
            features: FeatureBits::VERSION_1,
            ..QueueFacts::default()
        };
        story.push(0, 0, 0, Flags::empty(), Body::QueueFacts(facts));
        for step in 0..REQUESTS + DEPTH {
            let at = 10_000 * (step + 1);
            if step < REQUESTS {
                let old = RingIndex(step as u16);
                let new = old.advance(1);
                let free = SIZE - 1 - step.min(DEPTH) as u16;
                let add = Add {
                    free,
                    head: (step % u64::from(SIZE)) as u16,
                    position: old,
                    descriptors: 1,
                    ..Add::default()
                };
                story.push(at, 0, step, Flags::empty(), Body::Add(add));
                let kick = Notification {
                    free,
                    old,
                    new,
                    ..Notification::default()
                };
                let flags = Flags::NOTIFICATION_NEEDED;
                story.push(at + 10, 0, 0, flags, Body::Kick(kick));
                if with_losses && step % 97 == 5 {
                    story.next[0] += 1;
                    story.lost += 1;
                }
            }
            if let Some(step) = step.checked_sub(DEPTH) {
                let old = RingIndex(step as u16);
                let new = old.advance(1);
                let callback = Callback {
                    used_index: new,
                    last_used: old,
                    ..Callback::default()
                };
                story.push(at + 20, 1, 0, Flags::empty(), Body::Callback(callback));
                let used = Used {
                    free: SIZE - DEPTH.min(REQUESTS - step) as u16,
                    head: (step % u64::from(SIZE)) as u16,
                    position: old,
                    used_index: new,
                    descriptors: 1,
                    ..Used::default()
                };
                story.push(at + 30, 1, step, Flags::empty(), Body::Used(used));
            }
            if step % 100 == 50 {
                story.statistics(at + 40, false);
            }
        }
        story.statistics(10_000 * (REQUESTS + DEPTH + 2), true);
        story
    }
}

fn info(recording: Option<u64>) -> CaptureInfo {
    CaptureInfo {
        recording,
        ..CaptureInfo::new(256, ClockOffset::new(1, 1))
    }
}

/// The first of several files.
fn begin(path: &Path, size: u64, count: Option<usize>) -> (Files, Option<CaptureWriter<Output>>) {
    let rotate = Rotate {
        path: path.to_owned(),
        size,
        count,
    };
    let output: Output = Box::new(create_file(path).unwrap());
    let writer = CaptureWriter::new(output, info(Some(77))).unwrap();
    (Files::new(rotate, info(Some(77))), Some(writer))
}

/// Writes the story into files; their names, the oldest first.
fn rotated(story: &Story, path: &Path, size: u64, count: Option<usize>) -> Vec<PathBuf> {
    let (mut files, mut writer) = begin(path, size, count);
    for (record, payload) in &story.records {
        let mut now = writer.take().unwrap();
        now.write(record, payload).unwrap();
        writer = Some(match files.note(record, payload, &now) {
            true => files.next(now).unwrap(),
            false => now,
        });
    }
    writer.unwrap().finish().unwrap();
    files.there.into()
}

fn analyzed(records: &Written) -> (Report, RequestTotals) {
    let mut analyzer = Analyzer::new(Options::default());
    for (record, payload) in records {
        analyzer.push(record, payload);
    }
    analyzer.finish();
    let requests = analyzer.request_totals();
    let report = analyzer.report(&CaptureEnd {
        snaplen: Some(256),
        ..CaptureEnd::default()
    });
    (report, requests)
}

fn read(path: &Path) -> (Written, Ledger) {
    let mut reader = CaptureReader::new(fs::File::open(path).unwrap()).unwrap();
    let mut ledger = Ledger::new(Selection::WHOLE);
    let mut records = Vec::new();
    loop {
        match reader.next_item().unwrap() {
            Item::Record(packet) => {
                ledger.observe(&packet.record);
                records.push((packet.record, packet.payload.to_vec()));
            }
            Item::End(end) => {
                assert!(end.is_complete(), "{}: {end}", path.display());
                return (records, ledger);
            }
            _ => {}
        }
    }
}

fn merged(paths: &[PathBuf], into: &Path) -> (Written, Ledger) {
    let source = |path: &PathBuf| {
        let reader = CaptureReader::new(fs::File::open(path).unwrap()).unwrap();
        (path.display().to_string(), Source::new(reader))
    };
    let combine = Combine::new(paths.iter().map(source).collect()).unwrap();
    let out = create_file(into).unwrap();
    let done = combine.write(out, Origin::default(), &|| false).unwrap();
    assert_eq!(done.duplicates, 0);
    read(into)
}

#[test]
fn merged_the_files_are_the_capture_that_one_would_have_been() {
    for (with_losses, in_disorder, size) in [
        (false, false, 16 << 10),
        (false, true, 16 << 10),
        (true, false, 40 << 10),
        (true, true, 23 << 10),
    ] {
        let mut story = Story::of(with_losses);
        if in_disorder {
            story.disorder();
        } else {
            story.late_queue();
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.pcapng");
        let mut paths = rotated(&story, &path, size, None);
        assert!(paths.len() > 4, "{paths:?}");
        let mut whole = Ledger::new(Selection::WHOLE);
        for (record, _) in &story.records {
            whole.observe(record);
        }
        let about = format!("losses: {with_losses}, disorder: {in_disorder}");
        assert!(whole.inconsistencies().is_empty(), "{about}");
        let each = |of: fn(&Totals) -> u64| -> u64 {
            let totals = paths.iter().map(|path| read(path).1.totals());
            totals.map(|totals| of(&totals)).sum()
        };
        assert_eq!(
            each(|totals| totals.stored),
            whole.totals().stored,
            "{about}"
        );
        // One that comes so late that nobody waited for it is lost to the file before.
        let late = each(|totals| totals.lost) - whole.totals().lost;
        assert!(late == 0 || with_losses && in_disorder, "{about}: {late}");
        // In whatever order they are named.
        for reversed in [false, true] {
            let (records, ledger) = merged(&paths, &folder.path().join("all"));
            assert!(records == story.records, "{about}, reversed: {reversed}");
            assert_eq!(ledger.totals(), whole.totals(), "{about}");
            assert_eq!(ledger.tail_known(), whole.tail_known(), "{about}");
            paths.reverse();
        }
        // And step by step.
        let (early, late) = paths.split_at(paths.len() / 2);
        let parts = [(early, "early"), (late, "late")].map(|(paths, name)| {
            let path = folder.path().join(name);
            merged(paths, &path);
            path
        });
        let (records, ledger) = merged(&parts, &folder.path().join("all"));
        assert!(records == story.records, "{about}, in two steps");
        assert_eq!(ledger.totals(), whole.totals(), "{about}");
    }
}

/// Of what stands in a file that is not there nothing is believed: its records are
/// neither lost nor is anything found missing for the want of them.
#[test]
fn a_file_that_is_not_there_is_a_hole_and_no_finding() {
    let story = Story::of(false);
    let folder = tempfile::tempdir().unwrap();
    let mut paths = rotated(&story, &folder.path().join("x.pcapng"), 64 << 10, None);
    let missing = read(&paths.remove(2)).1.totals().stored;
    let (records, ledger) = merged(&paths, &folder.path().join("all"));
    let totals = ledger.totals();
    assert_eq!(totals.emitted, story.records.len() as u64);
    assert_eq!(totals.stored, totals.emitted - missing);
    assert_eq!((totals.lost, totals.filtered), (0, missing));
    assert!(ledger.inconsistencies().is_empty() && ledger.tail_known());
    let (report, requests) = analyzed(&records);
    assert!(report.findings.is_empty(), "{report}");
    assert!(
        (2 * DEPTH..=3 * DEPTH).contains(&requests.incomplete),
        "{requests:?}"
    );
}

#[test]
fn a_full_disk_ends_it_and_what_was_written_stands() {
    let story = Story::of(false);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.pcapng");
    std::os::unix::fs::symlink("/dev/full", folder.path().join("x.pcapng.2")).unwrap();
    let (mut files, mut writer) = begin(&path, 64 << 10, None);
    let error = story.records.iter().find_map(|(record, payload)| {
        writer.as_mut()?.write(record, payload).unwrap();
        if files.note(record, payload, writer.as_ref()?) {
            match files.next(writer.take()?) {
                Ok(next) => writer = Some(next),
                Err(error) => return Some(error.after(files.before())),
            }
        }
        None
    });
    // It may also be told by the first look, in which case it is the writer's word.
    let error = match (error, writer) {
        (Some(error), _) => error,
        (None, Some(writer)) => writer.finish().unwrap_err().after(files.before()),
        (None, None) => panic!("it ended without an error"),
    };
    let standing: u64 = ["x.pcapng", "x.pcapng.1"]
        .iter()
        .map(|name| fs::metadata(folder.path().join(name)).unwrap().len())
        .sum();
    let expected = format!(
        "the disk is full: the capture ends after {standing} bytes, which can be read; free \
         some space or write elsewhere"
    );
    assert_eq!(error.to_string(), expected);
    for name in ["x.pcapng", "x.pcapng.1"] {
        assert!(read(&folder.path().join(name)).1.tail_known());
    }
}

/// Of many buffers in flight a file begins with much: it has as much of its own too.
#[test]
fn a_file_has_more_than_its_beginning() {
    let mut story = Story::of(false);
    let (facts, text) = story.records[0].clone();
    for queue in 2..200 {
        let common = Common {
            queue: QueueId::new(queue, 0),
            ..facts.common()
        };
        let record = Record::new(common, facts.body().unwrap());
        story.records.insert(1, (record, text.clone()));
    }
    let folder = tempfile::tempdir().unwrap();
    let paths = rotated(&story, &folder.path().join("x.pcapng"), 16 << 10, None);
    for (path, is_last) in paths
        .iter()
        .zip((1..=paths.len()).map(|at| at == paths.len()))
    {
        let records = read(path).0;
        let repeated = |(record, _): &&(Record, Vec<u8>)| record.flags().contains(Flags::REPEATED);
        let again = records.iter().filter(repeated).count();
        assert!(
            is_last || 4 * (records.len() - again) > again,
            "{} of {again}",
            records.len()
        );
    }
}

#[test]
fn each_file_is_whole_and_nothing_is_found_wrong_in_it() {
    let story = Story::of(false);
    let folder = tempfile::tempdir().unwrap();
    let paths = rotated(&story, &folder.path().join("x.pcapng"), 64 << 10, None);
    for (number, path) in paths.iter().enumerate() {
        let (records, ledger) = read(path);
        let totals = ledger.totals();
        assert_eq!(totals.lost, 0, "{}: {totals:?}", path.display());
        assert!(ledger.tail_known() && ledger.inconsistencies().is_empty());
        let (report, requests) = analyzed(&records);
        let begun_before = if number == 0 { 0 } else { DEPTH };
        assert!(
            requests.incomplete.abs_diff(begun_before) <= 1,
            "{}: {requests:?}",
            path.display()
        );
        assert!(report.findings.is_empty(), "{}: {report}", path.display());
    }
}

#[test]
fn the_oldest_are_deleted_and_what_is_left_merges() {
    let story = Story::of(false);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.pcapng");
    let paths = rotated(&story, &path, 64 << 10, Some(2));
    assert_eq!(paths.len(), 2);
    assert!(!path.exists() && paths.iter().all(|path| path.exists()));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    let (records, ledger) = merged(&paths, &folder.path().join("all"));
    let numbered = records
        .iter()
        .filter(|(record, _)| !record.flags().contains(Flags::REPEATED));
    let numbered: Vec<_> = numbered.cloned().collect();
    assert!(story.records.ends_with(&numbered) && !numbered.is_empty());
    let totals = ledger.totals();
    assert_eq!(totals.stored, numbered.len() as u64);
    assert_eq!(
        (totals.lost, totals.emitted),
        (0, story.records.len() as u64)
    );
}

#[test]
fn of_a_file_into_which_nothing_came_nothing_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.pcapng");
    let rotate = Rotate {
        path: path.clone(),
        size: 1 << 20,
        count: None,
    };
    let mut files = Files::new(rotate, CaptureInfo::new(0, ClockOffset::measure()));
    fs::write(&path, "").unwrap();
    files.give_up();
    assert!(
        path.exists(),
        "the first one was there before anything was written"
    );
    let second = folder.path().join("x.pcapng.1");
    files.number = 1;
    files.there.push_back(second.clone());
    fs::write(&second, "something").unwrap();
    files.give_up();
    assert!(second.exists());
    fs::write(&second, "").unwrap();
    files.give_up();
    assert!(path.exists() && !second.exists());
}
