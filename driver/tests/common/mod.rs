//! A ring of either layout with both halves over one guest memory, for the tests that step
//! through it.

#![allow(dead_code, reason = "each test program uses its part")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicUsize, Ordering};

use virtscope_device::queue::DeviceQueue;
use virtscope_driver::instrument::Instrument;
use virtscope_driver::memory::{
    GuestAddress, GuestMemory, IndirectTables, Order, QueueAddresses, QueueMemory, RingWords,
    SharedQueueMemory, SharedWords,
};
use virtscope_driver::ring::{
    AvailableNotification, Features, Notifier, NotifyError, QueueSize, Virtqueue, packed_layout,
    split_layout as layout,
};
use virtscope_record::Layout;

/// What a rig is built of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) layout: Layout,
    pub(crate) entries: u16,
    pub(crate) features: Features,
    /// Tables of indirect descriptors, and the descriptors of each.
    pub(crate) tables: (u16, u16),
    /// Pages of memory for buffers.
    pub(crate) buffer_pages: usize,
}

impl Plan {
    /// A ring without features, with a page for buffers.
    pub(crate) fn new(layout: Layout, entries: u16) -> Self {
        Self {
            layout,
            entries,
            features: Features::default(),
            tables: (0, 0),
            buffer_pages: 1,
        }
    }
}

/// Both halves, and the memory they share.
pub(crate) struct Rig<I, T> {
    /// The driver's half.
    pub(crate) driver: Virtqueue<SharedQueueMemory, I, T>,
    /// The device's half.
    pub(crate) device: DeviceQueue<SharedQueueMemory, I>,
    /// Ring memory as either side may write it.
    pub(crate) raw: Raw,
    /// All of guest memory.
    pub(crate) memory: Arc<GuestMemory>,
    /// Where the areas stand in it.
    pub(crate) addresses: QueueAddresses,
    /// Where the tables of indirect descriptors stand in it.
    pub(crate) tables: IndirectTables,
    /// The first address behind the ring, on a page of its own.
    pub(crate) buffers: GuestAddress,
    /// What the driver's notifications were.
    pub(crate) doorbell: Arc<Doorbell>,
}

/// How often the driver rang, and what its last notification said.
#[derive(Debug, Default)]
pub(crate) struct Doorbell {
    pub(crate) rings: AtomicUsize,
    pub(crate) next: AtomicU16,
    /// Whether there is nobody to hear it.
    pub(crate) gone: AtomicBool,
}

struct Ringer(Arc<Doorbell>);

impl Notifier for Ringer {
    fn notify(&self, notification: AvailableNotification) -> Result<(), NotifyError> {
        if self.0.gone.load(Ordering::Relaxed) {
            return Err(NotifyError);
        }
        self.0.rings.fetch_add(1, Ordering::Relaxed);
        self.0.next.store(notification.next, Ordering::Relaxed);
        Ok(())
    }
}

impl<I: Instrument, T> Rig<I, T> {
    /// A ring as planned, zeroed.
    pub(crate) fn new(plan: Plan, driver: I, device: I) -> Self {
        let size = QueueSize::new(plan.entries).unwrap();
        let (addresses, bytes) = match plan.layout {
            Layout::Split => layout::contiguous(GuestAddress(0), size),
            Layout::Packed => packed_layout::contiguous(GuestAddress(0), size),
        };
        let tables = IndirectTables {
            base: GuestAddress(bytes.next_multiple_of(16)),
            count: plan.tables.0,
            capacity: plan.tables.1,
        };
        let ring_pages = (tables.base.0 + tables.bytes() as u64).div_ceil(4096);
        let memory = Arc::new(GuestMemory::new(ring_pages as usize + plan.buffer_pages));
        let areas = match plan.layout {
            Layout::Split => SharedQueueMemory::split(Arc::clone(&memory), addresses, size),
            Layout::Packed => SharedQueueMemory::packed(Arc::clone(&memory), addresses, size),
        };
        let areas = areas.unwrap();
        let driver_areas = areas.clone().with_indirect_tables(tables).unwrap();
        let doorbell = Arc::new(Doorbell::default());
        let ringer = Box::new(Ringer(Arc::clone(&doorbell)));
        let device_areas = areas.clone();
        let (layout, features) = (plan.layout, plan.features);
        Self {
            driver: Virtqueue::new(layout, driver_areas, size, features, driver, ringer).unwrap(),
            device: DeviceQueue::new(layout, device_areas, size, features, device).unwrap(),
            raw: Raw { areas, size },
            memory,
            addresses,
            tables,
            buffers: GuestAddress(ring_pages * 4096),
            doorbell,
        }
    }
}

/// The ring as bytes in memory: how a test sees what really stands there, and
/// how a side that keeps no rules writes it.
pub(crate) struct Raw {
    areas: SharedQueueMemory,
    size: QueueSize,
}

impl Raw {
    /// The descriptor area.
    pub(crate) fn descriptor_area(&self) -> &SharedWords {
        self.areas.descriptor_area()
    }
    /// The driver area.
    pub(crate) fn driver_area(&self) -> &SharedWords {
        self.areas.driver_area()
    }
    /// The device area.
    pub(crate) fn device_area(&self) -> &SharedWords {
        self.areas.device_area()
    }
    /// `avail.flags`.
    pub(crate) fn avail_flags(&self) -> u16 {
        self.driver_area().load_u16(layout::FLAGS, Order::Relaxed)
    }
    /// `used.flags`.
    pub(crate) fn used_flags(&self) -> u16 {
        self.device_area().load_u16(layout::FLAGS, Order::Relaxed)
    }
    /// `used_event`.
    pub(crate) fn used_event(&self) -> u16 {
        self.driver_area()
            .load_u16(layout::used_event(self.size), Order::Relaxed)
    }
    /// `avail_event`.
    pub(crate) fn avail_event(&self) -> u16 {
        self.device_area()
            .load_u16(layout::avail_event(self.size), Order::Relaxed)
    }

    /// Writes `used.idx`.
    pub(crate) fn set_used_idx(&self, index: u16) {
        self.device_area()
            .store_u16(layout::IDX, index, Order::Relaxed);
    }
    /// Writes `used_event`.
    pub(crate) fn set_used_event(&self, event: u16) {
        self.driver_area()
            .store_u16(layout::used_event(self.size), event, Order::Relaxed);
    }
    /// Writes `avail_event`.
    pub(crate) fn set_avail_event(&self, event: u16) {
        self.device_area()
            .store_u16(layout::avail_event(self.size), event, Order::Relaxed);
    }
}
