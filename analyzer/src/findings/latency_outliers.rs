//! Requests that took very much longer than others of their kind.

use std::sync::Arc;

use super::case::{Case, Ended, is_request};
use super::finding::{Evidence, Found, Verdict};
use super::{About, Detector, FindingCode, MOST_EVIDENCE, Severity, count};
use crate::format_duration;
use crate::life::{Life, Operation};
use crate::lives::Lives;

/// The least latency that can be one. A machine with far more to do than it has CPUs
/// makes a request wait for some hundreds of milliseconds now and then.
pub(super) const OUTLIER_NS: u64 = 1_000_000_000;
/// How many times longer than 99 % of its kind it must have taken.
pub(super) const OUTLIER_TIMES: u64 = 20;
/// So many of its kind must be known.
pub(super) const LEAST_OF_KIND: u64 = 100;

/// Kinds told apart: 9P requests by type, and buffers of other queues.
const KINDS: usize = 256;

pub(super) const ABOUT: About = About {
    severity: Severity::Warning,
    sentence: "A few requests took very much longer than nearly all others of their kind.",
    spec: "virtio 1.4 §2.6 (nothing bounds how long a device may keep a buffer)",
    advice: "See in its phases where it waited, and what else was in flight then: a disk that \
             flushes, a lock that others hold, a device thread that was kept from running.",
};

/// The longest requests, and how long others of their kind take.
#[derive(Default, Debug)]
pub(super) struct LatencyOutliers {
    kinds: Vec<Option<Box<Spread>>>,
    /// The longest first.
    longest: Vec<Outlier>,
    slow: u64,
    /// Those that were slow only if time passed of which nothing tells.
    unsure: u64,
    /// The one that ended just now waits to be told who else is in flight.
    alone: bool,
}

#[derive(Debug)]
struct Outlier {
    life: Arc<Life>,
    ns: u64,
    company: String,
}

/// Latencies by powers of two.
#[derive(Debug)]
struct Spread([u32; 64]);

impl Detector for LatencyOutliers {
    const CODE: FindingCode = FindingCode::LatencyOutliers;

    #[inline]
    fn life(&mut self, ended: &Ended<'_>) {
        let life = ended.life;
        let Some(phases) = life.phases() else { return };
        let total = phases.total_ns();
        let ns = ended.signs.known_ns(life.moments.added, total);
        let kind = kind_of(life.operation);
        if let Some(Some(spread)) = self.kinds.get_mut(kind) {
            spread.count(ns);
        } else {
            self.first_of(kind, ns);
        }
        if total >= OUTLIER_NS && is_request(life) {
            if ns >= OUTLIER_NS {
                self.slow(life, ns);
            } else {
                self.unsure += 1;
            }
        }
    }

    fn others(&mut self, lives: &Lives) {
        if !std::mem::take(&mut self.alone) {
            return;
        }
        let company = company(&lives.open_lives(usize::MAX));
        for outlier in self
            .longest
            .iter_mut()
            .filter(|outlier| outlier.company.is_empty())
        {
            outlier.company.clone_from(&company);
        }
    }

    fn judge(&self, case: &Case<'_>) -> Verdict {
        let outliers: Vec<_> = self
            .longest
            .iter()
            .filter_map(|outlier| {
                let spread = self.kinds.get(kind_of(outlier.life.operation))?.as_ref()?;
                let p99 = spread.p99()?;
                (outlier.ns >= p99.saturating_mul(OUTLIER_TIMES)).then_some((outlier, p99))
            })
            .collect();
        let Some((longest, _)) = outliers.first() else {
            return match self.unsure {
                0 => Verdict::Nothing,
                unsure => Verdict::Undecided(case.unsure(unsure, "a second")),
            };
        };
        // All that were slow are, as far as it is known of those that were kept.
        let all = if outliers.len() == self.longest.len() {
            self.slow
        } else {
            outliers.len() as u64
        };
        let evidence = outliers.iter().map(|(outlier, p99)| {
            let text = format!(
                "{} id {} took {} (99 % of its kind take less than {}); {}",
                outlier.life.operation.name(),
                outlier.life.head,
                format_duration(outlier.ns),
                format_duration(*p99),
                outlier.company
            );
            Evidence::at(outlier.life.began().unwrap_or_default(), text).of(&outlier.life)
        });
        let began = outliers
            .iter()
            .filter_map(|(outlier, _)| outlier.life.began());
        Verdict::Found(Found {
            summary: format!(
                "{} more than {OUTLIER_TIMES} times longer than 99 % of their kind, the longest {}.",
                count(all, "request took", "requests took"),
                format_duration(longest.ns)
            ),
            count: all,
            first: began.clone().min(),
            last: began.max(),
            evidence: evidence.collect(),
        })
    }
}

impl LatencyOutliers {
    #[cold]
    fn first_of(&mut self, kind: usize, ns: u64) {
        if self.kinds.is_empty() {
            self.kinds.resize_with(KINDS, || None);
        }
        let mut spread = Box::new(Spread([0; 64]));
        spread.count(ns);
        if let Some(place) = self.kinds.get_mut(kind) {
            *place = Some(spread);
        }
    }

    #[cold]
    fn slow(&mut self, life: &Life, ns: u64) {
        self.slow += 1;
        let at = self.longest.partition_point(|other| other.ns >= ns);
        if at < MOST_EVIDENCE {
            let outlier = Outlier {
                life: Arc::new(life.clone()),
                ns,
                company: String::new(),
            };
            self.longest.insert(at, outlier);
            self.longest.truncate(MOST_EVIDENCE);
            self.alone = true;
        }
    }
}

/// 9P types are odd or even numbers below 256, and 0 is none.
fn kind_of(operation: Operation) -> usize {
    operation.type_number().unwrap_or(0).into()
}

/// What else is in flight, the most frequent first.
fn company(lives: &[Life]) -> String {
    if lives.is_empty() {
        return "nothing else was in flight when it came back".to_owned();
    }
    let mut kinds: Vec<(&str, u64)> = Vec::new();
    for life in lives {
        let name = life.operation.name();
        match kinds.iter_mut().find(|(other, _)| *other == name) {
            Some((_, many)) => *many += 1,
            None => kinds.push((name, 1)),
        }
    }
    kinds.sort_by_key(|(name, many)| (std::cmp::Reverse(*many), *name));
    let listed: Vec<_> = kinds
        .iter()
        .take(4)
        .map(|(name, many)| format!("{many} {name}"))
        .collect();
    format!("in flight when it came back: {}", listed.join(", "))
}

impl Spread {
    #[inline]
    fn count(&mut self, ns: u64) {
        // The place is the number of the highest bit, below 64.
        let place = (63 - (ns | 1).leading_zeros()) as usize;
        self.0[place] = self.0[place].saturating_add(1);
    }

    /// What 99 % are below; `None` if they are too few to say. Rounded up to a power
    /// of two.
    fn p99(&self) -> Option<u64> {
        let all: u64 = self.0.iter().map(|many| u64::from(*many)).sum();
        if all < LEAST_OF_KIND {
            return None;
        }
        let mut below = 0;
        for (place, many) in self.0.iter().enumerate() {
            below += u64::from(*many);
            if below * 100 >= all * 99 {
                return Some(2_u64.checked_shl(place as u32).unwrap_or(u64::MAX));
            }
        }
        None
    }
}
