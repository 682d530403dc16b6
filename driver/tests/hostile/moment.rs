//! The moments at which a device may begin to lie, each with a ring of its own.

use std::fmt;

use virtscope_driver::ring::Features;
use virtscope_record::Layout;

use crate::harness::{Plan, Ring, Shape};

/// A split ring of 8 without features.
pub(crate) const SPLIT: Plan = Plan {
    layout: Layout::Split,
    entries: 8,
    features: Features {
        event_idx: false,
        indirect: false,
        in_order: false,
    },
    tables: 0,
};
/// A packed ring of 8 without features.
pub(crate) const PACKED: Plan = Plan {
    layout: Layout::Packed,
    ..SPLIT
};

impl Plan {
    /// With `VIRTIO_F_EVENT_IDX`.
    pub(crate) const fn event_idx(mut self) -> Self {
        self.features.event_idx = true;
        self
    }
    /// With `VIRTIO_F_INDIRECT_DESC`, and a table for each buffer.
    pub(crate) const fn indirect(mut self) -> Self {
        self.features.indirect = true;
        self.tables = self.entries;
        self
    }
    /// With `VIRTIO_F_IN_ORDER`.
    pub(crate) const fn in_order(mut self) -> Self {
        self.features.in_order = true;
        self
    }
    /// Of another size.
    pub(crate) const fn sized(mut self, entries: u16) -> Self {
        self.entries = entries;
        self
    }
    /// Entries of the ring that a buffer of two segments takes.
    pub(crate) const fn each(self) -> u16 {
        if self.features.indirect { 1 } else { 2 }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}", self.layout, self.entries)?;
        let features = self.features;
        let names = [
            (features.event_idx, " event_idx"),
            (features.indirect, " indirect"),
            (features.in_order, " in_order"),
        ];
        let mut names = names.iter().filter(|(negotiated, _)| *negotiated);
        names.try_for_each(|(_, name)| f.write_str(name))
    }
}

/// What has happened when the device begins to lie. Buffers have 4 device-readable
/// bytes and 10 device-writable ones, in a segment each, unless something else is
/// said; those in flight are tokens 1, 2, … in the order they were made available.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum Moment {
    /// Nothing.
    Fresh,
    /// Two buffers went round, and none is in flight.
    Idle,
    /// Two are in flight, and the device was notified.
    Two,
    /// So are two, and the device was not notified yet.
    Unkicked,
    /// All that fit.
    Full,
    /// One is in flight, and a second one was added but not published.
    Hidden,
    /// One was added but not published.
    Unseen,
    /// One with 4 device-readable bytes only.
    Outbound,
    /// Three are in flight; the first was used and taken back.
    Taken,
    /// Three are in flight; the first two were used, the first was taken back.
    Between,
    /// Three are in flight, not notified: split, under the indices 65534, 65535 and
    /// 0; packed, the first at the ring's end and the others at its beginning.
    Edge,
    /// Two are in flight in the second time round: split, from index 8 on; packed,
    /// with wrap counters of 0.
    Beyond,
    /// Two are in flight, and no interrupt is wanted.
    Quiet,
    /// The ring is full, and an interrupt is wanted after most.
    Delayed,
    /// In order: the ring is full; the first three were used by one entry, the first
    /// of them was taken back.
    InBatch,
    /// Three are in flight, and the first was detached.
    Detached,
    /// Three were in flight, the first was used; then the queue was reset.
    Reset,
    /// The same, and two are in flight again.
    Renewed,
}

use Moment::*;

/// A buffer in flight: where it stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Standing {
    pub(crate) token: u64,
    /// Split, its head; packed, its Buffer ID.
    pub(crate) id: u16,
}

impl Moment {
    pub(crate) const ALL: [Self; 18] = [
        Fresh, Idle, Two, Unkicked, Full, Hidden, Unseen, Outbound, Taken, Between, Edge, Beyond,
        Quiet, Delayed, InBatch, Detached, Reset, Renewed,
    ];

    /// Buffers that went round before those in flight were added.
    pub(crate) fn rounds(self, plan: Plan) -> u32 {
        let (entries, each) = (u32::from(plan.entries), u32::from(plan.each()));
        match (self, plan.layout) {
            (Idle, _) => 2,
            (Edge, Layout::Split) => 65_534,
            (Edge, Layout::Packed) => (entries - 1) / each,
            (Beyond, Layout::Split) => 8,
            (Beyond, Layout::Packed) => entries.div_ceil(each),
            _ => 0,
        }
    }

    /// Buffers that were added after these rounds, since the last reset.
    fn added(self, plan: Plan) -> u16 {
        match self {
            Fresh | Idle | Reset => 0,
            Unseen | Outbound => 1,
            Two | Unkicked | Hidden | Beyond | Quiet | Renewed => 2,
            Taken | Between | Edge | Detached => 3,
            Full | Delayed | InBatch => plan.entries / plan.each(),
        }
    }

