//! The device's half of a packed ring (virtio 1.4 §2.8).

use virtscope_driver::memory::{Barrier, GuestAddress, Order, QueueMemory, RingWords, Segment};
use virtscope_driver::ring::packed_layout::{
    DESC_F_AVAIL, DESC_F_USED, EVENT, EVENT_DESC, EVENT_DISABLE, EVENT_ENABLE, EVENT_FLAGS_MASK,
    EventSuppression, Position, Tail, address_word, tail_word, used_flags,
};
use virtscope_driver::ring::split_layout::{DESC_F_INDIRECT, DESC_F_NEXT, DESC_F_WRITE};
use virtscope_driver::ring::{Features, QueueSize};
use virtscope_record::{Layout, NotificationReason, RingIndex};

use super::chain::{Chain, Used};
use super::order::Run;
use super::{Decision, DriverFault, Held, Lie};

#[derive(Debug)]
pub(super) struct PackedRing {
    /// The next descriptor to take.
    next_avail: Position,
    /// Where the next used descriptor is put; those before `published` are visible.
    next_used: Position,
    published: Position,
    /// The flags word of the first used descriptor that is not published yet: it is
    /// withheld, and the driver looks at none behind it.
    withheld: Option<(u16, u64)>,
    /// A batch whose descriptor is not written yet.
    run: Option<Run>,
    /// Where the last interrupt decision was made, and the buffers that became
    /// visible since, with their descriptors.
    signalled: Position,
    returned_since: u32,
    descriptors_since: u32,
    /// Buffers that are not visible yet.
    staged: u32,
}

impl PackedRing {
    pub(super) const fn new() -> Self {
        Self {
            next_avail: Position::START,
            next_used: Position::START,
            published: Position::START,
            withheld: None,
            run: None,
            signalled: Position::START,
            returned_since: 0,
            descriptors_since: 0,
            staged: 0,
        }
    }

    /// Takes the next list; returns its position and the place behind it.
    pub(super) fn take(
        &mut self,
        memory: &impl QueueMemory,
        size: QueueSize,
        features: Features,
        held: &Held,
        chain: &mut Chain,
    ) -> Result<Option<(RingIndex, RingIndex)>, DriverFault> {
        let first = self.next_avail;
        let mut tail = available(memory, first.offset);
        if !tail.is_available(first.wrap) {
            return Ok(None);
        }
        chain.clear();
        let head = first.offset;
        let mut at = first;
        loop {
            chain.descriptors += 1;
            let address = memory
                .descriptor_area()
                .load_u64(address_word(at.offset), Order::Relaxed);
            let segment = Segment {
                address: GuestAddress(address),
                len: tail.len,
            };
            at = at.advance(1, size);
            if tail.flags & DESC_F_INDIRECT != 0 {
                if !features.indirect {
                    return Err(DriverFault::IndirectNotNegotiated { head });
                }
                if tail.flags & DESC_F_NEXT != 0 || chain.descriptors > 1 {
                    return Err(DriverFault::IndirectMisplaced { head });
                }
                chain.push_table(memory, Layout::Packed, segment, size.get(), head)?;
                break;
            }
            chain.push(memory, segment, tail.flags, head)?;
            if tail.flags & DESC_F_NEXT == 0 {
                break;
            }
            if chain.descriptors == size.get() {
                return Err(DriverFault::ChainTooLong { head });
            }
            // Behind the acquire of the first, which is made available last.
            let word = memory
                .descriptor_area()
                .load_u64(tail_word(at.offset), Order::Relaxed);
            tail = Tail::from_word(word);
            if !tail.is_available(at.wrap) {
                return Err(DriverFault::ListBrokenOff { head });
            }
        }
        // "Buffer ID is included in the last descriptor in the list" (§2.8.6).
        chain.id = tail.id;
        held.check(chain, head, size)?;
        self.next_avail = at;
        Ok(Some((first.to_index(), at.to_index())))
    }

    /// Writes a used descriptor, not yet visible; returns the buffer's position.
    pub(super) fn stage(
        &mut self,
        memory: &impl QueueMemory,
        size: QueueSize,
        features: Features,
        used: Used,
    ) -> RingIndex {
        self.staged += 1;
        if !features.in_order {
            let position = self.next_used;
            self.write(memory, size, Run::of(used));
            return position.to_index();
        }
        let batched = self.run.and_then(|run| run.and(used, size));
        if batched.is_none() {
            self.flush(memory, size);
        }
        let run = batched.unwrap_or(Run::of(used));
        self.run = Some(run);
        let before = run.descriptors - used.descriptors;
        self.next_used.advance(before, size).to_index()
    }

    fn flush(&mut self, memory: &impl QueueMemory, size: QueueSize) {
        if let Some(run) = self.run.take() {
            self.write(memory, size, run);
        }
    }

    fn write(&mut self, memory: &impl QueueMemory, size: QueueSize, run: Run) {
        let at = self.next_used;
        let used = run.last;
        // Whether anything was written into the buffer (virtio 1.4 §2.8.3).
        let write = if used.written > 0 { DESC_F_WRITE } else { 0 };
        let tail = Tail {
            len: used.written,
            id: used.id,
            flags: used_flags(at.wrap) | write,
        };
        if self.withheld.is_none() {
            self.withheld = Some((at.offset, tail.to_word()));
        } else {
            let ring = memory.descriptor_area();
            ring.store_u64(tail_word(at.offset), tail.to_word(), Order::Relaxed);
        }
        self.next_used = at.advance(run.descriptors, size);
    }

