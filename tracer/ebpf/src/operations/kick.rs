//! Kick decisions, and the notifications that they promise.

use virtscope_record::{
    Body, Context, Flags, Kind, Notification, NotificationReason, Notify, RingIndex,
};
use virtscope_tracer_shared::{QueueState, control};

use super::{NO_QUEUE, Unplaced, flags_of, is_first};
use crate::emit::{context, count, emit, exchange_if, lost, missed, task};
use crate::kernel::{Ring, read};
use crate::maps::{CONTROL, PROMISES};
use crate::missed::tell_missed;
use crate::queue::{NOEXIST, find, sync};
use crate::work::{Claimed, Work};

/// It was decided whether to notify the device (Linux `virtqueue_kick_prepare`, at its
/// return). The queue's number.
#[inline(always)]
pub(crate) fn kicked(vq: u64, needed: bool, copy: u8) -> u32 {
    let Some(state) = find(vq) else {
        return NO_QUEUE;
    };
    if is_first(state, Unplaced::Kick, copy) {
        decided(vq, state, needed);
    }
    state.number
}

#[inline(always)]
fn decided(vq: u64, state: &mut QueueState, needed: bool) {
    // Where all are in use, the ring's positions will tell.
    let Some(mut claimed) = Claimed::new() else {
        return;
    };
    let work = claimed.work();
    work.ring.load(vq);
    if state.synced == 0 {
        sync(vq, state, work, 0);
        state.kicked = work.ring.avail;
    }
    if needed && state.promises != 0 && work.ring.broken == 0 {
        promise(state, work);
    }
    let ring = &work.ring;
    let (old, new) = (state.kicked, ring.avail);
    state.kicked = new;
    let mut flags = flags_of(ring);
    if needed {
        flags |= Flags::NOTIFICATION_NEEDED;
    }
    let (event, event_flags) = if ring.is_packed() {
        let event: u32 = read(ring.device);
        (event as u16, (event >> 16) as u16)
    } else {
        let used: u16 = read(ring.device);
        let event: u16 = read(ring.device + 4 + 8 * u64::from(ring.num));
        (event, used)
    };
    let reason = reason(ring, old, new, event, event_flags);
    if reason.verdict().is_some_and(|verdict| verdict != needed) {
        flags |= Flags::RACED;
    }
    let body = Body::Kick(Notification {
        free: ring.free,
        error: 0,
        old: RingIndex(old),
        new: RingIndex(new),
        event: RingIndex(event),
        event_flags,
        reason,
    });
    emit(work, state, 0, flags, body);
}

/// Why, as the device's fields say now (Linux `virtqueue_kick_prepare_split`,
/// `_packed`).
#[inline(always)]
fn reason(ring: &Ring, old: u16, new: u16, event: u16, event_flags: u16) -> NotificationReason {
    if old == new {
        return NotificationReason::NothingAdded;
    }
    let by_flag = if ring.is_packed() {
        // RING_EVENT_FLAGS_DESC is 2, _DISABLE 1, _ENABLE 0.
        event_flags & 3 != 2
    } else {
        ring.event_idx == 0
    };
    if by_flag {
        return if event_flags & 1 != 0 {
            NotificationReason::FlagSet
        } else {
            NotificationReason::FlagClear
        };
    }
    let (event, old, new) = if ring.is_packed() {
        let mut at = event & 0x7fff;
        if (event ^ new) & 0x8000 != 0 {
            at = at.wrapping_sub(ring.num);
        }
        let to = new & 0x7fff;
        (at, to.wrapping_sub(ring.distance(old, new)), to)
    } else {
        (event, old, new)
    };
    if RingIndex(event).is_crossed_by(RingIndex(old), RingIndex(new)) {
        NotificationReason::EventCrossed
    } else {
        NotificationReason::EventNotCrossed
    }
}

