//! What differs, as data.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::Serialize;

use super::sample::{CAPACITY, Measure};
use super::statistics::{
    FEWEST, FEWEST_FOR_TAIL, Tested, holm, median, middle, quantile, shift_of_median, tail,
};
use super::{DiffOptions, Operation, Run};

/// The version of the form of a diff: `major.minor`. A minor version adds fields; a
/// major one changes or removes some.
pub const DIFF_SCHEMA_VERSION: &str = "1.0";

/// A share of requests by which the tail must grow or shrink to be news.
const SMALLEST_TAIL: f64 = 0.02;
/// A probability that is far enough from one half to be news whatever the medians.
const SMALLEST_EFFECT: f64 = 0.1;

/// Two runs, compared.
#[derive(Clone, PartialEq, Debug, Serialize, JsonSchema)]
pub struct DiffReport {
    /// The version of this form, `major.minor`.
    pub schema_version: String,
    /// The filter that chose the requests, if there was one.
    pub filter: Option<String>,
    /// The first run.
    pub a: RunReport,
    /// The second run.
    pub b: RunReport,
    /// In how many pairs of runs of which nothing differs something is raised, at
    /// most.
    pub error_rate: f64,
    /// By how much, of what it was, a median must move to be news.
    pub smallest_shift: f64,
    /// Tests that were made; their probabilities are corrected for their number.
    pub tests: u64,
    /// Requests compared of an operation, at most: more are sampled.
    pub sample_size: u64,
    /// What got slower, faster or otherwise: by operation, the largest shift first.
    pub changes: Vec<Change>,
    /// Every comparison, by operation and measure.
    pub comparisons: Vec<Comparison>,
    /// Operations of both runs of which too few requests completed.
    pub too_few: Vec<TooFew>,
    /// Operations of the first run alone.
    pub only_in_a: Vec<String>,
    /// Operations of the second run alone.
    pub only_in_b: Vec<String>,
}

/// One of the runs.
#[derive(Clone, PartialEq, Debug, Default, Serialize, JsonSchema)]
pub struct RunReport {
    /// The capture's name. Escaped for printing.
    pub name: String,
    /// Complete requests.
    pub completed: u64,
    /// Incomplete ones: not compared.
    pub incomplete: u64,
    /// Those that ended in an error.
    pub errors: u64,
    /// From the first request's add to the last one's return, ns.
    pub duration_ns: u64,
    /// Records that were lost.
    pub records_lost: u64,
    /// What a reader must know before trusting the numbers.
    pub notes: Vec<String>,
}

/// In which direction something moved.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// It takes longer.
    Slower,
    /// It takes less long.
    Faster,
}

/// What is measured of a request.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MeasureName {
    /// Add → used.
    Total,
    /// Add → kick decision.
    Queued,
    /// Kick decision → callback, or → used if polled.
    Device,
    /// Callback → used.
    Harvest,
    /// Taken → returned, where the device's half was seen.
    Service,
}

impl MeasureName {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Total,
        Self::Queued,
        Self::Device,
        Self::Harvest,
        Self::Service,
    ];

    /// Its name in text.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Total => "total",
            Self::Queued => "queued",
            Self::Device => "device",
            Self::Harvest => "harvest",
            Self::Service => "service",
        }
    }

    fn of(self, measure: &Measure) -> Option<u64> {
        match self {
            Self::Total => Some(measure.total),
            Self::Queued => Some(measure.queued),
            Self::Device => Some(measure.device),
            Self::Harvest => Some(measure.harvest),
            Self::Service => measure.service,
        }
    }

    /// Whether it is one of the phases that add up to the total.
    const fn is_phase(self) -> bool {
        matches!(self, Self::Queued | Self::Device | Self::Harvest)
    }
}

/// An operation that takes longer or less long.
#[derive(Clone, PartialEq, Debug, Serialize, JsonSchema)]
pub struct Change {
    /// Which operation.
    pub operation: String,
    /// In which direction its total moved; if that did not, the phase that moved
    /// most.
    pub direction: Direction,
    /// By how much the median of that moved, ns.
    pub shift_ns: f64,
    /// The phase that moved most, of those that moved; `null` if no single one is
    /// to blame.
    pub phase: Option<MeasureName>,
    /// Each measure that moved.
    pub moved: Vec<Moved>,
}

/// A measure that moved.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, JsonSchema)]
pub struct Moved {
    /// Which.
    pub measure: MeasureName,
    /// In which direction.
    pub direction: Direction,
    /// Whether it moved in the middle; else it did in the tail alone.
    pub in_the_middle: bool,
    /// By how much the median moved, ns.
    pub shift_ns: f64,
}

