//! How used lives end: when they have all there can be, or have waited enough.

use std::collections::VecDeque;

use virtscope_record::{Record, Timestamp};

use super::announcements::Announcements;
use super::holes::Gap;
use super::open::Open;
use super::pool::{Id, Pool};
use super::{Lives, SETTLE_NS};
use crate::life::{Incomplete, Piece};
use crate::losses::Step;

/// Used lives that wait for holes to be filled, at most.
const UNDECIDED_LIMIT: usize = 1024;

/// Used lives that wait for pieces of their own, at most, where the ring's size is
/// not known.
const SETTLE_LIMIT: usize = 1024;

/// Used lives that wait for pieces of their own, in the order in which they were
/// used.
#[derive(Debug, Default)]
pub(super) struct Settling {
    ids: VecDeque<Id>,
    /// Those of them that the device half has not said to have returned.
    unreturned: usize,
    /// One of them got what it waited for, or is new.
    look_again: bool,
    /// When the first of them will have waited enough.
    due: Timestamp,
}

impl Settling {
    pub(super) fn push(&mut self, id: Id, open: &Open) {
        let moments = &open.life.moments;
        self.unreturned += usize::from(moments.returned.is_none());
        self.look_again = true;
        self.ids.push_back(id);
    }

    /// A life among them got something that it may have waited for.
    pub(super) fn look_again(&mut self) {
        self.look_again = true;
    }

    /// Whether the device half has yet to say of one that it returned it.
    pub(super) fn any_unreturned(&self) -> bool {
        self.unreturned > 0
    }

    /// The device half said so of one of them.
    pub(super) fn note_returned(&mut self) {
        self.unreturned = self.unreturned.saturating_sub(1);
        self.look_again = true;
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = Id> {
        self.ids.iter().copied()
    }

    /// Whether looking at them could end one.
    #[inline]
    fn is_worth_a_look(&self, now: Timestamp, limit: usize) -> bool {
        !self.ids.is_empty() && (self.look_again || now >= self.due || self.ids.len() > limit)
    }

    fn remove(&mut self, at: usize, pool: &Pool) -> Option<Id> {
        let id = self.ids.remove(at)?;
        if pool.at(id).life.moments.returned.is_none() {
            self.unreturned = self.unreturned.saturating_sub(1);
        }
        Some(id)
    }

    fn take_all(&mut self) -> VecDeque<Id> {
        self.unreturned = 0;
        std::mem::take(&mut self.ids)
    }
}

impl Lives {
    /// Takes in where a record of the driver's half stands in its sequence, before
    /// the record itself.
    pub(crate) fn follow(&mut self, record: &Record, step: Step) {
        if self.holes.follow_next(record, &step) {
            return;
        }
        let may_fill = matches!(step, Step::Late(_));
        let confirmed = self.holes.follow(record, step);
        self.confirm(&confirmed);
        if may_fill || !confirmed.is_empty() {
            self.decide();
        }
    }

    /// The clock was set back to `time`: how long anything took that had begun before
    /// is not known.
    pub(crate) fn set_back(&mut self, time: Timestamp) {
        let open: Vec<_> = self.pool.oldest_first().collect();
        let used = self.settling.ids().chain(self.undecided.iter().copied());
        for id in open.into_iter().chain(used.collect::<Vec<_>>()) {
            self.pool.at_mut(id).set_back = true;
        }
        self.holes.set_back(time);
        self.early.clear();
        self.announcements = Announcements::default();
        self.settling.look_again();
    }

    /// The driver's half lost something for certain: what is in flight was touched
    /// by it.
    pub(crate) fn gap(&mut self) {
        let gap = self.holes.certain();
        self.confirm(&[gap]);
    }

    /// Ends the used lives that have all there can be, or have waited enough by
    /// `now`.
    #[inline]
    pub(crate) fn settle(&mut self, now: Timestamp) {
        if self.holes.any_open() || self.settling.is_worth_a_look(now, self.settle_limit()) {
            self.settle_some(now);
        }
    }

