//! What comes out of time, and what is waited for.

use super::*;

#[test]
fn device_records_a_little_out_of_time_find_their_life() {
    let mut stream = Stream::with_facts();
    // The stream's order is not that of the times.
    stream.at(105).taken(0, 0).at(108).returned(0, 0);
    stream.at(100).add(0, 0).at(102).kick(0, 1);
    stream.at(110).callback(1, 0).at(115).used(0, 0);
    stream.at(109).interrupt(0, 1, true);
    let life = stream.only_life();
    assert_eq!(life.outcome, complete(2, 8, 5));
    assert_eq!(
        (life.moments.taken, life.moments.returned),
        (ns(105), ns(108))
    );
    assert_eq!(life.moments.interrupt_sent, ns(109));
}

#[test]
fn returned_after_used_finds_the_life_that_waits() {
    let mut stream = Stream::with_facts();
    stream
        .at(100)
        .add(0, 0)
        .at(102)
        .kick(0, 1)
        .at(104)
        .taken(0, 0);
    stream.at(110).callback(1, 0).at(115).used(0, 0);
    // The id is in use again when the device half's word comes.
    stream.at(116).add(0, 1);
    stream.at(108).returned(0, 0).at(109).interrupt(0, 1, false);
    let life = stream.only_life();
    assert_eq!(life.moments.returned, ns(108));
    assert_eq!(
        (life.interrupted, life.moments.interrupt_sent),
        (Some(false), None)
    );
}

/// The device half's word about a buffer whose return was lost is not taken for one
/// about the next buffer of the same id.
#[test]
fn a_late_return_of_an_earlier_buffer_is_not_the_next_ones() {
    let mut stream = Stream::with_facts();
    stream.at(100).add(0, 0).at(102).kick(0, 1);
    stream.at(110).used(0, 0).lose();
    stream.at(120).add(0, 1).at(121).kick(1, 2);
    stream.at(105).returned(0, 0);
    stream.at(130).used(0, 1);
    let (_, lives) = stream.analyze();
    assert_eq!(lives[1].moments.added, ns(120));
    assert_eq!(lives[1].moments.returned, None);
}

/// A return at one used index is not that of a buffer found at another.
#[test]
fn a_return_must_name_the_entry_that_was_used() {
    let mut stream = Stream::with_facts();
    stream.at(100).add(0, 0).at(102).kick(0, 1);
    stream.at(105).returned(0, 7).at(110).used(0, 0);
    assert_eq!(stream.only_life().moments.returned, None);
}

#[test]
fn a_life_does_not_wait_for_ever_for_its_device_half() {
    let mut stream = Stream::with_facts();
    stream
        .at(100)
        .add(0, 0)
        .at(102)
        .kick(0, 1)
        .at(104)
        .taken(0, 0);
    stream.at(115).used(0, 0);
    stream.at(20_000_000).add(0, 1);
    let mut analyzer = crate::Analyzer::new(crate::Options::default());
    for (record, payload) in &stream.records {
        analyzer.push(record, payload);
    }
    assert_eq!(analyzer.request_totals().completed, 1);
    assert_eq!(analyzer.snapshot(None).recent[0].moments.returned, None);
}

/// The kick decision was lost and no later one tells so: the queue went quiet, and
/// only the statistics go on.
#[test]
fn a_life_does_not_wait_for_ever_for_its_kick_decision() {
    let mut stream = Stream::with_facts();
    stream.at(100).add(0, 0).at(102).kick(0, 1).lose();
    stream.at(110).callback(1, 0).at(115).used(0, 0);
    let mut analyzer = crate::Analyzer::new(crate::Options::default());
    let totals = |analyzer: &mut crate::Analyzer, stream: &mut Stream| {
        for (record, payload) in std::mem::take(&mut stream.records) {
            analyzer.push(&record, &payload);
        }
        let totals = analyzer.request_totals();
        (totals.completed, totals.incomplete, totals.in_flight)
    };
    assert_eq!(totals(&mut analyzer, &mut stream), (0, 0, 0));
    stream.at(9_000_000).statistics(false);
    assert_eq!(totals(&mut analyzer, &mut stream), (0, 0, 0));
    stream.at(11_000_000).statistics(false);
    assert_eq!(totals(&mut analyzer, &mut stream), (0, 1, 0));
    assert_eq!(
        analyzer.snapshot(None).recent[0].outcome,
        Outcome::Incomplete(Incomplete::Lost(Piece::Kick))
    );
}

