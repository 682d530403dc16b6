//! The commands as their users type them: exit codes, standard output, standard
//! error, and that all of them say the same of one run.

#[path = "common/program.rs"]
mod program;

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use program::*;
use rstest::rstest;
use rustix::process::Signal;
use serde_json::Value;
use virtscope_captures::{CaptureReader, Item};
use virtscope_record::Kind;

#[rstest]
#[case("virtscope", &["--help"])]
#[case("short", &["-h"])]
#[case("demo", &["demo", "--help"])]
#[case("trace", &["trace", "--help"])]
#[case("view", &["view", "--help"])]
#[case("report", &["report", "--help"])]
#[case("print", &["print", "--help"])]
#[case("list", &["list", "--help"])]
#[case("inspect", &["inspect", "--help"])]
#[case("stat", &["stat", "--help"])]
#[case("doctor", &["doctor", "--help"])]
#[case("diff", &["diff", "--help"])]
#[case("merge", &["merge", "--help"])]
#[case("slice", &["slice", "--help"])]
#[case("redact", &["redact", "--help"])]
#[case("export", &["export", "--help"])]
fn help(#[case] name: &str, #[case] arguments: &[&str]) {
    let ended = run(&mut virtscope(arguments));
    let text = ended.assert_clean().text();
    assert!(text.lines().all(|line| line.chars().count() <= 100));
    insta::assert_snapshot!(format!("help_{name}"), text);
}

#[test]
fn version() {
    let ended = run(&mut virtscope(["--version"]));
    let expected = format!("virtscope {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(ended.assert_clean().text(), expected);
}

#[test]
fn demo_off_the_terminal_reports_and_leaves_nothing_behind() {
    let tree = tree();
    let scratch = tempfile::tempdir().unwrap();
    let mut command = virtscope(["demo", "--duration", "2s"]);
    let ended = run(command.arg(tree.path()).env("TMPDIR", scratch.path()));
    let text = ended.assert_clean().text();
    let summary = Summary::of(text);
    assert!(summary.completed > 100, "{text}");
    assert_eq!((summary.incomplete, summary.in_flight), (0, 0), "{text}");
    for expected in [
        "virtio0/requests",
        "tag root",
        "virtio1/requests",
        "tag scratch",
    ] {
        assert!(text.contains(expected), "no {expected:?} in\n{text}");
    }
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0);
}

#[test]
fn without_a_directory_it_is_the_current_one() {
    let tree = tree();
    let capture = tempfile::tempdir().unwrap();
    let path = capture.path().join("x.pcapng");
    let mut command = virtscope(["demo", "--duration", "5m"]);
    record(command.current_dir(tree.path()), &path, 1 << 20).assert_clean();
    let printed = run(virtscope(["print"]).arg(&path));
    let text = printed.assert_clean().text();
    assert!(text.contains("walk /docs"), "{text}");
}

/// The first lines of a report.
#[derive(Debug, PartialEq, Eq)]
struct Summary {
    completed: u64,
    incomplete: u64,
    in_flight: u64,
    stored: u64,
}

impl Summary {
    fn of(text: &str) -> Self {
        let line = |label: &str| {
            let found = text.lines().find_map(|line| line.strip_prefix(label));
            found.unwrap_or_else(|| panic!("no {label} in\n{text}"))
        };
        let before = |line: &str, word: &str| {
            let (before, _) = line.split_once(word).unwrap();
            let number = before.split(' ').rfind(|part| !part.is_empty()).unwrap();
            number.parse().unwrap()
        };
        let requests = line("Requests");
        Self {
            completed: before(requests, "completed"),
            incomplete: before(requests, "incomplete"),
            in_flight: before(requests, "in flight"),
            stored: before(line("Seen"), "records"),
        }
    }

    fn of_json(report: &Value) -> Self {
        Self {
            completed: number(report, "/requests/completed"),
            incomplete: number(report, "/requests/incomplete"),
            in_flight: number(report, "/requests/in_flight"),
            stored: number(report, "/records/stored"),
        }
    }
}

/// The sum of a number over all elements of a list in a report.
fn sum(report: &Value, list: &str, pointer: &str) -> u64 {
    let list = report[list].as_array().unwrap();
    list.iter().map(|element| number(element, pointer)).sum()
}

