//! Threads that wait because the ring has no room.

use virtscope_record::{Body, Timestamp};

use super::case::{Case, Seen};
use super::finding::{Evidence, Found, Verdict};
use super::{About, Detector, FindingCode, MOST_EVIDENCE, Severity, count};
use crate::format_duration;
use crate::stats::is_no_space;

/// A single wait that counts. A full ring in a burst empties within milliseconds,
/// and that is what a ring is for.
pub(super) const LONG_WAIT_NS: u64 = 1_000_000_000;
/// The share of the time observed, in percent, during which somebody waits for room,
/// that counts however short each wait is.
pub(super) const WAITING_PERCENT: u64 = 80;
/// The least time to judge a share by.
pub(super) const LEAST_OBSERVED_NS: u64 = 5_000_000_000;

/// Threads told apart; the rest go together.
const MOST_THREADS: usize = 64;

pub(super) const ABOUT: About = About {
    severity: Severity::Warning,
    sentence: "Requests waited because the ring had no room for them.",
    spec: "virtio 1.4 §2.6, §2.7.13",
    advice: "Give the queue more entries, negotiate VIRTIO_F_INDIRECT_DESC so that each request \
             takes one entry, spread the load over more queues, or see why the device returns \
             buffers slowly.",
};

/// Who waits for room, since when, and how long that has been.
#[derive(Default, Debug)]
pub(super) struct RingFull {
    threads: Vec<Waiter>,
    /// Threads that wait now.
    waiting: usize,
    /// Since when somebody does.
    since: Option<Timestamp>,
    /// Time in which somebody waited, ns.
    waited_ns: u64,
    waits: u64,
    first: Option<Timestamp>,
    last: Option<Timestamp>,
}

#[derive(Clone, Debug)]
struct Waiter {
    thread: u32,
    since: Option<Timestamp>,
    waits: u64,
    total_ns: u64,
    longest_ns: u64,
}

impl Detector for RingFull {
    const CODE: FindingCode = FindingCode::RingFull;

    #[inline(always)]
    fn record(&mut self, seen: &Seen<'_>) {
        match seen.body {
            // Room for what may come is kept full on purpose.
            Body::AddFailed(add) if is_no_space(add) && add.readable_bytes > 0 => {
                self.refused(seen);
            }
            Body::Add(_) if self.waiting > 0 => self.added(seen.record.thread(), seen.time),
            Body::Reset(_) if self.waiting > 0 => self.let_go(seen.time),
            _ => {}
        }
    }

    fn judge(&self, case: &Case<'_>) -> Verdict {
        let now = case.now;
        let mut threads = self.threads.clone();
        for thread in &mut threads {
            if let Some(since) = thread.since {
                thread.ended(now.nanos_since(since));
            }
        }
        threads.sort_by_key(|thread| std::cmp::Reverse(thread.longest_ns));
        let longest = threads.first().map_or(0, |thread| thread.longest_ns);
        let waiting = self.since.map_or(0, |since| now.nanos_since(since));
        let waited = self.waited_ns.saturating_add(waiting);
        let observed = case.queue.occupancy.view(Some(now)).observed_ns;
        let share = (waited.saturating_mul(100))
            .checked_div(observed)
            .unwrap_or(0);
        let often = observed >= LEAST_OBSERVED_NS && share >= WAITING_PERCENT;
        if longest < LONG_WAIT_NS && !often {
            return Verdict::Nothing;
        }
        let evidence = threads.iter().take(MOST_EVIDENCE).map(|thread| {
            Evidence::text(format!(
                "thread {} waited {}, {} in all, {} at most{}",
                thread.thread,
                super::times(thread.waits),
                format_duration(thread.total_ns),
                format_duration(thread.longest_ns),
                if thread.since.is_some() {
                    ", and waits still"
                } else {
                    ""
                }
            ))
        });
        Verdict::Found(Found {
            summary: format!(
                "{} waited for room in the ring, during {share} % of the time, at most {}.",
                count(threads.len() as u64, "thread", "threads"),
                format_duration(longest)
            ),
            count: self.waits,
            first: self.first,
            last: self.last,
            evidence: evidence.collect(),
        })
    }
}

impl RingFull {
    #[cold]
    fn refused(&mut self, seen: &Seen<'_>) {
        self.first = self.first.or(Some(seen.time));
        self.last = Some(seen.time);
        let Some(waiter) = self.waiter(seen.record.thread()) else {
            return;
        };
        // One that tries again goes on waiting.
        if waiter.since.is_some() {
            return;
        }
        waiter.since = Some(seen.time);
        waiter.waits += 1;
        self.waits += 1;
        self.waiting += 1;
        self.since.get_or_insert(seen.time);
    }

    fn waiter(&mut self, thread: u32) -> Option<&mut Waiter> {
        let at = self.threads.iter().position(|each| each.thread == thread);
        if let Some(at) = at {
            return self.threads.get_mut(at);
        }
        if self.threads.len() == MOST_THREADS {
            return self.threads.last_mut();
        }
        self.threads.push(Waiter {
            thread,
            since: None,
            waits: 0,
            total_ns: 0,
            longest_ns: 0,
        });
        self.threads.last_mut()
    }

    fn added(&mut self, thread: u32, now: Timestamp) {
        let waiter = self
            .threads
            .iter_mut()
            .find(|each| each.thread == thread && each.since.is_some());
        let Some(waiter) = waiter else { return };
        if let Some(since) = waiter.since.take() {
            waiter.ended(now.nanos_since(since));
            self.waiting -= 1;
            self.nobody_waits(now);
        }
    }

    /// Nobody waits for room in a ring that is gone.
    fn let_go(&mut self, now: Timestamp) {
        for waiter in &mut self.threads {
            if let Some(since) = waiter.since.take() {
                waiter.ended(now.nanos_since(since));
            }
        }
        self.waiting = 0;
        self.nobody_waits(now);
    }

    fn nobody_waits(&mut self, now: Timestamp) {
        if self.waiting == 0
            && let Some(since) = self.since.take()
        {
            self.waited_ns = self.waited_ns.saturating_add(now.nanos_since(since));
        }
    }
}

impl Waiter {
    fn ended(&mut self, ns: u64) {
        self.total_ns = self.total_ns.saturating_add(ns);
        self.longest_ns = self.longest_ns.max(ns);
    }
}
