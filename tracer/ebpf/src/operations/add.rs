//! Adds: which buffer it was, and what it is made of.

use virtscope_record::{Add, Body, Flags, Kind, Record, RingIndex};
use virtscope_tracer_shared::{PendingAdd, QueueState, Slot, Step, step};

use super::flags_of;
use crate::emit::{draft, emit, emit_draft, filtered, lost, task};
use crate::kernel::Ring;
use crate::maps::config;
use crate::missed::{completions_before, kick_before, tell_missed};
use crate::payload::wanted;
use crate::queue::{find, slot, spare_slot, sync};
use crate::whole::{emit_added, expect, is_long_add};
use crate::work::{Claimed, Work};

/// A buffer was added, or refused (Linux `virtqueue_add_sgs` and kin).
///
/// In pieces that are verified by themselves: in one, the verifier would follow every
/// combination of what each may find, and the stack would not hold them.
#[inline(always)]
pub(crate) fn added(add: PendingAdd, error: i32, copy: u8) {
    let Some(state) = find(add.vq) else {
        return;
    };
    let Some(mut claimed) = Claimed::new() else {
        // The ring's positions will tell of any other.
        if error != 0 && copy == 0 {
            lost(state);
        }
        return;
    };
    let work = claimed.work();
    work.add = add;
    work.ring.load(add.vq);
    let is_new = state.synced == 0;
    if is_new {
        sync(add.vq, state, work, if error == 0 { add.token } else { 0 });
    }
    if error != 0 {
        // A refused add moves nothing; the first copy alone records it.
        if copy == 0 {
            refused(state, work, error);
        }
        return;
    }
    let head = placed(state, work, u32::from(is_new));
    if head >= 0 {
        let long = told(state, work, head as u32);
        if config!(whole) != 0 {
            if long > 0 {
                told_long(state, work, head as u32, long as u32);
            }
            expect(state, &work.add, head as u32);
        }
    }
}

/// Finds out which buffer was just added, and what was missed before it. Its id, or -1 if
/// the other copy of the program has recorded it.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn placed(state: *mut QueueState, work: *mut Work, is_new: u32) -> i32 {
    // SAFETY: null, or a caller's reference.
    let (Some(state), Some(work)) = (unsafe { (state.as_mut(), work.as_mut()) }) else {
        return -1;
    };
    let is_new = is_new != 0;
    let ring = &work.ring;
    let head = head_of(state, ring, work.add.token, is_new);
    let taken = if ring.is_packed() {
        ring.packed_num(head)
    } else {
        1
    };
    let position = ring.back(ring.avail, taken);
    if is_new {
        state.avail_next = position;
        state.free = 0xffff;
    } else {
        completions_before(state, work);
    }
    let ring = &work.ring;
    match step(ring.distance(state.avail_next, ring.avail), taken) {
        Step::Repeated => return -1,
        Step::Next => {}
        Step::Missed(entries) => {
            let count = if ring.is_packed() && state.one_each == 0 {
                1
            } else {
                u32::from(entries)
            };
            tell_missed(state, work, Kind::Add as u32, count, position.into());
            state.free = 0xffff;
        }
    }
    kick_before(state, work);
    let ring = &work.ring;
    let free_before = state.free;
    state.avail_next = ring.avail;
    state.free = ring.free;
    state.free_head = ring.free_head;
    let Some(slot) = slot(state, head) else {
        return -1;
    };
    // 0: as many as it has segments.
    slot.descriptors = if ring.is_packed() {
        taken
    } else if free_before != 0xffff {
        free_before.wrapping_sub(ring.free)
    } else {
        0
    };
    i32::from(head)
}

