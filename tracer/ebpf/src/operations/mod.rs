//! What each operation becomes.

mod add;
mod callbacks;
mod kick;
mod used;

pub(crate) use add::added;
pub(crate) use callbacks::{disabled, enabled, enabling, interrupted, prepared};
pub(crate) use kick::{kicked, leave_promises, notified};
pub(crate) use used::detached;

use virtscope_record::Flags;
use virtscope_tracer_shared::QueueState;

use crate::emit::now;
use crate::kernel::Ring;

/// Operations that move no position, so that two copies of a program must agree by
/// other means which of them records it.
#[derive(Clone, Copy)]
enum Unplaced {
    Kick = 0,
    Disable = 1,
    Enable = 2,
}

/// How long after the first copy the second one runs at most, ns: they are called one
/// behind the other, and only interrupts lie between.
const COPIES_APART: u64 = 200_000_000;

/// Whether this copy of the program is the one to record the operation: the first, or
/// the second if the kernel skipped the first.
#[inline(always)]
fn is_first(state: &mut QueueState, operation: Unplaced, copy: u8) -> bool {
    let mark = &mut state.first_copy[operation as usize & 3];
    if copy == 0 {
        *mark = now();
        true
    } else {
        let ran = *mark != 0 && now() - *mark < COPIES_APART;
        *mark = 0;
        !ran
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
