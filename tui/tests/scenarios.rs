//! Every finding on a real ring: the scenario that raises it does, and the one that
//! comes near raises nothing. Driver, device, recorder, capture and analyzer are those
//! of the program.

use std::fs::File;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rstest::rstest;
use virtscope::demo::scenario::{Scenario, play};
use virtscope_analyzer::{Analyzer, CaptureEnd, FindingCode, NoteCode, Options, Report};
use virtscope_captures::{CaptureReader, Item, create_file};

/// How long a scenario may take before it counts as hanging.
const PATIENCE: Duration = Duration::from_secs(120);
/// A storm makes more records at once than fit a ring of the usual size while the
/// recorder waits for a core.
const ROOM: usize = 32 << 20;
/// What is too little for a few records in a row.
const NO_ROOM: usize = 2048;
/// Scenarios that are played at a time. Most of them wait most of the time.
const AT_A_TIME: usize = 4;

/// Plays a scenario to its end and reads its capture back: the report made live, and
/// that of the capture.
fn record(scenario: &Scenario, path: &Path, ring_bytes: usize) -> (Report, Report) {
    let output = create_file(path).unwrap();
    let summary = play(
        scenario,
        256,
        ring_bytes,
        Some(Box::new(output)),
        |running| {
            let began = Instant::now();
            while !running.stop.load(Ordering::Acquire) {
                assert!(began.elapsed() < PATIENCE, "{scenario:?} hangs");
                std::thread::sleep(Duration::from_millis(20));
            }
        },
    )
    .unwrap();
    let mut reader = CaptureReader::new(File::open(path).unwrap()).unwrap();
    // As the program's `report` does it: no message is kept.
    let mut analyzer = Analyzer::new(Options {
        recent_lives: 0,
        keep_bytes: 0,
        draw_rings: false,
        ..Options::default()
    });
    loop {
        match reader.next_item().unwrap() {
            Item::Record(packet) => analyzer.push(&packet.record, packet.payload),
            Item::Corrupt { problem, .. } => panic!("{problem}"),
            Item::End(_) => break,
            _ => {}
        }
    }
    analyzer.finish();
    let report = analyzer.report(&CaptureEnd {
        packets: Some(reader.packets()),
        snaplen: reader.info().map(|info| info.snaplen),
        ..CaptureEnd::default()
    });
    (summary.recorded.report.unwrap(), report)
}

/// What is wrong with a scenario's outcome, if anything is.
fn judge(scenario: &Scenario) -> Option<String> {
    let directory = tempfile::tempdir().unwrap();
    let (live, report) = record(scenario, &directory.path().join("x.pcapng"), ROOM);
    let found: Vec<FindingCode> = report.findings.iter().map(|each| each.code).collect();
    let as_it_should = if scenario.raises {
        found.contains(&scenario.finding)
    } else {
        found.is_empty()
    };
    if !as_it_should {
        return Some(format!("{scenario:?} raised {:#?}", report.findings));
    }
    let said = |report: &Report| serde_json::to_value(&report.findings).unwrap();
    if said(&live) != said(&report) {
        return Some(format!("{scenario:?}: the capture tells something else"));
    }
    for finding in &report.findings {
        if finding.evidence.is_empty() || !finding.summary.ends_with('.') {
            return Some(format!(
                "{scenario:?}: no proof or no sentence: {finding:#?}"
            ));
        }
    }
    (report.records.lost > 0).then(|| format!("{scenario:?} lost records"))
}

/// What is wrong with what is said where records were lost, if anything is.
fn judge_with_losses(scenario: &Scenario) -> Option<String> {
    let directory = tempfile::tempdir().unwrap();
    let (live, report) = record(scenario, &directory.path().join("x.pcapng"), NO_ROOM);
    // The callbacks of a storm find nothing used.
    let is_there = |code| {
        let storm = scenario.finding == FindingCode::InterruptStorm;
        code == scenario.finding || (storm && code == FindingCode::SpuriousInterrupts)
    };
    let found = report.findings.iter().map(|each| each.code);
    let others: Vec<_> = found
        .filter(|code| !(scenario.raises && is_there(*code)))
        .collect();
    if !others.is_empty() {
        return Some(format!(
            "{scenario:?} raised {:#?} after {} records were lost",
            report.findings, report.records.lost
        ));
    }
    let is_said = |report: &Report| {
        let mut notes = report.notes.iter();
        notes.any(|note| note.code == NoteCode::RecordsLost)
    };
    let are_lost = report.records.lost > 0;
    if are_lost != is_said(&report) || are_lost != is_said(&live) {
        return Some(format!("{scenario:?}: of losses is not told"));
    }
    let records = report.records;
    (records.emitted != records.stored + records.lost || live.records != records)
        .then(|| format!("{scenario:?}: {records:?} is {:?} live", live.records))
}

fn judge_all(wanted: impl Fn(&Scenario) -> bool, judge: fn(&Scenario) -> Option<String>) {
    let left = Mutex::new(
        Scenario::all()
            .filter(|each| wanted(each))
            .collect::<Vec<_>>(),
    );
    let wrong = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                let next = || left.lock().unwrap_or_else(PoisonError::into_inner).pop();
                while let Some(scenario) = next() {
                    let mut wrong = match judge(scenario) {
                        Some(what) => {
                            println!("WRONG: {what}");
                            wrong.lock().unwrap_or_else(PoisonError::into_inner)
                        }
                        None => continue,
                    };
                    wrong.push(scenario.name);
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{wrong:?}; what is wrong stands above");
}

#[rstest]
#[timeout(Duration::from_secs(600))]
fn every_scenario_raises_its_finding() {
    judge_all(|scenario| scenario.raises, judge);
}

#[rstest]
#[timeout(Duration::from_secs(600))]
fn no_near_miss_raises_any_finding() {
    judge_all(|scenario| !scenario.raises, judge);
}

/// With byte rings far too small for what happens, a near miss is none all the same, and
/// of trouble nothing is said but what it is; the losses are told and counted.
#[rstest]
#[timeout(Duration::from_secs(600))]
fn with_losses_nothing_is_found_that_is_not_there() {
    const MANY_RECORDS: [FindingCode; 6] = [
        FindingCode::InterruptStorm,
        FindingCode::SpuriousInterrupts,
        FindingCode::KicksWithoutBatching,
        FindingCode::NineFidLeak,
        FindingCode::NineMetadataStorm,
        FindingCode::NineSmallReads,
    ];
    judge_all(
        |scenario| MANY_RECORDS.contains(&scenario.finding),
        judge_with_losses,
    );
}
