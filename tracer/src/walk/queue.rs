//! A queue's facts.

use super::{Area, Areas, LayoutOffset, Queue, RingLayout, Walk, WalkError};
use crate::memory::{Bytes, name};

/// The largest ring (virtio 1.4 §2.7, §2.8).
const MAX_SIZE: u32 = 32_768;

impl Walk<'_> {
    /// The queue whose link in its device's list is in the `struct vring_virtqueue` at
    /// `vring`.
    pub(super) fn queue(&self, vring: u64, device: u64) -> Result<Queue, WalkError> {
        let at = &self.offsets.queue;
        let bytes = Bytes::read(self.memory, vring, at.size as usize)?;
        let nonsense = |why: String| WalkError::Nonsense {
            what: "virtqueue",
            address: vring,
            why,
        };
        if bytes.u64(at.vdev) != device {
            return Err(nonsense("it belongs to another device".to_owned()));
        }
        let index = u16::try_from(bytes.u32(at.index))
            .map_err(|_| nonsense(format!("its number is {}", bytes.u32(at.index))))?;
        let layout = at
            .layout
            .read(&bytes)
            .map_err(|value| nonsense(format!("its layout is {value}")))?;
        let size = match layout.is_packed() {
            true => bytes.u32(self.offsets.packed.num),
            false => bytes.u32(self.offsets.split.num),
        };
        if size == 0 || size > MAX_SIZE {
            return Err(nonsense(format!("its size is {size}")));
        }
        Ok(Queue {
            index,
            name: name(self.memory, bytes.u64(at.name))?,
            // `MAX_SIZE` is less.
            size: u16::try_from(size).unwrap_or(u16::MAX),
            layout,
            indirect: bytes.flag(at.indirect),
            event_idx: bytes.flag(at.event),
            has_callback: bytes.u64(at.callback) != 0,
            address: vring + u64::from(at.vq),
            vring,
            areas: match layout.is_packed() {
                true => self.packed_areas(&bytes),
                false => self.split_areas(&bytes),
            },
        })
    }

    fn split_areas(&self, bytes: &Bytes) -> Areas {
        let at = &self.offsets.split;
        let start = bytes.u64(at.desc);
        // The three lie in one piece (Linux `vring_init`), unless a driver laid it out.
        let area = |kernel: u64| Area {
            kernel,
            device: match bytes.u64(at.dma) {
                0 => 0,
                dma => dma.wrapping_add(kernel.wrapping_sub(start)),
            },
        };
        Areas {
            descriptors: area(start),
            driver: area(bytes.u64(at.avail)),
            device: area(bytes.u64(at.used)),
        }
    }

    fn packed_areas(&self, bytes: &Bytes) -> Areas {
        let at = &self.offsets.packed;
        let area = |kernel, device| Area {
            kernel: bytes.u64(kernel),
            device: bytes.u64(device),
        };
        Areas {
            descriptors: area(at.desc, at.ring_dma),
            driver: area(at.driver, at.driver_dma),
            device: area(at.device, at.device_dma),
        }
    }
}

impl LayoutOffset {
    /// The layout, or the number that stands for none.
    fn read(&self, bytes: &Bytes) -> Result<RingLayout, u32> {
        match *self {
            Self::PackedRing(at) => Ok(match bytes.flag(at) {
                true => RingLayout::Packed,
                false => RingLayout::Split,
            }),
            Self::Layout {
                at,
                split,
                packed,
                split_in_order,
                packed_in_order,
            } => match bytes.u32(at) {
                value if value == split => Ok(RingLayout::Split),
                value if value == packed => Ok(RingLayout::Packed),
                value if Some(value) == split_in_order => Ok(RingLayout::SplitInOrder),
                value if Some(value) == packed_in_order => Ok(RingLayout::PackedInOrder),
                value => Err(value),
            },
        }
    }
}
