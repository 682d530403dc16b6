//! What each operation becomes.

use virtscope_record::{
    Add, Body, Callback, CallbackSwitch, Detach, Flags, Kind, Notification, NotificationReason,
    Notify, RingIndex, Used,
};
use virtscope_tracer_shared::{PendingAdd, QueueState, Step, control, step};

use crate::emit::{context, emit, emit_with, filtered, now, task};
use crate::kernel::{Ring, read};
use crate::maps::{CONTROL, PROMISES, config};
use crate::missed::{completions_before, kick_before, tell_missed};
use crate::payload::{Walk, wanted};
use crate::queue::{find, known, slot, spare_slot, sync};

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

/// Whether this copy of the program is the one to record the operation: the first, or
/// the second if the kernel skipped the first.
#[inline(always)]
pub(crate) fn is_first(state: &mut QueueState, operation: Unplaced, copy: u8) -> bool {
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

/// A buffer was added, or refused (Linux `virtqueue_add_sgs` and kin).
///
/// In pieces that are verified by themselves: in one, the verifier would follow every
/// combination of what each may find, and the stack would not hold them.
#[inline(always)]
pub(crate) fn added(add: &PendingAdd, error: i32, copy: u8) {
    let Some(state) = find(add.vq) else {
        return;
    };
    let ring = Ring::of(add.vq);
    let is_new = state.synced == 0;
    if is_new {
        sync(add.vq, state, &ring, if error == 0 { add.token } else { 0 });
    }
    if error != 0 {
        // A refused add moves nothing; the first copy alone records it.
        if copy == 0 {
            refused(state, &ring, add, error);
        }
        return;
    }
    let head = placed(state, &ring, add.token, u32::from(is_new));
    if head >= 0 {
        told(state, &ring, add, head as u32);
    }
}

/// Finds out which buffer was just added, and what was missed before it. Its id, or -1 if
/// the other copy of the program has recorded it.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn placed(
    state: *mut QueueState,
    ring: *const Ring,
    token: u64,
    is_new: u32,
) -> i32 {
    let (Some(state), Some(ring)) = (unsafe { (state.as_mut(), ring.as_ref()) }) else {
        return -1;
    };
    let is_new = is_new != 0;
    let head = head_of(state, ring, token, is_new);
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
        completions_before(state, ring);
    }
    match step(ring.distance(state.avail_next, ring.avail), taken) {
        Step::Repeated => return -1,
        Step::Next => {}
        Step::Missed(entries) => {
            let count = if ring.is_packed() && state.one_each == 0 {
                1
            } else {
                u32::from(entries)
            };
            tell_missed(state, ring, Kind::Add as u32, count, position.into());
            state.free = 0xffff;
        }
    }
    kick_before(state, ring);
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

/// Records the add of the buffer `head`.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn told(
    state: *mut QueueState,
    ring: *const Ring,
    add: *const PendingAdd,
    head: u32,
) -> i32 {
    let (Some(state), Some(ring), Some(add)) =
        (unsafe { (state.as_mut(), ring.as_ref(), add.as_ref()) })
    else {
        return 0;
    };
    let head = head as u16;
    let Some(slot) = slot(state, head) else {
        return 0;
    };
    slot.segments[0].0[0].len = 0;
    slot.segments[1].0[0].len = 0;
    let walk = Walk::of(add, slot);
    let segments = walk.segments[0] + walk.segments[1];
    if slot.descriptors == 0 {
        slot.descriptors = segments as u16;
    }
    slot.token = add.token;
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
    let mut flags = flags_of(ring);
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
        readable_bytes: walk.bytes[0],
        writable_bytes: walk.bytes[1],
        head,
        position: RingIndex(ring.back(ring.avail, taken)),
        readable_segments: walk.segments[0] as u16,
        writable_segments: walk.segments[1] as u16,
        descriptors: slot.descriptors,
    });
    let want = wanted(
        state.device_type,
        state.id as u16,
        false,
        walk.bytes[0],
        &slot.segments[0],
    );
    emit_with(state, add.token, flags, body, &slot.segments[0], want);
    0
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
        let slot = ring.avail.wrapping_sub(1) & ring.num.wrapping_sub(1);
        return read(ring.driver + 4 + 2 * u64::from(slot));
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
pub extern "C" fn refused(
    state: *mut QueueState,
    ring: *const Ring,
    add: *const PendingAdd,
    error: i32,
) -> i32 {
    let (Some(state), Some(ring), Some(add)) =
        (unsafe { (state.as_mut(), ring.as_ref(), add.as_ref()) })
    else {
        return 0;
    };
    let Some(slot) = spare_slot(state) else {
        return 0;
    };
    let walk = Walk::of(add, slot);
    let body = Body::AddFailed(Add {
        free: ring.free,
        error: error.unsigned_abs() as u16,
        readable_bytes: walk.bytes[0],
        writable_bytes: walk.bytes[1],
        readable_segments: walk.segments[0] as u16,
        writable_segments: walk.segments[1] as u16,
        position: RingIndex(ring.avail),
        ..Add::default()
    });
    emit(state, add.token, flags_of(ring), body);
    0
}

