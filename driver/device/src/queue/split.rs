//! The device's half of a split ring (virtio 1.4 §2.7).

use virtscope_driver::memory::{Barrier, Order, QueueMemory, RingWords};
use virtscope_driver::ring::split_layout::{
    AVAIL_F_NO_INTERRUPT, DESC_F_INDIRECT, DESC_F_NEXT, DESCRIPTOR_LEN, Descriptor, FLAGS, IDX,
    USED_F_NO_NOTIFY, avail_entry, avail_event, used_entry, used_event,
};
use virtscope_driver::ring::{Features, QueueSize};
use virtscope_record::{Layout, NotificationReason, RingIndex};

use super::chain::{Chain, Used};
use super::order::Run;
use super::{Decision, DriverFault, Held, Lie};

#[derive(Debug, Default)]
pub(super) struct SplitRing {
    /// The next available entry to take.
    taken: RingIndex,
    /// The driver's available index when we last looked.
    avail_seen: RingIndex,
    /// `VIRTIO_F_IN_ORDER`: the descriptor at which the next chain begins.
    next_head: u16,
    /// The next used entry to write; those before `published` are visible.
    used_idx: RingIndex,
    published: RingIndex,
    /// A batch whose entry is not written yet.
    run: Option<Run>,
    /// The used index at the last interrupt decision, and how many buffers became
    /// visible since.
    signalled: RingIndex,
    returned_since: u32,
}

impl SplitRing {
    /// Takes the next chain; returns its position and the available index seen.
    pub(super) fn take(
        &mut self,
        memory: &impl QueueMemory,
        size: QueueSize,
        features: Features,
        held: &Held,
        chain: &mut Chain,
    ) -> Result<Option<(RingIndex, RingIndex)>, DriverFault> {
        if self.taken == self.avail_seen {
            let avail_index = avail_index(memory);
            if avail_index.distance_from(self.taken) > size.get() {
                return Err(DriverFault::AvailIndexJumped {
                    taken: self.taken,
                    avail_index,
                    size: size.get(),
                });
            }
            self.avail_seen = avail_index;
            if avail_index == self.taken {
                return Ok(None);
            }
        }
        let position = self.taken;
        let slot = position.slot(size.get());
        let head = memory
            .driver_area()
            .load_u16(avail_entry(slot), Order::Relaxed);
        if features.in_order && head != self.next_head {
            return Err(DriverFault::NotInOrder {
                head,
                expected: self.next_head,
            });
        }
        chain.id = head;
        read_chain(memory, size.get(), features, chain)?;
        held.check(chain, head, size)?;
        self.next_head = (head + chain.descriptors) % size.get();
        self.taken = position.advance(1);
        Ok(Some((position, self.avail_seen)))
    }

    /// Puts one buffer into the used ring, not yet visible; returns its position.
    pub(super) fn stage(
        &mut self,
        memory: &impl QueueMemory,
        size: QueueSize,
        features: Features,
        used: Used,
    ) -> RingIndex {
        if !features.in_order {
            let position = self.used_idx;
            self.write(memory, size, Run::of(used));
            return position;
        }
        let batched = self.run.and_then(|run| run.and(used, size));
        if batched.is_none() {
            self.flush(memory, size);
        }
        let run = batched.unwrap_or(Run::of(used));
        self.run = Some(run);
        self.used_idx.advance(run.buffers - 1)
    }

    fn flush(&mut self, memory: &impl QueueMemory, size: QueueSize) {
        if let Some(run) = self.run.take() {
            self.write(memory, size, run);
        }
    }

    fn write(&mut self, memory: &impl QueueMemory, size: QueueSize, run: Run) {
        let entry = used_entry(self.used_idx.slot(size.get()));
        let area = memory.device_area();
        area.store_u32(entry, u32::from(run.last.id), Order::Relaxed);
        area.store_u32(entry + 4, run.last.written, Order::Relaxed);
        self.used_idx = self.used_idx.advance(run.buffers);
    }

    /// What was staged becomes visible. Release: what was written into the buffers
    /// and the entries are seen before the index (virtio 1.4 §2.7.8.2).
    pub(super) fn publish(&mut self, memory: &impl QueueMemory, size: QueueSize) {
        self.settle(memory, size);
        self.write_index(memory, self.published);
    }

    /// The same, with an index that lies.
    pub(super) fn publish_lie(&mut self, memory: &impl QueueMemory, size: QueueSize, lie: Lie) {
        let before = self.published;
        self.settle(memory, size);
        let index = match lie {
            Lie::Ahead(by) => self.published.advance(by),
            Lie::Behind(by) => RingIndex(before.0.wrapping_sub(by)),
            Lie::OtherRound => self.published,
        };
        self.write_index(memory, index);
    }

