//! Queues: known by the first operation on them, followed until they are deleted.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::{bpf_loop, bpf_probe_read_kernel_str};
use virtscope_record::{Body, FeatureBits, Flags, InFlight, Layout, QueueFacts, Reset};
use virtscope_tracer_shared::{
    COUNTERS_PER_CPU, MAX_DRIVER_NAME, QueueState, Segment, Slot, control,
};

use crate::emit::{count, draft, emit, emit_draft};
use crate::kernel::{Ring, read};
use crate::maps::{CONTROL, NUMBERS, Number, QUEUES, SLOTS, config};
use crate::missed::{Quiet, settle};
use crate::operations::{forget_marks, leave_promise};
use crate::whole::forget_all;
use crate::work::{Work, claim_for};

/// The queue at `vq`, if its operations are wanted.
#[inline(always)]
pub(crate) fn find(vq: u64) -> Option<&'static mut QueueState> {
    let state = match QUEUES.get_ptr_mut(vq) {
        Some(state) => state,
        None => {
            // One program is attached after the other: as long as some operations are seen
            // and others are not, what is seen would be half of a story.
            if CONTROL.get(control::OPEN).is_none_or(|open| *open == 0) {
                return None;
            }
            register_queue(vq);
            QUEUES.get_ptr_mut(vq)?
        }
    };
    // SAFETY: a map's value, see `maps`.
    let state = unsafe { &mut *state };
    (state.ignored == 0).then_some(state)
}

/// The same, if it has been seen before.
#[inline(always)]
pub(crate) fn known(vq: u64) -> Option<&'static mut QueueState> {
    // SAFETY: a map's value, see `maps`.
    let state = unsafe { &mut *QUEUES.get_ptr_mut(vq)? };
    (state.ignored == 0).then_some(state)
}

/// Takes up a queue that was not seen before.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn register_queue(vq: u64) -> i32 {
    let vdev: u64 = read(vq + u64::from(config!(vq_vdev)));
    let index: u32 = read(vq + u64::from(config!(vq_index)));
    let device: u32 = read(vdev + u64::from(config!(vdev_index)));
    let id = (device << 16) | (index & 0xffff);
    let mut state = QueueState {
        id,
        size: Ring::size_of(vq),
        device_type: read::<u32>(vdev + u64::from(config!(vdev_type))) as u16,
        ..QueueState::default()
    };
    state.promises = u8::from(notifies_as_hooked(vq));
    let features: u64 = read(vdev + u64::from(config!(vdev_features)));
    state.one_each = u8::from(features & INDIRECT_DESC != 0);
    // Of two operations on it that come at once, one takes it up. As long as that lasts it is
    // ignored; what has begun by then is in flight when its positions are taken up.
    state.ignored = 1;
    if QUEUES.insert(vq, &state, NOEXIST).is_err() {
        if QUEUES.get_ptr(vq).is_none() {
            let _ = take(control::REFUSED, 1);
        }
        return 0;
    }
    if !is_wanted(id, vdev) {
        return 0;
    }
    // One state, changed in place: the stack has no room for copies.
    if has_room(&mut state) {
        state.ignored = 0;
        let _ = QUEUES.insert(vq, &state, 0);
    } else {
        let _ = take(control::REFUSED, 1);
    }
    0
}

/// Create a map's entry, or leave the one that is there: `BPF_NOEXIST`.
pub(crate) const NOEXIST: u64 = 1;

/// `VIRTIO_F_INDIRECT_DESC` (virtio 1.4 §6): a buffer of several segments goes into a
/// table of its own.
const INDIRECT_DESC: u64 = 1 << 28;

/// Whether the function that notifies the device of this queue is one that is hooked.
#[inline(always)]
fn notifies_as_hooked(vq: u64) -> bool {
    if config!(vring_notify) == 0 {
        return false;
    }
    let notify: u64 = read(vq + u64::from(config!(vring_notify)));
    let mut is_hooked = false;
    for at in 0..virtscope_tracer_shared::MAX_NOTIFY {
        let address = config!(notify[at]);
        is_hooked |= address != 0 && address == notify;
    }
    is_hooked
}

/// Gives a queue its counters, its generation and its slots, if there are any left.
#[inline(always)]
fn has_room(state: &mut QueueState) -> bool {
    let Some(known) = number(state.id) else {
        return false;
    };
    state.number = known.number;
    forget_marks(state.number);
    state.generation = known.lives as u16;
    known.lives = known.lives.wrapping_add(1);
    if known.size < state.size {
        let Some(slots) = slots(state.size) else {
            return false;
        };
        known.slots = slots;
        known.size = state.size;
    }
    state.slots = known.slots;
    true
}

