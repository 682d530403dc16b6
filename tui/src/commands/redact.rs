//! `virtscope redact`.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use virtscope_analyzer::Redactor;
use virtscope_captures::Origin;
use virtscope_captures::edit::rewrite;

use super::Outcome;
use super::edit::{Target, complain_of, explain, meter, source, stopper, tell};
use crate::cli::RedactArgs;

/// Copies a capture without names and contents.
pub(crate) fn redact(args: &RedactArgs, stop: &Arc<AtomicBool>) -> anyhow::Result<Outcome> {
    let path: &Path = &args.capture;
    let meter = meter(&args.output, &[path]);
    let mut input = source(path, &meter, stop)?;
    let mut target = Target::open(&args.output)?;
    // What the capture was made of is told by names of files: it is not kept.
    let mut origin = Origin::default();
    origin.add("redacted: names are pseudonyms, contents are gone");
    let mut redactor = match args.seed {
        Some(seed) => Redactor::with_seed(seed),
        None => Redactor::new(),
    };
    let rewritten = rewrite(
        &mut input,
        &mut target,
        origin,
        &mut |record, payload| redactor.redact(record, payload),
        &stopper(stop),
    )
    .map_err(|error| explain(error, &args.output, &[path]))?;
    drop(meter);
    target.keep()?;
    tell(&args.output, &rewritten.done, &[])?;
    if let Some(trouble) = input.trouble() {
        complain_of(path, &trouble);
        return Ok(Outcome::Failed);
    }
    Ok(Outcome::Clean)
}
