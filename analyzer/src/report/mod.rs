//! The report: what was seen, what was lost, where the time goes.
//!
//! As JSON it has a published schema (`docs/report.schema.json`); as text it is
//! the same report for people. All times are nanoseconds.

mod conversation;
mod page;
mod plot;
#[cfg(test)]
mod tests;
mod text;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use virtscope_captures::Selection;

use crate::analyzer::Analyzer;
use crate::findings::{Finding, Findings, Undecided};
use crate::life::Incomplete;
use crate::notes;
use crate::occupancy::{History, HistoryBucket};
use crate::queue::Queue;
use crate::snapshot::{Note, OperationView, RecordTotals, RequestTotals};
use crate::stats::{Bucket, LatencyView, QueueCounts};
use crate::text::sanitize;
use crate::waits::SpaceWaits;

pub use conversation::ConversationReport;

/// The version of the report's form: `major.minor`. A minor version adds fields;
/// a major one changes or removes some.
pub const REPORT_SCHEMA_VERSION: &str = "1.5";

/// Stretches of time of a queue's history, at most.
const STRETCHES: usize = 120;

/// How the capture that was read ended; for a live run, the default with the
/// snaplen.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CaptureEnd {
    /// Packets in the capture; `None` if records did not come from one: then as
    /// many as there were records.
    pub packets: Option<u64>,
    /// Bytes of payload a record carries at most, if known.
    pub snaplen: Option<u32>,
    /// The byte at which the capture is cut off, if it is.
    pub truncated_at: Option<u64>,
    /// Packets that were corrupt and skipped.
    pub corrupt_packets: u64,
    /// Packets of other link types, skipped.
    pub foreign_packets: u64,
    /// Times that the kernel skipped a program of the tracer.
    pub programs_skipped: u64,
    /// What was left out on purpose.
    pub selection: Selection,
    /// What the capture was made of, in sentences.
    pub origin: Vec<String>,
}

/// Everything that is said of a run.
#[derive(Clone, PartialEq, Debug, Serialize, JsonSchema)]
pub struct Report {
    /// The version of this form, `major.minor`.
    pub schema_version: String,
    /// What is wrong, the worst first; empty if nothing was found.
    pub findings: Vec<Finding>,
    /// What may be wrong, for which there is not enough evidence.
    pub not_enough_evidence: Vec<Undecided>,
    /// Records: emitted = stored + lost + filtered, exactly.
    pub records: RecordTotals,
    /// The filter that chose the requests, if there was one: what follows of requests,
    /// their latencies, errors and data is of those that match.
    pub filter: Option<FilterReport>,
    /// Requests: the three are disjoint.
    pub requests: RequestTotals,
    /// Incomplete requests by reason, most frequent first.
    pub incomplete_reasons: Vec<ReasonCount>,
    /// The stretch of time seen.
    pub time: TimeSpan,
    /// The capture it was read from.
    pub capture: CaptureReport,
    /// What a reader must know before trusting the numbers; empty if there is
    /// nothing.
    pub notes: Vec<Note>,
    /// By queue id.
    pub queues: Vec<QueueReport>,
    /// By name, all queues together.
    pub operations: Vec<OperationReport>,
}

/// What a filter chose.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, JsonSchema)]
pub struct FilterReport {
    /// The expression. Escaped for printing.
    pub expression: String,
    /// Requests that ended and match.
    pub matching: u64,
    /// Requests that ended and do not.
    pub not_matching: u64,
    /// Requests that ended and of which a field is not known that decides.
    pub unknown: u64,
    /// Requests that ended and for which the expression cannot be evaluated.
    pub failed: u64,
}

/// What was left out of a capture on purpose.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, JsonSchema)]
pub struct SelectionReport {
    /// Records were left out because a filter said so.
    pub filtered: bool,
    /// Only some of the operations were recorded.
    pub sampled: bool,
    /// It is a part of another capture.
    pub cut: bool,
}

