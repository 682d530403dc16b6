//! Simulated runs: what is the same raises nothing, what differs is named.

use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::{Rng, SeedableRng};

use super::sample::Measure;
use super::{DiffOptions, DiffReport, Direction, MeasureName, Run};

/// A source of latencies in which each is like the one before by this much.
struct Latencies {
    dice: Pcg64Mcg,
    likeness: f64,
    last: f64,
}

impl Latencies {
    fn new(seed: u64, likeness: f64) -> Self {
        Self {
            dice: Pcg64Mcg::seed_from_u64(seed),
            likeness,
            last: 0.0,
        }
    }

    fn uniform(&mut self) -> f64 {
        ((self.dice.next_u64() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    }

    /// From a log-normal distribution around `median`.
    fn next(&mut self, median: f64, spread: f64) -> u64 {
        let (a, b) = (self.uniform(), self.uniform());
        let normal = (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos();
        let kept = self.likeness;
        self.last = kept * self.last + (1.0 - kept * kept).sqrt() * normal;
        (median * (spread * self.last).exp()) as u64
    }
}

/// What an operation is like: queued, device and harvest.
type Shape = (&'static str, [f64; 3]);

const SHAPES: [Shape; 4] = [
    ("read", [2_000.0, 40_000.0, 5_000.0]),
    ("walk", [2_000.0, 15_000.0, 5_000.0]),
    ("getattr", [2_000.0, 9_000.0, 4_000.0]),
    ("clunk", [2_000.0, 7_000.0, 4_000.0]),
];

fn run(seed: u64, count: usize, likeness: f64, shapes: &[Shape], grain: u64) -> Run {
    let mut run = Run::new();
    for (number, (name, medians)) in shapes.iter().enumerate() {
        let mut latencies = Latencies::new(seed * 100 + number as u64, likeness);
        let operation = run.operations.entry(name).or_default();
        for _ in 0..count {
            let mut phase = |median: f64| latencies.next(median, 0.4) / grain * grain;
            let (queued, device, harvest) =
                (phase(medians[0]), phase(medians[1]), phase(medians[2]));
            operation.completed += 1;
            operation.sample.add(Measure {
                total: queued + device + harvest,
                queued,
                device,
                harvest,
                service: None,
            });
        }
    }
    run
}

fn diff(a: &Run, b: &Run) -> DiffReport {
    a.compare(b, &DiffOptions::default())
}

/// The stated rate is 1 %. Of 40 pairs of runs that do not differ less than one raises
/// something by chance; more than 3 do so once in 1000 times at that rate, and these
/// pairs are always the same.
fn false_alarms(count: usize, likeness: f64, grain: u64) -> usize {
    (0..40)
        .filter(|pair| {
            let a = run(2 * pair + 1, count, likeness, &SHAPES, grain);
            let b = run(2 * pair + 2, count, likeness, &SHAPES, grain);
            !diff(&a, &b).changes.is_empty()
        })
        .count()
}

#[test]
fn independent_requests_raise_nothing() {
    assert!(false_alarms(400, 0.0, 1) <= 3);
}

#[test]
fn few_requests_raise_nothing() {
    assert!(false_alarms(60, 0.0, 1) <= 3);
}

#[test]
fn requests_that_are_like_their_neighbours_raise_nothing() {
    assert!(false_alarms(800, 0.9, 1) <= 3);
}

#[test]
fn coarse_clocks_raise_nothing() {
    assert!(false_alarms(400, 0.3, 5_000) <= 3);
}

/// The same with a test that takes requests for independent: it is what the batches
/// are for.
#[test]
fn neighbours_would_fool_a_test_for_independent_requests() {
    let mut fooled = 0;
    for pair in 0..40 {
        let values = |seed| -> Vec<u64> {
            let mut latencies = Latencies::new(seed, 0.9);
            (0..800).map(|_| latencies.next(40_000.0, 0.4)).collect()
        };
        let (a, b) = (values(2 * pair), values(2 * pair + 1));
        // Mann and Whitney's, by its normal approximation.
        let mut sorted = b.clone();
        sorted.sort_unstable();
        let below: usize = a.iter().map(|v| sorted.partition_point(|w| w < v)).sum();
        let (n, m) = (a.len() as f64, b.len() as f64);
        let z = (below as f64 - n * m / 2.0) / (n * m * (n + m + 1.0) / 12.0).sqrt();
        fooled += usize::from(z.abs() > 2.576);
    }
    assert!(fooled > 8, "{fooled} of 40 at a stated rate of 1 %");
}

#[test]
fn a_slower_device_is_named_with_its_phase() {
    let a = run(1, 1000, 0.5, &SHAPES, 1);
    let mut shapes = SHAPES;
    shapes[0].1[1] = 60_000.0;
    let b = run(2, 1000, 0.5, &shapes, 1);
    let report = diff(&a, &b);
    assert_eq!(report.changes.len(), 1, "{report}");
    let change = &report.changes[0];
    assert_eq!(
        (&*change.operation, change.phase),
        ("read", Some(MeasureName::Device))
    );
    assert_eq!(change.direction, Direction::Slower);
    assert!(
        (15_000.0..25_000.0).contains(&change.shift_ns),
        "{}",
        change.shift_ns
    );
    assert!(report.is_slower());
    let device = report
        .comparisons
        .iter()
        .find(|c| c.operation == "read" && c.measure == MeasureName::Device)
        .unwrap();
    let (low, high) = device.shift_95.unwrap();
    assert!(low < 20_000.0 && 20_000.0 < high, "{low} to {high}");
    insta::assert_snapshot!(report.to_string());

    let back = diff(&b, &a);
    assert_eq!(back.changes[0].direction, Direction::Faster);
    assert!(!back.is_slower());
}

#[test]
fn a_longer_tail_is_seen_though_the_median_stays() {
    let a = run(1, 4000, 0.0, &SHAPES, 1);
    let mut b = Run::new();
    for (number, (name, medians)) in SHAPES.iter().enumerate() {
        let mut latencies = Latencies::new(200 + number as u64, 0.0);
        let operation = b.operations.entry(name).or_default();
        for request in 0..4000 {
            let slow = if request % 16 == 0 && *name == "walk" {
                8.0
            } else {
                1.0
            };
            let [queued, device, harvest] =
                [medians[0], medians[1] * slow, medians[2]].map(|m| latencies.next(m, 0.4));
            operation.completed += 1;
            operation.sample.add(Measure {
                total: queued + device + harvest,
                queued,
                device,
                harvest,
                service: None,
            });
        }
    }
    let report = diff(&a, &b);
    assert_eq!(report.changes.len(), 1, "{report}");
    let change = &report.changes[0];
    assert_eq!(
        (&*change.operation, change.direction),
        ("walk", Direction::Slower)
    );
    assert!(
        change.moved.iter().all(|moved| !moved.in_the_middle),
        "{change:?}"
    );
}

#[test]
fn a_real_difference_that_is_small_is_no_news() {
    let a = run(1, 4000, 0.0, &SHAPES, 1);
    let mut shapes = SHAPES;
    shapes[0].1[1] *= 1.03;
    let report = diff(&a, &run(2, 4000, 0.0, &shapes, 1));
    assert!(report.changes.is_empty(), "{report}");
}

#[test]
fn what_cannot_be_compared_is_named() {
    let a = run(1, 100, 0.0, &SHAPES[..3], 1);
    let b = run(2, 100, 0.0, &SHAPES[1..], 1);
    let mut few = run(3, 10, 0.0, &SHAPES[1..2], 1);
    let report = diff(&a, &b);
    assert_eq!(
        (report.only_in_a, report.only_in_b),
        (vec!["read".into()], vec!["clunk".into()])
    );
    let report = diff(&a, &few);
    assert_eq!(report.too_few.len(), 1);
    few.operations.clear();
    let nothing = diff(&few, &few);
    assert_eq!((nothing.tests, nothing.changes.len()), (0, 0));
}

#[test]
fn the_published_schema_is_this_one_and_describes_a_diff() {
    let published = include_str!("../../../docs/diff.schema.json");
    let schema = serde_json::to_value(DiffReport::schema()).unwrap();
    let published: serde_json::Value = serde_json::from_str(published).unwrap();
    assert_eq!(
        published, schema,
        "make it anew: cargo run -p virtscope-analyzer --example schema diff"
    );
    let validator = jsonschema::validator_for(&schema).unwrap();
    let a = run(1, 500, 0.0, &SHAPES, 1);
    let b = run(2, 500, 0.0, &SHAPES[1..], 1);
    let report = serde_json::to_value(diff(&a, &b)).unwrap();
    let errors: Vec<_> = validator.iter_errors(&report).collect();
    assert!(errors.is_empty(), "{errors:?}");
}
