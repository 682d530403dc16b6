//! `virtscope diff`.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, bail};
use virtscope_analyzer::{DiffOptions, Filter, Options, Run, RunReport};

use super::edit::check_inputs;
use super::{OUTPUT_FAILED, Outcome, complain};
use crate::analysis::{Analysis, Progress};
use crate::cli::DiffArgs;
use crate::input::{Counted, is_stopped, name, open_metered};
use crate::json;
use crate::meter::Meter;

/// Bytes of each message that a filter can ask about: all but the longest names.
const FILTERED_BYTES: usize = 512;

/// Compares two captures.
pub(crate) fn diff(args: &DiffArgs, stop: &Arc<AtomicBool>) -> anyhow::Result<Outcome> {
    check_inputs(&[&args.before, &args.after])?;
    let filter = args.filter.filter.as_ref();
    let meter = Meter::of(&[&args.before, &args.after]);
    let before = read(&args.before, filter, stop, &meter)?;
    let after = read(&args.after, filter, stop, &meter)?;
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

fn read(
    path: &Path,
    filter: Option<&Arc<Filter>>,
    stop: &Arc<AtomicBool>,
    meter: &Meter,
) -> anyhow::Result<Read> {
    let mut reader = open_metered(path, meter, stop)?;
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
        if stop.load(Ordering::Relaxed) {
            bail!("interrupted: nothing was compared");
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
    Ok(Read {
        name: name(path),
        run,
        lost: report.records.lost,
        notes: report.notes.into_iter().map(|note| note.text).collect(),
        trouble: analysis.trouble(),
    })
}
