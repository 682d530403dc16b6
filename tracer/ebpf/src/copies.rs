//! The two copies of a program, of which the kernel calls one behind the other at each
//! operation. It skips one that would run within itself, as in an interrupt, and then the
//! other records the operation.
//!
//! Where an operation moves a position of the ring, the second copy finds by it whether the
//! first one was there; where it moves none, by when that was. This takes a look at the queue,
//! at every operation and nearly always for nothing; so the first copy leaves a note for the
//! second.

use core::ffi::c_void;

use virtscope_tracer_shared::COUNTERS_PER_CPU;

use crate::maps::{Cpu, this_cpu};
use crate::operations::{NO_QUEUE, Unplaced, both_ran};

/// What was called: one call may be within another of another kind, or begin where it began.
#[derive(Clone, Copy)]
pub(crate) enum Call {
    Add,
    Detach,
    Notify,
    Kick,
    Disable,
    Enable,
    /// What an `Enable` may call.
    Prepare,
    /// The beginning of an `Enable`.
    Enabling,
}

impl Call {
    /// The operation that it is, if that moves no position.
    #[inline(always)]
    const fn unplaced(self) -> Option<Unplaced> {
        match self {
            Self::Add | Self::Detach | Self::Notify => None,
            Self::Kick => Some(Unplaced::Kick),
            Self::Disable => Some(Unplaced::Disable),
            Self::Enable | Self::Prepare | Self::Enabling => Some(Unplaced::Enable),
        }
    }
}

/// Runs `record` in the first copy at the call that `ctx` is of.
#[inline(always)]
pub(crate) fn first(ctx: *mut c_void, call: Call, record: impl FnOnce()) {
    first_of_queue(ctx, call, || {
        record();
        0
    });
}

/// The same for an operation that moves no position. `record` gives the queue's number, by
/// which the second copy finds the mark of when this one was here.
#[inline(always)]
pub(crate) fn first_of_queue(ctx: *mut c_void, call: Call, record: impl FnOnce() -> u32) {
    let Some(cpu) = this_cpu() else {
        return;
    };
    note(cpu, 0);
    let number = record();
    if number < NO_QUEUE {
        note(cpu, place(ctx, call, cpu) | u64::from(number));
    }
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
pub(crate) fn second(ctx: *mut c_void, call: Call, record: impl FnOnce()) {
    second_of_queue(ctx, call, || {
        record();
        0
    });
}

/// The same for an operation that moves no position: where a note was overwritten, it is the
/// mark that tells. It is wiped, lest it should stand for the first copy of the next such
/// operation if that is skipped.
#[inline(always)]
pub(crate) fn second_of_queue(ctx: *mut c_void, call: Call, record: impl FnOnce() -> u32) {
    let Some(cpu) = this_cpu() else {
        return;
    };
    match noted(ctx, call, cpu) {
        None => {
            record();
        }
        Some(number) => {
            if let Some(operation) = call.unplaced() {
                both_ran(number, operation);
            }
        }
    }
    note(cpu, 0);
}

/// A call's place, in a word with room for a queue's number.
///
/// It is as good as the context's address, which the verifier lets nobody reckon with: on one
/// CPU all are as far from that. The lowest three bits of the difference are 0, and the
/// uppermost seven say nothing of two addresses in the kernel. Contexts on one stack are at
/// least the frame of one apart, which has more than eight words.
#[inline(always)]
fn place(ctx: *mut c_void, call: Call, cpu: *mut Cpu) -> u64 {
    const { assert!(COUNTERS_PER_CPU == 1 << (3 + 7) && NO_QUEUE == COUNTERS_PER_CPU) };
    let mut place = ctx as u64;
    // SAFETY: it changes a register, `place`.
    unsafe { core::arch::asm!("{0} -= {1}", inout(reg) place, in(reg) cpu) };
    (place + 8 * call as u64) << 7
}

#[inline(always)]
fn note(cpu: *mut Cpu, call: u64) {
    // SAFETY: a map's value, see `maps`.
    unsafe { (&raw mut (*cpu).done).write_volatile(call) };
}

/// The queue's number, if the first copy has left a note of this call.
#[inline(always)]
fn noted(ctx: *mut c_void, call: Call, cpu: *mut Cpu) -> Option<u32> {
    // SAFETY: a map's value, see `maps`.
    let note = unsafe { (&raw const (*cpu).done).read_volatile() };
    let number = note ^ place(ctx, call, cpu);
    (number < u64::from(COUNTERS_PER_CPU)).then_some(number as u32)
}
