//! Available buffer notifications: when they are sent, and what they say (virtio 1.4
//! §2.9).

use virtscope_driver::memory::{GuestAddress, Order, QueueMemory, RingWords, Segment};
use virtscope_driver::ring::packed_layout::{Position, Tail, tail_word, used_flags};
use virtscope_driver::ring::split_layout::{IDX, used_entry};
use virtscope_driver::ring::{NotifyError, QueueSize};
use virtscope_record::{FeatureBits, Token};

use crate::recording::Recording;
use crate::rig::{ALL, Rig, SPLIT};
use crate::test_driver::plan;

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
