//! The records of one producer on one queue: which are there, which are not.

use std::collections::BTreeMap;

use virtscope_record::{ProducerId, Sequence, Statistics};

use super::Totals;
use crate::Selection;
use crate::sequence::unwrap_sequence;

/// A gap is believed once the sequence is this far beyond it. Interrupts that
/// nest, and CPUs that submit at different speeds, stay well below.
const REORDER_WINDOW: u64 = 256;

/// Gaps remembered, so that late records can fill them.
const MAX_GAPS: usize = 1024;

/// Numbers from here on are impossible: at a million records a second it would
/// take two years to reach them. It keeps every sum within 64 bits.
const IMPOSSIBLE: u64 = 1 << 46;

/// Where a record was put.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Placed {
    /// Right behind the highest so far.
    InOrder,
    /// Further on: a gap opened.
    BehindGap,
    /// Into a gap.
    Late,
    /// Nowhere: its number was there already.
    Duplicate,
    /// Nowhere: no producer gets that far.
    Impossible,
}

#[derive(Debug, Default)]
pub(super) struct Stream {
    /// One more than the highest number seen.
    next: u64,
    stored: u64,
    duplicates: u64,
    /// Numbers not seen, as start → end (exclusive), all below `next`.
    gaps: BTreeMap<u64, u64>,
    /// Gaps that begin below this number are believed.
    settled_until: u64,
    /// Numbers in gaps that are believed, `given_up` among them.
    settled: u64,
    /// Numbers in gaps that are no longer remembered; all were below `floor`.
    given_up: u64,
    floor: u64,
    /// The number it begins with: those below were filtered, as was told before any
    /// record came.
    begins: u64,
    /// Records that other files of the same recording have: this one began behind them.
    elsewhere: u64,
    /// What had been told when this file began.
    base: Told,
    told: Told,
}

/// What the producer's statistics say, at their highest.
#[derive(Debug, Default)]
struct Told {
    lost: u64,
    filtered: u64,
    missed: u32,
    /// What the final ones say was emitted.
    emitted: Option<u64>,
}

impl Stream {
    /// Counts the record with this number if it is the very next one and no gap is
    /// open: what nearly all are. Says whether it was.
    #[inline]
    pub(super) fn place_next(&mut self, sequence: Sequence) -> bool {
        let is_next =
            self.gaps.is_empty() && sequence.0 == self.next as u32 && self.next < IMPOSSIBLE;
        if is_next {
            self.next += 1;
            self.stored += 1;
        }
        is_next
    }

    /// Counts the record with this number.
    pub(super) fn place(&mut self, sequence: Sequence) -> Placed {
        let number = unwrap_sequence(sequence, self.next);
        if number >= IMPOSSIBLE {
            return Placed::Impossible;
        }
        let placed = if number >= self.next {
            let gap = self.next..number;
            self.next = number + 1;
            if gap.is_empty() {
                Placed::InOrder
            } else {
                self.gaps.insert(gap.start, gap.end);
                Placed::BehindGap
            }
        } else if self.fill(number) {
            Placed::Late
        } else {
            self.duplicates += 1;
            return Placed::Duplicate;
        };
        self.stored += 1;
        self.settle();
        placed
    }

    /// Takes `number` out of the gap it is in; false if it is in none.
    fn fill(&mut self, number: u64) -> bool {
        if number < self.floor {
            // It came when the file before this one had ended.
            if self.elsewhere > 0 {
                self.elsewhere -= 1;
                return true;
            }
            // Which numbers were given up is forgotten; how many is not.
            if self.given_up == 0 {
                return false;
            }
            self.given_up -= 1;
            self.settled -= 1;
            return true;
        }
        let Some((&start, &end)) = self.gaps.range(..=number).next_back() else {
            return false;
        };
        if number >= end {
            return false;
        }
        if start < self.settled_until {
            self.settled -= 1;
        }
        self.gaps.remove(&start);
        if start < number {
            self.gaps.insert(start, number);
        }
        if number + 1 < end {
            self.gaps.insert(number + 1, end);
        }
        true
    }

    /// Believes the gaps that lie far enough back, and forgets the oldest when
    /// they are too many.
    fn settle(&mut self) {
        if self.gaps.is_empty() {
            return;
        }
        while let Some((start, &end)) = self.gaps.range(self.settled_until..).next()
            && end + REORDER_WINDOW <= self.next
        {
            self.settled += end - start;
            self.settled_until = end;
        }
        while self.gaps.len() > MAX_GAPS
            && let Some((start, end)) = self.gaps.pop_first()
        {
            self.given_up += end - start;
            self.floor = end;
            if start >= self.settled_until {
                self.settled += end - start;
                self.settled_until = end;
            }
        }
    }

