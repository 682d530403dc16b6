//! Captures made of captures: what comes out is what went in, less what was left
//! out and said to be.

mod support;

use std::collections::HashMap;

use proptest::prelude::*;
use support::*;
use virtscope_captures::edit::{Combine, EditError, SliceSpec, Source, rewrite, slice};
use virtscope_captures::{
    CaptureInfo, CaptureReader, CaptureWriter, ClockOffset, Ledger, Origin, Selection, Totals,
};
use virtscope_record::{
    Add, Body, Callback, Common, Flags, Notification, Producer, QueueId, Record, RingIndex,
    Sequence, Statistics, Timestamp, Token, Used,
};

const FIRST_NS: u64 = 5_000_000_000;

/// Requests on some queues, each of one add, kick, callback and used.
#[derive(Debug, Default)]
struct Run {
    records: Vec<Stored>,
    sequences: HashMap<(QueueId, u16), u32>,
}

impl Run {
    fn push(&mut self, time: u64, queue: QueueId, token: u64, body: Body, payload: &[u8]) {
        let producer = match body {
            Body::Statistics(_) => Producer::Recorder,
            _ => Producer::DriverHalf,
        };
        let sequence = self.sequences.entry((queue, producer.id().0)).or_default();
        let flags = match body {
            Body::Kick(_) => Flags::NOTIFICATION_NEEDED,
            _ => Flags::empty(),
        };
        let common = Common {
            time: Timestamp::from_nanos(FIRST_NS + time),
            queue,
            producer: producer.id(),
            sequence: Sequence(*sequence),
            token: Token(token),
            flags,
            ..Common::default()
        };
        *sequence += 1;
        self.records
            .push((Record::new(common, body), payload.to_vec()));
    }
}

/// What happens: on which queue a request begins, and how many are waited for
/// before the oldest is returned; `true` loses the record that comes next.
fn run(steps: &[(u8, bool, bool)]) -> Vec<Stored> {
    let mut run = Run::default();
    let queues = [QueueId::new(0, 0), QueueId::new(1, 0)];
    for queue in queues {
        let name = format!("virtio{}/requests\ndriver=test", queue.device);
        let (record, text) = facts(queue, 0, 0, &name);
        run.records
            .push((record.at(Timestamp::from_nanos(FIRST_NS)), text));
        run.sequences.insert((queue, Producer::Recorder.id().0), 1);
    }
    let mut lost = Vec::new();
    let mut open: [std::collections::VecDeque<u16>; 2] = Default::default();
    let (mut avail, mut used) = ([0_u16; 2], [0_u16; 2]);
    for (step, (which, returns, loses)) in steps.iter().enumerate() {
        let (time, at) = (1_000 * (step as u64 + 1), usize::from(which % 2));
        let queue = queues[at];
        let before = run.records.len();
        if *returns && let Some(head) = open[at].pop_front() {
            let token = 0x100 + u64::from(head);
            let index = RingIndex(used[at].wrapping_add(1));
            let callback = Callback {
                used_index: index,
                last_used: RingIndex(used[at]),
                ..Callback::default()
            };
            run.push(time, queue, 0, Body::Callback(callback), b"");
            let back = Used {
                head,
                used_length: 5,
                writable_bytes: 9,
                position: RingIndex(used[at]),
                used_index: index,
                ..Used::default()
            };
            run.push(time + 1, queue, token, Body::Used(back), b"reply");
            used[at] = used[at].wrapping_add(1);
        } else if open[at].len() < 100 {
            let head = (0..128).find(|head| !open[at].contains(head)).unwrap();
            let token = 0x100 + u64::from(head);
            let add = Add {
                head,
                readable_bytes: 7,
                writable_bytes: 9,
                position: RingIndex(avail[at]),
                ..Add::default()
            };
            run.push(time, queue, token, Body::Add(add), b"request");
            let kick = Notification {
                old: RingIndex(avail[at]),
                new: RingIndex(avail[at].wrapping_add(1)),
                ..Notification::default()
            };
            run.push(time + 1, queue, 0, Body::Kick(kick), b"");
            avail[at] = avail[at].wrapping_add(1);
            open[at].push_back(head);
        }
        if *loses && run.records.len() > before {
            lost.push(run.records.len() - 1);
        }
    }
    let end = 1_000 * (steps.len() as u64 + 2);
    for queue in queues {
        let driver = Producer::DriverHalf.id();
        let emitted = run.sequences.get(&(queue, driver.0)).copied().unwrap_or(0);
        let last = Statistics {
            about: driver,
            is_final: true,
            emitted: emitted.into(),
            ..Statistics::default()
        };
        run.push(end, queue, 0, Body::Statistics(last), b"");
    }
    for at in lost.into_iter().rev() {
        run.records.remove(at);
    }
    run.records
}

