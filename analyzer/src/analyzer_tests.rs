//! The analyzer as a whole: what it keeps, shows and notes.

use virtscope_captures::Selection;
use virtscope_record::{Body, Common, Kind, Producer, QueueId, Record, Sequence, Timestamp};

use crate::testing::{QUEUE, Stream, analyze, message, rlerror, rread, tread};
use crate::{Analyzer, CaptureEnd, NoteCode, Operation, Options, Snapshot};

fn push_all(stream: &Stream, options: Options) -> Analyzer {
    let mut analyzer = Analyzer::new(options);
    for (record, payload) in &stream.records {
        analyzer.push(record, payload);
    }
    analyzer
}

fn requests(many: u16) -> Stream {
    let mut stream = Stream::with_facts();
    for i in 0..many {
        let (at, next) = (u64::from(i) * 100, i.wrapping_add(1));
        let request = tread(i, 7, 0, 512);
        stream.at(at + 10).add_message(i % 8, i, &request);
        stream.at(at + 20).kick(i, next);
        stream.at(at + 50).callback(next, i);
        stream
            .at(at + 60)
            .used_message(i % 8, i, &rread(i, &[0; 100]));
    }
    stream
}

fn codes(snapshot: &Snapshot) -> Vec<NoteCode> {
    snapshot.notes.iter().map(|note| note.code).collect()
}

#[test]
fn recent_lives_are_bounded_and_newest_first() {
    let options = Options {
        recent_lives: 3,
        ..Options::default()
    };
    let snapshot = push_all(&requests(10), options).snapshot(None);
    let numbers: Vec<_> = snapshot.recent.iter().map(|life| life.number).collect();
    assert_eq!(numbers, [9, 8, 7]);
    assert_eq!(snapshot.requests.completed, 10);
}

/// Who does not look for findings is told of each that it is not known; the rest is the
/// same.
#[test]
fn what_is_not_looked_for_is_not_known() {
    let options = Options {
        look_for_findings: false,
        ..Options::default()
    };
    let looked = push_all(&requests(10), Options::default());
    let not_looked = push_all(&requests(10), options);
    let (findings, none) = (looked.findings(None), not_looked.findings(None));
    assert_eq!(findings.undecided, []);
    assert_eq!(none.found, []);
    let codes: Vec<_> = none
        .undecided
        .iter()
        .map(|undecided| undecided.code)
        .collect();
    assert_eq!(codes, crate::FindingCode::ALL);
    let (looked, not_looked) = (looked.snapshot(None), not_looked.snapshot(None));
    assert_eq!(looked.requests, not_looked.requests);
    assert_eq!(looked.recent, not_looked.recent);
}

#[test]
fn ended_lives_are_handed_over_once() {
    let options = Options {
        collect_ended: true,
        ..Options::default()
    };
    let mut analyzer = push_all(&requests(10), options);
    assert_eq!(analyzer.take_ended().len(), 10);
    assert_eq!(analyzer.take_ended().len(), 0);
    let mut analyzer = push_all(&requests(10), Options::default());
    assert_eq!(analyzer.take_ended().len(), 0);
}

#[test]
fn messages_are_kept_up_to_the_limit() {
    let options = Options {
        keep_bytes: 64,
        ..Options::default()
    };
    let snapshot = push_all(&requests(1), options).snapshot(None);
    let life = &snapshot.recent[0];
    assert_eq!((life.reply.bytes.len(), life.reply.full_length), (64, 111));
    let reply = life.reply_9p().unwrap().unwrap();
    assert_eq!(reply.to_string(), "Rread tag 0 count 100");
    assert_eq!(life.data_bytes, 100);
}

#[test]
fn a_snapshot_is_of_the_moment_given() {
    let analyzer = push_all(&requests(10), Options::default());
    let snapshot = analyzer.snapshot(None);
    assert_eq!(snapshot.elapsed_ns(), 960);
    assert_eq!(snapshot.queue(QUEUE).unwrap().rates.adds, 100.0);
    let later = analyzer.snapshot(Some(Timestamp::from_nanos(5_000_000_000)));
    assert_eq!(later.elapsed_ns(), 5_000_000_000);
    assert_eq!(later.queue(QUEUE).unwrap().rates.adds, 0.0);
    assert_eq!(later.last, snapshot.last);
    // A clock that lags behind the records does not turn time back.
    let earlier = analyzer.snapshot(Some(Timestamp::from_nanos(5)));
    assert_eq!(earlier.now, snapshot.last);
}

