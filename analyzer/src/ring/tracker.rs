//! Follows a ring record by record.

use std::collections::HashMap;

use virtscope_record::{
    Add, Body, Callback, CallbackSwitch, Flags, Notification, QueueFacts, Record, RingIndex, Taken,
    Used,
};

use super::{Drawing, Pointers, RingModel, Slot, SlotState, UsedSlot};

/// Knows a ring as far as records have told it.
///
/// Only slots that something was seen of take room, so that a capture cannot
/// claim huge rings for nothing.
#[derive(Debug, Default)]
pub(crate) struct RingTracker {
    drawing: Drawing,
    size: u16,
    available: HashMap<u16, Slot>,
    used: HashMap<u16, UsedSlot>,
    pointers: Pointers,
    /// In which slot of the available ring each head in flight stands.
    slot_of: HashMap<u16, u16>,
}

impl RingTracker {
    /// Slots that [`model`](Self::model) will have.
    pub(crate) fn slots(&self) -> usize {
        match self.drawing {
            Drawing::Split => self.size.into(),
            Drawing::SizeUnknown | Drawing::PackedNotDrawn => 0,
        }
    }

    /// The ring, slot by slot.
    pub(crate) fn model(&self) -> RingModel {
        let numbers = 0..self.slots() as u16;
        RingModel {
            drawing: self.drawing,
            size: self.size,
            available: numbers
                .clone()
                .map(|number| self.available.get(&number).copied().unwrap_or_default())
                .collect(),
            used: numbers
                .map(|number| self.used.get(&number).copied())
                .collect(),
            pointers: self.pointers,
        }
    }

    pub(crate) fn observe(&mut self, record: &Record, body: &Body) {
        match body {
            Body::QueueFacts(facts) => self.facts(facts),
            Body::Reset(_) => self.restart(),
            _ if self.drawing == Drawing::PackedNotDrawn => {}
            Body::Add(add) => self.add(record, add),
            Body::AddFailed(add) => self.pointers.free = Some(add.free),
            Body::Kick(kick) => self.kick(record.flags(), kick),
            Body::Taken(taken) => self.taken(taken),
            Body::Returned(returned) => {
                self.used_entry(
                    returned.position,
                    returned.head,
                    returned.used_length,
                    false,
                );
                self.advance(returned.head, SlotState::Returned);
                self.used_up_to(returned.position.advance(1));
            }
            Body::Callback(callback) => self.callback(record.flags(), callback),
            Body::Used(used) => self.used(used),
            Body::CallbacksDisabled(switch) => self.switch(record.flags(), switch, false),
            Body::CallbacksEnabled(switch) => self.switch(record.flags(), switch, true),
            Body::Detach(detach) => {
                self.advance(detach.head, SlotState::Free);
                self.pointers.free = Some(detach.free);
            }
            // A missed operation moved the ring on by a way that is not known.
            Body::Missed(_)
            | Body::InFlight(_)
            | Body::Notify(_)
            | Body::Statistics(_)
            | Body::InterruptSent(_) => {}
        }
    }

    /// Empties the ring: a reset, or a new generation.
    pub(crate) fn restart(&mut self) {
        self.slot_of.clear();
        self.available.clear();
        self.used.clear();
        self.pointers = Pointers::default();
    }

    fn facts(&mut self, facts: &QueueFacts) {
        let drawing = Drawing::of(facts.size, facts.layout);
        if (drawing, facts.size) != (self.drawing, self.size) {
            self.restart();
            (self.drawing, self.size) = (drawing, facts.size);
        }
    }

    fn add(&mut self, record: &Record, add: &Add) {
        let pointers = &mut self.pointers;
        pointers.avail_idx = Some(add.position.advance(1));
        pointers.free = Some(add.free);
        let Some(number) = self.slot_number(add.position) else {
            return;
        };
        let slot = Slot {
            state: SlotState::Added,
            index: Some(add.position),
            head: add.head,
            token: record.token(),
            added: record.time(),
            segments: (add.readable_segments, add.writable_segments),
            bytes: (add.readable_bytes, add.writable_bytes),
            descriptors: add.descriptors,
        };
        // What stood here before has ended, whether its end was seen or not.
        if let Some(before) = self.available.insert(number, slot)
            && self.slot_of.get(&before.head) == Some(&number)
        {
            self.slot_of.remove(&before.head);
        }
        if let Some(stale) = self.slot_of.insert(add.head, number)
            && stale != number
            && let Some(slot) = self.available.get_mut(&stale)
        {
            slot.state = SlotState::Free;
        }
    }

