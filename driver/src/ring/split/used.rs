//! Taking used buffers back, and distrusting whoever returns them.

use std::sync::atomic::Ordering;

use virtscope_record::RingIndex;

use super::super::handle::Shared;
use super::super::records::{self, UsedEntry};
use super::super::slots::{Batch, Ids, InFlight};
use super::super::split_layout::used_entry;
use super::super::{QueueError, UsedBuffer, Violation};
use super::SplitQueue;
use crate::instrument::Instrument;
use crate::memory::{Barrier, QueueMemory, RingWords};

impl<M: QueueMemory, I: Instrument, T> SplitQueue<M, I, T> {
    /// Linux `virtqueue_get_buf` and `virtqueue_get_buf_ctx`: the next used buffer,
    /// if there is one.
    ///
    /// # Errors
    /// The device broke a rule: the queue is broken from now on.
    #[inline(always)]
    pub fn get_buf(&mut self) -> Result<Option<UsedBuffer<T>>, QueueError> {
        if self.last_used() == self.used_seen {
            // A broken queue has seen nothing, so it is enough to ask for it here.
            if let Some(broken) = self.broken {
                return Err(broken);
            }
            self.look_for_used()?;
            if self.last_used() == self.used_seen {
                return Ok(None);
            }
        }
        let entry = self.used_entry();
        if !self.shared.features.in_order {
            return self.take(entry, Ids::Chain).map(Some);
        }
        if self.batch.left == 0 {
            let position = self.last_used();
            // Mostly it is the oldest, which is found to be so on the way.
            if let Some(buffer) = self
                .slots
                .take_oldest(entry.id, entry.length, &mut self.tables)
            {
                return Ok(Some(self.hand_out(entry, position, buffer)));
            }
        }
        let entry = self.entry_of_batch(entry)?;
        self.take(entry, Ids::GoRound).map(Some)
    }

    /// Takes the buffer that `entry` names, if everything in it can be believed.
    #[inline(always)]
    fn take(&mut self, entry: UsedEntry, ids: Ids) -> Result<UsedBuffer<T>, QueueError> {
        let position = self.last_used();
        let tables = &mut self.tables;
        match self.slots.take_used(entry.id, entry.length, ids, tables) {
            Some(buffer) => Ok(self.hand_out(entry, position, buffer)),
            None => Err(self.unbelievable(entry)),
        }
    }

    /// What is left to do for a buffer of which everything in `entry` was believed.
    #[inline(always)]
    fn hand_out(
        &mut self,
        entry: UsedEntry,
        position: RingIndex,
        buffer: InFlight<T>,
    ) -> UsedBuffer<T> {
        // It was in flight, so it is below the size.
        let head = entry.id as u16;
        if I::ENABLED {
            let free = self.free + buffer.descriptors;
            let writable = self.recorded.writable(head);
            records::used(&self.shared, free, entry, position, &buffer, writable);
        }
        self.free += buffer.descriptors;
        let shared = &*self.shared;
        self.share_state(shared);
        self.move_used_event(shared);
        buffer.into_used(entry.length)
    }

    /// Looks at the device's used index.
    #[inline(always)]
    fn look_for_used(&mut self) -> Result<(), QueueError> {
        let used_index = self.shared.split_used_index();
        let returned = used_index.distance_from(self.last_used());
        let in_flight = self.slots.shown_in_flight();
        if returned > in_flight {
            let violation = Violation::UsedIndexJumped {
                last_used: self.last_used(),
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
        Ok(())
    }

    /// The used entry at `last_used`, as the device wrote it.
    #[inline(always)]
    fn used_entry(&self) -> UsedEntry {
        let area = self.shared.memory.device_area();
        let slot = usize::from(self.last_used().0) & self.mask;
        let [id, length] = area.load_pair_u32(used_entry(slot as u16));
        UsedEntry {
            used_index: self.used_seen,
            id,
            length,
        }
    }

    /// `VIRTIO_F_IN_ORDER`: the entry of the oldest buffer in flight, as the device
    /// would have written it if it had not skipped it. `entry` is the next one that
    /// the device did write, where no batch is left.
    fn entry_of_batch(&mut self, entry: UsedEntry) -> Result<UsedEntry, QueueError> {
        let (oldest, batch) = match self.batch_of(entry) {
            Ok(found) => found,
            Err(violation) => return Err(self.break_queue(violation, entry)),
        };
        self.batch = Batch {
            left: batch.left - 1,
            ..batch
        };
        let length = if self.batch.left == 0 {
            batch.last_written
        } else {
            self.slots.writable_bytes(oldest)
        };
        Ok(UsedEntry {
            used_index: self.used_seen,
            id: u32::from(oldest),
            length,
        })
    }

    /// The oldest buffer, and how many the used entry stands for: those from the oldest
    /// up to the one it names (virtio 1.4 §2.7.9), or what is left of an earlier one's.
    fn batch_of(&self, entry: UsedEntry) -> Result<(u16, Batch), Violation> {
        let id = entry.id as u16;
        let taken = self.shared.size.get() - self.free;
        let oldest = self.slots.oldest(taken);
        let oldest = oldest.ok_or(Violation::IdNotInFlight { id });
        if self.batch.left > 0 {
            return Ok((oldest?, self.batch));
        }
        let last = self.slots.get_used(entry.id)?;
        let oldest = oldest?;
        let first = self.slots.get_used(u32::from(oldest))?;
        // The oldest has the smallest number of all in flight, as long as none was
        // detached.
        let Some(skipped) = last.number.checked_sub(first.number) else {
            return Err(Violation::IdNotInFlight { id });
        };
        let covered = u64::from(self.used_seen.distance_from(self.last_used()));
        if skipped >= covered {
            return Err(Violation::OutOfOrder {
                id,
                skipped: skipped + 1 - covered,
            });
        }
        self.slots.check_used(entry.id, entry.length)?;
        let batch = Batch {
            left: skipped as u32 + 1,
            last_written: entry.length,
        };
        Ok((oldest, batch))
    }

    /// With callbacks on, the next used buffer is to be announced.
    #[inline(always)]
    fn move_used_event(&self, shared: &Shared<M, I>) {
        if !shared.features.event_idx || shared.state.callbacks_off.load(Ordering::Relaxed) {
            return;
        }
        // An event further on was asked for by `enable_callbacks_delayed`, and
        // stands until we have come there.
        let event = RingIndex(shared.state.used_event.load(Ordering::Relaxed));
        if event.distance_from(self.last_used()) < shared.size.get() {
            return;
        }
        shared.write_used_event(self.last_used().0);
        // The caller may look once more, find nothing and sleep: the device must
        // see the new event index before that look.
        shared.memory.fence(Barrier::SplitHarvest);
    }

    /// Says why the buffer that `entry` names could not be taken.
    #[cold]
    #[inline(never)]
    fn unbelievable(&mut self, entry: UsedEntry) -> QueueError {
        let id = entry.id as u16;
        let checked = self.slots.check_used(entry.id, entry.length);
        let violation = checked.err().unwrap_or(Violation::IdNotInFlight { id });
        self.break_queue(violation, entry)
    }

    /// Marks the queue broken; the offending entry becomes a record.
    #[cold]
    #[inline(never)]
    fn break_queue(&mut self, violation: Violation, entry: UsedEntry) -> QueueError {
        let error = QueueError { violation };
        self.broken = Some(error);
        self.closed = true;
        // Nothing is taken any more.
        self.used_seen = self.last_used();
        self.shared.set_broken();
        records::broken(&self.shared, self.free, entry, self.last_used());
        error
    }
}
