//! Real kernels in guests, held against what others saw of them: QEMU's own log of
//! its half of each queue, the guest kernel's 9P tracepoints, and its counts of
//! each disk.

mod capture;
mod check;
mod compare;
mod devices;
mod disk;
mod held;
mod hooked;
mod host;
mod log;
mod p9;
mod runs;
mod status;
mod tracepoints;
mod whole;

#[cfg(test)]
mod tests;

use std::path::PathBuf;

use anyhow::anyhow;
use clap::Args;

use crate::guest::{Kernel, Machine, Place, QUEUE_EVENTS, prepare};
use crate::limit::{Deadline, LIMIT};
use crate::steps::Failure;
use runs::Session;

/// The kernel that is given every device.
const EVERY_DEVICE: Kernel = Kernel::V6_12;

#[derive(Args, Debug)]
pub(crate) struct TruthArgs {
    /// The kernels [default: all].
    #[arg(long, value_enum, value_delimiter = ',', value_name = "KERNEL,…")]
    kernel: Vec<Kernel>,

    /// Only packed rings, or only split ones.
    #[arg(long, value_name = "BOOL")]
    packed: Option<bool>,

    /// Only the guests that have a folder, a disk and a network (false), or only the one
    /// that has every other device (true).
    #[arg(long, value_name = "BOOL")]
    devices: Option<bool>,

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
    devices: Option<bool>,
    keep: Option<PathBuf>,
}

/// `cargo xtask truth`: the same as the test's step, or a part of it; whether all
/// agree.
pub(crate) fn run(args: &TruthArgs) -> anyhow::Result<bool> {
    let deadline = Deadline::after(LIMIT);
    let asked = Asked {
        packed: args.packed,
        devices: args.devices,
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

/// Boots `kernel` with each layout, both at once, and holds what is traced in it
/// against the others. Returns a note if Debian's suite has moved on to another version.
pub(crate) fn truth(
    place: &Place,
    kernel: Kernel,
    asked: &Asked,
    deadline: Deadline,
) -> Result<Option<String>, Failure> {
    // Fetched by one of them, before the other looks for it.
    kernel.fetch(deadline)?;
    let layouts = [false, true];
    let results = std::thread::scope(|scope| {
        let threads: Vec<_> = layouts
            .into_iter()
            .filter(|_| asked.devices != Some(true))
            .filter(|packed| asked.packed.is_none_or(|only| only == *packed))
            .map(|packed| scope.spawn(move || boot(place, kernel, packed, asked, deadline)))
            .collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, _>| match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        threads.into_iter().map(join).collect::<Vec<_>>()
    });
    let mut moved = None;
    let mut wrong = Vec::new();
    for result in results {
        match result {
            Ok(note) => moved = moved.or(note),
            Err(Failure::Failed(error)) => wrong.push(format!("{error:#}")),
            Err(missing) => return Err(missing),
        }
    }
    let layout = asked.packed.unwrap_or(false);
    if kernel == EVERY_DEVICE && asked.devices != Some(false) {
        match devices::check(place, kernel, layout, asked, deadline) {
            Ok(()) => {}
            Err(Failure::Failed(error)) => wrong.push(format!("{error:#}")),
            Err(missing) => return Err(missing),
        }
    }
    if wrong.is_empty() {
        return Ok(moved);
    }
    Err(anyhow!(wrong.join("\n")).into())
}

/// One boot.
fn boot(
    place: &Place,
    kernel: Kernel,
    packed: bool,
    asked: &Asked,
    deadline: Deadline,
) -> Result<Option<String>, Failure> {
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
        hotplug: true,
        ..Machine::default()
    };
    let guest = place.boot(&machine, share.path(), &[], deadline)?;
    let is_expected = guest.release.starts_with(&format!("{}.", kernel.version()));
    let moved = (!is_expected).then(|| {
        format!(
            "Debian's {} has moved on from {} to {}",
            kernel.suite(),
            kernel.version(),
            guest.release
        )
    });
    let layout = if packed { "packed" } else { "split" };
    let about = format!("{}-{layout}", kernel.version());
    println!("{about}: {} is up", guest.release);
    let session = Session {
        guest,
        share: share.path(),
        about,
        kernel,
        packed,
    };
    session.run(asked)?;
    Ok(moved)
}
