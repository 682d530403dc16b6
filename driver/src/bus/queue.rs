//! Setting up virtqueues (Linux `virtio_find_vqs`): memory, ring, doorbell.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};

use virtscope_record::{
    Body, FeatureBits, Flags, Generation, Layout, QueueFacts, QueueId, Reset, Token,
};

use super::device::poll;
use super::doorbell::{Doorbell, Ringer};
use super::{Device, InitError};
use crate::event::Signal;
use crate::instrument::{Event, Instrument, Payload};
use crate::memory::{
    GuestAddress, IndirectTables, PageArea, PagePool, QueueAddresses, SharedQueueMemory,
};
use crate::ring::{
    Features, QueueHandle, QueueSize, UsedBuffer, Virtqueue, packed_layout, split_layout,
};
use crate::transport::QueueSetup;

/// What a driver wants of a queue (Linux `struct virtqueue_info`).
#[derive(Clone, Copy, Debug)]
pub struct QueuePlan {
    /// Its index.
    pub index: u16,
    /// The most entries the driver has use for; the device may have fewer.
    pub max_size: QueueSize,
    /// Descriptors of each table of indirect descriptors, where
    /// `VIRTIO_F_INDIRECT_DESC` is negotiated: the longest list of segments that may
    /// be indirect. There is a table for each entry of the ring.
    pub indirect: u16,
}

/// A virtqueue of a device (Linux `struct virtqueue`).
#[derive(Debug)]
pub struct Queue<I: Instrument, T> {
    /// Its operations.
    pub ring: Virtqueue<SharedQueueMemory, I, T>,
    /// Set by the device when buffers were used.
    pub interrupt: Arc<Signal>,
    plan: QueuePlan,
    instrument: I,
}

impl<I: Instrument, T> Queue<I, T> {
    /// Linux `virtqueue_get_queue_index`: its index on the device.
    pub fn index(&self) -> u16 {
        self.plan.index
    }

    /// Linux `virtqueue_get_vring_size`: its entries.
    pub fn size(&self) -> QueueSize {
        self.ring.size()
    }

    /// What may be called beside its operations.
    pub fn handle(&self) -> QueueHandle<SharedQueueMemory, I> {
        self.ring.handle()
    }
}

/// How many lives each queue has begun: a queue that is set up again, whoever its
/// device is by then, continues the count, so that its records never mix.
#[derive(Debug, Default)]
pub(super) struct Lives(Mutex<BTreeMap<QueueId, Generation>>);

impl Lives {
    /// The generation of the life that begins now.
    fn begin(&self, queue: QueueId) -> Generation {
        let mut lives = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let next = lives.entry(queue).or_default();
        let generation = *next;
        *next = generation.next();
        generation
    }
}

/// What the device has of a queue until it is reset.
pub(super) struct Live {
    doorbell: Arc<Doorbell>,
    /// Not given to anyone else while the device may still write there.
    _pages: Arc<PageArea>,
}

impl Device {
    /// Sets up queue `plan.index` (virtio 1.4 §3.1.1, step 7; §4.1.5.1.3): memory for
    /// the ring, the ring, and its registration with the device. `instrument` takes
    /// the driver half's records. Where the queue had a life before, its reset becomes
    /// a record, the last of its generation.
    ///
    /// # Errors
    /// There is no such queue, it is set up already, or memory is short.
    pub fn queue<I: Instrument, T>(
        &self,
        plan: QueuePlan,
        instrument: I,
    ) -> Result<Queue<I, T>, InitError> {
        self.alive()?;
        match self.queues().entry(plan.index) {
            Entry::Occupied(_) => return Err(InitError::QueueInUse { index: plan.index }),
            Entry::Vacant(place) => place.insert(None),
        };
        let queue = self.set_up(plan, instrument);
        if queue.is_err() {
            self.queues().remove(&plan.index);
        }
        queue
    }

    fn set_up<I: Instrument, T>(
        &self,
        plan: QueuePlan,
        instrument: I,
    ) -> Result<Queue<I, T>, InitError> {
        let place = self.place(plan)?;
        let generation = self.lives().begin(self.queue_id(plan.index));
        if generation != Generation(0) {
            record_reset(&instrument, generation);
        }
        let interrupt = Arc::new(Signal::new());
        let ring = self.enable(
            plan.index,
            generation,
            place,
            instrument.clone(),
            &interrupt,
        )?;
        self.open_late(plan.index);
        Ok(Queue {
            ring,
            interrupt,
            plan,
            instrument,
        })
    }

    /// Resets one queue and enables it again (virtio 1.4 §2.6.1; Linux
    /// `virtqueue_resize`), with up to `max_size` entries from now on. `recycle` gets
    /// every buffer that was in flight. Handles from before are of no use any more
    /// where the size changes.
    ///
    /// # Errors
    /// `VIRTIO_F_RING_RESET` was not negotiated, or there is no memory for a ring of
    /// the new size: then nothing has happened. Or the device does not let go of the
    /// queue: then it is the device's until a reset of all of it.
    pub fn reset_queue<I: Instrument, T>(
        &self,
        queue: &mut Queue<I, T>,
        max_size: QueueSize,
        recycle: impl FnMut(UsedBuffer<T>),
    ) -> Result<(), InitError> {
        self.alive()?;
        let index = queue.index();
        if !self.features().contains(FeatureBits::RING_RESET) {
            return Err(InitError::QueueResetNotNegotiated { index });
        }
        let plan = QueuePlan {
            max_size,
            ..queue.plan
        };
        let place = self.place(plan)?;
        if let Some(Some(live)) = self.queues().get(&index) {
            live.doorbell.close();
        }
        let transport = self.transport();
        transport.reset_queue(index);
        // "The driver MUST verify that the queue has actually been reset" (§2.6.1.1.2).
        if !poll(|| !transport.queue_enabled(index)) {
            return Err(InitError::NoQueueReset { index });
        }
        let generation = self.lives().begin(self.queue_id(index));
        queue.ring.reset(generation, recycle);
        queue.plan = plan;
        let instrument = queue.instrument.clone();
        queue.ring = self.enable(index, generation, place, instrument, &queue.interrupt)?;
        self.open_late(index);
        Ok(())
    }