/// The thread that runs, as one that promises to notify this queue's device. What
/// interrupts it promises for itself.
#[inline(always)]
fn promiser(state: &QueueState, context: Context) -> u64 {
    let (_, thread) = task();
    u64::from(thread) << 32
        | u64::from(state.generation) << 16
        | u64::from(state.number & 0x3fff) << 2
        | u64::from(context as u8 & 3)
}

/// The thread that runs will notify the device: next of all on this queue. If it has
/// promised that before and comes back to decide anew, its notification was missed.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn promise(state: *mut QueueState, work: *mut Work) -> i32 {
    // SAFETY: null, or a caller's reference.
    let (Some(state), Some(work)) = (unsafe { (state.as_mut(), work.as_mut()) }) else {
        return 0;
    };
    // What is promised while tracing ends is not waited for.
    if CONTROL
        .get(control::CLOSING)
        .is_none_or(|closing| *closing != 0)
    {
        return 0;
    }
    let context = context();
    work.context = context as u64;
    if make_promise(state, promiser(state, context)) {
        let avail = work.ring.avail.into();
        tell_missed(state, work, Kind::Notify as u32, 1, avail);
    }
    0
}

/// Makes a promise. Whether it had been made before.
///
/// A queue's state has room for one, which nearly always is enough, and takes no more than an
/// atomic operation. What is in the state is not in the map. Where a thread's end leaves its
/// promise there, the others' are in the map from then on.
#[inline(always)]
fn make_promise(state: &mut QueueState, promiser: u64) -> bool {
    let promise = promiser | QueueState::PROMISED;
    let found = exchange_if(&mut state.promise, 0, promise);
    if found == promise {
        return true;
    }
    if found == 0 {
        return keep_in_map(state, promiser);
    }
    if PROMISES
        .insert(promiser, u64::from(state.id), NOEXIST)
        .is_ok()
    {
        count(&mut state.other_promises, 1);
        return false;
    }
    // Or there was no room.
    PROMISES.get_ptr(promiser).is_some()
}

/// Keeps a promise. Whether it had been made.
#[inline(always)]
fn keep_promise(state: &mut QueueState, promiser: u64) -> bool {
    let promise = promiser | QueueState::PROMISED;
    exchange_if(&mut state.promise, promise, 0) == promise || keep_in_map(state, promiser)
}

/// The same of one in the map, where those are that found the place in the state taken.
#[inline(always)]
fn keep_in_map(state: &mut QueueState, promiser: u64) -> bool {
    // What this thread has put there is counted, whatever others do.
    if state.other_promises == 0 || PROMISES.remove(promiser).is_err() {
        return false;
    }
    count(&mut state.other_promises, 1_u64.wrapping_neg());
    true
}

/// The queue goes away: its promise outlives it, as one that nobody keeps. Unless somebody
/// does so now, on another CPU.
#[inline(always)]
pub(crate) fn leave_promise(state: &mut QueueState) {
    let promise = state.promise;
    if promise == 0 || exchange_if(&mut state.promise, promise, 0) != promise {
        return;
    }
    let promiser = promise & !QueueState::PROMISED;
    if PROMISES.insert(promiser, u64::from(state.id), 0).is_err() {
        missed(state, 1);
    }
}

/// The device is notified (Linux `vp_notify`, `vm_notify`, at their entry). The second
/// copy records it only if that was promised and the first one has not kept it.
#[inline(always)]
pub(crate) fn notified(vq: u64, copy: u8) {
    let Some(state) = find(vq) else {
        return;
    };
    let context = context();
    let was_promised = keep_promise(state, promiser(state, context));
    state.promises = 1;
    if copy != 0 && !was_promised {
        return;
    }
    let Some(mut claimed) = Claimed::new() else {
        lost(state);
        return;
    };
    let work = claimed.work();
    work.ring.load_head(vq);
    work.context = context as u64;
    let notify = Notify {
        free: work.ring.free,
        error: 0,
    };
    let flags = flags_of(&work.ring);
    emit(work, state, 0, flags, Body::Notify(notify));
}
