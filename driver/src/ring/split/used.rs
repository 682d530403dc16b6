//! Taking used buffers back, and distrusting whoever returns them.

use std::sync::atomic::Ordering;

use virtscope_record::RingIndex;

use super::super::records::{self, UsedEntry};
use super::super::slots::{Batch, InFlight};
use super::super::split_layout::used_entry;
use super::super::{QueueError, UsedBuffer, Violation};
use super::SplitQueue;
use crate::instrument::Instrument;
use crate::memory::{Barrier, Order, QueueMemory, RingWords};

impl<M: QueueMemory, I: Instrument, T> SplitQueue<M, I, T> {
    /// Linux `virtqueue_get_buf` and `virtqueue_get_buf_ctx`: the next used buffer,
    /// if there is one.
    ///
    /// # Errors
    /// The device broke a rule: the queue is broken from now on.
    #[inline]
    pub fn get_buf(&mut self) -> Result<Option<UsedBuffer<T>>, QueueError> {
        if let Some(broken) = self.broken {
            return Err(broken);
        }
        if self.last_used == self.used_seen && !self.look_for_used()? {
            return Ok(None);
        }
        let taken = if self.shared.features.in_order {
            self.take_in_order()
        } else {
            let entry = self.used_entry();
            self.take_named(entry)
                .map_err(|violation| (violation, entry))
        };
        let (head, written, buffer) = match taken {
            Ok(taken) => taken,
            Err((violation, entry)) => return Err(self.break_queue(violation, entry)),
        };
        if I::ENABLED {
            let entry = UsedEntry {
                id: u32::from(head),
                length: written,
                used_index: self.used_seen,
            };
            let free = self.free + buffer.descriptors;
            let writable = self.recorded.writable(head);
            records::used(&self.shared, free, entry, self.last_used, &buffer, writable);
        }
        self.tables.give_back(buffer.table);
        self.free_chain(head, buffer.descriptors);
        self.last_used = self.last_used.advance(1);
        self.share_state();
        self.move_used_event();
        Ok(Some(buffer.into_used(written)))
    }

    /// Looks at the device's used index; whether it has moved on.
    #[inline(always)]
    fn look_for_used(&mut self) -> Result<bool, QueueError> {
        let used_index = self.shared.split_used_index();
        let returned = used_index.distance_from(self.last_used);
        let in_flight = self.slots.announced_in_flight();
        if returned > in_flight {
            let violation = Violation::UsedIndexJumped {
                last_used: self.last_used,
                used_index,
                in_flight,
            };
            let entry = UsedEntry {
                used_index,
                ..self.used_entry()
            };
            return Err(self.break_queue(violation, entry));
        }
        self.used_seen = used_index;
        Ok(returned > 0)
    }

    /// The used entry at `last_used`, as the device wrote it.
    #[inline(always)]
    fn used_entry(&self) -> UsedEntry {
        let area = self.shared.memory.device_area();
        let at = used_entry(self.last_used.0 & self.shared.size.mask());
        UsedEntry {
            used_index: self.used_seen,
            id: area.load_u32(at, Order::Relaxed),
            length: area.load_u32(at + 4, Order::Relaxed),
        }
    }

    #[inline(always)]
    fn take_named(&mut self, entry: UsedEntry) -> Result<(u16, u32, InFlight<T>), Violation> {
        let head = self.head(entry)?;
        let buffer = self.slots.take_used(head, entry.length)?;
        Ok((head, entry.length, buffer))
    }

    #[inline(always)]
    fn head(&self, entry: UsedEntry) -> Result<u16, Violation> {
        u16::try_from(entry.id).map_err(|_| Violation::IdOutOfRange {
            id: entry.id,
            size: self.shared.size.get(),
        })
    }

    /// `VIRTIO_F_IN_ORDER`: the oldest buffer, which the device has named itself or
    /// skipped.
    #[inline(always)]
    fn take_in_order(&mut self) -> Result<(u16, u32, InFlight<T>), (Violation, UsedEntry)> {
        if self.batch.left == 0 {
            let entry = self.used_entry();
            self.batch = self
                .batch_of(entry)
                .map_err(|violation| (violation, entry))?;
        }
        let head = self.oldest;
        // Cannot fail: the batch was counted among the buffers in flight.
        let buffer = self.slots.take(head).ok_or((
            Violation::IdNotInFlight { id: head },
            UsedEntry {
                used_index: self.used_seen,
                id: u32::from(head),
                length: 0,
            },
        ))?;
        self.batch.left -= 1;
        self.oldest = (head + buffer.descriptors) & self.shared.size.mask();
        let written = if self.batch.left == 0 {
            self.batch.last_written
        } else {
            buffer.writable_bytes
        };
        Ok((head, written, buffer))
    }

    /// How many buffers a used entry stands for: those from the oldest up to the one
    /// it names (virtio 1.4 §2.7.9).
    #[inline(always)]
    fn batch_of(&self, entry: UsedEntry) -> Result<Batch, Violation> {
        let id = self.head(entry)?;
        let last = self.slots.get_used(id)?;
        let first = self.slots.get_used(self.oldest)?;
        // The oldest has the smallest number of all in flight.
        let skipped = last.number - first.number;
        let covered = u64::from(self.used_seen.distance_from(self.last_used));
        if skipped >= covered {
            return Err(Violation::OutOfOrder {
                id,
                skipped: skipped + 1 - covered,
            });
        }
        last.check_length(entry.length)?;
        Ok(Batch {
            left: skipped as u16 + 1,
            last_written: entry.length,
        })
    }

    /// With callbacks on, the next used buffer is to be announced.
    #[inline(always)]
    fn move_used_event(&mut self) {
        let shared = &*self.shared;
        if !shared.features.event_idx || shared.callbacks_off.load(Ordering::Relaxed) {
            return;
        }
        // An event further on was asked for by `enable_callbacks_delayed`, and
        // stands until we have come there.
        let event = RingIndex(shared.used_event.load(Ordering::Relaxed));
        if event.distance_from(self.last_used) < shared.size.get() {
            return;
        }
        shared.write_used_event(self.last_used.0);
        // The caller may look once more, find nothing and sleep: the device must
        // see the new event index before that look.
        shared.memory.fence(Barrier::SplitHarvest);
    }

    /// Marks the queue broken; the offending entry becomes a record.
    #[cold]
    #[inline(never)]
    fn break_queue(&mut self, violation: Violation, entry: UsedEntry) -> QueueError {
        let error = QueueError { violation };
        self.broken = Some(error);
        records::broken(&self.shared, self.free, entry, self.last_used);
        error
    }
}
