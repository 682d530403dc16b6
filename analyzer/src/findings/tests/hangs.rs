//! Findings about what does not come, or comes only when something else does.

use super::{Stream, codes, findings, give_back, ms, none, only, request, tread};
use crate::FindingCode::{
    DeviceNotConsuming, IndexJump, LatencyOutliers, LostInterrupt, LostKick, ResetInFlight,
    StuckRequest, TokenNeverReturned, UnknownOrRepeatedId,
};
use crate::{Analyzer, Options};
use virtscope_captures::Selection;
use virtscope_record::{Body, Flags, Producer, RingIndex, Used};

fn add(s: &mut Stream, id: u16, at: u64) {
    s.at(ms(at))
        .add_message(id, id, &tread(1 + id, 2, 0, 100))
        .kick(id, id + 1);
}

/// A first request that goes well, so that the device is known to be there.
fn begun() -> Stream {
    let mut s = Stream::with_facts();
    request(&mut s, 0, 0, [10, 20, 30]);
    s
}

#[test]
fn a_device_that_sleeps_on_after_a_kick_has_lost_it() {
    let hang = |end: u64| {
        let mut s = begun();
        add(&mut s, 1, 1);
        s.at(ms(1 + end));
        s
    };
    assert_eq!(codes(&mut hang(2000)), [LostKick, StuckRequest]);
    none(&mut hang(1999));
}

/// The kick of the first of two buffers is made up for by that of the second.
fn woken_by_the_next(kick: u64, taken: u64) -> Stream {
    let mut s = begun();
    add(&mut s, 1, 1);
    add(&mut s, 2, kick);
    s.at(ms(taken)).taken(1, 1).taken(2, 2);
    give_back(&mut s, 1, 1, ms(taken) + 10, ms(taken) + 20);
    give_back(&mut s, 2, 2, ms(taken) + 30, ms(taken) + 40);
    s
}

#[test]
fn a_kick_that_only_the_next_made_up_for_was_lost() {
    let finding = only(&mut woken_by_the_next(1200, 1201), LostKick);
    assert_eq!(
        finding.summary,
        "1 kick was lost: only the next kick woke the device."
    );
    assert_eq!(
        finding.evidence[0].text,
        "kicked, and taken only 1.20 s later, right after the next kick"
    );
    assert_eq!(finding.evidence[0].request, Some(1));
    // Soon enough to be chance, or not soon after the next.
    none(&mut woken_by_the_next(900, 901));
    none(&mut woken_by_the_next(500, 1201));
}

#[test]
fn a_device_that_wakes_by_itself_has_lost_no_kick() {
    let mut s = begun();
    add(&mut s, 1, 1);
    s.at(ms(1201)).taken(1, 1);
    give_back(&mut s, 1, 1, ms(1202), ms(1203));
    none(&mut s);
}

#[test]
fn a_device_that_takes_nothing_however_often_it_is_notified_consumes_nothing() {
    let hang = |end: u64| {
        let mut s = begun();
        add(&mut s, 1, 1);
        add(&mut s, 2, 500);
        add(&mut s, 3, 1000);
        s.at(ms(1 + end));
        s
    };
    assert_eq!(codes(&mut hang(2100)), [DeviceNotConsuming, StuckRequest]);
    none(&mut hang(1900));
    let text = &findings(&mut hang(2100)).found[0].summary;
    assert_eq!(
        text,
        "The device has taken nothing for 2.10 s: 3 requests wait for it."
    );
}

#[test]
fn a_device_that_went_on_later_was_not_consuming() {
    let paused = |until| {
        let mut s = begun();
        for (id, at) in [(1, 1), (2, 500), (3, 1000)] {
            add(&mut s, id, at);
        }
        s.at(ms(until)).taken(1, 1).taken(2, 2).taken(3, 3);
        for id in 1..4 {
            give_back(&mut s, id, id, ms(until) + 1, ms(until) + 2);
        }
        s
    };
    let found = codes(&mut paused(2500));
    assert_eq!(found, [DeviceNotConsuming, StuckRequest]);
    none(&mut paused(1900));
}

#[test]
fn without_the_devices_half_it_is_not_said_which_it_was() {
    let mut s = Stream::with_facts();
    add(&mut s, 0, 1);
    s.at(ms(2500));
    s.driver_statistics();
    let (analyzer, _) = s.analyze();
    let findings = analyzer.findings_at(None, true);
    let found: Vec<_> = findings.found.iter().map(|found| found.code).collect();
    assert_eq!(found, [StuckRequest]);
    let undecided: Vec<_> = findings.undecided.iter().map(|each| each.code).collect();
    assert_eq!(undecided, [LostKick, LostInterrupt]);
}

