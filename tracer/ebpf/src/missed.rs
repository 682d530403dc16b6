//! What the kernel skipped a program for: found by the positions of the ring, at the next
//! operation on the queue or, if none comes, by looking.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_loop;
use virtscope_record::{Body, Kind, Missed, RingIndex};
use virtscope_tracer_shared::QueueState;

use crate::emit::{emit, missed};
use crate::kernel::Ring;
use crate::operations::flags_of;
use crate::queue::{known, slot};
use crate::whole::drop_list;
use crate::work::{Claimed, Work};

/// So many operations of a kind have left no record, up to the position `new`; verified by
/// itself, and apart from its callers for the stack's sake.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn tell_missed(
    state: *const QueueState,
    work: *mut Work,
    kind: u32,
    count: u32,
    new: u32,
) -> i32 {
    // SAFETY: null, or a caller's reference.
    let (Some(state), Some(work)) = (unsafe { (state.as_ref(), work.as_mut()) }) else {
        return 0;
    };
    let new = new as u16;
    let old = if kind == Kind::Add as u32 {
        state.avail_next
    } else if kind == Kind::Kick as u32 {
        state.kicked
    } else {
        new
    };
    let told = Missed {
        free: work.ring.free,
        count,
        operation: kind as u16,
        old: RingIndex(old),
        new: RingIndex(new),
        head: Missed::NO_HEAD,
        ..Missed::default()
    };
    missed(state, u64::from(count));
    let flags = flags_of(&work.ring);
    emit(work, state, 0, flags, Body::Missed(told));
    0
}

/// What the walk over missed completions goes on with.
#[repr(C)]
struct Passed {
    state: *mut QueueState,
    work: *mut Work,
}

/// Completions that were passed over since the last record, each with the entry that
/// still stands in the ring. Must run before anything else on the queue is recorded.
#[inline(always)]
pub(crate) fn completions_before(state: &mut QueueState, work: &mut Work) {
    if state.used_next == work.ring.last_used {
        return;
    }
    pass_all(state, work);
    state.free = 0xffff;
}

#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn pass_all(state: *mut QueueState, work: *mut Work) -> i32 {
    // SAFETY: null, or a caller's reference.
    let (Some(state), Some(work)) = (unsafe { (state.as_mut(), work.as_mut()) }) else {
        return 0;
    };
    let callback = pass as extern "C" fn(u32, *mut c_void) -> i64;
    let mut passed = Passed {
        state: &raw mut *state,
        work: &raw mut *work,
    };
    let most = u32::from(work.ring.num);
    // SAFETY: the callback has the type that the helper calls, and `passed` stays meanwhile.
    unsafe { bpf_loop(most, callback as *mut c_void, (&raw mut passed).cast(), 0) };
    // Beyond one round of the ring nothing can be said of each.
    state.used_next = work.ring.last_used;
    state.in_batch = u8::from(work.ring.is_in_batch());
    0
}

extern "C" fn pass(_: u32, context: *mut c_void) -> i64 {
    // SAFETY: what `pass_all` has on its stack, with the references that it was given and
    // does not use before it has called this for the last time.
    let (state, work) = unsafe {
        let passed = &*context.cast::<Passed>();
        (&mut *passed.state, &mut *passed.work)
    };
    let ring = &work.ring;
    let until = ring.last_used;
    let old = state.used_next;
    if old == until {
        return 1;
    }
    let (head, used_length, taken) = entry(ring, old);
    let left = ring.distance(old, until);
    let new = if taken > left {
        until
    } else {
        ring.advance(old, taken)
    };
    state.used_next = new;
    let mut token = 0;
    if let Some(slot) = slot(state, head) {
        token = slot.token;
        slot.token = 0;
        drop_list(state, head);
    }
    let told = Missed {
        free: ring.free,
        error: 0,
        count: 1,
        operation: Kind::Used as u16,
        old: RingIndex(old),
        new: RingIndex(new),
        head,
        used_length,
    };
    let flags = flags_of(ring);
    missed(state, 1);
    emit(work, state, token, flags, Body::Missed(told));
    0
}

