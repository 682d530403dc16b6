//! `virtscope report`.

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use virtscope_analyzer::{Filter, FindingCode, Options, Report};

use super::{OUTPUT_FAILED, Outcome, complain};
use crate::analysis::{Analysis, Progress};
use crate::cli::ReportArgs;
use crate::fit::terminal_columns;
use crate::input::{Counted, is_stopped, name, open_metered};
use crate::json;
use crate::meter::Meter;

/// Bytes of each message that a filter can ask about: all but the longest names.
const FILTERED_BYTES: usize = 512;

/// The report as wide as the terminal and with its colours, or as plain text of 100
/// columns where there is none.
fn page(report: &Report) -> String {
    let terminal = io::stdout().is_terminal();
    let width = terminal_columns().unwrap_or(100);
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    if terminal && !plain {
        format!("{report:#width$}")
    } else {
        format!("{report:width$}")
    }
}

/// Reads the whole capture and prints what became of its requests.
///
/// A signal ends the reading, not the report: it is then of what was read.
pub(crate) fn report(args: &ReportArgs, stop: &Arc<AtomicBool>) -> anyhow::Result<Outcome> {
    let read = read(&args.capture, args.filter.filter.clone(), stop)?;
    let report = &read.report;
    let text = if args.json {
        json::to_text(report).context("the report as JSON")?
    } else {
        page(report)
    };
    io::stdout()
        .write_all(text.as_bytes())
        .context(OUTPUT_FAILED)?;
    if let Some(trouble) = read.trouble {
        complain(&format!("{}: {trouble}", name(&args.capture)));
        return Ok(Outcome::Failed);
    }
    Ok(outcome(report, &args.fail_on))
}

/// What is kept for a report: single lives are not shown, so none is.
pub(super) fn options(filter: Option<Arc<Filter>>) -> Options {
    Options {
        recent_lives: 0,
        // Only a filter looks into a request.
        keep_bytes: filter.as_ref().map_or(0, |_| FILTERED_BYTES),
        draw_rings: false,
        filter,
        ..Options::default()
    }
}

/// The report of a capture.
pub(super) struct Read {
    pub(super) report: Report,
    /// Why it is not of all there might be.
    trouble: Option<String>,
}

/// Reads the whole capture, or until `stop` says so.
pub(super) fn read(
    path: &Path,
    filter: Option<Arc<Filter>>,
    stop: &Arc<AtomicBool>,
) -> anyhow::Result<Read> {
    let meter = Meter::of(&[path]);
    let mut reader = open_metered(path, &meter, stop)?;
    let mut analysis = Analysis::new(options(filter));
    let mut interrupted = false;
    loop {
        if stop.load(Ordering::Relaxed) {
            interrupted = true;
            analysis.analyzer.finish();
            break;
        }
        match reader.next_item() {
            // Where it stands: moving it takes as long as finding it.
            Ok(ref item) => {
                if analysis.observe(item) == Progress::End {
                    break;
                }
            }
            Err(error) if is_stopped(&error) => {}
            Err(error) => return Err(error).with_context(|| name(path)),
        }
    }
    drop(meter);
    let report = analysis
        .analyzer
        .report(&analysis.capture_end(Counted::by(&reader)));
    let trouble = if interrupted {
        Some("interrupted: the report is of what was read until then".to_owned())
    } else {
        analysis.trouble()
    };
    Ok(Read { report, trouble })
}

/// Whether the findings, or those of `fail_on` if there are any named, make a
/// difference.
fn outcome(report: &Report, fail_on: &[FindingCode]) -> Outcome {
    let counts = |code| fail_on.is_empty() || fail_on.contains(&code);
    if report.findings.iter().any(|finding| counts(finding.code)) {
        Outcome::Findings
    } else {
        Outcome::Clean
    }
}
