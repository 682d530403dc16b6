//! Each rule of joining, by a stream that needs it.

use virtscope_record::{NotificationReason, Timestamp};

use crate::life::{Announcement, Anomaly, Incomplete, Life, Outcome, Phases, Piece};
use crate::p9::MessageType;
use crate::testing::{Stream, analyze, message, rlerror, rread, tread};
use crate::{Errno, Operation};

fn ns(time: u64) -> Option<Timestamp> {
    Some(Timestamp::from_nanos(time))
}

fn complete(queued_ns: u64, device_ns: u64, harvest_ns: u64) -> Outcome {
    Outcome::Complete(Phases {
        queued_ns,
        device_ns,
        harvest_ns,
        announcement: Announcement::Callback,
    })
}

fn polled(queued_ns: u64, device_ns: u64) -> Outcome {
    Outcome::Complete(Phases {
        queued_ns,
        device_ns,
        harvest_ns: 0,
        announcement: Announcement::Polled,
    })
}

fn outcomes(stream: &Stream) -> Vec<(u16, Outcome)> {
    let (_, lives) = stream.analyze();
    lives.iter().map(|life| (life.head, life.outcome)).collect()
}

#[test]
fn a_life_has_three_phases() {
    let mut stream = Stream::with_facts();
    stream.at(100).add(3, 0).at(110).kick(0, 1);
    stream.at(150).callback(1, 0).at(157).used(3, 0);
    let life = stream.only_life();
    assert_eq!(life.outcome, complete(10, 40, 7));
    assert_eq!(life.total_ns(), Some(57));
    assert!(!life.device_half_seen);
    assert_eq!(life.overlap_ns, 0);
    let kick = life.kick.unwrap();
    assert!(kick.needed && !kick.raced);
    assert_eq!(kick.batch, 1);
}

#[test]
fn the_device_half_is_detail_inside_the_device_phase() {
    let mut stream = Stream::with_facts();
    stream.at(100).add(3, 0).at(110).kick(0, 1);
    stream.at(120).taken(3, 0).at(140).returned(3, 0);
    stream.at(145).interrupt(0, 1, true);
    stream.at(150).callback(1, 0).at(157).used(3, 0);
    let life = stream.only_life();
    assert_eq!(life.outcome, complete(10, 40, 7));
    assert!(life.device_half_seen);
    assert_eq!(life.service_ns(), Some(20));
    assert_eq!(life.moments.interrupt_sent, ns(145));
    assert_eq!(life.interrupted, Some(true));
}

#[test]
fn one_kick_covers_a_batch_across_the_wrap() {
    let mut stream = Stream::with_facts();
    stream
        .at(10)
        .add(0, 65534)
        .at(11)
        .add(1, 65535)
        .at(12)
        .add(2, 0);
    stream.at(20).kick(65534, 1);
    stream.at(30).callback(1, 65534);
    stream
        .at(40)
        .used(0, 65534)
        .at(41)
        .used(1, 65535)
        .at(42)
        .used(2, 0);
    assert_eq!(
        outcomes(&stream),
        [
            (0, complete(10, 10, 10)),
            (1, complete(9, 10, 11)),
            (2, complete(8, 10, 12)),
        ]
    );
    assert_eq!(stream.analyze().1[0].kick.unwrap().batch, 3);
}

/// Three buffers of two descriptors each in a packed ring of eight, over the wrap, and
/// one kick: it is about three.
fn three_packed() -> Stream {
    let mut stream = Stream::with_packed_facts();
    stream.at(100).add(0, 0x8004);
    stream.at(101).add(1, 0x8006).at(102).add(2, 0x0000);
    stream.at(110).kick(0x8004, 0x0002);
    stream
}

/// A packed ring does not say how much is used: of the entries behind the next one,
/// nobody knows whether the callback announced them.
#[test]
fn a_packed_callback_announces_the_next_entry() {
    let mut stream = three_packed();
    stream.at(150).packed_callback(0x8004, false);
    stream.at(160).used(0, 0x8004).at(161).used(1, 0x8006);
    stream.at(170).packed_callback(0x0000, true);
    stream.at(180).packed_callback(0x0000, false);
    stream.at(190).used(2, 0x0000);
    assert_eq!(
        outcomes(&stream),
        [
            (0, complete(10, 40, 10)),
            (1, polled(9, 51)),
            (2, complete(8, 70, 10)),
        ]
    );
    assert_eq!(stream.analyze().1[0].kick.unwrap().batch, 3);
}

