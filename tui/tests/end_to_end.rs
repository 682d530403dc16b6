//! The whole path: a demo on a generated tree, its capture read back, and every
//! number held against what the clients did and what is on disk.

#[path = "common/tree.rs"]
mod tree;

use std::fs::File;
use std::time::Duration;

use rstest::rstest;
use tree::{Comparison, assert_sound, generate, options, until};
use virtscope::demo::{DemoOptions, Summary, run};
use virtscope_analyzer::{Analyzer, CaptureEnd, Options, Report};
use virtscope_captures::{CaptureReader, End, Item, Ledger, Selection, create_file};
use virtscope_device::p9::Delay;
use virtscope_driver::ring::QueueSize;
use virtscope_record::FeatureBits;

/// Runs a demo until every file was read and `least` has passed, and reads its
/// capture back.
fn run_and_read_back(
    adjust: impl FnOnce(&mut DemoOptions),
    least: Duration,
) -> (Summary, Report, Ledger) {
    let dir = tempfile::tempdir().unwrap();
    let files = generate(dir.path());
    let comparison = Comparison::with(&files);
    let mut options = options(dir.path());
    adjust(&mut options);
    let output = tempfile::tempdir().unwrap();
    let path = output.path().join("x.pcapng");
    let file = create_file(&path).unwrap();
    let summary = run(&options, Some(Box::new(file)), &comparison, |running| {
        until(running, least, || comparison.is_complete());
    })
    .unwrap();
    assert_sound(&summary);
    assert!(
        comparison.is_complete(),
        "not every file was read in a minute"
    );

    let mut reader = CaptureReader::new(File::open(&path).unwrap()).unwrap();
    let mut analyzer = Analyzer::new(Options::default());
    let mut ledger = Ledger::new(Selection::WHOLE);
    loop {
        match reader.next_item().unwrap() {
            Item::Record(packet) => {
                ledger.observe(&packet.record);
                analyzer.push(&packet.record, packet.payload);
            }
            Item::Corrupt { problem, .. } => panic!("{problem}"),
            Item::End(end) => {
                assert_eq!(end, End::Complete);
                break;
            }
            _ => {}
        }
    }
    analyzer.finish();
    let report = analyzer.report(&CaptureEnd {
        packets: Some(reader.packets()),
        snaplen: reader.info().map(|info| info.snaplen),
        ..CaptureEnd::default()
    });
    (summary, report, ledger)
}

/// What must hold of every run, whatever was lost.
fn assert_accounts_add_up(summary: &Summary, report: &Report, ledger: &Ledger) {
    let records = &report.records;
    assert_eq!(
        records.emitted,
        records.stored + records.lost + records.filtered
    );
    assert_eq!(report.capture.packets, records.stored);
    let totals = ledger.totals();
    assert_eq!(totals.emitted, records.emitted);
    assert_eq!(totals.lost, records.lost);
    assert!(ledger.tail_known());
    assert!(ledger.inconsistencies().is_empty());
    // The capture's own statistics, and the report made live, say the same.
    assert_eq!(summary.recorded.capture, Some(totals));
    assert_eq!(summary.recorded.report.as_ref(), Some(report));
}

/// Nothing was lost, so every request is complete and counted once, by type.
fn assert_whole(summary: &Summary, report: &Report) {
    assert_eq!(report.records.lost, 0);
    assert_eq!(report.records.missed, 0);
    let issued: u64 = summary.issued.iter().map(|(_, count)| count).sum();
    assert_eq!(report.requests.completed, issued);
    assert_eq!(report.requests.incomplete, 0);
    assert_eq!(report.requests.in_flight, 0);
    assert!(report.notes.is_empty(), "{:?}", report.notes);
    for (kind, count) in &summary.issued {
        let counted = report
            .operations
            .iter()
            .find(|operation| operation.type_number == Some(*kind as u8))
            .map_or(0, |operation| operation.completed);
        assert_eq!(counted, *count, "{kind:?}");
    }
    let operations: u64 = report.operations.iter().map(|each| each.completed).sum();
    assert_eq!(operations, issued, "an operation that no client sent");
}

