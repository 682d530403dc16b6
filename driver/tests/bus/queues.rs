//! Queues: how they are set up, reset and set up again.

use std::sync::Arc;

use rstest::rstest;
use virtscope_driver::bus::{InitError, QueuePlan};
use virtscope_driver::instrument::NoInstrument;
use virtscope_driver::ring::packed_layout::Position;
use virtscope_driver::ring::{NotifyError, QueueSize};
use virtscope_driver::transport::{Status, Transport};
use virtscope_record::{FeatureBits, Layout, Token};

use crate::recording::{Recording, Step};
use crate::rig::{ALL, Rig, SPLIT};
use crate::test_driver::plan;

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