/// One measure of one operation in both runs.
#[derive(Clone, PartialEq, Debug, Serialize, JsonSchema)]
pub struct Comparison {
    /// Which operation.
    pub operation: String,
    /// Which measure.
    pub measure: MeasureName,
    /// In the first run.
    pub a: Side,
    /// In the second run.
    pub b: Side,
    /// By how much the median moved, ns.
    pub shift_ns: f64,
    /// Within these bounds the shift lies in 95 of 100 cases, ns, where something
    /// moved; else `null`.
    pub shift_95: Option<(f64, f64)>,
    /// The probability that a request of the second run takes longer than one of the
    /// first; ties count half.
    pub probability_slower: f64,
    /// The probability of such a difference by chance.
    pub p: f64,
    /// The same, corrected for the number of tests.
    pub p_corrected: f64,
    /// The tail, if there are requests enough to speak of one.
    pub tail: Option<Tail>,
    /// In which direction it moved, if that is news.
    pub news: Option<Direction>,
}

/// A measure in one run, ns.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, JsonSchema)]
pub struct Side {
    /// Requests compared.
    pub sampled: u64,
    /// Half are at or below it.
    pub median: u64,
    /// 99 % are at or below it.
    pub p99: u64,
}

/// The tails beside each other: what lies beyond the 95th percentile of both runs
/// together.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, JsonSchema)]
pub struct Tail {
    /// How much larger a share of the second run lies there.
    pub share: f64,
    /// The probability of such a difference by chance.
    pub p: f64,
    /// The same, corrected for the number of tests.
    pub p_corrected: f64,
    /// In which direction it moved, if that is news.
    pub news: Option<Direction>,
}

/// An operation of which too few requests completed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, JsonSchema)]
pub struct TooFew {
    /// Which.
    pub operation: String,
    /// Complete ones of the first run.
    pub a: u64,
    /// Complete ones of the second run.
    pub b: u64,
}

impl DiffReport {
    /// Whether anything got slower.
    pub fn is_slower(&self) -> bool {
        self.changes
            .iter()
            .any(|change| change.direction == Direction::Slower)
    }

    /// The JSON schema of a diff.
    pub fn schema() -> schemars::Schema {
        schemars::generate::SchemaSettings::draft2020_12()
            .for_serialize()
            .into_generator()
            .into_root_schema_for::<Self>()
    }
}

fn run_report(run: &Run) -> RunReport {
    let sum = |of: fn(&Operation) -> u64| run.operations.values().map(of).sum();
    RunReport {
        completed: sum(|operation| operation.completed),
        incomplete: sum(|operation| operation.incomplete),
        errors: sum(|operation| operation.errors),
        duration_ns: run.duration_ns(),
        ..RunReport::default()
    }
}

pub(super) fn compare(before: &Run, after: &Run, options: &DiffOptions) -> DiffReport {
    let names: BTreeSet<&str> = before
        .operations
        .keys()
        .chain(after.operations.keys())
        .copied()
        .collect();
    let mut report = DiffReport {
        schema_version: DIFF_SCHEMA_VERSION.to_owned(),
        filter: None,
        a: run_report(before),
        b: run_report(after),
        error_rate: options.error_rate,
        smallest_shift: options.smallest_shift,
        tests: 0,
        sample_size: CAPACITY as u64,
        changes: Vec::new(),
        comparisons: Vec::new(),
        too_few: Vec::new(),
        only_in_a: Vec::new(),
        only_in_b: Vec::new(),
    };
    let mut pairs = Vec::new();
    for name in names {
        match (before.operations.get(name), after.operations.get(name)) {
            (Some(_), None) => report.only_in_a.push(name.to_owned()),
            (None, Some(_)) => report.only_in_b.push(name.to_owned()),
            (None, None) => {}
            (Some(a), Some(b)) => {
                let fewest = a.completed.min(b.completed);
                if fewest < FEWEST as u64 {
                    report.too_few.push(TooFew {
                        operation: name.to_owned(),
                        a: a.completed,
                        b: b.completed,
                    });
                    continue;
                }
                pairs.extend(MeasureName::ALL.map(|measure| Pair::new(name, measure, a, b)));
            }
        }
    }
    let tested: Vec<_> = pairs
        .iter()
        .filter(|pair| pair.before.len().min(pair.after.len()) >= FEWEST)
        .map(Pair::test)
        .collect();
    correct_and_conclude(&tested, options, &mut report);
    report.changes = changes(&report.comparisons);
    report
}

/// One measure of one operation, as sampled in both runs.
struct Pair {
    operation: String,
    measure: MeasureName,
    before: Vec<u64>,
    after: Vec<u64>,
}

/// A pair, tested.
struct TestedPair<'a> {
    pair: &'a Pair,
    middle: Tested,
    tail: Option<Tested>,
}

