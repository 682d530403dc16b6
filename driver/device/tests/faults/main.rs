//! Faults that are injected on purpose: what each does, that they go together,
//! and that a plan without any changes nothing.

#[path = "../../../tests/common/mod.rs"]
mod common;
mod interrupts;
mod kicks;
mod live;
mod returns;
mod ring;
mod together;
mod transparent;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{Plan, Raw, Rig};
use virtscope_device::fault::{FaultLog, Faults, FaultyQueue, SteppedClock};
use virtscope_device::queue::Chain;
use virtscope_driver::instrument::{Event, Instrument, Payload};
use virtscope_driver::memory::{GuestAddress, GuestMemory, Segment, SharedQueueMemory};
use virtscope_driver::ring::{Features, Violation, Virtqueue};
use virtscope_record::{Body, Generation, Layout, Timestamp, Token};

const SIZE: u16 = 8;
/// Bytes of each buffer that the device may write.
const WRITABLE: u32 = 10;

/// No feature, each that faults must get on with, and both.
const FEATURES: [Features; 4] = [
    features(false, false),
    features(true, false),
    features(false, true),
    features(true, true),
];

const fn features(event_idx: bool, in_order: bool) -> Features {
    Features {
        event_idx,
        indirect: false,
        in_order,
    }
}

/// Keeps what one half says of itself.
#[derive(Clone, Default)]
struct Witness(Arc<Mutex<Vec<Body>>>);

impl Witness {
    fn seen(&self) -> Vec<Body> {
        self.0.lock().unwrap().clone()
    }
}

impl Instrument for Witness {
    const ENABLED: bool = true;

    fn now(&self) -> Timestamp {
        Timestamp::default()
    }
    fn emit(&self, event: Event, _: Payload<'_>) {
        self.0.lock().unwrap().push(event.body);
    }
    fn start_generation(&self, _: Generation) {}
}

/// A ring with a driver that keeps the rules and a device with faults.
struct Ring {
    driver: Virtqueue<SharedQueueMemory, Witness, u64>,
    device: FaultyQueue<SharedQueueMemory, Witness>,
    clock: SteppedClock,
    log: FaultLog,
    raw: Raw,
    memory: Arc<GuestMemory>,
    buffers: GuestAddress,
    /// What the device says of itself.
    witness: Witness,
}

impl Ring {
    fn new(faults: &str, layout: Layout, features: Features) -> Self {
        Self::with(&faults.parse().unwrap(), layout, features)
    }

    fn with(faults: &Faults, layout: Layout, features: Features) -> Self {
        let mut plan = Plan::new(layout, SIZE);
        plan.features = features;
        let witness = Witness::default();
        let rig = Rig::new(plan, Witness::default(), witness.clone());
        let clock = SteppedClock::new();
        let device = FaultyQueue::new(rig.device, faults, clock.clone());
        Self {
            driver: rig.driver,
            log: device.log(),
            device,
            clock,
            raw: rig.raw,
            memory: rig.memory,
            buffers: rig.buffers,
            witness,
        }
    }

    /// The driver adds a buffer of two descriptors.
    fn add(&mut self, number: u64) {
        let segment = |len| Segment {
            address: self.buffers,
            len,
        };
        self.driver
            .add(&[segment(4)], &[segment(WRITABLE)], Token(number), number)
            .unwrap();
    }

    /// The driver adds buffers and the device takes them.
    fn exchange(&mut self, numbers: std::ops::Range<u64>) -> Vec<Chain> {
        let take = |number| {
            self.add(number);
            self.device.take().unwrap().unwrap()
        };
        numbers.map(take).collect()
    }

    /// The device has filled the buffer.
    fn put(&mut self, chain: &Chain) {
        self.device.put_used(chain, WRITABLE);
    }

    /// What the driver gets back next: number, and bytes written.
    fn get(&mut self) -> Result<Option<(u64, u32)>, Violation> {
        match self.driver.get_buf() {
            Ok(used) => Ok(used.map(|used| (used.data, used.written))),
            Err(error) => Err(error.violation),
        }
    }

    /// The numbers the driver gets back now.
    fn drain(&mut self) -> Vec<u64> {
        let next = || self.get().unwrap().map(|(number, _)| number);
        std::iter::from_fn(next).collect()
    }

    /// Takes buffers until the driver sees what the device did wrong.
    fn violation(&mut self) -> Violation {
        for _ in 0..=SIZE {
            if let Err(violation) = self.get() {
                return violation;
            }
        }
        panic!("the driver found nothing wrong");
    }

    fn pass(&mut self, ms: u64) {
        self.clock.advance(Duration::from_millis(ms));
    }

    /// How often the device interrupts now.
    fn interrupts(&mut self) -> usize {
        let mut sent = 0;
        while self.device.returned_unsignalled() > 0 {
            sent += usize::from(self.device.should_interrupt());
        }
        sent
    }

    /// All of guest memory.
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.memory.size()];
        self.memory.read(GuestAddress(0), &mut bytes).unwrap();
        bytes
    }
}
