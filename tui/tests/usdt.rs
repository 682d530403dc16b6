//! `--pid`: a process's records as another one takes them at its probes, held against
//! those it records itself; and that the process is left as it was.
//!
//! What needs privileges is left out without them.

#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

#[path = "common/program.rs"]
mod program;
#[path = "usdt/rotate.rs"]
mod rotate;

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use program::*;
use rstest::rstest;
use rustix::process::Signal;
use virtscope_captures::{CaptureReader, End, Item, Ledger, Selection, Totals};
use virtscope_record::{Body, Producer, ProducerId, QueueFacts, QueueId};

fn may_trace() -> bool {
    let may = virtscope_tracer::trace::missing_privileges().0.is_empty();
    if !may {
        println!("SKIPPED: watching probes needs root");
    }
    may
}

/// A record's queue, producer and number.
type Key = (QueueId, ProducerId, u32);

/// A capture, record by record.
struct Capture {
    /// The 64 bytes, and the payload.
    records: BTreeMap<Key, (Vec<u8>, Vec<u8>)>,
    /// By queue: what it is, and its text.
    facts: BTreeMap<QueueId, (QueueFacts, Vec<u8>)>,
    totals: Totals,
}

fn read(path: &Path) -> Capture {
    let mut reader = CaptureReader::new(File::open(path).unwrap()).unwrap();
    let mut ledger = Ledger::new(Selection::WHOLE);
    let (mut records, mut facts) = (BTreeMap::new(), BTreeMap::new());
    loop {
        match reader.next_item().unwrap() {
            Item::Record(packet) => {
                let record = packet.record;
                ledger.observe(&record);
                if let Ok(Body::QueueFacts(body)) = record.body() {
                    facts.insert(record.queue(), (body, packet.payload.to_vec()));
                }
                if record.producer() != Producer::Recorder {
                    let key = (record.queue(), record.producer().id(), record.sequence().0);
                    let bytes = (record.as_bytes().to_vec(), packet.payload.to_vec());
                    assert!(records.insert(key, bytes).is_none(), "{key:?} twice");
                }
            }
            Item::Corrupt { problem, .. } => panic!("{problem}"),
            Item::End(end) => {
                assert_eq!(end, End::Complete);
                break;
            }
            _ => {}
        }
    }
    assert!(ledger.tail_known());
    let found = ledger.inconsistencies();
    assert!(found.is_empty(), "{found}");
    Capture {
        records,
        facts,
        totals: ledger.totals(),
    }
}

/// How many watch the program of this process, by its semaphore.
fn watchers(pid: u32) -> u16 {
    use virtscope_tracer::usdt::Target;
    let probes = Target::Process(pid).probes().unwrap();
    let place = probes[0].notes[0].semaphore.unwrap();
    // Where the file's page with the semaphore is mapped.
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let program = std::fs::read_link(format!("/proc/{pid}/exe")).unwrap();
    let address = maps.lines().find_map(|line| {
        let mut fields = line.split_whitespace();
        let (range, permissions, offset) = (fields.next()?, fields.next()?, fields.next()?);
        let (from, to) = range.split_once('-')?;
        let number = |text| u64::from_str_radix(text, 16).ok();
        let (from, to, offset) = (number(from)?, number(to)?, number(offset)?);
        let within = place.checked_sub(offset)?;
        let is_it = line.ends_with(program.to_str()?)
            && permissions.starts_with("rw")
            && within < to - from;
        is_it.then_some(from + within)
    });
    let mut count = [0; 2];
    File::open(format!("/proc/{pid}/mem"))
        .unwrap()
        .read_exact_at(&mut count, address.expect("the semaphore is mapped"))
        .unwrap();
    u16::from_le_bytes(count)
}

fn trace(pid: u32) -> std::process::Command {
    virtscope(["trace", "--pid", &pid.to_string()])
}

#[rstest]
#[timeout(Duration::from_secs(300))]
fn both_have_the_same_records_byte_for_byte() {
    if !may_trace() {
        return;
    }
    let (tree, dir) = (tree(), tempfile::tempdir().unwrap());
    let [inside, outside] = ["inside.pcapng", "outside.pcapng"].map(|name| dir.path().join(name));
    let demo = Running::start(demo(tree.path()).arg("-w").arg(&inside));
    wait_until("the demo is at work", || {
        std::fs::metadata(&inside).is_ok_and(|file| file.len() > 100_000)
    });
    let pid = demo.child.id();
    let traced = Running::start(trace(pid).arg("-w").arg(&outside));
    wait_until("there are records", || {
        std::fs::metadata(&outside).is_ok_and(|file| file.len() > 500_000)
    });
    assert_eq!(watchers(pid), 2, "one for each probe");
    // It ends with the process.
    demo.signal(Signal::INT);
    demo.end().assert_clean();
    let traced = traced.end();
    assert_eq!(traced.code, Some(0), "{}", traced.stderr);
    assert!(
        traced.stderr.contains("the process has ended"),
        "{}",
        traced.stderr
    );
    let last = traced.text().lines().last().unwrap();
    assert!(
        last.starts_with("Tracing: ") && last.contains(" runs, "),
        "{last}"
    );

    let (inside, outside) = (read(&inside), read(&outside));
    assert_eq!(inside.facts.len(), 2);
    assert_eq!(inside.facts, outside.facts);
    assert!(outside.records.len() > 1000);
    for (key, record) in &outside.records {
        if let Some(own) = inside.records.get(key) {
            assert_eq!(own, record, "{key:?}");
        }
    }
    // What one has of the time that both were there and the other has not was lost there.
    let Totals {
        emitted,
        stored,
        lost,
        filtered,
        missed,
    } = outside.totals;
    assert_eq!((emitted, missed), (stored + lost + filtered, 0));
    let strange = outside
        .records
        .keys()
        .filter(|key| !inside.records.contains_key(key));
    assert!(strange.count() as u64 <= inside.totals.lost);
    let mut first = BTreeMap::new();
    for (queue, producer, sequence) in outside.records.keys() {
        first.entry((*queue, *producer)).or_insert(*sequence);
    }
    let after = |key: &&Key| {
        first
            .get(&(key.0, key.1))
            .is_some_and(|first| key.2 >= *first)
    };
    let unseen = inside.records.keys().filter(after);
    let unseen = unseen.filter(|key| !outside.records.contains_key(key));
    assert!(unseen.count() as u64 <= lost);
    // What was made before is neither lost nor forgotten.
    let before: u64 = first.values().map(|first| u64::from(*first)).sum();
    assert!(filtered > 0 && filtered <= before, "{filtered} of {before}");
}

