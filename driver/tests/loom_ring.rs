//! The races of notification suppression, every interleaving of them.
//!
//! Both halves run the real code over ring memory that loom watches. The
//! question is always the same: when one side has decided to sleep and the other
//! has decided that nobody needs to be woken, is there work left? The fences of
//! virtio 1.4 §2.7.13.4 and §2.7.14 are what makes the answer no, so every model
//! is run once more with one of them taken out, and must then find the loss.

use std::collections::BTreeMap;
use std::sync::Arc;

use loom::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering, fence};
use rstest::rstest;
use virtscope_device::queue::DeviceQueue;
use virtscope_driver::instrument::NoInstrument;
use virtscope_driver::memory::{Barrier, GuestAddress, Order, QueueMemory, RingWords, Segment};
use virtscope_driver::ring::split_layout::{
    DESCRIPTOR_LEN, FLAGS, IDX, avail_entry, avail_event, used_entry, used_event,
};
use virtscope_driver::ring::{
    AvailableNotification, Features, Notifier, NotifyError, QueueSize, SplitQueue,
};
use virtscope_record::{Layout, Token};

/// One loom atomic per word of an area, of the size it is reached with.
enum Word {
    Bits16(AtomicU16),
    Bits32(AtomicU32),
    Bits64(AtomicU64),
}

struct Area(BTreeMap<usize, Word>);

impl Area {
    fn new(
        bits16: impl IntoIterator<Item = usize>,
        bits32: impl IntoIterator<Item = usize>,
        bits64: impl IntoIterator<Item = usize>,
    ) -> Self {
        let mut words = BTreeMap::new();
        words.extend(
            bits16
                .into_iter()
                .map(|at| (at, Word::Bits16(AtomicU16::new(0)))),
        );
        words.extend(
            bits32
                .into_iter()
                .map(|at| (at, Word::Bits32(AtomicU32::new(0)))),
        );
        words.extend(
            bits64
                .into_iter()
                .map(|at| (at, Word::Bits64(AtomicU64::new(0)))),
        );
        Self(words)
    }
}

macro_rules! words {
    ($($load:ident, $store:ident, $bits:ident, $number:ty;)*) => {
        impl RingWords for Area {
            $(
                fn $load(&self, offset: usize, order: Order) -> $number {
                    match self.0.get(&offset) {
                        Some(Word::$bits(word)) => word.load(order.load()),
                        _ => panic!("no {} at offset {offset}", stringify!($bits)),
                    }
                }
                fn $store(&self, offset: usize, value: $number, order: Order) {
                    match self.0.get(&offset) {
                        Some(Word::$bits(word)) => word.store(value, order.store()),
                        _ => panic!("no {} at offset {offset}", stringify!($bits)),
                    }
                }
            )*
        }
    };
}

words! {
    load_u16, store_u16, Bits16, u16;
    load_u32, store_u32, Bits32, u32;
    load_u64, store_u64, Bits64, u64;
}

/// The ring, and a word each of what the buffers hold. Those are relaxed: only
/// the ring's own ordering makes one side see what the other put there.
struct Shared {
    descriptor: Area,
    driver: Area,
    device: Area,
    requests: Vec<AtomicU64>,
    replies: Vec<AtomicU64>,
}

/// One half's view of it, with or without the fence.
#[derive(Clone)]
struct Memory {
    shared: Arc<Shared>,
    fenced: bool,
}

impl QueueMemory for Memory {
    type Words = Area;

    fn descriptor_area(&self) -> &Area {
        &self.shared.descriptor
    }
    fn driver_area(&self) -> &Area {
        &self.shared.driver
    }
    fn device_area(&self) -> &Area {
        &self.shared.device
    }
    fn fence(&self, _: Barrier) {
        if self.fenced {
            fence(Ordering::SeqCst);
        }
    }
    fn read_buffer(&self, _: GuestAddress, _: &mut [u8]) -> bool {
        false
    }
}

struct NoDoorbell;

