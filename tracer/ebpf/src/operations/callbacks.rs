//! Interrupts, and the switch by which the driver asks for them.

use virtscope_record::{Body, Callback, CallbackSwitch, Flags, RingIndex};
use virtscope_tracer_shared::QueueState;

use super::{NO_QUEUE, Unplaced, flags_of, is_first};
use crate::emit::emit;
use crate::kernel::{Ring, read};
use crate::queue::{find, known};
use crate::work::claim_for;

/// An interrupt speaks of the queue (Linux `vring_interrupt`, at its entry).
#[inline(always)]
pub(crate) fn interrupted(vq: u64) {
    let Some(state) = find(vq) else {
        return;
    };
    let Some(mut claimed) = claim_for(vq, state) else {
        return;
    };
    let work = claimed.work();
    let ring = &work.ring;
    let mut flags = flags_of(ring);
    let (used_index, is_used) = if ring.is_packed() {
        (0, ring.is_used(ring.last_used))
    } else {
        let used_index = ring.used_idx();
        (used_index, used_index != ring.last_used)
    };
    if !is_used {
        flags |= Flags::SPURIOUS;
    }
    let (used_event, event_flags) = own_event(ring);
    let body = Body::Callback(Callback {
        free: ring.free,
        error: 0,
        used_index: RingIndex(used_index),
        last_used: RingIndex(ring.last_used),
        used_event: RingIndex(used_event),
        event_flags,
    });
    emit(work, state, 0, flags, body);
}

/// What the driver has written for the device to heed: event index and flags.
#[inline(always)]
fn own_event(ring: &Ring) -> (u16, u16) {
    if ring.is_packed() {
        let event: u32 = read(ring.driver);
        (event as u16, (event >> 16) as u16)
    } else {
        let event: u16 = read(ring.driver + 4 + 2 * u64::from(ring.num));
        (event, ring.flags)
    }
}

#[inline(always)]
fn switch(ring: &Ring) -> CallbackSwitch {
    let (used_event, event_flags) = own_event(ring);
    CallbackSwitch {
        free: ring.free,
        error: 0,
        last_used: RingIndex(ring.last_used),
        used_event: RingIndex(used_event),
        event_flags,
    }
}

/// Used buffer notifications were switched off (Linux `virtqueue_disable_cb`). The queue's
/// number.
#[inline(always)]
pub(crate) fn disabled(vq: u64, copy: u8) -> u32 {
    let Some(state) = find(vq) else {
        return NO_QUEUE;
    };
    if is_first(state, Unplaced::Disable, copy)
        && let Some(mut claimed) = claim_for(vq, state)
    {
        let work = claimed.work();
        let (flags, switch) = (flags_of(&work.ring), switch(&work.ring));
        emit(work, state, 0, flags, Body::CallbacksDisabled(switch));
    }
    state.number
}

/// They are being switched on by a call that may call another (Linux
/// `virtqueue_enable_cb`). The queue's number.
#[inline(always)]
pub(crate) fn enabling(vq: u64) -> u32 {
    let Some(state) = known(vq) else {
        return NO_QUEUE;
    };
    state.enabling = 1;
    state.number
}

/// They were switched on, from within another call or not (Linux
/// `virtqueue_enable_cb_prepare`). The queue's number.
#[inline(always)]
pub(crate) fn prepared(vq: u64, copy: u8) -> u32 {
    let Some(state) = find(vq) else {
        return NO_QUEUE;
    };
    if state.enabling == 0 {
        switched_on(vq, state, Flags::empty(), copy);
    }
    state.number
}

/// They were switched on; `idle` says that nothing was pending (Linux
/// `virtqueue_enable_cb`, `virtqueue_enable_cb_delayed`). The queue's number.
#[inline(always)]
pub(crate) fn enabled(vq: u64, idle: bool, copy: u8) -> u32 {
    let Some(state) = find(vq) else {
        return NO_QUEUE;
    };
    state.enabling = 0;
    let pending = if idle { Flags::empty() } else { Flags::PENDING };
    switched_on(vq, state, pending, copy);
    state.number
}

#[inline(always)]
fn switched_on(vq: u64, state: &QueueState, pending: Flags, copy: u8) {
    if is_first(state, Unplaced::Enable, copy)
        && let Some(mut claimed) = claim_for(vq, state)
    {
        let work = claimed.work();
        let (flags, switch) = (flags_of(&work.ring) | pending, switch(&work.ring));
        emit(work, state, 0, flags, Body::CallbacksEnabled(switch));
    }
}
