//! Queues: how they are set up, notified, reset and set up again.

use std::sync::{Arc, Mutex};

use rstest::rstest;
use virtscope_driver::bus::{Bus, Device, InitError, QueuePlan, RING_FEATURES, Recovery};
use virtscope_driver::instrument::NoInstrument;
use virtscope_driver::memory::{
    GuestAddress, Order, QueueMemory, RingWords, Segment, SharedQueueMemory,
};
use virtscope_driver::ring::packed_layout::{Position, Tail, tail_word, used_flags};
use virtscope_driver::ring::split_layout::{IDX, used_entry};
use virtscope_driver::ring::{NotifyError, QueueSize};
use virtscope_driver::transport::{Status, Transport};
use virtscope_record::{FeatureBits, Layout, Token};

use crate::recording::{Recording, Step};
use crate::test_driver::{TestDriver, TestQueue, plan};

const ALL: FeatureBits = RING_FEATURES;
const SPLIT: FeatureBits = ALL.difference(FeatureBits::RING_PACKED);

/// A device that is up, with the queue of its driver.
struct Rig {
    recording: Arc<Recording>,
    device: Device,
    queue: TestQueue,
    _bus: Bus,
}

impl Rig {
    fn new(recording: Arc<Recording>, plan: QueuePlan) -> Self {
        Self::probing(recording, plan, |_| ())
    }

    /// `early` is done with the queue before `DRIVER_OK`.
    fn probing(
        recording: Arc<Recording>,
        plan: QueuePlan,
        early: impl Fn(&mut TestQueue) + Send + Sync + 'static,
    ) -> Self {
        let made: Arc<Mutex<Option<TestQueue>>> = Arc::default();
        let driver = TestDriver::probing({
            let made = Arc::clone(&made);
            move |device| {
                let mut queue = device.queue(plan, NoInstrument)?;
                early(&mut queue);
                *made.lock().unwrap() = Some(queue);
                Ok(())
            }
        });
        let bus = Bus::new(Recovery::ByHand).unwrap();
        let driver = Arc::new(driver);
        bus.register_driver(driver.clone());
        bus.register_device(recording.clone()).unwrap();
        assert_eq!(bus.devices()[0].error, None);
        let queue = made.lock().unwrap().take().unwrap();
        Self {
            recording,
            device: driver.device(),
            queue,
            _bus: bus,
        }
    }

    /// The areas, as the device would reach them.
    fn areas(&self) -> SharedQueueMemory {
        let setup = self.recording.last_setup();
        let memory = Arc::clone(self.recording.memory());
        match self.queue.ring.layout() {
            Layout::Split => SharedQueueMemory::split(memory, setup.addresses, setup.size),
            Layout::Packed => SharedQueueMemory::packed(memory, setup.addresses, setup.size),
        }
        .unwrap()
    }

    fn descriptor_words(&self) -> Vec<u64> {
        let areas = self.areas();
        let area = areas.descriptor_area();
        let bytes = usize::from(self.queue.size().get()) * 16;
        let words = (0..bytes).step_by(8);
        words.map(|at| area.load_u64(at, Order::Relaxed)).collect()
    }

    /// A page's worth of buffer, readable or writable.
    fn buffer(&self) -> Segment {
        Segment {
            address: GuestAddress(15 * 4096),
            len: 100,
        }
    }
}

#[rstest]
#[case::split(SPLIT, 100, 64)]
#[case::split_rounded_down(SPLIT, 50, 32)]
#[case::split_small(SPLIT, 8, 8)]
#[case::packed(ALL, 100, 64)]
#[case::packed_any_size(ALL, 50, 50)]
fn a_queue_is_as_large_as_both_sides_and_its_layout_allow(
    #[case] offered: FeatureBits,
    #[case] max: u16,
    #[case] expected: u16,
) {
    let recording = Recording::with(|state| {
        state.offered = offered;
        state.queues = vec![max];
    });
    let rig = Rig::new(recording, plan(0));
    assert_eq!(rig.queue.size().get(), expected);
    assert_eq!(rig.recording.last_setup().size.get(), expected);
    assert_eq!(rig.queue.index(), 0);
}