/// Where the device half is ours, it says what had been returned by then.
#[test]
fn a_packed_callback_announces_what_the_device_had_returned() {
    let mut stream = three_packed();
    stream
        .at(140)
        .returned(0, 0x8004)
        .at(145)
        .returned(1, 0x8006);
    stream.at(150).packed_callback(0x8004, false);
    stream.at(155).returned(2, 0x0000);
    stream.at(160).used(0, 0x8004).at(161).used(1, 0x8006);
    stream.at(162).used(2, 0x0000);
    assert_eq!(
        outcomes(&stream),
        [
            (0, complete(10, 40, 10)),
            (1, complete(9, 40, 11)),
            (2, polled(8, 52)),
        ]
    );
}

#[test]
fn a_suppressed_kick_is_a_kick_decision() {
    let mut stream = Stream::with_facts();
    stream.at(10).add(0, 0);
    stream
        .at(12)
        .kick_as(0, 1, false, NotificationReason::FlagSet);
    stream.at(20).callback(1, 0).at(21).used(0, 0);
    let life = stream.only_life();
    assert_eq!(life.outcome, complete(2, 8, 1));
    assert!(!life.kick.unwrap().needed && !life.kick.unwrap().raced);
}

#[test]
fn verdict_and_sample_that_disagree_are_raced() {
    let mut stream = Stream::with_facts();
    stream.at(10).add(0, 0);
    stream
        .at(12)
        .kick_as(0, 1, true, NotificationReason::FlagSet);
    stream.at(21).used(0, 0);
    assert!(stream.only_life().kick.unwrap().raced);
}

#[test]
fn a_buffer_taken_without_a_callback_was_polled() {
    let mut stream = Stream::with_facts();
    stream.at(10).add(0, 0).at(12).kick(0, 1).at(30).used(0, 0);
    assert_eq!(stream.only_life().outcome, polled(2, 18));
}

/// The callback looked at the index when one entry was there; the driver's loop
/// found another. That one was polled, whatever a later callback says.
#[test]
fn what_the_loop_finds_after_the_callback_was_polled() {
    let mut stream = Stream::with_facts();
    stream.at(10).add(0, 0).at(10).add(1, 1).at(12).kick(0, 2);
    stream.at(20).callback(1, 0).at(21).callbacks(false, 0);
    stream.at(22).used(0, 0).at(25).used(1, 1);
    stream.at(26).callbacks(true, 2).at(30).callback(2, 2);
    assert_eq!(
        outcomes(&stream),
        [(0, complete(2, 8, 2)), (1, polled(2, 13))]
    );
}

/// The first callback that announces an entry counts, not a later one that says
/// it again.
#[test]
fn the_first_callback_beyond_the_entry_announces_it() {
    let mut stream = Stream::with_facts();
    stream
        .at(10)
        .add(0, 65535)
        .at(10)
        .add(1, 0)
        .at(12)
        .kick(65535, 1);
    stream.at(20).callback(0, 65535).at(24).callback(1, 65535);
    stream.at(30).used(0, 65535).at(31).used(1, 0);
    assert_eq!(
        outcomes(&stream),
        [(0, complete(2, 8, 10)), (1, complete(2, 12, 7))]
    );
}

#[test]
fn a_callback_of_an_earlier_batch_announces_nothing_later() {
    let mut stream = Stream::with_facts();
    stream.at(10).add(0, 0).at(12).kick(0, 1);
    stream
        .at(20)
        .callback(1, 0)
        .at(22)
        .used(0, 0)
        .at(23)
        .callback(1, 1);
    stream.at(30).add(0, 1).at(31).kick(1, 2).at(40).used(0, 1);
    assert_eq!(
        outcomes(&stream),
        [(0, complete(2, 8, 2)), (0, polled(1, 9))]
    );
}

#[test]
fn a_device_ahead_of_the_kick_is_overlap() {
    let mut stream = Stream::with_facts();
    stream
        .at(100)
        .add(0, 0)
        .at(105)
        .taken(0, 0)
        .at(120)
        .kick(0, 1);
    stream.at(130).returned(0, 0).at(131).interrupt(0, 1, true);
    stream.at(140).callback(1, 0).at(150).used(0, 0);
    let life = stream.only_life();
    assert_eq!(life.outcome, complete(20, 20, 10));
    assert_eq!(life.overlap_ns, 15);
}

#[test]
fn a_buffer_back_before_its_kick_has_no_negative_phase() {
    let mut stream = Stream::with_facts();
    stream
        .at(100)
        .add(0, 0)
        .at(110)
        .callback(1, 0)
        .at(120)
        .used(0, 0);
    stream.at(130).kick(0, 1);
    let life = stream.only_life();
    assert_eq!(life.outcome, complete(20, 0, 0));
    assert_eq!(life.overlap_ns, 20);
}

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

