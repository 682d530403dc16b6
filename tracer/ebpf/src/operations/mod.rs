//! What each operation becomes.

mod add;
mod callbacks;
mod kick;
mod used;

pub(crate) use add::added;
pub(crate) use callbacks::{disabled, enabled, enabling, interrupted, prepared};
pub(crate) use kick::{kicked, leave_promise, notified};
pub(crate) use used::detached;

use virtscope_record::Flags;
use virtscope_tracer_shared::{COUNTERS_PER_CPU, QueueState};

use crate::emit::now;
use crate::kernel::Ring;
use crate::maps::MARKS;

/// Operations that move no position, so that two copies of a program must agree by
/// other means which of them records it.
#[derive(Clone, Copy)]
pub(crate) enum Unplaced {
    Kick = 0,
    Disable = 1,
    Enable = 2,
}

/// How long after the first copy the second one runs at most, ns: they are called one
/// behind the other, and only interrupts lie between.
const COPIES_APART: u64 = 200_000_000;

/// The number of no queue: none was found.
pub(crate) const NO_QUEUE: u32 = COUNTERS_PER_CPU;

/// Whether this copy of the program is the one to record the operation: the first, or
/// the second if the kernel skipped the first.
#[inline(always)]
fn is_first(state: &QueueState, operation: Unplaced, copy: u8) -> bool {
    // SAFETY: a map's value, see `maps`.
    let Some(marks) = (unsafe { MARKS.get_ptr_mut(state.number).and_then(|at| at.as_mut()) })
    else {
        return copy == 0;
    };
    let mark = &mut marks[operation as usize & 3];
    if copy == 0 {
        *mark = now();
        true
    } else {
        let ran = *mark != 0 && now() - *mark < COPIES_APART;
        *mark = 0;
        !ran
    }
}

/// The second copy has run, and need not ask whether the first has.
#[inline(always)]
pub(crate) fn both_ran(number: u32, operation: Unplaced) {
    if let Some(marks) = MARKS.get_ptr_mut(number) {
        // SAFETY: a map's value, see `maps`.
        unsafe { (*marks)[operation as usize & 3] = 0 };
    }
}

/// A queue's new life begins with none.
#[inline(always)]
pub(crate) fn forget_marks(number: u32) {
    if let Some(marks) = MARKS.get_ptr_mut(number) {
        // SAFETY: a map's value, see `maps`.
        unsafe { *marks = [0; 4] };
    }
}

#[inline(always)]
pub(crate) fn flags_of(ring: &Ring) -> Flags {
    let mut flags = Flags::empty();
    if ring.is_packed() {
        flags |= Flags::PACKED;
    }
    if ring.event_idx != 0 {
        flags |= Flags::EVENT_IDX;
    }
    if ring.broken != 0 {
        flags |= Flags::BROKEN;
    }
    flags
}
