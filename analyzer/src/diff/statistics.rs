//! Is it chance?
//!
//! The latencies of requests are not independent: those that were in flight together
//! waited for the same things. A test that takes them for independent (Mann and
//! Whitney's, Kolmogorov and Smirnov's) calls the noise of a busy second a
//! difference. Therefore:
//!
//! - The middle is compared by Brunner and Munzel's statistic, the probability that
//!   a request of the second run takes longer than one of the first; it asks
//!   nothing of the shapes, and ties count half.
//! - Its variance is not taken from the single requests but from the means of
//!   batches of requests that follow each other, which carry what they have in
//!   common.
//! - The tail is compared likewise, by the share of requests beyond the 95th
//!   percentile of both runs together.

use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::{Rng, SeedableRng};
use statrs::distribution::{ContinuousCDF, StudentsT};

/// Fewer requests than this are not compared.
pub(super) const FEWEST: usize = 50;
/// Fewer than this have no tail to speak of.
pub(super) const FEWEST_FOR_TAIL: usize = 400;
/// Batches, at most. What follows each other is alike over less than a twentieth
/// of a run, or the runs are too short to be compared.
const BATCHES: usize = 20;
/// Requests of a batch, at least.
const SMALLEST_BATCH: usize = 5;
/// Rounds of the bootstrap.
const ROUNDS: usize = 200;
/// The tail begins here.
const TAIL: f64 = 0.95;

/// The result of a test.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Tested {
    /// What was estimated: for the middle, the probability that a request of the
    /// second run takes longer; for the tail, how much larger a share of the second
    /// run lies in it.
    pub(super) effect: f64,
    /// The probability of an effect this large or larger by chance.
    pub(super) p: f64,
}

/// Batches of a sample of `len`.
fn batches(len: usize) -> usize {
    (len / SMALLEST_BATCH).clamp(2, BATCHES)
}

/// The `number`th of `count` batches of `values`.
fn batch<T>(values: &[T], number: usize, count: usize) -> &[T] {
    let start = number * values.len() / count;
    let end = (number + 1) * values.len() / count;
    &values[start..end]
}

/// The mean of `scores`, and the variance of that mean by batches.
fn mean_and_variance(scores: &[f64]) -> (f64, f64, f64) {
    let count = batches(scores.len());
    let means: Vec<f64> = (0..count)
        .map(|number| {
            let batch = batch(scores, number, count);
            batch.iter().sum::<f64>() / batch.len() as f64
        })
        .collect();
    let mean = scores.iter().sum::<f64>() / scores.len() as f64;
    let squares: f64 = means.iter().map(|m| (m - mean).powi(2)).sum();
    let freedom = count as f64 - 1.0;
    (mean, squares / freedom / count as f64, freedom)
}

/// For each of `values` in their order, which share of `others`, sorted, is below
/// it; equal ones count half.
fn placements(values: &[u64], others: &[u64]) -> Vec<f64> {
    values
        .iter()
        .map(|value| {
            let below = others.partition_point(|other| other < value);
            let up_to = others.partition_point(|other| other <= value);
            (below + up_to) as f64 / 2.0 / others.len() as f64
        })
        .collect()
}

fn sorted(values: &[u64]) -> Vec<u64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    sorted
}

/// Two-sided: of `(mean, variance of the mean, degrees of freedom)` of two runs,
/// `difference` being 0 if nothing differs. No sample shows less variance than
/// `floor`.
fn student(difference: f64, a: (f64, f64), b: (f64, f64), floor: f64) -> f64 {
    let variance = a.0 + b.0;
    // Welch and Satterthwaite.
    let freedom = if variance > 0.0 {
        variance.powi(2) / (a.0.powi(2) / a.1 + b.0.powi(2) / b.1)
    } else {
        a.1.min(b.1)
    };
    let t = difference / variance.max(floor).sqrt();
    match StudentsT::new(0.0, 1.0, freedom.max(1.0)) {
        Ok(distribution) => (2.0 * distribution.sf(t.abs())).min(1.0),
        Err(_) => 1.0,
    }
}

