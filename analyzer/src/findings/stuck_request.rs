//! A request that does not come back, and the oldest there is now.

use std::sync::Arc;

use virtscope_record::Timestamp;

use super::case::{Case, Ended, is_cut, is_request};
use super::finding::{Evidence, Found, Verdict};
use super::{About, Detector, FindingCode, MOST_EVIDENCE, Severity, Tally, count};
use crate::format_duration;
use crate::life::{Life, Outcome};

/// How long a request may be in flight before it counts as stuck. Slow disks and
/// busy machines answer within a second; who waits for two has noticed it.
pub(super) const STUCK_NS: u64 = 2_000_000_000;

pub(super) const ABOUT: About = About {
    severity: Severity::Error,
    sentence: "A request was given to the device and did not come back for two seconds or more.",
    spec: "virtio 1.4 §2.6",
    advice: "See which phase it is stuck in: before the device took it, look at kicks; in the \
             device, look at the device's own log; returned and not taken back, look at interrupts.",
};

/// Requests that were in flight for [`STUCK_NS`] or longer.
#[derive(Default, Debug)]
pub(super) struct StuckRequest {
    /// Those that came back in the end, the longest first.
    came_back: Vec<Arc<Life>>,
    count: u64,
    first: Option<Timestamp>,
    last: Option<Timestamp>,
    /// Those that hung until a reset.
    cut: Tally,
    /// Those that were in flight for so long only if time passed of which nothing tells.
    unsure: u64,
}

impl Detector for StuckRequest {
    const CODE: FindingCode = FindingCode::StuckRequest;

    #[inline]
    fn life(&mut self, ended: &Ended<'_>) {
        let life = ended.life;
        match life.outcome {
            Outcome::Complete(phases) if phases.total_ns() >= STUCK_NS && is_request(life) => {
                let known = ended.signs.known_ns(life.moments.added, phases.total_ns());
                if known >= STUCK_NS {
                    self.came_back(life);
                } else {
                    self.unsure += 1;
                }
            }
            Outcome::Incomplete(_) if is_cut(life) && is_request(life) => {
                self.cut(life, ended.signs.now);
            }
            _ => {}
        }
    }

    fn judge(&self, case: &Case<'_>) -> Verdict {
        let mut stuck = case.stuck_requests();
        let unseen = stuck.len() as u64 + self.cut.count;
        if let (Some(doubt), 1..) = (case.doubt, unseen) {
            if self.count == 0 {
                return Verdict::Undecided(format!(
                    "{} not seen to come back for two seconds or longer, but {doubt}",
                    count(unseen, "request was", "requests were")
                ));
            }
            stuck.clear();
        }
        let cut = if case.doubt.is_some() {
            0
        } else {
            self.cut.count
        };
        let total = self.count + cut + stuck.len() as u64;
        if total == 0 && self.unsure > 0 {
            return Verdict::Undecided(case.unsure(self.unsure, "two seconds"));
        }
        if total == 0 {
            return Verdict::Nothing;
        }
        let stuck: Vec<_> = stuck.into_iter().map(Arc::new).collect();
        let mut evidence = self.evidence(&stuck, case);
        if cut > 0 {
            evidence.extend(self.cut.evidence.iter().cloned());
            evidence.truncate(MOST_EVIDENCE);
        }
        let began = stuck.first().and_then(|life| life.began());
        let firsts = [self.first, self.cut.first, began];
        let now = (!stuck.is_empty()).then_some(case.now);
        Verdict::Found(Found {
            summary: self.summary(&stuck, cut, case),
            count: total,
            first: firsts.into_iter().flatten().min(),
            last: now.max(self.last).max(self.cut.last),
            evidence,
        })
    }
}

impl StuckRequest {
    #[cold]
    fn came_back(&mut self, life: &Life) {
        self.count += 1;
        self.first = self.first.or(life.began());
        self.last = life.moments.used;
        let at = self
            .came_back
            .partition_point(|other| other.total_ns() >= life.total_ns());
        if at < MOST_EVIDENCE {
            self.came_back.insert(at, Arc::new(life.clone()));
            self.came_back.truncate(MOST_EVIDENCE);
        }
    }

    #[cold]
    fn cut(&mut self, life: &Life, now: Timestamp) {
        let Some(added) = life.moments.added else {
            return;
        };
        let ns = now.nanos_since(added);
        if ns < STUCK_NS {
            return;
        }
        self.cut.add(added, || {
            let text = format!(
                "{} id {}, in flight for {} until it was given up: {}",
                life.operation.name(),
                life.head,
                format_duration(ns),
                whereabouts(life)
            );
            Evidence::at(added, text).of(&Arc::new(life.clone()))
        });
    }

    fn summary(&self, stuck: &[Arc<Life>], cut: u64, case: &Case<'_>) -> String {
        match (stuck.first(), self.came_back.first()) {
            (None, _) if cut > 0 => format!(
                "{} stuck in flight until the queue was reset or taken down.",
                count(cut, "request was", "requests were")
            ),
            (Some(oldest), _) => format!(
                "{} in flight, the oldest for {}: {}.",
                count(stuck.len() as u64, "request is stuck", "requests are stuck"),
                format_duration(age(oldest, case)),
                whereabouts(oldest)
            ),
            (None, longest) => format!(
                "{} in flight for two seconds or longer, the longest for {}; they came back.",
                count(self.count, "request was", "requests were"),
                format_duration(longest.and_then(|life| life.total_ns()).unwrap_or(0))
            ),
        }
    }

    fn evidence(&self, stuck: &[Arc<Life>], case: &Case<'_>) -> Vec<Evidence> {
        let stuck = stuck.iter().map(|life| {
            let text = format!(
                "{} id {}, in flight for {}: {}",
                life.operation.name(),
                life.head,
                format_duration(age(life, case)),
                whereabouts(life)
            );
            Evidence::at(life.began().unwrap_or_default(), text).of(life)
        });
        let came_back = self.came_back.iter().map(|life| {
            let text = format!(
                "{} id {} took {}",
                life.operation.name(),
                life.head,
                format_duration(life.total_ns().unwrap_or(0))
            );
            Evidence::at(life.began().unwrap_or_default(), text).of(life)
        });
        stuck.chain(came_back).take(MOST_EVIDENCE).collect()
    }
}

/// How long a life in flight has lasted.
pub(super) fn age(life: &Life, case: &Case<'_>) -> u64 {
    life.moments.added.map_or(0, |added| case.since(added))
}

/// What is known of where a request in flight is.
pub(super) fn whereabouts(life: &Life) -> &'static str {
    let moments = &life.moments;
    match (moments.kicked, moments.taken, moments.returned) {
        (_, _, Some(_)) => "the device returned it, and the driver has not taken it back",
        (_, Some(_), None) => "the device took it and has not returned it",
        (Some(_), None, None) if life.kick.is_some_and(|kick| kick.needed) => {
            "the device was notified of it and is not known to have taken it"
        }
        (Some(_), None, None) => {
            "the device wanted no notification and is not known to have taken it"
        }
        (None, None, None) => "no kick decision was made about it",
    }
}
