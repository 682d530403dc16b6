//! Payload of more bytes, or in more pieces, than a CPU's scratch memory and a slot have room
//! for: where `whole` is set, and else all of this is dropped by the verifier.
//!
//! A list of all segments is made when a buffer is added, in a [`Large`] that a program has
//! claimed. Of device-readable segments it is used at once; of device-writable ones it is kept
//! in [`LISTS`] until the buffer comes back. In between, one function hands another the
//! number of the claimed memory: each is verified by itself.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::{bpf_loop, bpf_probe_read_kernel as read_raw};
use virtscope_record::{FRAME_LEN, PseudoHeader, Record};
use virtscope_tracer_shared::{
    LARGE_AT_ONCE, LISTED, PayloadMode, PendingAdd, QueueState, SMALL_SNAPLEN, SNAPLEN_LIMIT,
    Segment, Segments, Slot,
};

use crate::emit::{
    Frame, complete, count, counters, emit_draft, emit_plain, mark_unreached, store, take,
};
use crate::maps::{LARGE, LISTS, Large, List, PIECE, SLOTS, config};
use crate::payload::{MAX_ENTRIES, P9, Step, Steps};
use crate::queue::slot;

/// No memory is free, or no list was kept.
const NONE: i32 = -1;

/// Whether `want` bytes are more than the other way takes of these segments.
#[inline(always)]
fn is_long(device_type: u16, want: u32, segments: &Segments) -> bool {
    // First, so that nothing of the rest is left where it is not wanted.
    if config!(whole) == 0 {
        return false;
    }
    // Of other devices' messages the headers are short.
    let matters = config!(payload) == PayloadMode::Full as u32 || device_type == P9;
    matters && (want > SMALL_SNAPLEN || reaches(segments, want) == 0)
}

/// Whether these segments have so many bytes; verified by itself.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn reaches(segments: *const Segments, bytes: u32) -> i32 {
    // SAFETY: null, or a caller's reference.
    let Some(segments) = (unsafe { segments.as_ref() }) else {
        return 1;
    };
    let mut reached = 0_u64;
    for segment in &segments.0 {
        if segment.len == 0 {
            break;
        }
        reached += u64::from(segment.len);
    }
    i32::from(reached >= u64::from(bytes))
}

/// Whether the answer in this buffer may be long, so that a list is kept.
#[inline(always)]
fn may_be_long(state: &QueueState, slot: &Slot) -> bool {
    if config!(whole) == 0 {
        return false;
    }
    let most = slot.writable_bytes.min(config!(snaplen));
    is_long(state.device_type, most, &slot.segments[1])
}

/// The number of the slot of the buffer `head`.
#[inline(always)]
fn number(state: &QueueState, head: u16) -> u32 {
    state.slots + u32::from(head)
}

/// Whether the record of the add in this slot has to be made by [`emit_added`].
#[inline(always)]
pub(crate) fn is_long_add(state: &QueueState, slot: &Slot, want: u32) -> bool {
    is_long(state.device_type, want, &slot.segments[0])
}

/// Emits the record of an add with the first `want` of its device-readable bytes.
#[inline(always)]
pub(crate) fn emit_added(state: &QueueState, add: &PendingAdd, draft: &mut Record, want: u32) {
    emit_long(state, draft, list(add, 0), want);
}

/// Keeps a list for the answer in the buffer that was just added, if it may be long; verified
/// by itself.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn expect(state: *const QueueState, add: *const PendingAdd, head: u32) -> i32 {
    if config!(whole) == 0 {
        return 0;
    }
    // SAFETY: null, or a caller's reference.
    let (Some(state), Some(add)) = (unsafe { (state.as_ref(), add.as_ref()) }) else {
        return 0;
    };
    let head = head as u16;
    if let Some(slot) = slot(state, head)
        && slot.selected != 0
        && may_be_long(state, slot)
    {
        keep_list(list(add, 1), number(state, head));
    }
    0
}

