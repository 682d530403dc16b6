//! Adding buffers and making them available.

use virtscope_record::{Layout, Timestamp, Token};

use super::super::checks::{self, Offer, Placement, Sums};
use super::super::packed_layout::{Tail, address_word, available_flags, tail_word};
use super::super::records::{self, Place};
use super::super::slots::InFlight;
use super::super::split_layout::{DESC_F_INDIRECT, DESC_F_NEXT, DESC_F_WRITE};
use super::super::{AddError, AddErrorKind, Context};
use super::{Cursor, PackedQueue, Withheld};
use crate::instrument::Instrument;
use crate::memory::{Barrier, Order, QueueMemory, RingWords, Segment};

impl<M: QueueMemory, I: Instrument, T> PackedQueue<M, I, T> {
    /// Linux `virtqueue_add_sgs`: adds a buffer and makes it available,
    /// device-readable segments first, then device-writable ones. Returns the
    /// remaining capacity in entries of the ring.
    ///
    /// A running device may take the buffer from now on, whether it is kicked or
    /// not.
    ///
    /// # Errors
    /// See [`AddErrorKind`]; `data` comes back in the error.
    #[inline(always)]
    pub fn add(
        &mut self,
        readable: &[Segment],
        writable: &[Segment],
        token: Token,
        data: T,
    ) -> Result<u16, AddError<T>> {
        self.add_with_context(readable, writable, token, data, Context::default())
    }

    /// [`add`](Self::add) with a context beside the token (Linux
    /// `virtqueue_add_inbuf_ctx`).
    ///
    /// # Errors
    /// As for `add`.
    #[inline(always)]
    pub fn add_with_context(
        &mut self,
        readable: &[Segment],
        writable: &[Segment],
        token: Token,
        data: T,
        context: Context,
    ) -> Result<u16, AddError<T>> {
        let first = self.put(Offer::new(readable, writable, token, data, context))?;
        if self.withheld.is_none() {
            self.make_available(first);
        } else {
            self.write_tail(first);
            self.publish();
        }
        Ok(self.free)
    }

    /// The first half of [`add`](Self::add): the buffer stands in the ring, the
    /// device does not know yet, because the flags of the first one that is not
    /// published are withheld (virtio 1.4 §2.8.21.1).
    ///
    /// # Errors
    /// As for `add`.
    #[inline(always)]
    pub fn add_unpublished(
        &mut self,
        readable: &[Segment],
        writable: &[Segment],
        token: Token,
        data: T,
        context: Context,
    ) -> Result<u16, AddError<T>> {
        let first = self.put(Offer::new(readable, writable, token, data, context))?;
        match self.withheld {
            None => self.withheld = Some(first),
            Some(_) => self.write_tail(first),
        }
        self.slots.withhold_last();
        Ok(self.free)
    }

    /// Puts a buffer into the ring, but for the second word of its first
    /// descriptor, which is returned.
    #[inline(always)]
    fn put(&mut self, offer: Offer<'_, T>) -> Result<Withheld, AddError<T>> {
        let time = self.shared.instrument.stamp();
        if let Some(sums) = self.sums_with_room(offer.readable, offer.writable) {
            let segments = offer.readable.len() + offer.writable.len();
            // Apart, so that each way has the steps of its own alone.
            if !self.tables.fit(segments) {
                let placement = Placement::direct(sums, segments);
                return Ok(self.put_placed(time, offer, placement));
            }
            if let Some(table) = self.tables.take_for(segments) {
                let placement = Placement::indirect(sums, table);
                return Ok(self.put_placed(time, offer, placement));
            }
        }
        self.put_or_say_why(time, offer)
    }

    /// What [`put`](Self::put) does where room was not found in few steps. With
    /// `put_placed` of its own, so that there it may be known what was placed.
    #[cold]
    #[inline(never)]
    fn put_or_say_why(
        &mut self,
        time: Timestamp,
        offer: Offer<'_, T>,
    ) -> Result<Withheld, AddError<T>> {
        match self.place_or_say_why(offer.readable, offer.writable) {
            Ok(placement) => Ok(self.put_placed(time, offer, placement)),
            Err(kind) => {
                let place = self.record_place(0);
                records::failed_add(&self.shared, time, &offer, kind, place);
                let Offer { token, data, .. } = offer;
                Err(AddError { kind, token, data })
            }
        }
    }

