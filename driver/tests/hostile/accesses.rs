//! A lie at every access of every operation. An operation reads each word that the
//! device writes once at most: so if the device changes one word meanwhile, it ends
//! either as if the change had come before it, or as if it came after, and which of
//! the two the place of the one read says.

use crate::case::{Op, Seen};
use crate::harness::words::{self, set};
use crate::harness::{Access, Area, Plan, Ring, When, Word};
use crate::moment::{Moment, PACKED, SPLIT};

const PLANS: [Plan; 8] = [
    SPLIT,
    SPLIT.event_idx(),
    SPLIT.in_order(),
    SPLIT.indirect().event_idx(),
    PACKED,
    PACKED.event_idx(),
    PACKED.in_order(),
    PACKED.indirect().event_idx(),
];
const OPS: [Op; 7] = [
    Op::Get,
    Op::Kick,
    Op::Enable,
    Op::EnableDelayed,
    Op::Poll,
    Op::Interrupt,
    Op::Publish,
];

/// Every so many of them with Miri, which is slow.
fn some(step: usize) -> usize {
    if cfg!(miri) { step } else { 1 }
}

/// Rings in which the device has returned a buffer, and some in which it has not.
fn rings() -> impl Iterator<Item = (Plan, Moment, bool)> {
    let moments = [
        Moment::Unkicked,
        Moment::Hidden,
        Moment::Quiet,
        Moment::Between,
        Moment::InBatch,
    ];
    let all = PLANS.into_iter().flat_map(move |plan| {
        let each = moments
            .into_iter()
            .filter(move |moment| *moment != Moment::InBatch || plan.features.in_order)
            .flat_map(|moment| [(moment, false), (moment, true)]);
        each.map(move |(moment, returned)| (plan, moment, returned))
    });
    all.step_by(some(45))
}

fn ring((plan, moment, returned): (Plan, Moment, bool)) -> Ring {
    let mut ring = moment.ring(plan);
    if returned && !ring.taken.is_empty() {
        ring.give_back(1);
    }
    ring
}

/// What else a word could say.
fn lies(word: Word, value: u64) -> Vec<u64> {
    let mask = match word.bytes {
        2 => u64::from(u16::MAX),
        4 => u64::from(u32::MAX),
        _ => u64::MAX,
    };
    let mut lies = vec![
        0,
        mask,
        value ^ 1,
        value.wrapping_add(1),
        value.wrapping_sub(1),
    ];
    if word.bytes == 8 {
        // The id, the length, and the flags that say whose a descriptor is.
        lies.extend([
            value ^ 1 << 32,
            value ^ 8,
            value ^ 0x8000 << 48,
            value ^ 0x8080 << 48,
        ]);
    }
    lies.iter_mut().for_each(|lie| *lie &= mask);
    lies.retain(|lie| *lie != value);
    lies.sort_unstable();
    lies.dedup();
    lies
}

/// What `op` answers if this is written right before its access `at`.
fn answer(of: (Plan, Moment, bool), op: Op, at: usize, lies: &[(Word, u64)]) -> Seen {
    let mut ring = ring(of);
    for (word, value) in lies {
        let when = When::Access(at as u32);
        ring.watch.arm(when, set(*word, *value));
    }
    let seen = op.run(&mut ring);
    ring.finish();
    seen
}

#[test]
fn no_operation_believes_a_word_twice() {
    let (mut runs, mut different) = (0, 0);
    for of in rings() {
        for op in OPS.into_iter().step_by(some(3)) {
            let mut honest = ring(of);
            let unmoved = op.run(&mut honest);
            let log: Vec<Access> = honest.accesses().to_vec();
            for (at, Access { word, .. }) in log.iter().enumerate().filter(|(_, one)| one.is_load) {
                let reads = log.iter().filter(|one| one.is_load && one.word == *word);
                assert_eq!(reads.count(), 1, "{op:?} reads {word:?} twice: {of:?}");
                for value in lies(*word, honest.watch.read(*word))
                    .into_iter()
                    .step_by(some(3))
                {
                    let moved = answer(of, op, 0, &[(*word, value)]);
                    different += usize::from(moved != unmoved);
                    for when in (1..=log.len()).step_by(some(4)) {
                        let seen = answer(of, op, when, &[(*word, value)]);
                        let expected = if when <= at { moved } else { unmoved };
                        assert_eq!(
                            seen, expected,
                            "{op:?}, {word:?} = {value:#x} at {when}: {of:?}"
                        );
                        runs += 1;
                    }
                }
            }
        }
    }
    assert!(
        different > if cfg!(miri) { 0 } else { 200 },
        "{different} of {runs} matter"
    );
}

#[test]
fn no_operation_reads_what_the_driver_wrote() {
    for of in rings() {
        for op in OPS.into_iter().step_by(some(3)) {
            let mut honest = ring(of);
            let expected = op.run(&mut honest);
            let log: Vec<Access> = honest.accesses().to_vec();
            // All words at once that the operation has no business with.
            let foreign = words::all(of.0).into_iter().filter(|word| {
                let is_event = word.area == Area::Device && word.bytes == 4 && word.offset == 0;
                !is_event && !log.iter().any(|one| one.word == *word)
            });
            let foreign: Vec<_> = foreign.map(|word| (word, u64::MAX)).collect();
            for when in (0..=log.len()).step_by(some(4)) {
                let seen = answer(of, op, when, &foreign);
                assert_eq!(seen, expected, "{op:?} at {when}: {of:?}");
            }
        }
    }
}