impl Notifier for NoDoorbell {
    fn notify(&self, _: AvailableNotification) -> Result<(), NotifyError> {
        Ok(())
    }
}

/// Which half goes without its fence.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fences {
    Both,
    NotDriver,
    NotDevice,
}

type Driver = SplitQueue<Memory, NoInstrument, u64>;
type Device = DeviceQueue<Memory, NoInstrument>;

/// A ring that has carried one buffer already, so that event index 0, with which
/// it begins, lies behind and asks for nothing.
fn ring(entries: u16, event_idx: bool, fences: Fences) -> (Driver, Device, Arc<Shared>) {
    let size = QueueSize::new(entries).unwrap();
    let features = Features {
        event_idx,
        ..Features::default()
    };
    let zeroes = || (0..3).map(|_| AtomicU64::new(0)).collect();
    let shared = Arc::new(Shared {
        descriptor: Area::new(
            [],
            [],
            (0..usize::from(entries) * DESCRIPTOR_LEN).step_by(8),
        ),
        driver: Area::new(
            [FLAGS, IDX, used_event(size)]
                .into_iter()
                .chain((0..entries).map(avail_entry)),
            [],
            [],
        ),
        device: Area::new(
            [FLAGS, IDX, avail_event(size)],
            (0..entries).flat_map(|slot| [used_entry(slot), used_entry(slot) + 4]),
            [],
        ),
        requests: zeroes(),
        replies: zeroes(),
    });
    let view = |fenced| Memory {
        shared: Arc::clone(&shared),
        fenced,
    };
    let driver_view = view(fences != Fences::NotDriver);
    let device_view = view(fences != Fences::NotDevice);
    let mut driver = SplitQueue::new(
        driver_view,
        size,
        features,
        NoInstrument,
        Box::new(NoDoorbell),
    )
    .unwrap();
    let mut device =
        DeviceQueue::new(Layout::Split, device_view, size, features, NoInstrument).unwrap();

    add(&mut driver, &shared, 0);
    driver.kick_prepare();
    assert!(serve(&mut device, &shared));
    device.should_interrupt();
    assert!(harvest(&mut driver, &shared));
    (driver, device, shared)
}

/// The driver offers buffer `number`.
fn add(driver: &mut Driver, shared: &Shared, number: u64) {
    shared.requests[number as usize].store(100 + number, Ordering::Relaxed);
    let segment = Segment {
        address: GuestAddress(number),
        len: 8,
    };
    driver
        .add(&[], &[segment], Token(number), number)
        .expect("the ring has room");
}

/// The device takes one buffer, if there is one, and returns it.
fn serve(device: &mut Device, shared: &Shared) -> bool {
    let Some(chain) = device.take().expect("the driver keeps the rules") else {
        return false;
    };
    let number = chain.writable[0].address.0;
    let request = shared.requests[number as usize].load(Ordering::Relaxed);
    assert_eq!(request, 100 + number, "the request was taken unseen");
    shared.replies[number as usize].store(200 + number, Ordering::Relaxed);
    device.put_used(&chain, 8);
    true
}

/// The driver takes one used buffer back, if there is one.
fn harvest(driver: &mut Driver, shared: &Shared) -> bool {
    let Some(used) = driver.get_buf().expect("the device keeps the rules") else {
        return false;
    };
    let reply = shared.replies[used.data as usize].load(Ordering::Relaxed);
    assert_eq!(reply, 200 + used.data, "the reply was taken unseen");
    true
}

/// The driver fills the ring, a decision for each buffer, while the device
/// empties it and goes to sleep.
fn kick_race(entries: u16, event_idx: bool, fences: Fences) {
    loom::model(move || {
        let (mut driver, mut device, shared) = ring(entries, event_idx, fences);
        device.disable_kicks();
        let theirs = Arc::clone(&shared);
        let device = loom::thread::spawn(move || {
            let mut served = 0;
            loop {
                while serve(&mut device, &theirs) {
                    served += 1;
                }
                if device.enable_kicks() {
                    return (device, served);
                }
                device.disable_kicks();
            }
        });
        let mut kicked = Vec::new();
        for number in 1..=u64::from(entries) {
            add(&mut driver, &shared, number);
            kicked.push(driver.kick_prepare());
        }
        let (mut device, served) = device.join().unwrap();
        assert!(
            served == kicked.len() || kicked[served..].contains(&true),
            "a kick was lost: {served} served, kicks {kicked:?}"
        );
        // What woke the device finds its work.
        for _ in served..kicked.len() {
            assert!(serve(&mut device, &shared));
        }
        for _ in &kicked {
            assert!(harvest(&mut driver, &shared));
        }
    });
}