#[test]
fn without_the_devices_half_many_kicks_and_no_return_say_enough() {
    let mut s = Stream::with_facts();
    for id in 0..4 {
        add(&mut s, id, 1 + 100 * u64::from(id));
    }
    s.at(ms(2500));
    s.driver_statistics();
    let (analyzer, _) = s.analyze();
    let found: Vec<_> = analyzer.findings_at(None, true).found;
    let found: Vec<_> = found.iter().map(|found| found.code).collect();
    assert_eq!(found, [DeviceNotConsuming, StuckRequest]);
}

#[test]
fn an_interrupt_that_calls_nobody_back_was_lost() {
    let hang = |end: u64| {
        let mut s = begun();
        add(&mut s, 1, 1);
        s.taken(1, 1).returned(1, 1).interrupt(1, 2, true);
        s.at(ms(1 + end));
        s
    };
    assert_eq!(codes(&mut hang(2000)), [LostInterrupt, StuckRequest]);
    none(&mut hang(1999));
}

#[test]
fn an_interrupt_that_only_the_next_made_up_for_was_lost() {
    let late = |next: Option<u64>, found| {
        let mut s = begun();
        add(&mut s, 1, 1);
        s.taken(1, 1).returned(1, 1).interrupt(1, 2, true);
        let mut used = 2;
        if let Some(next) = next {
            add(&mut s, 2, next);
            s.taken(2, 2).returned(2, 2).interrupt(2, 3, true);
            used = 3;
        }
        s.at(ms(found)).callback(used, 1).used(1, 1);
        if next.is_some() {
            s.used(2, 2);
        }
        s
    };
    let finding = only(&mut late(Some(1300), 1301), LostInterrupt);
    assert_eq!(
        finding.evidence[0].text,
        "returned, the interrupt sent, and 1.30 s later announced only by the next interrupt"
    );
    // Late is not lost, and neither is a callback long after the next.
    none(&mut late(None, 1301));
    none(&mut late(Some(500), 1301));
    none(&mut late(Some(900), 901));
}

#[test]
fn a_returned_buffer_that_the_driver_found_by_looking_was_not_announced() {
    let polled = |at| {
        let mut s = begun();
        add(&mut s, 1, 1);
        s.taken(1, 1).returned(1, 1).interrupt(1, 2, true);
        s.at(ms(at)).used(1, 1);
        s
    };
    assert!(
        only(&mut polled(1100), LostInterrupt).evidence[0]
            .text
            .contains("by looking")
    );
    none(&mut polled(900));
}

#[test]
fn a_buffer_that_others_pass_for_seconds_was_never_returned() {
    let passed = |many: u64, ended: bool| {
        let mut s = begun();
        add(&mut s, 1, 1);
        s.taken(1, 1);
        for number in 0..many {
            let at = ms(10 + number * 2500 / many);
            let position = 2 + number as u16;
            s.at(at)
                .add_message(2, position, &tread(9, 2, 0, 100))
                .kick(position, position + 1)
                .taken(2, position);
            s.at(at + 100)
                .returned(2, position - 1)
                .interrupt(position - 1, position, true);
            s.at(at + 200)
                .callback(position, position - 1)
                .used(2, position - 1);
        }
        if ended {
            let position = 1 + many as u16;
            give_back(&mut s, 1, position, ms(2600), ms(2600) + 10);
        }
        s.at(ms(2600));
        s
    };
    assert_eq!(
        codes(&mut passed(300, false)),
        [TokenNeverReturned, StuckRequest]
    );
    // Few passed it; or it did come back in the end.
    assert_eq!(codes(&mut passed(50, false)), [StuckRequest]);
    assert_eq!(
        codes(&mut passed(300, true)),
        [StuckRequest, LatencyOutliers]
    );
}

/// An id that is given again shows that a return is missing. Of what was left out on
/// purpose nobody says where; of a whole stream a loss would be known.
#[test]
fn an_id_that_is_given_again_proves_nothing_in_a_part() {
    let mut s = begun();
    add(&mut s, 1, 1);
    request(&mut s, 1, 2, [ms(2), ms(2) + 10, ms(2) + 20]);
    assert_eq!(only(&mut s, TokenNeverReturned).count, 1);

    let cut = Selection {
        cut: true,
        ..Selection::WHOLE
    };
    let mut part = Analyzer::new(Options {
        selection: cut,
        ..Options::default()
    });
    for (record, payload) in &s.records {
        part.push(record, payload);
    }
    part.finish();
    let findings = part.findings_at(None, true);
    assert_eq!(findings.found, []);
    assert_eq!(findings.undecided[0].code, TokenNeverReturned);
}