    /// Takes in what the producer says of itself; false if that can't be.
    pub(super) fn learn(&mut self, statistics: &Statistics) -> bool {
        let Statistics {
            is_final,
            missed,
            emitted,
            lost,
            filtered,
            about: _,
        } = *statistics;
        let not_stored = lost.checked_add(filtered);
        if emitted >= IMPOSSIBLE || not_stored.is_none_or(|count| count > emitted) {
            return false;
        }
        // Of what was made before the first record, nothing is missing.
        if self.next == 0 && filtered == emitted {
            self.next = emitted;
            self.floor = emitted;
            self.begins = emitted;
            self.settled_until = emitted;
        }
        let told = &mut self.told;
        told.lost = told.lost.max(lost);
        told.filtered = told.filtered.max(filtered);
        told.missed = told.missed.max(missed);
        if is_final {
            told.emitted = told.emitted.max(Some(emitted));
        }
        true
    }

    /// The producer stood here when the file began; false if that can't be.
    pub(super) fn begin(&mut self, standing: &Statistics) -> bool {
        let number = standing.emitted;
        let not_stored = standing.lost.checked_add(standing.filtered);
        if number >= IMPOSSIBLE || not_stored.is_none_or(|count| count > number) {
            return false;
        }
        // Another file may have told of it before.
        if number > self.next {
            self.elsewhere += number - self.next;
            self.next = number;
            self.floor = number;
            self.settled_until = number;
        }
        let before = Told {
            lost: standing.lost,
            filtered: standing.filtered,
            missed: standing.missed,
            emitted: None,
        };
        if self.stored == 0 {
            self.told.lost = self.told.lost.max(before.lost);
            self.told.filtered = self.told.filtered.max(before.filtered);
            self.told.missed = self.told.missed.max(before.missed);
            self.base = before;
        }
        true
    }

    /// Where the producer stands by what is known here.
    pub(super) fn standing(&self, about: ProducerId, selection: Selection) -> Statistics {
        Statistics {
            about,
            is_final: false,
            missed: self.told.missed,
            emitted: self.evident(),
            // Those of which nobody has told yet among them.
            lost: self.base.lost + self.totals(selection).lost,
            filtered: self.told.filtered,
        }
    }

    /// Whether every gap is believed.
    pub(super) fn is_settled(&self) -> bool {
        self.gaps.range(self.settled_until..).next().is_none()
    }

    /// What was lost and filtered since this file began.
    fn told_here(&self) -> (u64, u64) {
        (
            self.told.lost.saturating_sub(self.base.lost),
            self.told.filtered.saturating_sub(self.base.filtered),
        )
    }

    /// How many records there must have been by what was seen or told of them
    /// one by one.
    fn evident(&self) -> u64 {
        let (lost, filtered) = self.told_here();
        (self.stored + lost + filtered + self.elsewhere).max(self.next)
    }

    /// What became of the records.
    pub(super) fn totals(&self, selection: Selection) -> Totals {
        let emitted = self.evident().max(self.told.emitted.unwrap_or(0));
        let missing = emitted - self.stored;
        let (told_lost, told_filtered) = self.told_here();
        let lost = if selection.is_whole() {
            missing - told_filtered - self.elsewhere
        } else {
            told_lost
        };
        Totals {
            emitted,
            stored: self.stored,
            lost,
            filtered: missing - lost,
            missed: self.told.missed.saturating_sub(self.base.missed).into(),
        }
    }

    /// Losses that are believed.
    pub(super) fn settled_losses(&self, whole: bool) -> u64 {
        let seen = if whole {
            let filtered = self.told_here().1.saturating_sub(self.begins);
            self.settled.saturating_sub(filtered)
        } else {
            0
        };
        seen.max(self.told_here().0)
    }

    pub(super) fn has_final(&self) -> bool {
        self.told.emitted.is_some()
    }

    /// Whether more was observed than the final statistics allow for.
    pub(super) fn contradicts_final(&self) -> bool {
        self.told
            .emitted
            .is_some_and(|emitted| emitted < self.evident())
    }

    pub(super) fn duplicates(&self) -> u64 {
        self.duplicates
    }
}
