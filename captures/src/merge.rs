//! The one stage that puts records of many producers into the order of time.
//!
//! Producers hand their records over in batches, and interrupts and CPUs do so
//! out of order. [`Merge`] holds each record until it is old enough that nothing
//! earlier can still arrive, and lets the records of one producer out in
//! sequence.

use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, HashMap, VecDeque};

use foldhash::fast::RandomState;
use virtscope_record::{ProducerId, QueueId, Record, Sequence, Timestamp};

use crate::sequence::unwrap_sequence;

/// One producer of one queue: those whose records share a sequence.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct StreamKey {
    /// The producer.
    pub producer: ProducerId,
    /// The queue.
    pub queue: QueueId,
}

impl StreamKey {
    /// The stream that `record` belongs to.
    pub fn of(record: &Record) -> Self {
        Self {
            producer: record.producer().id(),
            queue: record.queue(),
        }
    }
}

/// How long and how much a [`Merge`] holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MergeConfig {
    /// Nanoseconds for which a record waits for earlier ones of other producers.
    pub window_ns: u64,
    /// Nanoseconds for which it waits when its own predecessor is missing, until
    /// that gap is believed. Records of others wait with it.
    pub gap_window_ns: u64,
    /// The most records held.
    pub capacity: usize,
}

impl MergeConfig {
    /// A window of `window_ns`, ten times that for gaps, and room for `capacity`
    /// records.
    pub const fn new(window_ns: u64, capacity: usize) -> Self {
        Self {
            window_ns,
            gap_window_ns: window_ns.saturating_mul(10),
            capacity,
        }
    }
}

/// Orders items by time. Nothing that goes in fails to come out.
///
/// What comes out is in the order of (time, producer, sequence, queue), except
/// that an item never overtakes one of its own stream that has a lower sequence
/// and is inside as well; one that is held back so leaves right behind it. (Two
/// threads of one producer may take their times one way round and their numbers
/// the other; a reader who sees the numbers in order knows that nothing is
/// missing.) An item that comes too late for its place leaves at once and is counted in
/// [`late`](Self::late).
///
/// ```
/// use virtscope_captures::{Merge, MergeConfig, StreamKey};
/// use virtscope_record::{Producer, QueueId, Sequence, Timestamp};
///
/// let mut merge = Merge::new(MergeConfig::new(1_000, 64));
/// let key = |producer: Producer| StreamKey { producer: producer.id(), queue: QueueId::new(0, 0) };
/// let at = Timestamp::from_nanos;
/// assert!(merge.push(key(Producer::DriverHalf), Sequence(0), at(20), "second").is_none());
/// assert!(merge.push(key(Producer::DeviceHalf), Sequence(0), at(10), "first").is_none());
/// assert_eq!(merge.pop_due(at(500)), None);
/// assert_eq!(merge.pop_due(at(1_015)), Some("first"));
/// assert_eq!(merge.pop_due(at(1_015)), None);
/// assert_eq!(merge.pop(), Some("second"));
/// ```
#[derive(Debug)]
pub struct Merge<T> {
    config: MergeConfig,
    numbers: HashMap<StreamKey, usize, RandomState>,
    streams: Vec<Stream<T>>,
    /// The first item of every stream that holds any. An entry is stale when it
    /// is no longer that; it is thrown away when it comes up.
    heads: BinaryHeap<Reverse<Head>>,
    len: usize,
    arrivals: u64,
    late: u64,
    early: u64,
    released: Timestamp,
}

#[derive(Debug)]
struct Stream<T> {
    key: StreamKey,
    /// One more than the highest sequence that left.
    next: u64,
    /// One more than the highest sequence that came: what the next is near to.
    near: u64,
    held: Line<T>,
}

/// What is held of a stream: the lowest sequence first, equal ones in the order they came.
#[derive(Debug)]
struct Line<T> {
    /// Those that came in order, as nearly all do.
    run: VecDeque<Held<T>>,
    /// Those that came behind a later one. A heap, because the threads of one producer
    /// bring their records in long runs that interleave.
    rest: BinaryHeap<Reverse<Held<T>>>,
}

impl<T> Line<T> {
    const fn new() -> Self {
        Self {
            run: VecDeque::new(),
            rest: BinaryHeap::new(),
        }
    }

    #[inline]
    fn push(&mut self, held: Held<T>) {
        if self.run.back().is_none_or(|last| *last <= held) {
            self.run.push_back(held);
        } else {
            self.rest.push(Reverse(held));
        }
    }

    #[inline]
    fn first(&self) -> Option<&Held<T>> {
        let rest = self.rest.peek().map(|Reverse(held)| held);
        match (self.run.front(), rest) {
            (Some(run), Some(rest)) => Some(run.min(rest)),
            (run, rest) => run.or(rest),
        }
    }

    #[inline]
    fn pop(&mut self) -> Option<Held<T>> {
        let is_of_rest = match (self.run.front(), self.rest.peek()) {
            (Some(run), Some(Reverse(rest))) => rest < run,
            (run, _) => run.is_none(),
        };
        if is_of_rest {
            self.rest.pop().map(|Reverse(held)| held)
        } else {
            self.run.pop_front()
        }
    }
}

