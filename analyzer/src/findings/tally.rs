//! What is counted, with the first pieces of its proof.

use virtscope_record::Timestamp;

use super::MOST_EVIDENCE;
use super::finding::{Evidence, Found, Verdict};

/// How often something happened, when, and the first times of it.
#[derive(Clone, Default, Debug)]
pub(super) struct Tally {
    pub(super) count: u64,
    pub(super) first: Option<Timestamp>,
    pub(super) last: Option<Timestamp>,
    pub(super) evidence: Vec<Evidence>,
}

impl Tally {
    /// Once more, at `time`; `piece` makes its proof if there is room for it.
    #[inline]
    pub(super) fn add(&mut self, time: Timestamp, piece: impl FnOnce() -> Evidence) {
        self.count += 1;
        self.first = Some(self.first.map_or(time, |first| first.min(time)));
        self.last = self.last.max(Some(time));
        if self.evidence.len() < MOST_EVIDENCE {
            self.evidence.push(piece());
        }
    }

    /// What is found if it happened at all.
    pub(super) fn verdict(&self, summary: impl FnOnce(u64) -> String) -> Verdict {
        if self.count == 0 {
            return Verdict::Nothing;
        }
        Verdict::Found(Found {
            summary: summary(self.count),
            count: self.count,
            first: self.first,
            last: self.last,
            evidence: self.evidence.clone(),
        })
    }
}
