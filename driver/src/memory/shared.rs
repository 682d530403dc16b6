//! A queue's areas in guest memory.

use std::ops::Range;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering, fence};

use super::{
    Barrier, GuestAddress, GuestMemory, IndirectTables, Order, OutOfRange, PageArea,
    QueueAddresses, QueueMemory, RingWords, Segment,
};
use crate::ring::{QueueSize, packed_layout, split_layout};

/// An area inside [`GuestMemory`].
#[derive(Clone, Debug)]
pub struct SharedWords {
    /// Keeps `start` valid.
    _memory: Arc<GuestMemory>,
    base: GuestAddress,
    start: NonNull<u8>,
    len: usize,
    /// By the binary logarithm of a number of bytes: at how many offsets so many lie
    /// in the area. What every access is checked against, in one comparison.
    ends: [usize; 5],
}

// SAFETY: `start` points into guest memory, which `_memory` keeps alive and which
// is reached only through atomics.
unsafe impl Send for SharedWords {}
// SAFETY: as above.
unsafe impl Sync for SharedWords {}

impl SharedWords {
    /// The `len` bytes at `base`, which must be aligned to 8.
    ///
    /// # Errors
    /// Outside guest memory or not aligned.
    pub fn new(
        memory: Arc<GuestMemory>,
        base: GuestAddress,
        len: usize,
    ) -> Result<Self, OutOfRange> {
        let start = memory.area(base, len)?;
        Ok(Self {
            _memory: memory,
            base,
            start,
            len,
            ends: [1, 2, 4, 8, 16].map(|bytes| (len + 1).saturating_sub(bytes)),
        })
    }

    /// The bytes of the 8-byte words it lies in: what is copied by such words must
    /// keep off all of them.
    fn range(&self) -> Range<u64> {
        let end = self.base.0 + self.len as u64;
        self.base.0..end.next_multiple_of(8)
    }

    fn overlaps(&self, other: &Range<u64>) -> bool {
        let range = self.range();
        other.start < range.end && range.start < other.end
    }

    /// The first of `COUNT` words of `SIZE` bytes at `offset`, which is rounded down
    /// to a multiple of `SIZE`.
    #[inline(always)]
    fn words<const SIZE: usize, const COUNT: usize>(&self, offset: usize) -> *mut u8 {
        debug_assert!(offset.is_multiple_of(SIZE), "ring offset {offset} is odd");
        let offset = offset & !(SIZE - 1);
        let bytes = const {
            assert!((SIZE * COUNT).is_power_of_two());
            (SIZE * COUNT).ilog2() as usize
        };
        if offset >= self.ends[bytes] {
            outside(offset, self.len);
        }
        // SAFETY: the words lie within `len` bytes from `start`, all of which the
        // allocation holds.
        unsafe { self.start.as_ptr().add(offset) }
    }
}

#[cold]
#[inline(never)]
fn outside(offset: usize, len: usize) -> ! {
    panic!("ring offset {offset} outside an area of {len} bytes")
}

macro_rules! word {
    ($load:ident, $store:ident, $number:ty, $atomic:ty) => {
        #[inline(always)]
        fn $load(&self, offset: usize, order: Order) -> $number {
            let word = self.words::<{ size_of::<$number>() }, 1>(offset);
            // SAFETY: in range and aligned (`words`, and an area begins at a multiple
            // of 8), initialised (zeroed at first), alive as long as `self`, and
            // everybody uses atomics of this size for it (`RingWords`).
            let word = unsafe { <$atomic>::from_ptr(word.cast()) };
            <$number>::from_le(word.load(order.load()))
        }
        #[inline(always)]
        fn $store(&self, offset: usize, value: $number, order: Order) {
            let word = self.words::<{ size_of::<$number>() }, 1>(offset);
            // SAFETY: as for the load.
            let word = unsafe { <$atomic>::from_ptr(word.cast()) };
            word.store(value.to_le(), order.store());
        }
    };
}

impl RingWords for SharedWords {
    word!(load_u16, store_u16, u16, AtomicU16);
    word!(load_u32, store_u32, u32, AtomicU32);
    word!(load_u64, store_u64, u64, AtomicU64);

