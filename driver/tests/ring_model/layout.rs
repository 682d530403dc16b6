//! Where things stand, bit by bit, in the plainest rings that show it.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use rstest::rstest;
use virtscope_driver::memory::{
    GuestAddress, GuestMemory, IndirectTables, Order, QueueAddresses, RingWords, Segment,
    SharedQueueMemory,
};
use virtscope_driver::ring::{
    AddErrorKind, AvailableNotification, Context, Features, QueueSize, packed_layout, split_layout,
};
use virtscope_record::{Layout, Token};

use super::examples::with;
use super::picture::{AVAIL, DESCRIPTOR, Field, NEXT, USED, WRITE};

// Shows: driver/2.7.5.2/1
/// 2³² − 1 bytes are the most that one buffer holds (virtio 1.4 §2.7.5.2).
#[rstest]
#[case::in_one_direction(&[u32::MAX, 1], &[], false)]
#[case::in_both(&[u32::MAX], &[1], false)]
#[case::the_most_there_may_be(&[1 << 31], &[(1 << 31) - 1], true)]
fn buffers_hold_less_than_4_gib(
    #[case] readable: &[u32],
    #[case] writable: &[u32],
    #[case] allowed: bool,
    #[values(Layout::Split, Layout::Packed)] layout: Layout,
) {
    let mut ring = with(layout, 4, Features::default(), (0, 0));
    let address = ring.buffers;
    let segments = |lens: &[u32]| -> Vec<Segment> {
        let segment = |len: &u32| Segment { address, len: *len };
        lens.iter().map(segment).collect()
    };
    let (readable, writable) = (segments(readable), segments(writable));
    match ring.driver.add(&readable, &writable, Token(1), 1) {
        Ok(left) => assert!(allowed && left == 2),
        Err(refused) => assert!(!allowed && refused.kind == AddErrorKind::BadLength),
    }
}

// Shows: driver/2.8.4/1, driver/2.8.6/5
/// In a used descriptor the length counts only beside `VIRTQ_DESC_F_WRITE`, and
/// `VIRTQ_DESC_F_NEXT` counts for nothing.
#[rstest]
#[case::nothing_was_written(0, 1234, 0)]
#[case::nothing_was_written_and_more_follows(NEXT, u32::MAX, 0)]
#[case::more_follows(WRITE | NEXT, 6, 6)]
fn reserved_parts_of_used_descriptors_are_ignored(
    #[case] flags: u16,
    #[case] len: u32,
    #[case] written: u32,
    #[values(false, true)] in_order: bool,
) {
    let features = Features {
        in_order,
        ..Features::default()
    };
    let mut ring = with(Layout::Packed, 3, features, (0, 0));
    ring.add(1);
    ring.add(2);
    let chain = ring.device.take().unwrap().unwrap();
    let now = ring.picture();
    let used = u64::from(flags | AVAIL | USED) << 48;
    let tail = u64::from(len) | u64::from(chain.id) << 32 | used;
    let at = now.range(Field::Descriptor(0)).start + 8;
    ring.raw
        .descriptor_area()
        .store_u64(at, tail, Order::Relaxed);
    assert_eq!(ring.get(), Some((1, written)));
    assert_eq!(ring.get(), None);
}