/// What the device is told, and what stands in descriptors, are addresses of guest
/// memory as they are.
// Shows: driver/6.1/4
#[test]
fn addresses_are_physical() {
    let recording = Recording::new(SPLIT.difference(FeatureBits::INDIRECT_DESC));
    let mut rig = Rig::new(recording, plan(0));
    let segment = rig.buffer();
    rig.queue.ring.add_outbuf(&[segment], Token(1), 7).unwrap();
    assert_eq!(rig.descriptor_words()[0], segment.address.0);
    let setup = rig.recording.last_setup();
    let size = rig.recording.memory().size() as u64;
    for area in [
        setup.addresses.descriptor,
        setup.addresses.driver,
        setup.addresses.device,
    ] {
        assert!(area.0 < size);
    }
}

#[test]
fn queues_that_can_t_be_are_refused() {
    let recording = Recording::with(|state| {
        state.offered = ALL;
        state.queues = vec![16, 16];
    });
    let rig = Rig::new(recording, plan(1));
    let again = |plan| rig.device.queue::<_, u32>(plan, NoInstrument).err();
    assert_eq!(again(plan(1)), Some(InitError::QueueInUse { index: 1 }));
    assert_eq!(again(plan(2)), Some(InitError::NoQueue { index: 2 }));
    rig.recording.state().queues[0] = 32768;
    let huge = QueuePlan {
        max_size: QueueSize::MAX,
        ..plan(0)
    };
    assert!(matches!(again(huge), Some(InitError::NoMemory(_))));
    assert_eq!(again(plan(0)), None);
    assert_eq!(rig.queue.index(), 1);
}

/// A queue that is filled and kicked before the device may be told: it is told then.
// Shows: driver/3.1.1/13
#[test]
fn what_is_kicked_too_early_is_sent_when_the_device_is_up() {
    let recording = Recording::new(SPLIT);
    let rig = Rig::probing(recording, plan(0), |queue| {
        for buffer in 0..3 {
            let segment = Segment {
                address: GuestAddress(15 * 4096 + buffer * 64),
                len: 64,
            };
            queue.ring.add_inbuf(&[segment], Token(buffer), 0).unwrap();
        }
        assert_eq!(queue.ring.kick(), Ok(true));
        assert_eq!(queue.handle().notify(), Ok(()));
    });
    // Once, with the newest state; that it came behind `DRIVER_OK` is a rule of all
    // tests.
    let notifications = rig.recording.notifications();
    assert_eq!(notifications.len(), 1);
    assert_eq!(notifications[0].1.next, 3);
}

// Shows: driver/2.9/2, driver/2.9/5, driver/2.9/6
/// The available index, all 16 bits of it.
#[test]
fn notification_data_of_a_split_ring() {
    let recording = Recording::with(|state| {
        state.offered = SPLIT;
        state.queues = vec![4, 4];
    });
    let mut rig = Rig::new(recording, plan(1));
    let segment = rig.buffer();
    // Past bit 15 and round: the device returns each buffer at once.
    for index in 1..=70_000u32 {
        let ring = &mut rig.queue.ring;
        ring.add_inbuf(&[segment], Token(1), 0).unwrap();
        if [1, 2, 32_767, 32_768, 40_000, 65_535, 65_536, 70_000].contains(&index) {
            rig.queue.handle().notify().unwrap();
            rig.queue.handle().notify().unwrap();
            let sent = rig.recording.notifications();
            let (queue, last) = *sent.last().unwrap();
            assert_eq!((queue, last.next), (1, index as u16));
            assert_eq!(sent[sent.len() - 2].1, last, "the same, said twice");
            let word = last.to_word(queue);
            assert_eq!(word & 0xffff, 1);
            assert_eq!(word >> 16 & 0x7fff, index & 0x7fff, "next_off");
            assert_eq!(word >> 31, index >> 15 & 1, "next_wrap");
        }
        // The device returns it. Heads go round, because buffers are used in order.
        let areas = rig.areas();
        let slot = used_entry((index - 1) as u16 % 4);
        let device = areas.device_area();
        device.store_u32(slot, (index - 1) % 4, Order::Relaxed);
        device.store_u32(slot + 4, 0, Order::Relaxed);
        device.store_u16(IDX, index as u16, Order::Relaxed);
        assert!(rig.queue.ring.get_buf().unwrap().is_some());
    }
}

