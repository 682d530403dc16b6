//! A split ring with both halves over one guest memory, for the tests that step
//! through it.

#![allow(dead_code, reason = "each test program uses its part")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use virtscope_device::queue::DeviceQueue;
use virtscope_driver::instrument::Instrument;
use virtscope_driver::memory::{GuestAddress, GuestMemory, SharedQueueMemory, SharedWords};
use virtscope_driver::memory::{QueueMemory, RingWords};
use virtscope_driver::ring::split_layout as layout;
use virtscope_driver::ring::{Features, Notifier, NotifyError, QueueSize, SplitQueue};

/// Both halves, and the memory they share.
pub(crate) struct Rig<I, T> {
    /// The driver's half.
    pub(crate) driver: SplitQueue<SharedQueueMemory, I, T>,
    /// The device's half.
    pub(crate) device: DeviceQueue<SharedQueueMemory, I>,
    /// Ring memory as either side may write it.
    pub(crate) raw: Raw,
    /// All of guest memory.
    pub(crate) memory: Arc<GuestMemory>,
    /// The first address behind the ring, on a page of its own.
    pub(crate) buffers: GuestAddress,
    /// How often the driver rang.
    pub(crate) doorbell: Arc<AtomicUsize>,
}

struct Doorbell(Arc<AtomicUsize>);

impl Notifier for Doorbell {
    fn notify(&self) -> Result<(), NotifyError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

impl<I: Instrument, T> Rig<I, T> {
    /// A ring of `entries` with `buffer_pages` of memory for buffers.
    pub(crate) fn new(
        entries: u16,
        event_idx: bool,
        buffer_pages: usize,
        driver: I,
        device: I,
    ) -> Self {
        let size = QueueSize::new(entries).unwrap();
        let features = Features { event_idx };
        let (addresses, bytes) = layout::contiguous(GuestAddress(0), size);
        let ring_pages = bytes.div_ceil(4096);
        let memory = Arc::new(GuestMemory::new(ring_pages as usize + buffer_pages));
        let areas = SharedQueueMemory::split(Arc::clone(&memory), addresses, size).unwrap();
        let doorbell = Arc::new(AtomicUsize::new(0));
        Self {
            driver: SplitQueue::new(
                areas.clone(),
                size,
                features,
                driver,
                Box::new(Doorbell(Arc::clone(&doorbell))),
            ),
            device: DeviceQueue::new(areas.clone(), size, features, device),
            raw: Raw { areas, size },
            memory,
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
        self.driver_area()
            .load_u16(layout::FLAGS, Ordering::Relaxed)
    }
    /// `used.flags`.
    pub(crate) fn used_flags(&self) -> u16 {
        self.device_area()
            .load_u16(layout::FLAGS, Ordering::Relaxed)
    }
    /// `used_event`.
    pub(crate) fn used_event(&self) -> u16 {
        self.driver_area()
            .load_u16(layout::used_event(self.size), Ordering::Relaxed)
    }
    /// `avail_event`.
    pub(crate) fn avail_event(&self) -> u16 {
        self.device_area()
            .load_u16(layout::avail_event(self.size), Ordering::Relaxed)
    }

    /// Writes `used_event`.
    pub(crate) fn set_used_event(&self, event: u16) {
        self.driver_area()
            .store_u16(layout::used_event(self.size), event, Ordering::Relaxed);
    }
    /// Writes `avail_event`.
    pub(crate) fn set_avail_event(&self, event: u16) {
        self.device_area()
            .store_u16(layout::avail_event(self.size), event, Ordering::Relaxed);
    }
}
