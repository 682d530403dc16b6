//! What is known of one stream.

use virtscope_record::{ProducerId, QueueId, Record, Timestamp};

use super::line::Line;
use super::run::Place;

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

#[derive(Debug)]
pub(super) struct Stream<T> {
    pub(super) key: StreamKey,
    /// One more than the highest sequence that left.
    pub(super) next: u64,
    /// One more than the highest sequence that came: what the next is near to.
    pub(super) near: u64,
    /// The latest time that came.
    pub(super) latest: Timestamp,
    /// What `near` was when an item had come out of order. Until those before it have left,
    /// nothing of this stream is in the run.
    pub(super) trusted_from: u64,
    /// Its items that are not in the run.
    pub(super) line: Line<T>,
}

/// The order in which items leave, as far as their streams' own order allows.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Head {
    time: Timestamp,
    producer: ProducerId,
    sequence: u64,
    queue: QueueId,
    pub(super) stream: usize,
}

impl Head {
    pub(super) const fn place(&self) -> Place {
        Place {
            time: self.time,
            sequence: self.sequence,
            stream: self.stream,
        }
    }
}

impl<T> Stream<T> {
    pub(super) const fn new(key: StreamKey) -> Self {
        Self {
            key,
            next: 0,
            near: 0,
            latest: Timestamp::from_nanos(0),
            trusted_from: 0,
            line: Line::new(),
        }
    }

    /// Whether its items may be in the run.
    #[inline]
    pub(super) const fn is_trusted(&self) -> bool {
        self.next >= self.trusted_from
    }

    /// The order of an item of this stream at this place.
    pub(super) const fn head_at(&self, place: &Place) -> Head {
        Head {
            time: place.time,
            producer: self.key.producer,
            sequence: place.sequence,
            queue: self.key.queue,
            stream: place.stream,
        }
    }

    /// The order of the first in the line; `stream` is this stream's number.
    pub(super) fn head(&self, stream: usize) -> Option<Head> {
        self.line.first().map(|held| {
            self.head_at(&Place {
                time: held.time,
                sequence: held.sequence,
                stream,
            })
        })
    }
}
