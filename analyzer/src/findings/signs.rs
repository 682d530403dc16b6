//! The latest signs of life of both halves, which several detectors look at.

use virtscope_record::{Body, Flags, Timestamp};

/// Moments that are remembered of each kind. Who looks back does so over a stretch in
/// which little happened.
const REMEMBERED: usize = 64;

/// When what last happened on a queue.
#[derive(Clone, Default, Debug)]
pub(super) struct Signs {
    /// Kicks that were sent.
    pub(super) kicks: Latest,
    /// Interrupts that the device's half sent.
    pub(super) interrupts: Latest,
    /// Callbacks.
    pub(super) callbacks: Latest,
    /// Buffers taken back by the driver.
    pub(super) used: Latest,
    /// What the device's half did.
    pub(super) device: Latest,
    /// Whether the device's half makes records.
    pub(super) device_half: bool,
    /// The time of the latest record.
    pub(super) now: Timestamp,
    /// Entries of the ring; 0 if it is not known.
    pub(super) size: u16,
    /// The latest stretch of time of which nothing tells, if there was one.
    pub(super) still: Option<Still>,
}

/// A stretch of time of which no record tells, of whatever queue: the recorder stood still,
/// or the clock was set forward, so that it did not pass at all.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Still {
    pub(crate) from: Timestamp,
    pub(crate) to: Timestamp,
}

impl Still {
    pub(crate) fn ns(self) -> u64 {
        self.to.nanos_since(self.from)
    }
}

impl Signs {
    /// How long a buffer was in flight, as far as that is known: what began before such a
    /// stretch, and was over behind it, may have taken so much less.
    #[inline]
    pub(super) fn known_ns(&self, began: Option<Timestamp>, ns: u64) -> u64 {
        match self.still {
            Some(still) if began.is_some_and(|began| began <= still.from) => {
                ns.saturating_sub(still.ns())
            }
            _ => ns,
        }
    }

    #[inline(always)]
    pub(super) fn record(&mut self, time: Timestamp, flags: Flags, body: &Body, size: u16) {
        self.now = time;
        self.size = size;
        match body {
            Body::Kick(_) if flags.contains(Flags::NOTIFICATION_NEEDED) => self.kicks.push(time),
            Body::Callback(_) => self.callbacks.push(time),
            Body::Used(_) => self.used.push(time),
            Body::Taken(_) | Body::Returned(_) => {
                self.device_half = true;
                self.device.push(time);
            }
            Body::InterruptSent(_) => {
                self.device.push(time);
                if flags.contains(Flags::NOTIFICATION_NEEDED) {
                    self.interrupts.push(time);
                }
            }
            _ => {}
        }
    }
}

/// The latest moments of one kind.
#[derive(Clone, Debug)]
pub(super) struct Latest {
    times: [Timestamp; REMEMBERED],
    count: u64,
}

impl Default for Latest {
    fn default() -> Self {
        Self {
            times: [Timestamp::default(); REMEMBERED],
            count: 0,
        }
    }
}

impl Latest {
    #[inline]
    fn push(&mut self, time: Timestamp) {
        self.times[self.count as usize % REMEMBERED] = time;
        self.count += 1;
    }

    /// The remembered ones, in the order they came.
    fn all(&self) -> impl Iterator<Item = Timestamp> {
        let known = self.count.min(REMEMBERED as u64);
        (self.count - known..self.count).map(|at| self.times[at as usize % REMEMBERED])
    }

    /// Those after `from` and not after `to`, as far as remembered.
    pub(super) fn between(
        &self,
        from: Timestamp,
        to: Timestamp,
    ) -> impl Iterator<Item = Timestamp> {
        self.all().filter(move |time| from < *time && *time <= to)
    }

    /// The last one before `moment`, as far as remembered.
    pub(super) fn last_before(&self, moment: Timestamp) -> Option<Timestamp> {
        self.all().filter(|time| *time < moment).max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_are_remembered() {
        let mut latest = Latest::default();
        let at = Timestamp::from_nanos;
        for ns in 1..=100 {
            latest.push(at(ns));
        }
        assert_eq!(latest.between(at(90), at(95)).count(), 5);
        assert_eq!(latest.between(at(0), at(100)).count(), REMEMBERED);
        assert_eq!(latest.last_before(at(50)), Some(at(49)));
        assert_eq!(latest.last_before(at(20)), None);
    }
}