    #[inline(always)]
    fn load_pair_u32(&self, offset: usize) -> [u32; 2] {
        let first = self.words::<4, 2>(offset).cast::<u32>();
        // SAFETY: as for one word; both are in range.
        let [first, second] =
            unsafe { [first, first.add(1)].map(|word| AtomicU32::from_ptr(word)) };
        [first, second].map(|word| u32::from_le(word.load(Ordering::Relaxed)))
    }
    #[inline(always)]
    fn store_pair_u64(&self, offset: usize, [first, second]: [u64; 2]) {
        let word = self.words::<8, 2>(offset).cast::<u64>();
        // SAFETY: as for one word; both are in range.
        unsafe {
            AtomicU64::from_ptr(word).store(first.to_le(), Ordering::Relaxed);
            AtomicU64::from_ptr(word.add(1)).store(second.to_le(), Ordering::Relaxed);
        }
    }
}

/// A queue's areas and buffers in [`GuestMemory`].
#[derive(Clone, Debug)]
pub struct SharedQueueMemory {
    memory: Arc<GuestMemory>,
    descriptor: SharedWords,
    driver: SharedWords,
    device: SharedWords,
    indirect: Option<(SharedWords, IndirectTables)>,
    /// From the first byte of any area to the last: what lies outside is no part of
    /// the ring.
    hull: Range<u64>,
    /// Bytes from the end of the hull up to its beginning, if behind the last address
    /// comes the first.
    around: u64,
    /// The pages it stands in, kept as long as anyone can reach the ring.
    _pages: Option<Arc<PageArea>>,
}

impl SharedQueueMemory {
    /// The areas of a split ring of `size` entries at `addresses`.
    ///
    /// # Errors
    /// An area outside guest memory, not aligned, or in the way of another.
    pub fn split(
        memory: Arc<GuestMemory>,
        addresses: QueueAddresses,
        size: QueueSize,
    ) -> Result<Self, OutOfRange> {
        let lengths = [
            split_layout::descriptor_area_len(size),
            split_layout::driver_area_len(size),
            split_layout::device_area_len(size),
        ];
        Self::new(memory, addresses, lengths)
    }

    /// The areas of a packed ring of `size` entries at `addresses`.
    ///
    /// # Errors
    /// An area outside guest memory, not aligned, or in the way of another.
    pub fn packed(
        memory: Arc<GuestMemory>,
        addresses: QueueAddresses,
        size: QueueSize,
    ) -> Result<Self, OutOfRange> {
        let lengths = [
            packed_layout::descriptor_area_len(size),
            packed_layout::EVENT_AREA_LEN,
            packed_layout::EVENT_AREA_LEN,
        ];
        Self::new(memory, addresses, lengths)
    }

    fn new(
        memory: Arc<GuestMemory>,
        addresses: QueueAddresses,
        lengths: [usize; 3],
    ) -> Result<Self, OutOfRange> {
        let area = |base, len| SharedWords::new(Arc::clone(&memory), base, len);
        let descriptor = area(addresses.descriptor, lengths[0])?;
        let driver = area(addresses.driver, lengths[1])?;
        let device = area(addresses.device, lengths[2])?;
        let mut queue = Self {
            hull: descriptor.range(),
            around: 0,
            descriptor,
            driver,
            device,
            indirect: None,
            _pages: None,
            memory,
        };
        // The descriptor area must be aligned to 16 (virtio 1.4 §2.7, §2.8.10.1).
        if !queue.descriptor.base.0.is_multiple_of(16) {
            return Err(queue.refused(&queue.descriptor));
        }
        let (driver, device) = (&queue.driver, &queue.device);
        if queue.descriptor.overlaps(&driver.range()) {
            return Err(queue.refused(driver));
        }
        if queue.descriptor.overlaps(&device.range()) || driver.overlaps(&device.range()) {
            return Err(queue.refused(device));
        }
        for range in [driver.range(), device.range()] {
            queue.widen(&range);
        }
        Ok(queue)
    }

    /// The same queue with memory for tables of indirect descriptors.
    ///
    /// # Errors
    /// The tables are outside guest memory, not aligned, or in the ring's way.
    pub fn with_indirect_tables(mut self, tables: IndirectTables) -> Result<Self, OutOfRange> {
        let words = SharedWords::new(Arc::clone(&self.memory), tables.base, tables.bytes())?;
        let range = words.range();
        let areas = [&self.descriptor, &self.driver, &self.device];
        if !tables.base.0.is_multiple_of(16) || areas.iter().any(|area| area.overlaps(&range)) {
            return Err(self.refused(&words));
        }
        self.widen(&range);
        self.indirect = Some((words, tables));
        Ok(self)
    }

    /// The same queue, which keeps the pages that it stands in from being given to
    /// others.
    #[must_use]
    pub fn keeping(mut self, pages: Arc<PageArea>) -> Self {
        self._pages = Some(pages);
        self
    }

