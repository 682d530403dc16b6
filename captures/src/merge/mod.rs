//! The one stage that puts records of many producers into the order of time.
//!
//! Producers hand their records over in batches, and interrupts and CPUs do so
//! out of order. [`Merge`] holds each record until it is old enough that nothing
//! earlier can still arrive, and lets the records of one producer out in
//! sequence.

mod line;
mod run;
mod stream;

use std::cmp::Reverse;
use std::collections::binary_heap::PeekMut;
use std::collections::{BinaryHeap, HashMap};

use foldhash::fast::RandomState;
use virtscope_record::{Record, Sequence, Timestamp};

use crate::recent::Recent;
use crate::sequence::unwrap_sequence;

use line::Held;
use run::{Place, Run};
use stream::{Head, Stream};

pub use stream::StreamKey;

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
    recent: Recent<usize>,
    streams: Vec<Stream<T>>,
    /// What came in the order of all streams, or nearly so, as nearly everything does. The
    /// rest is in the lines of the streams.
    ///
    /// Whatever a stream has in its line is before or behind each of its items in here by
    /// sequence and by time alike. So the lesser of the first in here and the first of
    /// `heads` is the first of all, and no other of its stream has to leave before it.
    run: Run<T>,
    /// The first item of every line that holds any. An entry is stale when it
    /// is no longer that; it is thrown away when it comes up.
    heads: BinaryHeap<Reverse<Head>>,
    len: usize,
    arrivals: u64,
    late: u64,
    early: u64,
    released: Timestamp,
}

/// Where the item is that is to leave next.
#[derive(Clone, Copy)]
enum First {
    OfRun(Place),
    OfLine(Place),
}

impl First {
    const fn place(self) -> Place {
        match self {
            Self::OfRun(place) | Self::OfLine(place) => place,
        }
    }
}

impl<T> Merge<T> {
    /// An empty stage. A capacity of zero holds nothing and orders nothing.
    pub fn new(config: MergeConfig) -> Self {
        Self {
            config,
            numbers: HashMap::default(),
            recent: Recent::new(0),
            streams: Vec::new(),
            run: Run::new(),
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

    #[inline]
    fn stream(&mut self, key: StreamKey) -> usize {
        match self.recent.get(key.queue, key.producer) {
            Some(number) => number,
            None => self.look_up(key),
        }
    }

    #[cold]
    fn look_up(&mut self, key: StreamKey) -> usize {
        let number = *self.numbers.entry(key).or_insert_with(|| {
            self.streams.push(Stream::new(key));
            self.streams.len() - 1
        });
        self.recent.put(key.queue, key.producer, number);
        number
    }

    /// Puts in `item`, the one with this `sequence` in its stream, of this
    /// `time`. When that is more than fits, the first in order comes out before
    /// it is due.
    #[must_use = "what does not fit comes out, and dropping it would lose it"]
    #[inline]
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
            if time < self.released || sequence < stream.next {
                self.late += 1;
            }
            let is_in_order = sequence >= stream.near && time >= stream.latest;
            stream.near = stream.near.max(sequence.saturating_add(1));
            stream.latest = stream.latest.max(time);
            let place = Place {
                time,
                sequence,
                stream: number,
            };
            if is_in_order && stream.is_trusted() {
                self.put_in_run(place, item);
            } else {
                if !is_in_order {
                    self.distrust(number);
                }
                self.put_in_line(place, item);
            }
            self.len += 1;
        }
        if self.len > self.config.capacity {
            self.early += 1;
            self.pop()
        } else {
            None
        }
    }

    /// Puts in what is behind all that its stream has inside, by sequence and by time.
    #[inline]
    fn put_in_run(&mut self, place: Place, item: T) {
        if self.run.ends_before(&place, &self.streams) {
            self.run.push(place, item);
        } else if let Some(index) = self.run.index_of(&place, &self.streams) {
            self.run.insert(index, place, item);
        } else {
            self.put_in_line(place, item);
        }
    }

