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
//!   purpose it is the other way round: as many are lost as the producer says, or
//!   as the capture it was made of knew to be lost ([`Ledger::tell_lost`]), and all
//!   others were left out on purpose.
//! - Statistics written on the way tell what the producer lost and filtered, but
//!   not where the tail is, because records may still be under way. Only the
//!   final ones do; without them the tail is unknown, and [`Ledger::tail_known`]
//!   says so.
//! - Statistics that come before a producer's first record, and by which all that was
//!   emitted was filtered, say where its numbers begin: whoever recorded began to look
//!   when the producer had been at work for a while.
//! - Records that are [repeated](Flags::REPEATED) at a file's beginning or end have no
//!   number and count nowhere. Statistics among them that are not final say where a
//!   producer stood when the file began: what it had emitted by then is left out here,
//!   and what it had lost, filtered and missed is another file's.
//! - The recorder hands its records to the writer itself. It needs no
//!   statistics: what it did not write it did not emit.

mod stream;

use std::collections::BTreeMap;
use std::fmt;
use std::iter::Sum;
use std::ops::AddAssign;

use virtscope_record::{Body, Flags, Kind, Producer, ProducerId, QueueId, Record, Statistics};

use crate::Selection;
use crate::recent::Recent;
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

/// Sums over the streams of one queue.
#[derive(Debug, Default)]
struct QueueSums {
    loss_epoch: u64,
    settled_losses: u64,
    /// What was told of losses beside the statistics.
    told_lost: u64,
}

/// Where the accounts of one queue and of one of its producers stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    queue: usize,
    stream: usize,
}

const NOWHERE: Place = Place {
    queue: 0,
    stream: 0,
};

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
    places: BTreeMap<(QueueId, ProducerId), Place>,
    recent: Recent<Place>,
    queues: Vec<QueueSums>,
    queue_places: BTreeMap<QueueId, usize>,
    streams: Vec<Stream>,
    untracked: u64,
    refused_statistics: u64,
    tail_missing: bool,
}

impl Ledger {
    /// An empty ledger for a capture from which `selection` was left out.
    pub const fn new(selection: Selection) -> Self {
        Self {
            selection,
            places: BTreeMap::new(),
            recent: Recent::new(NOWHERE),
            queues: Vec::new(),
            queue_places: BTreeMap::new(),
            streams: Vec::new(),
            untracked: 0,
            refused_statistics: 0,
            tail_missing: false,
        }
    }

    /// Counts `record` as stored and learns what it says of others. `false` if
    /// its number was seen before: then it is a duplicate.
    #[inline]
    pub fn observe(&mut self, record: &Record) -> bool {
        self.account(record).0
    }

    /// The same, and the [`settled_losses`](Self::settled_losses) of its queue by now.
    #[inline]
    pub(crate) fn account(&mut self, record: &Record) -> (bool, u64) {
        if record.flags().contains(Flags::REPEATED) {
            self.observe_repeated(record);
            return (false, self.settled_losses(record.queue()));
        }
        let whole = self.selection.is_whole();
        let Some((queue, stream)) = self.stream(record.queue(), record.producer().id()) else {
            self.untracked += 1;
            return (true, self.settled_losses(record.queue()));
        };
        let (is_new, losses) = if stream.place_next(record.sequence()) {
            // In its order and with no gap behind it: no loss is believed or
            // doubted because of it.
            (true, queue.believed())
        } else {
            let settled_before = stream.settled_losses(whole);
            let placed = stream.place(record.sequence());
            let settled = stream.settled_losses(whole);
            queue.move_settled(settled_before, settled);
            if whole && placed == Placed::BehindGap {
                queue.loss_epoch += 1;
            }
            let losses = queue.believed();
            if placed == Placed::Impossible {
                self.untracked += 1;
            }
            (placed != Placed::Duplicate, losses)
        };
        if record.kind() == Ok(Kind::Statistics)
            && let Ok(Body::Statistics(statistics)) = record.body()
        {
            self.learn(record.queue(), &statistics);
            return (is_new, self.settled_losses(record.queue()));
        }
        (is_new, losses)
    }

