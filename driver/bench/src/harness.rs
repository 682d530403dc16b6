//! Interleaving: short rounds of everybody, in turn.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// One of those who are compared in a cell.
pub struct Contender {
    /// Its name in the table.
    pub name: &'static str,
    /// Runs one round; the cell says how many buffers that is.
    pub round: Box<dyn FnMut()>,
}

impl Contender {
    /// A contender of this name.
    pub fn new(name: &'static str, round: impl FnMut() + 'static) -> Self {
        Self {
            name,
            round: Box::new(round),
        }
    }
}

/// What the rounds of one contender took.
#[derive(Clone, Debug)]
pub struct Samples {
    /// Whose.
    pub name: &'static str,
    /// Nanoseconds per buffer, one for each round, in the order of the rounds.
    pub nanos: Vec<f64>,
    /// The same of processor time, of all threads of this program.
    pub processor_nanos: Vec<f64>,
}

impl Samples {
    /// The fastest round.
    pub fn min(&self) -> f64 {
        self.nanos.iter().copied().fold(f64::INFINITY, f64::min)
    }

    /// The round in the middle.
    pub fn median(&self) -> f64 {
        median(self.nanos.clone())
    }

    /// The median of what each round took, as a multiple of what the other's
    /// round beside it took.
    pub fn ratio_to(&self, other: &Self) -> f64 {
        ratio(&self.nanos, &other.nanos)
    }

    /// The round in the middle, by processor time.
    pub fn processor_median(&self) -> f64 {
        median(self.processor_nanos.clone())
    }

    /// [`ratio_to`](Self::ratio_to) by processor time, which others that want the
    /// processor too hold up less.
    pub fn processor_ratio_to(&self, other: &Self) -> f64 {
        ratio(&self.processor_nanos, &other.processor_nanos)
    }
}

fn ratio(ours: &[f64], theirs: &[f64]) -> f64 {
    let pairs = ours.iter().zip(theirs);
    median(pairs.map(|(ours, theirs)| ours / theirs).collect())
}

/// What this program has taken of processors.
fn processor_time() -> Duration {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(now.tv_sec.cast_unsigned(), now.tv_nsec as u32)
}

/// The value in the middle; not a number where there is none.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n if n.is_multiple_of(2) => f64::midpoint(values[n / 2 - 1], values[n / 2]),
        n => values[n / 2],
    }
}

/// Rounds that are run first and not counted.
const WARM_UP: usize = 3;

/// Runs `rounds` rounds of every contender in turn. Who begins changes from
/// round to round, so that nobody always follows the same one. Each round is
/// about `buffers` buffers.
pub fn interleave(contenders: &mut [Contender], rounds: usize, buffers: u32) -> Vec<Samples> {
    let mut samples: Vec<_> = contenders
        .iter()
        .map(|contender| Samples {
            name: contender.name,
            nanos: Vec::with_capacity(rounds),
            processor_nanos: Vec::with_capacity(rounds),
        })
        .collect();
    let count = contenders.len();
    for round in 0..WARM_UP + rounds {
        for turn in 0..count {
            let who = (round + turn) % count;
            let (began, before) = (Instant::now(), processor_time());
            (contenders[who].round)();
            let (took, taken) = (began.elapsed(), processor_time() - before);
            if round >= WARM_UP {
                let each = |took: Duration| took.as_nanos() as f64 / f64::from(buffers);
                samples[who].nanos.push(each(took));
                samples[who].processor_nanos.push(each(taken));
            }
        }
    }
    samples
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_has_as_many_rounds_and_is_paired_with_the_one_beside() {
        let mut contenders = [Contender::new("a", || ()), Contender::new("b", || ())];
        let samples = interleave(&mut contenders, 5, 1);
        assert!(samples.iter().all(|samples| samples.nanos.len() == 5));

        let of = |nanos: &[f64]| Samples {
            name: "",
            nanos: nanos.to_vec(),
            processor_nanos: nanos.iter().map(|nanos| nanos / 2.0).collect(),
        };
        let (ours, theirs) = (of(&[2.0, 30.0, 8.0]), of(&[1.0, 10.0, 8.0]));
        assert_eq!(ours.ratio_to(&theirs), 2.0);
        assert_eq!(ours.processor_ratio_to(&theirs), 2.0);
        assert_eq!((ours.min(), ours.median()), (2.0, 8.0));
        assert_eq!(ours.processor_median(), 4.0);
        assert_eq!(of(&[1.0, 3.0]).median(), 2.0);
        assert!(of(&[]).median().is_nan());
    }
}