#[derive(Debug)]
struct Held<T> {
    sequence: u64,
    arrival: u64,
    time: Timestamp,
    item: T,
}

impl<T> Ord for Held<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.sequence, self.arrival).cmp(&(other.sequence, other.arrival))
    }
}

impl<T> PartialOrd for Held<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> PartialEq for Held<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<T> Eq for Held<T> {}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Head {
    time: Timestamp,
    producer: ProducerId,
    sequence: u64,
    queue: QueueId,
    stream: usize,
}

impl<T> Stream<T> {
    fn head(&self, stream: usize) -> Option<Head> {
        self.held.first().map(|held| Head {
            time: held.time,
            producer: self.key.producer,
            sequence: held.sequence,
            queue: self.key.queue,
            stream,
        })
    }
}

impl<T> Merge<T> {
    /// An empty stage. A capacity of zero holds nothing and orders nothing.
    pub fn new(config: MergeConfig) -> Self {
        Self {
            config,
            numbers: HashMap::default(),
            streams: Vec::new(),
            heads: BinaryHeap::new(),
            len: 0,
            arrivals: 0,
            late: 0,
            early: 0,
            released: Timestamp::default(),
        }
    }

    /// The stream `key` begins with this number: nothing waits for those before it.
    pub fn begin(&mut self, key: StreamKey, number: u64) {
        let stream = self.stream(key);
        if let Some(stream) = self.streams.get_mut(stream) {
            stream.next = stream.next.max(number);
            stream.near = stream.near.max(number);
        }
    }

    fn stream(&mut self, key: StreamKey) -> usize {
        *self.numbers.entry(key).or_insert_with(|| {
            self.streams.push(Stream {
                key,
                next: 0,
                near: 0,
                held: Line::new(),
            });
            self.streams.len() - 1
        })
    }

    /// Puts in `item`, the one with this `sequence` in its stream, of this
    /// `time`. When that is more than fits, the first in order comes out before
    /// it is due.
    #[must_use = "what does not fit comes out, and dropping it would lose it"]
    pub fn push(
        &mut self,
        key: StreamKey,
        sequence: Sequence,
        time: Timestamp,
        item: T,
    ) -> Option<T> {
        let number = self.stream(key);
        if let Some(stream) = self.streams.get_mut(number) {
            let sequence = unwrap_sequence(sequence, stream.near);
            stream.near = stream.near.max(sequence.saturating_add(1));
            if time < self.released || sequence < stream.next {
                self.late += 1;
            }
            let is_first = stream
                .held
                .first()
                .is_none_or(|first| sequence < first.sequence);
            stream.held.push(Held {
                sequence,
                arrival: self.arrivals,
                time,
                item,
            });
            self.arrivals += 1;
            self.len += 1;
            if is_first {
                self.heads.extend(stream.head(number).map(Reverse));
            }
        }
        if self.len > self.config.capacity {
            self.early += 1;
            self.pop()
        } else {
            None
        }
    }

    /// Puts in `item`, which goes with `record`. See [`push`](Self::push).
    #[must_use = "what does not fit comes out, and dropping it would lose it"]
    pub fn push_record(&mut self, record: &Record, item: T) -> Option<T> {
        self.push(
            StreamKey::of(record),
            record.sequence(),
            record.time(),
            item,
        )
    }

    /// The first item in order, if it has waited long enough at `now`: a clock
    /// that all producers share, or the latest time seen in a file.
    pub fn pop_due(&mut self, now: Timestamp) -> Option<T> {
        let head = self.first()?;
        let expected = self.streams.get(head.stream)?.next;
        let wait = if head.sequence > expected {
            self.config.gap_window_ns
        } else {
            self.config.window_ns
        };
        // A late item has had its time: nothing is gained by holding it.
        let is_late = head.sequence < expected || head.time < self.released;
        let is_due = now >= head.time && now.nanos_since(head.time) >= wait;
        if is_late || is_due { self.pop() } else { None }
    }

    /// The first item in order, due or not: what remains at the end is popped so.
    pub fn pop(&mut self) -> Option<T> {
        let head = self.first()?;
        self.heads.pop();
        let stream = self.streams.get_mut(head.stream)?;
        let held = stream.held.pop()?;
        self.heads.extend(stream.head(head.stream).map(Reverse));
        stream.next = stream.next.max(held.sequence + 1);
        self.released = self.released.max(held.time);
        self.len -= 1;
        Some(held.item)
    }

    /// The first item's head, once stale ones are out of the way.
    fn first(&mut self) -> Option<Head> {
        loop {
            let Reverse(head) = *self.heads.peek()?;
            let current = self
                .streams
                .get(head.stream)
                .and_then(|stream| stream.head(head.stream));
            if current == Some(head) {
                return current;
            }
            self.heads.pop();
        }
    }

    /// How many items are inside.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is inside.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Items that came when later ones had left already.
    pub const fn late(&self) -> u64 {
        self.late
    }

    /// Items that had to leave before they were due, for want of room.
    pub const fn early(&self) -> u64 {
        self.early
    }
}