    /// A record that has no number: what it says of a producer's numbers is learnt.
    fn observe_repeated(&mut self, record: &Record) {
        let Ok(Body::Statistics(statistics)) = record.body() else {
            return;
        };
        if statistics.is_final {
            self.learn(record.queue(), &statistics);
        } else if let Some((_, stream)) = self.stream(record.queue(), statistics.about) {
            if !stream.begin(&statistics) {
                self.refused_statistics += 1;
            }
        } else {
            self.refused_statistics += 1;
        }
    }

    /// Where every producer of every queue stands: what the next file begins with when a
    /// capture goes on in another one, and what this one ends with.
    pub fn standings(&self) -> impl Iterator<Item = (QueueId, Statistics)> {
        self.all_streams()
            .map(|(queue, producer, stream)| (queue, stream.standing(producer, self.selection)))
    }

    /// Where this producer stands; nothing if it was not heard of.
    pub(crate) fn standing(&self, queue: QueueId, producer: ProducerId) -> Option<Statistics> {
        let place = self.places.get(&(queue, producer))?;
        let stream = self.streams.get(place.stream)?;
        Some(stream.standing(producer, self.selection))
    }

    /// Whether this producer's final statistics were seen.
    pub(crate) fn has_final(&self, queue: QueueId, producer: ProducerId) -> bool {
        let place = self.places.get(&(queue, producer));
        let stream = place.and_then(|place| self.streams.get(place.stream));
        stream.is_some_and(Stream::has_final)
    }

    /// Whether no number is missing that may still come: a good moment to go on in
    /// another file.
    pub fn is_settled(&self) -> bool {
        self.streams.iter().all(Stream::is_settled)
    }

    /// So many records of `queue` are known to be lost, by the capture of which
    /// this one is a part. In a whole capture the holes say so themselves.
    pub fn tell_lost(&mut self, queue: QueueId, lost: u64) {
        if self.selection.is_whole() {
            return;
        }
        let at = self.queue_place(queue);
        if let Some(queue) = self.queues.get_mut(at)
            && lost > queue.told_lost
        {
            queue.told_lost = lost;
            queue.loss_epoch += 1;
        }
    }

    /// What [`tell_lost`](Self::tell_lost) told of `queue`.
    pub fn told_lost(&self, queue: QueueId) -> u64 {
        self.sums(queue).map_or(0, |queue| queue.told_lost)
    }

    /// The capture of which this one is a part has no known tail.
    pub fn tell_tail_unknown(&mut self) {
        self.tail_missing = true;
    }

    fn learn(&mut self, queue: QueueId, statistics: &Statistics) {
        let selection = self.selection;
        let whole = selection.is_whole();
        let Some((queue, stream)) = self.stream(queue, statistics.about) else {
            self.refused_statistics += 1;
            return;
        };
        let (lost_before, settled_before) =
            (stream.totals(selection).lost, stream.settled_losses(whole));
        let accepted = stream.learn(statistics);
        let (lost, settled) = (stream.totals(selection).lost, stream.settled_losses(whole));
        queue.move_settled(settled_before, settled);
        if lost > lost_before {
            queue.loss_epoch += 1;
        }
        if !accepted {
            self.refused_statistics += 1;
        }
    }

    /// The sums of `queue` and the stream of its `producer`, made if there is room
    /// for it.
    #[inline(always)]
    fn stream(
        &mut self,
        queue: QueueId,
        producer: ProducerId,
    ) -> Option<(&mut QueueSums, &mut Stream)> {
        let place = match self.recent.get(queue, producer) {
            Some(place) => place,
            None => self.look_up(queue, producer)?,
        };
        let sums = self.queues.get_mut(place.queue)?;
        Some((sums, self.streams.get_mut(place.stream)?))
    }

    #[cold]
    fn look_up(&mut self, queue: QueueId, producer: ProducerId) -> Option<Place> {
        let place = match self.places.get(&(queue, producer)) {
            Some(place) => *place,
            None if self.streams.len() == MAX_STREAMS => return None,
            None => {
                let place = Place {
                    queue: self.queue_place(queue),
                    stream: self.streams.len(),
                };
                self.streams.push(Stream::default());
                self.places.insert((queue, producer), place);
                place
            }
        };
        self.recent.put(queue, producer, place);
        Some(place)
    }