    /// A queue that is set up on a device that is ready may be notified at once.
    fn open_late(&self, index: u16) {
        if self.is_ready()
            && let Some(Some(live)) = self.queues().get(&index)
        {
            // Nothing was added yet, so nothing was held back.
            let _ = live.doorbell.open();
        }
    }

    /// Memory for a queue as planned.
    fn place(&self, plan: QueuePlan) -> Result<Place, InitError> {
        let index = plan.index;
        let offered = self.transport().max_queue_size(index);
        let size = offered.ok_or(InitError::NoQueue { index })?;
        Place::new(self.pages(), plan, size, self.features())
    }

    /// Makes the ring at `place` and tells the device.
    fn enable<I: Instrument, T>(
        &self,
        index: u16,
        generation: Generation,
        place: Place,
        instrument: I,
        interrupt: &Arc<Signal>,
    ) -> Result<Virtqueue<SharedQueueMemory, I, T>, InitError> {
        let doorbell = Arc::new(Doorbell::new(Arc::clone(self.transport()), index));
        if I::ENABLED {
            instrument.describe(QueueFacts {
                size: place.size.get(),
                in_flight: 0,
                device_type: self.device_type(),
                layout: place.layout,
                features: self.features(),
            });
        }
        let ring = Virtqueue::new(
            place.layout,
            place.memory,
            place.size,
            Features::from_bits(self.features()),
            instrument,
            Box::new(Ringer(Arc::clone(&doorbell))),
        )?;
        let live = Live {
            doorbell,
            _pages: place.pages,
        };
        // Not on a device that was reset meanwhile.
        let _whole = self.lock_status();
        self.alive()?;
        self.queues().insert(index, Some(live));
        self.transport().enable_queue(
            index,
            QueueSetup {
                size: place.size,
                addresses: place.addresses,
                interrupt: Arc::clone(interrupt),
                generation,
            },
        );
        Ok(ring)
    }

    /// Every doorbell may be rung from now on.
    pub(super) fn open_doorbells(&self) -> Result<(), InitError> {
        for live in self.queues().values().flatten() {
            live.doorbell.open().map_err(|_| InitError::DeviceFailed)?;
        }
        Ok(())
    }

    /// No doorbell may be rung any more.
    pub(super) fn close_doorbells(&self) {
        for live in self.queues().values().flatten() {
            live.doorbell.close();
        }
    }
}

/// Where a ring will stand.
struct Place {
    layout: Layout,
    size: QueueSize,
    addresses: QueueAddresses,
    memory: SharedQueueMemory,
    pages: Arc<PageArea>,
}

impl Place {
    fn new(
        pool: &Arc<PagePool>,
        plan: QueuePlan,
        offered: QueueSize,
        features: FeatureBits,
    ) -> Result<Self, InitError> {
        let packed = features.contains(FeatureBits::RING_PACKED);
        let wanted = offered.min(plan.max_size);
        let (layout, size) = if packed {
            (Layout::Packed, wanted)
        } else {
            (Layout::Split, wanted.power_of_two_below())
        };
        let contiguous = |base| match layout {
            Layout::Split => split_layout::contiguous(base, size),
            Layout::Packed => packed_layout::contiguous(base, size),
        };
        let (_, ring_bytes) = contiguous(GuestAddress(0));
        let tables_at = ring_bytes.next_multiple_of(16);
        let mut tables = IndirectTables::NONE;
        if features.contains(FeatureBits::INDIRECT_DESC) {
            tables.count = size.get();
            tables.capacity = plan.indirect.min(size.get());
        }
        let bytes = tables_at as usize + tables.bytes();
        let pages = Arc::new(pool.allocate_area(bytes)?);
        let (addresses, _) = contiguous(pages.base());
        tables.base = GuestAddress(pages.base().0 + tables_at);
        let memory = Arc::clone(pool.memory());
        let mut memory = match layout {
            Layout::Split => SharedQueueMemory::split(memory, addresses, size)?,
            Layout::Packed => SharedQueueMemory::packed(memory, addresses, size)?,
        };
        if tables.bytes() > 0 {
            memory = memory.with_indirect_tables(tables)?;
        }
        Ok(Self {
            layout,
            size,
            addresses,
            memory: memory.keeping(Arc::clone(&pages)),
            pages,
        })
    }
}

/// The record that ends a generation, and the next one's beginning.
fn record_reset<I: Instrument>(instrument: &I, next: Generation) {
    if I::ENABLED {
        let event = Event {
            time: instrument.now(),
            token: Token::default(),
            flags: Flags::empty(),
            body: Body::Reset(Reset::default()),
        };
        instrument.emit(event, Payload::none());
    }
    instrument.start_generation(next);
}
