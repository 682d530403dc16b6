//! What a screen shows: plain data, cut loose from the analyzer.

use std::sync::Arc;

use virtscope_record::{FeatureBits, Generation, Layout, QueueFacts, QueueId, Timestamp};

use crate::findings::Findings;
use crate::life::{Life, Operation};
use crate::occupancy::OccupancyView;
use crate::p9;
use crate::ring::RingModel;
use crate::stats::{Bucket, LatencyView, QueueCounts};
use crate::text::sanitize;
use crate::waits::SpaceWaits;

/// Everything a screen needs at one moment. A screen is a function of this.
///
/// Times are on the stream's monotonic clock; subtract [`first`](Self::first) to
/// get the time into the run.
#[derive(Clone, Default, Debug)]
pub struct Snapshot {
    /// Time of the earliest record, if there was any.
    pub first: Option<Timestamp>,
    /// Time of the latest record.
    pub last: Option<Timestamp>,
    /// The moment the snapshot is of: what the caller gave, or `last`.
    pub now: Option<Timestamp>,
    /// Records, lost ones included.
    pub records: RecordTotals,
    /// Requests, all queues together.
    pub requests: RequestTotals,
    /// By queue id.
    pub queues: Vec<QueueView>,
    /// By name; each row is one operation over all queues.
    pub operations: Vec<OperationView>,
    /// Lives that ended, newest first; at most
    /// [`Options::recent_lives`](crate::Options::recent_lives).
    pub recent: Vec<Arc<Life>>,
    /// Lives still in flight, oldest first; at most
    /// [`Options::in_flight_lives`](crate::Options::in_flight_lives).
    pub in_flight: Vec<Arc<Life>>,
    /// What a reader must know before trusting the numbers: losses, cuts.
    pub notes: Vec<Note>,
    /// What is wrong at this moment, and what may be.
    pub findings: Findings,
    /// The filter that says which requests are shown, if there is one: operations,
    /// latencies, errors, data and the lists are of these.
    pub filter: Option<FilterView>,
}

/// A filter and what it chose.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FilterView {
    /// The expression as it was written: not safe to print.
    pub text: String,
    /// From when on it was asked; `None` if from the beginning.
    pub since: Option<Timestamp>,
    /// Requests that ended and match.
    pub matching: u64,
    /// Requests that ended and do not.
    pub others: u64,
    /// Requests that ended and of which a field is not known that decides.
    pub unknown: u64,
    /// Requests that ended and for which the expression cannot be evaluated.
    pub failed: u64,
}

impl Snapshot {
    /// Nanoseconds from the first record to `now`.
    pub fn elapsed_ns(&self) -> u64 {
        match (self.first, self.now) {
            (Some(first), Some(now)) => now.nanos_since(first),
            _ => 0,
        }
    }

    /// The queue with this id.
    pub fn queue(&self, id: QueueId) -> Option<&QueueView> {
        self.queues.iter().find(|queue| queue.id == id)
    }
}

/// Records of a stream: `emitted = stored + lost + filtered`, exactly.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, serde::Serialize, schemars::JsonSchema)]
pub struct RecordTotals {
    /// Records that producers made.
    pub emitted: u64,
    /// Records that are in the stream.
    pub stored: u64,
    /// Records that were made and did not get into the stream.
    pub lost: u64,
    /// Records that a filter left out on purpose.
    pub filtered: u64,
    /// Operations that happened and never became a record: stands beside the sum.
    pub missed: u64,
}

/// Requests of a stream. The three are disjoint.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, serde::Serialize, schemars::JsonSchema)]
pub struct RequestTotals {
    /// Seen whole, from add to used.
    pub completed: u64,
    /// Ended, but begun before the capture, touched by a loss, or cut short by a
    /// reset or detach.
    pub incomplete: u64,
    /// Added, not used at the end.
    pub in_flight: u64,
}

/// One queue.
#[derive(Clone, Debug)]
pub struct QueueView {
    /// Which queue.
    pub id: QueueId,
    /// Its name, like `virtio0/requests`; the id if no facts were seen. Safe to
    /// print.
    pub name: String,
    /// What the queue is, if its facts were seen.
    pub facts: Option<Facts>,
    /// Records of this queue, lost ones included.
    pub records: RecordTotals,
    /// Requests of this queue.
    pub requests: RequestTotals,
    /// Requests that ended in an error (9P `Rlerror`).
    pub errors: u64,
    /// Data moved: see [`Life::data_bytes`].
    pub data_bytes: u64,
    /// How full the ring is and was.
    pub occupancy: OccupancyView,
    /// Who waited for room in it.
    pub waits: SpaceWaits,
    /// Over the last second.
    pub rates: Rates,
    /// Of completed requests.
    pub latency: LatencyView,
    /// Notifications and what else is counted.
    pub counts: QueueCounts,
    /// The conversation on a 9P queue.
    pub conversation: Option<p9::ConversationView>,
    /// The ring as the records tell it.
    pub ring: RingModel,
}