    #[inline(always)]
    fn put_placed(
        &mut self,
        time: Timestamp,
        offer: Offer<'_, T>,
        placement: Placement,
    ) -> Withheld {
        let Offer {
            readable,
            writable,
            token,
            data,
            context,
        } = offer;
        let at = self.next_avail;
        // There is an id for each entry of the ring, so a buffer that finds room has one.
        let ids = self.slots.free_ids();
        let id = ids.first;
        let behind = ids.behind(id);
        let buffer = InFlight {
            data,
            token,
            context,
            writable_bytes: placement.sums.writable,
            descriptors: placement.descriptors,
            table: placement.table,
            last: 0,
        };
        ids.put(buffer, behind);
        self.free -= placement.descriptors;
        let (tail, after) = self.write_descriptors(id, readable, writable, placement);
        self.next_avail = after;
        self.recorded.remember(id, writable);
        // The record leaves before the buffer is published, so that nothing the
        // device does with it can be recorded earlier.
        if I::ENABLED {
            self.share_state(self.last_used());
            let place = Place {
                position: at.to_index(),
                ..self.record_place(id)
            };
            records::add(
                &self.shared,
                time,
                (readable, writable),
                token,
                placement,
                place,
            );
        }
        Withheld { at, tail }
    }

    /// The second half of [`add`](Self::add): all buffers added so far become
    /// available to the device (virtio 1.4 §2.8.21.1.1).
    #[inline(always)]
    pub fn publish(&mut self) {
        if self.closed {
            return;
        }
        if let Some(first) = self.withheld.take() {
            self.slots.show_from_now_on();
            self.make_available(first);
        }
    }

    /// Writes what was withheld of the first buffer that is not published, and so
    /// publishes all.
    #[inline(always)]
    fn make_available(&self, first: Withheld) {
        // Release: whoever sees these flags sees all descriptors written before
        // them.
        let order = Order::Barrier(Barrier::PackedAvailable);
        let ring = self.shared.memory.descriptor_area();
        ring.store_u64(tail_word(first.at.slot()), first.tail, order);
        self.shared.set_next_available(self.next_avail.to_raw());
    }

    #[inline(always)]
    fn sums_with_room(&self, readable: &[Segment], writable: &[Segment]) -> Option<Sums> {
        if self.closed {
            return None;
        }
        checks::sums_with_room(&self.shared.memory, readable, writable, self.free)
    }

    fn place_or_say_why(
        &mut self,
        readable: &[Segment],
        writable: &[Segment],
    ) -> Result<Placement, AddErrorKind> {
        if let Some(broken) = self.broken {
            return Err(broken.into());
        }
        if self.closed {
            return Err(AddErrorKind::Detached);
        }
        let size = self.shared.size.get();
        let memory = &self.shared.memory;
        checks::place_or_say_why(
            memory,
            readable,
            writable,
            size,
            self.free,
            &mut self.tables,
        )
    }

    /// Writes a list from `next_avail` on, but for the second word of its first
    /// descriptor, which is returned with the place behind the list.
    #[inline(always)]
    fn write_descriptors(
        &self,
        id: u16,
        readable: &[Segment],
        writable: &[Segment],
        placement: Placement,
    ) -> (u64, Cursor) {
        let size = self.shared.size;
        let memory = &self.shared.memory;
        let mut at = self.next_avail;
        if let Some(table) = placement.table {
            let segment = self
                .tables
                .fill(table, memory, Layout::Packed, readable, writable);
            let first = self.write_descriptor(at, segment, id, DESC_F_INDIRECT);
            return (first, at.advance(1, size));
        }
        let mut first = None;
        let mut left = placement.descriptors;
        let mut write = |segments: &[Segment], write| {
            for segment in segments {
                left -= 1;
                let more = if left > 0 { DESC_F_NEXT } else { 0 };
                let tail = self.write_descriptor(at, *segment, id, write | more);
                if first.is_none() {
                    first = Some(tail);
                } else {
                    self.write_tail(Withheld { at, tail });
                }
                at = at.advance(1, size);
            }
        };
        write(readable, 0);
        write(writable, DESC_F_WRITE);
        (first.unwrap_or_default(), at)
    }

    /// Writes the first word of a descriptor; returns the second.
    #[inline(always)]
    fn write_descriptor(&self, at: Cursor, segment: Segment, id: u16, flags: u16) -> u64 {
        let ring = self.shared.memory.descriptor_area();
        ring.store_u64(address_word(at.slot()), segment.address.0, Order::Relaxed);
        let tail = Tail {
            len: segment.len,
            // Needed in the last of a list only (virtio 1.4 §2.8.6).
            id,
            flags: flags | available_flags(at.get().wrap),
        };
        tail.to_word()
    }

    #[inline(always)]
    fn write_tail(&self, Withheld { at, tail }: Withheld) {
        let ring = self.shared.memory.descriptor_area();
        // The device needs no order among these. Release, so that whoever looks here
        // for a used buffer and finds a new one sees that the old one was taken.
        let order = Order::Barrier(Barrier::PackedRecycle);
        ring.store_u64(tail_word(at.slot()), tail, order);
    }

    fn record_place(&self, head: u16) -> Place {
        Place {
            free: self.free,
            head,
            position: self.next_avail.to_index(),
        }
    }
}
