//! Findings about requests that others wait for, and that are slow.

use super::{Stream, give_back, ms, none, only, request, tread};
use crate::FindingCode::{HeadOfLineBlocking, LatencyOutliers};

/// A slow request and others behind it, several times. The others come back right
/// behind it, or `ahead` of it.
fn convoys(convoys: u64, followers: u16, slow_ms: u64, ahead: bool) -> Stream {
    let mut s = Stream::with_facts();
    let mut position = 0;
    for convoy in 0..convoys {
        let begin = ms(1 + convoy * 1000);
        for id in 0..=followers {
            let at = begin + u64::from(id) * 1000;
            s.at(at)
                .add_message(id, position + id, &tread(1 + id, 2, 0, 100))
                .kick(position + id, position + id + 1)
                .taken(id, position + id);
        }
        let order: Vec<u16> = if ahead {
            (1..=followers).chain([0]).collect()
        } else {
            (0..=followers).collect()
        };
        for (nth, id) in (0_u16..).zip(order) {
            let done = if ahead && id != 0 {
                begin + ms(1)
            } else {
                begin + ms(slow_ms)
            };
            let at = done + u64::from(nth) * 1000;
            give_back(&mut s, id, position + nth, at, at + 500);
        }
        position += followers + 1;
    }
    s
}

#[test]
fn requests_that_come_back_right_behind_a_slow_one_were_blocked() {
    let finding = only(&mut convoys(8, 4, 60, false), HeadOfLineBlocking);
    assert_eq!(
        finding.summary,
        "8 times a slow request held up those behind it: 79 % of all time in requests was spent so."
    );
    assert_eq!(
        finding.evidence[0].text,
        "read id 0 took 60.0 ms, and 4 behind it came back with it"
    );
    // Overtaken; too few behind it; not slow enough.
    none(&mut convoys(8, 4, 60, true));
    none(&mut convoys(8, 3, 60, false));
    none(&mut convoys(8, 4, 49, false));
}

/// Many requests of a millisecond, and one that takes so long while another is in
/// flight.
fn with_one_of(slow_ms: u64, usual_us: u64) -> Stream {
    let mut s = Stream::with_facts();
    for number in 0..200_u16 {
        let at = ms(1 + u64::from(number) * 50);
        let took = usual_us * 1000;
        request(&mut s, 0, number, [at, at + took, at + took + 100]);
    }
    let begin = ms(20_000);
    let position = 200;
    for (id, position) in [(0, position), (1, position + 1)] {
        s.at(begin)
            .add_message(id, position, &tread(1 + id, 2, 0, 100))
            .kick(position, position + 1)
            .taken(id, position);
    }
    give_back(
        &mut s,
        0,
        position,
        begin + ms(slow_ms),
        begin + ms(slow_ms) + 100,
    );
    give_back(
        &mut s,
        1,
        position + 1,
        begin + ms(slow_ms + 1),
        begin + ms(slow_ms + 2),
    );
    s
}

#[test]
fn a_request_far_slower_than_its_kind_is_an_outlier() {
    let finding = only(&mut with_one_of(1100, 1000), LatencyOutliers);
    assert_eq!(
        finding.summary,
        "2 requests took more than 20 times longer than 99 % of their kind, the longest 1.10 s."
    );
    assert_eq!(
        finding.evidence[1].text,
        "read id 0 took 1.10 s (99 % of its kind take less than 1.05 ms); in flight when it came \
         back: 1 read"
    );
    // Not that long; or all are slow.
    none(&mut with_one_of(990, 1000));
    none(&mut with_one_of(1100, 40_000));
}
