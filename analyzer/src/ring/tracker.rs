//! Follows a ring record by record: what both layouts have in common.

use virtscope_record::{Body, CallbackSwitch, Flags, Kind, Missed, QueueFacts, Record, RingIndex};

use super::{Drawing, Pointers, RingModel, Slot, SlotState, UsedSlot};
use crate::index_space::IndexSpace;
use crate::paged::Paged;

/// Knows a ring as far as records have told it. What differs by layout stands in
/// `split.rs` and `packed.rs`.
///
/// Only slots that something was seen of take room, so that a capture cannot
/// claim huge rings for nothing.
#[derive(Debug, Default)]
pub(crate) struct RingTracker {
    pub(super) drawing: Drawing,
    pub(super) size: u16,
    pub(super) space: IndexSpace,
    pub(super) available: Paged<Slot>,
    pub(super) used: Paged<UsedSlot>,
    pub(super) pointers: Pointers,
    /// Where each head in flight stands.
    pub(super) standing: Paged<Standing>,
}

/// Where a buffer in flight was put. Of a packed ring it may stand there no more:
/// its descriptors are free to be written over as soon as others were returned in
/// them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing {
    pub(super) first: RingIndex,
    /// Slots from there on: the descriptors of a packed ring's list, else one.
    pub(super) many: u16,
}

impl RingTracker {
    /// Slots that [`model`](Self::model) will have.
    pub(crate) fn slots(&self) -> usize {
        match self.drawing {
            Drawing::Split | Drawing::Packed => self.size.into(),
            Drawing::SizeUnknown => 0,
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
                .map(|number| self.available.get(number).unwrap_or_default())
                .collect(),
            used: numbers.map(|number| self.used.get(number)).collect(),
            pointers: self.pointers,
        }
    }

    pub(crate) fn observe(&mut self, record: &Record, body: &Body) {
        let is_packed = self.drawing == Drawing::Packed;
        match body {
            Body::QueueFacts(facts) => self.facts(facts),
            Body::Reset(_) => self.restart(),
            Body::Add(add) => {
                self.pointers.free = Some(add.free);
                if is_packed {
                    self.add_packed(record, add);
                } else {
                    self.add_split(record, add);
                }
            }
            Body::AddFailed(add) => self.pointers.free = Some(add.free),
            Body::Kick(kick) => {
                let pointers = &mut self.pointers;
                let needed = record.flags().contains(Flags::NOTIFICATION_NEEDED);
                pointers.kicked = Some(kick.new);
                pointers.free = Some(kick.free);
                pointers.last_kick = Some((needed, kick.reason));
                if is_packed {
                    self.kick_packed(kick);
                } else {
                    self.kick_split(record.flags(), kick);
                }
            }
            Body::Taken(taken) if is_packed => self.taken_packed(taken),
            Body::Taken(taken) => self.taken_split(taken),
            Body::Returned(returned) if is_packed => self.returned_packed(returned),
            Body::Returned(returned) => self.returned_split(returned),
            Body::Callback(callback) if is_packed => {
                self.callback_packed(record.flags(), callback);
            }
            Body::Callback(callback) => self.callback_split(record.flags(), callback),
            Body::Used(used) => {
                self.pointers.free = Some(used.free);
                // An entry that broke the queue was not taken back.
                match (is_packed, used.error) {
                    (true, 0) => self.used_packed(used),
                    (false, _) => self.used_split(used),
                    (true, _) => {}
                }
            }
            Body::CallbacksDisabled(switch) => self.switch(record.flags(), switch, false),
            Body::CallbacksEnabled(switch) => self.switch(record.flags(), switch, true),
            Body::Detach(detach) => {
                self.free(detach.head);
                self.pointers.free = Some(detach.free);
            }
            Body::Missed(missed) => self.missed(missed),
            Body::InFlight(_) | Body::Notify(_) | Body::Statistics(_) | Body::InterruptSent(_) => {}
        }
    }