#[test]
fn in_flight_at_the_end_stays_in_flight() {
    let mut stream = Stream::with_facts();
    stream
        .at(100)
        .add(0, 0)
        .at(102)
        .kick(0, 1)
        .at(103)
        .add(1, 1);
    stream.final_statistics();
    let (analyzer, lives) = stream.analyze();
    assert!(lives.is_empty());
    assert_eq!(analyzer.request_totals().in_flight, 2);
    let in_flight = analyzer.in_flight();
    assert_eq!((in_flight[0].head, in_flight[1].head), (0, 1));
    assert_eq!(in_flight[0].moments.kicked, ns(102));
}

#[test]
fn what_was_in_flight_before_is_incomplete() {
    let mut stream = Stream::new();
    stream.facts(8, 1);
    stream.at(10).used(5, 40).at(20).used(6, 41);
    assert_eq!(
        outcomes(&stream),
        [
            (5, Outcome::Incomplete(Incomplete::BegunBefore)),
            (6, Outcome::Incomplete(Incomplete::Lost(Piece::Add))),
        ]
    );
}

fn lossy(lose: impl Fn(&mut Stream, &str)) -> Life {
    let mut stream = Stream::with_facts();
    stream.at(100).add(0, 0);
    lose(&mut stream, "add");
    stream.at(110).kick(0, 1);
    lose(&mut stream, "kick");
    stream.at(120).callback(1, 0);
    lose(&mut stream, "callback");
    stream.at(130).used(0, 0);
    lose(&mut stream, "used");
    stream.at(140).kick(1, 1);
    stream.final_statistics();
    stream.only_life()
}

#[test]
fn each_lost_piece_is_named() {
    for (name, piece) in [
        ("add", Piece::Add),
        ("kick", Piece::Kick),
        ("callback", Piece::Callback),
        ("used", Piece::Used),
    ] {
        let life = lossy(|stream, just| {
            if just == name {
                stream.lose();
            }
        });
        assert_eq!(
            life.outcome,
            Outcome::Incomplete(Incomplete::Lost(piece)),
            "{name}"
        );
    }
}

/// Probes that were skipped leave no hole in the sequence, but the ring's
/// positions tell.
#[test]
fn a_missed_operation_touches_lives_too() {
    let mut stream = Stream::with_facts();
    stream.at(10).add(0, 0).at(11).add(1, 1).at(12).kick(0, 2);
    stream.at(20).used(1, 0).miss();
    stream.at(21).add(1, 2).miss();
    stream.at(22).kick(2, 3);
    stream.at(30).used(0, 1).at(31).used(1, 2);
    let (analyzer, lives) = stream.analyze();
    let lost = |piece| Outcome::Incomplete(Incomplete::Lost(piece));
    assert_eq!(lives[0].outcome, lost(Piece::Callback));
    assert_eq!(lives[1].outcome, lost(Piece::Callback));
    assert_eq!(analyzer.record_totals().missed, 1);
}

#[test]
fn a_loss_of_the_device_half_costs_only_detail() {
    let mut stream = Stream::with_facts();
    stream.at(100).add(0, 0).at(110).kick(0, 1);
    stream.at(112).taken(0, 0).lose().at(114).returned(0, 0);
    stream.at(120).callback(1, 0).at(130).used(0, 0);
    let life = stream.only_life();
    assert_eq!(life.outcome, complete(10, 10, 10));
    assert_eq!((life.moments.taken, life.moments.returned), (None, ns(114)));
}

#[test]
fn an_id_added_again_ends_the_life_before() {
    let mut stream = Stream::with_facts();
    stream.at(10).add(0, 0).at(20).add(0, 1);
    assert_eq!(
        stream.only_life().outcome,
        Outcome::Incomplete(Incomplete::IdReused)
    );
}

#[test]
fn another_token_is_another_buffer() {
    let mut stream = Stream::with_facts();
    stream
        .at(10)
        .add(0, 0)
        .at(11)
        .kick(0, 1)
        .at(20)
        .used_as(0, 0, 99, &[]);
    let lost = |piece| Outcome::Incomplete(Incomplete::Lost(piece));
    assert_eq!(
        outcomes(&stream),
        [(0, lost(Piece::Used)), (0, lost(Piece::Add))]
    );
}

#[test]
fn a_reset_ends_what_is_in_flight() {
    let mut stream = Stream::with_facts();
    stream.at(10).add(0, 0).at(11).kick(0, 1).at(20).reset();
    stream.generation(1).at(30).facts(8, 0);
    stream
        .at(40)
        .add(0, 0)
        .at(41)
        .kick(0, 1)
        .at(50)
        .callback(1, 0);
    stream.at(60).used(0, 0);
    assert_eq!(
        outcomes(&stream),
        [
            (0, Outcome::Incomplete(Incomplete::QueueReset)),
            (0, complete(1, 9, 10)),
        ]
    );
}

