//! The driver's half of a packed virtqueue (virtio 1.4 §2.8; Linux
//! `drivers/virtio/virtio_ring.c`).
//!
//! One ring of descriptors goes both ways: the driver's become available, the
//! device's overwrite them when a buffer is used. Whose a descriptor is, two of
//! its flags say, compared with a wrap counter that each half keeps to itself.
//! The driver reads back only what the device writes to be read, and believes
//! none of it before it has checked it against its own copies.

mod add;
mod callbacks;
mod kick;
mod used;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use virtscope_record::{Generation, Layout, RingIndex};

use super::handle::{Shared, Taken};
use super::indirect::Tables;
use super::packed_layout::{self as layout, Position};
use super::records::{self, Recorded};
use super::slots::{Batch, Slots};
use super::{Features, Notifier, QueueError, QueueHandle, QueueSize, UsedBuffer};
use crate::instrument::Instrument;
use crate::memory::{Order, QueueMemory, RingWords};

/// The driver's half of a packed virtqueue that carries a `T` with each buffer.
///
/// Methods that Linux wants serialised take `&mut self`; the others are on
/// [`QueueHandle`].
pub struct PackedQueue<M, I, T> {
    shared: Arc<Shared<M, I>>,
    slots: Slots<T>,
    tables: Tables,
    recorded: Recorded<I>,
    /// Free entries of the ring.
    free: u16,
    /// Where the next descriptor is put.
    next_avail: Cursor,
    /// The first buffer that is not published yet, if there is one: the device looks
    /// at none behind it.
    withheld: Option<Withheld>,
    /// Where the last kick decision was made.
    kicked: Cursor,
    batch: Batch,
    broken: Option<QueueError>,
    /// Broken, or buffers were detached: nothing is shown to the device any more.
    closed: bool,
}

/// A buffer that the device is not shown yet.
#[derive(Clone, Copy, Debug)]
struct Withheld {
    at: Cursor,
    /// The second word of its first descriptor, which makes the list available.
    tail: u64,
}

/// How far the ring has come: the slot in bits 0 to 14, and above them how many rounds
/// were gone before, which never wraps and whose lowest bit is the wrap counter. So the
/// lower half is a [`Position`] in its raw form.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Cursor(u64);

impl Cursor {
    /// In the first round the wrap counter is 1 (virtio 1.4 §2.8.1).
    const START: Self = Self(Position::START.to_raw() as u64);
    const ROUND: u64 = 1 << 15;

    #[inline(always)]
    const fn to_raw(self) -> u16 {
        self.0 as u16
    }

    #[inline(always)]
    const fn get(self) -> Position {
        Position::from_raw(self.to_raw())
    }

    #[inline(always)]
    const fn to_index(self) -> RingIndex {
        RingIndex(self.to_raw())
    }

    #[inline(always)]
    const fn slot(self) -> u16 {
        self.get().offset
    }

    /// The place `count` descriptors on, at most a whole round.
    #[inline(always)]
    const fn advance(self, count: u16, size: QueueSize) -> Self {
        let (count, size) = (count as u64, size.get() as u64);
        let next = self.0 + count;
        if self.0 % Self::ROUND + count >= size {
            Self(next + (Self::ROUND - size))
        } else {
            Self(next)
        }
    }

    /// Descriptors from `earlier` up to here.
    #[inline(always)]
    const fn distance_from(self, earlier: Self, size: QueueSize) -> u64 {
        let rounds = self.0 / Self::ROUND - earlier.0 / Self::ROUND;
        rounds * size.get() as u64 + self.slot() as u64 - earlier.slot() as u64
    }
}

impl<M: QueueMemory, I: Instrument, T> PackedQueue<M, I, T> {
    /// A queue of `size` over `memory`, which must be zeroed; the device gets to
    /// know the areas by the transport, after this.
    pub fn new(
        memory: M,
        size: QueueSize,
        features: Features,
        instrument: I,
        notifier: Box<dyn Notifier>,
    ) -> Self {
        let layout = Layout::Packed;
        let shared = Shared::new(memory, size, layout, features, instrument, notifier);
        Self::with(Arc::new(shared))
    }