#[test]
fn a_capture_tells_what_the_demo_told() {
    let tree = tree();
    let path = tree.path().join("x.pcapng");
    let live = record(&mut demo(tree.path()), &path, 1 << 20);
    let live = live.assert_clean().text();
    let report = whole(&path);
    let text = run(virtscope(["report"]).arg(&path));

    assert_eq!(text.assert_clean().text(), live);
    assert_eq!(Summary::of(live), Summary::of_json(&report));
    assert_eq!(number(&report, "/records/lost"), 0);

    let completed = number(&report, "/requests/completed");
    let stored = number(&report, "/records/stored");
    assert_eq!(sum(&report, "queues", "/requests/completed"), completed);
    assert_eq!(sum(&report, "queues", "/records/stored"), stored);
    assert_eq!(sum(&report, "operations", "/completed"), completed);

    let requests = run(virtscope(["print"]).arg(&path));
    let lines: Vec<_> = requests.assert_clean().text().lines().collect();
    assert_eq!(lines.len() as u64, completed);
    let version = lines
        .iter()
        .find(|line| line.contains("version 9P2000.L"))
        .expect("a mount begins with Tversion");
    assert!(version.contains("→ 9P2000.L msize"), "{version}");

    let records = run(virtscope(["print", "--records", "--width=0"]).arg(&path));
    let lines: Vec<_> = records.assert_clean().text().lines().collect();
    assert_eq!(lines.len() as u64, stored);
    assert!(lines[0].contains("queue facts"), "{}", lines[0]);
    let last = lines.last().unwrap();
    assert!(
        last.contains("statistics") && last.ends_with("final"),
        "{last}"
    );

    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "a capture is its owner's alone");
    assert_eq!(packets_by_capinfos(&path).unwrap_or(stored), stored);
}

/// How many packets `capinfos` counts, and that it names all interfaces; `None`
/// if it is not installed and that is allowed.
fn packets_by_capinfos(path: &Path) -> Option<u64> {
    if !is_there("capinfos", "tshark") {
        return None;
    }
    let ended = run(piped(Command::new("capinfos").arg("-M").arg(path)));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let text = ended.text();
    for name in ["virtio0/requests", "virtio1/requests"] {
        assert!(text.contains(&format!("Name = {name}")), "{text}");
    }
    let packets = text
        .lines()
        .find_map(|line| line.strip_prefix("Number of packets:"))
        .unwrap_or_else(|| panic!("no packet count in\n{text}"));
    Some(packets.trim().parse().unwrap())
}

#[test]
fn the_demo_without_a_command_is_the_demo() {
    // It would run for ten seconds: a signal is the other way to end it.
    let tree = tree();
    let temporary = tempfile::tempdir().unwrap();
    let mut command = virtscope([""; 0]);
    command.current_dir(tree.path());
    let running = Running::start(command.env("TMPDIR", temporary.path()));
    wait_until("something is in its scratch directory", || {
        let mut scratch = fs::read_dir(temporary.path()).unwrap();
        let scratch = scratch.next().and_then(Result::ok);
        let mut written = scratch.and_then(|scratch| fs::read_dir(scratch.path()).ok());
        written.as_mut().and_then(Iterator::next).is_some()
    });
    running.signal(Signal::INT);
    let ended = running.end();
    assert!(Summary::of(ended.assert_clean().text()).completed > 0);
}

#[test]
fn pipes_carry_captures() {
    let tree = tree();
    for reader in ["report", "print"] {
        let mut demo = virtscope(["demo", "--duration", "1s", "--rate", "2000", "-w", "-"]);
        let (producer, capture) = Running::start_for(demo.arg(tree.path()));
        let consumer = run(virtscope([reader, "-"]).stdin(capture));
        let produced = producer.end();
        assert_eq!(produced.code, Some(0), "{produced:?}");
        // The capture has standard output, so the report is on standard error.
        let report = produced.stderr;
        let text = consumer.assert_clean().text();
        if reader == "report" {
            assert_eq!(text, report);
        } else {
            let lines = text.lines().count() as u64;
            assert_eq!(lines, Summary::of(&report).completed);
        }
    }
}

