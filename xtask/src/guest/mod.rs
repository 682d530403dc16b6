//! Real kernels in emulated machines: `cargo xtask guest`, and what the tests boot.

mod agent;
mod apt;
mod emulator;
mod initramfs;
mod kernel;
mod machine;
mod modules;
mod program;
mod qmp;
mod running;
mod serving;
mod userland;
mod virtiofsd;
mod vsock;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, anyhow};
use clap::Args;

pub(crate) use kernel::Kernel;
pub(crate) use machine::{Device, Machine, QUEUE_EVENTS, SPARE};
pub(crate) use program::{Profile, vsock as vsock_program};
pub(crate) use running::{Guest, Place};
pub(crate) use userland::disk as userland;
pub(crate) use vsock::GUEST as VSOCK_CID;

use crate::limit::{Deadline, LIMIT};
use crate::steps::Failure;
use crate::test::root;
use crate::tools::{DebianTool, debian};

/// What guests take, beside their kernel.
const TOOLS: [DebianTool; 2] = [
    DebianTool {
        program: emulator::QEMU,
        package: "qemu-system-x86",
    },
    DebianTool {
        program: "busybox",
        package: "busybox-static",
    },
];

#[derive(Args, Debug)]
pub(crate) struct GuestArgs {
    /// The kernel; it is fetched from Debian the first time.
    #[arg(long, value_enum, default_value = "6.12")]
    kernel: Kernel,

    /// Devices offer packed rings.
    #[arg(long)]
    packed: bool,

    /// Devices offer to use buffers in order.
    #[arg(long)]
    in_order: bool,

    /// Notifications are taken on the vCPU, so that none is merged with the next.
    #[arg(long)]
    no_ioeventfd: bool,

    /// How many CPUs it has.
    #[arg(long, value_name = "N", default_value_t = 1)]
    cpus: u32,

    /// Its clock counts instructions, one a nanosecond: what else the machine does changes
    /// no time that is taken in it.
    #[arg(long)]
    instructions: bool,

    /// `virtscope` is built as it is for users, which takes longer.
    #[arg(long)]
    release: bool,

    /// Its memory.
    #[arg(long, value_name = "MIB", default_value_t = 512)]
    memory: u32,

    /// Its virtio devices: they are virtio0, virtio1, … in this order.
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "9p,blk,net",
        value_name = "DEVICE,…"
    )]
    devices: Vec<Device>,

    /// The folder that the guest has as /share [default: target/guests/share].
    #[arg(long, value_name = "FOLDER")]
    share: Option<PathBuf>,

    /// A program that the guest gets in /bin, statically linked; besides ours.
    #[arg(long, value_name = "FILE")]
    program: Vec<PathBuf>,

    /// Trace events of QEMU's that go into its log, like virtqueue_*.
    #[arg(long, value_name = "PATTERN", requires = "log")]
    events: Vec<String>,

    /// Where QEMU's log goes; with the events of queues unless --events says which.
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,

    /// Also print what the guest's kernel printed.
    #[arg(long)]
    console: bool,

    /// Seconds after which the command is given up.
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    limit: u64,

    /// What the guest's shell runs.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// Boots a guest, runs the command in it, and turns it off; whether the command
/// succeeded.
pub(crate) fn guest(args: &GuestArgs) -> anyhow::Result<bool> {
    let deadline = Deadline::after(LIMIT);
    let root = root()?;
    let profile = match args.release {
        true => Profile::Release,
        false => Profile::Guest,
    };
    let place = prepare(profile, deadline).map_err(|failure| match failure {
        Failure::Missing(what) => anyhow!("missing: {what}"),
        Failure::Failed(error) => error,
    })?;
    let mut events = args.events.clone();
    if args.log.is_some() && events.is_empty() {
        events.extend(QUEUE_EVENTS.iter().map(|event| (*event).to_owned()));
    }
    let machine = Machine {
        kernel: args.kernel,
        cpus: args.cpus,
        counts: args.instructions,
        memory: args.memory,
        packed: args.packed,
        in_order: args.in_order,
        ioeventfd: !args.no_ioeventfd,
        devices: args.devices.clone(),
        events,
        ..Machine::default()
    };
    let share = match &args.share {
        Some(share) => share.clone(),
        None => root.join("target/guests/share"),
    };
    fs::create_dir_all(&share).with_context(|| format!("making {}", share.display()))?;
    let mut guest = place
        .boot(&machine, &share, &args.program, deadline)
        .map_err(|failure| match failure {
            Failure::Missing(what) => anyhow!("missing: {what}"),
            Failure::Failed(error) => error,
        })?;
    println!(
        "Linux {} is up; {} is its /share",
        guest.release,
        share.display()
    );
    let limit = Duration::from_secs(args.limit);
    let status = guest.run_to(&args.command.join(" "), limit, &mut std::io::stdout());
    if args.console {
        println!("──── what its kernel printed\n{}", guest.console());
    }
    let status = status?;
    if status != 0 {
        println!("the command ended with {status}");
    }
    let log = guest.power_off()?;
    if let Some(to) = &args.log {
        fs::copy(log.path(), to).with_context(|| format!("writing {}", to.display()))?;
    }
    Ok(status == 0)
}

/// Gets everything that guests take, but for their kernels.
pub(crate) fn prepare(profile: Profile, deadline: Deadline) -> Result<Place, Failure> {
    debian(&TOOLS, deadline)?;
    let root = root()?;
    let program = program::build(&root, profile, deadline)?;
    Ok(Place::new(&root, program)?)
}
