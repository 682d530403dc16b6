//! Findings about rings.

use virtscope_record::{Body, Flags, InFlight, Kind, Missed, Producer, RingIndex, Used};

use super::{findings, ms, none, only};
use crate::FindingCode::{RingFull, StuckRequest, UsedLength};
use crate::testing::{Stream, tread};

/// A request in flight from the beginning until `end` ms.
fn in_flight_for(end: u64) -> Stream {
    let mut s = Stream::with_facts();
    s.at(ms(1))
        .add_message(0, 0, &tread(1, 2, 0, 100))
        .kick(0, 1)
        .taken(0, 0);
    s.at(ms(1 + end));
    s
}

#[test]
fn a_request_in_flight_for_two_seconds_is_stuck() {
    let finding = only(&mut in_flight_for(2000), StuckRequest);
    assert_eq!(
        finding.summary,
        "1 request is stuck in flight, the oldest for 2.00 s: the device took it and has not returned it."
    );
    assert_eq!(finding.evidence[0].request, Some(0));
    none(&mut in_flight_for(1999));
}

#[test]
fn one_that_came_back_after_two_seconds_was_stuck() {
    let used_after = |after| {
        let mut s = in_flight_for(after);
        s.callback(1, 0).used(0, 0);
        s
    };
    let finding = only(&mut used_after(2500), StuckRequest);
    assert!(
        finding.summary.contains("they came back"),
        "{}",
        finding.summary
    );
    none(&mut used_after(1900));
}

#[test]
fn room_for_what_may_come_is_not_stuck() {
    let mut s = Stream::with_facts();
    s.at(ms(1)).add(0, 0).kick(0, 1).at(ms(60_000));
    none(&mut s);
}

#[test]
fn after_a_loss_a_missing_return_proves_nothing() {
    let mut s = Stream::with_facts();
    s.at(ms(1))
        .add_message(0, 0, &tread(1, 2, 0, 100))
        .kick(0, 1);
    // Its return is lost, and another request goes by.
    s.at(ms(2)).callback(1, 0).used(0, 0).lose();
    s.at(ms(3))
        .add_message(1, 1, &tread(2, 2, 0, 100))
        .kick(1, 2);
    s.at(ms(5000));
    let findings = findings(&mut s);
    assert_eq!(findings.found, []);
    // Whether its kick was lost is as uncertain.
    assert_eq!(findings.undecided.len(), 2, "{findings:#?}");
    assert_eq!(findings.undecided[1].code, StuckRequest);
    let reason = &findings.undecided[1].reason;
    assert!(
        reason.ends_with("but 1 record of this queue was lost."),
        "{reason}"
    );
}

/// A thread is refused, and adds its buffer after that many ms.
fn refused_for(wait: u64) -> Stream {
    let mut s = Stream::with_facts();
    s.at(ms(1)).add_failed_request(28);
    s.at(ms(2)).add_failed_request(28);
    s.at(ms(1 + wait)).add(0, 0).kick(0, 1);
    s.at(ms(2 + wait)).callback(1, 0).used(0, 0);
    s.at(ms(5000)).kick(1, 1);
    s
}

#[test]
fn a_long_wait_for_room_is_a_finding() {
    let finding = only(&mut refused_for(1200), RingFull);
    assert_eq!(
        finding.summary,
        "1 thread waited for room in the ring, during 24 % of the time, at most 1.20 s."
    );
    assert_eq!(
        finding.evidence[0].text,
        "thread 101 waited once, 1.20 s in all, 1.20 s at most"
    );
    none(&mut refused_for(900));
}

#[test]
fn many_short_waits_are_a_finding_if_they_fill_the_time() {
    let waits = |waits: u64, pause| {
        let mut s = Stream::with_facts();
        let mut now = 1;
        for _ in 0..waits {
            s.at(ms(now)).add_failed_request(28);
            now += 10;
            s.at(ms(now)).add(0, 0).kick(0, 0);
            s.at(ms(now)).detach(0);
            now += pause;
        }
        s
    };
    assert_eq!(only(&mut waits(600, 1), RingFull).count, 600);
    none(&mut waits(600, 5));
    // Too short a time to say.
    none(&mut waits(100, 1));
}

