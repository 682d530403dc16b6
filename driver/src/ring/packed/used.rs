//! Taking used buffers back, and distrusting whoever returns them.

use std::sync::atomic::Ordering;

use super::super::packed_layout::{EVENT_DESC, Position, Tail};
use super::super::records::{self, UsedEntry};
use super::super::slots::{Batch, Ids};
use super::super::split_layout::DESC_F_WRITE;
use super::super::{QueueError, UsedBuffer, Violation};
use super::PackedQueue;
use crate::instrument::Instrument;
use crate::memory::{Barrier, QueueMemory};

impl<M: QueueMemory, I: Instrument, T> PackedQueue<M, I, T> {
    /// Linux `virtqueue_get_buf` and `virtqueue_get_buf_ctx`: the next used buffer,
    /// if there is one.
    ///
    /// # Errors
    /// The device broke a rule: the queue is broken from now on.
    #[inline(always)]
    pub fn get_buf(&mut self) -> Result<Option<UsedBuffer<T>>, QueueError> {
        if let Some(broken) = self.broken {
            return Err(broken);
        }
        if self.shared.features.in_order {
            let Some(used) = self.used_in_order()? else {
                return Ok(None);
            };
            self.take(used, Ids::GoRound).map(Some)
        } else {
            let Some(used) = self.used_descriptor() else {
                return Ok(None);
            };
            self.take(used, Ids::One).map(Some)
        }
    }

    /// Takes the buffer that a used descriptor names, if everything in it can be
    /// believed.
    #[inline(always)]
    fn take(&mut self, used: Tail, ids: Ids) -> Result<UsedBuffer<T>, QueueError> {
        let (id, written) = (used.id, used.written());
        let tables = &mut self.tables;
        let Some(buffer) = self.slots.take_used(u32::from(id), written, ids, tables) else {
            return Err(self.unbelievable(used));
        };
        if I::ENABLED {
            let position = self.last_used().to_index();
            let entry = UsedEntry {
                id: u32::from(id),
                length: written,
                used_index: position,
            };
            let free = self.free + buffer.descriptors;
            let writable = self.recorded.writable(id);
            records::used(&self.shared, free, entry, position, &buffer, writable);
        }
        self.free += buffer.descriptors;
        // The device skips as many descriptors as the buffer took (virtio 1.4
        // §2.8.6), which our own copy says.
        let last_used = self.last_used();
        let last_used = last_used.advance(buffer.descriptors, self.shared.size);
        self.share_state(last_used);
        self.move_event(last_used.get());
        Ok(buffer.into_used(written))
    }

    /// The next descriptor, if it is a used one. It is read as one word, so nothing
    /// in it can change between two looks.
    #[inline(always)]
    fn used_descriptor(&self) -> Option<Tail> {
        let at = self.last_used();
        let tail = self.shared.packed_tail(at.slot());
        tail.is_used(at.get().wrap).then_some(tail)
    }

    /// `VIRTIO_F_IN_ORDER`: the used descriptor of the oldest buffer in flight, if it
    /// is used.
    #[inline(always)]
    fn used_in_order(&mut self) -> Result<Option<Tail>, QueueError> {
        let used = if self.batch.left == 0 {
            match self.used_descriptor() {
                Some(tail) if !self.slots.is_oldest(u32::from(tail.id)) => tail,
                used => return Ok(used),
            }
        } else {
            Tail::default()
        };
        self.tail_of_batch(used).map(Some)
    }

    /// `VIRTIO_F_IN_ORDER`: the used descriptor of the oldest buffer in flight, as
    /// the device would have written it if it had not skipped it. `tail` is the next
    /// one that the device did write, where no batch is left.
    fn tail_of_batch(&mut self, tail: Tail) -> Result<Tail, QueueError> {
        let (oldest, batch) = match self.batch_of(tail) {
            Ok(found) => found,
            Err(violation) => return Err(self.break_queue(violation, tail)),
        };
        self.batch = Batch {
            left: batch.left - 1,
            ..batch
        };
        let len = if self.batch.left == 0 {
            batch.last_written
        } else {
            self.slots.writable_bytes(oldest)
        };
        Ok(Tail {
            len,
            id: oldest,
            flags: DESC_F_WRITE,
        })
    }

    /// The oldest buffer, and how many a used descriptor stands for: those from the
    /// oldest up to the one it names (virtio 1.4 §2.8.8), or what is left of an earlier
    /// one's.
    fn batch_of(&self, tail: Tail) -> Result<(u16, Batch), Violation> {
        let id = tail.id;
        let oldest = self.slots.oldest(self.slots.in_flight());
        let oldest = oldest.ok_or(Violation::IdNotInFlight { id });
        if self.batch.left > 0 {
            return Ok((oldest?, self.batch));
        }
        let last = self.slots.check_used(u32::from(id), tail.written())?;
        let oldest = oldest?;
        let first = self.slots.get_used(u32::from(oldest))?;
        // The oldest has the smallest number of all in flight, as long as none was
        // detached.
        let Some(skipped) = last.number.checked_sub(first.number) else {
            return Err(Violation::IdNotInFlight { id });
        };
        let batch = Batch {
            left: skipped as u32 + 1,
            last_written: tail.written(),
        };
        Ok((oldest, batch))
    }

    /// With callbacks on, the next used buffer is to be announced.
    #[inline(always)]
    fn move_event(&self, last_used: Position) {
        let shared = &*self.shared;
        if !shared.features.event_idx || shared.state.callbacks_off.load(Ordering::Relaxed) {
            return;
        }
        // An event further on was asked for by `enable_callbacks_delayed`, and
        // stands until we have come there.
        let event = Position::from_raw(shared.state.used_event.load(Ordering::Relaxed));
        if self.is_ahead(event, last_used) {
            return;
        }
        shared.write_event_suppression(last_used.to_raw(), EVENT_DESC);
        // The caller may look once more, find nothing and sleep: the device must
        // see the new event before that look.
        shared.memory.fence(Barrier::PackedHarvest);
    }

    /// Whether `event` lies among the descriptors in flight.
    #[inline(always)]
    fn is_ahead(&self, event: Position, last_used: Position) -> bool {
        let size = self.shared.size;
        let in_flight = u32::from(size.get() - self.free);
        event.distance_from(last_used, size) < in_flight
    }

    /// Says why the buffer that `tail` names could not be taken.
    #[cold]
    #[inline(never)]
    fn unbelievable(&mut self, tail: Tail) -> QueueError {
        let id = tail.id;
        let checked = self.slots.check_used(u32::from(id), tail.written());
        let violation = checked.err().unwrap_or(Violation::IdNotInFlight { id });
        self.break_queue(violation, tail)
    }

    /// Marks the queue broken; the offending descriptor becomes a record.
    #[cold]
    #[inline(never)]
    fn break_queue(&mut self, violation: Violation, tail: Tail) -> QueueError {
        let error = QueueError { violation };
        self.broken = Some(error);
        self.closed = true;
        self.shared.set_broken();
        let position = self.last_used().to_index();
        let entry = UsedEntry {
            used_index: position,
            id: u32::from(tail.id),
            length: tail.len,
        };
        records::broken(&self.shared, self.free, entry, position);
        error
    }
}
