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

use virtscope_record::{Generation, Layout};

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
    ids: Ids,
    /// Free entries of the ring.
    free: u16,
    /// Where the next descriptor is put; those before `published` are visible to
    /// the device.
    next_avail: Cursor,
    published: Cursor,
    /// Of the first buffer that is not published yet: the device looks at none
    /// behind it.
    withheld: Option<Withheld>,
    /// Descriptors ever added, and those of them that are published.
    descriptors_added: u64,
    descriptors_published: u64,
    /// Where the last kick decision was made, and how many descriptors had ever been
    /// published then: since then it may have been more than two rounds.
    kicked: Cursor,
    published_at_kick: u64,
    /// Where the next used descriptor will stand.
    last_used: Cursor,
    batch: Batch,
    broken: Option<QueueError>,
    /// Broken, or buffers were detached: nothing is shown to the device any more.
    closed: bool,
}

/// The second word of a list's first descriptor, which makes the list available.
#[derive(Clone, Copy, Debug)]
struct Withheld {
    slot: u16,
    tail: u64,
}

/// A [`Position`], kept in one word: read by halves just after it was written
/// whole, or the other way round, it would have to wait for the cache.
#[derive(Clone, Copy, Debug)]
struct Cursor(u32);

impl Cursor {
    const START: Self = Self::at(Position::START);

    #[inline(always)]
    const fn at(position: Position) -> Self {
        Self(position.offset as u32 | (position.wrap as u32) << 16)
    }

    #[inline(always)]
    const fn get(self) -> Position {
        Position {
            offset: self.0 as u16,
            wrap: self.0 >> 16 != 0,
        }
    }
}

/// Which buffer ids are free.
#[derive(Debug)]
enum Ids {
    /// Any of these, the last given back first.
    Any(Vec<u16>),
    /// `VIRTIO_F_IN_ORDER`: they go round, as the buffers do.
    Round { next: u32, size: u32 },
}

impl Ids {
    fn new(size: u16, in_order: bool) -> Self {
        if in_order {
            Self::Round {
                next: 0,
                size: u32::from(size),
            }
        } else {
            Self::Any((0..size).rev().collect())
        }
    }

    /// A free id. There is one for each entry of the ring, so a buffer that finds
    /// room has an id.
    #[inline(always)]
    fn take(&mut self) -> Option<u16> {
        match self {
            Self::Any(free) => free.pop(),
            Self::Round { next, size } => {
                let id = *next;
                *next = if id + 1 == *size { 0 } else { id + 1 };
                Some(id as u16)
            }
        }
    }

    #[inline(always)]
    fn give_back(&mut self, id: u16) {
        match self {
            Self::Any(free) => free.push(id),
            Self::Round { .. } => {}
        }
    }

    /// The id of the oldest of so many buffers in flight, if buffers are used in
    /// order.
    #[inline(always)]
    const fn oldest(&self, in_flight: u16) -> Option<u16> {
        match self {
            Self::Any(_) => None,
            Self::Round { next, size } => {
                let in_flight = in_flight as u32;
                let before = if *next < in_flight { *size } else { 0 };
                Some((*next + before - in_flight) as u16)
            }
        }
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
        Self {
            slots: Slots::new(size),
            tables: Tables::new(shared.features.indirect, shared.memory.indirect_tables()),
            recorded: Recorded::new(size),
            ids: Ids::new(size, shared.features.in_order),
            free: size,
            next_avail: Cursor::START,
            published: Cursor::START,
            withheld: None,
            kicked: Cursor::START,
            descriptors_added: 0,
            descriptors_published: 0,
            published_at_kick: 0,
            last_used: Cursor::START,
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
        self.ids.give_back(id);
        self.free += buffer.descriptors;
        self.share_state();
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

    #[inline(always)]
    fn share_state(&self) {
        let shared = &*self.shared;
        shared.set_taken(Taken {
            last_used: self.last_used.get().to_raw(),
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
            .field("last_used", &self.last_used.get())
            .field("broken", &self.broken)
            .finish_non_exhaustive()
    }
}