/// The record of the reset may be lost; the generation still tells.
#[test]
fn a_new_generation_ends_the_one_before() {
    let mut stream = Stream::with_facts();
    stream.at(10).add(0, 0).at(20).reset().lose();
    stream.generation(1).at(40).add(0, 0);
    // A late word of the old generation is about nothing in flight.
    stream.generation(0).at(41).used(0, 0);
    let (analyzer, lives) = stream.analyze();
    assert_eq!(lives.len(), 1);
    assert_eq!(
        lives[0].outcome,
        Outcome::Incomplete(Incomplete::QueueReset)
    );
    assert_eq!(analyzer.request_totals().in_flight, 1);
}

#[test]
fn a_detached_buffer_was_never_used() {
    let mut stream = Stream::with_facts();
    stream.at(10).add(0, 0).at(20).detach(0);
    assert_eq!(
        stream.only_life().outcome,
        Outcome::Incomplete(Incomplete::Detached)
    );
}

#[test]
fn used_order_is_compared_with_add_order() {
    let mut stream = Stream::with_facts();
    stream.at(1).add(0, 0).add(1, 1).add(2, 2).kick(0, 3);
    stream.at(9).used(1, 0).used(0, 1).used(2, 2);
    let (_, lives) = stream.analyze();
    let order: Vec<_> = lives.iter().map(|life| life.out_of_order).collect();
    assert_eq!(order, [true, false, false]);
}

#[test]
fn a_request_is_decoded_with_its_reply() {
    let mut stream = Stream::with_facts();
    stream
        .at(1)
        .add_message(0, 0, &tread(7, 3, 4096, 512))
        .kick(0, 1);
    stream.at(9).used_message(0, 0, &rread(7, &[1; 100]));
    let life = stream.only_life();
    assert_eq!(life.operation, Operation::P9(MessageType::Tread));
    assert_eq!((life.data_bytes, life.error), (100, None));
    assert!(life.anomalies.is_empty());
    let request = life.request_9p().unwrap().unwrap();
    assert_eq!(
        request.to_string(),
        "Tread tag 7 fid 3 offset 4096 count 512"
    );
}

#[test]
fn an_error_reply_is_an_answer_to_anything() {
    let mut stream = Stream::with_facts();
    stream
        .at(1)
        .add_message(0, 0, &tread(7, 3, 0, 512))
        .kick(0, 1);
    stream.at(9).used_message(0, 0, &rlerror(7, 2));
    let life = stream.only_life();
    assert_eq!(life.error, Some(Errno(2)));
    assert!(life.anomalies.is_empty());
}

#[test]
fn a_reply_that_does_not_fit_is_an_anomaly() {
    let mut stream = Stream::with_facts();
    stream
        .at(1)
        .add_message(0, 0, &tread(7, 3, 0, 512))
        .kick(0, 1);
    stream.at(9).used_message(0, 0, &message(119, 8, &[0; 4]));
    assert_eq!(
        stream.only_life().anomalies,
        [
            Anomaly::ReplyTag {
                request: 7,
                reply: 8
            },
            Anomaly::ReplyType {
                request: MessageType::Tread,
                reply: MessageType::Rwrite
            },
        ]
    );
}

#[test]
fn malformed_messages_are_anomalies() {
    let mut stream = Stream::with_facts();
    stream.at(1).add_message(0, 0, b"\x02\0\0\0rea").kick(0, 1);
    stream.at(9).used_message(0, 0, b"\x0a\0\0\0\x07\0\0abc");
    let life = stream.only_life();
    assert_eq!(life.operation, Operation::Unknown9p);
    assert_eq!(
        life.anomalies,
        [Anomaly::MalformedRequest, Anomaly::MalformedReply]
    );
}

#[test]
fn a_request_that_was_not_captured_is_unknown_but_no_anomaly() {
    let mut stream = Stream::with_facts();
    stream
        .at(1)
        .add_message(0, 0, &tread(7, 3, 0, 512))
        .kick(0, 1);
    stream
        .records
        .iter_mut()
        .for_each(|(_, payload)| payload.truncate(0));
    stream.records[0].1 = b"q".to_vec();
    stream.at(9).used(0, 0);
    let (_, lives) = analyze(&stream.records);
    assert_eq!(lives[0].operation, Operation::Unknown9p);
    // A reply of no bytes was captured whole, and is none.
    assert_eq!(lives[0].anomalies, [Anomaly::MalformedReply]);
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
