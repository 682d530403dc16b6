//! Cases whose end is computed: every id, every step of the index, every pair of
//! flags. What is computed knows how buffers stand ([`Moment::standing`]) and what
//! the specification says, and nothing of the driver.

use virtscope_driver::ring::Violation;
use virtscope_record::{Layout, RingIndex};

use crate::case::{Case, Op, Seen};
use crate::harness::words::{USED_IDX, set, set_tail, tail, used_id, used_len};
use crate::harness::{Lie, Plan};
use crate::moment::{Moment, PACKED, SPLIT, Standing};

const MOMENTS: [Moment; 4] = [Moment::Full, Moment::Hidden, Moment::Taken, Moment::Beyond];

pub(super) fn cases() -> impl Iterator<Item = Case> {
    let plans = [
        SPLIT.sized(4),
        SPLIT.sized(16),
        PACKED.sized(5),
        PACKED.sized(16),
    ];
    let plans = plans.into_iter().flat_map(|plan| [plan, plan.indirect()]);
    let rings = plans.flat_map(|plan| MOMENTS.map(|moment| (plan, moment)));
    let rings: Vec<_> = rings
        .filter(|(plan, moment)| fits(*plan, *moment))
        .collect();
    let ids = rings
        .clone()
        .into_iter()
        .flat_map(|(plan, moment)| ids(plan, moment));
    let (split, packed): (Vec<_>, Vec<_>) = rings
        .into_iter()
        .partition(|(plan, _)| plan.layout == Layout::Split);
    let steps = split
        .into_iter()
        .flat_map(|(plan, moment)| steps(plan, moment));
    let flags = packed
        .into_iter()
        .flat_map(|(plan, moment)| flags(plan, moment));
    ids.chain(steps).chain(flags)
}

/// Whether the moment's buffers find room.
fn fits(plan: Plan, moment: Moment) -> bool {
    let most = if moment == Moment::Taken { 3 } else { 2 };
    plan.entries / plan.each() >= most
}

/// Where the driver looks next: the slot, and the round's wrap counter.
fn place(plan: Plan, moment: Moment) -> (u16, bool) {
    let buffers = moment.rounds(plan) as u16 + moment.taken();
    match plan.layout {
        Layout::Split => (buffers % plan.entries, true),
        Layout::Packed => {
            let passed = buffers * plan.each();
            (
                passed % plan.entries,
                (passed / plan.entries).is_multiple_of(2),
            )
        }
    }
}

/// What a device writes that returns `id` with `written` bytes.
fn returned(plan: Plan, moment: Moment, id: u32, written: u32) -> Vec<Lie> {
    let (slot, wrap) = place(plan, moment);
    match plan.layout {
        Layout::Split => vec![
            set(used_id(slot), id.into()),
            set(used_len(slot), written.into()),
            set(USED_IDX, (moment.last_used(plan) + 1).into()),
        ],
        Layout::Packed => {
            let flags = if wrap { 0x8082 } else { 0x0002 };
            vec![set_tail(slot, id as u16, written, flags)]
        }
    }
}

/// Every id that the ring has, and some that it has not.
fn ids(plan: Plan, moment: Moment) -> impl Iterator<Item = Case> {
    let beyond = [0, 1, 7, 0x40, 0x7ff0, 0xffe0].map(|more| u32::from(plan.entries + more));
    let wide = match plan.layout {
        Layout::Split => vec![0x1_0000, 0x1_0002, 0x8000_0000, u32::MAX],
        Layout::Packed => vec![],
    };
    let ids = (0..u32::from(plan.entries)).chain(beyond).chain(wide);
    ids.map(move |id| {
        let standing = moment.standing(plan);
        let first = place(plan, moment).0;
        let buffer = standing.iter().find(|buffer| u32::from(buffer.id) == id);
        let seen = match buffer {
            Some(buffer) => Seen::Used(buffer.token, 6),
            None if id < plan.entries.into() => {
                Seen::Breaks(Violation::IdNotInFlight { id: id as u16 })
            }
            None => Seen::Breaks(Violation::IdOutOfRange {
                id,
                size: plan.entries,
            }),
        };
        let breaks = match plan.layout {
            Layout::Split => "device/2.7.8/1",
            Layout::Packed => "device/2.8/2",
        };
        Case {
            name: format!("id {id:#x} at {first}").into(),
            plan,
            moment,
            when: None,
            lies: returned(plan, moment, id, 6),
            breaks,
            then: vec![(Op::Get, seen)],
        }
    })
}

/// The used index moves by these, and the entries name the buffers one by one.
fn steps(plan: Plan, moment: Moment) -> impl Iterator<Item = Case> {
    let near = (0..=plan.entries + 1).chain([0x7fff, 0x8000, 0x8001]);
    near.chain((1..=3).map(|back| 0u16.wrapping_sub(back)))
        .map(move |step| {
            let standing = moment.standing(plan);
            let last_used = moment.last_used(plan);
            let used_index = last_used.wrapping_add(step);
            let entries = standing.iter().enumerate().map(|(n, Standing { id, .. })| {
                let slot = (last_used + n as u16) % plan.entries;
                set(used_id(slot), u64::from(*id))
            });
            let lengths = (0..plan.entries).map(|slot| set(used_len(slot), 5));
            let index = set(USED_IDX, used_index.into());
            let then = if usize::from(step) <= standing.len() {
                let used = standing.iter().take(step.into());
                let used = used.map(|buffer| (Op::Get, Seen::Used(buffer.token, 5)));
                used.chain([(Op::Get, Seen::Nothing)]).collect()
            } else {
                let violation = Violation::UsedIndexJumped {
                    last_used: RingIndex(last_used),
                    used_index: RingIndex(used_index),
                    in_flight: standing.len() as u16,
                };
                vec![(Op::Get, Seen::Breaks(violation))]
            };
            Case {
                name: format!("the index from {last_used} to {used_index}").into(),
                plan,
                moment,
                when: None,
                lies: entries.chain(lengths).chain([index]).collect(),
                breaks: if step < 0x8000 {
                    "device/2.7.8/2"
                } else {
                    "device/2.7.8/3"
                },
                then,
            }
        })
}

/// Every combination of the flags that mean something, with the id of the first
/// buffer in flight.
fn flags(plan: Plan, moment: Moment) -> impl Iterator<Item = Case> {
    // NEXT, WRITE, INDIRECT, AVAIL, USED and one that is reserved.
    let bits = [1, 2, 4, 1 << 7, 1 << 15, 1 << 9];
    (0..1u16 << bits.len()).filter_map(move |choice| {
        let set_bits = bits.iter().enumerate();
        let set_bits = set_bits.filter(|(n, _)| choice >> n & 1 != 0);
        let flags = set_bits.fold(0, |flags, (_, bit)| flags | bit);
        let (slot, wrap) = place(plan, moment);
        let first = moment.standing(plan).first().copied()?;
        let is_used = (flags & 1 << 7 != 0) == wrap && (flags & 1 << 15 != 0) == wrap;
        let written = if flags & 2 != 0 { 9 } else { 0 };
        let seen = match is_used {
            true => Seen::Used(first.token, written),
            false => Seen::Nothing,
        };
        debug_assert_eq!(set_tail(slot, 0, 0, 0).word, tail(slot));
        Some(Case {
            name: format!("flags {flags:#06x} at {slot}").into(),
            plan,
            moment,
            when: None,
            lies: vec![set_tail(slot, first.id, 9, flags)],
            breaks: "device/2.8.1/3",
            then: vec![(Op::Get, seen)],
        })
    })
}
