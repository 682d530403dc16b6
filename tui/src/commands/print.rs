//! `virtscope print`.

use std::io::{self, BufWriter, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use virtscope_analyzer::{Life, Options};
use virtscope_captures::Item;
use virtscope_record::Timestamp;

use super::{OUTPUT_FAILED, Outcome, complain};
use crate::analysis::{Analysis, Progress};
use crate::cli::PrintArgs;
use crate::input::{is_standard, name, open};
use crate::line;

/// Prints one line a request, or one line a record.
pub(crate) fn print(args: &PrintArgs, stop: &Arc<AtomicBool>) -> anyhow::Result<Outcome> {
    let mut reader = open(&args.capture, args.follow.then(|| Arc::clone(stop)))?;
    let mut analysis = Analysis::new(Options {
        recent_lives: 0,
        draw_rings: false,
        collect_ended: true,
        filter: args.filter.filter.clone(),
        ..Options::default()
    });
    let mut first: Option<Timestamp> = None;
    let mut out = BufWriter::new(io::stdout().lock());
    // A pipe or a growing file is watched as it comes; a file is wanted fast.
    let watched = args.follow || is_standard(&args.capture);
    // A reader that follows ends by itself when told to stop.
    while args.follow || !stop.load(Ordering::Relaxed) {
        let item = reader.next_item().with_context(|| name(&args.capture))?;
        if let Item::Record(packet) = &item {
            let first = *first.get_or_insert(packet.record.time());
            if args.records {
                writeln!(out, "{}", line::record(&packet.record, first)).context(OUTPUT_FAILED)?;
            }
        }
        let progress = analysis.observe(&item);
        let first = first.unwrap_or_default();
        for life in analysis.analyzer.take_ended() {
            print_life(&mut out, args, &life, first).context(OUTPUT_FAILED)?;
        }
        if progress == Progress::End {
            break;
        }
        if watched {
            out.flush().context(OUTPUT_FAILED)?;
        }
    }
    if !args.records {
        let first = first.unwrap_or_default();
        for life in analysis.analyzer.in_flight() {
            print_life(&mut out, args, &life, first).context(OUTPUT_FAILED)?;
        }
    }
    out.flush().context(OUTPUT_FAILED)?;
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

fn print_life(
    out: &mut impl Write,
    args: &PrintArgs,
    life: &Life,
    first: Timestamp,
) -> io::Result<()> {
    if args.records {
        return Ok(());
    }
    writeln!(out, "{}", line::life(life, first))
}
