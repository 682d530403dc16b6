//! Which records of a recording were met already, where several of its parts are joined.

use std::collections::{HashMap, HashSet};

use virtscope_record::{Body, Flags, ProducerId, QueueId, Record};

use crate::{Ledger, Selection};

/// What is to become of a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    New,
    /// It was written already.
    Duplicate,
    /// Another file of the recording has it in the place where it belongs.
    Repeated,
    /// Where a producer stood when one file ended: of use if there is no other.
    Last,
}

/// Which records were written already, where a recording has several parts.
pub(super) struct Seen {
    shared: HashMap<u64, Shared>,
}

/// A recording of which several parts are there.
struct Shared {
    ledger: Ledger,
    /// The part that had the queue's first record.
    first: HashMap<QueueId, usize>,
}

impl Seen {
    /// `recordings` are what the inputs are parts of.
    pub(super) fn new(recordings: impl Iterator<Item = u64>) -> Self {
        let mut shared = HashMap::new();
        let mut found = HashSet::new();
        for recording in recordings {
            if !found.insert(recording) {
                shared.entry(recording).or_insert_with(|| Shared {
                    ledger: Ledger::new(Selection::WHOLE),
                    first: HashMap::new(),
                });
            }
        }
        Self { shared }
    }

    /// `at` is which input the record is of.
    pub(super) fn look(&mut self, recording: u64, at: usize, record: &Record) -> Verdict {
        match self.shared.get_mut(&recording) {
            Some(shared) => shared.look(at, record),
            None => Verdict::New,
        }
    }
}

impl Shared {
    fn look(&mut self, at: usize, record: &Record) -> Verdict {
        let queue = record.queue();
        let first = *self.first.entry(queue).or_insert(at);
        if !record.flags().contains(Flags::REPEATED) {
            return match self.ledger.observe(record) {
                true => Verdict::New,
                false => Verdict::Duplicate,
            };
        }
        let verdict = match record.body() {
            _ if is_last(record) => return Verdict::Last,
            Ok(Body::Statistics(standing)) => {
                // A file between this one and those before it is not there.
                let known = self.ledger.standing(queue, standing.about);
                let is_hole = known.is_none_or(|known| known.emitted < standing.emitted);
                if at == first || is_hole {
                    Verdict::New
                } else {
                    Verdict::Repeated
                }
            }
            _ if at == first => Verdict::New,
            _ => Verdict::Repeated,
        };
        if verdict == Verdict::New {
            self.ledger.observe(record);
        }
        verdict
    }
}

/// Whose statistics these are.
pub(super) fn about(record: &Record) -> ProducerId {
    match record.body() {
        Ok(Body::Statistics(statistics)) => statistics.about,
        _ => record.producer().id(),
    }
}

/// Whether it says where a producer stood when one file of several ended.
pub(super) fn is_last(record: &Record) -> bool {
    record.flags().contains(Flags::REPEATED)
        && matches!(record.body(), Ok(Body::Statistics(standing)) if standing.is_final)
}
