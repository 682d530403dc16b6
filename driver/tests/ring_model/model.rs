//! The model: a queue of buffers as numbers that never wrap.
//!
//! A *position* counts what the specification counts: buffers in a split ring,
//! where each takes one entry of the available and of the used ring; descriptors
//! in a packed one.

use std::collections::{BTreeMap, VecDeque};

use virtscope_driver::memory::Segment;
use virtscope_driver::ring::{AddErrorKind, Context, Features};
use virtscope_record::{Layout, NotificationReason, RingIndex};

use super::common::Plan;

/// A buffer between being added and being taken back.
#[derive(Clone, Debug)]
pub(crate) struct Buffer {
    pub(crate) readable: Vec<Segment>,
    pub(crate) writable: Vec<Segment>,
    pub(crate) context: Context,
    /// Entries of the ring that it takes.
    pub(crate) descriptors: u16,
    pub(crate) indirect: bool,
    /// The id that the implementation gave it: what stands in the ring, or, while it
    /// does not stand there, what the record of the add says.
    pub(crate) id: Option<u16>,
    /// Split: its descriptors. The implementation chooses them.
    pub(crate) entries: Vec<usize>,
    /// The table that the implementation chose.
    pub(crate) table: Option<usize>,
}

impl Buffer {
    pub(crate) fn writable_bytes(&self) -> u32 {
        bytes(&self.writable)
    }
}

/// Bytes of some segments.
pub(crate) fn bytes(segments: &[Segment]) -> u32 {
    segments.iter().map(|segment| segment.len).sum()
}

/// What one half asks of the other, as it stands in the ring.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Wish {
    /// To be notified of everything.
    All,
    /// To be notified of nothing.
    Nothing,
    /// To be notified of what stands at the positions that look like this: a used
    /// or available index, or offset and wrap counter.
    At(u16),
}

/// How one half asks for notifications, and how far they were decided. All in
/// positions.
#[derive(Clone, Debug)]
pub(crate) struct Notifications {
    /// What was published at the last decision.
    pub(crate) decided: u64,
    /// Whether the receiver wants them.
    pub(crate) wanted: bool,
    /// If the receiver sleeps: the position that must wake it.
    pub(crate) due: Option<u64>,
    /// If notifications were switched off for good: the position from which on none
    /// comes, unless the index goes round.
    pub(crate) quiet_from: Option<u64>,
}

impl Notifications {
    /// A receiver that sleeps at the beginning, as flags and events of zero say.
    fn new() -> Self {
        Self {
            decided: 0,
            wanted: true,
            due: Some(0),
            quiet_from: None,
        }
    }
}

/// The queue.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    pub(crate) layout: Layout,
    pub(crate) size: u16,
    pub(crate) features: Features,
    pub(crate) free: u16,
    /// Indirect tables that are free, and descriptors of each.
    free_tables: u16,
    tables: u16,
    capacity: usize,
    /// Buffers by token, from added to taken back.
    pub(crate) buffers: BTreeMap<u64, Buffer>,
    /// Buffers that are not published yet, in order.
    pub(crate) unpublished: VecDeque<u64>,
    /// Buffers the device has not taken yet, in order.
    pub(crate) available: VecDeque<u64>,
    /// Buffers the device works on, in the order in which it took them.
    pub(crate) held: Vec<u64>,
    /// `VIRTIO_F_IN_ORDER`: buffers it has taken and not returned, in that order,
    /// and what it wrote into those that it has finished.
    pub(crate) in_order: VecDeque<(u64, Option<u32>)>,
    /// Buffers returned that the driver cannot see yet, with the bytes written.
    pub(crate) staged: VecDeque<(u64, u32)>,
    /// Buffers the driver has not taken back yet.
    pub(crate) used: VecDeque<(u64, u32)>,
    /// Where the next buffer is added, where those begin that are not published,
    /// that are not taken, that are not returned, that are not visible and that are
    /// not taken back.
    pub(crate) added: u64,
    pub(crate) published: u64,
    pub(crate) taken: u64,
    pub(crate) returned: u64,
    pub(crate) visible: u64,
    pub(crate) harvested: u64,
    /// Descriptors ever taken from a split ring's table.
    pub(crate) descriptors: u64,
    /// Split: the available index when the device last looked, the used index when
    /// the driver last looked.
    pub(crate) avail_seen: u64,
    pub(crate) used_seen: u64,
    /// Buffers that became visible since the last interrupt decision.
    pub(crate) unsignalled: u32,
    /// Where the driver wants to be interrupted next, while it wants to be.
    pub(crate) asked: u64,
    /// The driver has neither switched callbacks nor moved its event.
    pub(crate) untouched: bool,
    /// A buffer was detached.
    pub(crate) given_up: bool,
    pub(crate) kicks: Notifications,
    pub(crate) interrupts: Notifications,
}