/// How the driver goes to sleep.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Harvest {
    /// Without interrupts, which it asks for again at the end.
    CallbacksOff,
    /// With interrupts all the time, until there is no used buffer.
    CallbacksOn,
}

/// The device returns what the ring holds, a decision for each buffer, while the
/// driver takes it and goes to sleep.
fn interrupt_race(entries: u16, event_idx: bool, fences: Fences, harvest_by: Harvest) {
    loom::model(move || {
        let (mut driver, mut device, shared) = ring(entries, event_idx, fences);
        for number in 1..=u64::from(entries) {
            add(&mut driver, &shared, number);
        }
        if harvest_by == Harvest::CallbacksOff {
            driver.disable_callbacks();
        }
        let theirs = Arc::clone(&shared);
        let device = loom::thread::spawn(move || {
            let mut interrupted = Vec::new();
            while serve(&mut device, &theirs) {
                interrupted.push(device.should_interrupt());
            }
            interrupted
        });
        let mut taken = 0;
        loop {
            while harvest(&mut driver, &shared) {
                taken += 1;
            }
            if harvest_by == Harvest::CallbacksOn || driver.enable_callbacks() {
                break;
            }
            driver.disable_callbacks();
        }
        let interrupted = device.join().unwrap();
        assert_eq!(interrupted.len(), usize::from(entries));
        assert!(
            taken == interrupted.len() || interrupted[taken..].contains(&true),
            "an interrupt was lost: {taken} taken, interrupts {interrupted:?}"
        );
        for _ in taken..interrupted.len() {
            assert!(harvest(&mut driver, &shared));
        }
    });
}

// Shows: driver/2.7.13/3, driver/2.7.13.3.1/1, driver/2.7.13.4.1/1
#[rstest]
fn no_kick_is_lost(#[values(1, 2)] entries: u16, #[values(false, true)] event_idx: bool) {
    kick_race(entries, event_idx, Fences::Both);
}

// Shows: driver/2.7.13/3, driver/2.7.13.4.1/1
#[rstest]
#[should_panic(expected = "a kick was lost")]
fn without_a_fence_a_kick_is_lost(
    #[values(false, true)] event_idx: bool,
    #[values(Fences::NotDriver, Fences::NotDevice)] fences: Fences,
) {
    kick_race(1, event_idx, fences);
}

#[rstest]
fn no_interrupt_is_lost(
    #[values(1, 2)] entries: u16,
    #[values(false, true)] event_idx: bool,
    #[values(Harvest::CallbacksOff, Harvest::CallbacksOn)] harvest_by: Harvest,
) {
    interrupt_race(entries, event_idx, Fences::Both, harvest_by);
}

#[rstest]
#[should_panic(expected = "an interrupt was lost")]
fn without_a_fence_an_interrupt_is_lost(
    #[values(false, true)] event_idx: bool,
    #[values(Fences::NotDriver, Fences::NotDevice)] fences: Fences,
) {
    interrupt_race(1, event_idx, fences, Harvest::CallbacksOff);
}

/// Linux has this fence inside `virtqueue_get_buf`: the event index moves on
/// with every buffer taken, and the next look may find nothing.
#[rstest]
#[should_panic(expected = "an interrupt was lost")]
fn without_a_fence_in_get_buf_an_interrupt_is_lost(
    #[values(Fences::NotDriver, Fences::NotDevice)] fences: Fences,
) {
    interrupt_race(2, true, fences, Harvest::CallbacksOn);
}