/// Emits the record of a buffer that came back, with the first `want` of its
/// device-written bytes.
#[inline(always)]
pub(crate) fn emit_used(
    state: &QueueState,
    token: u64,
    draft: &mut Record,
    (slot, head): (&Slot, u16),
    want: u32,
) {
    if config!(whole) != 0 {
        if is_long(state.device_type, want, &slot.segments[1]) {
            let at = kept_list(number(state, head), token);
            emit_long(state, draft, at, want);
            return;
        }
        forget(state, slot, head);
    }
    emit_draft(state, draft, &slot.segments[1], want);
}

/// No answer comes in this buffer, or a short one.
#[inline(always)]
pub(crate) fn forget(state: &QueueState, slot: &Slot, head: u16) {
    if may_be_long(state, slot) {
        let _ = LISTS.remove(number(state, head));
    }
}

/// What came in this buffer was missed, or its add was: a list that was kept for it is of no
/// use any more.
#[inline(always)]
pub(crate) fn drop_list(state: &QueueState, head: u16) {
    if config!(whole) != 0 {
        let _ = LISTS.remove(number(state, head));
    }
}

/// No answer comes in any buffer of this queue, and none of its slots is of a buffer any
/// more: the queue's next life has the same ones, and drivers use their tokens again.
#[inline(always)]
pub(crate) fn forget_all(state: &QueueState) {
    forget_slots(state.slots, state.size);
}

/// See [`forget_all`]; apart from its callers for the stack's sake.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn forget_slots(mut first: u32, how_many: u32) -> i32 {
    let callback = forget_slot as extern "C" fn(u32, *mut c_void) -> i64;
    let context = (&raw mut first).cast();
    // SAFETY: the callback has the type that the helper calls, and `first` stays meanwhile.
    unsafe { bpf_loop(how_many, callback as *mut c_void, context, 0) };
    0
}

extern "C" fn forget_slot(at: u32, context: *mut c_void) -> i64 {
    // SAFETY: what `forget_slots` has on its stack.
    let first = unsafe { *context.cast::<u32>() };
    if let Some(slot) = SLOTS.get_ptr_mut(first + at) {
        // SAFETY: a map's value, see `maps`.
        unsafe { (*slot).token = 0 };
    }
    if config!(whole) != 0 {
        let _ = LISTS.remove(first + at);
    }
    0
}

/// Emits a draft with the first `want` bytes of the list in the claimed memory `at`; where
/// there is none, the record says that its payload is unavailable.
#[inline(always)]
fn emit_long(state: &QueueState, draft: &mut Record, at: i32, want: u32) {
    if at == NONE {
        mark_unreached(draft);
        emit_plain(state, draft);
    } else {
        emit_listed(state, draft, at as u32, want);
    }
}

/// Claims memory. Its number.
#[inline(always)]
fn claim() -> Option<u32> {
    let mut at = 0;
    while at < LARGE_AT_ONCE {
        let large = LARGE.get_ptr_mut(at)?;
        // SAFETY: a map's value, see `maps`; of those that try at once, `take` lets one.
        if take(unsafe { &mut (*large).taken }) {
            return Some(at);
        }
        at += 1;
    }
    None
}

/// Lets go of it.
#[inline(always)]
fn release(large: *mut Large) {
    // SAFETY: a map's word, claimed until this.
    unsafe { (&raw mut (*large).taken).write_volatile(0) };
}

/// A walk that lists the segments of one direction.
#[repr(C)]
struct Listing {
    large: *mut Large,
    writable: u64,
    steps: Steps,
}

/// Lists the segments of an add, device-readable or device-writable (1) ones; verified by
/// itself. The number of the memory that was claimed for it.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn list(add: *const PendingAdd, writable: u32) -> i32 {
    if config!(whole) == 0 {
        return NONE;
    }
    // SAFETY: null, or a caller's reference.
    let Some(add) = (unsafe { add.as_ref() }) else {
        return NONE;
    };
    let Some(at) = claim() else {
        return NONE;
    };
    let Some(large) = LARGE.get_ptr_mut(at) else {
        return NONE;
    };
    // SAFETY: a map's value that this program has claimed.
    unsafe {
        (*large).list.token = add.token;
        (*large).list.count = 0;
    }
    let mut listing = Listing {
        large,
        writable: u64::from(writable),
        steps: Steps::of(add),
    };
    let callback = list_step as extern "C" fn(u32, *mut c_void) -> i64;
    let (callback, context) = (callback as *mut c_void, (&raw mut listing).cast());
    // SAFETY: the callback has the type that the helper calls, and `listing` stays meanwhile.
    unsafe { bpf_loop(MAX_ENTRIES, callback, context, 0) };
    at as i32
}

