//! The split ring of the `virtio-drivers` crate.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ptr::NonNull;

use virtio_drivers::queue::VirtQueue;
use virtio_drivers::transport::{DeviceStatus, DeviceType, InterruptStatus, Transport};
use virtio_drivers::{BufferDirection, Error, Hal, PAGE_SIZE, PhysAddr};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::arena::Arena;
use crate::conversation::{BUFFER_BYTES, Driver, MAX_BATCH, SEGMENT_LEN, Shape, segment_offsets};
use crate::device::Areas;

/// Memory whose bus addresses are this process's own addresses, so that sharing
/// it costs nothing.
#[derive(Debug)]
struct Identity;

fn layout(pages: usize) -> Layout {
    Layout::from_size_align(pages * PAGE_SIZE, PAGE_SIZE).expect("a ring fits memory")
}

// SAFETY: `dma_alloc` returns zeroed pages of its own, which stay until
// `dma_dealloc`; there are no device registers to map.
unsafe impl Hal for Identity {
    fn dma_alloc(pages: usize, _: BufferDirection) -> (PhysAddr, NonNull<u8>) {
        assert!(pages > 0, "memory of no pages");
        // SAFETY: the layout's size is not zero.
        let base = unsafe { alloc_zeroed(layout(pages)) };
        let Some(base) = NonNull::new(base) else {
            handle_alloc_error(layout(pages))
        };
        (base.as_ptr() as PhysAddr, base)
    }

    unsafe fn dma_dealloc(_: PhysAddr, base: NonNull<u8>, pages: usize) -> i32 {
        // SAFETY: allocated in `dma_alloc` with this very layout.
        unsafe { dealloc(base.as_ptr(), layout(pages)) };
        0
    }

    unsafe fn mmio_phys_to_virt(_: PhysAddr, _: usize) -> NonNull<u8> {
        unreachable!("there are no device registers");
    }

    #[inline(always)]
    unsafe fn share(buffer: NonNull<[u8]>, _: BufferDirection) -> PhysAddr {
        buffer.cast::<u8>().as_ptr() as PhysAddr
    }

    #[inline(always)]
    unsafe fn unshare(_: PhysAddr, _: NonNull<[u8]>, _: BufferDirection) {}
}

/// A transport that only takes down where the ring stands.
#[derive(Debug, Default)]
struct Wire {
    areas: Option<[PhysAddr; 3]>,
}

impl Transport for Wire {
    fn device_type(&self) -> DeviceType {
        DeviceType::EntropySource
    }
    fn read_device_features(&mut self) -> u64 {
        0
    }
    fn write_driver_features(&mut self, _: u64) {}
    fn max_queue_size(&mut self, _: u16) -> u32 {
        32768
    }
    #[inline(always)]
    fn notify(&mut self, _: u16) {}
    fn get_status(&self) -> DeviceStatus {
        DeviceStatus::empty()
    }
    fn set_status(&mut self, _: DeviceStatus) {}
    fn set_guest_page_size(&mut self, _: u32) {}
    fn requires_legacy_layout(&self) -> bool {
        false
    }
    fn queue_set(
        &mut self,
        _: u16,
        _: u32,
        descriptor: PhysAddr,
        driver: PhysAddr,
        device: PhysAddr,
    ) {
        self.areas = Some([descriptor, driver, device]);
    }
    fn queue_unset(&mut self, _: u16) {
        self.areas = None;
    }
    fn queue_used(&mut self, _: u16) -> bool {
        self.areas.is_some()
    }
    fn ack_interrupt(&mut self) -> InterruptStatus {
        InterruptStatus::empty()
    }
    fn read_config_generation(&self) -> u32 {
        0
    }
    fn read_config_space<T: FromBytes>(&self, _: usize) -> Result<T, Error> {
        Err(Error::ConfigSpaceMissing)
    }
    fn write_config_space<T: Immutable + IntoBytes>(
        &mut self,
        _: usize,
        _: T,
    ) -> Result<(), Error> {
        Err(Error::ConfigSpaceMissing)
    }
}