/// Within that time it is not lost but late.
#[test]
fn a_kick_decision_after_the_return_still_counts() {
    let mut stream = Stream::with_facts();
    stream.at(100).add(0, 0).at(115).used(0, 0);
    stream.at(9_000_000).statistics(false).kick(0, 1);
    assert_eq!(stream.only_life().outcome, polled(15, 0));
}

/// A packed ring of eight. A buffer is used before its kick decision is made, and that is
/// lost; `lost` says whether two laps are lost with it. The next decision that is seen is
/// about the same positions.
fn kicked_two_laps_later(lost: bool) -> Life {
    let mut stream = Stream::with_packed_facts();
    let position = |lap: u16, offset: u16| match lap {
        0 => 0x8000 | offset,
        _ => offset,
    };
    stream.descriptors = 1;
    stream.at(100).add(0, position(0, 0));
    stream.at(110).used(0, position(0, 0));
    if lost {
        stream.at(120).kick(position(0, 0), position(0, 1)).lose();
        // Lists of five, five and five.
        stream.descriptors = 5;
        for (at, old, new) in [
            (130, position(0, 1), position(0, 6)),
            (140, position(0, 6), position(1, 3)),
            (150, position(1, 3), position(0, 0)),
        ] {
            stream.at(at).add(1, old).lose().kick(old, new).lose();
            stream.used(1, old).lose();
        }
        stream.descriptors = 1;
        stream.at(160).add(2, position(0, 0)).lose();
    }
    stream.at(170).kick(position(0, 0), position(0, 1));
    stream.final_statistics();
    let (_, lives) = stream.analyze();
    let life = lives.iter().find(|life| life.head == 0);
    (**life.expect("it was used")).clone()
}

/// What was lost between may have been whole laps: then the decision is another's, and
/// nothing is known of when this buffer's was made.
#[test]
fn a_kick_decision_of_a_later_lap_is_not_taken_for_the_lost_one() {
    let seen = kicked_two_laps_later(false);
    assert_eq!(seen.outcome, polled(10, 0));
    assert_eq!((seen.moments.kicked, seen.overlap_ns), (ns(170), 60));

    let lost = kicked_two_laps_later(true);
    let reason = Incomplete::Lost(Piece::Kick);
    assert_eq!(lost.outcome, Outcome::Incomplete(reason));
    assert_eq!((lost.moments.kicked, lost.overlap_ns), (None, 0));
    assert!(lost.kick.is_none());
}

/// One life over which a record is missing, which comes last or never: how many lives
/// had ended before that is known, and its outcome.
fn swapped(late_ns: u64, filled: bool) -> (u64, Outcome) {
    let mut stream = Stream::with_facts();
    stream.at(100).add(0, 0).at(102).kick(0, 1);
    // Its number is taken, but it comes later or never.
    stream.at(late_ns).callbacks(true, 0);
    let late = stream.records.pop().unwrap();
    stream.at(110).callback(1, 0).at(115).used(0, 0);
    let mut analyzer = crate::Analyzer::new(crate::Options::default());
    for (record, payload) in &stream.records {
        analyzer.push(record, payload);
    }
    let before = analyzer.request_totals();
    if filled {
        analyzer.push(&late.0, &late.1);
    } else {
        stream.records.clear();
        stream.at(11_000_000).statistics(false);
        analyzer.push(&stream.records[0].0, &[]);
    }
    let ended = before.completed + before.incomplete;
    (ended, analyzer.snapshot(None).recent[0].outcome)
}

#[test]
fn a_life_waits_until_a_hole_is_filled_or_confirmed() {
    let touched = Outcome::Incomplete(Incomplete::Lost(Piece::Callback));
    assert_eq!(swapped(120, true), (0, complete(2, 8, 5)));
    assert_eq!(swapped(120, false), (0, touched));
    // What comes against the order of time was wanting when the others came.
    assert_eq!(swapped(105, true), (0, touched));
    assert_eq!(swapped(115, true), (0, touched));
}

/// A hole is confirmed by later records, too, though no time goes by.
#[test]
fn holes_do_not_stay_open_for_ever() {
    let mut stream = Stream::with_facts();
    stream.at(100).add(0, 0).kick(0, 1).callback(0, 0).lose();
    stream.used(0, 0);
    let mut analyzer = crate::Analyzer::new(crate::Options::default());
    for _ in 0..255 {
        stream.callbacks(true, 1);
    }
    for (record, payload) in &stream.records {
        analyzer.push(record, payload);
    }
    assert_eq!(analyzer.request_totals().incomplete, 0);
    stream.callbacks(true, 1);
    let (record, payload) = stream.records.last().unwrap();
    analyzer.push(record, payload);
    assert_eq!(analyzer.request_totals().incomplete, 1);
}
