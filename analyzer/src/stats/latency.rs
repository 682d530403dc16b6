//! Latency distributions.

use super::histogram::Histogram;
use super::{Bucket, LatencyView, Percentiles};
use crate::budget::Budget;
use crate::life::Phases;

/// Distributions in the making.
///
/// A histogram is large: values that go into several, one after the other, find none of
/// them near. So requests are gathered, and put into each many at a time.
#[derive(Debug)]
pub(crate) struct Latencies {
    gathered: Vec<Times>,
    /// So many are gathered at most.
    most: usize,
    total: Distribution,
    queued: Distribution,
    device: Distribution,
    harvest: Distribution,
    service: Distribution,
    budget: Budget,
}

/// How long a request took, ns.
#[derive(Clone, Copy, Debug)]
struct Times {
    queued: u64,
    device: u64,
    harvest: u64,
    service: Option<u64>,
}

impl Times {
    fn total(self) -> u64 {
        self.queued + self.device + self.harvest
    }
}

impl Latencies {
    /// None yet; the histograms are paid from `budget`.
    pub(crate) fn new(budget: &Budget) -> Self {
        Self {
            gathered: Vec::new(),
            most: FEW,
            total: Distribution::default(),
            queued: Distribution::default(),
            device: Distribution::default(),
            harvest: Distribution::default(),
            service: Distribution::default(),
            budget: budget.clone(),
        }
    }

    #[inline]
    pub(crate) fn record(&mut self, phases: &Phases, service_ns: Option<u64>) {
        self.gathered.push(Times {
            queued: phases.queued_ns,
            device: phases.device_ns,
            harvest: phases.harvest_ns,
            service: service_ns,
        });
        if self.gathered.len() > self.most {
            self.put_away();
        }
    }

    #[cold]
    fn put_away(&mut self) {
        let Self {
            gathered,
            most,
            total,
            queued,
            device,
            harvest,
            service,
            budget,
        } = self;
        *most = MANY;
        total.add(gathered.iter().map(|times| times.total()), budget);
        queued.add(gathered.iter().map(|times| times.queued), budget);
        device.add(gathered.iter().map(|times| times.device), budget);
        harvest.add(gathered.iter().map(|times| times.harvest), budget);
        service.add(gathered.iter().filter_map(|times| times.service), budget);
        gathered.clear();
    }

    /// The totals, by powers of two.
    pub(crate) fn buckets(&self) -> Vec<Bucket> {
        self.total
            .buckets(self.gathered.iter().map(|times| times.total()))
    }

    pub(crate) fn view(&self) -> LatencyView {
        let gathered = self.gathered.iter();
        LatencyView {
            total: self.total.view(gathered.clone().map(|times| times.total())),
            queued: self.queued.view(gathered.clone().map(|times| times.queued)),
            device: self.device.view(gathered.clone().map(|times| times.device)),
            harvest: self
                .harvest
                .view(gathered.clone().map(|times| times.harvest)),
            service: self
                .service
                .view(gathered.filter_map(|times| times.service)),
        }
    }

    /// Where there was no room for three digits: the bits that the percentiles have
    /// behind their first.
    pub(crate) fn coarse_precision(&self) -> Option<u32> {
        let all = [
            &self.total,
            &self.queued,
            &self.device,
            &self.harvest,
            &self.service,
        ];
        all.into_iter()
            .filter_map(|distribution| distribution.histogram.as_deref())
            .filter(|histogram| histogram.is_coarse())
            .map(Histogram::precision)
            .min()
    }
}

/// A distribution: the values themselves while they are few, a histogram then, so
/// that rare operations take little room and are exact.
#[derive(Debug, Default)]
struct Distribution {
    /// Empty once there is a histogram.
    few: Vec<u64>,
    histogram: Option<Box<Histogram>>,
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
    fn with(mut self, values: impl Iterator<Item = u64>) -> Self {
        for value in values {
            self.min = if self.count == 0 {
                value
            } else {
                self.min.min(value)
            };
            self.count += 1;
            self.sum += u128::from(value);
            self.max = self.max.max(value);
        }
        self
    }
}

/// Values kept as they are.
const FEW: usize = 64;

/// Requests gathered for histograms: so many that what a histogram brings into the caches
/// is used more than once.
const MANY: usize = 2048;

/// The quantiles of [`Percentiles`], ascending.
const QUANTILES: [f64; 4] = [0.5, 0.9, 0.99, 0.999];

impl Distribution {
    fn add(&mut self, values: impl Iterator<Item = u64> + Clone, budget: &Budget) {
        if self.histogram.is_none() {
            self.few.extend(values);
            if self.few.len() > FEW {
                let few = std::mem::take(&mut self.few);
                self.count(few.into_iter(), budget);
            }
            return;
        }
        self.count(values, budget);
    }

    fn count(&mut self, values: impl Iterator<Item = u64> + Clone, budget: &Budget) {
        let histogram = self
            .histogram
            .get_or_insert_with(|| Box::new(Histogram::new(budget)));
        self.sums = self.sums.with(values.clone());
        for value in values {
            histogram.count(value);
        }
    }

    /// How many values lie from one power of two up to the next, from the lowest to
    /// the highest that has any. `gathered` are more of them.
    fn buckets(&self, gathered: impl Iterator<Item = u64>) -> Vec<Bucket> {
        let mut counts = [0_u64; 65];
        let place = |ns: u64| (u64::BITS - ns.leading_zeros()) as usize;
        for ns in self.few.iter().copied().chain(gathered) {
            counts[place(ns)] += 1;
        }
        if let Some(histogram) = &self.histogram {
            for (last, many) in histogram.counts() {
                counts[place(last)] += many;
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

    /// `gathered` are more values.
    fn view(&self, gathered: impl Iterator<Item = u64>) -> Percentiles {
        let mut few: Vec<_> = self.few.iter().copied().chain(gathered).collect();
        few.sort_unstable();
        let sums = self.sums.with(few.iter().copied());
        if sums.count == 0 {
            return Percentiles::default();
        }
        let [p50, p90, p99, p99_9] = match &self.histogram {
            Some(histogram) => {
                let few = few.into_iter().map(|ns| (histogram.last_like(ns), 1));
                sums.ranked(merged(histogram.counts(), few))
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

#[cfg(test)]
mod tests {
    use super::super::histogram::BYTES;
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Against a sorted list: exact to three digits, ends exact.
        #[test]
        fn percentiles_are_those_of_the_values(
            mut values in prop::collection::vec(0_u64..10_000_000_000, 1..300)
        ) {
            let mut distribution = Distribution::default();
            let budget = Budget::of(BYTES);
            for some in values.chunks(FEW / 2) {
                distribution.add(some.iter().copied(), &budget);
            }
            values.sort_unstable();
            let view = distribution.view(std::iter::empty());
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
        assert_eq!(
            Distribution::default().view(std::iter::empty()),
            Percentiles::default()
        );
    }

    #[test]
    fn the_largest_value_is_counted() {
        let mut distribution = Distribution::default();
        let budget = Budget::of(BYTES);
        for _ in 0..FEW {
            distribution.add([u64::MAX, 0].into_iter(), &budget);
        }
        assert!(distribution.histogram.is_some());
        let view = distribution.view(std::iter::empty());
        assert_eq!((view.count, view.min, view.max), (128, 0, u64::MAX));
        assert_eq!(view.p50, 0);
        assert!(view.p99 >= u64::MAX - u64::MAX / 1000);
    }
}
