//! What a reader must know before trusting the numbers.

use crate::analyzer::Analyzer;
use crate::format_duration;
use crate::report::CaptureEnd;
use crate::snapshot::{Note, NoteCode};

/// The notes on what `analyzer` has seen; with `end`, on how the capture ended
/// too.
pub(crate) fn of(analyzer: &Analyzer, end: Option<&CaptureEnd>) -> Vec<Note> {
    let mut notes = Vec::new();
    if let Some(end) = end {
        on_capture(analyzer, end, &mut notes);
    }
    on_records(analyzer, &mut notes);
    on_requests(analyzer, &mut notes);
    notes
}

fn on_capture(analyzer: &Analyzer, end: &CaptureEnd, notes: &mut Vec<Note>) {
    if let Some(offset) = end.truncated_at {
        note(
            notes,
            NoteCode::CaptureTruncated,
            format!("The capture is cut off at byte {offset}; what stands before it was read."),
        );
    }
    if end.corrupt_packets > 0 {
        note(
            notes,
            NoteCode::CorruptPackets,
            format!(
                "{} skipped: the file was damaged.",
                count(
                    end.corrupt_packets,
                    "corrupt packet was",
                    "corrupt packets were"
                )
            ),
        );
    }
    if end.foreign_packets > 0 {
        note(
            notes,
            NoteCode::ForeignPackets,
            format!(
                "{} of other link types than a virtqueue's {} skipped.",
                count(end.foreign_packets, "packet", "packets"),
                if end.foreign_packets == 1 {
                    "was"
                } else {
                    "were"
                }
            ),
        );
    }
    if end.programs_skipped > 0 {
        note(
            notes,
            NoteCode::ProgramsSkipped,
            format!(
                "The kernel skipped a program of the tracer {}, because another was running on \
                 that CPU. Of what it would have told, only what the rings' positions show is \
                 counted as missed.",
                count(end.programs_skipped, "time", "times")
            ),
        );
    }
    if !analyzer.losses().tail_known() {
        note(
            notes,
            NoteCode::TailUnknown,
            "The producers' last counters are missing, so records may have been lost at the end \
             that nobody counted. Requests in flight may have ended."
                .to_owned(),
        );
    }
}

/// One in so many records may stand behind later ones and nothing is said: an interrupt that
/// comes while a record is on its way has its own before it, and soon enough nobody is the
/// worse for it.
const ORDERLY_PART: u64 = 1000;

fn on_records(analyzer: &Analyzer, notes: &mut Vec<Note>) {
    let totals = analyzer.record_totals();
    if totals.lost > 0 {
        note(
            notes,
            NoteCode::RecordsLost,
            format!(
                "{} of {} records {} lost; requests that may have been touched are incomplete.",
                totals.lost,
                totals.emitted,
                if totals.lost == 1 { "was" } else { "were" }
            ),
        );
    }
    if totals.missed > 0 {
        note(
            notes,
            NoteCode::OperationsMissed,
            format!(
                "{} no record: the probe was skipped.",
                count(totals.missed, "operation left", "operations left")
            ),
        );
    }
    if totals.filtered > 0 {
        note(
            notes,
            NoteCode::RecordsFiltered,
            format!(
                "{} left out on purpose.",
                count(totals.filtered, "record was", "records were")
            ),
        );
    }
    if analyzer.unknown_records() > 0 {
        note(
            notes,
            NoteCode::UnknownRecords,
            format!(
                "{} of a kind that this version does not know: update virtscope.",
                count(analyzer.unknown_records(), "record is", "records are")
            ),
        );
    }
    if analyzer.without_facts() > 0 {
        note(
            notes,
            NoteCode::FactsMissing,
            format!(
                "{} without the facts of the queue, so what the queue is was not known.",
                count(analyzer.without_facts(), "record came", "records came")
            ),
        );
    }
    if let Some(text) = analyzer.losses().inconsistencies() {
        note(
            notes,
            NoteCode::Inconsistent,
            format!("The stream contradicts itself: {text}."),
        );
    }
    let steps: u64 = analyzer
        .queues()
        .iter()
        .map(|queue| queue.clock_steps)
        .sum();
    if steps > 0 {
        note(
            notes,
            NoteCode::Inconsistent,
            format!(
                "The clock was set back {}: what lies on both sides of that has no known length.",
                count(steps, "time", "times")
            ),
        );
    }
    let still = analyzer.still;
    if still.times > 0 {
        note(
            notes,
            NoteCode::Inconsistent,
            format!(
                "{} nothing was recorded, not even the statistics of every second: the recorder \
                 stood still, or the clock was set forward. Requests that were in flight then seem \
                 to have taken that long.",
                match still.times {
                    1 => format!("For {}", format_duration(still.longest_ns)),
                    times => format!(
                        "{times} times, once for {},",
                        format_duration(still.longest_ns)
                    ),
                }
            ),
        );
    }
    let disordered: u64 = analyzer
        .queues()
        .iter()
        .map(|queue| queue.continuity.late)
        .sum();
    let stored = analyzer.record_totals().stored;
    if disordered.saturating_mul(ORDERLY_PART) > stored {
        note(
            notes,
            NoteCode::Inconsistent,
            format!(
                "{} behind later ones of the same producer: requests around them may be \
                 incomplete for that.",
                count(disordered, "record stands", "records stand")
            ),
        );
    }
    if analyzer.unfollowed_records() > 0 {
        note(
            notes,
            NoteCode::Inconsistent,
            format!(
                "{} of more queues than can be followed.",
                count(analyzer.unfollowed_records(), "record is", "records are")
            ),
        );
    }
}

fn on_requests(analyzer: &Analyzer, notes: &mut Vec<Note>) {
    for (reason, many) in analyzer.incomplete_reasons() {
        note(
            notes,
            NoteCode::IncompleteRequests,
            format!(
                "{} incomplete: {}.",
                count(many, "request is", "requests are"),
                reason.explain()
            ),
        );
    }
    let anomalies: u64 = analyzer
        .queues()
        .iter()
        .map(|queue| queue.counts.anomalies)
        .sum();
    if anomalies > 0 {
        note(
            notes,
            NoteCode::Anomalies,
            format!(
                "{} in itself or by its reply.",
                count(
                    anomalies,
                    "request is contradictory",
                    "requests are contradictory"
                )
            ),
        );
    }
    if let Some(precision) = analyzer.coarse_precision() {
        note(
            notes,
            NoteCode::CoarseLatencies,
            format!(
                "There are so many different latencies that some percentiles are too large by up \
                 to one part in {}.",
                1_u64 << precision
            ),
        );
    }
}

fn note(notes: &mut Vec<Note>, code: NoteCode, text: String) {
    notes.push(Note { code, text });
}

fn count(many: u64, one: &str, more: &str) -> String {
    format!("{many} {}", if many == 1 { one } else { more })
}