    fn kick(&mut self, flags: Flags, kick: &Notification) {
        let pointers = &mut self.pointers;
        pointers.kicked = Some(kick.new);
        pointers.free = Some(kick.free);
        pointers.last_kick = Some((flags.contains(Flags::NOTIFICATION_NEEDED), kick.reason));
        if flags.contains(Flags::EVENT_IDX) {
            pointers.avail_event = Some(kick.event);
        }
        let published = kick.new.distance_from(kick.old).min(self.size);
        for back in 1..=published {
            let index = RingIndex(kick.new.0.wrapping_sub(back));
            if let Some(slot) = self.slot_at(index)
                && slot.index == Some(index)
                && slot.state == SlotState::Added
            {
                slot.state = SlotState::Published;
            }
        }
    }

    fn taken(&mut self, taken: &Taken) {
        self.pointers.taken = Some(taken.position.advance(1));
        if let Some(slot) = self.slot_at(taken.position)
            && slot.index == Some(taken.position)
            && matches!(slot.state, SlotState::Added | SlotState::Published)
        {
            slot.state = SlotState::Taken;
        }
    }

    fn callback(&mut self, flags: Flags, callback: &Callback) {
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
            let head = self.slot_number(index).and_then(|number| {
                let entry = self.used.get(&number)?;
                (entry.index == index && !entry.harvested).then_some(entry.head)
            });
            if let Some(head) = head {
                self.advance(head, SlotState::Announced);
            }
        }
    }

    fn used(&mut self, used: &Used) {
        self.pointers.free = Some(used.free);
        self.used_up_to(used.used_index);
        // An entry that broke the queue was not taken back.
        if used.error != 0 {
            return;
        }
        self.pointers.last_used = Some(used.position.advance(1));
        self.used_entry(used.position, used.head, used.used_length, true);
        self.advance(used.head, SlotState::Free);
    }

    fn switch(&mut self, flags: Flags, switch: &CallbackSwitch, enabled: bool) {
        let pointers = &mut self.pointers;
        pointers.callbacks_enabled = Some(enabled);
        pointers.last_used = Some(switch.last_used);
        pointers.free = Some(switch.free);
        if flags.contains(Flags::EVENT_IDX) {
            pointers.used_event = Some(switch.used_event);
        }
    }

    fn used_entry(&mut self, index: RingIndex, head: u16, length: u32, harvested: bool) {
        let Some(number) = self.slot_number(index) else {
            return;
        };
        // The device half's word may come after the driver's.
        let before = self.used.get(&number);
        let harvested =
            harvested || before.is_some_and(|entry| entry.index == index && entry.harvested);
        let entry = UsedSlot {
            index,
            head,
            length,
            harvested,
        };
        self.used.insert(number, entry);
    }

    /// Moves the used index to `index` if that lies further.
    fn used_up_to(&mut self, index: RingIndex) {
        let used_idx = &mut self.pointers.used_idx;
        let further = used_idx.is_none_or(|old| index.distance_from(old).cast_signed() > 0);
        if further {
            *used_idx = Some(index);
        }
    }

    /// Moves the buffer under `head` on to `state`, never back.
    fn advance(&mut self, head: u16, state: SlotState) {
        let Some(number) = self.slot_of.get(&head).copied() else {
            return;
        };
        if let Some(slot) = self.available.get_mut(&number) {
            if state == SlotState::Free {
                slot.state = SlotState::Free;
                self.slot_of.remove(&head);
            } else if slot.state < state {
                slot.state = state;
            }
        }
    }

    fn slot_number(&self, index: RingIndex) -> Option<u16> {
        (self.drawing == Drawing::Split).then(|| index.slot(self.size))
    }

    fn slot_at(&mut self, index: RingIndex) -> Option<&mut Slot> {
        let number = self.slot_number(index)?;
        self.available.get_mut(&number)
    }
}
