//! A buffer that the device keeps while it returns those added after it.

use std::collections::VecDeque;
use std::sync::Arc;

use virtscope_record::Timestamp;

use super::case::{Case, Ended, is_cut, is_request};
use super::finding::{Evidence, Found, Verdict};
use super::signs::Signs;
use super::stuck_request::{STUCK_NS, age};
use super::{About, Detector, FindingCode, MOST_EVIDENCE, Severity, Tally, count};
use crate::format_duration;
use crate::life::{Incomplete, Life, Outcome};

/// So many rings full of buffers must have come back since.
const RINGS: u64 = 4;
/// And so many buffers at least.
const LEAST_PASSED: u64 = 100;
/// Moments for which the number of buffers that had come back is known.
const MARKS: usize = 256;

pub(super) const ABOUT: About = About {
    severity: Severity::Error,
    sentence: "The device never returned a buffer, while it returned many that were added later.",
    spec: "virtio 1.4 §2.7.14, §2.6",
    advice: "The device has forgotten the request, or one file or disk behind it hangs while \
             others answer: look for this request in the device's log.",
};

/// Buffers left behind.
#[derive(Debug)]
pub(super) struct TokenNeverReturned {
    returned: u64,
    /// How many had come back when, oldest first.
    marks: VecDeque<(Timestamp, u64)>,
    /// Time between marks, ns; doubles when there are too many.
    spacing_ns: u64,
    /// Those whose id was given to another buffer, and those left until a reset.
    reused: Tally,
    cut: Tally,
}

impl Default for TokenNeverReturned {
    fn default() -> Self {
        Self {
            returned: 0,
            marks: VecDeque::new(),
            spacing_ns: 100_000_000,
            reused: Tally::default(),
            cut: Tally::default(),
        }
    }
}

impl Detector for TokenNeverReturned {
    const CODE: FindingCode = FindingCode::TokenNeverReturned;

    #[inline]
    fn life(&mut self, ended: &Ended<'_>) {
        if let Some(used) = ended.life.moments.used {
            self.returned += 1;
            let due = self
                .marks
                .back()
                .is_none_or(|(last, _)| used.nanos_since(*last) >= self.spacing_ns);
            if due {
                self.mark(used);
            }
        }
        if is_cut(ended.life) && is_request(ended.life) {
            self.cut(ended.life, ended.signs);
        }
        if ended.life.outcome == Outcome::Incomplete(Incomplete::IdReused) {
            let life = ended.life;
            let added = life.began().unwrap_or_default();
            self.reused.add(added, || {
                let text = format!(
                    "its id {} was added again though it never came back",
                    life.head
                );
                Evidence::at(added, text).of(&Arc::new(life.clone()))
            });
        }
    }

    fn judge(&self, case: &Case<'_>) -> Verdict {
        let enough = enough(case.signs);
        let mut left = Vec::new();
        // Those the device has not taken yet it has not kept.
        for life in case.stuck_requests() {
            let known_taken = life.moments.taken.is_some() || !case.device_half_known();
            let Some(added) = life.moments.added else {
                continue;
            };
            let passed = self.returned_since(added);
            let kept = known_taken && life.moments.returned.is_none();
            if kept && age(&life, case) >= STUCK_NS && passed >= enough {
                left.push((passed, Arc::new(life)));
            }
        }
        let unseen = left.len() as u64 + self.cut.count;
        // Near a loss no id counts as given again. Of what was left out on purpose the holes
        // say nothing, and a return may be among it.
        let doubtful = if case.queue.is_part() {
            unseen + self.reused.count
        } else {
            unseen
        };
        if let (Some(doubt), 1..) = (case.doubt, doubtful) {
            return Verdict::Undecided(format!(
                "{} not seen to come back while many others did, but {doubt}",
                count(doubtful, "buffer was", "buffers were")
            ));
        }
        let total = self.reused.count + unseen;
        if total == 0 {
            return Verdict::Nothing;
        }
        let kept = left.iter().map(|(passed, life)| {
            let text = format!(
                "{} id {}, in flight for {} while {passed} came back that were added or in flight later",
                life.operation.name(),
                life.head,
                format_duration(age(life, case))
            );
            Evidence::at(life.began().unwrap_or_default(), text).of(life)
        });
        let evidence: Vec<_> = kept
            .chain(self.cut.evidence.iter().cloned())
            .chain(self.reused.evidence.iter().cloned())
            .take(MOST_EVIDENCE)
            .collect();
        let first = left.first().and_then(|(_, life)| life.began());
        Verdict::Found(Found {
            summary: format!(
                "{} not come back, while {} others did.",
                count(total, "buffer has", "buffers have"),
                left.first().map_or(self.returned, |(passed, _)| *passed)
            ),
            count: total,
            first: self.reused.first.or(self.cut.first).or(first),
            last: self.reused.last.or(self.cut.last).or(first),
            evidence,
        })
    }
}

/// How many buffers must have come back since.
fn enough(signs: &Signs) -> u64 {
    (RINGS * u64::from(signs.size)).max(LEAST_PASSED)
}

impl TokenNeverReturned {
    #[cold]
    fn cut(&mut self, life: &Life, signs: &Signs) {
        let moments = &life.moments;
        let Some(added) = moments.added else { return };
        let kept = moments.returned.is_none() && (moments.taken.is_some() || !signs.device_half);
        let passed = self.returned_since(added);
        let waited = signs.now.nanos_since(added);
        if !kept || waited < STUCK_NS || passed < enough(signs) {
            return;
        }
        self.cut.add(added, || {
            let text = format!(
                "{} id {}, in flight for {} until it was given up, while {passed} came back",
                life.operation.name(),
                life.head,
                format_duration(waited)
            );
            Evidence::at(added, text).of(&Arc::new(life.clone()))
        });
    }

    #[cold]
    fn mark(&mut self, now: Timestamp) {
        self.marks.push_back((now, self.returned));
        if self.marks.len() > MARKS {
            let mut keep = false;
            self.marks.retain(|_| {
                keep = !keep;
                keep
            });
            self.spacing_ns = self.spacing_ns.saturating_mul(2);
        }
    }

    /// The least number of buffers that have come back since `moment`.
    fn returned_since(&self, moment: Timestamp) -> u64 {
        let at = self.marks.partition_point(|(time, _)| *time < moment);
        self.marks
            .get(at)
            .map_or(0, |(_, returned)| self.returned - returned)
    }
}