impl Model {
    pub(crate) fn new(plan: &Plan) -> Self {
        let tables = if plan.features.indirect {
            plan.tables.0
        } else {
            0
        };
        Self {
            layout: plan.layout,
            size: plan.entries,
            features: plan.features,
            free: plan.entries,
            free_tables: tables,
            tables,
            capacity: plan.tables.1.into(),
            buffers: BTreeMap::new(),
            unpublished: VecDeque::new(),
            available: VecDeque::new(),
            held: Vec::new(),
            in_order: VecDeque::new(),
            staged: VecDeque::new(),
            used: VecDeque::new(),
            added: 0,
            published: 0,
            taken: 0,
            returned: 0,
            visible: 0,
            harvested: 0,
            descriptors: 0,
            avail_seen: 0,
            used_seen: 0,
            unsignalled: 0,
            asked: 0,
            untouched: true,
            given_up: false,
            kicks: Notifications::new(),
            interrupts: Notifications::new(),
        }
    }

    /// `rounds` buffers of one descriptor went through, one at a time and without a
    /// decision.
    pub(crate) fn skip(&mut self, rounds: u32) {
        if rounds == 0 {
            return;
        }
        self.unsignalled = rounds;
        let rounds = u64::from(rounds);
        self.added = rounds;
        self.published = rounds;
        self.taken = rounds;
        self.returned = rounds;
        self.visible = rounds;
        self.harvested = rounds;
        self.descriptors = rounds;
        self.avail_seen = rounds;
        self.used_seen = rounds;
        self.asked = rounds;
        self.kicks.due = None;
        self.interrupts.due = None;
    }

    /// A position as it stands in the ring and in records: a free-running index of
    /// 16 bits, or offset and wrap counter (virtio 1.4 §2.8.14).
    pub(crate) fn place(&self, position: u64) -> RingIndex {
        RingIndex(match self.layout {
            Layout::Split => position as u16,
            Layout::Packed => {
                let (round, offset) = (
                    position / u64::from(self.size),
                    position % u64::from(self.size),
                );
                offset as u16 | u16::from(round.is_multiple_of(2)) << 15
            }
        })
    }

    /// Positions that a buffer takes.
    pub(crate) fn steps(&self, token: u64) -> u64 {
        match self.layout {
            Layout::Split => 1,
            Layout::Packed => self.buffers[&token].descriptors.into(),
        }
    }

