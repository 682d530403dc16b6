//! The device's half of a packed ring (virtio 1.4 §2.8), without any checks.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use super::{Areas, word16, word64};
use crate::conversation::{Device, WRITTEN};
use crate::floor::packed_words::{
    EVENT_DISABLE, EVENT_FLAGS, F_NEXT, F_WRITE, available_flags, flags_word, id_word, tail,
    tail_word, used_flags,
};

/// Returns every buffer as soon as it looks.
#[derive(Debug)]
pub struct PackedDevice {
    areas: Areas,
    size: u16,
    /// The descriptor that is looked at next, and the wrap counter there.
    slot: u16,
    wrap: bool,
}

impl PackedDevice {
    /// The device's half of the ring of `size` descriptors in `areas`.
    ///
    /// # Safety
    /// The areas are a packed ring of this size, and stay as long as this value.
    pub unsafe fn new(areas: Areas, size: u16) -> Self {
        // SAFETY: inside the device area, by the caller's promise.
        unsafe { word16(areas.device, EVENT_FLAGS).store(EVENT_DISABLE, Relaxed) };
        Self {
            areas,
            size,
            slot: 0,
            wrap: true,
        }
    }
}

impl Device for PackedDevice {
    #[inline(always)]
    fn serve(&mut self) {
        let (ring, size) = (self.areas.descriptor, self.size);
        let (mut slot, mut wrap) = (self.slot, self.wrap);
        loop {
            let (head, head_wrap) = (slot, wrap);
            let mut advance = || {
                slot += 1;
                if slot == size {
                    slot = 0;
                    wrap = !wrap;
                }
                slot
            };
            // SAFETY: every offset is that of a word of the ring, because slots stay
            // below its size; `new`'s caller promised the ring.
            unsafe {
                let mut flags = word16(ring, flags_word(head)).load(Acquire);
                if flags & used_flags(true) != available_flags(head_wrap) {
                    break;
                }
                let mut last = head;
                while flags & F_NEXT != 0 {
                    last = advance();
                    flags = word16(ring, flags_word(last)).load(Relaxed);
                }
                advance();
                // The buffer's id stands in its last descriptor.
                let id = word16(ring, id_word(last)).load(Relaxed);
                let used = tail(WRITTEN, id, used_flags(head_wrap) | F_WRITE);
                word64(ring, tail_word(head)).store(used, Release);
            }
        }
        (self.slot, self.wrap) = (slot, wrap);
    }
}