#[test]
fn operations_are_counted_over_all_queues() {
    let mut stream = requests(3);
    stream
        .at(1000)
        .add_message(0, 3, &tread(1, 2, 0, 1))
        .kick(3, 4);
    stream.used_message(0, 3, &rlerror(1, 5));
    stream
        .at(1100)
        .add_message(0, 4, &message(120, 1, &[0; 4]))
        .kick(4, 5);
    stream.used_message(0, 4, &message(121, 1, &[]));
    let moved: Vec<_> = stream
        .records
        .iter()
        .map(|(record, payload)| {
            let common = Common {
                queue: QueueId::new(1, 0),
                ..record.common()
            };
            (Record::new(common, record.body().unwrap()), payload.clone())
        })
        .collect();
    stream.records.extend(moved);
    let (analyzer, _) = analyze(&stream.records);
    let snapshot = analyzer.snapshot(None);
    let ids: Vec<_> = snapshot.queues.iter().map(|queue| queue.id).collect();
    assert_eq!(ids, [QueueId::new(0, 0), QueueId::new(1, 0)]);
    let rows: Vec<_> = snapshot
        .operations
        .iter()
        .map(|row| {
            (
                row.operation.name(),
                row.completed,
                row.errors,
                row.data_bytes,
            )
        })
        .collect();
    assert_eq!(rows, [("clunk", 2, 0, 0), ("read", 8, 2, 600)]);
    assert_eq!(
        snapshot.operations[1].errors_by_errno,
        [(crate::Errno(5), 2)]
    );
    assert_eq!(snapshot.queues[1].errors, 1);
}

#[test]
fn without_facts_nothing_is_taken_for_9p() {
    let mut stream = Stream::new();
    stream
        .at(1)
        .add_message(0, 0, &tread(1, 2, 0, 1))
        .kick(0, 1);
    stream.at(9).used_message(0, 0, &rread(1, &[0; 9]));
    let (analyzer, lives) = stream.analyze();
    assert_eq!(lives[0].operation, Operation::Buffer);
    assert_eq!(lives[0].data_bytes, 23 + 20);
    assert!(lives[0].request_9p().is_none());
    let snapshot = analyzer.snapshot(None);
    assert_eq!(snapshot.queues[0].name, "virtio0.0");
    assert_eq!(codes(&snapshot), [NoteCode::FactsMissing]);
}

#[test]
fn records_of_a_later_version_are_noted_and_have_their_number() {
    let mut stream = requests(2);
    stream.final_statistics();
    let mut bytes = [0; 64];
    // A driver's record in the middle becomes of a kind not known.
    bytes.copy_from_slice(stream.records[3].0.as_bytes());
    assert_eq!(bytes[36], Kind::Callback as u8);
    bytes[36] = 99;
    stream.records[3].0 = Record::from_bytes(&bytes).unwrap();
    let (analyzer, _) = stream.analyze();
    assert_eq!(analyzer.record_totals().lost, 0);
    assert_eq!(codes(&analyzer.snapshot(None)), [NoteCode::UnknownRecords]);
}

#[test]
fn what_was_left_out_on_purpose_is_filtered() {
    let mut stream = requests(4);
    stream.final_statistics();
    stream.records.remove(5);
    let selection = Selection {
        filtered: true,
        ..Selection::WHOLE
    };
    let options = Options {
        selection,
        ..Options::default()
    };
    let mut analyzer = push_all(&stream, options);
    analyzer.finish();
    let report = analyzer.report(&CaptureEnd::default());
    assert_eq!((report.records.lost, report.records.filtered), (0, 1));
    assert_eq!(report.requests.completed, 3);
    assert!(
        report
            .notes
            .iter()
            .any(|note| note.code == NoteCode::RecordsFiltered)
    );
}

#[test]
fn duplicates_are_inconsistent_and_stored_once() {
    let mut stream = requests(1);
    stream.final_statistics();
    let again = stream.records[2].clone();
    stream.records.insert(3, again);
    let (analyzer, _) = stream.analyze();
    let totals = analyzer.record_totals();
    assert_eq!(
        totals.emitted,
        totals.stored + totals.lost + totals.filtered
    );
    assert!(codes(&analyzer.snapshot(None)).contains(&NoteCode::Inconsistent));
}