#[rstest]
#[case(&[])]
#[case(&["--records"])]
fn print_follows_a_growing_file(#[case] arguments: &[&str]) {
    let capture = sample();
    let cut = capture.len() / 2;
    let (_dir, path) = file("growing.pcapng", &capture[..cut]);
    let print = || {
        let mut command = virtscope(["print"]);
        command.args(arguments).arg(&path);
        command
    };
    let running = Running::start(print().arg("--follow"));
    wait_until("the first half is printed", || {
        running.printed().lines().count() > 100
    });
    let first_half = running.printed().lines().count();
    let mut growing = fs::OpenOptions::new().append(true).open(&path).unwrap();
    growing.write_all(&capture[cut..]).unwrap();
    let whole = run(&mut print());
    let whole = whole.assert_clean().text();
    wait_until("all of it is printed", || {
        running.printed().len() >= whole.len()
    });
    assert!(first_half < whole.lines().count());
    running.signal(Signal::INT);
    assert_eq!(running.end().assert_clean().text(), whole);
}

#[test]
fn snaplen_is_how_much_of_a_buffer_is_kept() {
    let tree = tree();
    for snaplen in [0, 65_536] {
        let path = tree.path().join(format!("{snaplen}.pcapng"));
        let mut command = demo(tree.path());
        command.args(["--snaplen", &snaplen.to_string()]);
        // Large enough for whole files to have gone by.
        record(&mut command, &path, 1 << 20 << (snaplen >> 15)).assert_clean();
        let report = whole(&path);
        assert_eq!(number(&report, "/capture/snaplen"), snaplen);
        let undecoded = report["operations"].as_array().unwrap().iter();
        let undecoded: u64 = undecoded
            .filter(|operation| operation["name"] == "unknown")
            .map(|operation| number(operation, "/completed"))
            .sum();
        let completed = number(&report, "/requests/completed");
        assert_eq!(undecoded, if snaplen == 0 { completed } else { 0 });
        let longest = payloads(&path).map(|(kept, _)| kept).max().unwrap();
        if snaplen == 0 {
            assert_eq!(longest, 0);
        } else {
            assert!((30_000..=32_768).contains(&longest), "{longest}");
            assert!(payloads(&path).all(|(_, cut)| cut == 0));
        }
    }
}

/// Of each add and used record of the capture: bytes of payload that were kept,
/// and bytes that were not.
fn payloads(path: &Path) -> impl Iterator<Item = (usize, u32)> {
    let mut reader = CaptureReader::new(fs::File::open(path).unwrap()).unwrap();
    std::iter::from_fn(move || {
        loop {
            match reader.next_item().unwrap() {
                Item::End(_) => return None,
                Item::Record(packet)
                    if matches!(packet.record.kind(), Ok(Kind::Add | Kind::Used)) =>
                {
                    return Some((packet.payload.len(), packet.cut()));
                }
                _ => {}
            }
        }
    })
}

#[rstest]
#[case("flags", false)]
#[case("event-idx", true)]
fn suppression_goes_as_it_is_told(#[case] suppression: &str, #[case] event_idx: bool) {
    let tree = tree();
    let path = tree.path().join("x.pcapng");
    let mut command = demo(tree.path());
    command.args(["--suppression", suppression]);
    record(&mut command, &path, 500_000).assert_clean();
    let report = whole(&path);
    for queue in report["queues"].as_array().unwrap() {
        let features = queue["features"].as_str().unwrap();
        let features = u64::from_str_radix(features.trim_start_matches("0x"), 16).unwrap();
        // VIRTIO_F_EVENT_IDX, virtio 1.4 §6.
        assert_eq!(features & (1 << 29) != 0, event_idx);
    }
    let by = |reason| sum(&report, "queues", &format!("/counts/kicks/{reason}"));
    let other = if event_idx {
        "suppressed_flag"
    } else {
        "suppressed_event"
    };
    assert_eq!(by(other), 0);
    assert!(by("sent") > 0);
}

