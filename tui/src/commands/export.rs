//! `virtscope export`.

use std::io::{self, BufWriter, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, bail};
use virtscope_captures::Item;

use super::edit::{Target, meter};
use super::{Outcome, complain};
use crate::cli::ExportArgs;
use crate::export::exporter;
use crate::input::{is_standard, is_stopped, name, open_metered};

/// Writes a capture in the form of another tool.
pub(crate) fn export(args: &ExportArgs, stop: &Arc<AtomicBool>) -> anyhow::Result<Outcome> {
    let meter = meter(&args.output, &[&args.capture]);
    let mut reader = open_metered(&args.capture, &meter, stop)?;
    let mut target = Target::open(&args.output)?;
    let mut out = exporter(args.to, BufWriter::with_capacity(1 << 18, &mut target))?;
    let mut corrupt = 0_u64;
    let trouble = loop {
        if stop.load(Ordering::Relaxed) {
            bail!("interrupted: nothing was written");
        }
        let item = match reader.next_item() {
            Ok(item) => item,
            Err(error) if is_stopped(&error) => continue,
            Err(error) => return Err(error).with_context(|| name(&args.capture)),
        };
        out.item(&item)?;
        match item {
            Item::Corrupt { .. } => corrupt += 1,
            Item::End(end) => {
                break (!end.is_complete()).then(|| end.to_string());
            }
            _ => {}
        }
    };
    let lines = out.finish()?;
    drop(out);
    drop(meter);
    target.keep()?;
    if !args.output.quiet {
        let mut text = match is_standard(&args.output.output) {
            true => "standard output:\n".to_owned(),
            false => format!("{}:\n", name(&args.output.output)),
        };
        for line in &lines {
            text.push_str(&format!("  {line}\n"));
        }
        io::stderr()
            .write_all(text.as_bytes())
            .context("cannot write to standard error")?;
    }
    let corrupt = (corrupt > 0).then(|| format!("{corrupt} corrupt packets were skipped"));
    let trouble: Vec<_> = trouble.into_iter().chain(corrupt).collect();
    if trouble.is_empty() {
        return Ok(Outcome::Clean);
    }
    complain(&format!("{}: {}", name(&args.capture), trouble.join("; ")));
    Ok(Outcome::Failed)
}
