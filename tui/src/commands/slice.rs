//! `virtscope slice`.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use virtscope_captures::Origin;
use virtscope_captures::edit::{SliceSpec, slice as cut};

use super::Outcome;
use super::edit::{Target, complain_of, explain, meter, source, stopper, tell};
use crate::cli::SliceArgs;

/// Copies a part of a capture.
pub(crate) fn slice(args: &SliceArgs, stop: &Arc<AtomicBool>) -> anyhow::Result<Outcome> {
    let spec = SliceSpec {
        from_ns: args.from.map(nanos),
        to_ns: args.to.map(nanos),
        queues: args.queue.clone(),
        requests: args.request.clone(),
        halves: args.halves,
    };
    let path: &Path = &args.capture;
    let meter = meter(&args.output, &[path]);
    let mut input = source(path, &meter, stop)?;
    let mut target = Target::open(&args.output)?;
    let mut origin = Origin::default();
    origin.add(&format!("a part of another capture: {spec}"));
    let sliced = cut(&mut input, &mut target, &spec, origin, &stopper(stop))
        .map_err(|error| explain(error, &args.output, &[path]))?;
    drop(meter);
    target.keep()?;
    let left_out = format!("{} records were left out", sliced.left_out);
    tell(&args.output, &sliced.done, &[left_out])?;
    if let Some(trouble) = input.trouble() {
        complain_of(path, &trouble);
        return Ok(Outcome::Failed);
    }
    Ok(Outcome::Clean)
}

fn nanos(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