/// A used buffer is about to be given back, or an unused one at shutdown (Linux
/// `detach_buf_split` and kin, at their entry).
#[inline(always)]
pub(crate) fn detached(vq: u64, head: u16) {
    let Some(state) = find(vq) else {
        return;
    };
    let ring = Ring::of(vq);
    if state.synced == 0 {
        sync(vq, state, &ring, 0);
    }
    let position = ring.last_used;
    let taken = if ring.is_packed() {
        ring.packed_num(head).max(1)
    } else {
        1
    };
    let next = ring.advance(position, taken);
    // The other copy of this program was here.
    if state.used_next == next {
        return;
    }
    completions_before(state, &ring);
    let token = ring.token(head);
    let in_batch = ring.is_in_order() && ring.batch_id < u32::from(ring.num);
    let Some(slot) = slot(state, head) else {
        return;
    };
    if !in_batch && !ring.is_in_order() && !ring.is_used(position) {
        // Nothing was used: the driver takes back what the device never got to.
        if slot.token != 0 {
            slot.token = 0;
            let detach = Detach {
                free: ring.free,
                error: 0,
                head,
            };
            state.avail_next = ring.back(state.avail_next, if ring.is_packed() { 0 } else { 1 });
            emit(state, token, flags_of(&ring), Body::Detach(detach));
        }
        return;
    }
    let used_length = if in_batch {
        ring.total_in_len(head)
    } else if ring.is_in_order() {
        ring.batch_len
    } else if ring.is_packed() {
        ring.packed_desc(position).0
    } else {
        ring.split_used(position).1
    };
    if slot.token != token {
        // Its add was missed: what stands here is of a buffer before it.
        slot.writable_bytes = 0;
        slot.segments[1].0[0].len = 0;
        slot.descriptors = 0;
        slot.selected = 1;
    }
    let descriptors = if ring.is_packed() {
        taken
    } else {
        slot.descriptors
    };
    state.used_next = next;
    state.free = ring.free.wrapping_add(descriptors);
    state.free_head = head;
    let was_selected = slot.selected;
    slot.token = 0;
    if was_selected == 0 {
        filtered(state);
        return;
    }
    let used_index = if ring.is_packed() { 0 } else { ring.used_idx() };
    let body = Body::Used(Used {
        free: state.free,
        error: 0,
        used_length,
        writable_bytes: slot.writable_bytes,
        head,
        position: RingIndex(position),
        used_index: RingIndex(used_index),
        descriptors,
    });
    let written = used_length.min(slot.writable_bytes);
    let want = wanted(
        state.device_type,
        state.id as u16,
        true,
        written,
        &slot.segments[1],
    );
    emit_with(state, token, flags_of(&ring), body, &slot.segments[1], want);
}