    fn settle(&mut self, memory: &impl QueueMemory, size: QueueSize) {
        self.flush(memory, size);
        let count = self.used_idx.distance_from(self.published);
        self.returned_since = self.returned_since.saturating_add(u32::from(count));
        self.published = self.used_idx;
    }

    fn write_index(&self, memory: &impl QueueMemory, index: RingIndex) {
        let order = Order::Barrier(Barrier::DeviceSplitUsed);
        memory.device_area().store_u16(IDX, index.0, order);
    }

    pub(super) fn interrupt(
        &mut self,
        memory: &impl QueueMemory,
        size: QueueSize,
        features: Features,
    ) -> Decision {
        // The driver must see the new index before we look at what it asks for.
        memory.fence(Barrier::DeviceSplitInterrupt);
        let area = memory.driver_area();
        let (event, flags) = if features.event_idx {
            let event = area.load_u16(used_event(size), Order::Relaxed);
            (RingIndex(event), 0)
        } else {
            (RingIndex(0), area.load_u16(FLAGS, Order::Relaxed))
        };
        let (old, new) = (self.signalled, self.published);
        let reason = if self.returned_since == 0 {
            NotificationReason::NothingAdded
        } else if features.event_idx {
            // Past 65535 entries every event index was crossed.
            if self.returned_since > u32::from(u16::MAX) || event.is_crossed_by(old, new) {
                NotificationReason::EventCrossed
            } else {
                NotificationReason::EventNotCrossed
            }
        } else if flags & AVAIL_F_NO_INTERRUPT == 0 {
            NotificationReason::FlagClear
        } else {
            NotificationReason::FlagSet
        };
        self.signalled = new;
        self.returned_since = 0;
        Decision {
            old,
            new,
            event,
            flags,
            reason,
        }
    }

    pub(super) fn disable_kicks(memory: &impl QueueMemory, features: Features) {
        // With event indices a stale `avail_event` does the work: it lies behind.
        if !features.event_idx {
            memory
                .device_area()
                .store_u16(FLAGS, USED_F_NO_NOTIFY, Order::Relaxed);
        }
    }

    /// Whether nothing is available, so that the device may sleep.
    pub(super) fn enable_kicks(
        &mut self,
        memory: &impl QueueMemory,
        size: QueueSize,
        features: Features,
    ) -> bool {
        let area = memory.device_area();
        if features.event_idx {
            area.store_u16(avail_event(size), self.taken.0, Order::Relaxed);
        } else {
            area.store_u16(FLAGS, 0, Order::Relaxed);
        }
        // The driver must see our wish before we look whether it was too late.
        memory.fence(Barrier::DeviceSplitEnableKicks);
        avail_index(memory) == self.taken
    }

    pub(super) const fn returned_unsignalled(&self) -> u32 {
        self.returned_since
    }
}

/// The driver's available index. Acquire: the entries before it and their
/// descriptors are seen if it is.
fn avail_index(memory: &impl QueueMemory) -> RingIndex {
    let order = Order::Barrier(Barrier::DeviceSplitAvailable);
    RingIndex(memory.driver_area().load_u16(IDX, order))
}

fn read_chain(
    memory: &impl QueueMemory,
    size: u16,
    features: Features,
    chain: &mut Chain,
) -> Result<(), DriverFault> {
    chain.clear();
    let head = chain.id;
    let table = memory.descriptor_area();
    let mut index = head;
    for _ in 0..size {
        if index >= size {
            return Err(DriverFault::DescriptorOutOfRange { index, size });
        }
        let at = usize::from(index) * DESCRIPTOR_LEN;
        let descriptor = Descriptor::from_words(
            table.load_u64(at, Order::Relaxed),
            table.load_u64(at + 8, Order::Relaxed),
        );
        chain.descriptors += 1;
        let (segment, flags) = (descriptor.segment, descriptor.flags);
        if flags & DESC_F_INDIRECT != 0 {
            if !features.indirect {
                return Err(DriverFault::IndirectNotNegotiated { head });
            }
            // A list may end in a table (virtio 1.4 §2.7.5.3.2), not go on behind it.
            if flags & DESC_F_NEXT != 0 {
                return Err(DriverFault::IndirectMisplaced { head });
            }
            return chain.push_table(memory, Layout::Split, segment, size, head);
        }
        chain.push(memory, segment, flags, head)?;
        if flags & DESC_F_NEXT == 0 {
            return Ok(());
        }
        index = descriptor.next;
    }
    Err(DriverFault::ChainTooLong { head })
}
