//! A sample of an operation's requests: as many as fit, each with the same chance.

use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::{Rng, SeedableRng};

use crate::life::Phases;

/// Requests kept of each operation of a run. A comparison of two samples of this
/// size sees a shift of half a percent of the spread, and all operations together
/// take a few MiB.
pub(super) const CAPACITY: usize = 4096;

/// What is measured of a request, ns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Measure {
    pub(super) total: u64,
    pub(super) queued: u64,
    pub(super) device: u64,
    pub(super) harvest: u64,
    /// Only where the device's half was seen.
    pub(super) service: Option<u64>,
}

impl Measure {
    pub(super) fn of(phases: &Phases, service: Option<u64>) -> Self {
        Self {
            total: phases.total_ns(),
            queued: phases.queued_ns,
            device: phases.device_ns,
            harvest: phases.harvest_ns,
            service,
        }
    }
}

/// A sample in which each request is with the same probability, whatever comes
/// (Vitter's algorithm R). The order of time is kept.
#[derive(Debug)]
pub(super) struct Sample {
    kept: Vec<(u64, Measure)>,
    seen: u64,
    dice: Pcg64Mcg,
}

impl Default for Sample {
    fn default() -> Self {
        Self {
            kept: Vec::new(),
            seen: 0,
            // The same capture has the same sample each time.
            dice: Pcg64Mcg::seed_from_u64(0x7669_7274),
        }
    }
}

impl Sample {
    pub(super) fn add(&mut self, measure: Measure) {
        let number = self.seen;
        self.seen += 1;
        if self.kept.len() < CAPACITY {
            self.kept.push((number, measure));
            return;
        }
        let place = self.dice.next_u64() % self.seen;
        if let Some(kept) = usize::try_from(place)
            .ok()
            .and_then(|at| self.kept.get_mut(at))
        {
            *kept = (number, measure);
        }
    }

    /// What `of` says of each, in the order of time.
    pub(super) fn values(&self, of: impl Fn(&Measure) -> Option<u64>) -> Vec<u64> {
        let mut kept: Vec<&(u64, Measure)> = self.kept.iter().collect();
        kept.sort_unstable_by_key(|(number, _)| *number);
        kept.into_iter()
            .filter_map(|(_, measure)| of(measure))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_sample_is_of_the_whole_run_and_in_its_order() {
        let mut sample = Sample::default();
        let many = 20 * CAPACITY as u64;
        for total in 0..many {
            let phases = (total, 0, 0, 0);
            sample.add(Measure {
                total: phases.0,
                queued: phases.1,
                device: phases.2,
                harvest: phases.3,
                service: None,
            });
        }
        let values = sample.values(|measure| Some(measure.total));
        assert_eq!(values.len(), CAPACITY);
        assert!(values.is_sorted());
        let mean = values.iter().sum::<u64>() / CAPACITY as u64;
        assert!(mean.abs_diff(many / 2) < many / 20, "{mean} of {many}");
        assert!(sample.values(|measure| measure.service).is_empty());
    }
}