    /// Empties the ring: a reset, or a new generation.
    pub(crate) fn restart(&mut self) {
        self.standing.clear();
        self.available.clear();
        self.used.clear();
        self.pointers = Pointers::default();
    }

    fn facts(&mut self, facts: &QueueFacts) {
        let drawing = Drawing::of(facts.size, facts.layout);
        if (drawing, facts.size) != (self.drawing, self.size) {
            self.restart();
            (self.drawing, self.size) = (drawing, facts.size);
            self.space = IndexSpace::new(facts.size, facts.layout);
        }
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

    /// Operations left no record. A buffer of which it is known that it was taken
    /// back stands there no more.
    fn missed(&mut self, missed: &Missed) {
        let pointers = &mut self.pointers;
        pointers.free = Some(missed.free);
        match missed.operation() {
            Some(Kind::Add) => pointers.avail_idx = Some(missed.new),
            Some(Kind::Kick) => pointers.kicked = Some(missed.new),
            Some(Kind::Used) => {
                pointers.last_used = Some(missed.new);
                self.used_up_to(missed.new);
                if let Some(head) = missed.head() {
                    self.free(head);
                }
            }
            _ => {}
        }
    }

    /// Puts a used entry where `index` says.
    pub(super) fn used_entry(&mut self, index: RingIndex, head: u16, length: u32, harvested: bool) {
        let Some(slot) = self.slot_number(index) else {
            return;
        };
        // The device half's word may come after the driver's: then it says nothing
        // new. A buffer that is in flight was not taken back.
        let is_late = !harvested
            && self.standing.get(head).is_none()
            && self
                .used
                .get(slot)
                .is_some_and(|entry| entry.index == index);
        if !is_late {
            let entry = UsedSlot {
                index,
                head,
                length,
                harvested,
                overwritten: false,
            };
            self.used.insert(slot, entry);
        }
    }

    /// Moves the used index to `index` if that lies further.
    pub(super) fn used_up_to(&mut self, index: RingIndex) {
        let used_idx = &mut self.pointers.used_idx;
        if used_idx.is_none_or(|old| self.space.distance(old, index) > 0) {
            *used_idx = Some(index);
        }
    }

    /// Moves the buffer under `head` on to `state`, never back.
    pub(super) fn advance(&mut self, head: u16, state: SlotState) {
        self.each_slot_of(head, |slot| {
            if slot.state < state {
                slot.state = state;
            }
        });
    }

    /// The buffer under `head` is in flight no more.
    pub(super) fn free(&mut self, head: u16) {
        self.each_slot_of(head, |slot| slot.state = SlotState::Free);
        self.standing.remove(head);
    }

    /// The slots in which the buffer under `head` still stands.
    fn each_slot_of(&mut self, head: u16, mut each: impl FnMut(&mut Slot)) {
        let Some(Standing { first, many }) = self.standing.get(head) else {
            return;
        };
        for place in 0..many {
            let index = self.space.advance(first, place);
            if let Some(slot) = self
                .slot_number(index)
                .and_then(|n| self.available.get_mut(n))
                && (slot.index, slot.head) == (Some(index), head)
            {
                each(slot);
            }
        }
    }

    /// The slot of `index`, if there is a ring to draw and it is one of it.
    pub(super) fn slot_number(&self, index: RingIndex) -> Option<u16> {
        match self.drawing {
            Drawing::SizeUnknown => None,
            Drawing::Split => Some(index.slot(self.size)),
            Drawing::Packed => Some(index.0 & 0x7fff).filter(|offset| *offset < self.size),
        }
    }

    /// The slot of `index`, if that is what stands there.
    pub(super) fn slot_at(&mut self, index: RingIndex) -> Option<&mut Slot> {
        let number = self.slot_number(index)?;
        self.available
            .get_mut(number)
            .filter(|slot| slot.index == Some(index))
    }
}