fn source(bytes: &[u8]) -> Source<&[u8]> {
    Source::new(CaptureReader::new(bytes).unwrap())
}

fn part(bytes: &[u8], spec: &SliceSpec) -> Result<Vec<u8>, EditError> {
    let mut out = Vec::new();
    let origin = Origin::default();
    slice(&mut source(bytes), &mut out, spec, origin, &|| false)?;
    Ok(out)
}

fn merged(parts: &[Vec<u8>]) -> (Vec<u8>, virtscope_captures::edit::Combined) {
    let named = parts.iter().enumerate();
    let sources = named.map(|(at, bytes)| (format!("{at}.pcapng"), source(bytes)));
    let combine = Combine::new(sources.collect()).unwrap();
    let mut out = Vec::new();
    let combined = combine
        .write(&mut out, Origin::default(), &|| false)
        .unwrap();
    (out, combined)
}

/// Every record with its payload, in an order of its own.
fn sorted(bytes: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let contents = read(bytes).unwrap();
    let mut records: Vec<_> = contents
        .records
        .into_iter()
        .map(|(record, payload)| (record.as_bytes().to_vec(), payload))
        .collect();
    records.sort();
    records
}

/// What a reader makes of the capture's account.
fn totals(bytes: &[u8]) -> Totals {
    let contents = read(bytes).unwrap();
    let mut reader = CaptureReader::new(bytes).unwrap();
    reader.next_item().unwrap();
    let mut ledger = Ledger::new(reader.info().unwrap().selection);
    for (record, _) in &contents.records {
        ledger.observe(record);
    }
    for statistics in &contents.statistics {
        ledger.tell_lost(statistics.queue.unwrap(), statistics.totals.unwrap().lost);
    }
    let said: Totals = contents
        .statistics
        .iter()
        .map(|statistics| statistics.totals.unwrap())
        .sum();
    assert_eq!(
        said,
        ledger.totals(),
        "the capture says what its reader counts"
    );
    said
}