    /// Where the sums of `queue` are, made if they are not there yet.
    fn queue_place(&mut self, queue: QueueId) -> usize {
        let next = self.queues.len();
        let at = *self.queue_places.entry(queue).or_insert(next);
        if at == next {
            self.queues.push(QueueSums::default());
        }
        at
    }

    fn sums(&self, queue: QueueId) -> Option<&QueueSums> {
        self.queues.get(*self.queue_places.get(&queue)?)
    }

    /// The streams, by queue and producer.
    fn all_streams(&self) -> impl Iterator<Item = (QueueId, ProducerId, &Stream)> {
        self.places.iter().filter_map(|((queue, producer), place)| {
            Some((*queue, *producer, self.streams.get(place.stream)?))
        })
    }

    /// What became of all records.
    pub fn totals(&self) -> Totals {
        let queues = self.queue_places.keys();
        let mut totals: Totals = queues.map(|queue| self.queue_totals(*queue)).sum();
        totals.emitted += self.untracked;
        totals.stored += self.untracked;
        totals
    }

    /// What became of the records of `queue`; all zero for an unknown one.
    pub fn queue_totals(&self, queue: QueueId) -> Totals {
        let producers = (queue, ProducerId(0))..=(queue, ProducerId(u16::MAX));
        let mut totals: Totals = self
            .places
            .range(producers)
            .filter_map(|(_, place)| self.streams.get(place.stream))
            .map(|stream| stream.totals(self.selection))
            .sum();
        let more = self.told_lost(queue).saturating_sub(totals.lost);
        let more = more.min(totals.filtered);
        totals.lost += more;
        totals.filtered -= more;
        totals
    }

    /// What became of the records of every producer of every queue, in order.
    pub fn per_producer(&self) -> impl Iterator<Item = (QueueId, Producer, Totals)> {
        self.all_streams().map(|(queue, producer, stream)| {
            (queue, producer.into(), stream.totals(self.selection))
        })
    }

    /// A number that rises whenever a gap opens among the records of `queue` or
    /// a loss is learnt of, and never falls: what was seen between two readings
    /// that are equal was not touched by a loss. A gap that later fills again
    /// has raised it all the same.
    pub fn loss_epoch(&self, queue: QueueId) -> u64 {
        self.sums(queue).map_or(0, |queue| queue.loss_epoch)
    }

    /// Losses of `queue` that are believed: the producer told of them, or so
    /// many records have passed the gap that nothing can be merely late.
    pub fn settled_losses(&self, queue: QueueId) -> u64 {
        self.sums(queue).map_or(0, QueueSums::believed)
    }

    /// Whether every producer's final statistics were seen. If not, records may
    /// have been lost at the end that nobody knows of, and a report must say so.
    /// A capture that was cut out of another has no tail to know, unless the other
    /// one's was unknown.
    pub fn tail_known(&self) -> bool {
        if self.tail_missing {
            return false;
        }
        self.selection.cut
            || self.all_streams().all(|(_, producer, stream)| {
                producer == Producer::Recorder.id() || stream.has_final()
            })
    }

    /// What does not fit together.
    pub fn inconsistencies(&self) -> Inconsistencies {
        let mut found = Inconsistencies {
            refused_statistics: self.refused_statistics,
            untracked: self.untracked,
            ..Inconsistencies::default()
        };
        for stream in &self.streams {
            found.duplicates += stream.duplicates();
            found.contradicted_finals += u64::from(stream.contradicts_final());
        }
        found
    }
}

impl QueueSums {
    /// Losses that are believed.
    fn believed(&self) -> u64 {
        self.settled_losses.max(self.told_lost)
    }

    fn move_settled(&mut self, before: u64, after: u64) {
        self.settled_losses = self.settled_losses + after - before;
    }
}

#[cfg(test)]
mod tests;