/// What is known of the queue `id`, or is from now on.
#[inline(always)]
fn number(id: u32) -> Option<&'static mut Number> {
    if NUMBERS.get_ptr_mut(id).is_none() {
        let number = take(control::QUEUES, 1)?;
        if number >= u64::from(COUNTERS_PER_CPU) {
            return None;
        }
        let new = Number {
            number: number as u32,
            lives: 0,
            slots: 0,
            size: 0,
        };
        let _ = NUMBERS.insert(id, &new, 0);
    }
    // SAFETY: a map's value, see `maps`.
    unsafe { NUMBERS.get_ptr_mut(id)?.as_mut() }
}

/// Slots for a ring of `size` entries, and one more, for adds that fail.
#[inline(always)]
fn slots(size: u32) -> Option<u32> {
    let wanted = u64::from(size) + 1;
    let first = take(control::SLOTS, wanted)?;
    if first + wanted > u64::from(config!(slots)) {
        // A smaller ring may find room yet.
        take(control::SLOTS, wanted.wrapping_neg());
        return None;
    }
    Some(first as u32)
}

/// Tells what a queue is; verified by itself, and apart from its caller for the stack's
/// sake.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn emit_facts(
    vq: u64,
    work: *mut Work,
    state: *const QueueState,
    in_flight: u32,
) -> i32 {
    // SAFETY: null, or a caller's reference.
    let (Some(work), Some(state)) = (unsafe { (work.as_mut(), state.as_ref()) }) else {
        return 0;
    };
    let vdev: u64 = read(vq + u64::from(config!(vq_vdev)));
    let layout = if work.ring.is_packed() {
        Layout::Packed
    } else {
        Layout::Split
    };
    let features: u64 = read(vdev + u64::from(config!(vdev_features)));
    let Some(slot) = spare_slot(state) else {
        return 0;
    };
    // The queue's own name goes along, for user space to put into words.
    slot.segments[0].0[0] = Segment {
        address: read(vq + u64::from(config!(vq_name))),
        len: NAME,
        reserved: 0,
    };
    slot.segments[0].0[1].len = 0;
    let body = Body::QueueFacts(QueueFacts {
        size: work.ring.num,
        in_flight: in_flight as u16,
        device_type: state.device_type,
        layout,
        features: FeatureBits(features),
    });
    work.draft = draft(0, Flags::empty(), body);
    emit_draft(state, &work.draft, &slot.segments[0], NAME);
    0
}

/// Bytes of a queue's name that are taken along.
const NAME: u32 = 32;

/// Takes `how_many` of something that is numbered.
#[inline(always)]
fn take(of: u32, how_many: u64) -> Option<u64> {
    let next = CONTROL.get_ptr_mut(of)?;
    // SAFETY: a map's value, see `maps`.
    Some(count(unsafe { &mut *next }, how_many))
}

/// Whether the filters let the queue `id` through.
#[inline(always)]
fn is_wanted(id: u32, vdev: u64) -> bool {
    if config!(device_count) != 0 && !device_is_named(id >> 16) {
        return false;
    }
    if config!(queue_count) != 0 && !queue_is_named(id) {
        return false;
    }
    driver_is_named(vdev)
}

#[inline(always)]
fn device_is_named(device: u32) -> bool {
    for at in 0..virtscope_tracer_shared::MAX_FILTERED_DEVICES {
        if at as u32 >= config!(device_count) {
            return false;
        }
        if config!(devices[at]) == device {
            return true;
        }
    }
    false
}

#[inline(always)]
fn queue_is_named(id: u32) -> bool {
    for at in 0..virtscope_tracer_shared::MAX_FILTERED_QUEUES {
        if at as u32 >= config!(queue_count) {
            return false;
        }
        let named = config!(queues[at]);
        let any_device = named >> 16 == 0xffff;
        if named == id || (any_device && named & 0xffff == id & 0xffff) {
            return true;
        }
    }
    false
}

#[inline(always)]
fn driver_is_named(vdev: u64) -> bool {
    if config!(driver[0]) == 0 {
        return true;
    }
    let driver: u64 = read(vdev + u64::from(config!(vdev_driver)));
    let name: u64 = read(driver + u64::from(config!(driver_name)));
    let mut found = [0u8; MAX_DRIVER_NAME];
    let to = found.as_mut_ptr().cast();
    // SAFETY: the helper writes no more bytes than `found` has, and only what it could read.
    unsafe { bpf_probe_read_kernel_str(to, MAX_DRIVER_NAME as u32, name as *const _) };
    for (at, found) in found.iter().enumerate() {
        let byte = config!(driver[at]);
        if *found != byte {
            return false;
        }
        if byte == 0 {
            return true;
        }
    }
    true
}

/// The slot of the buffer `head`.
#[inline(always)]
pub(crate) fn slot(state: &QueueState, head: u16) -> Option<&'static mut Slot> {
    let head = u32::from(head).min(state.size);
    // SAFETY: a map's value, see `maps`.
    unsafe { SLOTS.get_ptr_mut(state.slots + head)?.as_mut() }
}

/// The slot that stands for no buffer.
#[inline(always)]
pub(crate) fn spare_slot(state: &QueueState) -> Option<&'static mut Slot> {
    // SAFETY: a map's value, see `maps`.
    unsafe { SLOTS.get_ptr_mut(state.slots + state.size)?.as_mut() }
}