// Shows: driver/2.9/3, driver/2.9/4, driver/2.9/6
/// Offset and wrap counter of the next descriptor.
#[test]
fn notification_data_of_a_packed_ring() {
    let recording = Recording::with(|state| {
        state.offered = ALL.difference(FeatureBits::IN_ORDER);
        state.queues = vec![5];
    });
    let mut rig = Rig::new(recording, plan(0));
    let segment = rig.buffer();
    let mut expected = Position::START;
    for round in 0..23u16 {
        let ring = &mut rig.queue.ring;
        // Of one and of two descriptors by turns.
        let list = [segment, segment];
        let list = &list[..1 + usize::from(round % 2)];
        ring.add_inbuf(list, Token(1), 0).unwrap();
        let first = expected;
        expected = expected.advance(list.len() as u16, QueueSize::new(5).unwrap());
        rig.queue.handle().notify().unwrap();
        rig.queue.handle().notify().unwrap();
        let sent = rig.recording.notifications();
        let (queue, last) = *sent.last().unwrap();
        assert_eq!(sent[sent.len() - 2].1, last, "the same, said twice");
        let word = last.to_word(queue);
        assert_eq!(word & 0xffff, 0);
        assert_eq!((word >> 16 & 0x7fff) as u16, expected.offset, "next_off");
        assert_eq!(word >> 31 == 1, expected.wrap, "next_wrap");
        // The device marks the list used.
        let areas = rig.areas();
        let ring = areas.descriptor_area();
        let word = ring.load_u64(tail_word(first.offset), Order::Relaxed);
        let tail = Tail {
            len: 0,
            flags: used_flags(first.wrap),
            ..Tail::from_word(word)
        };
        ring.store_u64(tail_word(first.offset), tail.to_word(), Order::Relaxed);
        assert!(rig.queue.ring.get_buf().unwrap().is_some());
    }
}

#[test]
fn a_device_that_is_gone_can_t_be_notified() {
    let recording = Recording::new(SPLIT);
    let mut rig = Rig::new(recording, plan(0));
    rig.recording.state().gone = true;
    let segment = rig.buffer();
    rig.queue.ring.add_inbuf(&[segment], Token(1), 0).unwrap();
    assert_eq!(rig.queue.ring.kick(), Err(NotifyError));
}

/// Handles from before a reset ring nobody's bell.
#[test]
fn a_queue_of_a_device_that_was_reset_notifies_nobody() {
    let recording = Recording::new(SPLIT);
    let rig = Rig::new(recording, plan(0));
    let handle = rig.queue.handle();
    handle.notify().unwrap();
    rig.device.reset().unwrap();
    assert_eq!(handle.notify(), Err(NotifyError));
    assert_eq!(rig.recording.notifications().len(), 1);
}

/// Whatever the driver does beside, what the device holds stays as it is.
// Shows: driver/3.3.1/1
#[rstest]
#[case::split(SPLIT)]
#[case::packed(ALL)]
#[case::packed_out_of_order(ALL.difference(FeatureBits::IN_ORDER))]
fn exposed_buffers_are_not_altered(#[case] offered: FeatureBits) {
    let recording = Recording::new(offered);
    let mut rig = Rig::new(recording, plan(0));
    let segment = rig.buffer();
    for token in 0..3 {
        let list = [segment, segment];
        rig.queue.ring.add_inbuf(&list, Token(token), 0).unwrap();
    }
    let words = rig.queue.ring.size().get() - rig.queue.ring.free_descriptors();
    let words = usize::from(words) * 2;
    let exposed = rig.descriptor_words()[..words].to_vec();
    let ring = &mut rig.queue.ring;
    ring.kick().unwrap();
    ring.disable_callbacks();
    assert!(ring.get_buf().unwrap().is_none());
    ring.enable_callbacks();
    ring.enable_callbacks_delayed();
    while ring.add_inbuf(&[segment], Token(9), 0).is_ok() {}
    ring.kick().unwrap();
    assert_eq!(rig.descriptor_words()[..words], exposed);
}