    /// Used lives that wait for pieces of their own, at most.
    #[inline]
    fn settle_limit(&self) -> usize {
        match self.size {
            0 => SETTLE_LIMIT,
            size => 2 * usize::from(size),
        }
    }

    fn settle_some(&mut self, now: Timestamp) {
        let confirmed = self.holes.advance(now);
        if !confirmed.is_empty() {
            self.confirm(&confirmed);
            self.decide();
        }
        let limit = self.settle_limit();
        if !self.settling.is_worth_a_look(now, limit) {
            return;
        }
        self.settling.look_again = false;
        let device_half_seen = self.device_half_seen;
        let mut excess = self.settling.ids.len().saturating_sub(limit);
        let mut first_used: Option<Timestamp> = None;
        let mut at = 0;
        while let Some(id) = self.settling.ids.get(at).copied() {
            let open = self.pool.at(id);
            if excess == 0 && open.waits(device_half_seen, now) {
                let used = open.life.moments.used.unwrap_or_default();
                first_used = Some(first_used.map_or(used, |first| first.min(used)));
                at += 1;
                continue;
            }
            excess = excess.saturating_sub(1);
            if let Some(id) = self.settling.remove(at, &self.pool) {
                self.end_or_wait(id);
            }
        }
        let first_used = first_used.map_or(u64::MAX, Timestamp::as_nanos);
        self.settling.due = Timestamp::from_nanos(first_used.saturating_add(SETTLE_NS));
    }

    /// Used lives wait no longer for pieces of their own.
    pub(super) fn flush_settling(&mut self) {
        for id in self.settling.take_all() {
            self.end_or_wait(id);
        }
    }

    /// The stream has ended. Lives in flight that a loss touched are incomplete:
    /// their return may be among what was lost. The others stay in flight.
    pub(crate) fn finish(&mut self) {
        let confirmed = self.holes.confirm_all();
        self.confirm(&confirmed);
        self.decide();
        self.flush_settling();
        let touched: Vec<_> = self
            .pool
            .oldest_first()
            .filter(|id| self.holes.is_touched(self.pool.at(*id).gaps_at_add))
            .collect();
        for id in touched {
            if self.close(self.pool.at(id).life.head).is_none() {
                continue;
            }
            // Which of several it was about is not known, unless there is one.
            let reason = if self.nameless > 0 && self.nameless as usize > self.pool.in_flight() {
                Incomplete::CompletionMissed
            } else {
                Incomplete::Lost(Piece::Used)
            };
            self.end_incomplete(id, reason);
        }
    }

    /// Marks the used lives that these gaps touched. Those in flight are judged
    /// when they are used.
    fn confirm(&mut self, gaps: &[Gap]) {
        if gaps.is_empty() {
            return;
        }
        for id in self.settling.ids().chain(self.undecided.iter().copied()) {
            let open = self.pool.at_mut(id);
            open.touched |= gaps.iter().any(|gap| open.spans(*gap));
        }
    }

    /// Looks again at the used lives that wait for holes.
    fn decide(&mut self) {
        for id in std::mem::take(&mut self.undecided) {
            self.end_or_wait(id);
        }
    }

    /// Ends a used life if it is known whether a loss touched it.
    fn end_or_wait(&mut self, id: Id) {
        let open = self.pool.at_mut(id);
        if open.touched || !self.holes.is_open(open.gaps_at_add, open.gaps_at_used) {
            open.end();
            self.ended.push(id);
            return;
        }
        self.undecided.push_back(id);
        if self.undecided.len() > UNDECIDED_LIMIT
            && let Some(oldest) = self.undecided.pop_front()
        {
            // What can't be waited for is not taken for good.
            let open = self.pool.at_mut(oldest);
            open.touched = true;
            open.end();
            self.ended.push(oldest);
        }
    }
}

impl Open {
    /// Whether the gap was found between this buffer's add and its return.
    fn spans(&self, gap: Gap) -> bool {
        self.gaps_at_add < gap && gap <= self.gaps_at_used
    }
}
