//! What a detector is told and may look at.

use virtscope_record::{Body, Flags, Record, RingIndex, Timestamp};

use super::count;
use super::signs::Signs;
use super::stuck_request::STUCK_NS;
use crate::life::{Incomplete, Life, Outcome};
use crate::lives::Lives;
use crate::queue::Queue;

/// A record of the queue's present generation.
#[derive(Clone, Copy)]
pub(super) struct Seen<'a> {
    pub(super) record: &'a Record,
    pub(super) time: Timestamp,
    pub(super) body: &'a Body,
    /// Entries of the ring; 0 if it is not known.
    pub(super) size: u16,
    /// Those in flight.
    pub(super) lives: &'a Lives,
}

impl Seen<'_> {
    /// Whether `to`, an index of a split ring, is further ahead of `from` than the ring
    /// has entries.
    #[inline]
    pub(super) fn is_jump(&self, from: RingIndex, to: RingIndex) -> bool {
        to.distance_from(from) > self.size
            && self.size > 0
            && !self.record.flags().contains(Flags::PACKED)
    }
}

/// A life that has just ended.
#[derive(Clone, Copy)]
pub(super) struct Ended<'a> {
    pub(super) life: &'a Life,
    pub(super) signs: &'a Signs,
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
    pub(super) signs: &'a Signs,
}

impl Case<'_> {
    /// How long ago `time` was, ns.
    pub(super) fn since(&self, time: Timestamp) -> u64 {
        self.now.nanos_since(time)
    }

    /// Why so many requests, that took `least` or longer if the clock is right, are none
    /// for certain.
    #[cold]
    pub(super) fn unsure(&self, requests: u64, least: &str) -> String {
        format!(
            "{} in flight for {least} or longer if time passed while nothing was recorded, but the \
             clock may have been set forward",
            count(requests, "request was", "requests were"),
        )
    }

    /// Whether the device's half of the queue makes records too, so that it would be
    /// known if it took a buffer.
    pub(super) fn device_half_known(&self) -> bool {
        self.signs.device_half
    }

    /// The oldest request that is not known to have been taken, if it is stuck.
    pub(super) fn first_untaken(&self) -> Option<Life> {
        let mut lives = self.stuck_requests().into_iter();
        lives.find(is_untaken)
    }

    /// How many requests are not known to have been taken.
    pub(super) fn untaken(&self) -> u64 {
        let lives = self.queue.open();
        lives
            .filter(|life| is_request(life) && is_untaken(life))
            .count() as u64
    }

    /// The requests that are known to have been in flight for [`STUCK_NS`], oldest first.
    pub(super) fn stuck_requests(&self) -> Vec<Life> {
        let stuck = |life: &Life| match life.moments.added {
            Some(added) => self.signs.known_ns(Some(added), self.since(added)) >= STUCK_NS,
            // Begun before the capture.
            None => true,
        };
        // Nearly always there is none, and none is cloned.
        let old = self.queue.open().take_while(|life| stuck(life)).count();
        let mut lives = self.queue.open_lives(old);
        lives.retain(|life| life.moments.added.is_some() && is_request(life));
        lives
    }
}

/// Whether a life was cut short in the ring's prime: by a reset, or taken out unused.
pub(super) fn is_cut(life: &Life) -> bool {
    matches!(
        life.outcome,
        Outcome::Incomplete(Incomplete::QueueReset | Incomplete::Detached)
    )
}

/// Whether the device owes an answer for this buffer. One without a device-readable
/// part is room for what may come some day: a packet, a key, an event (virtio 1.4
/// §5.1.6.3 and others); it may rightly lie there for ever.
pub(super) fn is_request(life: &Life) -> bool {
    life.shape.readable_bytes > 0
}

fn is_untaken(life: &Life) -> bool {
    life.moments.taken.is_none() && life.moments.returned.is_none()
}