extern "C" fn list_step(_: u32, context: *mut c_void) -> i64 {
    // SAFETY: what `list` has on its stack, and does not use meanwhile.
    let listing = unsafe { &mut *context.cast::<Listing>() };
    let (writable, address, len) = match listing.steps.step() {
        Step::End => return 1,
        Step::Onward => return 0,
        Step::Entry {
            writable,
            address,
            len,
        } => (writable, address, len),
    };
    if writable != (listing.writable != 0) {
        return 0;
    }
    let segment = Segment {
        address,
        len,
        reserved: 0,
    };
    // SAFETY: a map's value that `list` has claimed; `masked` leaves less than the list has
    // room for.
    unsafe {
        let list = &raw mut (*listing.large).list;
        let at = (*list).count;
        if at >= LISTED as u32 {
            return 1;
        }
        let segments = (&raw mut (*list).segments).cast::<Segment>();
        segments.add(masked(at)).write(segment);
        (*list).count = at + 1;
    }
    0
}

/// Keeps the list in the claimed memory `at` for the slot of this number; verified by itself.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn keep_list(at: i32, slot: u32) -> i32 {
    if config!(whole) == 0 {
        return 0;
    }
    let kept = if at == NONE {
        None
    } else {
        LARGE.get_ptr_mut(at as u32)
    };
    let Some(large) = kept else {
        // One of a buffer before it would be taken for this one's.
        let _ = LISTS.remove(slot);
        return 0;
    };
    // SAFETY: a map's value that this program has claimed.
    if LISTS.insert(slot, unsafe { &(*large).list }, 0).is_err() {
        let _ = LISTS.remove(slot);
    }
    release(large);
    0
}

/// Takes the list that was kept for this slot; verified by itself. The number of the memory
/// in which it is then.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn kept_list(slot: u32, token: u64) -> i32 {
    if config!(whole) == 0 {
        return NONE;
    }
    let taken = take_list(slot, token);
    let _ = LISTS.remove(slot);
    match taken {
        Some(at) => at as i32,
        None => NONE,
    }
}

#[inline(always)]
fn take_list(slot: u32, token: u64) -> Option<u32> {
    let list = LISTS.get_ptr(slot)?;
    // SAFETY: a map's value, see `maps`.
    if unsafe { (*list).token } != token {
        return None;
    }
    let at = claim()?;
    let large = LARGE.get_ptr_mut(at)?;
    // SAFETY: a list is copied into the place of one, in memory that this program has claimed.
    unsafe {
        let to = (&raw mut (*large).list).cast();
        read_raw(to, size_of::<List>() as u32, list.cast());
    }
    Some(at)
}

/// Emits a draft with the first `want` bytes of the list in the claimed memory `at`;
/// verified by itself.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn emit_listed(
    state: *const QueueState,
    draft: *const Record,
    at: u32,
    want: u32,
) -> i32 {
    if config!(whole) == 0 {
        return 0;
    }
    let Some(large) = LARGE.get_ptr_mut(at) else {
        return 0;
    };
    // SAFETY: null, or a caller's reference.
    if let (Some(state), Some(draft)) = unsafe { (state.as_ref(), draft.as_ref()) } {
        output(state, draft, large, want);
    }
    release(large);
    0
}