/// What a queue is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Facts {
    /// Entries of the ring.
    pub size: u16,
    /// Split or packed.
    pub layout: Layout,
    /// The device's type (virtio 1.4 §5: 9 is the 9P transport).
    pub device_type: u16,
    /// The features negotiated.
    pub features: FeatureBits,
    /// The generation these facts are of.
    pub generation: Generation,
    /// Buffers in flight when the facts were taken: begun before the capture.
    pub in_flight: u16,
    /// The rest, as key and value. Safe to print.
    pub properties: Vec<(String, String)>,
}

/// Properties of a queue that are kept.
const PROPERTY_LIMIT: usize = 32;
/// Bytes of facts that are looked at.
const FACTS_LIMIT: usize = 4096;

impl Facts {
    /// A queue's facts, and its name if `text`, which comes with them, has one: the name in
    /// the first line, a property in each other.
    pub fn read(generation: Generation, facts: &QueueFacts, text: &[u8]) -> (Option<String>, Self) {
        let text = text.get(..FACTS_LIMIT).unwrap_or(text);
        let mut lines = text.split(|byte| *byte == b'\n');
        let name = lines.next().filter(|name| !name.is_empty());
        let properties = lines.filter(|line| !line.is_empty()).map(|line| {
            let equals = line.iter().position(|byte| *byte == b'=');
            let (key, value) = match equals {
                Some(at) => (&line[..at], &line[at + 1..]),
                None => (line, &line[..0]),
            };
            (sanitize(key).into_owned(), sanitize(value).into_owned())
        });
        let told = Self {
            size: facts.size,
            layout: facts.layout,
            device_type: facts.device_type,
            features: facts.features,
            generation,
            in_flight: facts.in_flight,
            properties: properties.take(PROPERTY_LIMIT).collect(),
        };
        (name.map(|name| sanitize(name).into_owned()), told)
    }
}

/// Per second, over the last second of the stream.
#[derive(Clone, Copy, PartialEq, Default, Debug)]
pub struct Rates {
    /// Buffers added.
    pub adds: f64,
    /// Requests that ended.
    pub completions: f64,
    /// Kicks sent.
    pub kicks_sent: f64,
    /// Kicks suppressed.
    pub kicks_suppressed: f64,
    /// Callbacks.
    pub callbacks: f64,
    /// Data bytes moved: see [`Life::data_bytes`].
    pub bytes: f64,
}

/// One kind of request, over all queues.
#[derive(Clone, Debug)]
pub struct OperationView {
    /// Which.
    pub operation: Operation,
    /// Complete ones.
    pub completed: u64,
    /// Incomplete ones whose operation is known.
    pub incomplete: u64,
    /// Those that ended in an error.
    pub errors: u64,
    /// Errors by number, ascending.
    pub errors_by_errno: Vec<(crate::Errno, u64)>,
    /// Data moved: see [`Life::data_bytes`].
    pub data_bytes: u64,
    /// Of completed requests.
    pub latency: LatencyView,
    /// The same by powers of two.
    pub histogram: Vec<Bucket>,
}

/// One thing a reader must know.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, schemars::JsonSchema)]
pub struct Note {
    /// Stable, for programs.
    pub code: NoteCode,
    /// For people: one sentence.
    pub text: String,
}

/// What a note is about. New codes may appear in minor versions.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum NoteCode {
    /// Records were lost.
    RecordsLost,
    /// Operations were missed: they happened and no record says so.
    OperationsMissed,
    /// The kernel skipped a program of the tracer: what it would have told may be missing.
    ProgramsSkipped,
    /// Records were left out by a filter.
    RecordsFiltered,
    /// The capture ends in the middle of something.
    CaptureTruncated,
    /// Corrupt packets were skipped.
    CorruptPackets,
    /// Packets of other link types were skipped.
    ForeignPackets,
    /// The producers' last counters are not in the stream, so what was lost at its
    /// end is not known.
    TailUnknown,
    /// Requests are incomplete; says why.
    IncompleteRequests,
    /// Records came without the facts of their queue.
    FactsMissing,
    /// Records of a kind or layout that this version does not know.
    UnknownRecords,
    /// The stream contradicts itself.
    Inconsistent,
    /// Requests or replies contradict themselves.
    Anomalies,
    /// So many different latencies were seen that percentiles are less exact than to
    /// three digits; says how exact.
    CoarseLatencies,
}