/// Whether the second run's requests take longer or less long.
pub(super) fn middle(before: &[u64], after: &[u64]) -> Tested {
    let (a, b) = (
        placements(before, &sorted(after)),
        placements(after, &sorted(before)),
    );
    let (_, variance_a, freedom_a) = mean_and_variance(&a);
    let (slower, variance_b, freedom_b) = mean_and_variance(&b);
    // Where the runs do not overlap no placement varies: as if one did.
    let least = 0.5 / before.len().min(after.len()) as f64;
    Tested {
        effect: slower,
        p: student(
            slower - 0.5,
            (variance_a, freedom_a),
            (variance_b, freedom_b),
            least.powi(2),
        ),
    }
}

/// Whether more or less of the second run lies in the tail.
pub(super) fn tail(before: &[u64], after: &[u64]) -> Tested {
    let both = sorted(&[before, after].concat());
    let limit = quantile(&both, TAIL);
    let share = |values: &[u64]| {
        let scores: Vec<f64> = values.iter().map(|v| f64::from(*v > limit)).collect();
        mean_and_variance(&scores)
    };
    let (a, variance_a, freedom_a) = share(before);
    let (b, variance_b, freedom_b) = share(after);
    let least = 1.0 / before.len().min(after.len()) as f64;
    Tested {
        effect: b - a,
        p: student(
            b - a,
            (variance_a, freedom_a),
            (variance_b, freedom_b),
            least.powi(2),
        ),
    }
}

/// The value at `q` of sorted values.
pub(super) fn quantile(sorted: &[u64], q: f64) -> u64 {
    let rank = (q * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0)
}

/// The median.
pub(super) fn median(values: &[u64]) -> u64 {
    quantile(&sorted(values), 0.5)
}

/// Within which bounds the shift of the median lies, in 95 of 100 cases: by a
/// bootstrap over batches.
pub(super) fn shift_of_median(before: &[u64], after: &[u64]) -> (f64, f64) {
    let mut dice = Pcg64Mcg::seed_from_u64(0x0062_6f6f_7473);
    let mut resampled = |values: &[u64]| {
        let count = batches(values.len());
        let mut drawn = Vec::with_capacity(values.len() + values.len() / count + 1);
        for _ in 0..count {
            let number = (dice.next_u64() % count as u64) as usize;
            drawn.extend_from_slice(batch(values, number, count));
        }
        let middle = drawn.len().saturating_sub(1) / 2;
        *drawn.select_nth_unstable(middle).1 as f64
    };
    let mut shifts: Vec<f64> = (0..ROUNDS)
        .map(|_| resampled(after) - resampled(before))
        .collect();
    shifts.sort_unstable_by(f64::total_cmp);
    let at = |q: f64| shifts[((ROUNDS - 1) as f64 * q).round() as usize];
    (at(0.025), at(0.975))
}

/// Holm's correction: what each probability counts as one of so many, so that all
/// those below a rate together are wrong with no more than that rate.
pub(super) fn holm(probabilities: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..probabilities.len()).collect();
    order.sort_unstable_by(|a, b| probabilities[*a].total_cmp(&probabilities[*b]));
    let mut adjusted = vec![1.0; probabilities.len()];
    let mut least = 0.0_f64;
    for (rank, at) in order.into_iter().enumerate() {
        let weight = (probabilities.len() - rank) as f64;
        least = least.max(probabilities[at] * weight).min(1.0);
        adjusted[at] = least;
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holm_weighs_by_rank() {
        let adjusted = holm(&[0.01, 0.04, 0.03]);
        let expected = [0.03, 0.06, 0.06];
        for (found, expected) in adjusted.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-12, "{adjusted:?}");
        }
        assert!(holm(&[]).is_empty());
    }

    #[test]
    fn runs_that_do_not_overlap_differ_for_certain() {
        let (low, high): (Vec<u64>, Vec<u64>) = ((0..60).collect(), (100..160).collect());
        let tested = middle(&low, &high);
        assert_eq!(tested.effect, 1.0);
        assert!(tested.p < 1e-6, "{tested:?}");
        let tested = middle(&high, &low);
        assert_eq!(tested.effect, 0.0);
        assert!(tested.p < 1e-6);
    }

    #[test]
    fn runs_of_one_value_do_not_differ() {
        let same = [7; 100];
        let tested = middle(&same, &same);
        assert_eq!((tested.effect, tested.p), (0.5, 1.0));
        assert_eq!(tail(&same, &same).p, 1.0);
        assert_eq!(shift_of_median(&same, &same), (0.0, 0.0));
    }
}
