//! What a buffer is made of, and how much of it is taken along.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_loop;
use virtscope_tracer_shared::{
    PayloadMode, PendingAdd, SEGMENTS, Segment, Segments, Slot, control,
};

use crate::kernel::read;
use crate::maps::{CONTROL, config};

/// Scatter list entries that are looked at in one buffer.
pub(crate) const MAX_ENTRIES: u32 = 2048;

const CHAIN: u64 = 1;
const END: u64 = 2;

/// What has been found of a buffer: by direction, device-readable first.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Walk {
    pub(crate) bytes: [u32; 2],
    pub(crate) segments: [u32; 2],
}

/// How far a walk over scatter lists is.
#[repr(C)]
pub(crate) struct Steps {
    lists: u64,
    sg: u64,
    vmemmap: u64,
    page_offset: u64,
    is_array: u32,
    next: u32,
    readable_lists: u32,
    all_lists: u32,
}

/// What a step comes to.
pub(crate) enum Step {
    /// Behind the last entry.
    End,
    /// Somewhere else.
    Onward,
    /// An entry.
    Entry {
        writable: bool,
        address: u64,
        len: u32,
    },
}

impl Steps {
    /// To the first entry of the lists of `add`.
    #[inline(always)]
    pub(crate) fn of(add: &PendingAdd) -> Self {
        Self {
            lists: add.lists,
            sg: 0,
            vmemmap: base(control::VMEMMAP, config!(vmemmap_base)),
            page_offset: base(control::PAGE_OFFSET, config!(page_offset_base)),
            is_array: add.is_array,
            next: 0,
            readable_lists: add.readable,
            all_lists: add.readable + add.writable,
        }
    }

    /// One scatter list entry, or the next list.
    #[inline(always)]
    pub(crate) fn step(&mut self) -> Step {
        if self.sg == 0 {
            if self.next >= self.all_lists {
                return Step::End;
            }
            self.sg = if self.is_array != 0 {
                read(self.lists + 8 * u64::from(self.next))
            } else {
                self.lists
            };
            self.next += 1;
            if self.sg == 0 {
                return Step::Onward;
            }
        }
        let entry: [u64; 2] = read(self.sg);
        let link = entry[0];
        if link & CHAIN != 0 {
            self.sg = link & !3;
            return Step::Onward;
        }
        let (offset, len) = (entry[1] & 0xffff_ffff, (entry[1] >> 32) as u32);
        self.sg = if link & END != 0 {
            0
        } else {
            self.sg + u64::from(config!(sg_size))
        };
        Step::Entry {
            writable: self.next > self.readable_lists,
            address: address(self.vmemmap, self.page_offset, link & !3, offset),
            len,
        }
    }
}

/// A walk that counts, and keeps the first segments.
#[repr(C)]
struct Counting {
    slot: *mut Slot,
    walk: *mut Walk,
    steps: Steps,
}

impl Walk {
    /// Walks the scatter lists of an add, and keeps the first segments in `slot`.
    #[inline(always)]
    pub(crate) fn walk(&mut self, add: &PendingAdd, slot: &mut Slot) {
        self.bytes = [0; 2];
        self.segments = [0; 2];
        walk_lists(add, slot, self);
    }
}

/// See [`Walk::walk`]; verified by itself.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn walk_lists(add: *const PendingAdd, slot: *mut Slot, walk: *mut Walk) -> i32 {
    // SAFETY: null, or a caller's reference.
    let Some(add) = (unsafe { add.as_ref() }) else {
        return 0;
    };
    if slot.is_null() || walk.is_null() {
        return 0;
    }
    let mut counting = Counting {
        slot,
        walk,
        steps: Steps::of(add),
    };
    let callback = step as extern "C" fn(u32, *mut c_void) -> i64;
    let (callback, context) = (callback as *mut c_void, (&raw mut counting).cast());
    // SAFETY: the callback has the type that the helper calls, and `counting` stays meanwhile.
    unsafe { bpf_loop(MAX_ENTRIES, callback, context, 0) };
    0
}