/// How many requests are incomplete for one reason.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, JsonSchema)]
pub struct ReasonCount {
    /// `begun_before`, `lost_add`, `lost_kick`, `lost_callback`, `lost_used`,
    /// `completion_missed`, `clock_set_back`, `queue_reset`, `id_reused` or `detached`.
    pub reason: String,
    /// Requests.
    pub count: u64,
}

/// The stretch of time from the first record to the last, on the monotonic clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, JsonSchema)]
pub struct TimeSpan {
    /// The first record; 0 if there is none.
    pub first_ns: u64,
    /// The last record; 0 if there is none.
    pub last_ns: u64,
    /// From the first to the last.
    pub duration_ns: u64,
}

/// The capture that a report is of.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, JsonSchema)]
pub struct CaptureReport {
    /// Packets in the capture, corrupt and foreign ones included.
    pub packets: u64,
    /// Bytes of payload a record carries at most, if known.
    pub snaplen: Option<u32>,
    /// Whether it is cut off in the middle of something.
    pub truncated: bool,
    /// Where, in bytes from its start.
    pub truncated_at: Option<u64>,
    /// Whether the producers' last counters were seen. If not, what was lost at
    /// the end is not known.
    pub tail_known: bool,
    /// Corrupt packets, skipped.
    pub corrupt_packets: u64,
    /// Packets of other link types, skipped.
    pub foreign_packets: u64,
    /// Times that the kernel skipped a program of the tracer, because another was running
    /// on that CPU.
    pub programs_skipped: u64,
    /// What was left out of it on purpose.
    pub selection: SelectionReport,
    /// What it was made of, in sentences; empty if a recorder wrote it. Escaped for
    /// printing.
    pub origin: Vec<String>,
}

/// One queue.
#[derive(Clone, PartialEq, Debug, Serialize, JsonSchema)]
pub struct QueueReport {
    /// Like `virtio0.0`: device number, queue index.
    pub id: String,
    /// Like `virtio0/requests`; the id if it has no name. Escaped for printing.
    pub name: String,
    /// Entries of the ring, if known.
    pub size: Option<u16>,
    /// `split` or `packed`, if known.
    pub layout: Option<String>,
    /// The device's type (virtio 1.4 §5), if known.
    pub device_type: Option<u16>,
    /// The features negotiated, hexadecimal, if known.
    pub features: Option<String>,
    /// What else the facts say. Escaped for printing.
    pub properties: BTreeMap<String, String>,
    /// Generations seen: one more than resets in between.
    pub generations: u64,
    /// Records of this queue.
    pub records: RecordTotals,
    /// Requests of this queue.
    pub requests: RequestTotals,
    /// Requests that ended in an error.
    pub errors: u64,
    /// Data moved, bytes.
    pub data_bytes: u64,
    /// Of completed requests, ns.
    pub latency_ns: LatencyView,
    /// Of completed requests: how many took how long, by powers of two, without a
    /// gap from the first to the last.
    pub latency_histogram: Vec<Bucket>,
    /// How full the ring was.
    pub occupancy: OccupancyReport,
    /// Who waited for room in it, and how long.
    pub space_waits: SpaceWaits,
    /// How the conversation stood at the end; `null` on a queue that is not 9P.
    pub conversation: Option<ConversationReport>,
    /// What was counted.
    pub counts: QueueCounts,
    /// Buffers added for each notification sent; `null` before the first.
    pub buffers_per_notification: Option<f64>,
    /// Buffers taken back for each callback; `null` before the first.
    pub completions_per_callback: Option<f64>,
}

/// How full a ring was.
#[derive(Clone, PartialEq, Debug, Serialize, JsonSchema)]
pub struct OccupancyReport {
    /// Time observed.
    pub observed_ns: u64,
    /// Time without a free descriptor.
    pub full_ns: u64,
    /// Buffers in flight, mean over time.
    pub in_flight_mean: f64,
    /// Most buffers in flight.
    pub in_flight_peak: u32,
    /// Descriptors in use, mean over time.
    pub descriptors_mean: f64,
    /// Most descriptors in use.
    pub descriptors_peak: u32,
    /// Equal stretches of time from the queue's first record on, at most 120.
    pub history: Vec<OccupancyStretch>,
}