fn steps() -> impl Strategy<Value = Vec<(u8, bool, bool)>> {
    let step = (any::<u8>(), any::<bool>(), prop::bool::weighted(0.05));
    prop::collection::vec(step, 1..120)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Cut by queue and put together again: nothing has changed.
    #[test]
    fn queues_apart_and_together(steps in steps()) {
        let whole = write(&run(&steps), 64);
        let parts: Vec<_> = (0..2)
            .map(|device| {
                let queues = vec![QueueId::new(device, 0)];
                part(&whole, &SliceSpec { queues, ..SliceSpec::default() }).unwrap()
            })
            .collect();
        let (together, combined) = merged(&parts);
        prop_assert_eq!(sorted(&together), sorted(&whole));
        prop_assert_eq!(totals(&together), totals(&whole));
        prop_assert!(combined.renumbered.is_empty());
        prop_assert_eq!(combined.duplicates, 0);
    }

    /// The same in time, wherever it is cut, with halves of requests and without.
    #[test]
    fn times_apart_and_together(steps in steps(), at in 0_u64..120_000, halves: bool) {
        let whole = write(&run(&steps), 64);
        let at = Some(at);
        let before = SliceSpec { to_ns: at, halves, ..SliceSpec::default() };
        let after = SliceSpec { from_ns: at, halves, ..SliceSpec::default() };
        let cut = [before, after].map(|spec| part(&whole, &spec));
        let parts: Vec<_> = cut.into_iter().filter_map(Result::ok).collect();
        let (together, _) = merged(&parts);
        prop_assert_eq!(sorted(&together), sorted(&whole));
        prop_assert_eq!(totals(&together), totals(&whole));
    }

    /// A part holds whole requests only, and its account adds up.
    #[test]
    fn a_part_holds_no_half_requests(
        steps in steps(),
        from in 0_u64..100_000,
        length in 1_u64..60_000,
    ) {
        let records = run(&steps);
        let whole = write(&records, 64);
        let spec = SliceSpec {
            from_ns: Some(from),
            to_ns: Some(from + length),
            ..SliceSpec::default()
        };
        let Ok(cut) = part(&whole, &spec) else { return Ok(()) };
        let kept = read(&cut).unwrap().records;
        let requests = |records: &[Stored]| {
            let mut open = HashMap::new();
            let mut requests = Vec::new();
            for (record, _) in records {
                match record.body().unwrap() {
                    Body::Add(add) => {
                        open.insert((record.queue(), add.head), requests.len());
                        requests.push((record.time(), record.queue(), add.head, false));
                    }
                    Body::Used(used) => {
                        let at = open.remove(&(record.queue(), used.head));
                        if let Some(at) = at {
                            requests[at].3 = true;
                        } else {
                            requests.push((record.time(), record.queue(), used.head, true));
                        }
                    }
                    _ => {}
                }
            }
            requests
        };
        let times = FIRST_NS + from..FIRST_NS + from + length;
        let added: Vec<_> = kept
            .iter()
            .filter(|(record, _)| matches!(record.body(), Ok(Body::Add(_))))
            .map(|(record, _)| record.time().as_nanos())
            .collect();
        prop_assert!(added.iter().all(|time| times.contains(time)));
        let all = requests(&records);
        for request in requests(&kept) {
            prop_assert!(all.contains(&request), "{request:?} is not as it was");
        }
        let totals = totals(&cut);
        prop_assert_eq!(totals.emitted, totals.stored + totals.lost + totals.filtered);
        prop_assert_eq!(totals.stored, kept.len() as u64);
    }

    /// What was lost in a part is lost and not filtered, and nothing else is.
    #[test]
    fn losses_stay_losses(steps in steps()) {
        let whole = write(&run(&steps), 64);
        let spec = SliceSpec { from_ns: Some(0), ..SliceSpec::default() };
        let cut = part(&whole, &spec).unwrap();
        prop_assert_eq!(totals(&cut).lost, totals(&whole).lost);
    }

    /// Two recordings of the same queues: their queues stay apart, their accounts
    /// add up, and their times are those of one clock.
    #[test]
    fn recordings_stay_apart(a in steps(), b in steps(), apart in -10_000_i64..10_000) {
        let first = write(&run(&a), 64);
        let clock = ClockOffset::new(CLOCK.offset_ns() + apart * 1_000_000, 40);
        let mut second = Vec::new();
        let info = CaptureInfo::new(64, clock);
        let mut writer = CaptureWriter::new(&mut second, info).unwrap();
        for (record, payload) in run(&b) {
            let later = Timestamp::from_nanos(record.time().as_nanos() + 7);
            writer.write(&record.at(later), &payload).unwrap();
        }
        writer.finish().unwrap();
        let (together, combined) = merged(&[first.clone(), second.clone()]);
        prop_assert_eq!(combined.renumbered.len(), 2);
        let sum: Totals = [totals(&first), totals(&second)].into_iter().sum();
        prop_assert_eq!(totals(&together), sum);
        let unix = |bytes: &[u8]| read(bytes).unwrap().unix_ns;
        let mut expected = [unix(&first), unix(&second)].concat();
        let mut found = unix(&together);
        expected.sort_unstable();
        found.sort_unstable();
        let error = if apart == 0 { 80 } else { 0 };
        prop_assert!(expected.iter().zip(&found).all(|(a, b)| a.abs_diff(*b) <= error));
        let names = read(&together).unwrap().names;
        let different: std::collections::HashSet<_> = names.iter().collect();
        prop_assert_eq!(different.len(), 4, "{:?}", names);
    }
}