    /// What was staged becomes visible. Release: what was written into the buffers
    /// and later used descriptors are seen before the flags of the first.
    pub(super) fn publish(&mut self, memory: &impl QueueMemory, size: QueueSize) {
        self.flush(memory, size);
        if let Some((slot, tail)) = self.withheld.take() {
            let moved = self.next_used.distance_from(self.published, size);
            self.descriptors_since = self.descriptors_since.saturating_add(moved);
            self.returned_since = self.returned_since.saturating_add(self.staged);
            self.staged = 0;
            self.published = self.next_used;
            let order = Order::Barrier(Barrier::DevicePackedUsed);
            memory
                .descriptor_area()
                .store_u64(tail_word(slot), tail, order);
        }
    }

    /// The same, with flags that lie.
    pub(super) fn publish_lie(&mut self, memory: &impl QueueMemory, size: QueueSize, lie: Lie) {
        self.flush(memory, size);
        match lie {
            Lie::Ahead(by) => {
                let staged = self.next_used.distance_from(self.published, size);
                // Not round to where the honest ones begin.
                let rest = u32::from(size.get()).saturating_sub(staged);
                self.mark_used(memory, size, rest.min(u32::from(by)));
            }
            Lie::OtherRound => {
                if let Some((_, word)) = &mut self.withheld {
                    *word ^= u64::from(DESC_F_AVAIL | DESC_F_USED) << 48;
                }
            }
            // There is no index.
            Lie::Behind(_) => {}
        }
        self.publish(memory, size);
    }

    /// Marks descriptors used in which nothing was returned.
    fn mark_used(&self, memory: &impl QueueMemory, size: QueueSize, count: u32) {
        let ring = memory.descriptor_area();
        let mut at = self.next_used;
        for _ in 0..count {
            let word = ring.load_u64(tail_word(at.offset), Order::Relaxed);
            let tail = Tail {
                len: 0,
                id: Tail::from_word(word).id,
                flags: used_flags(at.wrap),
            };
            ring.store_u64(tail_word(at.offset), tail.to_word(), Order::Relaxed);
            at = at.advance(1, size);
        }
    }

    pub(super) fn interrupt(
        &mut self,
        memory: &impl QueueMemory,
        size: QueueSize,
        features: Features,
    ) -> Decision {
        // The driver must see the new flags before we look at what it asks for.
        memory.fence(Barrier::DevicePackedInterrupt);
        let word = memory.driver_area().load_u32(EVENT, Order::Relaxed);
        let wish = EventSuppression::from_word(word);
        let (old, new) = (self.signalled, self.published);
        let reason = if self.returned_since == 0 {
            NotificationReason::NothingAdded
        } else {
            match wish.flags & EVENT_FLAGS_MASK {
                EVENT_DISABLE => NotificationReason::FlagSet,
                EVENT_DESC if features.event_idx => {
                    let event = Position::from_raw(wish.desc);
                    // Past two rounds of descriptors the places alone don't tell.
                    let moved = new.distance_from(old, size);
                    if self.descriptors_since != moved || event.is_crossed_by(old, new, size) {
                        NotificationReason::EventCrossed
                    } else {
                        NotificationReason::EventNotCrossed
                    }
                }
                // Also for what is reserved or was not negotiated.
                _ => NotificationReason::FlagClear,
            }
        };
        self.signalled = new;
        self.returned_since = 0;
        self.descriptors_since = 0;
        Decision {
            old: old.to_index(),
            new: new.to_index(),
            event: RingIndex(wish.desc),
            flags: wish.flags,
            reason,
        }
    }

    pub(super) fn disable_kicks(&self, memory: &impl QueueMemory) {
        self.write_event(memory, EVENT_DISABLE);
    }

    /// Whether nothing is available, so that the device may sleep.
    pub(super) fn enable_kicks(&mut self, memory: &impl QueueMemory, features: Features) -> bool {
        let flags = if features.event_idx {
            EVENT_DESC
        } else {
            EVENT_ENABLE
        };
        self.write_event(memory, flags);
        // The driver must see our wish before we look whether it was too late.
        memory.fence(Barrier::DevicePackedEnableKicks);
        let at = self.next_avail;
        !available(memory, at.offset).is_available(at.wrap)
    }

    fn write_event(&self, memory: &impl QueueMemory, flags: u16) {
        let wish = EventSuppression {
            desc: self.next_avail.to_raw(),
            flags,
        };
        let area = memory.device_area();
        area.store_u32(EVENT, wish.to_word(), Order::Relaxed);
    }

    pub(super) const fn returned_unsignalled(&self) -> u32 {
        self.returned_since
    }
}

/// The second word of a descriptor. Acquire: the list behind it is seen if its
/// available flags are.
fn available(memory: &impl QueueMemory, slot: u16) -> Tail {
    let order = Order::Barrier(Barrier::DevicePackedAvailable);
    Tail::from_word(memory.descriptor_area().load_u64(tail_word(slot), order))
}
