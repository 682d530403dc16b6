//! Real kernels in guests, held against what others saw of them: QEMU's own log of
//! its half of each queue, the guest kernel's 9P tracepoints, and its counts of
//! each disk.

mod capture;
mod compare;
mod disk;
mod host;
mod log;
mod p9;
mod runs;
mod tracepoints;

#[cfg(test)]
mod tests;

use std::path::PathBuf;

use anyhow::anyhow;
use clap::Args;

use crate::guest::{Kernel, Machine, Place, QUEUE_EVENTS, prepare};
use crate::limit::{Deadline, LIMIT};
use crate::steps::Failure;

#[derive(Args, Debug)]
pub(crate) struct TruthArgs {
    /// The kernels [default: all].
    #[arg(long, value_enum, value_delimiter = ',', value_name = "KERNEL,…")]
    kernel: Vec<Kernel>,

    /// Only packed rings, or only split ones.
    #[arg(long, value_name = "BOOL")]
    packed: Option<bool>,

    /// Only runs whose names contain this.
    #[arg(long, value_name = "WORD")]
    only: Option<String>,

    /// A `virtscope` for the guest, instead of one that is built now.
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,

    /// A folder in which captures and QEMU's log are kept.
    #[arg(long, value_name = "FOLDER")]
    keep: Option<PathBuf>,
}

/// What of the truth is asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked {
    packed: Option<bool>,
    only: Option<String>,
    keep: Option<PathBuf>,
}

/// `cargo xtask truth`: the same as the test's step, or a part of it; whether all
/// agree.
pub(crate) fn run(args: &TruthArgs) -> anyhow::Result<bool> {
    let deadline = Deadline::after(LIMIT);
    let asked = Asked {
        packed: args.packed,
        only: args.only.clone(),
        keep: args.keep.clone(),
    };
    let kernels = match args.kernel.as_slice() {
        [] => &Kernel::ALL,
        some => some,
    };
    let place = match &args.program {
        Some(program) => Place::with_program(program),
        None => prepare(deadline),
    };
    let mut agrees = true;
    let failed = |failure| match failure {
        Failure::Missing(what) => anyhow!("missing: {what}"),
        Failure::Failed(error) => error,
    };
    let place = place.map_err(failed)?;
    for kernel in kernels {
        match truth(&place, *kernel, &asked, deadline).map_err(failed) {
            Ok(moved) => moved.iter().for_each(|moved| println!("{moved}")),
            Err(error) => {
                eprintln!("Linux {}: {error:#}", kernel.version());
                agrees = false;
            }
        }
    }
    Ok(agrees)
}

/// Boots `kernel` with each layout and holds what is traced in it against the
/// others. Returns a note if Debian's suite has moved on to another version.
pub(crate) fn truth(
    place: &Place,
    kernel: Kernel,
    asked: &Asked,
    deadline: Deadline,
) -> Result<Option<String>, Failure> {
    let mut moved = None;
    let mut wrong = Vec::new();
    for packed in [false, true] {
        if asked.packed.is_some_and(|only| only != packed) {
            continue;
        }
        let share = place.share()?;
        let mut events: Vec<String> = QUEUE_EVENTS.iter().map(ToString::to_string).collect();
        events.push("v9fs_*".to_owned());
        let machine = Machine {
            kernel,
            packed,
            // Each notification by itself, so that they can be counted.
            ioeventfd: false,
            cpus: 2,
            events,
            ..Machine::default()
        };
        let guest = place.boot(&machine, share.path(), &[], deadline)?;
        if !guest.release.starts_with(&format!("{}.", kernel.version())) {
            moved = Some(format!(
                "Debian's {} has moved on from {} to {}",
                kernel.suite(),
                kernel.version(),
                guest.release
            ));
        }
        let about = format!(
            "{}-{}",
            kernel.version(),
            if packed { "packed" } else { "split" }
        );
        println!("{about}: {} is up", guest.release);
        if let Err(error) = runs::all(guest, share.path(), &about, packed, asked) {
            wrong.push(format!("{error:#}"));
        }
    }
    if wrong.is_empty() {
        return Ok(moved);
    }
    Err(anyhow!(wrong.join("\n")).into())
}
