//! Something to trace: buffers go round through a ring whose driver half shows its
//! records at the probe `virtscope:record`, until standard input ends or so many have.
//!
//! ```text
//! cargo run --release -p virtscope-driver --example usdt -- 1000000 64
//! bpftrace -e 'usdt:target/release/examples/usdt:virtscope:record { @ = count(); }'
//! ```
//!
//! The first number is how many buffers, the second how many bytes of payload a record
//! carries at most. At the end it prints the records made and the nanoseconds each buffer
//! took.

use std::sync::Arc;
use std::time::Instant;

use virtscope_device::queue::DeviceQueue;
use virtscope_driver::instrument::NoInstrument;
use virtscope_driver::instrument::usdt::{Usdt, is_watched};
use virtscope_driver::memory::{GuestAddress, GuestMemory, Segment, SharedQueueMemory};
use virtscope_driver::ring::{
    AvailableNotification, Features, Notifier, NotifyError, QueueSize, Virtqueue, split_layout,
};
use virtscope_record::{Layout, Producer, QueueId, Token};

struct NoDoorbell;

impl Notifier for NoDoorbell {
    fn notify(&self, _: AvailableNotification) -> Result<(), NotifyError> {
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let buffers: u64 = arguments.next().unwrap_or("1000000".into()).parse()?;
    let snaplen: u32 = arguments.next().unwrap_or("0".into()).parse()?;

    let (size, features) = (QueueSize::new(256)?, Features::default());
    let memory = Arc::new(GuestMemory::new(4));
    let (addresses, _) = split_layout::contiguous(GuestAddress(0), size);
    let areas = SharedQueueMemory::split(memory, addresses, size)?;
    let usdt = Usdt::new(QueueId::new(0, 0), Producer::DriverHalf, snaplen);
    let mut driver = Virtqueue::new(
        Layout::Split,
        areas.clone(),
        size,
        features,
        usdt,
        Box::new(NoDoorbell),
    )?;
    let mut device = DeviceQueue::new(Layout::Split, areas, size, features, NoInstrument)?;
    device.disable_kicks();
    // Told whoever waits for it: from here on there is something to attach to.
    println!("ready");
    // A line says that whoever wants to watch does so.
    std::io::stdin().read_line(&mut String::new())?;
    let segment = Segment {
        address: GuestAddress(3 * 4096),
        len: 64,
    };
    let (watched, began) = (is_watched(), Instant::now());
    for number in 0..buffers {
        driver.add(&[segment], &[segment], Token(number), ())?;
        driver.kick()?;
        while let Some(chain) = device.take()? {
            device.put_used(&chain, 64);
        }
        driver.get_buf()?.ok_or("the buffer came back")?;
    }
    let nanos = began.elapsed().as_nanos() as f64 / buffers.max(1) as f64;
    // An add, a kick decision and a used buffer each.
    println!(
        "watched {watched}, records {}, {nanos:.1} ns a buffer",
        3 * buffers
    );
    Ok(())
}