    /// How many of these were taken back.
    pub(crate) fn taken(self) -> u16 {
        u16::from(matches!(self, Taken | Between | InBatch))
    }

    /// The buffers that the device may return, by a few rules of thumb: heads and
    /// ids come back in the order in which they were given away, so that each round
    /// takes the same, but in order they go round as the buffers do.
    pub(crate) fn standing(self, plan: Plan) -> Vec<Standing> {
        let hidden = u16::from(matches!(self, Hidden | Unseen));
        let gone = self.taken() + u16::from(self == Detached);
        (gone..self.added(plan) - hidden)
            .map(|n| {
                let turn = match plan.features.in_order {
                    true => self.rounds(plan) + u32::from(n),
                    false => n.into(),
                };
                let step = match plan.layout {
                    Layout::Split => plan.each(),
                    Layout::Packed => 1,
                };
                Standing {
                    token: u64::from(n) + 1,
                    id: (turn * u32::from(step) % u32::from(plan.entries)) as u16,
                }
            })
            .collect()
    }

    /// Split: the used index that the driver goes on from.
    pub(crate) fn last_used(self, plan: Plan) -> u16 {
        self.rounds(plan) as u16 + self.taken()
    }

    /// A ring at this moment. The device half that keeps the rules has taken all
    /// that is available.
    pub(crate) fn ring(self, plan: Plan) -> Ring {
        let mut ring = Ring::new(plan);
        match self {
            Idle => (1..=2).for_each(|token| ring.round(token, Shape::PAIR)),
            Edge | Beyond => ring.rounds(self.rounds(plan), Shape::PAIR),
            Reset | Renewed => {
                add(&mut ring, 3);
                ring.take_all();
                ring.give_back(1);
                ring.get().unwrap();
                ring.reset();
            }
            _ => {}
        }
        let count = self.added(plan);
        match self {
            Unseen => hide(&mut ring, 1),
            Hidden => {
                add(&mut ring, 1);
                hide(&mut ring, 2);
            }
            Outbound => drop(ring.add(1, Shape(&[4], &[])).unwrap()),
            _ => add(&mut ring, count),
        }
        if !matches!(self, Unkicked | Edge) {
            ring.kick();
        }
        ring.take_all();
        match self {
            Taken => use_up(&mut ring, 1),
            Between => use_up(&mut ring, 2),
            InBatch => use_up(&mut ring, 3),
            Quiet => ring.ask(|ring| ring.driver.disable_callbacks()),
            Delayed => assert!(ring.ask(|ring| ring.driver.enable_callbacks_delayed())),
            Detached => assert_eq!(ring.detach(), Some(1)),
            _ => {}
        }
        ring
    }
}

fn add(ring: &mut Ring, count: u16) {
    for token in 1..=count.into() {
        ring.add(token, Shape::PAIR).unwrap();
    }
}

fn hide(ring: &mut Ring, token: u64) {
    ring.add_unpublished(token, Shape::PAIR).unwrap();
}

/// The device returns so many; the driver takes the first.
fn use_up(ring: &mut Ring, count: usize) {
    ring.give_back(count);
    assert_eq!(ring.get(), Ok(Some((1, 10))));
}

/// The rules of thumb of [`Moment::standing`] against what the other half reads
/// from the ring.
#[test]
fn moments_are_as_they_say() {
    let plans = [SPLIT, PACKED, PACKED.sized(7)];
    let plans = plans.into_iter().flat_map(|plan| [plan, plan.in_order()]);
    for plan in plans.flat_map(|plan| [plan, plan.indirect()]) {
        for moment in Moment::ALL {
            // Miri is slow: there one moment of some rings.
            let passed_over = cfg!(miri) && (moment != Unkicked || plan.features.indirect);
            if passed_over || moment == InBatch && !plan.features.in_order {
                continue;
            }
            let ring = moment.ring(plan);
            let standing = moment.standing(plan);
            let mut taken = ring.taken.iter().map(|chain| chain.id).collect::<Vec<_>>();
            if moment == Detached {
                taken.remove(0);
            }
            // What was used and is not taken back yet, the device no longer has.
            let used = standing.len() - taken.len();
            assert_eq!(
                used,
                [0, 1, 2][usize::from(moment == Between) + 2 * usize::from(moment == InBatch)]
            );
            let ids: Vec<u16> = standing.iter().map(|buffer| buffer.id).collect();
            assert_eq!(ids[used..], taken, "{moment:?} {plan:?}");
            let hidden = usize::from(matches!(moment, Hidden | Unseen));
            assert_eq!(ring.held().len(), standing.len() + hidden);
            ring.finish();
        }
    }
}
