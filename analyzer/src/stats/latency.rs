//! Latency distributions.

use hdrhistogram::Histogram;

use super::{LatencyView, Percentiles};
use crate::life::Phases;

/// Distributions in the making.
#[derive(Clone, Debug, Default)]
pub(crate) struct Latencies {
    total: Distribution,
    queued: Distribution,
    device: Distribution,
    harvest: Distribution,
    service: Distribution,
}

impl Latencies {
    pub(crate) fn record(&mut self, phases: &Phases, service_ns: Option<u64>) {
        self.total.record(phases.total_ns());
        self.queued.record(phases.queued_ns);
        self.device.record(phases.device_ns);
        self.harvest.record(phases.harvest_ns);
        if let Some(ns) = service_ns {
            self.service.record(ns);
        }
    }

    pub(crate) fn view(&self) -> LatencyView {
        LatencyView {
            total: self.total.view(),
            queued: self.queued.view(),
            device: self.device.view(),
            harvest: self.harvest.view(),
            service: self.service.view(),
        }
    }
}

/// A distribution: the values themselves while they are few, a histogram then, so
/// that rare operations take little room and are exact.
#[derive(Clone, Debug, Default)]
struct Distribution {
    few: Vec<u64>,
    histogram: Option<Box<Histogram<u64>>>,
    count: u64,
    sum: u128,
    min: u64,
    max: u64,
}

/// Values kept as they are.
const FEW: usize = 64;

/// Significant decimal digits of the histograms.
const DIGITS: u8 = 3;

/// The quantiles of [`Percentiles`], ascending.
const QUANTILES: [f64; 4] = [0.5, 0.9, 0.99, 0.999];

impl Distribution {
    fn record(&mut self, ns: u64) {
        if self.count == 0 {
            (self.min, self.max) = (ns, ns);
        }
        self.count += 1;
        self.sum += u128::from(ns);
        self.min = self.min.min(ns);
        self.max = self.max.max(ns);
        match &mut self.histogram {
            Some(histogram) => count(histogram, ns),
            None => self.few.push(ns),
        }
        if self.few.len() > FEW
            && let Ok(mut histogram) = Histogram::new(DIGITS)
        {
            for ns in std::mem::take(&mut self.few) {
                count(&mut histogram, ns);
            }
            self.histogram = Some(Box::new(histogram));
        }
    }

    fn view(&self) -> Percentiles {
        if self.count == 0 {
            return Percentiles::default();
        }
        let [p50, p90, p99, p99_9] = match &self.histogram {
            Some(histogram) => self.ranked(histogram.iter_recorded().map(|bucket| {
                let highest = histogram.highest_equivalent(bucket.value_iterated_to());
                (highest, bucket.count_at_value())
            })),
            None => {
                let mut few = self.few.clone();
                few.sort_unstable();
                self.ranked(few.into_iter().map(|ns| (ns, 1)))
            }
        };
        Percentiles {
            count: self.count,
            min: self.min,
            mean: self.sum as f64 / self.count as f64,
            p50,
            p90,
            p99,
            p99_9,
            max: self.max,
        }
    }

    /// The values at the quantiles, in one walk over ascending values and their
    /// counts.
    fn ranked(&self, values: impl Iterator<Item = (u64, u64)>) -> [u64; 4] {
        let ranks = QUANTILES.map(|q| (q * self.count as f64).ceil() as u64);
        let mut found = [self.max; 4];
        let mut wanted = ranks.iter().zip(&mut found).peekable();
        let mut below = 0;
        for (value, count) in values {
            below += count;
            while let Some((_, place)) = wanted.next_if(|(rank, _)| **rank <= below) {
                *place = value.clamp(self.min, self.max);
            }
        }
        found
    }
}

/// The histogram grows as needed; on a machine that cannot address the whole
/// range, the largest values count as the largest possible.
fn count(histogram: &mut Histogram<u64>, ns: u64) {
    if histogram.record(ns).is_err() {
        histogram.saturating_record(ns);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Against a sorted list: exact to three digits, ends exact.
        #[test]
        fn percentiles_are_those_of_the_values(
            mut values in prop::collection::vec(0_u64..10_000_000_000, 1..300)
        ) {
            let mut distribution = Distribution::default();
            for value in &values {
                distribution.record(*value);
            }
            values.sort_unstable();
            let view = distribution.view();
            let n = values.len();
            for (q, got) in [(0.5, view.p50), (0.9, view.p90), (0.99, view.p99), (0.999, view.p99_9)] {
                let rank = ((q * n as f64).ceil() as usize).max(1);
                let want = values[rank - 1];
                prop_assert!(got >= want && got <= want + want / 1000 + 1, "{q}: {got} for {want}");
            }
            prop_assert_eq!((view.min, view.max), (values[0], values[n - 1]));
            prop_assert_eq!(view.count, n as u64);
        }
    }

    #[test]
    fn nothing_recorded_says_nothing() {
        assert_eq!(Distribution::default().view(), Percentiles::default());
    }

    #[test]
    fn the_largest_value_is_counted() {
        let mut distribution = Distribution::default();
        for _ in 0..FEW {
            distribution.record(u64::MAX);
            distribution.record(0);
        }
        assert!(distribution.histogram.is_some());
        let view = distribution.view();
        assert_eq!((view.count, view.min, view.max), (128, 0, u64::MAX));
        assert_eq!(view.p50, 0);
        assert!(view.p99 >= u64::MAX - u64::MAX / 1000);
    }
}
