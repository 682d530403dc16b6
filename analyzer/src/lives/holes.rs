//! Holes in the sequences of the driver's half, and what became of them.
//!
//! Records may come out of the order of their numbers though none was lost: two
//! threads of one producer take their numbers one way round and their times the
//! other, and a capture was sorted by time. So a hole is not believed at once.
//! Either what is missing comes, or the hole is *confirmed*: after
//! [`PATIENCE`] later records of its producer, or when it has been open for
//! [`SETTLE_NS`](super::SETTLE_NS).
//!
//! A record that comes is not enough, it must come in the order of time. Lives are
//! joined in the order in which records arrive. One that tells of an earlier
//! moment than a record that came before it was wanting when the later one was
//! looked at (a return without its callback looks polled), and that is as bad as
//! a loss. Such a record confirms the hole that it would have filled, and is a gap
//! itself: it may speak of a buffer whose id is in use again.

use std::collections::VecDeque;
use std::ops::Range;

use virtscope_record::{ProducerId, Record, Timestamp};

use super::SETTLE_NS;
use crate::losses::Step;

/// Later records of the same producer for which a hole stays open. Interrupts that
/// nest, and CPUs that submit at different speeds, stay well below.
const PATIENCE: u64 = 256;

/// Pieces of holes that are open at once, at most.
const OPEN_LIMIT: usize = 256;

/// Times that the driver's half was found to have jumped over something, counted
/// from 1. As a mark: what had been found when something happened.
pub(super) type Gap = u64;

/// The holes of one queue.
#[derive(Debug, Default)]
pub(super) struct Holes {
    /// The latest gap.
    found: Gap,
    /// The latest gap that is confirmed.
    confirmed: Gap,
    /// In the order of their gaps.
    open: VecDeque<Hole>,
    /// Where a life that the last record began has its beginning among the gaps, if
    /// that record was late: what is still missing may be of this life.
    begin: Option<Gap>,
    /// The latest moment that the driver's half told of.
    latest: Option<Timestamp>,
}

/// Numbers that are missing, next to each other.
#[derive(Clone, Debug)]
struct Hole {
    /// What is left of a hole that was filled in its middle shares this.
    gap: Gap,
    producer: ProducerId,
    missing: Range<u64>,
    since: Timestamp,
    /// Later records of the producer that it still waits for.
    patience: u64,
}

impl Holes {
    /// The latest gap so far.
    pub(super) fn mark(&self) -> Gap {
        self.found
    }

    /// Whether any hole is neither filled nor confirmed.
    #[inline]
    pub(super) fn any_open(&self) -> bool {
        !self.open.is_empty()
    }

    /// The gaps found after this one may touch a life that begins now.
    pub(super) fn mark_at_add(&self) -> Gap {
        self.begin.unwrap_or(self.found)
    }

    /// The clock was set back to `time`.
    pub(super) fn set_back(&mut self, time: Timestamp) {
        self.latest = Some(time);
        for hole in &mut self.open {
            hole.since = hole.since.min(time);
        }
    }

    /// Whether a gap found after `mark` is confirmed.
    pub(super) fn is_touched(&self, mark: Gap) -> bool {
        self.confirmed > mark
    }

    /// Whether a gap found after `begin`, and not after `end`, is neither filled
    /// nor confirmed.
    pub(super) fn is_open(&self, begin: Gap, end: Gap) -> bool {
        let after = self.open.partition_point(|hole| hole.gap <= begin);
        self.open.get(after).is_some_and(|hole| hole.gap <= end)
    }

    /// Whether a gap found after `mark` is confirmed or may yet be.
    pub(super) fn is_doubtful(&self, mark: Gap) -> bool {
        self.is_touched(mark) || self.is_open(mark, self.found)
    }

    /// A gap that nothing can fill.
    pub(super) fn certain(&mut self) -> Gap {
        self.found += 1;
        self.confirmed = self.found;
        self.found
    }

