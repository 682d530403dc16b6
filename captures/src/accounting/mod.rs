//! The equation that every report rests on: *emitted = stored + lost +
//! filtered*, and *missed* beside it.
//!
//! # The rules
//!
//! - Every record that a producer emits takes the next number of its sequence,
//!   a filtered one too. *Emitted* is therefore one more than the highest number
//!   seen, or what the producer's final statistics say, or what is accounted for
//!   already, whichever is most: evidence is never explained away.
//! - *Stored* are the distinct records observed. One that comes twice counts
//!   once and is reported as an inconsistency.
//! - What was emitted and not stored is missing. In a whole capture as many of
//!   the missing were *filtered* as the producer says; all others are *lost*, on
//!   whatever leg of the way. In a capture that was filtered, sampled or cut on
//!   purpose it is the other way round: as many are lost as the producer says,
//!   all others were left out on purpose.
//! - Statistics written on the way tell what the producer lost and filtered, but
//!   not where the tail is, because records may still be under way. Only the
//!   final ones do; without them the tail is unknown, and [`Ledger::tail_known`]
//!   says so.
//! - The recorder hands its records to the writer itself. It needs no
//!   statistics: what it did not write it did not emit.

mod stream;

use std::collections::BTreeMap;
use std::fmt;
use std::iter::Sum;
use std::ops::AddAssign;

use virtscope_record::{Body, Producer, ProducerId, QueueId, Record, Statistics};

use crate::Selection;
use stream::{Placed, Stream};

/// Producers of queues that are kept apart. A real capture has dozens; a forged
/// one shall not fill the memory.
const MAX_STREAMS: usize = 1 << 15;

/// Records by what became of them. Always *emitted = stored + lost + filtered*.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Totals {
    /// Records the producers made.
    pub emitted: u64,
    /// Records that were observed, each once.
    pub stored: u64,
    /// Records that were made and then lost.
    pub lost: u64,
    /// Records left out on purpose.
    pub filtered: u64,
    /// Operations that happened without a record, because their probe was
    /// skipped. Not among the emitted.
    pub missed: u64,
}

impl AddAssign for Totals {
    fn add_assign(&mut self, other: Self) {
        self.emitted += other.emitted;
        self.stored += other.stored;
        self.lost += other.lost;
        self.filtered += other.filtered;
        self.missed += other.missed;
    }
}

impl Sum for Totals {
    fn sum<I: Iterator<Item = Self>>(parts: I) -> Self {
        parts.fold(Self::default(), |mut sum, part| {
            sum += part;
            sum
        })
    }
}

/// What does not fit together. All zero for a sound capture.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Inconsistencies {
    /// Records whose number had been seen before; not counted as stored.
    pub duplicates: u64,
    /// Statistics that contradict themselves (more lost and filtered than
    /// emitted) or name impossible numbers; ignored.
    pub refused_statistics: u64,
    /// Producers whose final statistics say less than what was observed.
    pub contradicted_finals: u64,
    /// Records with an impossible number or of a producer beyond the 32768 that
    /// are kept apart; counted as stored only.
    pub untracked: u64,
}

impl Inconsistencies {
    /// Whether everything fits together.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for Inconsistencies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} duplicate records, {} statistics refused, {} producers beyond their final count, {} records untracked",
            self.duplicates, self.refused_statistics, self.contradicted_finals, self.untracked
        )
    }
}

#[derive(Debug, Default)]
struct Queue {
    streams: BTreeMap<ProducerId, Stream>,
    loss_epoch: u64,
    settled_losses: u64,
}

/// Accounts for every record of a capture, per queue and producer.
///
/// Feed it each record that is stored, in the order stored; the statistics among
/// them tell it the rest. Memory is bounded: per producer some 1000 gaps are
/// remembered, and older ones become final losses.
///
/// ```
/// use virtscope_captures::{Ledger, Selection};
/// use virtscope_record::{Body, Common, Notify, Record, Sequence};
///
/// let mut ledger = Ledger::new(Selection::WHOLE);
/// for number in [0, 1, 3] {
///     let common = Common { sequence: Sequence(number), ..Common::default() };
///     ledger.observe(&Record::new(common, Body::Notify(Notify::default())));
/// }
/// let totals = ledger.totals();
/// assert_eq!((totals.emitted, totals.stored, totals.lost), (4, 3, 1));
/// assert!(!ledger.tail_known());
/// ```
#[derive(Debug)]
pub struct Ledger {
    selection: Selection,
    queues: BTreeMap<QueueId, Queue>,
    streams: usize,
    untracked: u64,
    refused_statistics: u64,
}

impl Ledger {
    /// An empty ledger for a capture from which `selection` was left out.
    pub const fn new(selection: Selection) -> Self {
        Self {
            selection,
            queues: BTreeMap::new(),
            streams: 0,
            untracked: 0,
            refused_statistics: 0,
        }
    }