#[test]
fn everything_adds_up_with_event_indices() {
    let (summary, report, ledger) = run_and_read_back(|_| {}, Duration::from_secs(3));
    assert_accounts_add_up(&summary, &report, &ledger);
    assert_whole(&summary, &report);
    let root = &report.queues[0];
    assert_eq!(root.name, "virtio0/requests");
    assert!(root.counts.out_of_order > 0, "all in submission order");
    assert!(root.counts.kicks.suppressed > 0, "no kick was suppressed");
    assert!(
        root.occupancy.descriptors_peak > 64,
        "the ring was never even half full"
    );
}

#[test]
fn everything_adds_up_with_flags_and_a_small_ring() {
    let (summary, report, ledger) = run_and_read_back(
        |options| {
            options.mount.features = FeatureBits::default();
            options.mount.queue_size = QueueSize::new(32).unwrap();
        },
        Duration::from_secs(2),
    );
    assert_accounts_add_up(&summary, &report, &ledger);
    assert_whole(&summary, &report);
    let root = &report.queues[0];
    assert!(root.counts.adds_no_space > 0, "the ring never filled");
    // No request takes more than ten descriptors, so one that found no room found the
    // ring nearly full.
    let peak = root.occupancy.descriptors_peak;
    assert!((23..=32).contains(&peak), "{peak}");
}

/// The same on every kind of ring. What the report says of its layout is what the
/// devices have, and callbacks find the buffers that they announced.
#[rstest]
#[case::split(
    "split",
    FeatureBits::INDIRECT_DESC.union(FeatureBits::IN_ORDER).union(FeatureBits::EVENT_IDX)
)]
#[case::packed("packed", FeatureBits::RING_PACKED)]
#[case::packed_with_all(
    "packed",
    FeatureBits::RING_PACKED
        .union(FeatureBits::EVENT_IDX)
        .union(FeatureBits::INDIRECT_DESC)
        .union(FeatureBits::IN_ORDER)
        .union(FeatureBits::NOTIFICATION_DATA)
)]
fn everything_adds_up_on_every_ring(#[case] layout: &str, #[case] features: FeatureBits) {
    let (summary, report, ledger) = run_and_read_back(
        |options| options.mount.features = features,
        Duration::from_secs(2),
    );
    assert_accounts_add_up(&summary, &report, &ledger);
    assert_whole(&summary, &report);
    for queue in &report.queues {
        assert_eq!(queue.layout.as_deref(), Some(layout));
        let accepted = queue.features.as_deref().unwrap().trim_start_matches("0x");
        let accepted = FeatureBits(u64::from_str_radix(accepted, 16).unwrap());
        assert!(accepted.contains(features), "{accepted}");
        let counts = &queue.counts;
        // How many depends on how busy the machine is.
        assert!(counts.announced > 0, "no callback announced anything");
        if features.contains(FeatureBits::IN_ORDER) {
            assert_eq!(counts.out_of_order, 0);
        }
        if features.contains(FeatureBits::INDIRECT_DESC) {
            // Each takes one entry of the ring.
            let peak = &queue.occupancy;
            assert_eq!(peak.descriptors_peak, peak.in_flight_peak);
        }
    }
}

/// Slow operations are overtaken: completion order is not submission order.
#[test]
fn a_slow_read_is_overtaken() {
    let (summary, report, ledger) = run_and_read_back(
        |options| {
            options.mount.delay = Delay::by(|operation| {
                (operation.bytes > 30_000).then_some(Duration::from_millis(2))
            });
        },
        Duration::from_secs(1),
    );
    assert_accounts_add_up(&summary, &report, &ledger);
    assert_whole(&summary, &report);
    assert!(report.queues[0].counts.out_of_order > 100);
}

/// Byte rings far too small lose records; every one is counted, no request is
/// made up, and what is called complete was seen whole.
#[test]
fn losses_are_counted_exactly() {
    let (summary, report, ledger) =
        run_and_read_back(|options| options.ring_bytes = 2048, Duration::from_secs(1));
    assert_accounts_add_up(&summary, &report, &ledger);
    assert!(report.records.lost > 0, "2 KiB were enough");
    assert!(
        !report.notes.is_empty(),
        "the report does not speak of losses"
    );
    let issued: u64 = summary.issued.iter().map(|(_, count)| count).sum();
    let requests = &report.requests;
    assert!(requests.completed < issued);
    assert!(requests.completed + requests.incomplete + requests.in_flight <= issued);
    assert!(requests.incomplete > 0);
}