#[inline(always)]
fn output(state: &QueueState, draft: &Record, mut large: *mut Large, want: u32) {
    let Some(counters) = counters(state) else {
        return;
    };
    let sequence = count(&mut counters.emitted, 1);
    // SAFETY: a map's value that this program has claimed.
    unsafe {
        (*large).at = 0;
        (*large).left = want;
        (*large).next = 0;
        (*large).within = 0;
    }
    let callback = gather_step as extern "C" fn(u32, *mut c_void) -> i64;
    let (callback, context) = (callback as *mut c_void, (&raw mut large).cast());
    // Each step ends a segment, or copies a whole piece.
    let steps = LISTED as u32 + SNAPLEN_LIMIT / PIECE + 1;
    // SAFETY: the callback has the type that the helper calls, and `large` stays meanwhile.
    unsafe { bpf_loop(steps, callback, context, 0) };
    // SAFETY: a map's value that this program has claimed; a frame fits, and is aligned: there
    // are but words of 8 bytes before it. Payload follows it.
    let stored = unsafe {
        let copied = up_to_limit((&raw const (*large).at).read_volatile());
        let frame = (&raw mut (*large).frame).cast::<Frame>();
        (&raw mut (*frame).header).write(PseudoHeader::new(copied));
        (&raw mut (*frame).record).write(*draft);
        complete(&raw mut (*frame).record, state, sequence);
        if (&raw const (*large).left).read_volatile() != 0 {
            mark_unreached(&raw mut (*frame).record);
        }
        let len = FRAME_LEN + copied as usize;
        let bytes = core::slice::from_raw_parts(frame.cast::<u8>(), len);
        store(bytes)
    };
    if !stored {
        count(&mut counters.lost, 1);
    }
}

/// Copies a segment or a piece of it. How far it is stands in the claimed memory: what is read
/// from there is any number to the verifier.
extern "C" fn gather_step(_: u32, context: *mut c_void) -> i64 {
    // SAFETY: what `output` has on its stack: a map's value that its program has claimed.
    let large = unsafe { *context.cast::<*mut Large>() };
    // SAFETY: the same; `masked` leaves less than the list has, and offset and length are at
    // most what `payload` has room for together. The helper fails where there is nothing to
    // read; nothing is at address 0, either.
    unsafe {
        let (next, left) = ((*large).next, (*large).left);
        if left == 0 || next >= (*large).list.count {
            return 1;
        }
        let segments = (&raw const (*large).list.segments).cast::<Segment>();
        let segment = segments.add(masked(next)).read();
        let within = (*large).within;
        let rest = segment.len.wrapping_sub(within);
        let len = piece(rest.min(left));
        let at = (&raw const (*large).at).read_volatile();
        let to = (&raw mut (*large).payload)
            .cast::<u8>()
            .add(up_to_limit(at) as usize);
        let from = segment.address + u64::from(within);
        if len != 0 && (segment.address == 0 || read_raw(to.cast(), len, from as *const _) != 0) {
            return 1;
        }
        (*large).at = at + len;
        (*large).left = left - len;
        if len == rest {
            (*large).next = next + 1;
            (*large).within = 0;
        } else {
            (*large).within = within + len;
        }
    }
    0
}

/// A place in a list, in a way that the verifier sees that it is one.
#[inline(always)]
fn masked(at: u32) -> usize {
    const { assert!(LISTED == 256) };
    let mut at = u64::from(at);
    // SAFETY: it changes a register, `at`.
    unsafe { core::arch::asm!("{0} &= 255", inout(reg) at) };
    at as usize
}

/// `value`, or a piece where that is less, in a way that the verifier sees it.
#[inline(always)]
fn piece(value: u32) -> u32 {
    const { assert!(PIECE == 32768) };
    let mut value = value.min(PIECE);
    // One less than twice a piece: as a mask it bounds, and lets a piece through.
    // SAFETY: it changes a register, `value`.
    unsafe { core::arch::asm!("{0} &= 65535", inout(reg) value) };
    if value > PIECE { PIECE } else { value }
}

/// `value`, which is at most [`SNAPLEN_LIMIT`], in a way that the verifier sees it.
#[inline(always)]
fn up_to_limit(mut value: u32) -> u32 {
    const { assert!(SNAPLEN_LIMIT == 1 << 19) };
    // The same.
    // SAFETY: it changes a register, `value`.
    unsafe { core::arch::asm!("{0} &= 1048575", inout(reg) value) };
    if value > SNAPLEN_LIMIT {
        SNAPLEN_LIMIT
    } else {
        value
    }
}