    /// What an add of these segments must come to: the entries it takes and whether
    /// it goes into a table. `in_ring` says whether a segment touches the ring.
    pub(crate) fn check_add(
        &self,
        readable: &[Segment],
        writable: &[Segment],
        in_ring: impl Fn(&Segment) -> bool,
    ) -> Result<(u16, bool), AddErrorKind> {
        if self.given_up {
            return Err(AddErrorKind::Detached);
        }
        let segments = readable.len() + writable.len();
        if segments == 0 {
            return Err(AddErrorKind::NoSegments);
        }
        if segments > usize::from(self.size) {
            let size = self.size;
            return Err(AddErrorKind::TooManySegments { segments, size });
        }
        for segment in readable.iter().chain(writable) {
            if segment.len == 0 {
                return Err(AddErrorKind::BadLength);
            }
            if in_ring(segment) {
                let address = segment.address.0;
                return Err(AddErrorKind::SegmentInRing { address });
            }
        }
        // One segment needs no table.
        let fits_a_table = self.tables > 0 && (2..=self.capacity).contains(&segments);
        let free = self.free;
        if free == 0 {
            let needed = if fits_a_table { 1 } else { segments };
            Err(AddErrorKind::NoSpace { needed, free })
        } else if fits_a_table && self.free_tables > 0 {
            Ok((1, true))
        } else if segments <= usize::from(free) {
            Ok((segments as u16, false))
        } else if fits_a_table {
            Err(AddErrorKind::NoMemory)
        } else {
            let needed = segments;
            Err(AddErrorKind::NoSpace { needed, free })
        }
    }

    /// A buffer was added.
    pub(crate) fn add(&mut self, token: u64, buffer: Buffer) {
        self.free -= buffer.descriptors;
        self.free_tables -= u16::from(buffer.indirect);
        self.descriptors += u64::from(buffer.descriptors);
        self.buffers.insert(token, buffer);
        self.unpublished.push_back(token);
        self.added += self.steps(token);
    }

    /// What was added is there to take.
    pub(crate) fn publish(&mut self) {
        assert!(!self.given_up);
        self.available.append(&mut self.unpublished);
        self.published = self.added;
    }

    /// A buffer is the driver's again.
    pub(crate) fn remove(&mut self, token: u64) -> Buffer {
        let buffer = self.buffers.remove(&token).expect("a buffer in flight");
        self.free += buffer.descriptors;
        self.free_tables += u16::from(buffer.indirect);
        buffer
    }

    /// The device has finished a buffer: those that it may return now, in order.
    pub(crate) fn finish(&mut self, token: u64, written: u32) -> Vec<(u64, u32)> {
        if !self.features.in_order {
            return vec![(token, written)];
        }
        let finished = self.in_order.iter_mut().find(|(held, _)| *held == token);
        finished.expect("the device holds it").1 = Some(written);
        let mut now = Vec::new();
        while let Some((token, Some(written))) = self.in_order.front() {
            now.push((*token, *written));
            self.in_order.pop_front();
        }
        now
    }

    /// Whether used buffers wait for the driver.
    pub(crate) fn pending(&self) -> bool {
        self.visible > self.harvested
    }

    /// The verdict that the specification wants for the positions up to `published`,
    /// and why.
    ///
    /// With event indices, notify if one of the entries was written where the index
    /// (or offset and wrap counter) was the event (virtio 1.4 §2.7.7.2, §2.7.10.1,
    /// §2.8.10); without, if the flag says so. And nobody needs to hear of nothing.
    pub(crate) fn verdict(&self, decided: u64, published: u64, wish: Wish) -> NotificationReason {
        if decided == published {
            return NotificationReason::NothingAdded;
        }
        match wish {
            Wish::All => NotificationReason::FlagClear,
            Wish::Nothing => NotificationReason::FlagSet,
            Wish::At(event) => {
                if (decided..published).any(|position| self.place(position).0 == event) {
                    NotificationReason::EventCrossed
                } else {
                    NotificationReason::EventNotCrossed
                }
            }
        }
    }
}

impl Notifications {
    /// A decision was made for the positions up to `published`: it must not leave a
    /// sleeper asleep, nor disturb one who asked not to be.
    pub(crate) fn decide(&mut self, published: u64, needed: bool) {
        if self.due.is_some_and(|due| published > due) {
            assert!(needed, "a sleeper is not woken");
            self.due = None;
        }
        if let Some(from) = self.quiet_from
            && self.decided >= from
            && published - from < u64::from(u16::MAX)
        {
            assert!(!needed, "notified although it was switched off");
        }
        self.decided = published;
    }
}