extern "C" fn step(_: u32, context: *mut c_void) -> i64 {
    // SAFETY: what `walk_lists` has on its stack, and does not use meanwhile.
    let counting = unsafe { &mut *context.cast::<Counting>() };
    // SAFETY: its caller's reference; `walk_lists` has checked that it is not null.
    let walk = unsafe { &mut *counting.walk };
    let (writable, address, len) = match counting.steps.step() {
        Step::End => return 1,
        Step::Onward => return 0,
        Step::Entry {
            writable,
            address,
            len,
        } => (writable, address, len),
    };
    // Each direction by itself, so that every index is one the verifier knows.
    if writable {
        let at = walk.segments[1] as usize;
        if at < SEGMENTS {
            keep(counting.slot, 1, at, address, len);
        }
        walk.segments[1] += 1;
        walk.bytes[1] = walk.bytes[1].wrapping_add(len);
    } else {
        let at = walk.segments[0] as usize;
        if at < SEGMENTS {
            keep(counting.slot, 0, at, address, len);
        }
        walk.segments[0] += 1;
        walk.bytes[0] = walk.bytes[0].wrapping_add(len);
    }
    0
}

/// Keeps a segment in a slot that [`walk_lists`] was lent.
#[inline(always)]
fn keep(slot: *mut Slot, direction: usize, at: usize, address: u64, len: u32) {
    const { assert!(SEGMENTS == 8) };
    let mut at = at as u64;
    // SAFETY: `walk_lists` has checked that the slot is not null; the mask leaves less than
    // it has segments, in a way that the verifier sees.
    unsafe {
        core::arch::asm!("{0} &= 7", inout(reg) at);
        let segments = (&raw mut (*slot).segments[direction].0).cast::<Segment>();
        segments.add(at as usize).write(Segment {
            address,
            len,
            reserved: 0,
        });
    }
}

/// Where a page's bytes are in the direct map; 0 if that is not known.
#[inline(always)]
fn address(vmemmap: u64, page_offset: u64, page: u64, offset: u64) -> u64 {
    if page == 0 || vmemmap == 0 || page_offset == 0 || page < vmemmap {
        return 0;
    }
    let pfn = (page - vmemmap) >> config!(page_shift);
    page_offset + (pfn << 12) + offset
}

/// The value of a kernel variable that never changes, read once.
#[inline(always)]
fn base(at: u32, variable: u64) -> u64 {
    if variable == 0 {
        return 0;
    }
    let Some(cached) = CONTROL.get_ptr_mut(at) else {
        return 0;
    };
    // SAFETY: a map's value, see `maps`; whoever writes it writes the same.
    unsafe {
        if *cached == 0 {
            *cached = read(variable);
        }
        *cached
    }
}

/// Device types (virtio 1.4 §5).
const NET: u16 = 1;
const BLK: u16 = 2;
const SCSI: u16 = 8;
pub(crate) const P9: u16 = 9;
const VSOCK: u16 = 19;
const FS: u16 = 26;

/// How many of `bytes` are taken of a buffer that is added (`reply` false) or that came
/// back.
#[inline(always)]
pub(crate) fn wanted(
    device_type: u16,
    queue: u16,
    reply: bool,
    bytes: u32,
    segments: &Segments,
) -> u32 {
    let limit = bytes.min(config!(snaplen));
    if config!(payload) == PayloadMode::None as u32 {
        return 0;
    }
    if config!(payload) == PayloadMode::Full as u32 {
        return limit;
    }
    let header = match device_type {
        P9 => p9_header(reply, segments),
        // The request's type and sector; of the answer the data come first.
        BLK if !reply => 16,
        BLK => 0,
        // The device's own header, and Ethernet, IP and TCP; the queues of data are
        // numbered before the control queue, whose commands are as short.
        NET => 96,
        SCSI if !reply => 51,
        SCSI => 108,
        VSOCK if queue < 2 => 44,
        FS if !reply => 40,
        FS => 16,
        _ => 0,
    };
    limit.min(header)
}

/// 9P messages are headers, except for what is read and written.
#[inline(always)]
fn p9_header(reply: bool, segments: &Segments) -> u32 {
    const TWRITE: u8 = 118;
    const RREAD: u8 = 117;
    const RREADDIR: u8 = 41;
    let address = segments.0[0].address;
    if address == 0 {
        return u32::MAX;
    }
    match read::<u8>(address + 4) {
        TWRITE if !reply => 23,
        RREAD | RREADDIR if reply => 11,
        _ => u32::MAX,
    }
}