/// How full a ring was in one stretch of time.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, JsonSchema)]
pub struct OccupancyStretch {
    /// When it begins, ns on the monotonic clock.
    pub from_ns: u64,
    /// Buffers in flight, mean over time.
    pub in_flight_mean: f64,
    /// Most buffers in flight.
    pub in_flight_peak: u32,
    /// Descriptors in use, mean over time.
    pub descriptors_mean: f64,
    /// Most descriptors in use.
    pub descriptors_peak: u32,
    /// Time without a free descriptor.
    pub full_ns: u64,
}

/// One kind of request.
#[derive(Clone, PartialEq, Debug, Serialize, JsonSchema)]
pub struct OperationReport {
    /// `read`, `walk`, …; `unknown` if its header was not captured; `buffer` on
    /// queues that are not 9P.
    pub name: String,
    /// The 9P type number of the request, if it is 9P.
    pub type_number: Option<u8>,
    /// Complete ones.
    pub completed: u64,
    /// Incomplete ones.
    pub incomplete: u64,
    /// Those that ended in an error.
    pub errors: u64,
    /// Errors by number.
    pub errors_by_errno: Vec<ErrnoCount>,
    /// Data moved, bytes.
    pub data_bytes: u64,
    /// Of completed requests, ns.
    pub latency_ns: LatencyView,
    /// Of completed requests: how many took how long, by powers of two, without a
    /// gap from the first to the last.
    pub latency_histogram: Vec<Bucket>,
}

/// How many requests ended in one error.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, JsonSchema)]
pub struct ErrnoCount {
    /// The Linux errno.
    pub errno: u32,
    /// Its name, if it has one.
    pub name: Option<String>,
    /// Requests.
    pub count: u64,
}

impl Report {
    pub(crate) fn new(analyzer: &Analyzer, end: &CaptureEnd) -> Self {
        let records = analyzer.record_totals();
        let Findings { found, undecided } = analyzer.findings_at(None, true);
        Self {
            schema_version: REPORT_SCHEMA_VERSION.to_owned(),
            findings: found,
            not_enough_evidence: undecided,
            records,
            filter: analyzer.filter().map(|filter| {
                let counts = analyzer.filtered();
                FilterReport {
                    expression: sanitize(filter.text()).into_owned(),
                    matching: counts.matching,
                    not_matching: counts.others,
                    unknown: counts.unknown,
                    failed: counts.failed,
                }
            }),
            requests: analyzer.shown_totals(),
            incomplete_reasons: reasons(analyzer.incomplete_reasons()),
            time: analyzer
                .span()
                .map_or_else(TimeSpan::default, |(first, last)| TimeSpan {
                    first_ns: first.as_nanos(),
                    last_ns: last.as_nanos(),
                    duration_ns: last.nanos_since(first),
                }),
            capture: CaptureReport {
                packets: end.packets.unwrap_or(records.stored),
                snaplen: end.snaplen,
                truncated: end.truncated_at.is_some(),
                truncated_at: end.truncated_at,
                tail_known: analyzer.losses().tail_known(),
                corrupt_packets: end.corrupt_packets,
                foreign_packets: end.foreign_packets,
                programs_skipped: end.programs_skipped,
                selection: SelectionReport {
                    filtered: end.selection.filtered,
                    sampled: end.selection.sampled,
                    cut: end.selection.cut,
                },
                origin: end
                    .origin
                    .iter()
                    .map(|line| sanitize(line).into_owned())
                    .collect(),
            },
            notes: notes::of(analyzer, Some(end)),
            queues: analyzer
                .queues()
                .into_iter()
                .map(|queue| {
                    let requests = analyzer.shown_totals_of(queue);
                    QueueReport::new(queue, analyzer.queue_records(queue), requests)
                })
                .collect(),
            operations: analyzer
                .operation_views()
                .into_iter()
                .map(Into::into)
                .collect(),
        }
    }