#[test]
fn a_part_by_number_is_those_requests() {
    let steps = [(0, false, false), (0, false, false), (1, false, false)];
    let back = [(0, true, false), (0, true, false), (1, true, false)];
    let whole = write(&run(&[steps, back].concat()), 64);
    let spec = SliceSpec {
        requests: vec![1..=1],
        ..SliceSpec::default()
    };
    let cut = read(&part(&whole, &spec).unwrap()).unwrap();
    let kinds: Vec<_> = cut
        .records
        .iter()
        .map(|(record, _)| record.kind().unwrap().name())
        .collect();
    // The callback of the other request runs while this one is in flight.
    let expected = ["queue facts", "add", "kick", "callback", "callback", "used"];
    assert_eq!(kinds, expected);
}

#[test]
fn a_part_says_that_it_is_one_and_of_what() {
    let whole = write(&run(&[(0, false, false)]), 64);
    let spec = SliceSpec {
        to_ns: Some(1),
        ..SliceSpec::default()
    };
    let mut out = Vec::new();
    let mut origin = Origin::default();
    origin.add(&format!("a part: {spec}"));
    slice(&mut source(&whole), &mut out, &spec, origin, &|| false).unwrap();
    let mut cut = source(&out);
    cut.next_record().unwrap();
    assert!(cut.info().unwrap().selection.cut);
    assert_eq!(cut.origin().lines(), ["a part: up to 0.000000001 s"]);
    let mut all = source(&whole);
    all.next_record().unwrap();
    assert_eq!(cut.recording(), all.recording());
}

#[test]
fn a_part_with_nothing_in_it_is_an_error() {
    let whole = write(&run(&[(0, false, false)]), 64);
    let queues = vec![QueueId::new(9, 9)];
    let spec = SliceSpec {
        queues,
        ..SliceSpec::default()
    };
    let error = part(&whole, &spec).unwrap_err();
    assert!(matches!(error, EditError::Nothing), "{error}");
}

#[test]
fn whoever_asks_to_stop_is_obeyed() {
    let whole = write(&run(&[(0, false, false)]), 64);
    let (spec, origin) = (SliceSpec::default(), Origin::default());
    let mut out = Vec::new();
    let stopped = slice(
        &mut source(&whole),
        &mut out,
        &spec,
        origin.clone(),
        &|| true,
    );
    assert!(matches!(stopped, Err(EditError::Interrupted)));
    let combine = Combine::new(vec![("x".into(), source(&whole))]).unwrap();
    let stopped = combine.write(&mut out, origin, &|| true);
    assert!(matches!(stopped, Err(EditError::Interrupted)));
}