/// It was decided whether to notify the device (Linux `virtqueue_kick_prepare`, at its
/// return).
#[inline(always)]
pub(crate) fn kicked(vq: u64, needed: bool, copy: u8) {
    let Some(state) = find(vq) else {
        return;
    };
    let ring = Ring::of(vq);
    if state.synced == 0 {
        sync(vq, state, &ring, 0);
        state.kicked = ring.avail;
    }
    if !is_first(state, Unplaced::Kick, copy) {
        return;
    }
    if needed && state.promises != 0 && ring.broken == 0 {
        promise(state, &ring);
    }
    let (old, new) = (state.kicked, ring.avail);
    state.kicked = new;
    let mut flags = flags_of(&ring);
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
    let reason = reason(&ring, old, new, event, event_flags);
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
    emit(state, 0, flags, body);
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
fn promiser(state: &QueueState) -> u64 {
    let (_, thread) = task();
    u64::from(thread) << 32
        | u64::from(state.generation) << 16
        | u64::from(state.number & 0x3fff) << 2
        | u64::from(context() as u8 & 3)
}

/// The thread that runs will notify the device: next of all on this queue. If it has
/// promised that before and comes back to decide anew, its notification was missed.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn promise(state: *const QueueState, ring: *const Ring) -> i32 {
    let (Some(state), Some(ring)) = (unsafe { (state.as_ref(), ring.as_ref()) }) else {
        return 0;
    };
    // What is promised while tracing ends is not waited for.
    if CONTROL.get(control::CLOSING).is_none_or(|closing| *closing != 0) {
        return 0;
    }
    let promiser = promiser(state);
    if PROMISES.get_ptr(promiser).is_some() {
        tell_missed(state, ring, Kind::Notify as u32, 1, ring.avail.into());
    }
    let _ = PROMISES.insert(promiser, u64::from(state.id), 0);
    0
}

/// The device is notified (Linux `vp_notify`, `vm_notify`, at their entry). The second
/// copy records it only if that was promised and the first one has not kept it.
#[inline(always)]
pub(crate) fn notified(vq: u64, copy: u8) {
    let Some(state) = find(vq) else {
        return;
    };
    let was_promised = PROMISES.remove(promiser(state)).is_ok();
    state.promises = 1;
    if copy != 0 && !was_promised {
        return;
    }
    let ring = Ring::of(vq);
    let body = Body::Notify(Notify {
        free: ring.free,
        error: 0,
    });
    emit(state, 0, flags_of(&ring), body);
}

/// An interrupt speaks of the queue (Linux `vring_interrupt`, at its entry).
#[inline(always)]
pub(crate) fn interrupted(vq: u64) {
    let Some(state) = find(vq) else {
        return;
    };
    let ring = Ring::of(vq);
    let mut flags = flags_of(&ring);
    if !ring.is_used(ring.last_used) {
        flags |= Flags::SPURIOUS;
    }
    let (used_event, event_flags) = own_event(&ring);
    let used_index = if ring.is_packed() { 0 } else { ring.used_idx() };
    let body = Body::Callback(Callback {
        free: ring.free,
        error: 0,
        used_index: RingIndex(used_index),
        last_used: RingIndex(ring.last_used),
        used_event: RingIndex(used_event),
        event_flags,
    });
    emit(state, 0, flags, body);
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

/// Used buffer notifications were switched off (Linux `virtqueue_disable_cb`).
#[inline(always)]
pub(crate) fn disabled(vq: u64, copy: u8) {
    let Some(state) = find(vq) else {
        return;
    };
    if !is_first(state, Unplaced::Disable, copy) {
        return;
    }
    let ring = Ring::of(vq);
    emit(
        state,
        0,
        flags_of(&ring),
        Body::CallbacksDisabled(switch(&ring)),
    );
}

/// They are being switched on by a call that may call another (Linux
/// `virtqueue_enable_cb`).
#[inline(always)]
pub(crate) fn enabling(vq: u64) {
    if let Some(state) = known(vq) {
        state.enabling = 1;
    }
}

/// They were switched on, from within another call or not (Linux
/// `virtqueue_enable_cb_prepare`).
#[inline(always)]
pub(crate) fn prepared(vq: u64, copy: u8) {
    let Some(state) = find(vq) else {
        return;
    };
    if state.enabling != 0 || !is_first(state, Unplaced::Enable, copy) {
        return;
    }
    let ring = Ring::of(vq);
    emit(
        state,
        0,
        flags_of(&ring),
        Body::CallbacksEnabled(switch(&ring)),
    );
}

/// They were switched on; `idle` says that nothing was pending (Linux
/// `virtqueue_enable_cb`, `virtqueue_enable_cb_delayed`).
#[inline(always)]
pub(crate) fn enabled(vq: u64, idle: bool, copy: u8) {
    let Some(state) = find(vq) else {
        return;
    };
    state.enabling = 0;
    if !is_first(state, Unplaced::Enable, copy) {
        return;
    }
    let ring = Ring::of(vq);
    let mut flags = flags_of(&ring);
    if !idle {
        flags |= Flags::PENDING;
    }
    emit(state, 0, flags, Body::CallbacksEnabled(switch(&ring)));
}