impl Pair {
    fn new(name: &str, measure: MeasureName, a: &Operation, b: &Operation) -> Self {
        Self {
            operation: name.to_owned(),
            measure,
            before: a.sample.values(|m| measure.of(m)),
            after: b.sample.values(|m| measure.of(m)),
        }
    }

    fn test(&self) -> TestedPair<'_> {
        let (before, after) = (&self.before, &self.after);
        let has_tail = before.len().min(after.len()) >= FEWEST_FOR_TAIL;
        TestedPair {
            pair: self,
            middle: middle(before, after),
            tail: has_tail.then(|| tail(before, after)),
        }
    }
}

fn correct_and_conclude(tested: &[TestedPair<'_>], options: &DiffOptions, report: &mut DiffReport) {
    let middles = tested.iter().map(|tested| tested.middle.p);
    let tails = tested.iter().filter_map(|tested| Some(tested.tail?.p));
    let probabilities: Vec<f64> = middles.chain(tails).collect();
    report.tests = probabilities.len() as u64;
    let corrected = holm(&probabilities);
    let mut of_tails = corrected.iter().skip(tested.len()).copied();
    for (tested, p_corrected) in tested.iter().zip(corrected.iter().copied()) {
        let pair = tested.pair;
        let side = |values: &[u64]| {
            let mut sorted = values.to_vec();
            sorted.sort_unstable();
            Side {
                sampled: sorted.len() as u64,
                median: quantile(&sorted, 0.5),
                p99: quantile(&sorted, 0.99),
            }
        };
        let (a, b) = (side(&pair.before), side(&pair.after));
        let shift_ns = median(&pair.after) as f64 - median(&pair.before) as f64;
        let slower = tested.middle.effect;
        let is_large = shift_ns.abs() >= options.smallest_shift * a.median.max(1) as f64
            || (slower - 0.5).abs() >= SMALLEST_EFFECT;
        let direction = |is_slower| match is_slower {
            true => Direction::Slower,
            false => Direction::Faster,
        };
        let is_news = p_corrected <= options.error_rate && is_large;
        let news = is_news.then(|| direction(slower > 0.5));
        let tail = tested.tail.map(|tail| {
            let p_corrected = of_tails.next().unwrap_or(1.0);
            let is_news = p_corrected <= options.error_rate && tail.effect.abs() >= SMALLEST_TAIL;
            Tail {
                share: tail.effect,
                p: tail.p,
                p_corrected,
                news: is_news.then(|| direction(tail.effect > 0.0)),
            }
        });
        let moved = news.is_some() || tail.is_some_and(|tail| tail.news.is_some());
        let bounds = moved;
        report.comparisons.push(Comparison {
            operation: pair.operation.clone(),
            measure: pair.measure,
            a,
            b,
            shift_ns,
            shift_95: bounds.then(|| shift_of_median(&pair.before, &pair.after)),
            probability_slower: slower,
            p: tested.middle.p,
            p_corrected,
            tail,
            news,
        });
    }
}

/// By operation, what of it moved.
fn changes(comparisons: &[Comparison]) -> Vec<Change> {
    let operations: BTreeSet<&str> = comparisons.iter().map(|c| c.operation.as_str()).collect();
    let mut changes: Vec<_> = operations
        .into_iter()
        .filter_map(|operation| {
            let of_it = comparisons.iter().filter(|c| c.operation == operation);
            let moved: Vec<Moved> = of_it
                .filter_map(|comparison| {
                    let in_tail = comparison.tail.and_then(|tail| tail.news);
                    Some(Moved {
                        measure: comparison.measure,
                        direction: comparison.news.or(in_tail)?,
                        in_the_middle: comparison.news.is_some(),
                        shift_ns: comparison.shift_ns,
                    })
                })
                .collect();
            change(operation, moved)
        })
        .collect();
    changes.sort_by(|a, b| b.shift_ns.abs().total_cmp(&a.shift_ns.abs()));
    changes
}

fn change(operation: &str, moved: Vec<Moved>) -> Option<Change> {
    let total = moved.iter().find(|m| m.measure == MeasureName::Total);
    let phases = moved.iter().filter(|m| m.measure.is_phase());
    let largest = phases
        .filter(|phase| total.is_none_or(|total| total.direction == phase.direction))
        .max_by(|a, b| a.shift_ns.abs().total_cmp(&b.shift_ns.abs()));
    let leading = total.or(largest).or(moved.first())?;
    let (direction, shift_ns) = (leading.direction, leading.shift_ns);
    let phase = largest.map(|phase| phase.measure);
    Some(Change {
        operation: operation.to_owned(),
        direction,
        shift_ns,
        phase,
        moved,
    })
}
