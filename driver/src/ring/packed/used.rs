//! Taking used buffers back, and distrusting whoever returns them.

use std::sync::atomic::Ordering;

use super::super::packed_layout::{EVENT_DESC, Position, Tail};
use super::super::records::{self, UsedEntry};
use super::super::slots::{Batch, InFlight};
use super::super::{QueueError, UsedBuffer, Violation};
use super::PackedQueue;
use crate::instrument::Instrument;
use crate::memory::{Barrier, QueueMemory};

/// A buffer that came back: its id, what was written into it, and itself.
type Taken<T> = (u16, u32, InFlight<T>);

impl<M: QueueMemory, I: Instrument, T> PackedQueue<M, I, T> {
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
        let taken = match self.ids.oldest() {
            None => self.take_named(),
            Some(oldest) => self.take_in_order(oldest),
        };
        let (id, written, buffer) = match taken {
            Ok(Some(taken)) => taken,
            Ok(None) => return Ok(None),
            Err((violation, tail)) => return Err(self.break_queue(violation, tail)),
        };
        if I::ENABLED {
            let position = self.last_used.to_index();
            let entry = UsedEntry {
                id: u32::from(id),
                length: written,
                used_index: position,
            };
            let free = self.free + buffer.descriptors;
            let writable = self.recorded.writable(id);
            records::used(&self.shared, free, entry, position, &buffer, writable);
        }
        self.tables.give_back(buffer.table);
        self.ids.give_back(id);
        self.free += buffer.descriptors;
        // The device skips as many descriptors as the buffer took (virtio 1.4
        // §2.8.6), which our own copy says.
        self.last_used = self.last_used.advance(buffer.descriptors, self.shared.size);
        self.share_state();
        self.move_event();
        Ok(Some(buffer.into_used(written)))
    }

    /// The next descriptor, if it is a used one. It is read as one word, so nothing
    /// in it can change between two looks.
    #[inline(always)]
    fn used_descriptor(&self) -> Option<Tail> {
        let tail = self.shared.packed_tail(self.last_used.offset);
        tail.is_used(self.last_used.wrap).then_some(tail)
    }

    #[inline(always)]
    fn take_named(&mut self) -> Result<Option<Taken<T>>, (Violation, Tail)> {
        let Some(tail) = self.used_descriptor() else {
            return Ok(None);
        };
        let written = tail.written();
        match self.slots.take_used(tail.id, written) {
            Ok(buffer) => Ok(Some((tail.id, written, buffer))),
            Err(violation) => Err((violation, tail)),
        }
    }

    /// `VIRTIO_F_IN_ORDER`: the oldest buffer, which the device has named itself or
    /// skipped.
    #[inline(always)]
    fn take_in_order(&mut self, oldest: u16) -> Result<Option<Taken<T>>, (Violation, Tail)> {
        if self.batch.left == 0 {
            let Some(tail) = self.used_descriptor() else {
                return Ok(None);
            };
            self.batch = self
                .batch_of(oldest, tail)
                .map_err(|violation| (violation, tail))?;
        }
        let Some(buffer) = self.slots.take(oldest) else {
            // Cannot be: the batch was counted among the buffers in flight.
            let tail = Tail {
                id: oldest,
                ..Tail::default()
            };
            return Err((Violation::IdNotInFlight { id: oldest }, tail));
        };
        self.batch.left -= 1;
        let written = if self.batch.left == 0 {
            self.batch.last_written
        } else {
            buffer.writable_bytes
        };
        Ok(Some((oldest, written, buffer)))
    }

    /// How many buffers a used descriptor stands for: those from the oldest up to
    /// the one it names (virtio 1.4 §2.8.8).
    #[inline(always)]
    fn batch_of(&self, oldest: u16, tail: Tail) -> Result<Batch, Violation> {
        let last = self.slots.get_used(tail.id)?;
        let first = self.slots.get_used(oldest)?;
        last.check_length(tail.written())?;
        Ok(Batch {
            // The oldest has the smallest number of all in flight.
            left: (last.number - first.number) as u16 + 1,
            last_written: tail.written(),
        })
    }

    /// With callbacks on, the next used buffer is to be announced.
    #[inline(always)]
    fn move_event(&mut self) {
        let shared = &*self.shared;
        if !shared.features.event_idx || shared.callbacks_off.load(Ordering::Relaxed) {
            return;
        }
        // An event further on was asked for by `enable_callbacks_delayed`, and
        // stands until we have come there.
        let event = Position::from_raw(shared.used_event.load(Ordering::Relaxed));
        if self.is_ahead(event) {
            return;
        }
        shared.write_event_suppression(self.last_used.to_raw(), EVENT_DESC);
        // The caller may look once more, find nothing and sleep: the device must
        // see the new event before that look.
        shared.memory.fence(Barrier::PackedHarvest);
    }

    /// Whether `event` lies among the descriptors in flight.
    #[inline(always)]
    fn is_ahead(&self, event: Position) -> bool {
        let size = self.shared.size;
        let in_flight = u32::from(size.get() - self.free);
        event.distance_from(self.last_used, size) < in_flight
    }

    /// Marks the queue broken; the offending descriptor becomes a record.
    #[cold]
    #[inline(never)]
    fn break_queue(&mut self, violation: Violation, tail: Tail) -> QueueError {
        let error = QueueError { violation };
        self.broken = Some(error);
        let position = self.last_used.to_index();
        let entry = UsedEntry {
            used_index: position,
            id: u32::from(tail.id),
            length: tail.len,
        };
        records::broken(&self.shared, self.free, entry, position);
        error
    }
}
