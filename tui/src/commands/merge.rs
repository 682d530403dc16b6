//! `virtscope merge`.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use virtscope_captures::Origin;
use virtscope_captures::edit::Combine;

use super::Outcome;
use super::edit::{Target, check_inputs, complain_of, explain, meter, source, stopper, tell};
use crate::cli::MergeArgs;
use crate::input::name;

/// Makes one capture of several.
pub(crate) fn merge(args: &MergeArgs, stop: &Arc<AtomicBool>) -> anyhow::Result<Outcome> {
    let paths: Vec<&Path> = args.captures.iter().map(AsRef::as_ref).collect();
    check_inputs(&paths)?;
    let meter = meter(&args.output, &paths);
    let sources: Vec<_> = paths
        .iter()
        .map(|path| Ok((name(path), source(path, &meter, stop)?)))
        .collect::<anyhow::Result<_>>()?;
    let mut target = Target::open(&args.output)?;
    let fail = |error| explain(error, &args.output, &paths);
    let combine = Combine::new(sources).map_err(fail)?;
    let mut said = combine.clock_sentences();
    let mut origin = Origin::default();
    let names: Vec<_> = paths.iter().map(|path| name(path)).collect();
    origin.add(&format!("merged from {}", names.join(", ")));
    let combined = combine
        .write(&mut target, origin, &stopper(stop))
        .map_err(fail)?;
    drop(meter);
    target.keep()?;
    said.extend(combined.renumbered.iter().map(|placed| {
        let from = names.get(placed.input).map_or("", String::as_str);
        format!("{} of {from} is {} here", placed.was, placed.is)
    }));
    if combined.duplicates > 0 {
        said.push(format!(
            "{} records stood in more than one of them",
            combined.duplicates
        ));
    }
    tell(&args.output, &combined.done, &said)?;
    for (at, trouble) in &combined.troubles {
        if let Some(path) = paths.get(*at) {
            complain_of(path, trouble);
        }
    }
    Ok(if combined.troubles.is_empty() {
        Outcome::Clean
    } else {
        Outcome::Failed
    })
}
