//! The report of fixed streams, as text and as JSON, and its schema.

use virtscope_record::NotificationReason;

use super::{CaptureEnd, Report};
use crate::testing::{Stream, message, rlerror, rread, tread};

/// A run in which something of everything happens.
fn busy() -> Stream {
    let mut s = Stream::with_facts();
    s.free = 6;
    s.at(1_000).add_message(0, 0, &tread(1, 5, 0, 4096));
    s.at(1_200).kick(0, 1);
    s.at(5_000).taken(0, 0).at(25_000).returned(0, 0);
    s.at(26_000).interrupt(0, 1, true);
    s.at(30_000).callback(1, 0).at(30_100).callbacks(false, 0);
    s.free = 8;
    s.at(31_000).used_message(0, 0, &rread(1, &[0; 600]));
    s.free = 4;
    s.at(32_000)
        .add_message(0, 1, &message(110, 2, &[1, 0, 0, 0, 2, 0, 0, 0, 0, 0]));
    s.at(32_100).add_message(2, 2, &tread(3, 5, 600, 4096));
    s.at(33_000)
        .kick_as(1, 3, false, NotificationReason::FlagSet);
    s.at(34_000).taken(0, 1).at(35_000).taken(2, 2);
    s.at(40_000).returned(2, 1).at(41_000).returned(0, 2);
    s.at(41_500).interrupt(1, 3, false);
    s.free = 6;
    s.at(42_000).used_message(2, 1, &rlerror(3, 5));
    s.free = 8;
    s.at(43_000).used_message(0, 2, &message(111, 2, &[0, 0]));
    s.at(43_500).callbacks(true, 3).at(44_000).callback(3, 3);
    s.free = 0;
    s.at(50_000)
        .add_message(4, 3, &tread(4, 5, 1200, 4096))
        .kick(3, 4);
    s.at(51_000).add_failed_request(28);
    s.at(60_000).add_failed(12);
    s
}

fn report(stream: &mut Stream, end: &CaptureEnd) -> Report {
    stream.final_statistics().analyze().0.report(end)
}

fn quiet_end() -> CaptureEnd {
    CaptureEnd {
        snaplen: Some(256),
        ..CaptureEnd::default()
    }
}

#[test]
fn a_clean_run() {
    let report = report(&mut busy(), &quiet_end());
    insta::assert_snapshot!("clean_text", report.to_string());
    insta::assert_json_snapshot!("clean_json", report);
}

#[test]
fn a_run_with_losses() {
    let mut stream = busy();
    // The first callback and an add go missing.
    stream.records.remove(6);
    stream.records.remove(8);
    let end = CaptureEnd {
        packets: Some(40),
        truncated_at: Some(123_456),
        corrupt_packets: 2,
        foreign_packets: 1,
        programs_skipped: 3,
        ..quiet_end()
    };
    let (analyzer, _) = stream.analyze();
    let report = analyzer.report(&end);
    insta::assert_snapshot!("lossy_text", report.to_string());
    insta::assert_json_snapshot!("lossy_json", report);
}

/// Whatever a screen shows only some of, nothing is lost by it.
#[test]
fn showing_only_some_requests_loses_none() {
    let mut stream = busy();
    stream.final_statistics();
    let records = stream.records.clone();
    let whole = stream.analyze().0.report(&quiet_end());
    for at in 0..=records.len() {
        let mut analyzer = crate::Analyzer::new(crate::Options::default());
        let filter = |text| Some(std::sync::Arc::new(crate::Filter::compile(text).unwrap()));
        for (number, (record, payload)) in records.iter().enumerate() {
            if number == at {
                analyzer.show_only(filter("op == \"walk\""));
                analyzer.show_only(filter("op == \"read\""));
            }
            analyzer.push(record, payload);
        }
        if at == records.len() {
            analyzer.show_only(filter("op == \"read\""));
        }
        analyzer.finish();
        // All of them are among the latest, so it does not matter when it was asked.
        let shown = analyzer.snapshot(None);
        let names: Vec<_> = shown
            .operations
            .iter()
            .map(|o| o.operation.name())
            .collect();
        assert_eq!(names, ["read"]);
        assert_eq!(shown.operations[0].completed, 2);
        assert_eq!(shown.recent.len(), 2);
        assert_eq!(shown.queues[0].latency.total.count, 2);
        let chosen = shown.filter.unwrap();
        assert_eq!((chosen.matching, chosen.others), (2, 1));
        assert_eq!(shown.requests.completed, 3);
        analyzer.show_only(None);
        assert_eq!(analyzer.snapshot(None).filter, None);
        assert_eq!(analyzer.snapshot(None).recent.len(), 3);
        assert_eq!(analyzer.report(&quiet_end()), whole);
    }
}

#[test]
fn an_empty_run() {
    let report = crate::Analyzer::new(crate::Options::default()).report(&CaptureEnd::default());
    insta::assert_snapshot!("empty_text", report.to_string());
}

/// Names come from captures: they are made harmless and lines stay in 100 columns.
#[test]
fn hostile_names_stay_in_their_lines() {
    let mut stream = Stream::new();
    stream.facts(8, 0);
    let name = format!(
        "\u{1b}[31m{}\n{}={}",
        "x".repeat(300),
        "k".repeat(90),
        "v ".repeat(90)
    );
    stream.records[0].1 = name.into_bytes();
    let report = report(&mut stream, &quiet_end());
    assert!(report.queues[0].name.starts_with(r"\x1b[31mxxx"));
    let text = report.to_string();
    for line in text.lines() {
        assert!(line.chars().count() <= 100, "{line}");
        assert!(!line.contains('\u{1b}'));
    }
}