    /// The JSON schema of the report.
    pub fn schema() -> schemars::Schema {
        schemars::generate::SchemaSettings::draft2020_12()
            .for_serialize()
            .into_generator()
            .into_root_schema_for::<Self>()
    }
}

fn reasons(found: impl Iterator<Item = (Incomplete, u64)>) -> Vec<ReasonCount> {
    let mut counts: Vec<_> = found
        .map(|(reason, count)| ReasonCount {
            reason: reason.name().to_owned(),
            count,
        })
        .collect();
    counts.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.reason.cmp(&b.reason)));
    counts
}

impl QueueReport {
    fn new(queue: &Queue, records: RecordTotals, requests: RequestTotals) -> Self {
        let facts = queue.facts.as_ref();
        let occupancy = queue.occupancy.view(None);
        Self {
            id: queue.id.to_string(),
            name: queue.name.clone(),
            size: facts.map(|facts| facts.size),
            layout: facts.map(|facts| facts.layout.to_string()),
            device_type: facts.map(|facts| facts.device_type),
            features: facts.map(|facts| facts.features.to_string()),
            properties: facts
                .map(|facts| facts.properties.iter().cloned().collect())
                .unwrap_or_default(),
            generations: queue.generations,
            records,
            requests,
            errors: queue.shown().error_count(),
            data_bytes: queue.shown().data_bytes,
            latency_ns: queue.shown().latencies.view(),
            latency_histogram: queue.shown().latencies.buckets(),
            occupancy: OccupancyReport {
                observed_ns: occupancy.observed_ns,
                full_ns: occupancy.full_ns,
                in_flight_mean: occupancy.in_flight.mean,
                in_flight_peak: occupancy.in_flight.peak,
                descriptors_mean: occupancy.descriptors.mean,
                descriptors_peak: occupancy.descriptors.peak,
                history: stretches(&occupancy.history),
            },
            space_waits: queue.space_waits(),
            conversation: queue.conversation().map(Into::into),
            counts: queue.counts,
            buffers_per_notification: queue.counts.buffers_per_notification(),
            completions_per_callback: queue.counts.completions_per_callback(),
        }
    }
}

/// The history in at most [`STRETCHES`] pieces.
fn stretches(history: &History) -> Vec<OccupancyStretch> {
    let together = history.buckets.len().div_ceil(STRETCHES).max(1);
    history
        .buckets
        .chunks(together)
        .enumerate()
        .map(|(number, buckets)| {
            let mean = |of: fn(&HistoryBucket) -> f64| {
                buckets.iter().map(of).sum::<f64>() / buckets.len() as f64
            };
            let peak = |of: fn(&HistoryBucket) -> u32| buckets.iter().map(of).max().unwrap_or(0);
            let passed = (number * together) as u64 * history.bucket_ns;
            OccupancyStretch {
                from_ns: history.start.as_nanos().saturating_add(passed),
                in_flight_mean: mean(|bucket| bucket.mean_in_flight),
                in_flight_peak: peak(|bucket| bucket.peak_in_flight),
                descriptors_mean: mean(|bucket| bucket.mean_descriptors),
                descriptors_peak: peak(|bucket| bucket.peak_descriptors),
                full_ns: buckets.iter().map(|bucket| bucket.full_ns).sum(),
            }
        })
        .collect()
}

impl From<OperationView> for OperationReport {
    fn from(view: OperationView) -> Self {
        Self {
            name: view.operation.name().to_owned(),
            type_number: view.operation.type_number(),
            completed: view.completed,
            incomplete: view.incomplete,
            errors: view.errors,
            errors_by_errno: view
                .errors_by_errno
                .into_iter()
                .map(|(errno, count)| ErrnoCount {
                    errno: errno.0,
                    name: errno.name().map(str::to_owned),
                    count,
                })
                .collect(),
            data_bytes: view.data_bytes,
            latency_ns: view.latency,
            latency_histogram: view.histogram,
        }
    }
}