    /// An item contradicts the order that its stream has kept so far: none of that stream
    /// may be in the run when it goes in.
    fn distrust(&mut self, stream: usize) {
        let Some(stream) = self.streams.get_mut(stream) else {
            return;
        };
        let front = self.run.front();
        let is_in_run = stream.is_trusted() && front.is_some_and(|it| it.time <= stream.latest);
        // Where one was, more are likely, and each would empty the run again.
        stream.trusted_from = stream.near;
        if is_in_run {
            self.empty_run();
        }
    }

    /// Takes all that is in the run into the lines. No item goes back, so that it is moved
    /// once at most.
    fn empty_run(&mut self) {
        while let Some((place, item)) = self.run.pop() {
            self.put_in_line(place, item);
        }
    }

    #[inline(never)]
    fn put_in_line(&mut self, place: Place, item: T) {
        let Some(stream) = self.streams.get_mut(place.stream) else {
            return;
        };
        let first = stream.line.first();
        let is_first = first.is_none_or(|first| place.sequence < first.sequence);
        stream.line.push(Held {
            sequence: place.sequence,
            arrival: self.arrivals,
            time: place.time,
            item,
        });
        self.arrivals += 1;
        if is_first {
            self.heads.extend(stream.head(place.stream).map(Reverse));
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
    #[inline]
    pub fn pop_due(&mut self, now: Timestamp) -> Option<T> {
        let first = self.first()?;
        let Place {
            time,
            sequence,
            stream,
        } = first.place();
        let expected = self.streams.get(stream)?.next;
        let wait = if sequence > expected {
            self.config.gap_window_ns
        } else {
            self.config.window_ns
        };
        // A late item has had its time: nothing is gained by holding it.
        let is_late = sequence < expected || time < self.released;
        let is_due = now >= time && now.nanos_since(time) >= wait;
        if is_late || is_due {
            self.take(first)
        } else {
            None
        }
    }

    /// The first item in order, due or not: what remains at the end is popped so.
    pub fn pop(&mut self) -> Option<T> {
        let first = self.first()?;
        self.take(first)
    }

    /// Which item is first.
    #[inline(always)]
    fn first(&mut self) -> Option<First> {
        let run = self.run.front().copied();
        if self.heads.is_empty() {
            return run.map(First::OfRun);
        }
        self.first_of_both(run)
    }

    fn first_of_both(&mut self, run: Option<Place>) -> Option<First> {
        let line = self.first_of_lines();
        let head = run.and_then(|place| place.head(&self.streams));
        match (head, line) {
            (Some(run), Some(line)) if run > line => Some(First::OfLine(line.place())),
            (None, line) => line.map(|line| First::OfLine(line.place())),
            _ => run.map(First::OfRun),
        }
    }

    /// The first of the lines' heads, once stale ones are out of the way.
    fn first_of_lines(&mut self) -> Option<Head> {
        loop {
            let Reverse(head) = *self.heads.peek()?;
            let stream = self.streams.get(head.stream);
            let current = stream.and_then(|stream| stream.head(head.stream));
            if current == Some(head) {
                return current;
            }
            self.heads.pop();
        }
    }

    /// Takes out what [`first`](Self::first) has just found.
    #[inline(always)]
    fn take(&mut self, first: First) -> Option<T> {
        let place = first.place();
        let stream = self.streams.get_mut(place.stream)?;
        stream.next = stream.next.max(place.sequence + 1);
        self.released = self.released.max(place.time);
        self.len -= 1;
        match first {
            First::OfRun(_) => self.run.pop().map(|(_, item)| item),
            First::OfLine(_) => self.take_of_line(place.stream),
        }
    }

    #[inline(never)]
    fn take_of_line(&mut self, number: usize) -> Option<T> {
        let stream = self.streams.get_mut(number)?;
        let mut head = self.heads.peek_mut()?;
        let held = stream.line.pop()?;
        match stream.head(number) {
            Some(next) => *head = Reverse(next),
            None => {
                PeekMut::pop(head);
            }
        }
        Some(held.item)
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
