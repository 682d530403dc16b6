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
mod vsock;
mod whole;

#[cfg(test)]
mod tests;

use std::path::PathBuf;

use anyhow::anyhow;
use clap::Args;

use crate::guest::{Kernel, Machine, Place, Profile, QUEUE_EVENTS, prepare};
use crate::limit::{Deadline, LIMIT};
use crate::steps::Failure;
use runs::Session;

/// The kernel that is given every device.
const EVERY_DEVICE: Kernel = Kernel::V6_12;
/// The first of them whose driver knows `VIRTIO_F_IN_ORDER`.
const IN_ORDER: Kernel = Kernel::V7_2;

/// What the rings of a guest's queues are like.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Rings {
    packed: bool,
    /// Buffers are used in the order in which they were made available.
    in_order: bool,
}

impl std::fmt::Display for Rings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match (self.packed, self.in_order) {
            (false, false) => "split",
            (true, false) => "packed",
            (false, true) => "split-in-order",
            (true, true) => "packed-in-order",
        })
    }
}

#[derive(Args, Debug)]
pub(crate) struct TruthArgs {
    /// The kernels [default: all].
    #[arg(long, value_enum, value_delimiter = ',', value_name = "KERNEL,…")]
    kernel: Vec<Kernel>,

    /// Only packed rings, or only split ones.
    #[arg(long, value_name = "BOOL")]
    packed: Option<bool>,

    /// Only rings whose buffers are used in order, or only the others; 7.2 is the first
    /// kernel that knows them.
    #[arg(long, value_name = "BOOL")]
    in_order: Option<bool>,

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
    in_order: Option<bool>,
    devices: Option<bool>,
    keep: Option<PathBuf>,
}

/// `cargo xtask truth`: the same as the test's step, or a part of it; whether all
/// agree.
pub(crate) fn run(args: &TruthArgs) -> anyhow::Result<bool> {
    let deadline = Deadline::after(LIMIT);
    let asked = Asked {
        packed: args.packed,
        in_order: args.in_order,
        devices: args.devices,
        keep: args.keep.clone(),
    };
    let kernels = match args.kernel.as_slice() {
        [] => &Kernel::ALL,
        some => some,
    };
    let place = match &args.program {
        Some(program) => Place::with_program(program),
        None => prepare(Profile::Guest, deadline),
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

/// Boots `kernel` with each kind of rings, both layouts at once, and holds what is traced
/// in it against the others. Returns a note if Debian's suite has moved on to another version.
pub(crate) fn truth(
    place: &Place,
    kernel: Kernel,
    asked: &Asked,
    deadline: Deadline,
) -> Result<Option<String>, Failure> {
    // Fetched by one of them, before the other looks for it.
    kernel.fetch(deadline)?;
    let mut moved = None;
    let mut wrong = Vec::new();
    for in_order in [false, true] {
        let is_asked_for = asked.devices != Some(true)
            && asked.in_order.is_none_or(|only| only == in_order)
            && (!in_order || kernel == IN_ORDER);
        if !is_asked_for {
            continue;
        }
        for result in both_layouts(place, kernel, in_order, asked, deadline) {
            match result {
                Ok(note) => moved = moved.or(note),
                Err(Failure::Failed(error)) => wrong.push(format!("{error:#}")),
                Err(missing) => return Err(missing),
            }
        }
    }
    let layout = asked.packed.unwrap_or(false);
    let every_device = asked.devices != Some(false) && asked.in_order != Some(true);
    if kernel == EVERY_DEVICE && every_device {
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

/// Two boots at once; how each went.
fn both_layouts(
    place: &Place,
    kernel: Kernel,
    in_order: bool,
    asked: &Asked,
    deadline: Deadline,
) -> Vec<Result<Option<String>, Failure>> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = [false, true]
            .into_iter()
            .filter(|packed| asked.packed.is_none_or(|only| only == *packed))
            .map(|packed| Rings { packed, in_order })
            .map(|rings| scope.spawn(move || boot(place, kernel, rings, asked, deadline)))
            .collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, _>| match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        threads.into_iter().map(join).collect()
    })
}

/// One boot.
fn boot(
    place: &Place,
    kernel: Kernel,
    rings: Rings,
    asked: &Asked,
    deadline: Deadline,
) -> Result<Option<String>, Failure> {
    let share = place.share()?;
    let mut events: Vec<String> = QUEUE_EVENTS.iter().map(ToString::to_string).collect();
    events.push("v9fs_*".to_owned());
    let machine = Machine {
        kernel,
        packed: rings.packed,
        in_order: rings.in_order,
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
    let about = format!("{}-{rings}", kernel.version());
    println!("{about}: {} is up", guest.release);
    let session = Session {
        guest,
        share: share.path(),
        about,
        kernel,
        rings,
    };
    session.run(asked)?;
    Ok(moved)
}
