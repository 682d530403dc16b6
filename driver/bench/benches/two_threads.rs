//! Two threads, a driver half and a device half, both polling, with the options
//! of Linux's `tools/virtio/ringtest`.
//!
//! One run is one process, so that ringtest's programs and this one can be timed
//! alike: `cargo xtask ringtest` runs them in turn. By itself:
//! `cargo bench -p virtscope-bench --bench two_threads -- --layout split`.

use std::time::Duration;

use anyhow::Context;
use clap::{Parser, ValueEnum};
use rustix::thread::{CpuSet, sched_setaffinity};
use virtscope_bench::ours::{Ours, Queue};
use virtscope_bench::threads::Run;
use virtscope_driver::instrument::NoInstrument;
use virtscope_driver::ring::Features;

/// The rings that can be run.
#[derive(Clone, Copy, ValueEnum, Debug)]
enum Layout {
    /// A split ring.
    Split,
    /// A packed ring.
    Packed,
    /// A split ring whose buffers are used in order.
    SplitInOrder,
    /// A packed ring whose buffers are used in order.
    PackedInOrder,
}

#[derive(Parser, Debug)]
#[command(about = "Driver half against device half on two threads, polling")]
struct Args {
    /// The ring.
    #[arg(long, value_enum, default_value = "split")]
    layout: Layout,

    /// Descriptors of the ring.
    #[arg(long, value_name = "R", default_value_t = 256)]
    ring_size: u16,

    /// Buffers to send through it.
    #[arg(long, value_name = "C", default_value_t = 10_000_000)]
    run_cycles: u32,

    /// The CPU of the device half's thread.
    #[arg(long, value_name = "H")]
    host_affinity: Option<usize>,

    /// The CPU of the driver half's thread.
    #[arg(long, value_name = "G")]
    guest_affinity: Option<usize>,

    /// Tell the CPU when only waiting.
    #[arg(long)]
    relax: bool,

    /// What cargo says to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let features = Features {
        in_order: matches!(args.layout, Layout::SplitInOrder | Layout::PackedInOrder),
        ..Features::default()
    };
    let size = args.ring_size;
    let took = match args.layout {
        Layout::Split | Layout::SplitInOrder => {
            go(&args, Ours::split(size, features, NoInstrument)?)?
        }
        Layout::Packed | Layout::PackedInOrder => {
            go(&args, Ours::packed(size, features, NoInstrument)?)?
        }
    };
    println!(
        "{:?}, ring {}: {:.1} ns a buffer ({} buffers in {took:.2?})",
        args.layout,
        args.ring_size,
        took.as_nanos() as f64 / f64::from(args.run_cycles),
        args.run_cycles,
    );
    Ok(())
}

fn go(args: &Args, driver: Ours<impl Queue>) -> anyhow::Result<Duration> {
    let device = driver.device()?;
    let run = Run {
        buffers: args.run_cycles,
        relax: args.relax,
        patience: Duration::from_secs(10),
    };
    let (guest, host) = (args.guest_affinity, args.host_affinity);
    run.go(driver, device, || pin(guest), || pin(host))
}

/// Keeps this thread on `cpu`, if one was asked for.
fn pin(cpu: Option<usize>) -> anyhow::Result<()> {
    let Some(cpu) = cpu else { return Ok(()) };
    anyhow::ensure!(cpu < CpuSet::MAX_CPU, "there is no CPU {cpu}");
    let mut set = CpuSet::new();
    set.set(cpu);
    sched_setaffinity(None, &set).with_context(|| format!("cannot run on CPU {cpu}"))
}