/// The buffer that was used at `position`, its length, and the entries it takes.
#[inline(always)]
fn entry(ring: &Ring, position: u16) -> (u16, u32, u16) {
    let (told, len) = if ring.is_packed() {
        let (len, id, _) = ring.packed_desc(position);
        (id, len)
    } else {
        let (id, len) = ring.split_used(position);
        (id as u16, len)
    };
    // In order, an entry may be that of several buffers; which one is next is known
    // without it. Whether the device has written this one shows in a packed ring. In a split
    // ring it does not: what stands there may be of a round before.
    let (head, is_written) = if !ring.is_in_order() {
        (told, true)
    } else if ring.is_packed() {
        (position & 0x7fff, ring.is_used(position))
    } else {
        (ring.split_avail(position), false)
    };
    let len = if is_written && head == told {
        len
    } else {
        ring.total_in_len(head)
    };
    let taken = if ring.is_packed() {
        ring.packed_num(head).max(1)
    } else {
        1
    };
    (head, len, taken)
}

/// The decision that was the last one before the adds the driver has counted since, if it
/// left no record.
#[inline(always)]
pub(crate) fn kick_before(state: &mut QueueState, work: &mut Work) {
    let decided = work.ring.decided();
    if decided != state.kicked {
        tell_missed(state, work, Kind::Kick as u32, 1, decided.into());
        state.kicked = decided;
    }
}

/// How sure it is that nobody is at work on a queue that is looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Quiet {
    /// The driver says so: it takes the queue away.
    Surely,
    /// It is, if everything stands where it stood at the look before.
    IfUnmoved,
}

/// Tells what was missed of a queue on which nothing has come since that would show it: its
/// last completion, without which a request would look stuck for ever.
#[inline(always)]
pub(crate) fn settle(vq: u64, quiet: Quiet) {
    let Some(state) = known(vq) else {
        return;
    };
    if state.synced == 0 {
        return;
    }
    // Where all are in use, the next look or operation tells.
    let Some(mut claimed) = Claimed::new() else {
        return;
    };
    let work = claimed.work();
    work.ring.load(vq);
    if quiet == Quiet::Surely || is_unmoved(state, &work.ring) {
        catch_up(state, work);
    }
}

/// Whether all positions, the driver's and ours, are those of the look before; keeps them
/// for the next one. An operation that is just being done moves one before the other.
#[inline(always)]
fn is_unmoved(state: &mut QueueState, ring: &Ring) -> bool {
    let now = [
        ring.last_used,
        state.used_next,
        ring.avail,
        state.avail_next,
        ring.num_added,
        state.kicked,
    ];
    let mut is_unmoved = true;
    let mut at = 0;
    while at < now.len() {
        is_unmoved &= state.looked[at] == now[at];
        state.looked[at] = now[at];
        at += 1;
    }
    is_unmoved
}

/// See [`settle`]; verified by itself, and apart from its callers for the stack's sake.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn catch_up(state: *mut QueueState, work: *mut Work) -> i32 {
    // SAFETY: null, or a caller's reference.
    let (Some(state), Some(work)) = (unsafe { (state.as_mut(), work.as_mut()) }) else {
        return 0;
    };
    // Beyond a round it is the record that is ahead: of a completion at its entry.
    let used = work.ring.distance(state.used_next, work.ring.last_used);
    if used != 0 && used <= work.ring.num {
        completions_before(state, work);
    }
    let added = work.ring.distance(state.avail_next, work.ring.avail);
    if added != 0 && added <= work.ring.num {
        let count = if work.ring.is_packed() && state.one_each == 0 {
            1
        } else {
            u32::from(added)
        };
        tell_missed(state, work, Kind::Add as u32, count, work.ring.avail.into());
        state.avail_next = work.ring.avail;
        state.free = 0xffff;
    }
    // Behind it where buffers were detached: with them the driver takes the position back.
    let since = work.ring.distance(state.kicked, work.ring.decided());
    if since != 0 && since <= work.ring.num {
        kick_before(state, work);
    }
    0
}
