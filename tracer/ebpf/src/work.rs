//! What a program works with, in a map and not on its stack.
//!
//! A function that is verified by itself is verified once, however many call it. But since
//! Linux 7.1 the verifier first follows every pointer to a stack into the functions that are
//! given it, and from there on, anew for each way that leads there: the ring, the record and
//! the lists of an add are handed from one to the next five deep.

use aya_ebpf::macros::map;
use aya_ebpf::maps::Array;
use virtscope_record::Record;
use virtscope_tracer_shared::{PendingAdd, QueueState, WORKS_PER_CPU};

use crate::emit::{cpu, lost, take};
use crate::kernel::Ring;
use crate::payload::Walk;

/// Everything that one function hands another.
#[repr(C)]
pub struct Work {
    /// Not 0: a program is using it.
    taken: u64,
    /// Where the program runs (`Context`), if it has found out before it makes its record.
    pub(crate) context: u64,
    /// The driver's ring, as it was when the program began.
    pub(crate) ring: Ring,
    /// What is being added.
    pub(crate) add: PendingAdd,
    /// What that is made of.
    pub(crate) walk: Walk,
    /// The record that is being made.
    pub(crate) draft: Record,
}

/// By CPU, and by how many are at work there; the loader sets how many.
#[map]
static WORKS: Array<Work> = Array::with_max_entries(WORKS_PER_CPU, 0);

/// One that no other program is using, for as long as this is held.
pub(crate) struct Claimed(*mut Work);

impl Claimed {
    /// None, if all of this CPU's are in use.
    #[inline(always)]
    pub(crate) fn new() -> Option<Self> {
        let at = claim();
        if at < 0 {
            return None;
        }
        let work = WORKS.get_ptr_mut(at as u32)?;
        // SAFETY: a map's word, which is this program's now.
        unsafe { (&raw mut (*work).context).write(0) };
        Some(Self(work))
    }

    #[inline(always)]
    pub(crate) fn work(&mut self) -> &mut Work {
        // SAFETY: a map's value that this program has claimed.
        unsafe { &mut *self.0 }
    }
}

impl Drop for Claimed {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: a map's word, claimed until this.
        unsafe { (&raw mut (*self.0).taken).write_volatile(0) };
    }
}

/// One with the ring of `vq`, for an operation that no position would tell of: where all are
/// in use, its record is counted as lost.
#[inline(always)]
pub(crate) fn claim_for(vq: u64, state: &QueueState) -> Option<Claimed> {
    match Claimed::new() {
        Some(mut claimed) => {
            claimed.work().ring.load(vq);
            Some(claimed)
        }
        None => {
            lost(state);
            None
        }
    }
}

/// Claims one. Programs that nest end in turn, but tasks that preempt each other do not: each
/// takes what is free. Its number, or -1 if there is none.
///
/// Verified by itself: else all that is done with it would be followed for each of them.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn claim() -> i32 {
    let first = cpu() * WORKS_PER_CPU;
    let mut at = 0;
    while at < WORKS_PER_CPU {
        let Some(work) = WORKS.get_ptr_mut(first + at) else {
            return -1;
        };
        // SAFETY: a map's value, see `maps`; of those that try at once, `take` lets one.
        if take(unsafe { &mut (*work).taken }) {
            return (first + at) as i32;
        }
        at += 1;
    }
    -1
}
