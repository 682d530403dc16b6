//! Latency distributions.

use hdrhistogram::Histogram;

use super::{Bucket, LatencyView, Percentiles};
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

    /// The totals, by powers of two.
    pub(crate) fn buckets(&self) -> Vec<Bucket> {
        self.total.buckets()
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
///
/// Histograms are large: each value goes somewhere else in memory than the one
/// before, which was of another distribution. So values are gathered, and put into
/// the histogram many at a time.
#[derive(Clone, Debug, Default)]
struct Distribution {
    few: Vec<u64>,
    histogram: Option<Box<Histogram<u64>>>,
    /// Of what is in the histogram.
    sums: Sums,
}

#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    count: u64,
    sum: u128,
    /// Meaningless while nothing was counted.
    min: u64,
    max: u64,
}

impl Sums {
    fn with(mut self, values: &[u64]) -> Self {
        if let (0, Some(first)) = (self.count, values.first()) {
            self.min = *first;
        }
        for value in values {
            self.count += 1;
            self.sum += u128::from(*value);
            self.min = self.min.min(*value);
            self.max = self.max.max(*value);
        }
        self
    }
}

/// Values kept as they are.
const FEW: usize = 64;

/// Significant decimal digits of the histograms.
const DIGITS: u8 = 3;

/// The quantiles of [`Percentiles`], ascending.
const QUANTILES: [f64; 4] = [0.5, 0.9, 0.99, 0.999];

impl Distribution {
    #[inline]
    fn record(&mut self, ns: u64) {
        self.few.push(ns);
        if self.few.len() > FEW {
            self.gather();
        }
    }

    #[cold]
    fn gather(&mut self) {
        self.sums = self.sums.with(&self.few);
        if self.histogram.is_none() {
            self.histogram = Histogram::new(DIGITS).ok().map(Box::new);
        }
        if let Some(histogram) = &mut self.histogram {
            for ns in self.few.drain(..) {
                count(histogram, ns);
            }
        }
    }

    /// How many values lie from one power of two up to the next, from the lowest to
    /// the highest that has any.
    fn buckets(&self) -> Vec<Bucket> {
        let mut counts = [0_u64; 65];
        let place = |ns: u64| (u64::BITS - ns.leading_zeros()) as usize;
        for ns in &self.few {
            counts[place(*ns)] += 1;
        }
        if let Some(histogram) = &self.histogram {
            for bucket in histogram.iter_recorded() {
                counts[place(bucket.value_iterated_to())] += bucket.count_at_value();
            }
        }
        let has = |count: &u64| *count > 0;
        let (Some(first), Some(last)) = (counts.iter().position(has), counts.iter().rposition(has))
        else {
            return Vec::new();
        };
        (first..=last)
            .map(|at| Bucket {
                from_ns: if at == 0 { 0 } else { 1 << (at - 1) },
                count: counts[at],
            })
            .collect()
    }

    fn view(&self) -> Percentiles {
        let sums = self.sums.with(&self.few);
        if sums.count == 0 {
            return Percentiles::default();
        }
        let mut few = self.few.clone();
        few.sort_unstable();
        let [p50, p90, p99, p99_9] = match &self.histogram {
            Some(histogram) => {
                let highest = |value| histogram.highest_equivalent(value);
                let gathered = histogram.iter_recorded().map(|bucket| {
                    let value = bucket.value_iterated_to();
                    (highest(value), bucket.count_at_value())
                });
                let few = few.into_iter().map(|ns| (highest(ns), 1));
                sums.ranked(merged(gathered, few))
            }
            None => sums.ranked(few.into_iter().map(|ns| (ns, 1))),
        };
        Percentiles {
            count: sums.count,
            min: sums.min,
            mean: sums.sum as f64 / sums.count as f64,
            p50,
            p90,
            p99,
            p99_9,
            max: sums.max,
        }
    }
}

/// Two ascending sequences as one.
fn merged(
    one: impl Iterator<Item = (u64, u64)>,
    other: impl Iterator<Item = (u64, u64)>,
) -> impl Iterator<Item = (u64, u64)> {
    let (mut one, mut other) = (one.peekable(), other.peekable());
    std::iter::from_fn(move || match (one.peek(), other.peek()) {
        (Some(a), Some(b)) if b.0 < a.0 => other.next(),
        (Some(_), _) => one.next(),
        (None, _) => other.next(),
    })
}

impl Sums {
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
