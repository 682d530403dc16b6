//! The split layout: which byte of which area is what (virtio 1.4 §2.7).
//!
//! Both halves use these offsets; nothing here touches memory.

use super::QueueSize;
use crate::memory::{GuestAddress, QueueAddresses, Segment};

/// `VIRTQ_DESC_F_NEXT`: the buffer continues in the descriptor `next` (virtio
/// 1.4 §2.7.5).
pub const DESC_F_NEXT: u16 = 1;
/// `VIRTQ_DESC_F_WRITE`: the segment is device-writable (virtio 1.4 §2.7.5).
pub const DESC_F_WRITE: u16 = 2;
/// `VIRTQ_DESC_F_INDIRECT`: the segment is a table of descriptors (virtio 1.4
/// §2.7.5.3).
pub const DESC_F_INDIRECT: u16 = 4;
/// `VIRTQ_AVAIL_F_NO_INTERRUPT`: the driver asks for no used buffer
/// notifications (virtio 1.4 §2.7.6).
pub const AVAIL_F_NO_INTERRUPT: u16 = 1;
/// `VIRTQ_USED_F_NO_NOTIFY`: the device asks for no available buffer
/// notifications (virtio 1.4 §2.7.8).
pub const USED_F_NO_NOTIFY: u16 = 1;

/// Bytes of one descriptor (`struct virtq_desc`).
pub const DESCRIPTOR_LEN: usize = 16;

/// Offset of `flags` in the driver area and in the device area.
pub const FLAGS: usize = 0;
/// Offset of `idx` in the driver area and in the device area.
pub const IDX: usize = 2;

/// Bytes of the descriptor table.
pub const fn descriptor_area_len(size: QueueSize) -> usize {
    DESCRIPTOR_LEN * size.get() as usize
}

/// Bytes of the available ring, `used_event` included.
pub const fn driver_area_len(size: QueueSize) -> usize {
    6 + 2 * size.get() as usize
}

/// Bytes of the used ring, `avail_event` included.
pub const fn device_area_len(size: QueueSize) -> usize {
    6 + 8 * size.get() as usize
}

/// Offset of `ring[slot]` in the available ring.
pub const fn avail_entry(slot: u16) -> usize {
    4 + 2 * slot as usize
}

/// Offset of `used_event` in the driver area (virtio 1.4 §2.7.7).
pub const fn used_event(size: QueueSize) -> usize {
    4 + 2 * size.get() as usize
}

/// Offset of `ring[slot].id` in the used ring; `len` stands 4 bytes on.
pub const fn used_entry(slot: u16) -> usize {
    4 + 8 * slot as usize
}

/// Offset of `avail_event` in the device area (virtio 1.4 §2.7.10).
pub const fn avail_event(size: QueueSize) -> usize {
    4 + 8 * size.get() as usize
}

/// One descriptor (`struct virtq_desc`, virtio 1.4 §2.7.5).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Descriptor {
    /// The segment it describes.
    pub segment: Segment,
    /// `VIRTQ_DESC_F_*`.
    pub flags: u16,
    /// The descriptor that follows, if [`DESC_F_NEXT`] is set.
    pub next: u16,
}

impl Descriptor {
    /// The second 64-bit word: `len`, `flags`, `next`. The first is `addr`.
    pub const fn tail_word(self) -> u64 {
        self.segment.len as u64 | (self.flags as u64) << 32 | (self.next as u64) << 48
    }

    /// The descriptor of these two words.
    pub const fn from_words(addr: u64, tail: u64) -> Self {
        Self {
            segment: Segment {
                address: GuestAddress(addr),
                len: tail as u32,
            },
            flags: (tail >> 32) as u16,
            next: (tail >> 48) as u16,
        }
    }
}

/// Where the three areas stand when they are laid out one behind the other from
/// `base` (aligned to 4096), and the bytes they take.
pub const fn contiguous(base: GuestAddress, size: QueueSize) -> (QueueAddresses, u64) {
    let driver = (base.0 + descriptor_area_len(size) as u64).next_multiple_of(8);
    let device = (driver + driver_area_len(size) as u64).next_multiple_of(8);
    let end = device + device_area_len(size) as u64;
    let addresses = QueueAddresses {
        descriptor: base,
        driver: GuestAddress(driver),
        device: GuestAddress(device),
    };
    (addresses, end - base.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of virtio 1.4 §2.7: 16·n, 6 + 2·n and 6 + 8·n bytes.
    #[test]
    fn areas_have_the_sizes_of_the_specification() {
        for entries in [1, 2, 256, 32768] {
            let size = QueueSize::new(entries).unwrap();
            let n = usize::from(entries);
            assert_eq!(descriptor_area_len(size), 16 * n);
            assert_eq!(driver_area_len(size), 6 + 2 * n);
            assert_eq!(device_area_len(size), 6 + 8 * n);
            assert_eq!(used_event(size) + 2, driver_area_len(size));
            assert_eq!(avail_event(size) + 2, device_area_len(size));
            assert_eq!(avail_entry(entries - 1) + 2, used_event(size));
            assert_eq!(used_entry(entries - 1) + 8, avail_event(size));
        }
    }

    #[test]
    fn descriptors_stand_in_two_words() {
        let descriptor = Descriptor {
            segment: Segment {
                address: GuestAddress(0x1000),
                len: 0x0102_0304,
            },
            flags: DESC_F_NEXT | DESC_F_WRITE,
            next: 0xabcd,
        };
        assert_eq!(
            descriptor.tail_word().to_le_bytes(),
            [4, 3, 2, 1, 3, 0, 0xcd, 0xab]
        );
        assert_eq!(
            Descriptor::from_words(0x1000, descriptor.tail_word()),
            descriptor
        );
    }
}