#[test]
fn requests_in_flight_at_a_reset_are_a_finding() {
    let mut s = begun();
    add(&mut s, 1, 1);
    s.at(ms(2)).reset();
    let finding = only(&mut s, ResetInFlight);
    assert_eq!(
        finding.summary,
        "1 request was in flight when the queue was reset or taken down."
    );
    let mut s = begun();
    add(&mut s, 1, 1);
    s.at(ms(2)).detach(1);
    assert_eq!(only(&mut s, ResetInFlight).count, 1);
    // Nothing in flight; or only room for what may come.
    let mut s = begun();
    s.reset();
    none(&mut s);
    let mut s = begun();
    s.at(ms(1)).add(1, 1).kick(1, 2).at(ms(2)).reset();
    none(&mut s);
}

/// What the driver records of an entry it does not believe.
fn broken(s: &mut Stream, id: u16, length: u32, used_index: u16) {
    let body = Body::Used(Used {
        error: 5,
        head: id,
        used_length: length,
        position: RingIndex(1),
        used_index: RingIndex(used_index),
        ..Used::default()
    });
    s.push(Producer::DriverHalf, 0, Flags::BROKEN, body, &[]);
}

#[test]
fn ids_that_name_no_buffer_are_told_apart() {
    let with = |id, length, used_index| {
        let mut s = begun();
        add(&mut s, 1, 1);
        s.taken(1, 1);
        broken(&mut s, id, length, used_index);
        s
    };
    let unknown = |id| {
        only(&mut with(id, 10, 2), UnknownOrRepeatedId)
            .evidence
            .remove(0)
            .text
    };
    assert!(
        unknown(300).contains("id 300 (or more) in a ring of 8"),
        "{}",
        unknown(300)
    );
    assert!(
        unknown(0).contains("returned twice, or never given"),
        "{}",
        unknown(0)
    );
    assert!(unknown(1).contains("before buffers that were made available earlier"));
    only(&mut with(1, 9000, 2), crate::FindingCode::UsedLength);
    only(&mut with(1, 10, 1000), IndexJump);
}

#[test]
fn indices_may_run_ahead_by_the_ring_and_no_further() {
    let callback = |used_index| {
        let mut s = begun();
        s.at(100).callback(used_index, 1);
        s
    };
    let finding = only(&mut callback(10), IndexJump);
    assert_eq!(
        finding.evidence[0].text,
        "the used index was 10 where 1 came next, in a ring of 8"
    );
    none(&mut callback(9));
    // Back is further ahead than any ring is long.
    only(&mut callback(0), IndexJump);
}

/// Of a stretch without any record nobody knows whether it passed: what lay in flight over
/// it is stuck only if it is without it.
#[test]
fn what_lay_over_a_stillness_is_stuck_only_by_what_is_known() {
    const HOUR: u64 = 3_600_000;
    // Of its kind enough are known for an outlier.
    let over = |known: u64| {
        let mut s = Stream::with_facts();
        for id in 0..120 {
            request(
                &mut s,
                id % 8,
                id,
                [10, 20, 30].map(|ns| u64::from(id) * 40 + ns),
            );
        }
        add(&mut s, 120, 1);
        s.taken(120, 120);
        give_back(&mut s, 120, 120, ms(HOUR), ms(HOUR + known));
        findings(&mut s)
    };
    let found = over(0);
    assert_eq!(found.found, []);
    let undecided: Vec<_> = found.undecided.iter().map(|each| each.code).collect();
    assert_eq!(undecided, [StuckRequest, LatencyOutliers]);
    assert!(
        found.undecided[0]
            .reason
            .contains("clock may have been set forward")
    );
    let found = over(2001);
    let codes: Vec<_> = found.found.iter().map(|each| each.code).collect();
    assert!(codes.contains(&StuckRequest), "{codes:?}");

    // One that is in flight still.
    let hangs = |known: u64| {
        let mut s = begun();
        add(&mut s, 1, 1);
        s.at(ms(HOUR)).callback(1, 1);
        s.at(ms(HOUR + known));
        s
    };
    assert!(codes_of(&mut hangs(1000)).is_empty());
    assert!(codes_of(&mut hangs(2001)).contains(&StuckRequest));
}

fn codes_of(s: &mut Stream) -> Vec<crate::FindingCode> {
    findings(s).found.iter().map(|each| each.code).collect()
}