    fn refused(&self, area: &SharedWords) -> OutOfRange {
        OutOfRange {
            address: area.base,
            len: area.len,
            size: self.memory.size(),
        }
    }

    fn widen(&mut self, range: &Range<u64>) {
        self.hull = self.hull.start.min(range.start)..self.hull.end.max(range.end);
        self.around = self.hull.start.wrapping_sub(self.hull.end);
    }

    /// Whether a segment touches an area.
    #[cold]
    #[inline(never)]
    fn touches_ring(&self, segment: Segment) -> bool {
        let start = segment.address.0;
        let end = start.saturating_add(u64::from(segment.len));
        // Rounded outwards, because buffers are copied by words of 8 bytes.
        let range = &(start & !7..end.saturating_add(7) & !7);
        let areas = [&self.descriptor, &self.driver, &self.device];
        let tables = self.indirect.as_ref().map(|(words, _)| words);
        areas
            .into_iter()
            .chain(tables)
            .any(|area| area.overlaps(range))
    }
}

impl QueueMemory for SharedQueueMemory {
    type Words = SharedWords;

    #[inline(always)]
    fn descriptor_area(&self) -> &SharedWords {
        &self.descriptor
    }
    #[inline(always)]
    fn driver_area(&self) -> &SharedWords {
        &self.driver
    }
    #[inline(always)]
    fn device_area(&self) -> &SharedWords {
        &self.device
    }
    #[inline(always)]
    fn fence(&self, _: Barrier) {
        fence(Ordering::SeqCst);
    }
    fn indirect_tables(&self) -> IndirectTables {
        self.indirect
            .as_ref()
            .map_or(IndirectTables::NONE, |(_, tables)| *tables)
    }
    fn indirect_area(&self) -> &SharedWords {
        self.indirect
            .as_ref()
            .map_or(&self.descriptor, |(words, _)| words)
    }
    #[inline(always)]
    fn is_buffer(&self, segment: Segment) -> bool {
        // Seen from the end of the hull, everything outside it comes first. The hull is
        // whole words: rounding the segment would change nothing. It lies in memory, so
        // what is around it is most of the address space and longer than any segment.
        let start = segment.address.0.wrapping_sub(self.hull.end);
        let outside = start <= self.around.wrapping_sub(u64::from(segment.len));
        outside || !self.touches_ring(segment)
    }
    fn read_buffer(&self, address: GuestAddress, into: &mut [u8]) -> bool {
        self.memory.read(address, into).is_ok()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn segment(address: u64, len: u32) -> Segment {
        Segment {
            address: GuestAddress(address),
            len,
        }
    }

    #[test]
    fn a_segment_in_the_ring_is_no_buffer() {
        let memory = Arc::new(GuestMemory::new(2));
        let size = QueueSize::new(8).unwrap();
        let base = GuestAddress(1024);
        let (addresses, bytes) = split_layout::contiguous(base, size);
        let queue = SharedQueueMemory::split(memory, addresses, size).unwrap();
        let end = (base.0 + bytes).next_multiple_of(8);
        assert!(queue.is_buffer(segment(0, 1024)));
        assert!(queue.is_buffer(segment(end, 4096)));
        for (address, len) in [
            (0, 1025),
            (1024, 1),
            (addresses.driver.0 + 2, 2),
            (addresses.device.0, 1),
            // The last word of the ring is not whole; a copy would touch it all.
            (end - 1, 1),
            (0, u32::MAX),
            (u64::MAX - 3, 1),
        ] {
            let touches = address < end;
            assert_eq!(
                queue.is_buffer(segment(address, len)),
                !touches,
                "{address:#x}"
            );
        }
    }

    #[test]
    #[should_panic(expected = "outside an area")]
    fn no_offset_wraps_into_an_area() {
        let memory = Arc::new(GuestMemory::new(1));
        let words = SharedWords::new(memory, GuestAddress(0), 64).unwrap();
        words.load_u16(usize::MAX - 1, Order::Relaxed);
    }

    #[test]
    fn areas_in_each_others_way_are_refused() {
        let memory = Arc::new(GuestMemory::new(2));
        let size = QueueSize::new(8).unwrap();
        let (mut addresses, _) = split_layout::contiguous(GuestAddress(0), size);
        addresses.device = GuestAddress(addresses.driver.0 + 8);
        assert!(SharedQueueMemory::split(memory, addresses, size).is_err());
    }
}
