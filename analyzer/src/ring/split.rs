//! The split ring: an available ring and a used ring (virtio 1.4 §2.7).

use virtscope_record::{
    Add, Callback, Flags, Notification, Record, Returned, RingIndex, Taken, Used,
};

use super::tracker::{RingTracker, Standing};
use super::{Slot, SlotState};

impl RingTracker {
    pub(super) fn add_split(&mut self, record: &Record, add: &Add) {
        self.pointers.avail_idx = Some(add.position.advance(1));
        let Some(number) = self.slot_number(add.position) else {
            return;
        };
        // Under its head it stands once.
        self.free(add.head);
        let slot = Slot::added(record, add, add.position, 0);
        // What stood here before has ended, whether its end was seen or not.
        if let Some(before) = self.available.insert(number, slot)
            && before.state != SlotState::Free
        {
            self.standing.remove(before.head);
        }
        let standing = Standing {
            first: add.position,
            many: 1,
        };
        self.standing.insert(add.head, standing);
    }

    pub(super) fn kick_split(&mut self, flags: Flags, kick: &Notification) {
        if flags.contains(Flags::EVENT_IDX) {
            self.pointers.avail_event = Some(kick.event);
        }
        let published = kick.new.distance_from(kick.old).min(self.size);
        for back in 1..=published {
            let index = RingIndex(kick.new.0.wrapping_sub(back));
            if let Some(slot) = self.slot_at(index)
                && slot.state == SlotState::Added
            {
                slot.state = SlotState::Published;
            }
        }
    }

    pub(super) fn taken_split(&mut self, taken: &Taken) {
        self.pointers.taken = Some(taken.position.advance(1));
        if let Some(slot) = self.slot_at(taken.position)
            && matches!(slot.state, SlotState::Added | SlotState::Published)
        {
            slot.state = SlotState::Taken;
        }
    }

    pub(super) fn returned_split(&mut self, returned: &Returned) {
        let length = returned.used_length;
        self.used_entry(returned.position, returned.head, length, false);
        self.advance(returned.head, SlotState::Returned);
        self.used_up_to(returned.position.advance(1));
    }

    pub(super) fn callback_split(&mut self, flags: Flags, callback: &Callback) {
        let pointers = &mut self.pointers;
        pointers.last_used.get_or_insert(callback.last_used);
        if flags.contains(Flags::EVENT_IDX) {
            pointers.used_event = Some(callback.used_event);
        }
        self.used_up_to(callback.used_index);
        let announced = callback
            .used_index
            .distance_from(callback.last_used)
            .min(self.size);
        for back in 1..=announced {
            let index = RingIndex(callback.used_index.0.wrapping_sub(back));
            let entry = self
                .slot_number(index)
                .and_then(|number| self.used.get(number))
                .filter(|entry| entry.index == index && !entry.harvested);
            if let Some(entry) = entry {
                self.advance(entry.head, SlotState::Announced);
            }
        }
    }

    pub(super) fn used_split(&mut self, used: &Used) {
        self.used_up_to(used.used_index);
        // An entry that broke the queue was not taken back.
        if used.error != 0 {
            return;
        }
        self.pointers.last_used = Some(used.position.advance(1));
        self.used_entry(used.position, used.head, used.used_length, true);
        self.free(used.head);
    }
}
