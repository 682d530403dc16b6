//! The driver's half of a split virtqueue (virtio 1.4 §2.7; Linux
//! `drivers/virtio/virtio_ring.c`).
//!
//! What the driver must be able to trust, it keeps to itself: descriptors are
//! written to shared memory and never read back, and every byte that the device
//! can write is checked against the private copies before it is believed.

mod add;
mod callbacks;
mod kick;
mod used;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use virtscope_record::{Generation, Layout, RingIndex};

use super::handle::{Shared, Taken};
use super::indirect::Tables;
use super::records::{self, Recorded};
use super::slots::{Batch, Slots};
use super::split_layout as layout;
use super::{Features, InvalidQueueSize, Notifier, QueueError, QueueHandle, QueueSize, UsedBuffer};
use crate::instrument::Instrument;
use crate::memory::{Order, QueueMemory, RingWords};

/// The driver's half of a split virtqueue that carries a `T` with each buffer.
///
/// Methods that Linux wants serialised take `&mut self`; the others are on
/// [`QueueHandle`].
pub struct SplitQueue<M, I, T> {
    shared: Arc<Shared<M, I>>,
    slots: Slots<T>,
    tables: Tables,
    recorded: Recorded<I>,
    /// The size less one: what turns an index into a slot.
    mask: usize,
    free: u16,
    /// How many buffers had ever been published at the last kick decision.
    announced_at_kick: u64,
    /// The device's used index when we last looked; it was found believable.
    used_seen: RingIndex,
    batch: Batch,
    broken: Option<QueueError>,
    /// Broken, or buffers were detached: nothing is shown to the device any more.
    closed: bool,
}

impl<M: QueueMemory, I: Instrument, T> SplitQueue<M, I, T> {
    /// A queue of `size` over `memory`, which must be zeroed; the device gets to
    /// know the areas by the transport, after this.
    ///
    /// # Errors
    /// The size is not a power of two.
    pub fn new(
        memory: M,
        size: QueueSize,
        features: Features,
        instrument: I,
        notifier: Box<dyn Notifier>,
    ) -> Result<Self, InvalidQueueSize> {
        let size = size.for_split()?;
        let shared = Shared::new(memory, size, Layout::Split, features, instrument, notifier);
        Ok(Self::with(Arc::new(shared)))
    }

    fn with(shared: Arc<Shared<M, I>>) -> Self {
        let size = shared.size.get();
        Self {
            slots: Slots::new(size),
            tables: Tables::new(shared.features.indirect, shared.memory.indirect_tables()),
            recorded: Recorded::new(size),
            mask: usize::from(shared.size.mask()),
            free: size,
            announced_at_kick: 0,
            used_seen: RingIndex(0),
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

    /// Free descriptors (Linux `struct virtqueue::num_free`).
    pub fn free_descriptors(&self) -> u16 {
        self.free
    }

    /// Buffers added and not yet taken back.
    pub fn in_flight(&self) -> u16 {
        self.slots.in_flight()
    }

    /// What was given with the buffers in flight, by head.
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
        let (head, buffer) = self.slots.take_any()?;
        self.closed = true;
        self.tables.give_back(buffer.table);
        self.free += buffer.descriptors;
        self.share_state(&self.shared);
        records::detach(&self.shared, head, buffer.token, self.free);
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
        zero(&shared.memory, shared.size);
        *self = Self::with(shared);
    }

    #[inline(always)]
    fn share_state(&self, shared: &Shared<M, I>) {
        shared.set_taken(Taken {
            last_used: self.last_used().0,
            batched: 0,
        });
        if I::ENABLED {
            shared.state.free.store(self.free, Ordering::Relaxed);
        }
    }
}

/// Zeroes the areas, each by words of the sizes it is otherwise reached with.
fn zero(memory: &impl QueueMemory, size: QueueSize) {
    let (descriptor, driver) = (memory.descriptor_area(), memory.driver_area());
    for at in (0..layout::descriptor_area_len(size)).step_by(8) {
        descriptor.store_u64(at, 0, Order::Relaxed);
    }
    for at in (0..layout::driver_area_len(size)).step_by(2) {
        driver.store_u16(at, 0, Order::Relaxed);
    }
    let device = memory.device_area();
    for at in [layout::FLAGS, layout::IDX, layout::avail_event(size)] {
        device.store_u16(at, 0, Order::Relaxed);
    }
    for slot in 0..size.get() {
        device.store_u32(layout::used_entry(slot), 0, Order::Relaxed);
        device.store_u32(layout::used_entry(slot) + 4, 0, Order::Relaxed);
    }
}

impl<M, I, T> SplitQueue<M, I, T> {
    /// The next available index; those before [`published`](Self::published) are
    /// visible to the device.
    #[inline(always)]
    const fn avail_idx(&self) -> RingIndex {
        RingIndex(self.slots.added as u16)
    }

    #[inline(always)]
    const fn published(&self) -> RingIndex {
        RingIndex(self.slots.shown() as u16)
    }

    /// The next used entry to take.
    #[inline(always)]
    const fn last_used(&self) -> RingIndex {
        RingIndex(self.slots.used as u16)
    }
}

impl<M, I, T> std::fmt::Debug for SplitQueue<M, I, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SplitQueue")
            .field("free", &self.free)
            .field("avail_idx", &self.avail_idx())
            .field("last_used", &self.last_used())
            .field("broken", &self.broken)
            .finish_non_exhaustive()
    }
}
