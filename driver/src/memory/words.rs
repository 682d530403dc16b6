//! Ring memory as words: the small abstraction behind which loom can stand in.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use super::{GuestAddress, GuestMemory, OutOfRange, Segment};

/// One area of a ring (descriptor, driver or device area) as atomic words at
/// byte offsets. A word is always reached with the same size; in memory it is
/// little-endian (virtio 1.4 §2.7), here it is a number.
///
/// Offsets come from the ring's layout and the queue's size, never from the
/// other side, so they are in range by construction; an implementation may
/// panic on one that is not.
pub trait RingWords: Send + Sync {
    /// Reads a 16-bit word.
    fn load_u16(&self, offset: usize, order: Ordering) -> u16;
    /// Writes a 16-bit word.
    fn store_u16(&self, offset: usize, value: u16, order: Ordering);
    /// Reads a 32-bit word.
    fn load_u32(&self, offset: usize, order: Ordering) -> u32;
    /// Writes a 32-bit word.
    fn store_u32(&self, offset: usize, value: u32, order: Ordering);
    /// Reads a 64-bit word.
    fn load_u64(&self, offset: usize, order: Ordering) -> u64;
    /// Writes a 64-bit word.
    fn store_u64(&self, offset: usize, value: u64, order: Ordering);
}

/// All memory that one queue needs: its three areas and the buffers.
pub trait QueueMemory: Send + Sync {
    /// How an area is reached.
    type Words: RingWords;

    /// The descriptor area (split: descriptor table; virtio 1.4 §2.7.5).
    fn descriptor_area(&self) -> &Self::Words;
    /// The driver area (split: available ring; virtio 1.4 §2.7.6).
    fn driver_area(&self) -> &Self::Words;
    /// The device area (split: used ring; virtio 1.4 §2.7.8).
    fn device_area(&self) -> &Self::Words;

    /// A full memory fence: what orders a store before a later load of
    /// something else, as the suppression checks need it.
    fn full_fence(&self);

    /// Whether `segment` may be a buffer's: it touches no area of the ring. Memory
    /// in which nobody could tell says yes.
    fn is_buffer(&self, _segment: Segment) -> bool {
        true
    }

    /// Copies buffer bytes at `address` into `into`; `false` if they can't be
    /// reached.
    fn read_buffer(&self, address: GuestAddress, into: &mut [u8]) -> bool;
}

/// Where the three areas of a queue stand, as a transport is told (virtio 1.4
/// §4.1.4.3, `queue_desc`, `queue_driver`, `queue_device`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QueueAddresses {
    /// The descriptor area.
    pub descriptor: GuestAddress,
    /// The driver area.
    pub driver: GuestAddress,
    /// The device area.
    pub device: GuestAddress,
}

/// An area inside [`GuestMemory`].
#[derive(Clone, Debug)]
pub struct SharedWords {
    memory: Arc<GuestMemory>,
    base: GuestAddress,
    len: usize,
}

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
        let error = OutOfRange {
            address: base,
            len,
            size: memory.size(),
        };
        let end = base.checked_add(len as u64).ok_or(error)?;
        if end.0 > memory.size() as u64 || !base.0.is_multiple_of(8) {
            return Err(error);
        }
        Ok(Self { memory, base, len })
    }

    /// The bytes of the 8-byte words it lies in: what is copied by such words must
    /// keep off all of them.
    fn range(&self) -> Range<u64> {
        let end = self.base.0 + self.len as u64;
        self.base.0..end.next_multiple_of(8)
    }

    fn overlaps(&self, other: Range<u64>) -> bool {
        let range = self.range();
        other.start < range.end && range.start < other.end
    }

    fn at(&self, offset: usize, size: usize) -> GuestAddress {
        assert!(
            offset + size <= self.len,
            "ring offset {offset} outside an area of {} bytes",
            self.len
        );
        GuestAddress(self.base.0 + offset as u64)
    }
}

/// The offset was checked against the area and the area against the memory.
const IN_RANGE: &str = "an aligned offset inside a checked area";

