//! A split ring without any checks (virtio 1.4 §2.7).

use std::hint::black_box;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::fence;

use crate::arena::{Arena, PAGE};
use crate::conversation::{BUFFER_BYTES, Driver, SEGMENT_LEN, Shape, segment_offsets};
use crate::device::{Areas, word16, word32, word64};

const F_NEXT: u16 = 1;
const F_WRITE: u16 = 2;
const USED_F_NO_NOTIFY: u16 = 1;
/// Offset of `idx` in the driver area and in the device area.
const IDX: usize = 2;
/// Offset of `ring` in both.
const RING: usize = 4;

/// The driver's half.
#[derive(Debug)]
pub struct SplitFloor {
    /// Keeps the memory that `areas` and `buffers` point into.
    _arena: Arena,
    areas: Areas,
    buffers: u64,
    mask: u16,
    avail_idx: u16,
    last_used: u16,
    free_head: u16,
    /// By descriptor.
    state: Vec<State>,
}

#[derive(Clone, Copy, Debug)]
struct State {
    /// What was given with the buffer that begins here.
    data: u16,
    /// The descriptor it ends with.
    last: u16,
    /// The next of the chain, or the next free one.
    next: u16,
}

impl SplitFloor {
    /// A ring of `size` descriptors.
    pub fn new(size: u16) -> Self {
        let entries = usize::from(size);
        let driver = 16 * entries;
        let device = (driver + RING + 2 * entries + 2).next_multiple_of(8);
        let buffers = (device + RING + 8 * entries + 2).next_multiple_of(PAGE);
        let arena = Arena::new(buffers + BUFFER_BYTES);
        let areas = Areas {
            descriptor: arena.at(0),
            driver: arena.at(driver),
            device: arena.at(device),
        };
        Self {
            buffers: arena.at(buffers) as u64,
            _arena: arena,
            areas,
            mask: size - 1,
            avail_idx: 0,
            last_used: 0,
            free_head: 0,
            state: (0..size)
                .map(|index| State {
                    data: 0,
                    last: index,
                    next: index.wrapping_add(1),
                })
                .collect(),
        }
    }

    /// Where the ring stands; it stays as long as this value.
    pub fn areas(&self) -> Areas {
        self.areas
    }

    #[inline(always)]
    fn write(&self, index: u16, address: u64, flags: u16, next: u16) {
        let at = 16 * usize::from(index);
        let tail = u64::from(SEGMENT_LEN) | u64::from(flags) << 32 | u64::from(next) << 48;
        // SAFETY: the index is one of the ring's.
        unsafe {
            word64(self.areas.descriptor, at).store(address, Relaxed);
            word64(self.areas.descriptor, at + 8).store(tail, Relaxed);
        }
    }

    #[inline(always)]
    fn state(&mut self, index: u16) -> &mut State {
        // SAFETY: free descriptors are chained below the ring's size, and none but
        // the benchmark's own device names others: those it was given.
        unsafe { self.state.get_unchecked_mut(usize::from(index)) }
    }
}

impl Driver for SplitFloor {
    #[inline(always)]
    fn add(&mut self, number: u16, shape: Shape) {
        let (readable, writable) = segment_offsets(number);
        let head = self.free_head;
        let next = self.state(head).next;
        let last = match shape {
            Shape::One => {
                self.write(head, self.buffers + writable, F_WRITE, 0);
                head
            }
            Shape::Two => {
                self.write(head, self.buffers + readable, F_NEXT, next);
                self.write(next, self.buffers + writable, F_WRITE, 0);
                next
            }
        };
        self.free_head = self.state(last).next;
        let state = self.state(head);
        state.data = number;
        state.last = last;
        let slot = usize::from(self.avail_idx & self.mask);
        self.avail_idx = self.avail_idx.wrapping_add(1);
        // SAFETY: the slot is masked.
        unsafe {
            word16(self.areas.driver, RING + 2 * slot).store(head, Relaxed);
            word16(self.areas.driver, IDX).store(self.avail_idx, Release);
        }
    }

    #[inline(always)]
    fn kick(&mut self) {
        fence(SeqCst);
        // SAFETY: a word of the device area.
        let flags = unsafe { word16(self.areas.device, 0).load(Relaxed) };
        black_box(flags & USED_F_NO_NOTIFY == 0);
    }

    #[inline(always)]
    fn get_buf(&mut self, _: Shape) -> Option<(u16, u32)> {
        let device = self.areas.device;
        // SAFETY: the slot is masked.
        let (id, len) = unsafe {
            if word16(device, IDX).load(Acquire) == self.last_used {
                return None;
            }
            let entry = RING + 8 * usize::from(self.last_used & self.mask);
            (
                word32(device, entry).load(Relaxed) as u16,
                word32(device, entry + 4).load(Relaxed),
            )
        };
        self.last_used = self.last_used.wrapping_add(1);
        let free_head = self.free_head;
        let State { data, last, .. } = *self.state(id);
        self.state(last).next = free_head;
        self.free_head = id;
        Some((data, len))
    }
}