    fn with(shared: Arc<Shared<M, I>>) -> Self {
        let size = shared.size.get();
        let mut slots = Slots::new(size);
        slots.show_from_now_on();
        Self {
            slots,
            tables: Tables::new(shared.features.indirect, shared.memory.indirect_tables()),
            recorded: Recorded::new(size),
            free: size,
            next_avail: Cursor::START,
            withheld: None,
            kicked: Cursor::START,
            batch: Batch::default(),
            broken: None,
            closed: false,
            shared,
        }
    }

    /// What may be called beside the queue's other operations.
    pub fn handle(&self) -> QueueHandle<M, I> {
        QueueHandle {
            shared: Arc::clone(&self.shared),
        }
    }

    /// Linux `virtqueue_get_vring_size`: the Queue Size.
    pub fn size(&self) -> QueueSize {
        self.shared.size
    }

    /// Free entries of the ring (Linux `struct virtqueue::num_free`).
    pub fn free_descriptors(&self) -> u16 {
        self.free
    }

    /// Buffers added and not yet taken back.
    pub fn in_flight(&self) -> u16 {
        self.slots.in_flight()
    }

    /// What was given with the buffers in flight, by id.
    pub fn in_flight_data(&self) -> impl Iterator<Item = &T> {
        self.slots.data()
    }

    /// What broke the queue, if it is broken (Linux `virtqueue_is_broken`).
    pub fn broken(&self) -> Option<QueueError> {
        self.broken
    }

    /// Linux `virtqueue_detach_unused_buf`: takes back a buffer that was never
    /// used, each exactly once. Only for a queue that the device no longer works
    /// on; the queue is good for nothing else until it is [`reset`](Self::reset).
    pub fn detach_unused(&mut self) -> Option<UsedBuffer<T>> {
        let (id, buffer) = self.slots.take_any()?;
        self.closed = true;
        self.tables.give_back(buffer.table);
        self.free += buffer.descriptors;
        self.share_state(self.last_used());
        records::detach(&self.shared, id, buffer.token, self.free);
        Some(buffer.into_used(0))
    }

    /// Linux `virtqueue_reset`: begins afresh, after the transport has reset the
    /// queue and the device has let go of it (`VIRTIO_F_RING_RESET`, virtio 1.4
    /// §2.6.1). `recycle` gets every buffer that was in flight. The ring is zeroed,
    /// a broken queue is whole again, and later records belong to `generation`.
    pub fn reset(&mut self, generation: Generation, mut recycle: impl FnMut(UsedBuffer<T>)) {
        let in_flight = self.slots.in_flight();
        records::reset(&self.shared, self.free, in_flight, generation);
        while let Some((_, buffer)) = self.slots.take_any() {
            recycle(buffer.into_used(0));
        }
        let shared = Arc::clone(&self.shared);
        shared.reset();
        let memory = &shared.memory;
        for at in (0..layout::descriptor_area_len(shared.size)).step_by(8) {
            memory.descriptor_area().store_u64(at, 0, Order::Relaxed);
        }
        memory
            .driver_area()
            .store_u32(layout::EVENT, 0, Order::Relaxed);
        memory
            .device_area()
            .store_u32(layout::EVENT, 0, Order::Relaxed);
        *self = Self::with(shared);
    }

    /// Where the next used descriptor will stand; kept where those beside the queue
    /// see it, which leaves no room for the rounds.
    #[inline(always)]
    fn last_used(&self) -> Cursor {
        Cursor(u64::from(self.shared.taken().last_used))
    }

    /// Up to where buffers were made available.
    #[inline(always)]
    fn published(&self) -> Cursor {
        self.withheld.map_or(self.next_avail, |first| first.at)
    }

    #[inline(always)]
    fn share_state(&self, last_used: Cursor) {
        let shared = &*self.shared;
        shared.set_taken(Taken {
            last_used: last_used.to_raw(),
            batched: self.batch.left as u16,
        });
        if I::ENABLED {
            shared.state.free.store(self.free, Ordering::Relaxed);
        }
    }
}

impl<M, I, T> std::fmt::Debug for PackedQueue<M, I, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PackedQueue")
            .field("free", &self.free)
            .field("next_avail", &self.next_avail.get())
            .field("broken", &self.broken)
            .finish_non_exhaustive()
    }
}
