//! The device's half of a split ring (virtio 1.4 §2.7), without any checks.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use virtscope_driver::ring::split_layout::{FLAGS, IDX, USED_F_NO_NOTIFY, avail_entry, used_entry};

use super::{Areas, word16, word32};
use crate::conversation::{Device, WRITTEN};

/// Returns every buffer as soon as it looks.
#[derive(Debug)]
pub struct SplitDevice {
    areas: Areas,
    mask: u16,
    /// The next available entry, and so the next used one: buffers are returned
    /// in the order they come.
    next: u16,
}

impl SplitDevice {
    /// The device's half of the ring of `size` entries in `areas`.
    ///
    /// # Safety
    /// The areas are a split ring of this size, and stay as long as this value.
    pub unsafe fn new(areas: Areas, size: u16) -> Self {
        // SAFETY: inside the device area, by the caller's promise.
        unsafe { word16(areas.device, FLAGS).store(USED_F_NO_NOTIFY, Relaxed) };
        Self {
            areas,
            mask: size - 1,
            next: 0,
        }
    }
}

impl Device for SplitDevice {
    #[inline(always)]
    fn serve(&mut self) {
        let Areas { driver, device, .. } = self.areas;
        let mut next = self.next;
        // SAFETY: every offset is that of a word of the ring, because slots are
        // masked; `new`'s caller promised the ring.
        unsafe {
            while word16(driver, IDX).load(Acquire) != next {
                let slot = next & self.mask;
                let head = word16(driver, avail_entry(slot)).load(Relaxed);
                let entry = used_entry(slot);
                word32(device, entry).store(u32::from(head), Relaxed);
                word32(device, entry + 4).store(WRITTEN, Relaxed);
                next = next.wrapping_add(1);
                word16(device, IDX).store(next, Release);
            }
        }
        self.next = next;
    }
}
