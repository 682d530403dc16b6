//! Adding buffers and making them available.

use virtscope_record::{Layout, RingIndex, Timestamp, Token};

use super::super::checks::{self, Offer, Placement, Sums};
use super::super::indirect::Tables;
use super::super::records::{self, Place};
use super::super::slots::{FreeIds, InFlight};
use super::super::split_layout::{
    DESC_F_INDIRECT, DESC_F_NEXT, DESC_F_WRITE, DESCRIPTOR_LEN, Descriptor, IDX, avail_entry,
};
use super::super::{AddError, AddErrorKind, Context};
use super::SplitQueue;
use crate::instrument::Instrument;
use crate::memory::{Barrier, Order, QueueMemory, RingWords, Segment};

impl<M: QueueMemory, I: Instrument, T> SplitQueue<M, I, T> {
    /// Linux `virtqueue_add_sgs`: adds a buffer and makes it available,
    /// device-readable segments first, then device-writable ones. Returns the
    /// remaining capacity in descriptors.
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
        let capacity = self.put(Offer::new(readable, writable, token, data, context))?;
        self.make_available();
        Ok(capacity)
    }

    /// The first half of [`add`](Self::add): the buffer stands in the ring, the
    /// device does not know yet (virtio 1.4 §2.7.13.1, §2.7.13.2).
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
        self.put(Offer::new(readable, writable, token, data, context))
    }

    /// Puts a buffer into the ring, but for the index that makes it available.
    #[inline(always)]
    fn put(&mut self, offer: Offer<'_, T>) -> Result<u16, AddError<T>> {
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
    fn put_or_say_why(&mut self, time: Timestamp, offer: Offer<'_, T>) -> Result<u16, AddError<T>> {
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
    fn put_placed(&mut self, time: Timestamp, offer: Offer<'_, T>, placement: Placement) -> u16 {
        let Offer {
            readable,
            writable,
            token,
            data,
            context,
        } = offer;
        let free = self.free - placement.descriptors;
        self.free = free;
        let memory = &self.shared.memory;
        let ids = self.slots.free_ids();
        let (head, position) = (ids.first, RingIndex(ids.number as u16));
        let lists = (readable, writable);
        let (last, behind) = write_descriptors(memory, &self.tables, &ids, lists, placement);
        let buffer = InFlight {
            data,
            token,
            context,
            writable_bytes: placement.sums.writable,
            descriptors: placement.descriptors,
            table: placement.table,
            last,
        };
        ids.put(buffer, behind);
        self.recorded.remember(head, writable);
        let slot = usize::from(position.0) & self.mask;
        let driver_area = memory.driver_area();
        driver_area.store_u16(avail_entry(slot as u16), head, Order::Relaxed);
        // The record leaves before the buffer is published, so that nothing the
        // device does with it can be recorded earlier.
        if I::ENABLED {
            self.share_state(&self.shared);
            let place = Place {
                position,
                ..self.record_place(head)
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
        free
    }

    /// The second half of [`add`](Self::add): all buffers added so far become
    /// available to the device (virtio 1.4 §2.7.13.3).
    #[inline(always)]
    pub fn publish(&mut self) {
        if !self.closed {
            self.make_available();
        }
    }

    #[inline(always)]
    fn make_available(&mut self) {
        self.slots.show_all();
        let next = self.avail_idx().0;
        // Release: the device sees the descriptors and the ring entry before
        // the index that makes them available (virtio 1.4 §2.7.13.3.1).
        self.shared.memory.driver_area().store_u16(
            IDX,
            next,
            Order::Barrier(Barrier::SplitAvailable),
        );
        self.shared.set_next_available(next);
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

    fn record_place(&self, head: u16) -> Place {
        Place {
            free: self.free,
            head,
            position: self.avail_idx(),
        }
    }
}

/// Writes a chain of the first free descriptors, or the one that names a table; returns
/// the last of it, and the one behind.
#[inline(always)]
fn write_descriptors<T>(
    memory: &impl QueueMemory,
    tables: &Tables,
    ids: &FreeIds<'_, T>,
    (readable, writable): (&[Segment], &[Segment]),
    placement: Placement,
) -> (u16, u16) {
    let area = memory.descriptor_area();
    let mut index = ids.first;
    let mut next = ids.behind(index);
    if let Some(table) = placement.table {
        let segment = tables.fill(table, memory, Layout::Split, readable, writable);
        write_descriptor(area, index, segment, DESC_F_INDIRECT, next);
        return (index, next);
    }
    let mut left = placement.descriptors;
    let mut write = |segments: &[Segment], write| {
        for segment in segments {
            left -= 1;
            if left == 0 {
                write_descriptor(area, index, *segment, write, next);
            } else {
                write_descriptor(area, index, *segment, write | DESC_F_NEXT, next);
                index = next;
                next = ids.behind(index);
            }
        }
    };
    write(readable, 0);
    write(writable, DESC_F_WRITE);
    (index, next)
}

/// Writes one descriptor; the one behind it stands in `next` whether it is used or
/// not.
#[inline(always)]
fn write_descriptor(area: &impl RingWords, index: u16, segment: Segment, flags: u16, next: u16) {
    let descriptor = Descriptor {
        segment,
        flags,
        next,
    };
    let at = usize::from(index) * DESCRIPTOR_LEN;
    area.store_pair_u64(at, [segment.address.0, descriptor.tail_word()]);
}
