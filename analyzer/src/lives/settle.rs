//! How used lives end: when they have all there can be, or have waited enough.

use virtscope_record::{Record, Timestamp};

use super::holes::Gap;
use super::open::Open;
use super::{Lives, SETTLE_LIMIT};
use crate::life::{Incomplete, Piece};
use crate::losses::Step;

/// Used lives that wait for holes to be filled, at most.
const UNDECIDED_LIMIT: usize = 1024;

impl Lives {
    /// Takes in where a record of the driver's half stands in its sequence, before
    /// the record itself.
    pub(crate) fn follow(&mut self, record: &Record, step: Step) {
        let may_fill = matches!(step, Step::Late(_));
        let confirmed = self.holes.follow(record, step);
        self.confirm(&confirmed);
        if may_fill || !confirmed.is_empty() {
            self.decide();
        }
    }

    /// The driver's half lost something for certain: what is in flight was touched
    /// by it.
    pub(crate) fn gap(&mut self) {
        let gap = self.holes.certain();
        self.confirm(&[gap]);
    }

    /// Ends the used lives that have all there can be, or have waited enough by
    /// `now`.
    pub(crate) fn settle(&mut self, now: Timestamp) {
        let confirmed = self.holes.advance(now);
        if !confirmed.is_empty() {
            self.confirm(&confirmed);
            self.decide();
        }
        if self.settling.is_empty() {
            return;
        }
        let limit = match self.size {
            0 => SETTLE_LIMIT,
            size => 2 * usize::from(size),
        };
        let device_half_seen = self.device_half_seen;
        let mut excess = self.settling.len().saturating_sub(limit);
        let mut at = 0;
        while let Some(open) = self.settling.get(at) {
            if excess == 0 && open.waits(device_half_seen, now) {
                at += 1;
                continue;
            }
            excess = excess.saturating_sub(1);
            if let Some(open) = self.settling.remove(at) {
                self.end_or_wait(open);
            }
        }
    }

    /// Used lives wait no longer for pieces of their own.
    pub(super) fn flush_settling(&mut self) {
        for open in std::mem::take(&mut self.settling) {
            self.end_or_wait(open);
        }
    }

    /// The stream has ended. Lives in flight that a loss touched are incomplete:
    /// their return may be among what was lost. The others stay in flight.
    pub(crate) fn finish(&mut self) {
        let confirmed = self.holes.confirm_all();
        self.confirm(&confirmed);
        self.decide();
        self.flush_settling();
        let mut touched: Vec<_> = self
            .open
            .iter()
            .filter(|(_, open)| self.holes.is_touched(open.gaps_at_add))
            .map(|(head, open)| (open.life.number, *head))
            .collect();
        touched.sort_unstable();
        for (_, head) in touched {
            if let Some(open) = self.close(head) {
                self.ended
                    .push(open.end_incomplete(Incomplete::Lost(Piece::Used)));
            }
        }
    }

    /// Marks the used lives that these gaps touched. Those in flight are judged
    /// when they are used.
    fn confirm(&mut self, gaps: &[Gap]) {
        if gaps.is_empty() {
            return;
        }
        for open in self.settling.iter_mut().chain(&mut self.undecided) {
            open.touched |= gaps.iter().any(|gap| open.spans(*gap));
        }
    }

    /// Looks again at the used lives that wait for holes.
    fn decide(&mut self) {
        for open in std::mem::take(&mut self.undecided) {
            self.end_or_wait(open);
        }
    }

    /// Ends a used life if it is known whether a loss touched it.
    fn end_or_wait(&mut self, open: Box<Open>) {
        if open.touched || !self.holes.is_open(open.gaps_at_add, open.gaps_at_used) {
            self.ended.push(open.end());
            return;
        }
        self.undecided.push_back(open);
        if self.undecided.len() > UNDECIDED_LIMIT
            && let Some(mut oldest) = self.undecided.pop_front()
        {
            // What can't be waited for is not taken for good.
            oldest.touched = true;
            self.ended.push(oldest.end());
        }
    }
}

impl Open {
    /// Whether the gap was found between this buffer's add and its return.
    fn spans(&self, gap: Gap) -> bool {
        self.gaps_at_add < gap && gap <= self.gaps_at_used
    }
}
