//! The packed ring: one ring of descriptors, which both sides write (virtio 1.4
//! §2.8).
//!
//! A buffer is a list of descriptors from its position on. The device returns it by
//! one used descriptor, written where the next one is to stand, over whatever
//! available descriptor is there, and goes on as many slots as the list had. With
//! `VIRTIO_F_IN_ORDER` it may skip used descriptors (§2.8.8): which ones it really
//! wrote, records do not tell, so every buffer's is shown where it would stand.

use virtscope_record::{Add, Callback, Flags, Notification, Record, Returned, Taken, Used};

use super::tracker::{RingTracker, Standing};
use super::{Slot, SlotState};

/// `RING_EVENT_FLAGS_DESC`: the event offset and wrap counter count (§2.8.10).
const EVENT_DESC: u16 = 2;

impl RingTracker {
    pub(super) fn add_packed(&mut self, record: &Record, add: &Add) {
        let many = add.descriptors.clamp(1, self.size);
        self.pointers.avail_idx = Some(self.space.advance(add.position, many));
        // Under its id it stands once.
        self.free(add.head);
        for place in 0..many {
            let position = self.space.advance(add.position, place);
            let Some(number) = self.slot_number(position) else {
                continue;
            };
            let slot = Slot::added(record, add, position, place);
            self.available.insert(number, slot);
            if let Some(used) = self.used.get_mut(number) {
                used.overwritten = true;
            }
        }
        let standing = Standing {
            first: add.position,
            many,
        };
        self.standing.insert(add.head, standing);
    }

    pub(super) fn kick_packed(&mut self, kick: &Notification) {
        // Only then is there an event to speak of.
        self.pointers.avail_event = (kick.event_flags & 3 == EVENT_DESC).then_some(kick.event);
        // Fewer than two laps, or the positions would not tell.
        let published = self.space.ahead(kick.old, kick.new);
        for place in 0..published as u16 {
            let position = self.space.advance(kick.old, place);
            if let Some(slot) = self.slot_at(position)
                && slot.state == SlotState::Added
            {
                slot.state = SlotState::Published;
            }
        }
    }

    pub(super) fn taken_packed(&mut self, taken: &Taken) {
        self.pointers.taken = Some(taken.avail_index);
        let is_it = |standing: &Standing| standing.first == taken.position;
        if self.standing.get(taken.head).as_ref().is_some_and(is_it) {
            self.advance(taken.head, SlotState::Taken);
        }
    }

    pub(super) fn returned_packed(&mut self, returned: &Returned) {
        let (position, head) = (returned.position, returned.head);
        self.used_entry(position, head, returned.used_length, false);
        if let Some(many) = self.list_of(head) {
            self.used_up_to(self.space.advance(position, many));
        }
        self.advance(head, SlotState::Returned);
    }

    pub(super) fn callback_packed(&mut self, flags: Flags, callback: &Callback) {
        let pointers = &mut self.pointers;
        pointers.last_used.get_or_insert(callback.last_used);
        pointers.used_event =
            (callback.event_flags & 3 == EVENT_DESC).then_some(callback.used_event);
        if flags.contains(Flags::SPURIOUS) {
            return;
        }
        // It speaks of the entry that was next, and of those behind it that are
        // known to have been there.
        let mut position = callback.last_used;
        for _ in 0..self.size {
            let entry = self
                .slot_number(position)
                .and_then(|number| self.used.get(number))
                .filter(|entry| entry.index == position && !entry.harvested);
            let Some(entry) = entry else { return };
            let Some(many) = self.list_of(entry.head) else {
                return;
            };
            self.advance(entry.head, SlotState::Announced);
            position = self.space.advance(position, many);
        }
    }

    pub(super) fn used_packed(&mut self, used: &Used) {
        let next = self
            .space
            .advance(used.position, used.descriptors.clamp(1, self.size));
        self.pointers.last_used = Some(next);
        self.used_up_to(next);
        self.used_entry(used.position, used.head, used.used_length, true);
        self.free(used.head);
    }

    /// How many descriptors the buffer in flight under `id` has.
    fn list_of(&self, id: u16) -> Option<u16> {
        self.standing.get(id).map(|standing| standing.many)
    }
}