    /// The same as [`follow`](Self::follow) for a record that comes right behind the
    /// one before, with no hole open: what nearly all do. Says whether it was one.
    #[inline]
    pub(super) fn follow_next(&mut self, record: &Record, step: &Step) -> bool {
        let nothing_open = self.open.is_empty() && *step == Step::Next;
        if nothing_open {
            self.latest = self.latest.max(Some(record.time()));
            self.begin = None;
        }
        nothing_open
    }

    /// Takes in where a record of the driver's half stands in its sequence, before
    /// it is joined. The gaps that this confirmed are returned.
    pub(super) fn follow(&mut self, record: &Record, step: Step) -> Vec<Gap> {
        let (producer, time) = (record.producer().id(), record.time());
        let in_time = self.latest.is_none_or(|latest| latest < time);
        self.latest = self.latest.max(Some(time));
        let mut confirmed = Vec::new();
        self.begin = None;
        for hole in &mut self.open {
            if hole.producer == producer {
                hole.patience = hole.patience.saturating_sub(1);
            }
        }
        match step {
            Step::Next => {}
            Step::Over(missing) => {
                self.found += 1;
                self.open.push_back(Hole {
                    gap: self.found,
                    producer,
                    since: time,
                    // More than could come in time are not waited for.
                    patience: match missing.end - missing.start {
                        ..=PATIENCE => PATIENCE,
                        _ => 0,
                    },
                    missing,
                });
            }
            Step::Late(number) => {
                let at = self
                    .open
                    .iter()
                    .position(|hole| hole.producer == producer && hole.missing.contains(&number));
                let filled = at.and_then(|at| self.fill(at, number));
                if in_time && filled.is_some() {
                    let mut same = self.open.iter().filter(|hole| hole.producer == producer);
                    self.begin = same.next().map(|hole| hole.gap - 1);
                } else {
                    confirmed.extend(filled);
                    let gap = self.certain();
                    confirmed.push(gap);
                    self.begin = Some(gap - 1);
                }
            }
        }
        self.expire(time, &mut confirmed);
        confirmed
    }

    /// Time has gone on. The gaps that this confirmed are returned.
    pub(super) fn advance(&mut self, now: Timestamp) -> Vec<Gap> {
        let mut confirmed = Vec::new();
        self.expire(now, &mut confirmed);
        confirmed
    }

    /// Nothing more will come. The gaps that this confirmed are returned.
    pub(super) fn confirm_all(&mut self) -> Vec<Gap> {
        let confirmed: Vec<_> = self.open.drain(..).map(|hole| hole.gap).collect();
        self.note(&confirmed);
        confirmed
    }

    /// Takes `number` out of the hole at `at`; says which gap that was.
    fn fill(&mut self, at: usize, number: u64) -> Option<Gap> {
        let hole = self.open.remove(at)?;
        let (before, behind) = (hole.missing.start..number, number + 1..hole.missing.end);
        for missing in [behind, before] {
            if !missing.is_empty() {
                let rest = Hole {
                    missing,
                    ..hole.clone()
                };
                self.open.insert(at, rest);
            }
        }
        Some(hole.gap)
    }

    fn expire(&mut self, now: Timestamp, confirmed: &mut Vec<Gap>) {
        if self.open.is_empty() && confirmed.is_empty() {
            return;
        }
        let excess = self.open.len().saturating_sub(OPEN_LIMIT);
        confirmed.extend(self.open.iter().take(excess).map(|hole| hole.gap));
        confirmed.extend(
            self.open
                .iter()
                .filter(|hole| hole.patience == 0 || now.nanos_since(hole.since) >= SETTLE_NS)
                .map(|hole| hole.gap),
        );
        if !confirmed.is_empty() {
            self.open.retain(|hole| !confirmed.contains(&hole.gap));
            self.note(confirmed);
        }
    }

    fn note(&mut self, confirmed: &[Gap]) {
        self.confirmed = self
            .confirmed
            .max(confirmed.iter().copied().max().unwrap_or(0));
    }
}