    /// Counts `record` as stored and learns what it says of others.
    pub fn observe(&mut self, record: &Record) {
        let whole = self.selection.is_whole();
        let Some((mut queue, stream)) = self.stream(record.queue(), record.producer().id()) else {
            self.untracked += 1;
            return;
        };
        let settled_before = stream.settled_losses(whole);
        let placed = stream.place(record.sequence());
        let settled = stream.settled_losses(whole);
        queue.move_settled(settled_before, settled);
        match placed {
            Placed::BehindGap if whole => *queue.loss_epoch += 1,
            Placed::Impossible => self.untracked += 1,
            Placed::BehindGap | Placed::InOrder | Placed::Late | Placed::Duplicate => {}
        }
        if let Ok(Body::Statistics(statistics)) = record.body() {
            self.learn(record.queue(), &statistics);
        }
    }

    fn learn(&mut self, queue: QueueId, statistics: &Statistics) {
        let selection = self.selection;
        let whole = selection.is_whole();
        let Some((mut queue, stream)) = self.stream(queue, statistics.about) else {
            self.refused_statistics += 1;
            return;
        };
        let (lost_before, settled_before) =
            (stream.totals(selection).lost, stream.settled_losses(whole));
        let accepted = stream.learn(statistics);
        let (lost, settled) = (stream.totals(selection).lost, stream.settled_losses(whole));
        queue.move_settled(settled_before, settled);
        if lost > lost_before {
            *queue.loss_epoch += 1;
        }
        if !accepted {
            self.refused_statistics += 1;
        }
    }

    /// The stream of `producer` on `queue`, made if there is room for it. The
    /// queue comes beside it without its streams being reachable twice.
    fn stream(
        &mut self,
        queue: QueueId,
        producer: ProducerId,
    ) -> Option<(QueueSums<'_>, &mut Stream)> {
        let known = self
            .queues
            .get(&queue)
            .is_some_and(|queue| queue.streams.contains_key(&producer));
        if !known {
            if self.streams == MAX_STREAMS {
                return None;
            }
            self.streams += 1;
        }
        let queue = self.queues.entry(queue).or_default();
        let sums = QueueSums {
            loss_epoch: &mut queue.loss_epoch,
            settled_losses: &mut queue.settled_losses,
        };
        Some((sums, queue.streams.entry(producer).or_default()))
    }

    /// What became of all records.
    pub fn totals(&self) -> Totals {
        let mut totals: Totals = self.per_producer().map(|(_, _, totals)| totals).sum();
        totals.emitted += self.untracked;
        totals.stored += self.untracked;
        totals
    }

    /// What became of the records of `queue`; all zero for an unknown one.
    pub fn queue_totals(&self, queue: QueueId) -> Totals {
        self.queues
            .get(&queue)
            .map_or_else(Totals::default, |queue| {
                let streams = queue.streams.values();
                streams.map(|stream| stream.totals(self.selection)).sum()
            })
    }

    /// What became of the records of every producer of every queue, in order.
    pub fn per_producer(&self) -> impl Iterator<Item = (QueueId, Producer, Totals)> {
        self.queues.iter().flat_map(|(id, queue)| {
            queue
                .streams
                .iter()
                .map(|(producer, stream)| (*id, (*producer).into(), stream.totals(self.selection)))
        })
    }

    /// A number that rises whenever a gap opens among the records of `queue` or
    /// a loss is learnt of, and never falls: what was seen between two readings
    /// that are equal was not touched by a loss. A gap that later fills again
    /// has raised it all the same.
    pub fn loss_epoch(&self, queue: QueueId) -> u64 {
        self.queues.get(&queue).map_or(0, |queue| queue.loss_epoch)
    }

    /// Losses of `queue` that are believed: the producer told of them, or so
    /// many records have passed the gap that nothing can be merely late.
    pub fn settled_losses(&self, queue: QueueId) -> u64 {
        self.queues
            .get(&queue)
            .map_or(0, |queue| queue.settled_losses)
    }

    /// Whether every producer's final statistics were seen. If not, records may
    /// have been lost at the end that nobody knows of, and a report must say so.
    /// A capture that was cut out of another has no tail to know.
    pub fn tail_known(&self) -> bool {
        self.selection.cut
            || self.queues.values().all(|queue| {
                queue.streams.iter().all(|(producer, stream)| {
                    *producer == Producer::Recorder.id() || stream.has_final()
                })
            })
    }

    /// What does not fit together.
    pub fn inconsistencies(&self) -> Inconsistencies {
        let mut found = Inconsistencies {
            refused_statistics: self.refused_statistics,
            untracked: self.untracked,
            ..Inconsistencies::default()
        };
        for stream in self
            .queues
            .values()
            .flat_map(|queue| queue.streams.values())
        {
            found.duplicates += stream.duplicates();
            found.contradicted_finals += u64::from(stream.contradicts_final());
        }
        found
    }
}

/// A queue's own sums, beside its streams.
struct QueueSums<'a> {
    loss_epoch: &'a mut u64,
    settled_losses: &'a mut u64,
}

impl QueueSums<'_> {
    fn move_settled(&mut self, before: u64, after: u64) {
        *self.settled_losses = *self.settled_losses + after - before;
    }
}

#[cfg(test)]
mod tests;
