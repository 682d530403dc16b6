//! What a record costs: `cargo bench -p virtscope-bench --bench instrument`.
//!
//! The same round trips with instrumentation off and on, in turn. What they
//! differ by, divided by the records that were made, is the cost of one record;
//! each reads the clock once, which is measured beside it and subtracted.
//!
//! That instrumentation which is off leaves no code behind is shown elsewhere, by
//! a program that could not be linked otherwise: the example
//! `instrumentation_off` of the driver.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Parser;
use virtscope_bench::conversation::{Shape, converse};
use virtscope_bench::device::SplitDevice;
use virtscope_bench::harness::{Contender, Samples, interleave};
use virtscope_bench::ours::Ours;
use virtscope_driver::instrument::live::{DEFAULT_RING_BYTES, Hub, Probe, monotonic_now};
use virtscope_driver::instrument::{Event, Instrument, NoInstrument, Payload};
use virtscope_driver::ring::Features;
use virtscope_record::{Body, Flags, Notify, Producer, QueueId, Token};

/// Buffers of one round, and clock reads, and records by themselves.
const BUFFERS: u32 = 1024;
/// The ring.
const SIZE: u16 = 256;
/// Bytes of payload that a record carries at most.
const SNAPLEN: u32 = 64;

#[derive(Parser, Debug)]
#[command(about = "What a record costs above one clock read")]
struct Args {
    /// Seconds instead of minutes.
    #[arg(long)]
    quick: bool,

    /// What cargo says to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What is run in turn.
const CLOCK: &str = "clock read";
const OFF: &str = "off";
const OFF_AGAIN: &str = "off, once more";
const DRAINED: &str = "on, drained";
const ALONE: &str = "record alone, drained";
const UNDRAINED: &str = "on, nobody drains";

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let rounds = if args.quick { 100 } else { 5000 };
    for batch in [1, 64] {
        run(batch, rounds)?;
    }
    Ok(())
}

fn run(batch: u16, rounds: usize) -> anyhow::Result<()> {
    let drained = Drained::new();
    let alone = Drained::new();
    // A ring that is full from the first rounds on.
    let full = Hub::new(4096, SNAPLEN);

    let clock = || {
        for _ in 0..BUFFERS {
            black_box(monotonic_now());
        }
    };
    let record = {
        let probe = probe(&alone.hub);
        move || {
            for _ in 0..BUFFERS {
                let event = Event {
                    time: probe.now(),
                    token: Token(1),
                    flags: Flags::empty(),
                    body: Body::Notify(Notify::default()),
                };
                probe.emit(event, Payload::none());
            }
        }
    };
    let mut contenders = [
        Contender::new(CLOCK, clock),
        round_trips(OFF, NoInstrument, batch)?,
        round_trips(OFF_AGAIN, NoInstrument, batch)?,
        round_trips(DRAINED, probe(&drained.hub), batch)?,
        Contender::new(ALONE, record),
        round_trips(UNDRAINED, probe(&full), batch)?,
    ];
    let samples = interleave(&mut contenders, rounds, BUFFERS);
    print(batch, &samples, &[&drained.hub, &alone.hub, &full]);
    Ok(())
}

fn probe(hub: &Arc<Hub>) -> Probe {
    hub.probe(QueueId::new(0, 0), Producer::DriverHalf)
}

/// Round trips through a split ring, like those of the benchmark `ring`.
fn round_trips(
    name: &'static str,
    instrument: impl Instrument,
    batch: u16,
) -> anyhow::Result<Contender> {
    let mut driver = Ours::split(SIZE, Features::default(), instrument)?;
    // SAFETY: the contender keeps the ring for as long as its device.
    let mut device = unsafe { SplitDevice::new(driver.areas(), SIZE) };
    let batches = BUFFERS / u32::from(batch);
    Ok(Contender::new(name, move || {
        converse(&mut driver, &mut device, Shape::Two, batch, batches);
    }))
}

fn print(batch: u16, samples: &[Samples], hubs: &[&Arc<Hub>]) {
    let of = |name| samples.iter().find(|samples| samples.name == name);
    let median = |name| of(name).map_or(f64::NAN, Samples::median);
    // Add and used for each buffer, and a kick for each batch.
    let records = 2.0 + 1.0 / f64::from(batch);
    let clock = median(CLOCK);
    let cost = |name| (median(name) - median(OFF)) / records - clock;

    println!("\nbatch {batch}, two descriptors, {records:.2} records a buffer");
    for samples in samples {
        println!("  {:40} {:8.2} ns", samples.name, samples.median());
    }
    println!("  above one clock read, a record:");
    println!("    {DRAINED:38} {:8.2} ns", cost(DRAINED));
    println!("    {ALONE:38} {:8.2} ns", median(ALONE) - clock);
    println!("    {UNDRAINED:38} {:8.2} ns", cost(UNDRAINED));
    println!("  what two that are off differ by:");
    println!(
        "    {OFF:38} {:8.2} ns",
        (median(OFF) - median(OFF_AGAIN)).abs()
    );
    for (hub, name) in hubs.iter().zip([DRAINED, ALONE, UNDRAINED]) {
        let counters = hub.counters();
        let emitted: u64 = counters.iter().map(|stream| stream.emitted).sum();
        let lost: u64 = counters.iter().map(|stream| stream.lost).sum();
        println!("  {name}: {emitted} records, {lost} lost");
    }
}

/// A hub and the thread that empties it.
struct Drained {
    hub: Arc<Hub>,
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Drained {
    fn new() -> Self {
        let hub = Hub::new(DEFAULT_RING_BYTES, SNAPLEN);
        let stop = Arc::new(AtomicBool::new(false));
        let thread = {
            let (hub, stop) = (Arc::clone(&hub), Arc::clone(&stop));
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    hub.drain(|record, payload| {
                        black_box((record.sequence(), payload.len()));
                    });
                    std::thread::sleep(Duration::from_millis(1));
                }
            })
        };
        Self {
            hub,
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Drained {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("draining does not panic");
        }
    }
}