/// The driver's half, with what its user must remember of each buffer.
#[derive(Debug)]
pub struct PeerQueue<const SIZE: usize> {
    queue: Box<VirtQueue<Identity, SIZE>>,
    wire: Wire,
    /// Keeps the buffers, which begin at `base`.
    _buffers: Arena,
    base: *mut u8,
    /// Token and number of the buffers in flight, in the order they were added.
    /// The crate takes a buffer back only from a caller who says which one is
    /// next; as ours come back in order, this is the cheapest way to know.
    in_flight: [(u16, u16); MAX_BATCH],
    added: usize,
    taken: usize,
}

impl<const SIZE: usize> PeerQueue<SIZE> {
    /// A queue that uses indirect descriptors for more than one segment, or not.
    ///
    /// # Panics
    /// If the crate refuses the size.
    pub fn new(indirect: bool) -> Self {
        let mut wire = Wire::default();
        let queue = VirtQueue::new(&mut wire, 0, indirect, false).expect("the size is allowed");
        let buffers = Arena::new(BUFFER_BYTES);
        Self {
            queue: Box::new(queue),
            wire,
            base: buffers.at(0),
            _buffers: buffers,
            in_flight: [(0, 0); MAX_BATCH],
            added: 0,
            taken: 0,
        }
    }

    /// Where the ring stands; it stays as long as this value.
    ///
    /// # Panics
    /// Never: the ring is built in `new`.
    pub fn areas(&self) -> Areas {
        let [descriptor, driver, device] = self
            .wire
            .areas
            .expect("the ring was built")
            .map(|address| address as *mut u8);
        Areas {
            descriptor,
            driver,
            device,
        }
    }

    /// The two segments of a buffer.
    ///
    /// # Safety
    /// Nobody else uses them meanwhile.
    #[inline(always)]
    unsafe fn segments<'a>(&self, number: u16) -> (&'a [u8], &'a mut [u8]) {
        let (readable, writable) = segment_offsets(number);
        let len = SEGMENT_LEN as usize;
        // SAFETY: buffers are numbered below `MAX_BATCH`, so both lie inside the
        // arena; it is zeroed, and stays as long as the queue; the caller's promise.
        unsafe {
            let readable = self.base.add(readable as usize);
            let writable = self.base.add(writable as usize);
            (
                std::slice::from_raw_parts(readable, len),
                std::slice::from_raw_parts_mut(writable, len),
            )
        }
    }
}

impl<const SIZE: usize> Driver for PeerQueue<SIZE> {
    #[inline(always)]
    fn add(&mut self, number: u16, shape: Shape) {
        // SAFETY: the buffer is not in flight, and the benchmark's device does not
        // touch it while it is.
        let token = unsafe {
            let (readable, writable) = self.segments(number);
            match shape {
                Shape::One => self.queue.add(&[], &mut [writable]),
                Shape::Two => self.queue.add(&[readable], &mut [writable]),
            }
        };
        self.in_flight[self.added % MAX_BATCH] = (token.expect("there is room"), number);
        self.added += 1;
    }

    #[inline(always)]
    fn kick(&mut self) {
        if self.queue.should_notify() {
            self.wire.notify(0);
        }
    }

    #[inline(always)]
    fn get_buf(&mut self, shape: Shape) -> Option<(u16, u32)> {
        let (token, number) = self.in_flight[self.taken % MAX_BATCH];
        // SAFETY: the same buffer that was added under this token.
        let written = unsafe {
            let (readable, writable) = self.segments(number);
            match shape {
                Shape::One => self.queue.pop_used(token, &[], &mut [writable]),
                Shape::Two => self.queue.pop_used(token, &[readable], &mut [writable]),
            }
        };
        let written = written.ok()?;
        self.taken += 1;
        Some((number, written))
    }
}
