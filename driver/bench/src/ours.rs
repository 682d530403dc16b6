//! Our rings, with everything they check.

use std::sync::Arc;

use virtscope_device::queue::{Chain, DeviceQueue};
use virtscope_driver::instrument::{Instrument, NoInstrument};
use virtscope_driver::memory::{
    GuestAddress, GuestMemory, IndirectTables, QueueAddresses, Segment, SharedQueueMemory,
};
use virtscope_driver::ring::{
    AddError, AvailableNotification, Features, Notifier, NotifyError, PackedQueue, QueueError,
    QueueSize, SplitQueue, UsedBuffer, packed_layout, split_layout,
};
use virtscope_record::{Layout, Token};

use crate::arena::PAGE;
use crate::conversation::{BUFFER_BYTES, Driver, MAX_BATCH, SEGMENT_LEN, Shape, segment_offsets};
use crate::device::Areas;
use crate::threads::{DeviceHalf, DriverHalf};

/// A queue that carries a number with each buffer.
pub type Split<I = NoInstrument> = SplitQueue<SharedQueueMemory, I, u16>;
/// The same, packed.
pub type Packed<I = NoInstrument> = PackedQueue<SharedQueueMemory, I, u16>;

/// Nobody listens: the device looks by itself.
struct NoDoorbell;

impl Notifier for NoDoorbell {
    fn notify(&self, _: AvailableNotification) -> Result<(), NotifyError> {
        Ok(())
    }
}

/// Where a queue's areas, indirect tables and buffers stand in its own memory.
struct Place {
    memory: Arc<GuestMemory>,
    addresses: QueueAddresses,
    areas: SharedQueueMemory,
    size: QueueSize,
    buffers: u64,
}

impl Place {
    fn new(layout: Layout, size: u16, features: Features) -> anyhow::Result<Self> {
        let size = QueueSize::new(size)?;
        let (addresses, bytes) = match layout {
            Layout::Split => split_layout::contiguous(GuestAddress(0), size),
            Layout::Packed => packed_layout::contiguous(GuestAddress(0), size),
        };
        let tables = IndirectTables {
            base: GuestAddress(bytes.next_multiple_of(PAGE as u64)),
            count: if features.indirect { size.get() } else { 0 },
            capacity: 2,
        };
        let end = tables.base.0 + tables.bytes() as u64;
        let buffers = end.next_multiple_of(PAGE as u64);
        let pages = (buffers as usize + BUFFER_BYTES).div_ceil(PAGE);
        let memory = Arc::new(GuestMemory::new(pages));
        let areas = match layout {
            Layout::Split => SharedQueueMemory::split(Arc::clone(&memory), addresses, size)?,
            Layout::Packed => SharedQueueMemory::packed(Arc::clone(&memory), addresses, size)?,
        };
        let areas = if features.indirect {
            areas.with_indirect_tables(tables)?
        } else {
            areas
        };
        Ok(Self {
            memory,
            addresses,
            areas,
            size,
            buffers,
        })
    }
}

/// The driver's half of one of our queues, and the memory it stands in.
pub struct Ours<Q> {
    queue: Q,
    place: Place,
    layout: Layout,
    features: Features,
}

impl<I: Instrument> Ours<Split<I>> {
    /// A split ring of `size` descriptors.
    ///
    /// # Errors
    /// No size of a split ring.
    pub fn split(size: u16, features: Features, instrument: I) -> anyhow::Result<Self> {
        let place = Place::new(Layout::Split, size, features)?;
        let areas = place.areas.clone();
        let doorbell = Box::new(NoDoorbell);
        Ok(Self {
            queue: SplitQueue::new(areas, place.size, features, instrument, doorbell)?,
            place,
            layout: Layout::Split,
            features,
        })
    }
}

impl<I: Instrument> Ours<Packed<I>> {
    /// A packed ring of `size` descriptors.
    ///
    /// # Errors
    /// No size of a packed ring.
    pub fn packed(size: u16, features: Features, instrument: I) -> anyhow::Result<Self> {
        let place = Place::new(Layout::Packed, size, features)?;
        let areas = place.areas.clone();
        let doorbell = Box::new(NoDoorbell);
        Ok(Self {
            queue: PackedQueue::new(areas, place.size, features, instrument, doorbell),
            place,
            layout: Layout::Packed,
            features,
        })
    }
}