#[rstest]
#[timeout(Duration::from_secs(300))]
fn a_process_is_left_as_it_was_however_the_tracer_ends() {
    if !may_trace() {
        return;
    }
    let (tree, dir) = (tree(), tempfile::tempdir().unwrap());
    let demo = Running::start(&mut demo(tree.path()));
    let pid = demo.child.id();
    for (name, signal) in [("int", Signal::INT), ("kill", Signal::KILL)] {
        let path = dir.path().join(name);
        wait_until("the demo can be looked at", || {
            std::fs::read_to_string(format!("/proc/{pid}/maps")).is_ok_and(|maps| !maps.is_empty())
        });
        assert_eq!(watchers(pid), 0);
        let traced = Running::start(trace(pid).arg("-w").arg(&path));
        wait_until("there are records", || {
            std::fs::metadata(&path).is_ok_and(|file| file.len() > 50_000)
        });
        assert_eq!(watchers(pid), 2);
        traced.signal(signal);
        let ended = traced.end();
        assert_eq!(
            ended.code,
            (signal == Signal::INT).then_some(0),
            "{ended:?}"
        );
        wait_until("nobody is counted any more", || watchers(pid) == 0);
    }
    demo.signal(Signal::INT);
    demo.end().assert_clean();
}

#[rstest]
#[timeout(Duration::from_secs(300))]
fn what_ends_a_capture_of_the_kernel_ends_one_of_a_process() {
    if !may_trace() {
        return;
    }
    let (tree, dir) = (tree(), tempfile::tempdir().unwrap());
    let demo = Running::start(&mut demo(tree.path()));
    let pid = demo.child.id();
    let path = dir.path().join("x.pcapng");
    let ends: [&[&str]; 4] = [
        &["-c", "20"],
        &["--duration", "500ms"],
        &["--max-size", "100K"],
        &["--", "sleep", "0.5"],
    ];
    for end in ends {
        let ended = run(trace(pid).arg("-w").arg(&path).args(end));
        ended.assert_clean();
        let capture = read(&path);
        assert_eq!(capture.facts.len(), 2, "{end:?}");
        assert!(!capture.records.is_empty(), "{end:?}");
    }
    // One queue alone, and nothing of its buffers.
    run(trace(pid)
        .arg("-w")
        .arg(&path)
        .args(["-d", "virtio1", "--payload", "none", "-c", "5"]))
    .assert_clean();
    let capture = read(&path);
    let queue = QueueId::new(1, 0);
    assert!(capture.records.keys().all(|(of, _, _)| *of == queue));
    assert!(
        capture
            .records
            .values()
            .all(|(_, payload)| payload.is_empty())
    );
    let (_, text) = &capture.facts[&queue];
    assert!(
        text.starts_with(b"virtio1/requests\n"),
        "facts are never cut"
    );

    // The same as lines, and of the other queue.
    let ended = run(&mut virtscope([
        "stat",
        "0.5",
        "2",
        "--pid",
        &pid.to_string(),
    ]));
    let text = ended.assert_clean().text();
    assert!(text.contains("LOST MISSED"), "{text}");
    assert!(text.contains("virtio0/requests"), "{text}");
    // A heading, and of each queue as many lines as were asked for, none after that.
    assert_eq!(text.lines().count(), 5, "{text}");
    let last = text.lines().next_back().unwrap_or_default();
    assert!(last.trim_start().starts_with("1.0 "), "{text}");
    demo.signal(Signal::INT);
    demo.end().assert_clean();
}

#[test]
fn what_cannot_be_traced_says_why_and_what_to_do() {
    let refused = |arguments: &[&str], hints: &[&str]| {
        run(&mut virtscope(arguments)).assert_refused(hints);
    };
    refused(
        &["trace", "--pid", "4000000000"],
        &["no process", "--program"],
    );
    refused(&["stat", "--pid", "4000000000"], &["no process"]);
    let own = std::process::id().to_string();
    refused(
        &["trace", "--program", "/bin/sh"],
        &["no probes", "leave --pid and --program out"],
    );
    refused(
        &["trace", "--program", "/etc/passwd"],
        &["no 64-bit ELF program"],
    );
    refused(
        &["trace", "--program", "/none"],
        &["cannot read", "No such file"],
    );

    let conflict = |arguments: &[&str], reason: &str| {
        let ended = run(virtscope(["trace", "--pid", &own]).args(arguments));
        assert_eq!(ended.code, Some(2));
        assert!(ended.stderr.contains(reason), "{}", ended.stderr);
    };
    conflict(&["--driver", "virtio_blk"], "the reference driver alone");
    conflict(&["--task", "1"], "already whose records are wanted");
    conflict(&["--sample", "10"], "every record");
    conflict(&["--payload", "headers"], "--payload none");
    conflict(&["--program", "/bin/sh"], "cannot be used with");
}
