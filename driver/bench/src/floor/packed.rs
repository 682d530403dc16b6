//! A packed ring without any checks (virtio 1.4 §2.8).

use std::hint::black_box;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::fence;

use super::packed_words::{
    DESCRIPTOR_LEN, EVENT_DISABLE, EVENT_FLAGS, F_NEXT, F_WRITE, address_word, available_flags,
    tail, tail_word, used_flags,
};
use crate::arena::{Arena, PAGE};
use crate::conversation::{BUFFER_BYTES, Driver, SEGMENT_LEN, Shape, segment_offsets};
use crate::device::{Areas, word16, word64};

/// The driver's half.
#[derive(Debug)]
pub struct PackedFloor {
    /// Keeps the memory that `areas` and `buffers` point into.
    _arena: Arena,
    areas: Areas,
    buffers: u64,
    size: u16,
    /// Where the next descriptor goes, and the wrap counter there.
    next_avail: u16,
    avail_wrap: bool,
    /// Where the next used one is looked for, and the wrap counter there.
    next_used: u16,
    used_wrap: bool,
    free_id: u16,
    /// By id.
    in_flight: Vec<InFlight>,
}

#[derive(Clone, Copy, Debug)]
struct InFlight {
    data: u16,
    descriptors: u16,
    /// The next free id, while this one is free.
    next_free: u16,
}

impl PackedFloor {
    /// A ring of `size` descriptors.
    pub fn new(size: u16) -> Self {
        let ring = DESCRIPTOR_LEN * usize::from(size);
        let buffers = (ring + 8).next_multiple_of(PAGE);
        let arena = Arena::new(buffers + BUFFER_BYTES);
        let areas = Areas {
            descriptor: arena.at(0),
            driver: arena.at(ring),
            device: arena.at(ring + 4),
        };
        Self {
            buffers: arena.at(buffers) as u64,
            _arena: arena,
            areas,
            size,
            next_avail: 0,
            avail_wrap: true,
            next_used: 0,
            used_wrap: true,
            free_id: 0,
            in_flight: (0..size)
                .map(|id| InFlight {
                    data: 0,
                    descriptors: 0,
                    next_free: id.wrapping_add(1),
                })
                .collect(),
        }
    }

    /// Where the ring stands; it stays as long as this value.
    pub fn areas(&self) -> Areas {
        self.areas
    }

    /// Writes one descriptor at the next place. The tail goes last: it is what
    /// the device looks at.
    #[inline(always)]
    fn write(&mut self, address: u64, id: u16, flags: u16) {
        let slot = self.next_avail;
        let ring = self.areas.descriptor;
        let flags = flags | available_flags(self.avail_wrap);
        // SAFETY: the slot stays below the ring's size.
        unsafe {
            word64(ring, address_word(slot)).store(address, Relaxed);
            word64(ring, tail_word(slot)).store(tail(SEGMENT_LEN, id, flags), Release);
        }
    }

    #[inline(always)]
    fn advance(&mut self) {
        self.next_avail += 1;
        if self.next_avail == self.size {
            self.next_avail = 0;
            self.avail_wrap = !self.avail_wrap;
        }
    }
}

impl Driver for PackedFloor {
    #[inline(always)]
    fn add(&mut self, number: u16, shape: Shape) {
        let (readable, writable) = segment_offsets(number);
        let id = self.free_id;
        // SAFETY: free ids are chained below the ring's size.
        let state = unsafe { self.in_flight.get_unchecked_mut(usize::from(id)) };
        self.free_id = state.next_free;
        state.data = number;
        state.descriptors = shape.descriptors();
        match shape {
            Shape::One => {
                self.write(self.buffers + writable, id, F_WRITE);
                self.advance();
            }
            Shape::Two => {
                // The first descriptor goes last: it makes the whole chain available.
                let head = (self.next_avail, self.avail_wrap);
                self.advance();
                self.write(self.buffers + writable, id, F_WRITE);
                let behind = (self.next_avail, self.avail_wrap);
                (self.next_avail, self.avail_wrap) = head;
                self.write(self.buffers + readable, id, F_NEXT);
                (self.next_avail, self.avail_wrap) = behind;
                self.advance();
            }
        }
    }

    #[inline(always)]
    fn kick(&mut self) {
        fence(SeqCst);
        // SAFETY: a word of the device area.
        let flags = unsafe { word16(self.areas.device, EVENT_FLAGS).load(Relaxed) };
        black_box(flags != EVENT_DISABLE);
    }

    #[inline(always)]
    fn get_buf(&mut self, _: Shape) -> Option<(u16, u32)> {
        let ring = self.areas.descriptor;
        // SAFETY: the slot stays below the ring's size.
        let word = unsafe { word64(ring, tail_word(self.next_used)).load(Acquire) };
        let (len, id, flags) = (word as u32, (word >> 32) as u16, (word >> 48) as u16);
        if flags & used_flags(true) != used_flags(self.used_wrap) {
            return None;
        }
        // SAFETY: none but the benchmark's own device writes ids, and it returns
        // those it was given.
        let state = unsafe { self.in_flight.get_unchecked_mut(usize::from(id)) };
        state.next_free = self.free_id;
        self.free_id = id;
        self.next_used += state.descriptors;
        if self.next_used >= self.size {
            self.next_used -= self.size;
            self.used_wrap = !self.used_wrap;
        }
        Some((state.data, len))
    }
}
