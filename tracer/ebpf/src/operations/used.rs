//! Buffers that come back: used by the device, or as they were.

use virtscope_record::{Body, Detach, RingIndex, Used};

use super::flags_of;
use crate::emit::{draft, emit, filtered};
use crate::kernel::is_used_by;
use crate::missed::completions_before;
use crate::payload::wanted;
use crate::queue::{find, slot, sync};
use crate::whole::{drop_list, emit_used, forget};
use crate::work::Claimed;

/// A used buffer is about to be given back, or an unused one at shutdown (Linux
/// `detach_buf_split` and kin, at their entry).
#[inline(always)]
pub(crate) fn detached(vq: u64, head: u16) {
    let Some(state) = find(vq) else {
        return;
    };
    // Where all are in use, the ring's positions will tell.
    let Some(mut claimed) = Claimed::new() else {
        return;
    };
    let work = claimed.work();
    work.ring.load(vq);
    let is_new = state.synced == 0;
    if is_new {
        sync(vq, state, work, 0);
    }
    let ring = &work.ring;
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
    // What was passed over may have been the beginning of a batch.
    let after_batch = is_new || state.in_batch != 0 || state.used_next != ring.last_used;
    completions_before(state, work);
    let ring = &work.ring;
    let token = ring.token(head);
    let in_batch = ring.is_in_batch();
    let Some(slot) = slot(state, head) else {
        return;
    };
    // One entry may stand for several buffers (virtio 1.4 §2.8.8). In a packed ring it is
    // the one of the first of them.
    let ends_batch = ring.is_packed_in_order() && after_batch && head == position & 0x7fff;
    // Each is looked at once, though it says two things.
    let used_index = if ring.is_packed() { 0 } else { ring.used_idx() };
    let (mut length, mut is_used) = (0, true);
    if !in_batch && !ends_batch {
        if ring.is_packed() {
            let (len, _, flags) = ring.packed_desc(position);
            (length, is_used) = (len, is_used_by(flags, position));
        } else {
            is_used = used_index != position;
        }
    }
    if !is_used {
        // Nothing was used: the driver takes back what the device never got to.
        if slot.token != 0 {
            slot.token = 0;
            forget(state, slot, head);
            let detach = Detach {
                free: ring.free,
                error: 0,
                head,
            };
            state.avail_next = ring.back(state.avail_next, if ring.is_packed() { 0 } else { 1 });
            let flags = flags_of(ring);
            emit(work, state, token, flags, Body::Detach(detach));
        }
        return;
    }
    let used_length = if in_batch {
        ring.total_in_len(head)
    } else if ring.is_in_order() {
        ring.batch_len
    } else if ring.is_packed() {
        length
    } else {
        ring.split_used(position).1
    };
    if slot.token != token {
        // Its add was missed: what stands here is of a buffer before it.
        slot.writable_bytes = 0;
        slot.segments[1].0[0].len = 0;
        slot.descriptors = 0;
        slot.selected = 1;
        drop_list(state, head);
    }
    let descriptors = if ring.is_packed() {
        taken
    } else {
        slot.descriptors
    };
    state.used_next = next;
    state.in_batch = u8::from(in_batch);
    state.free = ring.free.wrapping_add(descriptors);
    state.free_head = head;
    let was_selected = slot.selected;
    slot.token = 0;
    if was_selected == 0 {
        filtered(state);
        return;
    }
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
    work.draft = draft(token, flags_of(ring), body);
    emit_used(state, token, &mut work.draft, (slot, head), want);
}
