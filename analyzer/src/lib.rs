//! Rebuilds from ring-event records what happened inside virtqueues.
//!
//! Records go in by [`Analyzer::push`]; out come the [`Life`] of every request,
//! the occupancy of every ring, the [9P operation](p9) that each request was,
//! a [`Snapshot`] for a screen and a [`Report`] at the end.
//!
//! The crate opens no device and loads no BPF: a live stream, a replayed file
//! and a pipe are the same to it. It keeps what is in flight and a bounded
//! recent past, never the whole capture.
//!
//! It never guesses. A request with a missing piece is [`Incomplete`] and says
//! which piece; what a guest cannot see (when the device took a buffer) is there
//! only where the device's half wrote records too.

mod analyzer;
#[cfg(test)]
mod analyzer_tests;
mod budget;
#[cfg(test)]
mod damage_tests;
mod device_type;
mod diff;
mod errno;
mod filter;
mod findings;
mod index_space;
mod kept;
mod life;
mod lives;
mod losses;
#[cfg(test)]
mod model_tests;
mod notes;
mod occupancy;
pub mod p9;
mod paged;
mod positions;
mod queue;
mod rates;
mod redact;
mod report;
mod ring;
mod snapshot;
mod stats;
#[cfg(test)]
mod testing;
mod text;
mod waits;

pub use analyzer::{Analyzer, Options};
pub use device_type::device_type;
pub use diff::{
    Change, Comparison, DIFF_SCHEMA_VERSION, DiffOptions, DiffReport, Direction, MeasureName,
    Moved, Run, RunReport, Side, Tail, TooFew,
};
pub use errno::Errno;
pub use filter::{FIELDS, FieldInfo, Filter, FilterError, Verdict, filter_help};
pub use findings::{About, Evidence, Finding, FindingCode, Findings, Severity, Undecided};
pub use life::{
    Announcement, Anomaly, BufferShape, Incomplete, KickDecision, Life, Message, Moments,
    Operation, Outcome, Phases, Piece,
};
pub use occupancy::{History, HistoryBucket, Level, OccupancyView};
pub use redact::Redactor;
pub use report::{
    CaptureEnd, CaptureReport, ConversationReport, ErrnoCount, OccupancyReport, OperationReport,
    QueueReport, REPORT_SCHEMA_VERSION, ReasonCount, Report, TimeSpan,
};
pub use ring::{Drawing, Pointers, RingModel, Slot, SlotState, UsedSlot};
pub use snapshot::{
    Facts, FilterView, Note, NoteCode, OperationView, QueueView, Rates, RecordTotals,
    RequestTotals, Snapshot,
};
pub use stats::{Bucket, InterruptCounts, KickCounts, LatencyView, Percentiles, QueueCounts};
pub use text::{bytes as format_bytes, duration as format_duration, sanitize};
pub use waits::{SpaceWaits, Waiter};