#[test]
fn a_used_length_beyond_the_buffer_is_a_finding() {
    let used = |length| {
        let mut s = Stream::with_facts();
        s.at(10).add_message(0, 0, &tread(1, 2, 0, 100)).kick(0, 1);
        let body = Body::Used(Used {
            used_length: length,
            writable_bytes: 8192,
            used_index: RingIndex(1),
            ..Used::default()
        });
        s.at(20).callback(1, 0);
        s.push(Producer::DriverHalf, 0x1000, Flags::empty(), body, &[]);
        s
    };
    let finding = only(&mut used(8193), UsedLength);
    assert_eq!(
        finding.evidence[0].text,
        "used entry 0 says 8193 bytes for id 0, which has 8192 device-writable"
    );
    none(&mut used(8192));
}

/// A buffer whose add was missed has no room as far as its completion knows: that is no
/// proof, but one that has room, and not enough, is.
#[test]
fn a_used_length_proves_little_where_adds_were_missed() {
    let used = |writable, length| {
        let mut s = Stream::with_facts();
        s.at(5);
        let body = Body::Missed(Missed {
            operation: Kind::Add as u16,
            count: 1,
            new: RingIndex(1),
            head: Missed::NO_HEAD,
            ..Missed::default()
        });
        s.push(Producer::DriverHalf, 0, Flags::empty(), body, &[]);
        let body = Body::Used(Used {
            used_length: length,
            writable_bytes: writable,
            used_index: RingIndex(1),
            ..Used::default()
        });
        s.at(20).callback(1, 0);
        s.push(Producer::DriverHalf, 0x1000, Flags::empty(), body, &[]);
        findings(&mut s)
    };
    let said = used(0, 512);
    assert_eq!(said.found, []);
    let undecided: Vec<_> = said.undecided.iter().map(|each| each.code).collect();
    assert!(undecided.contains(&UsedLength), "{undecided:?}");
    let said = used(512, 513);
    assert!(said.found.iter().any(|each| each.code == UsedLength));
}

/// What records say together is no story where they stand in any order.
#[test]
fn records_in_disorder_prove_nothing() {
    let story = || {
        let mut s = Stream::with_facts();
        for i in 0..40 {
            s.at(u64::from(i) * 100)
                .add_message(i % 8, i, &tread(1, 2, 0, 100))
                .kick(i, i + 1)
                .callback(i + 1, i);
            let body = Body::Used(Used {
                used_length: 8193,
                writable_bytes: 8192,
                head: i % 8,
                position: RingIndex(i),
                used_index: RingIndex(i + 1),
                ..Used::default()
            });
            let token = crate::testing::token(i % 8);
            s.push(Producer::DriverHalf, token, Flags::empty(), body, &[]);
        }
        s
    };
    assert_eq!(only(&mut story(), UsedLength).count, 40);
    // A few do no harm.
    let mut s = story();
    s.records.swap(8, 9);
    assert_eq!(findings(&mut s).found[0].code, UsedLength);
    let mut s = story();
    for pair in s.records[1..].chunks_exact_mut(2) {
        pair.swap(0, 1);
    }
    let findings = findings(&mut s);
    assert_eq!(findings.found, []);
    let reasons = findings.undecided.iter();
    let used_length = reasons.clone().find(|each| each.code == UsedLength);
    assert!(used_length.unwrap().reason.contains("order in which"));
}

#[test]
fn a_buffer_whose_room_is_not_known_can_hold_what_the_device_says() {
    let used = |position| {
        Body::Used(Used {
            used_length: 54,
            position: RingIndex(position),
            used_index: RingIndex(position + 1),
            ..Used::default()
        })
    };
    let found = || {
        let mut s = Stream::with_facts();
        let found = Body::InFlight(InFlight::default());
        s.at(5);
        s.push(Producer::DriverHalf, 0x1000, Flags::empty(), found, &[]);
        s.at(20).callback(1, 0);
        s.push(Producer::DriverHalf, 0x1000, Flags::empty(), used(0), &[]);
        s
    };
    none(&mut found());
    // Of the next one under its id it is known.
    let mut s = found();
    s.at(30).add_message(0, 1, &tread(1, 2, 0, 100)).kick(1, 2);
    s.at(40).callback(2, 1);
    s.push(Producer::DriverHalf, 0x1000, Flags::empty(), used(1), &[]);
    only(&mut s, UsedLength);
}
