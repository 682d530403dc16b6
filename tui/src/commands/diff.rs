//! `virtscope diff`.

use std::io::{self, Write};
use std::panic::resume_unwind;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context, bail};
use virtscope_analyzer::{DiffOptions, Filter, Options, Run, RunReport};
use virtscope_captures::CaptureReader;

use super::edit::check_inputs;
use super::{OUTPUT_FAILED, Outcome, complain};
use crate::analysis::{Analysis, Progress};
use crate::cli::DiffArgs;
use crate::input::{Counted, Input, is_stopped, name, open_metered};
use crate::json;
use crate::meter::Meter;

/// Bytes of each message that a filter can ask about: all but the longest names.
const FILTERED_BYTES: usize = 512;

/// Compares two captures.
pub(crate) fn diff(args: &DiffArgs, stop: &Arc<AtomicBool>) -> anyhow::Result<Outcome> {
    check_inputs(&[&args.before, &args.after])?;
    let filter = args.filter.filter.as_ref();
    let meter = Meter::of(&[&args.before, &args.after]);
    let (before, after) = read_both([&args.before, &args.after], filter, stop, &meter)?;
    drop(meter);
    let options = DiffOptions {
        error_rate: args.error_rate / 100.0,
        smallest_shift: args.smallest_shift / 100.0,
    };
    let mut report = before.run.compare(&after.run, &options);
    report.filter = filter.map(|filter| filter.text().to_owned());
    before.describe(&mut report.a);
    after.describe(&mut report.b);
    let text = if args.json {
        json::to_text(&report).context("the diff as JSON")?
    } else {
        report.to_string()
    };
    io::stdout()
        .write_all(text.as_bytes())
        .context(OUTPUT_FAILED)?;
    let mut outcome = match report.is_slower() {
        true => Outcome::Findings,
        false => Outcome::Clean,
    };
    for read in [&before, &after] {
        if let Some(trouble) = &read.trouble {
            complain(&format!("{}: {trouble}", read.name));
            outcome = Outcome::Failed;
        }
    }
    Ok(outcome)
}

/// A capture, read to its end.
struct Read {
    name: String,
    run: Run,
    lost: u64,
    notes: Vec<String>,
    trouble: Option<String>,
}

impl Read {
    fn describe(&self, report: &mut RunReport) {
        report.name = self.name.clone();
        report.records_lost = self.lost;
        report.notes = self.notes.clone();
    }
}

/// Reads both at once, each in a thread: neither needs anything of the other.
fn read_both(
    paths: [&Path; 2],
    filter: Option<&Arc<Filter>>,
    stop: &Arc<AtomicBool>,
    meter: &Meter,
) -> anyhow::Result<(Read, Read)> {
    // Opened one after the other: what is no capture is said before anything is read.
    let [before, after] = paths;
    let before = (before, open_metered(before, meter, stop)?);
    let after = (after, open_metered(after, meter, stop)?);
    let has_failed = AtomicBool::new(false);
    let read = |(path, reader)| {
        let read = read(path, reader, filter, || {
            stop.load(Ordering::Relaxed) || has_failed.load(Ordering::Relaxed)
        });
        // Nobody needs the other any more.
        has_failed.fetch_or(read.is_err(), Ordering::Relaxed);
        read
    };
    let (before, after) = thread::scope(|scope| {
        let after = thread::Builder::new()
            .name("after".into())
            .spawn_scoped(scope, || read(after))
            .context("no thread for reading the second capture")?;
        let before = read(before);
        // A panic goes on where it is waited for.
        let after = after.join().unwrap_or_else(|panic| resume_unwind(panic));
        anyhow::Ok((before, after))
    })?;
    match (before?, after?) {
        (Some(before), Some(after)) => Ok((before, after)),
        _ => bail!("interrupted: nothing was compared"),
    }
}

/// Nothing, once `is_over` says so.
fn read(
    path: &Path,
    mut reader: CaptureReader<Input>,
    filter: Option<&Arc<Filter>>,
    is_over: impl Fn() -> bool,
) -> anyhow::Result<Option<Read>> {
    let mut analysis = Analysis::new(Options {
        recent_lives: 0,
        // Only a filter looks into a request.
        keep_bytes: filter.map_or(0, |_| FILTERED_BYTES),
        draw_rings: false,
        collect_ended: true,
        filter: filter.cloned(),
        ..Options::default()
    });
    let mut run = Run::new();
    loop {
        if is_over() {
            return Ok(None);
        }
        let item = match reader.next_item() {
            Ok(item) => item,
            Err(error) if is_stopped(&error) => continue,
            Err(error) => return Err(error).with_context(|| name(path)),
        };
        let progress = analysis.observe(&item);
        for life in analysis.analyzer.take_ended() {
            run.add(&life);
        }
        if progress == Progress::End {
            break;
        }
    }
    let report = analysis
        .analyzer
        .report(&analysis.capture_end(Counted::by(&reader)));
    Ok(Some(Read {
        name: name(path),
        run,
        lost: report.records.lost,
        notes: report.notes.into_iter().map(|note| note.text).collect(),
        trouble: analysis.trouble(),
    }))
}
