//! Round trips through a ring, driver and device on one thread:
//! `cargo bench -p virtscope-bench --bench ring`.

use clap::Parser;
use virtscope_bench::conversation::{Device, Driver, Shape, converse};
use virtscope_bench::device::{PackedDevice, SplitDevice};
use virtscope_bench::floor::{PackedFloor, SplitFloor};
use virtscope_bench::harness::{Contender, interleave};
use virtscope_bench::ours::Ours;
use virtscope_bench::peer::PeerQueue;
use virtscope_bench::table::{Cell, PEER};
use virtscope_driver::instrument::NoInstrument;
use virtscope_driver::ring::Features;

/// Buffers of one round: some tens of microseconds.
const BUFFERS: u32 = 2048;

#[derive(Parser, Debug)]
#[command(about = "Round trips through a ring, one thread, everybody in turn")]
struct Args {
    /// Seconds instead of minutes.
    #[arg(long)]
    quick: bool,

    /// One line of JSON instead of tables.
    #[arg(long)]
    json: bool,

    /// Only rings of this size.
    #[arg(long, value_name = "ENTRIES")]
    size: Option<u16>,

    /// Only with this many buffers before each kick.
    #[arg(long, value_name = "BUFFERS")]
    batch: Option<u16>,

    /// Only contenders whose names contain this, the floors and the peer.
    #[arg(long, value_name = "WORD")]
    only: Option<String>,

    /// What cargo says to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let rounds = if args.quick { 30 } else { 1000 };
    let mut cells = Vec::new();
    for size in [16, 256, 1024] {
        if args.size.is_some_and(|only| only != size) {
            continue;
        }
        for batch in [1, 16, 64] {
            for shape in [Shape::One, Shape::Two] {
                // A batch that does not fit the ring is no batch.
                let fits = batch * shape.descriptors() <= size;
                if !fits || args.batch.is_some_and(|only| only != batch) {
                    continue;
                }
                let mut contenders = match size {
                    16 => contenders::<16>(shape, batch)?,
                    256 => contenders::<256>(shape, batch)?,
                    _ => contenders::<1024>(shape, batch)?,
                };
                if let Some(only) = &args.only {
                    contenders.retain(|contender| {
                        let name = contender.name;
                        name.contains(only) || name == PEER || name.starts_with("floor")
                    });
                }
                let samples = interleave(&mut contenders, rounds, BUFFERS);
                let cell = Cell::new(size, batch, shape, &samples);
                if !args.json {
                    cell.print();
                }
                cells.push(cell);
            }
        }
    }
    if args.json {
        println!("{}", serde_json::to_string(&cells)?);
    }
    Ok(())
}

/// Everybody, on rings of `SIZE` entries.
fn contenders<const SIZE: usize>(shape: Shape, batch: u16) -> anyhow::Result<Vec<Contender>> {
    let size = SIZE as u16;
    let mut all = Vec::new();
    {
        let driver = SplitFloor::new(size);
        let areas = driver.areas();
        // SAFETY: the contender keeps the ring for as long as its device.
        let device = unsafe { SplitDevice::new(areas, size) };
        all.push(contender("floor split", driver, device, shape, batch));
    }
    {
        let driver = PackedFloor::new(size);
        let areas = driver.areas();
        // SAFETY: as above.
        let device = unsafe { PackedDevice::new(areas, size) };
        all.push(contender("floor packed", driver, device, shape, batch));
    }
    for (name, indirect) in [(PEER, false), ("virtio-drivers indirect", true)] {
        let driver = PeerQueue::<SIZE>::new(indirect);
        let areas = driver.areas();
        // SAFETY: as above.
        let device = unsafe { SplitDevice::new(areas, size) };
        all.push(contender(name, driver, device, shape, batch));
    }
    let direct = Features::default();
    let in_order = Features {
        in_order: true,
        ..direct
    };
    let indirect = Features {
        indirect: true,
        ..direct
    };
    for (name, features) in [
        ("split", direct),
        ("split in order", in_order),
        ("split indirect", indirect),
    ] {
        let driver = Ours::split(size, features, NoInstrument)?;
        let areas = driver.areas();
        // SAFETY: as above.
        let device = unsafe { SplitDevice::new(areas, size) };
        all.push(contender(name, driver, device, shape, batch));
    }
    for (name, features) in [
        ("packed", direct),
        ("packed in order", in_order),
        ("packed indirect", indirect),
    ] {
        let driver = Ours::packed(size, features, NoInstrument)?;
        let areas = driver.areas();
        // SAFETY: as above.
        let device = unsafe { PackedDevice::new(areas, size) };
        all.push(contender(name, driver, device, shape, batch));
    }
    Ok(all)
}

/// A contender of these two halves, with code of its own.
fn contender(
    name: &'static str,
    mut driver: impl Driver + 'static,
    mut device: impl Device + 'static,
    shape: Shape,
    batch: u16,
) -> Contender {
    let batches = BUFFERS / u32::from(batch);
    match shape {
        Shape::One => Contender::new(name, move || {
            converse(&mut driver, &mut device, Shape::One, batch, batches);
        }),
        Shape::Two => Contender::new(name, move || {
            converse(&mut driver, &mut device, Shape::Two, batch, batches);
        }),
    }
}