// Shows: driver/2.7.1/1, driver/2.8.11/1
/// Wherever a ring of any size may be put, its parts are aligned as the tables of
/// virtio 1.4 §2.7 and §2.8.10.1 want it; a place that is not is refused.
#[test]
fn areas_are_aligned() {
    for entries in (1..=32_768).step_by(if cfg!(miri) { 1111 } else { 1 }) {
        let size = QueueSize::new(entries).unwrap();
        let (areas, _) = packed_layout::contiguous(GuestAddress(4096), size);
        assert!(areas.descriptor.0.is_multiple_of(16));
        assert!(areas.driver.0.is_multiple_of(4) && areas.device.0.is_multiple_of(4));
        let Ok(size) = size.for_split() else { continue };
        let (areas, _) = split_layout::contiguous(GuestAddress(4096), size);
        assert!(areas.descriptor.0.is_multiple_of(16));
        assert!(areas.driver.0.is_multiple_of(2) && areas.device.0.is_multiple_of(4));
    }
    let memory = Arc::new(GuestMemory::new(1));
    let size = QueueSize::new(4).unwrap();
    for misplaced in 0..3 {
        for by in [0, 1, 2, 4, 8] {
            let mut places = [0, 512, 1024];
            places[misplaced] += by;
            let addresses = QueueAddresses {
                descriptor: GuestAddress(places[0]),
                driver: GuestAddress(places[1]),
                device: GuestAddress(places[2]),
            };
            let split = SharedQueueMemory::split(Arc::clone(&memory), addresses, size);
            let packed = SharedQueueMemory::packed(Arc::clone(&memory), addresses, size);
            // Words of 8 bytes are what the memory is reached by, so that is asked
            // of all parts.
            let aligned = by == 0 || by == 8 && misplaced > 0;
            assert_eq!((split.is_ok(), packed.is_ok()), (aligned, aligned));
        }
    }
    let (addresses, bytes) = split_layout::contiguous(GuestAddress(0), size);
    let areas = SharedQueueMemory::split(memory, addresses, size).unwrap();
    for by in [0, 8, 16] {
        let tables = IndirectTables {
            base: GuestAddress(bytes.next_multiple_of(16) + by),
            count: 1,
            capacity: 2,
        };
        assert_eq!(tables.bytes(), 2 * DESCRIPTOR);
        assert_eq!(areas.clone().with_indirect_tables(tables).is_ok(), by != 8);
    }
}

// Shows: driver/2.8.16/3, driver/2.9/2, driver/2.9/3, driver/2.9/4, driver/2.9/5,
//   driver/2.9/6
/// What a notification says beside the queue's index, bit by bit: where the next
/// buffer will be made available, however often it is sent.
#[rstest]
#[case::split_at_the_beginning(Layout::Split, 8, 0, 0, 0)]
#[case::split_past_the_ring(Layout::Split, 8, 13, 13, 0)]
#[case::split_the_16th_bit(Layout::Split, 1, 32_768 + 5, 5, 1)]
#[case::split_the_wrap(Layout::Split, 1, 65_536 + 7, 7, 0)]
#[case::packed_at_the_beginning(Layout::Packed, 5, 0, 0, 1)]
#[case::packed_in_the_first_round(Layout::Packed, 5, 4, 4, 1)]
#[case::packed_in_the_second(Layout::Packed, 5, 5, 0, 0)]
#[case::packed_in_the_third(Layout::Packed, 5, 13, 3, 1)]
fn notifications_say_where_the_next_buffer_will_stand(
    #[case] layout: Layout,
    #[case] size: u16,
    #[case] buffers: u32,
    #[case] next_off: u16,
    #[case] next_wrap: u16,
) {
    if cfg!(miri) && buffers > 1000 {
        return; // Minutes of turning the ring; nothing else is different.
    }
    let mut ring = with(layout, size, Features::default(), (0, 0));
    for _ in 0..buffers {
        ring.add(1);
        ring.answer();
        ring.get();
    }
    let next = || ring.doorbell.next.load(Relaxed);
    let expected = next_wrap << 15 | next_off;
    for _ in 0..2 {
        ring.driver.handle().notify().unwrap();
        assert_eq!(next(), expected);
    }
    let word = AvailableNotification { next: next() }.to_word(9);
    let parts = (word & 0xffff, word >> 16 & 0x7fff, word >> 31);
    assert_eq!(parts, (9, next_off.into(), next_wrap.into()));
    // What is added and not available changes nothing.
    let one = ring.segments(1, 4);
    let added = ring
        .driver
        .add_unpublished(&one, &[], Token(2), 2, Context(0));
    added.unwrap();
    ring.driver.handle().notify().unwrap();
    assert_eq!(next(), expected);
    ring.driver.publish();
    ring.driver.handle().notify().unwrap();
    assert_ne!(next(), expected);
}
