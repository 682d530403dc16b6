//! What the device half says of a buffer, where the device is ours.

use virtscope_record::{Flags, Notification, Record, Returned, Taken};

use super::Lives;
use super::early::{Early, EarlyPiece};
use super::open::Open;

impl Lives {
    pub(crate) fn taken(&mut self, record: &Record, taken: &Taken) {
        self.device_half_seen = true;
        let time = record.time();
        // What comes after its end is about another, whose add was lost.
        let is_in_time = |open: &Open| open.life.moments.used.is_none_or(|used| time <= used);
        let is_it = |open: &Open| {
            open.life.head == taken.head
                && open.life.position == Some(taken.position)
                && open.life.moments.taken.is_none()
                && is_in_time(open)
        };
        // Lives that were used come first, because they are older, unless this one
        // was added before: then they were over by that time.
        let in_flight = self.heads.get(taken.head);
        let is_of_the_open =
            |open: &Open| is_it(open) && open.life.moments.added.is_some_and(|added| added <= time);
        let found = in_flight
            .filter(|id| is_of_the_open(self.pool.at(*id)))
            .or_else(|| self.settling.ids().find(|id| is_it(self.pool.at(*id))))
            .or_else(|| in_flight.filter(|id| is_it(self.pool.at(*id))));
        match found {
            Some(id) => {
                let open = self.pool.at_mut(id);
                open.life.moments.taken = Some(time);
                if open.life.moments.used.is_some() {
                    self.settling.look_again();
                }
            }
            None => self.remember(Early::new(
                taken.head,
                time,
                EarlyPiece::Taken(taken.position),
            )),
        }
        self.settle(time);
    }

    pub(crate) fn returned(&mut self, record: &Record, returned: &Returned) {
        self.device_half_seen = true;
        let time = record.time();
        let is_in_time = |open: &Open| open.life.moments.used.is_none_or(|used| time <= used);
        let is_it = |open: &Open| {
            let life = &open.life;
            life.head == returned.head
                && life.moments.returned.is_none()
                && is_in_time(open)
                && life
                    .used_position
                    .is_none_or(|position| position == returned.position)
                && (open.begun_before || life.moments.added.is_some_and(|added| added <= time))
        };
        let used = if self.settling.any_unreturned() {
            self.settling.ids().find(|id| is_it(self.pool.at(*id)))
        } else {
            None
        };
        if used.is_some() {
            self.settling.note_returned();
        }
        let found = used.or_else(|| {
            self.heads
                .get(returned.head)
                .filter(|id| is_it(self.pool.at(*id)))
        });
        match found {
            Some(id) => {
                let open = self.pool.at_mut(id);
                open.returned_position = Some(returned.position);
                open.life.moments.returned = Some(time);
            }
            None => self.remember(Early::new(
                returned.head,
                time,
                EarlyPiece::Returned(returned.position),
            )),
        }
        self.settle(time);
    }

    pub(crate) fn interrupt(&mut self, record: &Record, interrupt: &Notification) {
        self.device_half_seen = true;
        let needed = record.flags().contains(Flags::NOTIFICATION_NEEDED);
        let time = record.time();
        self.announcements
            .interrupt(self.space, interrupt.old, interrupt.new, time, needed);
        let mut any = false;
        for id in self.settling.ids() {
            let open = self.pool.at_mut(id);
            if open.life.interrupted.is_none() {
                open.interrupt(&self.announcements, self.space);
                any |= open.life.interrupted.is_some();
            }
        }
        if any {
            self.settling.look_again();
        }
        self.settle(time);
    }

    fn remember(&mut self, early: Early) {
        if self.early.len() == Early::LIMIT {
            self.early.pop_front();
        }
        self.early.push_back(early);
    }
}