impl RingWords for SharedWords {
    #[inline]
    fn load_u16(&self, offset: usize, order: Ordering) -> u16 {
        let word = self.memory.u16(self.at(offset, 2)).expect(IN_RANGE);
        u16::from_le(word.load(order))
    }
    #[inline]
    fn store_u16(&self, offset: usize, value: u16, order: Ordering) {
        let word = self.memory.u16(self.at(offset, 2)).expect(IN_RANGE);
        word.store(value.to_le(), order);
    }
    #[inline]
    fn load_u32(&self, offset: usize, order: Ordering) -> u32 {
        let word = self.memory.u32(self.at(offset, 4)).expect(IN_RANGE);
        u32::from_le(word.load(order))
    }
    #[inline]
    fn store_u32(&self, offset: usize, value: u32, order: Ordering) {
        let word = self.memory.u32(self.at(offset, 4)).expect(IN_RANGE);
        word.store(value.to_le(), order);
    }
    #[inline]
    fn load_u64(&self, offset: usize, order: Ordering) -> u64 {
        let word = self.memory.u64(self.at(offset, 8)).expect(IN_RANGE);
        u64::from_le(word.load(order))
    }
    #[inline]
    fn store_u64(&self, offset: usize, value: u64, order: Ordering) {
        let word = self.memory.u64(self.at(offset, 8)).expect(IN_RANGE);
        word.store(value.to_le(), order);
    }
}

/// A queue's areas and buffers in [`GuestMemory`].
#[derive(Clone, Debug)]
pub struct SharedQueueMemory {
    memory: Arc<GuestMemory>,
    descriptor: SharedWords,
    driver: SharedWords,
    device: SharedWords,
}

impl SharedQueueMemory {
    /// The areas of a split ring of `size` entries at `addresses`.
    ///
    /// # Errors
    /// An area outside guest memory, not aligned, or in the way of another.
    pub fn split(
        memory: Arc<GuestMemory>,
        addresses: QueueAddresses,
        size: crate::ring::QueueSize,
    ) -> Result<Self, OutOfRange> {
        use crate::ring::split_layout as layout;
        let area = |base, len| SharedWords::new(Arc::clone(&memory), base, len);
        let descriptor = area(addresses.descriptor, layout::descriptor_area_len(size))?;
        let driver = area(addresses.driver, layout::driver_area_len(size))?;
        let device = area(addresses.device, layout::device_area_len(size))?;
        let pairs = [
            (&descriptor, &driver),
            (&descriptor, &device),
            (&driver, &device),
        ];
        if let Some((_, other)) = pairs
            .iter()
            .find(|(one, other)| one.overlaps(other.range()))
        {
            return Err(OutOfRange {
                address: other.base,
                len: other.len,
                size: memory.size(),
            });
        }
        Ok(Self {
            memory,
            descriptor,
            driver,
            device,
        })
    }
}

impl QueueMemory for SharedQueueMemory {
    type Words = SharedWords;

    fn descriptor_area(&self) -> &SharedWords {
        &self.descriptor
    }
    fn driver_area(&self) -> &SharedWords {
        &self.driver
    }
    fn device_area(&self) -> &SharedWords {
        &self.device
    }
    fn full_fence(&self) {
        fence(Ordering::SeqCst);
    }
    fn is_buffer(&self, segment: Segment) -> bool {
        // Rounded outwards, because buffers are copied by words of 8 bytes.
        let start = segment.address.0 / 8 * 8;
        let end = segment
            .address
            .0
            .saturating_add(u64::from(segment.len))
            .saturating_add(7)
            / 8
            * 8;
        let touches = |area: &SharedWords| area.overlaps(start..end);
        !touches(&self.descriptor) && !touches(&self.driver) && !touches(&self.device)
    }
    fn read_buffer(&self, address: GuestAddress, into: &mut [u8]) -> bool {
        self.memory.read(address, into).is_ok()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::ring::{QueueSize, split_layout};

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
    fn areas_in_each_others_way_are_refused() {
        let memory = Arc::new(GuestMemory::new(2));
        let size = QueueSize::new(8).unwrap();
        let (mut addresses, _) = split_layout::contiguous(GuestAddress(0), size);
        addresses.device = GuestAddress(addresses.driver.0 + 8);
        assert!(SharedQueueMemory::split(memory, addresses, size).is_err());
    }
}