/// What is there twice says nothing new, wherever the second stands; a record with a number
/// that was seen before and a later time is another.
#[test]
fn a_stream_with_every_record_twice_is_the_stream() {
    let mut stream = requests(20);
    stream.final_statistics();
    let (analyzer, lives) = stream.analyze();
    let twice = |at_once: bool| {
        let mut again = Stream::new();
        again.records = if at_once {
            let each = stream.records.iter();
            each.flat_map(|each| [each.clone(), each.clone()]).collect()
        } else {
            [&stream.records[..], &stream.records[..]].concat()
        };
        again.analyze()
    };
    for (again, same) in [twice(true), twice(false)] {
        assert_eq!(format!("{same:?}"), format!("{lives:?}"));
        assert_eq!(again.record_totals(), analyzer.record_totals());
        let findings = |of: &Analyzer| of.findings_at(None, true);
        assert_eq!(findings(&again), findings(&analyzer));
        assert_eq!(codes(&again.snapshot(None)), [NoteCode::Inconsistent]);
    }
    // Two captures, one behind the other.
    let mut later = Stream::new();
    later.records.clone_from(&stream.records);
    later
        .records
        .extend(stream.records.iter().map(|(record, payload)| {
            let time = Timestamp::from_nanos(record.time().as_nanos() + 1_000_000);
            let common = Common {
                time,
                ..record.common()
            };
            (Record::new(common, record.body().unwrap()), payload.clone())
        }));
    assert_eq!(later.analyze().1.len(), 2 * lives.len());
}

#[test]
fn records_behind_later_ones_are_noted() {
    let mut stream = requests(4);
    stream.final_statistics();
    let note = |stream: &Stream| {
        let notes = stream.analyze().0.snapshot(None).notes;
        notes.into_iter().find(|note| note.text.contains("stand"))
    };
    assert_eq!(note(&stream), None);
    let mut long = requests(600);
    long.final_statistics();
    long.records.swap(3, 4);
    assert_eq!(note(&long), None, "interrupts do that much");
    stream.records.swap(3, 4);
    let note = note(&stream).unwrap();
    assert_eq!(note.code, NoteCode::Inconsistent);
    assert_eq!(
        note.text,
        "1 record stands behind later ones of the same producer: requests around them may be \
         incomplete for that."
    );
}

#[test]
fn time_of_which_nothing_tells_is_noted() {
    let after = |ns: u64, selection: Selection| {
        let mut stream = Stream::with_facts();
        stream.add(0, 0).kick(0, 1).at(ns).used(0, 0);
        stream.final_statistics();
        let options = Options {
            selection,
            ..Options::default()
        };
        let notes = push_all(&stream, options).snapshot(None).notes;
        let mut notes = notes.into_iter();
        notes.find(|note| note.text.contains("nothing was recorded"))
    };
    let note = after(3_600_000_000_000, Selection::WHOLE).unwrap();
    assert_eq!(note.code, NoteCode::Inconsistent);
    assert_eq!(
        note.text,
        "For 3600 s nothing was recorded, not even the statistics of every second: the recorder \
         stood still, or the clock was set forward. Requests that were in flight then seem to have \
         taken that long."
    );
    assert_eq!(after(5_000_000_000, Selection::WHOLE), None);
    let part = Selection {
        cut: true,
        ..Selection::WHOLE
    };
    assert_eq!(after(3_600_000_000_000, part), None);
}

#[test]
fn queues_beyond_the_limit_are_noted() {
    let mut analyzer = Analyzer::new(Options::default());
    for device in 0..1100 {
        let common = Common {
            queue: QueueId::new(device, 0),
            producer: Producer::Recorder.id(),
            sequence: Sequence(0),
            ..Common::default()
        };
        let facts = Body::QueueFacts(virtscope_record::QueueFacts {
            size: 0x8000,
            ..Default::default()
        });
        analyzer.push(&Record::new(common, facts), b"x/y");
    }
    let snapshot = analyzer.snapshot(None);
    assert_eq!(snapshot.queues.len(), 1024);
    assert_eq!(snapshot.records.stored, 1100);
    assert!(codes(&snapshot).contains(&NoteCode::Inconsistent));
    // Rings of 2^15 slots each: only 32 of them are drawn.
    let drawn = snapshot
        .queues
        .iter()
        .filter(|queue| !queue.ring.available.is_empty());
    assert_eq!(drawn.count(), 32);
}
