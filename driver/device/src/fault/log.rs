//! What was done wrong on purpose: the truth to hold findings against.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::FaultKind;

/// A fault that happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Injected {
    /// Which.
    pub kind: FaultKind,
    /// On which of its occasions, from 1.
    pub occasion: u64,
    /// When, by the queue's clock.
    pub time: Duration,
    /// The buffer it happened to, if it was one: how many were taken before it
    /// ([`Chain::number`](crate::queue::Chain::number)).
    pub buffer: Option<u64>,
}

/// The faults that happened in a queue, oldest first. Clones show the same
/// faults, so that others can look while the queue is in use.
#[derive(Clone, Default, Debug)]
pub struct FaultLog(Arc<Mutex<Entries>>);

#[derive(Default, Debug)]
struct Entries {
    total: u64,
    latest: VecDeque<Injected>,
}

impl FaultLog {
    /// How many it keeps. A storm that goes on for hours must not fill memory.
    pub const KEPT: usize = 65_536;

    /// All that happened, those included that are no longer kept.
    pub fn total(&self) -> u64 {
        self.lock().total
    }

    /// The latest, at most [`KEPT`](Self::KEPT).
    pub fn entries(&self) -> Vec<Injected> {
        self.lock().latest.iter().copied().collect()
    }

    pub(super) fn push(&self, injected: Injected) {
        let mut entries = self.lock();
        entries.total += 1;
        if entries.latest.len() == Self::KEPT {
            entries.latest.pop_front();
        }
        entries.latest.push_back(injected);
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_keeps_the_latest_and_counts_all() {
        let log = FaultLog::default();
        let kept = FaultLog::KEPT as u64;
        for occasion in 1..=kept + 2 {
            log.push(Injected {
                kind: FaultKind::Delay,
                occasion,
                time: Duration::ZERO,
                buffer: None,
            });
        }
        assert_eq!(log.total(), kept + 2);
        let entries = log.entries();
        assert_eq!(entries.len(), FaultLog::KEPT);
        assert_eq!(entries.first().map(|entry| entry.occasion), Some(3));
        assert_eq!(entries.last().map(|entry| entry.occasion), Some(kept + 2));
    }
}