/// Records the add of the buffer `head`. If its payload is long it does not, and returns how
/// many bytes of it are wanted.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn told(state: *mut QueueState, work: *mut Work, head: u32) -> i32 {
    // SAFETY: null, or a caller's reference.
    let (Some(state), Some(work)) = (unsafe { (state.as_mut(), work.as_mut()) }) else {
        return 0;
    };
    let head = head as u16;
    let Some(slot) = slot(state, head) else {
        return 0;
    };
    slot.segments[0].0[0].len = 0;
    slot.segments[1].0[0].len = 0;
    let walk = &mut work.walk;
    walk.walk(&work.add, slot);
    let segments = walk.segments[0] + walk.segments[1];
    if slot.descriptors == 0 {
        slot.descriptors = segments as u16;
    }
    slot.token = work.add.token;
    slot.readable_bytes = walk.bytes[0];
    slot.writable_bytes = walk.bytes[1];
    slot.readable_segments = walk.segments[0] as u16;
    slot.writable_segments = walk.segments[1] as u16;
    state.adds = state.adds.wrapping_add(1);
    slot.selected = u16::from(is_selected(state.adds));
    if slot.selected == 0 {
        filtered(state);
        return 0;
    }
    let want = wanted(
        state.device_type,
        state.id as u16,
        false,
        walk.bytes[0],
        &slot.segments[0],
    );
    if is_long_add(state, slot, want) {
        return want as i32;
    }
    work.draft = draft_of(&work.ring, slot, head);
    emit_draft(state, &work.draft, &slot.segments[0], want);
    0
}

/// Records the add of the buffer `head` with the first `want` bytes of its payload, which is
/// long; apart from [`told`] for the stack's sake.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn told_long(
    state: *const QueueState,
    work: *mut Work,
    head: u32,
    want: u32,
) -> i32 {
    if config!(whole) == 0 {
        return 0;
    }
    // SAFETY: null, or a caller's reference.
    let (Some(state), Some(work)) = (unsafe { (state.as_ref(), work.as_mut()) }) else {
        return 0;
    };
    let head = head as u16;
    if let Some(slot) = slot(state, head) {
        work.draft = draft_of(&work.ring, slot, head);
        emit_added(state, &work.add, &mut work.draft, want);
    }
    0
}

/// The record of the add that its slot tells of.
#[inline(always)]
fn draft_of(ring: &Ring, slot: &Slot, head: u16) -> Record {
    let mut flags = flags_of(ring);
    let segments = u32::from(slot.readable_segments) + u32::from(slot.writable_segments);
    if slot.descriptors == 1 && segments > 1 {
        flags |= Flags::INDIRECT;
    }
    let taken = if ring.is_packed() {
        slot.descriptors
    } else {
        1
    };
    let body = Body::Add(Add {
        free: ring.free,
        error: 0,
        readable_bytes: slot.readable_bytes,
        writable_bytes: slot.writable_bytes,
        head,
        position: RingIndex(ring.back(ring.avail, taken)),
        readable_segments: slot.readable_segments,
        writable_segments: slot.writable_segments,
        descriptors: slot.descriptors,
    });
    draft(slot.token, flags, body)
}

/// Whether the filters by request let this one through.
#[inline(always)]
fn is_selected(number: u32) -> bool {
    let sample = config!(sample);
    if sample > 1 && number.checked_rem(sample) != Some(0) {
        return false;
    }
    let wanted = config!(task);
    if wanted == 0 {
        return true;
    }
    let (process, thread) = task();
    process == wanted || thread == wanted
}

/// The id of the buffer that was just added.
#[inline(always)]
fn head_of(state: &QueueState, ring: &Ring, token: u64, is_new: bool) -> u16 {
    if !ring.is_packed() {
        return ring.split_avail(ring.avail.wrapping_sub(1));
    }
    // The driver's own free list tells, and its own table confirms it; the ring itself
    // may have been written over by a device that was quick.
    if !is_new && ring.token(state.free_head) == token {
        return state.free_head;
    }
    let (_, id, _) = ring.packed_desc(ring.back(ring.avail, 1));
    id
}

/// An add was refused.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn refused(state: *mut QueueState, work: *mut Work, error: i32) -> i32 {
    // SAFETY: null, or a caller's reference.
    let (Some(state), Some(work)) = (unsafe { (state.as_mut(), work.as_mut()) }) else {
        return 0;
    };
    let Some(slot) = spare_slot(state) else {
        return 0;
    };
    let walk = &mut work.walk;
    walk.walk(&work.add, slot);
    let body = Body::AddFailed(Add {
        free: work.ring.free,
        error: error.unsigned_abs() as u16,
        readable_bytes: walk.bytes[0],
        writable_bytes: walk.bytes[1],
        readable_segments: walk.segments[0] as u16,
        writable_segments: walk.segments[1] as u16,
        position: RingIndex(work.ring.avail),
        ..Add::default()
    });
    let (token, flags) = (work.add.token, flags_of(&work.ring));
    emit(work, state, token, flags, body);
    0
}
