//! Findings about how the two halves notify each other, and about what is added.

use virtscope_record::{Add, Body, Flags, NotificationReason, Producer};

use super::{Stream, ms, none, only, request};
use crate::FindingCode::{ChainTooLong, InterruptStorm, KicksWithoutBatching, SpuriousInterrupts};

/// Callbacks at this distance, so many for each request.
fn callbacks(many: u64, distance_us: u64, for_each: u64) -> Stream {
    let mut s = Stream::with_facts();
    let mut position = 0;
    for number in 0..many {
        let at = 1000 + number * distance_us * 1000;
        if number % for_each == 0 {
            request(&mut s, 0, position, [at, at + 100, at + 200]);
            position += 1;
        } else {
            s.at(at).callback(position, position);
        }
    }
    s
}

#[test]
fn a_thousand_callbacks_a_second_for_nothing_are_a_storm() {
    let found = super::codes(&mut callbacks(1000, 500, 10));
    assert_eq!(found, [InterruptStorm, SpuriousInterrupts]);
    // As often, with something to do; or for nothing, and not that often.
    assert_eq!(
        super::codes(&mut callbacks(1000, 500, 2)),
        [SpuriousInterrupts]
    );
    assert_eq!(
        super::codes(&mut callbacks(300, 2000, 10)),
        [SpuriousInterrupts]
    );
}

/// Three requests, each announced, and a callback for nothing; again and again.
fn one_in_four() -> Stream {
    let mut s = Stream::with_facts();
    let mut position = 0;
    for number in 0..400 {
        let at = 1000 + number * 2_000_000;
        if number % 4 == 3 {
            s.at(at).callback(position, position);
        } else {
            request(&mut s, 0, position, [at, at + 100, at + 200]);
            position += 1;
        }
    }
    s
}

#[test]
fn interrupts_that_mostly_find_nothing_are_a_finding() {
    let finding = only(&mut callbacks(400, 2000, 2), SpuriousInterrupts);
    assert_eq!(
        finding.summary,
        "200 of 400 interrupts (50 %) found nothing used."
    );
    none(&mut one_in_four());
    // Too few to say.
    none(&mut callbacks(90, 2000, 10));
}

/// Pairs of buffers added by one thread, each kicked, at this distance.
fn pairs(many: u16, distance_ns: u64, sent: bool) -> Stream {
    let mut s = Stream::with_facts();
    for pair in 0..many {
        let (at, position) = (u64::from(pair) * 1_000_000, 2 * pair);
        for second in 0..2 {
            let (id, position) = (second, position + second);
            s.at(at + u64::from(second) * distance_ns).add(id, position);
            s.kick_as(position, position + 1, sent, NotificationReason::Unknown);
            s.taken(id, position);
        }
        s.at(at + 500_000);
        for (id, position) in [(0, position), (1, position + 1)] {
            s.returned(id, position)
                .interrupt(position, position + 1, true);
            s.callback(position + 1, position).used(id, position);
        }
    }
    s
}

#[test]
fn kicks_that_could_have_been_one_are_a_finding() {
    let finding = only(&mut pairs(1500, 10_000, true), KicksWithoutBatching);
    assert_eq!(finding.count, 1500);
    // Not close enough to have been at hand; not sent; too few.
    none(&mut pairs(1500, 100_000, true));
    none(&mut pairs(1500, 10_000, false));
    none(&mut pairs(900, 10_000, true));
}

#[test]
fn a_thread_that_waits_for_its_replies_could_not_have_batched() {
    let mut s = Stream::with_facts();
    for number in 0..3000 {
        let at = 1000 + u64::from(number) * 20_000;
        request(&mut s, 0, number, [at, at + 5_000, at + 10_000]);
    }
    none(&mut s);
}

/// So many buffers of so many descriptors, in a ring of eight.
fn long(many: u16, descriptors: u16, flags: Flags) -> Stream {
    let mut s = Stream::with_facts();
    for position in 0..many {
        let body = Body::Add(Add {
            position: virtscope_record::RingIndex(position),
            descriptors,
            readable_segments: 1,
            writable_segments: descriptors.max(2) - 1,
            ..Add::default()
        });
        s.at(ms(1) + u64::from(position) * 1000);
        s.push(Producer::DriverHalf, 0x1000, flags, body, &[]);
        s.kick(position, position + 1).taken(0, position);
        s.returned(0, position)
            .interrupt(position, position + 1, true);
        s.callback(position + 1, position).used(0, position);
    }
    s
}

#[test]
fn buffers_of_more_than_half_a_ring_are_long() {
    let finding = only(&mut long(100, 5, Flags::empty()), ChainTooLong);
    assert_eq!(
        finding.summary,
        "100 buffers take more than half of the ring without VIRTIO_F_INDIRECT_DESC, so that it \
         holds one of them at a time."
    );
    none(&mut long(100, 4, Flags::empty()));
    none(&mut long(99, 5, Flags::empty()));
}

#[test]
fn a_buffer_of_more_segments_than_the_ring_has_entries_is_a_finding() {
    let refused = |segments: u16| {
        let mut s = Stream::with_facts();
        let body = Body::AddFailed(Add {
            error: 22,
            readable_segments: 1,
            writable_segments: segments - 1,
            ..Add::default()
        });
        s.at(100);
        s.push(Producer::DriverHalf, 0, Flags::empty(), body, &[]);
        s
    };
    let finding = only(&mut refused(9), ChainTooLong);
    assert_eq!(
        finding.evidence[0].text,
        "9 segments refused with error 22; the ring has 8 entries"
    );
    none(&mut refused(8));
}
