//! `virtscope print`.

use std::collections::HashSet;
use std::io::{self, BufWriter, ErrorKind, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use virtscope_analyzer::{Analyzer, Finding, FindingCode, Options, Severity};
use virtscope_captures::{Item, ReadError};

use super::{OUTPUT_FAILED, Outcome, complain};
use crate::analysis::{Analysis, Progress};
use crate::cli::PrintArgs;
use crate::fit::terminal_columns;
use crate::input::{is_pipe, name, open_live, open_metered};
use crate::line::Lines;
use crate::meter::Meter;
use crate::present::Present;

/// How long the next record is waited for before something else is done.
const PATIENCE: Duration = Duration::from_millis(20);
/// How often findings are looked for.
const LOOK: Duration = Duration::from_millis(500);

/// Columns of a line where nothing says how wide it may be.
const COLUMNS: usize = 100;

/// What is done beside printing while a stream is watched as it comes: lines are not
/// held back, and requests that hang are told of while they do.
struct Watch {
    present: Present,
    next_flush: Instant,
    next_look: Instant,
    /// Findings that were told of.
    told: HashSet<(FindingCode, Option<String>)>,
}

impl Watch {
    fn new() -> Self {
        let now = Instant::now();
        Self {
            present: Present::default(),
            next_flush: now + PATIENCE,
            next_look: now + LOOK,
            told: HashSet::new(),
        }
    }

    /// Whether lines have been held back for long enough.
    fn is_due(&mut self) -> bool {
        let now = Instant::now();
        let is_due = now >= self.next_flush;
        if is_due {
            self.next_flush = now + PATIENCE;
        }
        is_due
    }

    /// Nothing more has come; the time goes on.
    fn let_time_pass(&mut self, analyzer: &mut Analyzer) {
        if let Some(now) = self.present.at(Instant::now()) {
            analyzer.tick(now);
        }
    }

    /// Tells on standard error of what is wrong now and was not before. Only of
    /// errors: what takes longer than it must is for a report.
    /// `true` if it was time to look.
    fn look(&mut self, analyzer: &Analyzer) -> bool {
        let now = Instant::now();
        if now < self.next_look {
            return false;
        }
        self.next_look = now + LOOK;
        for finding in analyzer.findings(None).found {
            if finding.severity == Severity::Error
                && self.told.insert((finding.code, finding.queue.clone()))
            {
                let Finding {
                    code,
                    name,
                    summary,
                    ..
                } = &finding;
                complain(&format!("{code} on {name}: {summary}"));
            }
        }
        true
    }
}

/// Prints one line a request, or one line a record.
pub(crate) fn print(args: &PrintArgs, stop: &Arc<AtomicBool>) -> anyhow::Result<Outcome> {
    // A pipe or a growing file is watched as it comes; a file is wanted fast.
    let watched = args.follow || is_pipe(&args.capture);
    let follow = args.follow.then(|| Arc::clone(stop));
    let meter = Meter::beside_output(&[&args.capture]);
    let mut reader = if watched {
        let Some(reader) = open_live(&args.capture, follow, PATIENCE, stop)? else {
            // Told to stop before anything came.
            return Ok(Outcome::Clean);
        };
        reader
    } else {
        open_metered(&args.capture, &meter, stop)?
    };
    let mut watch = watched.then(Watch::new);
    let mut analysis = Analysis::new(Options {
        recent_lives: 0,
        draw_rings: false,
        collect_ended: true,
        filter: args.filter.filter.clone(),
        ..Options::default()
    });
    let mut lines = Lines::new(width(args));
    let mut out = BufWriter::new(io::stdout().lock());
    // A reader that follows ends by itself when told to stop.
    while args.follow || !stop.load(Ordering::Relaxed) {
        if let Some(watch) = &mut watch
            && watch.is_due()
        {
            out.flush().context(OUTPUT_FAILED)?;
            if watch.look(&analysis.analyzer) {
                // The terminal may be another size by now.
                lines.width = width(args);
            }
        }
        let item = match reader.next_item() {
            Ok(item) => item,
            Err(ReadError::Input(error)) if error.kind() == ErrorKind::WouldBlock => {
                if let Some(watch) = &mut watch {
                    watch.let_time_pass(&mut analysis.analyzer);
                }
                continue;
            }
            Err(error) => return Err(error).with_context(|| name(&args.capture)),
        };
        if let Item::Record(packet) = &item {
            if let Some(watch) = &mut watch {
                watch.present.observe(&packet.record);
            }
            lines.observe(&packet.record);
            if args.records {
                writeln!(out, "{}", lines.record(&packet.record)).context(OUTPUT_FAILED)?;
            }
        }
        let progress = analysis.observe(&item);
        for life in analysis.analyzer.take_ended() {
            if !args.records {
                writeln!(out, "{}", lines.life(&life)).context(OUTPUT_FAILED)?;
            }
        }
        if progress == Progress::End {
            break;
        }
    }
    if !args.records {
        for life in analysis.analyzer.in_flight() {
            writeln!(out, "{}", lines.life(&life)).context(OUTPUT_FAILED)?;
        }
    }
    out.flush().context(OUTPUT_FAILED)?;
    drop(meter);
    if let Some(filter) = &args.filter.filter {
        let failed = match filter.failed() {
            0 => String::new(),
            many => format!("; for {many} it cannot be evaluated"),
        };
        let text = format!("only requests that match {}{failed}\n", filter.text());
        // Standard output is lines of requests and nothing else.
        let _ = io::stderr().write_all(format!("virtscope: {}", sanitized(&text)).as_bytes());
    }
    if let Some(trouble) = analysis.trouble()
        && !args.follow
    {
        complain(&format!("{}: {trouble}", name(&args.capture)));
        return Ok(Outcome::Failed);
    }
    Ok(Outcome::Clean)
}

fn sanitized(text: &str) -> String {
    format!("{}\n", virtscope_analyzer::sanitize(text.trim_end()))
}

/// How wide a line may be: as asked for, as the terminal, or as others' is.
fn width(args: &PrintArgs) -> Option<usize> {
    match args.width {
        Some(0) => None,
        Some(width) => Some(width),
        None => Some(terminal_columns().unwrap_or(COLUMNS)),
    }
}
