//! What the device half says of a buffer, where the device is ours.

use virtscope_record::{Flags, Notification, Record, Returned, Taken};

use super::Lives;
use super::early::{Early, EarlyPiece};
use super::open::Open;

impl Lives {
    pub(crate) fn taken(&mut self, record: &Record, taken: &Taken) {
        self.device_half_seen = true;
        let time = record.time();
        let found = self.find_by(taken.head, |open| {
            open.life.position == Some(taken.position) && open.life.moments.taken.is_none()
        });
        match found {
            Some(open) => open.life.moments.taken = Some(time),
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
        let found = self.find_by(returned.head, |open| {
            let moments = &open.life.moments;
            moments.returned.is_none()
                && open
                    .life
                    .used_position
                    .is_none_or(|position| position == returned.position)
                && moments.added.is_some_and(|added| added <= time)
        });
        match found {
            Some(open) => {
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
        for open in &mut self.settling {
            open.interrupt(&self.announcements, self.space);
        }
        self.settle(time);
    }

    fn remember(&mut self, early: Early) {
        if self.early.len() == Early::LIMIT {
            self.early.pop_front();
        }
        self.early.push_back(early);
    }

    pub(super) fn take_early(&mut self, open: &mut Open) {
        if !self.early.is_empty() {
            self.early.retain(|early| !early.apply(open));
        }
    }
}
