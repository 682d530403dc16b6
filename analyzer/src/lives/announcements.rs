//! Which callback and which interrupt decision speak of a used entry.

use std::collections::VecDeque;

use virtscope_record::{RingIndex, Timestamp};

use crate::index_space::IndexSpace;

/// Interrupt decisions remembered at most; there is no need for more than entries
/// that are not taken back yet.
const INTERRUPT_LIMIT: usize = 1024;

/// Callbacks and interrupt decisions about used entries that the driver has not
/// taken back.
#[derive(Debug, Default)]
pub(super) struct Announcements {
    /// Each announces entries that none before it did. Oldest first.
    callbacks: VecDeque<Announced>,
    /// The same of a packed ring, which has no used index to tell of more than the
    /// next entry.
    packed: VecDeque<PackedCallback>,
    interrupts: VecDeque<Interrupt>,
    /// The next entry the driver will take, as far as used records tell.
    harvested: Option<RingIndex>,
}

#[derive(Clone, Copy, Debug)]
struct Announced {
    used_index: RingIndex,
    time: Timestamp,
}

#[derive(Clone, Copy, Debug)]
struct PackedCallback {
    /// The entry that was next then, and was used.
    last_used: RingIndex,
    time: Timestamp,
}

/// What is known of an entry's announcement on a packed ring.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct PackedAnnouncement {
    /// The first callback that is known to have announced it.
    pub(super) callback: Option<Timestamp>,
    /// One before that may have: when the entry was returned is not known.
    pub(super) is_unclear: bool,
}

#[derive(Clone, Copy, Debug)]
struct Interrupt {
    old: RingIndex,
    new: RingIndex,
    time: Timestamp,
    needed: bool,
}

impl Announcements {
    pub(super) fn callback(&mut self, space: IndexSpace, used_index: RingIndex, time: Timestamp) {
        let announced_before = self.callbacks.back().map(|last| last.used_index);
        let says_more = announced_before
            .or(self.harvested)
            .is_none_or(|mark| space.is_before(mark, used_index));
        if says_more {
            self.callbacks.push_back(Announced { used_index, time });
        }
        // Forged indices only: there are never more than entries.
        if self.callbacks.len() > 1 << 15 {
            self.callbacks.pop_front();
        }
    }

    /// When the entry at `position`, which the driver takes now, was announced.
    pub(super) fn callback_for(
        &mut self,
        space: IndexSpace,
        position: RingIndex,
    ) -> Option<Timestamp> {
        let next = space.after(position);
        self.harvested = Some(next);
        while let Some(first) = self.callbacks.front() {
            if space.is_before(position, first.used_index) {
                return Some(first.time);
            }
            self.callbacks.pop_front();
        }
        None
    }

    /// A callback on a packed ring that found the entry at `last_used` used.
    pub(super) fn packed_callback(&mut self, last_used: RingIndex, time: Timestamp) {
        // More than entries are there only in forged records.
        if self.packed.len() == 1 << 15 {
            self.packed.pop_front();
        }
        self.packed.push_back(PackedCallback { last_used, time });
    }

    /// When the entry of a packed ring at `position`, which the driver takes now, was
    /// announced. A callback speaks of the entry that was next. It may have spoken of
    /// those behind it, but that is known only where the device half says when it
    /// `returned` them.
    pub(super) fn packed_callback_for(
        &mut self,
        space: IndexSpace,
        position: RingIndex,
        added: Option<Timestamp>,
        returned: Option<Timestamp>,
    ) -> PackedAnnouncement {
        // Positions come again: of what was added later a callback cannot have spoken,
        // nor of what was returned later; nor of entries further on, which were
        // returned later still.
        let is_too_late = |callback: &PackedCallback| {
            let after = |time: Option<Timestamp>| time.is_some_and(|time| callback.time < time);
            after(added) || (callback.last_used != position && after(returned))
        };
        while self.packed.front().is_some_and(is_too_late) {
            self.packed.pop_front();
        }
        let mut found = PackedAnnouncement::default();
        for callback in &self.packed {
            if space.is_before(position, callback.last_used) {
                break;
            }
            if callback.last_used == position || returned.is_some() {
                found.callback = Some(callback.time);
                break;
            }
            found.is_unclear = true;
        }
        found
    }

    pub(super) fn interrupt(
        &mut self,
        space: IndexSpace,
        old: RingIndex,
        new: RingIndex,
        time: Timestamp,
        needed: bool,
    ) {
        if space.ahead(old, new) == 0 {
            return;
        }
        if self.interrupts.len() == INTERRUPT_LIMIT {
            self.interrupts.pop_front();
        }
        self.interrupts.push_back(Interrupt {
            old,
            new,
            time,
            needed,
        });
        // What lies well behind the driver is of no use any more; a little is
        // kept for used lives that wait for their device half.
        while let (Some(first), Some(harvested)) = (self.interrupts.front(), self.harvested)
            && space.is_before(first.new, harvested)
            && space.ahead(first.new, harvested) > 256
        {
            self.interrupts.pop_front();
        }
    }

    /// The decision about the entry at `position`: when, and the verdict. It was made
    /// after the entry was, `not_before`: the positions of a packed ring come again.
    pub(super) fn interrupt_for(
        &self,
        space: IndexSpace,
        position: RingIndex,
        not_before: Timestamp,
    ) -> Option<(Timestamp, bool)> {
        self.interrupts
            .iter()
            .rev()
            .take_while(|interrupt| interrupt.time >= not_before)
            .find(|interrupt| space.contains(interrupt.old, interrupt.new, position))
            .map(|interrupt| (interrupt.time, interrupt.needed))
    }
}
