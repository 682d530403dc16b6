//! What a detector is told and may look at.

use virtscope_record::{Body, Record, Timestamp};

use crate::life::Life;
use crate::queue::Queue;

/// A record of the queue's present generation.
#[derive(Clone, Copy)]
pub(super) struct Seen<'a> {
    pub(super) record: &'a Record,
    pub(super) time: Timestamp,
    pub(super) body: &'a Body,
}

/// A life that has just ended.
#[derive(Clone, Copy)]
pub(super) struct Ended<'a> {
    pub(super) life: &'a Life,
}

/// A queue at the moment of judgement.
#[derive(Clone, Copy)]
pub(super) struct Case<'a> {
    pub(super) queue: &'a Queue,
    /// The present, as far as it is known.
    pub(super) now: Timestamp,
    /// Why on this queue the absence of a record proves nothing, if so: a sentence
    /// without its full stop.
    pub(super) doubt: Option<&'a str>,
}

impl Case<'_> {
    /// How long ago `time` was, ns.
    pub(super) fn since(&self, time: Timestamp) -> u64 {
        self.now.nanos_since(time)
    }

    /// The oldest lives in flight which are requests: see [`is_request`].
    pub(super) fn oldest_requests(&self, most: usize) -> Vec<Life> {
        let mut lives = self.queue.open_lives(usize::MAX);
        lives.retain(is_request);
        lives.truncate(most);
        lives
    }
}

/// Whether the device owes an answer for this buffer. One without a device-readable
/// part is room for what may come some day: a packet, a key, an event (virtio 1.4
/// §5.1.6.3 and others); it may rightly lie there for ever.
pub(super) fn is_request(life: &Life) -> bool {
    life.shape.readable_bytes > 0
}