#[test]
fn the_widest_numbers_stay_in_their_lines() {
    let mut report = report(&mut busy(), &quiet_end());
    for operation in &mut report.operations {
        operation.data_bytes = u64::MAX >> 20;
        operation.latency_ns.total.max = 9_999_999_999_999;
        operation.completed = 9_999_999_999;
    }
    let many = 999_999_999_999;
    for queue in &mut report.queues {
        queue.data_bytes = u64::MAX;
        queue.requests.completed = many;
        queue.requests.incomplete = many;
        let counts = &mut queue.counts;
        (counts.callbacks, counts.callbacks_spurious) = (many, many);
        (counts.polled, counts.out_of_order) = (many, many);
        (counts.adds_failed, counts.adds_no_space) = (many, many);
        (counts.overlapped, counts.overlap_ns) = (many, u64::MAX);
        let kicks = &mut counts.kicks;
        (kicks.sent, kicks.suppressed, kicks.raced) = (many, many, many);
        (kicks.suppressed_flag, kicks.suppressed_event) = (many, many);
        (kicks.suppressed_nothing_added, kicks.suppressed_other) = (many, many);
        queue.occupancy.full_ns = u64::MAX;
    }
    (report.records.emitted, report.records.lost) = (many, many);
    for line in report.to_string().lines() {
        assert!(line.chars().count() <= 100, "{line}");
    }
}

/// The committed schema is the one of these types.
/// `cargo run -p virtscope-analyzer --example schema > docs/report.schema.json`
/// writes it.
#[test]
fn the_published_schema_is_that_of_the_code() {
    let published: serde_json::Value =
        serde_json::from_str(include_str!("../../../docs/report.schema.json")).unwrap();
    // Not `assert_eq!`: two schemas at length help nobody.
    assert!(
        published == serde_json::to_value(Report::schema()).unwrap(),
        "run: cargo run -p virtscope-analyzer --example schema > docs/report.schema.json"
    );
}

#[test]
fn reports_obey_the_published_schema() {
    let schema = serde_json::from_str(include_str!("../../../docs/report.schema.json")).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let empty = crate::Analyzer::new(crate::Options::default()).report(&CaptureEnd::default());
    let (lossy, _) = busy().lose().analyze();
    for report in [
        report(&mut busy(), &quiet_end()),
        empty,
        lossy.report(&quiet_end()),
    ] {
        let json = serde_json::to_value(&report).unwrap();
        let errors: Vec<_> = validator
            .iter_errors(&json)
            .map(|e| e.to_string())
            .collect();
        assert!(errors.is_empty(), "{errors:#?}");
    }
    let wrong = serde_json::json!({ "schema_version": 1 });
    assert!(!validator.is_valid(&wrong));
}

/// What a program finds at the top, by its published names.
#[test]
fn the_top_of_the_json_is_stable() {
    let json = serde_json::to_value(report(&mut busy(), &quiet_end())).unwrap();
    assert_eq!(json["schema_version"], "1.5");
    for field in ["emitted", "stored", "lost", "filtered", "missed"] {
        assert!(json["records"][field].is_u64(), "{field}");
    }
    assert_eq!(json["requests"]["completed"], 3);
    assert_eq!(json["requests"]["incomplete"], 0);
    assert_eq!(json["requests"]["in_flight"], 1);
}

/// The dialect, and that it was guessed, as long as no `Rversion` has said what it is.
#[test]
fn what_is_spoken_is_told() {
    let spoken = |versions: bool| {
        let mut s = Stream::with_facts();
        if versions {
            let version = |kind, name: &str| {
                let length = (name.len() as u16).to_le_bytes();
                let body = [&8192u32.to_le_bytes()[..], &length, name.as_bytes()].concat();
                message(kind, 0xffff, &body)
            };
            s.at(10).add_message(0, 0, &version(100, "9P2000.u"));
            s.kick(0, 1);
            s.at(20).callback(1, 0);
            s.used_message(0, 0, &version(101, "9P2000.u"));
        } else {
            s.at(10).add_message(0, 0, &tread(1, 7, 0, 512)).kick(0, 1);
            s.at(20).callback(1, 0);
            s.used_message(0, 0, &rread(1, b"x"));
        }
        s.final_statistics();
        let report = s.analyze().0.report(&quiet_end());
        let text = report.to_string();
        let line = text.lines().find(|line| line.starts_with("  9P "));
        (
            report.queues[0].conversation.clone().unwrap(),
            line.unwrap().to_owned(),
        )
    };
    let (conversation, line) = spoken(true);
    assert_eq!(conversation.dialect, "9P2000.u");
    assert!(!conversation.dialect_guessed);
    assert_eq!(conversation.msize, Some(8192));
    assert_eq!(
        line,
        "  9P         9P2000.u; msize 8192; 0 fids at the end, 0 at most"
    );
    let (conversation, line) = spoken(false);
    assert!(conversation.dialect_guessed);
    assert_eq!(
        line,
        "  9P         9P2000.L by guess: no Tversion was seen; msize not known; 1 fid at the end, 1 \
         at most"
    );
}
