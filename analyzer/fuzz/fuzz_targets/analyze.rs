//! Any stream of records: no panic, and accounts that add up.
//!
//! The input is records of 64 bytes, each followed by one byte that says how much
//! of what comes next is its payload.
#![no_main]

use libfuzzer_sys::fuzz_target;
use virtscope_analyzer::{Analyzer, CaptureEnd, Options};
use virtscope_record::Record;

fuzz_target!(|input: &[u8]| {
    let mut analyzer = Analyzer::new(Options::default());
    let mut rest = input;
    while let Some((head, behind)) = rest.split_at_checked(Record::LEN + 1) {
        let Ok(record) = Record::from_bytes(&head[..Record::LEN]) else {
            break;
        };
        let length = usize::from(head[Record::LEN]).min(behind.len());
        let (payload, next) = behind.split_at(length);
        analyzer.push(&record, payload);
        rest = next;
    }
    let snapshot = analyzer.snapshot(None);
    for life in snapshot.recent.iter().chain(&snapshot.in_flight) {
        if let Some(phases) = life.phases() {
            assert_eq!(
                Some(phases.total_ns()),
                life.total_ns(),
                "phases that don't add up"
            );
        }
    }
    analyzer.finish();
    let report = analyzer.report(&CaptureEnd::default());
    let records = report.records;
    assert_eq!(
        records.emitted,
        records.stored + records.lost + records.filtered
    );
    assert!(
        report
            .to_string()
            .lines()
            .all(|line| !line.contains('\x1b'))
    );
});
