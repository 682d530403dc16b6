//! What is counted and kept of requests that ended.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::budget::Budget;
use crate::life::{Incomplete, Life, Operation, Outcome};
use crate::stats::RequestStats;

/// Requests that ended: counted by operation and by why they are incomplete, and the
/// latest of them themselves.
#[derive(Debug)]
pub(crate) struct Kept {
    operations: Operations,
    incomplete: BTreeMap<&'static str, (Incomplete, u64)>,
    /// Oldest first.
    recent: VecDeque<Arc<Life>>,
}

impl Kept {
    /// Nothing yet; `budget` is for histograms of latencies.
    pub(crate) fn new(budget: &Budget) -> Self {
        Self {
            operations: Operations {
                stats: Vec::new(),
                of_9p: Vec::new(),
                budget: budget.clone(),
            },
            incomplete: BTreeMap::new(),
            recent: VecDeque::new(),
        }
    }

    /// Counts a request.
    #[inline]
    pub(crate) fn count(&mut self, life: &Life) {
        self.operations.of(life.operation).record(life);
        if let Outcome::Incomplete(reason) = life.outcome {
            self.incomplete
                .entry(reason.name())
                .or_insert((reason, 0))
                .1 += 1;
        }
    }

    /// Keeps it as one of the `most` latest.
    pub(crate) fn keep(&mut self, life: Arc<Life>, most: usize) {
        if self.recent.len() >= most {
            self.recent.pop_front();
        }
        self.recent.push_back(life);
    }

    pub(crate) fn operations(&self) -> impl Iterator<Item = &(Operation, RequestStats)> {
        self.operations.stats.iter()
    }

    pub(crate) fn incomplete(&self) -> impl Iterator<Item = (Incomplete, u64)> {
        self.incomplete.values().copied()
    }

    /// The latest, oldest first.
    pub(crate) fn recent(&self) -> impl DoubleEndedIterator<Item = &Arc<Life>> {
        self.recent.iter()
    }
}

/// What is counted of each operation.
#[derive(Debug)]
struct Operations {
    stats: Vec<(Operation, RequestStats)>,
    /// Where the 9P operations' are, by type number.
    of_9p: Vec<Option<usize>>,
    budget: Budget,
}

impl Operations {
    #[inline]
    fn of(&mut self, operation: Operation) -> &mut RequestStats {
        let known = match operation {
            Operation::P9(kind) => self.of_9p.get(usize::from(kind.0)).copied().flatten(),
            _ => self.stats.iter().position(|(of, _)| *of == operation),
        };
        let at = known.unwrap_or_else(|| {
            let at = self.stats.len();
            self.stats
                .push((operation, RequestStats::new(&self.budget)));
            if let Operation::P9(kind) = operation {
                let number = usize::from(kind.0);
                if self.of_9p.len() <= number {
                    self.of_9p.resize(number + 1, None);
                }
                self.of_9p[number] = Some(at);
            }
            at
        });
        &mut self.stats[at].1
    }
}