#[test]
fn a_whole_capture_and_a_part_keep_their_own_accounts() {
    // The hole in a whole capture is a loss, the one in a part is none.
    let lossy = run(&[(0, false, false), (0, false, true), (0, false, false)]);
    let whole = write(&lossy, 64);
    assert_eq!(totals(&whole).lost, 1);
    let mut other = Vec::new();
    let clock = ClockOffset::new(CLOCK.offset_ns() + 1_000_000_000, 40);
    let mut writer = CaptureWriter::new(&mut other, CaptureInfo::new(64, clock)).unwrap();
    for (record, payload) in run(&[(0, false, false), (1, false, false)]) {
        writer.write(&record, &payload).unwrap();
    }
    writer.finish().unwrap();
    let spec = SliceSpec {
        from_ns: Some(1_500),
        ..SliceSpec::default()
    };
    let cut = part(&other, &spec).unwrap();
    assert_eq!(totals(&cut).lost, 0);
    let (together, combined) = merged(&[whole.clone(), cut.clone()]);
    let sum: Totals = [totals(&whole), totals(&cut)].into_iter().sum();
    assert_eq!(totals(&together), sum);
    assert_eq!(combined.done.totals, sum);
    let info = *CaptureReader::new(&together[..])
        .map(|reader| {
            let mut source = Source::new(reader);
            source.next_record().unwrap();
            *source.info().unwrap()
        })
        .as_ref()
        .unwrap();
    let cut = Selection {
        cut: true,
        ..Selection::WHOLE
    };
    assert_eq!((info.selection, info.recording), (cut, None));
}

#[test]
fn rewriting_changes_payloads_alone() {
    let whole = write(&run(&[(0, false, false), (0, true, true)]), 64);
    let mut out = Vec::new();
    let mut blank = |_: &Record, payload: &mut [u8]| payload.fill(b'.');
    let origin = Origin::default();
    rewrite(&mut source(&whole), &mut out, origin, &mut blank, &|| false).unwrap();
    let (before, after) = (read(&whole).unwrap(), read(&out).unwrap());
    assert_eq!(before.records.len(), after.records.len());
    for ((a, was), (b, is)) in before.records.iter().zip(&after.records) {
        assert_eq!((a, was.len()), (b, is.len()));
        assert!(is.iter().all(|byte| *byte == b'.'));
    }
    assert_eq!(before.original_lens, after.original_lens);
    assert_eq!(totals(&whole), totals(&out));
}

#[test]
fn a_capture_that_ends_too_early_is_told_and_its_tail_is_not_known() {
    let mut whole = write(&run(&[(0, false, false)]), 64);
    whole.truncate(whole.len() - 10);
    let mut cut = source(&whole);
    let mut out = Vec::new();
    let origin = Origin::default();
    rewrite(&mut cut, &mut out, origin, &mut |_, _| {}, &|| false).unwrap();
    assert!(cut.trouble().unwrap().contains("cut off"));
    assert!(!read(&out).unwrap().statistics[0].tail_known);
}

/// A small recording that was started so many seconds later, and whose tracer's programs
/// were skipped so many times.
fn skipped(seconds: i64, times: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    let offset = CLOCK.offset_ns() + seconds * 1_000_000_000;
    let info = CaptureInfo::new(64, ClockOffset::new(offset, 40));
    let mut writer = CaptureWriter::new(&mut bytes, info).unwrap();
    for (record, payload) in run(&[(0, false, false), (1, false, false)]) {
        writer.write(&record, &payload).unwrap();
    }
    writer.tell_programs_skipped(times);
    writer.finish().unwrap();
    bytes
}

fn programs_skipped(bytes: &[u8]) -> Vec<u64> {
    let statistics = read(bytes).unwrap().statistics.into_iter();
    statistics.map(|each| each.programs_skipped).collect()
}

#[test]
fn skipped_programs_are_counted_once_a_recording() {
    assert_eq!(programs_skipped(&skipped(0, 0)), [0, 0]);
    let first = skipped(0, 3);
    assert_eq!(programs_skipped(&first), [3, 3], "on each interface");

    let mut out = Vec::new();
    let (mut first_again, origin) = (source(&first), Origin::default());
    rewrite(&mut first_again, &mut out, origin, &mut |_, _| {}, &|| {
        false
    })
    .unwrap();
    assert_eq!(programs_skipped(&out), [3, 3]);

    // A later file of the same recording, and another recording.
    let files = [first, skipped(0, 5), skipped(7, 2)];
    let (together, _) = merged(&files);
    assert_eq!(programs_skipped(&together), [7; 4]);
}