impl<Q> Ours<Q> {
    /// Where the ring stands; it stays as long as this value.
    pub fn areas(&self) -> Areas {
        let base = self.place.memory.as_ptr();
        // SAFETY: the areas lie in guest memory.
        let at = |address: GuestAddress| unsafe { base.add(address.0 as usize).as_ptr() };
        Areas {
            descriptor: at(self.place.addresses.descriptor),
            driver: at(self.place.addresses.driver),
            device: at(self.place.addresses.device),
        }
    }

    /// Our device half of this ring.
    ///
    /// # Errors
    /// No size of such a ring.
    pub fn device(&self) -> anyhow::Result<DeviceOurs> {
        let areas = self.place.areas.clone();
        let (size, features) = (self.place.size, self.features);
        Ok(DeviceOurs {
            queue: DeviceQueue::new(self.layout, areas, size, features, NoInstrument)?,
            chain: Chain::default(),
        })
    }

    #[inline(always)]
    fn segments(&self, number: u16) -> (Segment, Segment) {
        let (readable, writable) = segment_offsets(number);
        let segment = |offset| Segment {
            address: GuestAddress(self.place.buffers + offset),
            len: SEGMENT_LEN,
        };
        (segment(readable), segment(writable))
    }
}

/// What the layouts have in common.
pub trait Queue: Send {
    /// Adds a buffer and makes it available.
    ///
    /// # Errors
    /// It does not fit, or the queue is broken.
    fn add(
        &mut self,
        readable: &[Segment],
        writable: &[Segment],
        number: u16,
    ) -> Result<u16, AddError<u16>>;

    /// Decides and notifies.
    ///
    /// # Errors
    /// The device is gone.
    fn kick(&mut self) -> Result<bool, NotifyError>;

    /// The next used buffer.
    ///
    /// # Errors
    /// The queue is broken.
    fn get_buf(&mut self) -> Result<Option<UsedBuffer<u16>>, QueueError>;

    /// Free entries of the ring.
    fn free_descriptors(&self) -> u16;
}

macro_rules! queue {
    ($queue:ident) => {
        impl<I: Instrument> Queue for $queue<I> {
            #[inline(always)]
            fn add(
                &mut self,
                readable: &[Segment],
                writable: &[Segment],
                number: u16,
            ) -> Result<u16, AddError<u16>> {
                self.add(readable, writable, Token(u64::from(number)), number)
            }
            #[inline(always)]
            fn kick(&mut self) -> Result<bool, NotifyError> {
                self.kick()
            }
            #[inline(always)]
            fn get_buf(&mut self) -> Result<Option<UsedBuffer<u16>>, QueueError> {
                self.get_buf()
            }
            #[inline(always)]
            fn free_descriptors(&self) -> u16 {
                self.free_descriptors()
            }
        }
    };
}

queue!(Split);
queue!(Packed);

impl<Q: Queue> Driver for Ours<Q> {
    #[inline(always)]
    fn add(&mut self, number: u16, shape: Shape) {
        let (readable, writable) = self.segments(number);
        let added = match shape {
            Shape::One => self.queue.add(&[], &[writable], number),
            Shape::Two => self.queue.add(&[readable], &[writable], number),
        };
        added.expect("there is room");
    }

    #[inline(always)]
    fn kick(&mut self) {
        self.queue.kick().expect("somebody is there");
    }

    #[inline(always)]
    fn get_buf(&mut self, _: Shape) -> Option<(u16, u32)> {
        let used = self.queue.get_buf().expect("the device keeps the rules")?;
        Some((used.data, used.written))
    }
}

impl<Q: Queue> DriverHalf for Ours<Q> {
    #[inline(always)]
    fn add(&mut self, number: u32) -> anyhow::Result<bool> {
        if self.queue.free_descriptors() == 0 {
            return Ok(false);
        }
        let (_, writable) = self.segments(number as u16 % MAX_BATCH as u16);
        self.queue.add(&[], &[writable], number as u16)?;
        Ok(true)
    }

    #[inline(always)]
    fn get_buf(&mut self) -> anyhow::Result<bool> {
        Ok(self.queue.get_buf()?.is_some())
    }
}

/// The device's half of one of our queues.
pub struct DeviceOurs {
    queue: DeviceQueue<SharedQueueMemory, NoInstrument>,
    chain: Chain,
}

impl DeviceHalf for DeviceOurs {
    #[inline(always)]
    fn use_buf(&mut self) -> anyhow::Result<bool> {
        if !self.queue.take_into(&mut self.chain)? {
            return Ok(false);
        }
        // As ringtest's device does: one byte less than there was room for.
        self.queue.put_used(&self.chain, SEGMENT_LEN - 1);
        Ok(true)
    }
}