#[rstest]
#[case(&[], "split", 0)]
#[case(&["--layout", "split", "--indirect"], "split", 1 << 28)]
#[case(&["--layout", "packed"], "packed", 1 << 34)]
#[case(&["--layout", "packed", "--indirect", "--in-order"], "packed", 1 << 34 | 1 << 28 | 1 << 35)]
fn rings_are_laid_out_as_told(#[case] args: &[&str], #[case] layout: &str, #[case] bits: u64) {
    let tree = tree();
    let path = tree.path().join("x.pcapng");
    let mut command = demo(tree.path());
    command.args(args);
    record(&mut command, &path, 300_000).assert_clean();
    let report = whole(&path);
    for queue in report["queues"].as_array().unwrap() {
        assert_eq!(queue["layout"], layout);
        let features = queue["features"].as_str().unwrap();
        let features = u64::from_str_radix(features.trim_start_matches("0x"), 16).unwrap();
        // VIRTIO_F_INDIRECT_DESC, VIRTIO_F_RING_PACKED and VIRTIO_F_IN_ORDER, virtio
        // 1.4 §6.
        assert_eq!(features & (1 << 28 | 1 << 34 | 1 << 35), bits);
    }
    assert!(sum(&report, "queues", "/counts/announced") > 0);
}

#[test]
fn a_small_ring_fills_and_drains() {
    let tree = tree();
    let path = tree.path().join("x.pcapng");
    let mut command = demo(tree.path());
    record(command.args(["--queue-size", "16"]), &path, 1 << 20).assert_clean();
    // A read of a whole message takes more than half of such a ring, and on a busy
    // machine somebody waits for room most of the time.
    let report = whole_but_for(&path, &["chain-too-long", "ring-full"]);
    let found = report["findings"].as_array().unwrap();
    assert!(found.iter().any(|each| each["code"] == "chain-too-long"));
    for queue in report["queues"].as_array().unwrap() {
        assert_eq!(number(queue, "/size"), 16);
        assert!(number(queue, "/occupancy/descriptors_peak") <= 16);
    }
    // A batch of reads of whole messages is more than sixteen descriptors hold.
    assert!(sum(&report, "queues", "/counts/adds_no_space") > 0);
}

#[rstest]
fn a_signal_ends_the_demo_and_completes_the_capture(
    #[values(Signal::INT, Signal::TERM, Signal::HUP)] signal: Signal,
) {
    let tree = tree();
    let path = tree.path().join("x.pcapng");
    let running = Running::start(demo(tree.path()).arg("-w").arg(&path));
    wait_until("the capture has something in it", || {
        fs::metadata(&path).is_ok_and(|metadata| metadata.len() > 50_000)
    });
    running.signal(signal);
    let ended = running.end();
    let live = Summary::of(ended.assert_clean().text());
    assert_eq!(live, Summary::of_json(&whole(&path)));
}

#[test]
fn a_second_signal_insists() {
    let tree = tree();
    let scratch = tempfile::tempdir().unwrap();
    let mut command = demo(tree.path());
    command
        .args(["--snaplen", "65536", "-w", "-"])
        .env("TMPDIR", scratch.path());
    // Nobody reads the capture, so ending it takes forever: what the clients have
    // read is in it, and that is many times what a pipe holds.
    let (mut running, _pipe) = Running::start_for(&mut command);
    wait_until("a megabyte is read", || running.bytes_read() > 1 << 20);
    let mut sent = 0;
    let mut status = None;
    wait_until("it ends", || {
        running.signal(Signal::INT);
        sent += 1;
        std::thread::sleep(std::time::Duration::from_millis(100));
        status = running.child.try_wait().unwrap();
        status.is_some()
    });
    assert!(sent >= 2, "the first signal alone asks politely");
    assert_eq!(status.unwrap().code(), Some(130));
    let left = fs::read_dir(scratch.path()).unwrap().count();
    assert_eq!(left, 0, "the scratch directory is left behind");
}

#[test]
fn a_signal_ends_reading_and_the_report_is_of_what_was_read() {
    let tree = tree();
    let (producer, capture) = Running::start_for(demo(tree.path()).args(["-w", "-"]));
    let reader = Running::start(virtscope(["report", "-"]).stdin(capture));
    wait_until("something is read", || reader.bytes_read() > 100_000);
    reader.signal(Signal::INT);
    let ended = reader.end();
    ended.assert_refused(&["standard input", "interrupted"]);
    assert!(Summary::of(ended.text()).completed > 0);
    // With its reader gone the demo ends, and has nothing to complain about.
    producer.end().assert_clean();
}
