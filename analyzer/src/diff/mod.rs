//! Two runs beside each other: what got slower, by operation and by phase, and
//! whether that can be chance.
//!
//! From each run a sample of every operation's complete requests is kept
//! ([`Sample`]). Each measure of each operation is compared in two ways, in
//! the middle and in the tail, by a test that knows that requests which follow each
//! other are alike ([`statistics`]). All comparisons together raise something that is
//! not there in at most [`Options::error_rate`] of all pairs of runs (Holm's
//! correction), and what is there but small is no news.

mod report;
mod sample;
mod statistics;
#[cfg(test)]
mod tests;
mod text;

use std::collections::BTreeMap;

use virtscope_record::Timestamp;

use crate::life::{Life, Outcome};

pub use report::{
    Change, Comparison, DIFF_SCHEMA_VERSION, DiffReport, Direction, MeasureName, Moved, RunReport,
    Side, Tail, TooFew,
};
use sample::{Measure, Sample};

/// How two runs are compared.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct DiffOptions {
    /// In how many pairs of runs of which nothing differs something may be raised.
    pub error_rate: f64,
    /// By how much, of what it was, a median must move to be news.
    pub smallest_shift: f64,
}

impl Default for DiffOptions {
    fn default() -> Self {
        Self {
            error_rate: 0.01,
            smallest_shift: 0.05,
        }
    }
}

/// What is kept of one run, to be compared with another.
#[derive(Debug, Default)]
pub struct Run {
    operations: BTreeMap<&'static str, Operation>,
    first: Option<Timestamp>,
    last: Option<Timestamp>,
}

/// What is kept of one operation.
#[derive(Debug, Default)]
struct Operation {
    completed: u64,
    incomplete: u64,
    errors: u64,
    sample: Sample,
}

impl Run {
    /// Nothing seen yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in a request that has ended.
    pub fn add(&mut self, life: &Life) {
        let operation = self.operations.entry(life.operation.name()).or_default();
        operation.errors += u64::from(life.error.is_some());
        let began = life.began();
        self.first = match (self.first, began) {
            (Some(first), Some(began)) => Some(first.min(began)),
            (first, began) => first.or(began),
        };
        self.last = self.last.max(life.moments.used);
        match life.outcome {
            Outcome::Complete(phases) => {
                operation.completed += 1;
                operation
                    .sample
                    .add(Measure::of(&phases, life.service_ns()));
            }
            Outcome::Incomplete(_) => operation.incomplete += 1,
            Outcome::InFlight => {}
        }
    }

    /// Compares `self`, as it was, with `after`.
    pub fn compare(&self, after: &Self, options: &DiffOptions) -> DiffReport {
        report::compare(self, after, options)
    }

    fn duration_ns(&self) -> u64 {
        match (self.first, self.last) {
            (Some(first), Some(last)) => last.nanos_since(first),
            _ => 0,
        }
    }
}
