//! The two copies of a program, of which the kernel calls one behind the other at each
//! operation. It skips one that would run within itself, as in an interrupt, and then the
//! other records the operation.
//!
//! Where an operation moves a position of the ring, the second copy finds by it whether the
//! first one was there. That takes a look at the queue and at its ring, at every operation
//! and nearly always for nothing; so the first copy leaves a note for the second.

use core::ffi::c_void;

use crate::maps::this_cpu;

/// Runs `record` in the first copy at the call that `ctx` is of.
#[inline(always)]
pub(crate) fn first(ctx: *mut c_void, record: impl FnOnce()) {
    note(0);
    record();
    note(ctx as u64);
}

/// Runs `record` in the second copy, unless the first one has done it.
///
/// Both copies have one context, in the frame of the call that they are attached to, and no
/// other call under way on any stack has the same. A note of an earlier call that had this
/// place was taken by its own second copy; or, where the task went to another CPU in between,
/// it stands until the next first copy here, for one that is skipped is skipped for a first
/// copy that has begun. Where a note was overwritten, the ring's position tells as if there
/// had been none.
#[inline(always)]
pub(crate) fn second(ctx: *mut c_void, record: impl FnOnce()) {
    if !is_noted(ctx) {
        record();
    }
    note(0);
}

#[inline(always)]
fn note(call: u64) {
    if let Some(cpu) = this_cpu() {
        // SAFETY: a map's value, see `maps`.
        unsafe { (&raw mut (*cpu).done).write_volatile(call) };
    }
}

#[inline(always)]
fn is_noted(ctx: *mut c_void) -> bool {
    // SAFETY: a map's value, see `maps`.
    this_cpu().is_some_and(|cpu| unsafe { (&raw const (*cpu).done).read_volatile() } == ctx as u64)
}
