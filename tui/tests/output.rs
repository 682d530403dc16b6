//! Filters, diffs and the page of a report as their users see them.

#[path = "common/program.rs"]
mod program;

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use program::*;
use rstest::rstest;
use serde_json::Value;
use unicode_width::UnicodeWidthStr;
use virtscope::demo::{DemoOptions, MountOptions, NoWitness, run as run_demo};
use virtscope_device::p9::Delay;
use virtscope_device::p9::wire::MessageType;
use virtscope_driver::ring::QueueSize;
use virtscope_record::FeatureBits;

fn lines(arguments: &[&str]) -> Vec<String> {
    let (_dir, path) = file("sample.pcapng", sample());
    let mut command = virtscope(["print"]);
    let ended = run(command.arg(&path).args(arguments));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    ended.text().lines().map(str::to_owned).collect()
}

#[test]
fn print_shows_those_that_match_and_says_that_there_are_others() {
    let all = lines(&[]);
    let reads = lines(&["--filter", r#"op == "read""#]);
    let rest = lines(&["--filter", r#"op != "read""#]);
    assert!(!reads.is_empty() && !rest.is_empty());
    assert_eq!(reads.len() + rest.len(), all.len());
    assert!(reads.iter().all(|line| line.contains(" read ")));
    let (_dir, path) = file("sample.pcapng", sample());
    let mut command = virtscope(["print", "--filter", r#"op == "read""#]);
    let ended = run(command.arg(&path));
    assert!(
        ended.stderr.contains("only requests that match"),
        "{}",
        ended.stderr
    );
}

#[test]
fn paths_can_be_asked_for() {
    let long = lines(&["--filter", r#"op == "read" && path.endsWith("/long")"#]);
    assert!(!long.is_empty());
    assert!(long.iter().all(|line| line.contains("/long")), "{long:?}");
}

#[test]
fn a_report_counts_those_that_match_and_loses_nothing() {
    let (_dir, path) = file("sample.pcapng", sample());
    let report = |arguments: &[&str]| {
        let ended = run(virtscope(["report", "--json"]).arg(&path).args(arguments));
        assert!(matches!(ended.code, Some(0 | 1)), "{ended:?}");
        ended.json()
    };
    let all = report(&[]);
    let filter = r#"op == "read" && offset >= 0"#;
    let reads = report(&["--filter", filter]);
    assert_eq!(all["filter"], Value::Null);
    assert_eq!(reads["filter"]["expression"], filter);
    assert_eq!(all["records"], reads["records"], "a filter is no loss");
    let completed = number(&reads, "/requests/completed");
    assert_eq!(number(&reads, "/filter/matching"), completed);
    let others = number(&reads, "/filter/not_matching") + number(&reads, "/filter/unknown");
    assert_eq!(completed + others, number(&all, "/requests/completed"));
    let names: Vec<_> = reads["operations"].as_array().unwrap().iter().collect();
    assert_eq!(names.len(), 1);
    assert_eq!(names[0]["name"], "read");
    let mut text = virtscope(["report", "--filter", filter]);
    let text = run(text.arg(&path));
    assert!(
        text.text().contains("\nFilter    op == "),
        "{}",
        text.text()
    );
}

#[rstest]
#[case("latncy > 3", "did you mean `latency`?", 0)]
#[case("op == 3", "can't be compared", 6)]
#[case("op == \"read\" &&", "something is missing", 15)]
fn mistakes_in_a_filter_are_pointed_at(
    #[case] filter: &str,
    #[case] message: &str,
    #[case] column: usize,
) {
    let ended = run(&mut virtscope(["report", "none", "--filter", filter]));
    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.contains(message), "{}", ended.stderr);
    let line = ended
        .stderr
        .lines()
        .position(|line| line.trim() == "^")
        .unwrap();
    let caret = ended.stderr.lines().nth(line).unwrap();
    let shown = ended.stderr.lines().nth(line - 1).unwrap();
    let indent = shown.len() - shown.trim_start().len();
    assert_eq!(
        caret.find('^').unwrap() - indent,
        column,
        "{}",
        ended.stderr
    );
}

#[test]
fn the_fields_are_listed_without_a_capture() {
    for command in ["report", "print", "view", "diff"] {
        let ended = run(&mut virtscope([command, "--filter", "help"]));
        let text = ended.assert_clean().text();
        assert!(
            text.contains("latency") && text.contains("duration?"),
            "{text}"
        );
    }
}

#[test]
fn the_page_begins_with_what_is_wrong_and_is_plain_off_a_terminal() {
    let (_dir, path) = file("sample.pcapng", sample());
    let ended = run(virtscope(["report"]).arg(&path));
    let text = ended.text();
    assert!(text.starts_with("Found     "), "{text}");
    assert!(!text.contains('\x1b'));
    assert!(text.contains("how many requests took how long"), "{text}");
    assert!(text.contains("buffers in flight over time"), "{text}");
    assert!(
        text.lines().all(|line| line.chars().count() <= 100),
        "{text}"
    );
}

/// What `print` says of a real kernel's capture, in `captures/samples`.
fn printed(sample: &str, arguments: &[&str]) -> String {
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../captures/samples");
    let mut command = virtscope(["print"]);
    let ended = run(command.arg(samples.join(sample)).args(arguments));
    ended.assert_clean().text().to_owned()
}

#[rstest]
#[case(80)]
#[case(100)]
#[case(160)]
fn lines_fit_their_width_and_stand_below_each_other(#[case] width: usize) {
    let mut shown = String::new();
    let width_text = width.to_string();
    for (sample, from, arguments) in [
        ("9p-split-6.12.pcapng", 0, &[][..]),
        ("blk-split-6.1.pcapng", 118, &[]),
        ("net-packed-7.2.pcapng", 0, &[]),
        ("9p-split-6.12.pcapng", 0, &["--records"]),
        ("blk-packed-6.1.pcapng", 40, &["--records"]),
    ] {
        let arguments = [&["--width", &width_text], arguments].concat();
        let text = printed(sample, &arguments);
        assert!(text.lines().all(|line| line.width() <= width), "{sample}");
        let some: Vec<_> = text.lines().skip(from).take(10).collect();
        shown.push_str(&format!("{sample}\n{}\n\n", some.join("\n")));
    }
    insta::assert_snapshot!(format!("print_{width}"), shown);
}

#[test]
fn off_a_terminal_lines_have_100_columns_unless_told_otherwise() {
    let sample = "9p-split-6.12.pcapng";
    for arguments in [&[][..], &["--records"]] {
        let hundred = printed(sample, arguments);
        assert_eq!(
            hundred,
            printed(sample, &[arguments, &["--width=100"]].concat())
        );
        let whole = printed(sample, &[arguments, &["--width=0"]].concat());
        assert!(!whole.contains('…'));
        assert_eq!(whole.lines().count(), hundred.lines().count());
        assert!(whole.lines().any(|line| line.width() > 100));
    }
}

#[test]
fn a_closed_pipe_ends_print_quietly() {
    let (_dir, path) = file("sample.pcapng", sample());
    let script = "\"$0\" print \"$1\" | head -n 1";
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", script, PROGRAM]).arg(&path);
    let ended = run(piped(&mut shell));
    assert_eq!(ended.assert_clean().text().lines().count(), 1);
}

/// A demo in which reads, and nothing else, are held up in the device.
fn demo_with(path: &Path, directory: &Path, delay: Option<Duration>) {
    let reads = std::sync::Arc::new(AtomicU64::new(0));
    let counted = std::sync::Arc::clone(&reads);
    let options = DemoOptions {
        directory: directory.to_owned(),
        mount: MountOptions {
            queue_size: QueueSize::new(64).unwrap(),
            features: FeatureBits::EVENT_IDX,
            delay: Delay::by(move |operation| {
                let is_read = operation.kind == MessageType::TREAD;
                counted.fetch_add(u64::from(is_read), Ordering::Relaxed);
                delay.filter(|_| is_read)
            }),
            faults: virtscope_device::fault::Faults::none(),
            msize: virtscope::demo::MSIZE,
        },
        snaplen: 64,
        ring_bytes: 1 << 22,
        rate: 2_000,
        readers: 2,
        writers: 1,
    };
    let output = Box::new(virtscope_captures::create_file(path).unwrap());
    let summary = run_demo(&options, Some(output), &NoWitness, |_| {
        wait_until("enough was read", || reads.load(Ordering::Relaxed) >= 400);
    });
    assert!(summary.unwrap().recorded.failure.is_none());
}

#[test]
fn a_device_that_holds_up_reads_is_found_by_operation_and_phase() {
    let tree = tree();
    let dir = tempfile::tempdir().unwrap();
    let [before, after] = ["before.pcapng", "after.pcapng"].map(|name| dir.path().join(name));
    demo_with(&before, tree.path(), None);
    demo_with(&after, tree.path(), Some(Duration::from_millis(20)));
    let ended = run(virtscope(["diff", "--json"]).arg(&before).arg(&after));
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let report = ended.json();
    let changes = report["changes"].as_array().unwrap();
    let read = changes.iter().find(|change| change["operation"] == "read");
    let read = read.unwrap_or_else(|| panic!("{report:#}"));
    assert_eq!(
        (&read["direction"], &read["phase"]),
        (&"slower".into(), &"device".into())
    );
    assert!(read["shift_ns"].as_f64().unwrap() > 10e6, "{read:#}");
    let text = run(virtscope(["diff"]).arg(&before).arg(&after));
    assert!(
        text.text().contains("Slower    read, in the device phase"),
        "{}",
        text.text()
    );
    // And nothing of a capture and itself.
    let same = run(virtscope(["diff"]).arg(&before).arg(&before));
    assert!(same.assert_clean().text().contains("Nothing got slower"));
}
