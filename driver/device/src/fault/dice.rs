//! Whether a fault happens now.

use std::time::Duration;

use rand_pcg::Pcg64;
use rand_pcg::rand_core::{Rng, SeedableRng};

use super::{Fault, FaultKind, FaultLog, Faults, Injected};

/// Counts occasions and decides about each.
#[derive(Debug)]
pub(super) struct Dice {
    clauses: Vec<Clause>,
    log: FaultLog,
}

#[derive(Debug)]
struct Clause {
    fault: Fault,
    occasions: u64,
    times: u64,
    /// Its own, so that clauses do not disturb each other.
    random: Pcg64,
}

/// A fault that happens.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hit {
    /// How long it lasts; `None` also for good.
    pub(super) time: Option<Duration>,
    /// How much of it.
    pub(super) amount: u64,
    /// A random number to choose by, where there is a choice.
    pub(super) choice: u64,
}

impl Dice {
    pub(super) fn new(plan: &Faults) -> Self {
        let clause = |(at, fault): (usize, &Fault)| Clause {
            fault: fault.clone(),
            occasions: 0,
            times: 0,
            random: Pcg64::seed_from_u64(seed_of_clause(plan.seed, at as u64)),
        };
        Self {
            clauses: plan.faults.iter().enumerate().map(clause).collect(),
            log: FaultLog::default(),
        }
    }

    /// Whether no fault can ever happen.
    pub(super) fn is_empty(&self) -> bool {
        self.clauses.is_empty()
    }

    pub(super) fn log(&self) -> &FaultLog {
        &self.log
    }

    /// An occasion for faults of this kind: whether one happens. Every clause of
    /// the kind counts it; the first that happens has its way.
    pub(super) fn occasion(
        &mut self,
        kind: FaultKind,
        time: Duration,
        buffer: Option<u64>,
    ) -> Option<Hit> {
        let mut first = None;
        for clause in &mut self.clauses {
            if clause.fault.kind != kind {
                continue;
            }
            clause.occasions += 1;
            // Always both numbers, so that what is drawn for an occasion depends on
            // its number alone.
            let chance = (clause.random.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
            let choice = clause.random.next_u64();
            let trigger = &clause.fault.trigger;
            if !trigger.holds(clause.occasions, clause.times, chance) {
                continue;
            }
            clause.times += 1;
            if first.is_none() {
                first = Some(Hit {
                    time: clause.fault.time,
                    amount: clause.fault.amount,
                    choice,
                });
                self.log.push(Injected {
                    kind,
                    occasion: clause.occasions,
                    time,
                    buffer,
                });
            }
        }
        first
    }
}

/// Seeds of neighbouring clauses lie far apart: a step of 2⁶⁴ divided by the
/// golden ratio comes near no earlier one for long.
fn seed_of_clause(seed: u64, at: u64) -> u64 {
    seed.wrapping_add(at.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// On which of the first `count` occasions a plan of delays acts.
    fn occasions(plan: &str, count: u64) -> Vec<u64> {
        let mut dice = Dice::new(&plan.parse().unwrap());
        let acts = |_: &u64| {
            dice.occasion(FaultKind::Delay, Duration::ZERO, None)
                .is_some()
        };
        (1..=count).filter(acts).collect()
    }

    #[test]
    fn conditions_count_from_one_and_all_must_hold() {
        assert_eq!(occasions("delay", 3), [1, 2, 3]);
        assert_eq!(occasions("delay:at=2", 5), [2]);
        assert_eq!(occasions("delay:every=3", 10), [3, 6, 9]);
        assert_eq!(occasions("delay:from=3,until=5", 10), [3, 4, 5]);
        assert_eq!(occasions("delay:every=2,from=5,times=2", 12), [6, 8]);
        assert_eq!(occasions("delay:at=2;delay:at=4", 5), [2, 4]);
        assert_eq!(occasions("delay:p=0", 100), []);
        assert_eq!(occasions("delay:p=1", 3), [1, 2, 3]);
        assert_eq!(occasions("reorder", 3), []);
    }

    #[test]
    fn probability_is_what_it_says() {
        let often = occasions("delay:p=0.3", 10_000).len();
        assert!((2_800..3_200).contains(&often), "{often} of 10000");
    }

    #[test]
    fn a_seed_decides_and_a_clause_more_disturbs_none() {
        let alone = occasions("seed=5;delay:p=0.5", 200);
        assert_eq!(occasions("seed=5;delay:p=0.5", 200), alone);
        assert_ne!(occasions("seed=6;delay:p=0.5", 200), alone);
        assert_eq!(occasions("seed=5;delay:p=0.5;reorder:p=0.5", 200), alone);
        let second = occasions("seed=5;reorder:p=0.5;delay:p=0.5", 200);
        assert_ne!(second, alone, "clauses have numbers of their own");
    }

    /// A seed in a report must mean the same after an update and on any machine.
    /// These are the occasions that PCG64, written down independently, gives.
    #[test]
    fn seeds_mean_the_same_for_ever() {
        let acts = occasions("seed=1;delay:p=0.1", 60);
        assert_eq!(acts, [6, 10, 12, 18, 22, 40, 41]);
    }

    #[test]
    fn what_happens_is_logged() {
        let mut dice = Dice::new(&"delay:every=2;delay:at=2".parse().unwrap());
        for number in 0..4 {
            dice.occasion(
                FaultKind::Delay,
                Duration::from_millis(number),
                Some(number),
            );
        }
        let entry = |occasion, time| Injected {
            kind: FaultKind::Delay,
            occasion,
            time: Duration::from_millis(time),
            buffer: Some(time),
        };
        assert_eq!(dice.log().entries(), [entry(2, 1), entry(4, 3)]);
        assert_eq!(dice.log().total(), 2);
    }
}
