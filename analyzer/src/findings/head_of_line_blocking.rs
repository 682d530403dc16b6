//! Requests that wait behind a slow one.

use std::sync::Arc;

use virtscope_record::Timestamp;

use super::case::{Case, Ended, is_request};
use super::finding::{Evidence, Verdict};
use super::{About, Detector, FindingCode, Severity, Tally};
use crate::format_duration;
use crate::life::Life;

/// A request slow enough to be in the way of others.
pub(super) const SLOW_NS: u64 = 50_000_000;
/// So many others must have come back right behind it.
pub(super) const LEAST_FOLLOWERS: u64 = 4;
/// How soon behind it, as a part of the time it took.
pub(super) const BEHIND_PART: u64 = 50;
/// So often must it have happened.
pub(super) const LEAST_TIMES: u64 = 8;
/// The share of all time in requests, in percent, that was spent waiting so. A machine
/// that stalls holds up everybody for a moment; that is a small part of the whole.
pub(super) const BLOCKED_PERCENT: u64 = 60;

/// More out of order than this, in percent of all, and there is no head of the line.
pub(super) const OVERTAKEN_PERCENT: u64 = 1;

pub(super) const ABOUT: About = About {
    severity: Severity::Warning,
    sentence: "Requests that were done or could have been waited behind a slow one.",
    spec: "virtio 1.4 §2.7.9, §2.8.8",
    advice: "Do without VIRTIO_F_IN_ORDER where requests differ in their time, give the device more \
             threads, or put slow requests on a queue of their own.",
};

/// Who waited behind whom.
#[derive(Default, Debug)]
pub(super) struct HeadOfLineBlocking {
    /// Of all requests that ended, ns.
    total_ns: u64,
    /// The latest slow one, and who came back right behind it.
    slow: Option<Slow>,
    /// When a request last came back before one that was added earlier.
    overtaken: Option<Timestamp>,
    blocked_ns: u64,
    times: Tally,
}

#[derive(Debug)]
struct Slow {
    life: Arc<Life>,
    added: Timestamp,
    used: Timestamp,
    followers: u64,
    /// Time that those waited, while it was in the way.
    blocked_ns: u64,
}

impl Detector for HeadOfLineBlocking {
    const CODE: FindingCode = FindingCode::HeadOfLineBlocking;

    #[inline]
    fn life(&mut self, ended: &Ended<'_>) {
        let life = ended.life;
        let Some(phases) = life.phases() else { return };
        let ns = phases.total_ns();
        self.total_ns = self.total_ns.saturating_add(ns);
        if life.out_of_order {
            self.overtaken = life.moments.used;
        }
        if self.slow.is_some() || ns >= SLOW_NS {
            self.consider(life, ns);
        }
    }

    fn judge(&self, case: &Case<'_>) -> Verdict {
        // Where requests overtake each other nobody has to wait behind another.
        let counts = &case.queue.counts;
        let completed = counts.announced + counts.polled;
        if counts.out_of_order.saturating_mul(100) > completed.saturating_mul(OVERTAKEN_PERCENT) {
            return Verdict::Nothing;
        }
        let (mut times, mut blocked_ns) = (self.times.clone(), self.blocked_ns);
        if let Some(slow) = self.slow.as_ref().filter(|slow| self.was_in_the_way(slow)) {
            blocked_ns = blocked_ns.saturating_add(slow.blocked_ns);
            times.add(slow.added, || slow.evidence());
        }
        let percent = (blocked_ns.saturating_mul(100))
            .checked_div(self.total_ns)
            .unwrap_or(0);
        if times.count < LEAST_TIMES || percent < BLOCKED_PERCENT {
            return Verdict::Nothing;
        }
        times.verdict(|many| {
            format!(
                "{} a slow request held up those behind it: {percent} % of all time in requests was \
                 spent so.",
                super::sentence(&super::times(many))
            )
        })
    }
}

impl HeadOfLineBlocking {
    #[cold]
    fn consider(&mut self, life: &Life, ns: u64) {
        let (Some(added), Some(used)) = (life.moments.added, life.moments.used) else {
            return;
        };
        if let Some(slow) = &mut self.slow {
            let behind =
                used.nanos_since(slow.used) <= slow.used.nanos_since(slow.added) / BEHIND_PART;
            if behind && used >= slow.used && added > slow.added && added < slow.used {
                slow.followers += 1;
                let ns = slow.used.nanos_since(added);
                slow.blocked_ns = slow.blocked_ns.saturating_add(ns);
                return;
            }
            if behind {
                return;
            }
            self.close();
        }
        if ns >= SLOW_NS && is_request(life) && was_served_slowly(life, ns) {
            self.slow = Some(Slow {
                life: Arc::new(life.clone()),
                added,
                used,
                followers: 0,
                blocked_ns: 0,
            });
        }
    }

    /// The one that was in the way has no more followers.
    fn close(&mut self) {
        let Some(slow) = self.slow.take() else { return };
        if self.was_in_the_way(&slow) {
            self.blocked_ns = self.blocked_ns.saturating_add(slow.blocked_ns);
            self.times.add(slow.added, || slow.evidence());
        }
    }

    /// Whoever is overtaken is in nobody's way.
    fn was_in_the_way(&self, slow: &Slow) -> bool {
        let overtaken = self
            .overtaken
            .is_some_and(|time| slow.added < time && time < slow.used);
        !overtaken && slow.followers >= LEAST_FOLLOWERS
    }
}

/// Whether the device worked on it for most of its time, where that is known: one
/// that lay waiting itself was in nobody's way.
fn was_served_slowly(life: &Life, ns: u64) -> bool {
    life.service_ns().is_none_or(|service| service >= ns / 2)
}

impl Slow {
    fn evidence(&self) -> Evidence {
        let text = format!(
            "{} id {} took {}, and {} behind it came back with it",
            self.life.operation.name(),
            self.life.head,
            format_duration(self.used.nanos_since(self.added)),
            self.followers
        );
        Evidence::at(self.added, text).of(&self.life)
    }
}
