//! What kicks, callbacks and the device half make of a life.

use super::*;

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