// Shows: driver/2.6.1.1.2/1, driver/2.6.1.2.2/1, device/2.6.1.2.1/1
#[rstest]
#[case::split(SPLIT, 8)]
#[case::split_same(SPLIT, 16)]
#[case::packed(ALL, 7)]
fn a_queue_is_reset_and_set_up_again(#[case] offered: FeatureBits, #[case] size: u16) {
    let recording = Recording::with(|state| {
        state.offered = offered;
        state.queue_reset_reads = Some(3);
    });
    let mut rig = Rig::new(recording, plan(0));
    let segment = rig.buffer();
    for token in 0..3 {
        rig.queue
            .ring
            .add_inbuf(&[segment], Token(token), 0)
            .unwrap();
    }
    rig.queue.handle().notify().unwrap();
    let first = rig.recording.last_setup();
    let mut back = Vec::new();
    let free = rig.device.pages().available();
    rig.device
        .reset_queue(&mut rig.queue, QueueSize::new(size).unwrap(), |buffer| {
            back.push(buffer.token.0);
        })
        .unwrap();
    back.sort_unstable();
    assert_eq!(back, [0, 1, 2], "each comes back once");
    // It was seen to be reset before it was enabled again, with the areas of a new
    // ring, and nothing else of the device was touched.
    let steps = rig.recording.steps();
    let reset = steps
        .iter()
        .position(|step| matches!(step, Step::ResetQueue(0)));
    let mut behind = steps[reset.unwrap() + 1..].iter();
    for enabled in [true, true, false] {
        let step = behind.next();
        assert!(matches!(step, Some(Step::ReadQueueEnabled(0, seen)) if *seen == enabled));
    }
    assert!(matches!(behind.next(), Some(Step::EnableQueue(0, setup)) if setup.size.get() == size));
    assert!(behind.next().is_none());
    assert_eq!(rig.queue.size().get(), size);
    assert_ne!(rig.recording.last_setup().addresses, first.addresses);
    assert!(Arc::ptr_eq(
        &rig.recording.last_setup().interrupt,
        &first.interrupt
    ));
    assert_eq!(
        rig.device.pages().available(),
        free,
        "the old ring's pages are free"
    );
    // It works, from the beginning.
    rig.queue.ring.add_inbuf(&[segment], Token(9), 0).unwrap();
    rig.queue.handle().notify().unwrap();
    let next = rig.recording.notifications().last().unwrap().1.next;
    let start = match rig.queue.ring.layout() {
        Layout::Split => 0,
        Layout::Packed => Position::START.to_raw(),
    };
    assert_eq!(next, start + 1);
}

// Shows: driver/2.6.1.1.2/1
#[test]
fn a_queue_that_does_not_reset_is_not_touched() {
    let recording = Recording::with(|state| {
        state.offered = ALL;
        state.queue_reset_reads = None;
    });
    let mut rig = Rig::new(recording, plan(0));
    let segment = rig.buffer();
    rig.queue.ring.add_inbuf(&[segment], Token(1), 0).unwrap();
    let words = rig.descriptor_words();
    let refused = rig.device.reset_queue(&mut rig.queue, QueueSize::MAX, |_| {
        panic!("the buffer is the device's still");
    });
    assert_eq!(refused, Err(InitError::NoQueueReset { index: 0 }));
    assert_eq!(rig.queue.ring.in_flight(), 1);
    assert_eq!(rig.descriptor_words(), words);
    // It hears nothing of us any more.
    assert_eq!(rig.queue.handle().notify(), Err(NotifyError));
    // A reset of the whole device takes the buffer back.
    rig.device.reset().unwrap();
    assert!(rig.queue.ring.detach_unused().is_some());
}

#[test]
fn a_queue_reset_that_was_not_agreed_on_does_nothing() {
    let recording = Recording::new(SPLIT.difference(FeatureBits::RING_RESET));
    let mut rig = Rig::new(recording, plan(0));
    let refused = rig
        .device
        .reset_queue(&mut rig.queue, QueueSize::MAX, |_| ());
    assert_eq!(
        refused,
        Err(InitError::QueueResetNotNegotiated { index: 0 })
    );
    let resets = |step: &Step| matches!(step, Step::ResetQueue(_));
    assert!(!rig.recording.steps().iter().any(resets));
}

/// A device that does not let go keeps its memory; one that does gives it back.
// Shows: driver/3.3.1/2
#[test]
fn memory_is_given_back_when_the_device_has_let_go() {
    let recording = Recording::new(SPLIT);
    let rig = Rig::new(recording, plan(0));
    let pages = rig.device.pages().clone();
    let (device, recording) = (rig.device.clone(), rig.recording.clone());
    assert!(pages.available() < 16);
    recording.state().reset_reads = None;
    assert!(matches!(device.reset(), Err(InitError::NoReset { .. })));
    drop(rig.queue);
    assert!(pages.available() < 16, "the device may still write there");
    recording.state().reset_reads = Some(0);
    device.reset().unwrap();
    assert_eq!(pages.available(), 16);
    assert_eq!(recording.state().status, Status::empty());
}