/// What the search for buffers in flight goes on with.
#[repr(C)]
struct Search {
    state: *const QueueState,
    work: *mut Work,
    data: u64,
    num: u64,
    entry_size: u32,
    free: u16,
    packed: u16,
    except: u64,
    /// Buffers found; they become records once `tell` is set.
    found: u32,
    tell: u32,
}

/// Takes up the positions of a queue that has just become known, and what is in
/// flight; `except` is the token of the add that is just being recorded.
#[inline(always)]
pub(crate) fn sync(vq: u64, state: &mut QueueState, work: &mut Work, except: u64) {
    // One behind the other and not one within the other, for the stack's sake.
    let found = sync_queue(state, work, except, 0);
    emit_facts(vq, work, state, found as u32);
    sync_queue(state, work, except, 1);
}

/// See [`sync`]; verified by itself. Returns how many buffers are in flight, which
/// become records if `tell` is set.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sync_queue(
    state: *mut QueueState,
    work: *mut Work,
    except: u64,
    tell: u32,
) -> i32 {
    // SAFETY: null, or a caller's reference.
    let (Some(state), Some(work)) = (unsafe { (state.as_mut(), work.as_mut()) }) else {
        return 0;
    };
    let ring = &work.ring;
    let num = u32::from(ring.num);
    state.synced = 1;
    state.avail_next = ring.avail;
    state.used_next = ring.last_used;
    state.kicked = ring.decided();
    state.free = ring.free;
    state.free_head = ring.free_head;
    state.in_batch = u8::from(ring.is_in_batch());
    let mut search = Search {
        state,
        work: core::ptr::null_mut(),
        data: 0,
        num: 0,
        entry_size: 0,
        free: ring.free,
        packed: u16::from(ring.is_packed()),
        except,
        found: 0,
        tell,
    };
    if ring.is_packed() {
        search.data = ring.state + u64::from(config!(packed_state_data));
        search.num = ring.state + u64::from(config!(packed_state_num));
        search.entry_size = config!(packed_state_size);
    } else {
        search.data = ring.state + u64::from(config!(split_state_data));
        search.entry_size = config!(split_state_size);
    }
    search.work = work;
    search_all(&mut search, num);
    search.found as i32
}

#[inline(always)]
fn search_all(search: &mut Search, num: u32) -> i32 {
    let callback = look as extern "C" fn(u32, *mut c_void) -> i64;
    // SAFETY: the callback has the type that the helper calls, and `search` stays meanwhile.
    unsafe { bpf_loop(num, callback as *mut c_void, (&raw mut *search).cast(), 0) };
    0
}

extern "C" fn look(head: u32, context: *mut c_void) -> i64 {
    // SAFETY: what `search_all` was lent, and does not use meanwhile.
    let search = unsafe { &mut *context.cast::<Search>() };
    let at = u64::from(head) * u64::from(search.entry_size);
    let token: u64 = read(search.data + at);
    if token == 0 || token == search.except {
        return 0;
    }
    if search.tell == 0 {
        search.found += 1;
        return 0;
    }
    let descriptors = if search.packed != 0 {
        read::<u16>(search.num + at)
    } else {
        0
    };
    // SAFETY: the reference that `sync_queue` was given, and does not use meanwhile.
    let (Some(state), Some(work)) = (unsafe { (search.state.as_ref(), search.work.as_mut()) })
    else {
        return 1;
    };
    if let Some(slot) = slot(state, head as u16) {
        slot.token = token;
        slot.descriptors = descriptors;
        slot.selected = 1;
        slot.readable_bytes = 0;
        slot.writable_bytes = 0;
        slot.readable_segments = 0;
        slot.writable_segments = 0;
        slot.segments[0].0[0].len = 0;
        slot.segments[1].0[0].len = 0;
    }
    let packed = if search.packed != 0 {
        Flags::PACKED
    } else {
        Flags::empty()
    };
    emit(
        work,
        state,
        token,
        packed,
        Body::InFlight(InFlight {
            free: search.free,
            head: head as u16,
            descriptors,
            ..InFlight::default()
        }),
    );
    0
}

/// The queue goes away, with all that was done on it.
#[inline(always)]
pub(crate) fn delete(vq: u64) {
    settle(vq, Quiet::Surely);
    end(vq);
}

/// The queue goes away, or has begun anew.
#[inline(always)]
pub(crate) fn end(vq: u64) {
    if let Some(state) = known(vq) {
        forget_all(state);
        leave_promise(state);
        if let Some(mut claimed) = claim_for(vq, state) {
            let work = claimed.work();
            let reset = Reset {
                free: work.ring.free,
                error: 0,
                in_flight: 0,
            };
            emit(work, state, 0, Flags::empty(), Body::Reset(reset));
        }
    }
    let _ = QUEUES.remove(vq);
}
