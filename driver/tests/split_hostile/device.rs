//! A device that keeps no rules, against the driver's half.

use std::collections::BTreeSet;
use virtscope_driver::memory::Order::Relaxed;

use proptest::prelude::*;
use rstest::rstest;
use virtscope_driver::memory::RingWords;
use virtscope_driver::ring::split_layout::{FLAGS, IDX, avail_event, used_entry, used_event};
use virtscope_driver::ring::{AddErrorKind, Context, QueueError, QueueSize, Violation};
use virtscope_record::{RingIndex, Token};

use super::{Ring, SIZE, config, ring};

impl Ring {
    /// A device that lies: a used entry, without moving the index.
    fn write_used(&self, position: u16, id: u32, len: u32) {
        let at = used_entry(position % SIZE);
        self.raw.device_area().store_u32(at, id, Relaxed);
        self.raw.device_area().store_u32(at + 4, len, Relaxed);
    }

    fn write_used_index(&self, index: u16) {
        self.raw.device_area().store_u16(IDX, index, Relaxed);
    }

    /// Whatever broke the queue: it stays broken, refuses buffers, and gives the
    /// tokens in `left` back, each once.
    fn assert_broken(&mut self, error: QueueError, left: &[u64]) {
        assert_eq!(self.driver.broken(), Some(error));
        assert_eq!(self.driver.get_buf().unwrap_err(), error);
        let refused = self.driver.add(&[self.segment(1)], &[], Token(99), 99);
        let refused = refused.unwrap_err();
        assert_eq!(refused.kind, AddErrorKind::Broken(error));
        assert_eq!(refused.kind.errno(), 5, "EIO");
        assert_eq!((refused.token, refused.data), (Token(99), 99));
        assert_eq!(self.detach_all(), left.iter().copied().collect());
    }

    /// Takes out what is left; fails if a token comes twice.
    fn detach_all(&mut self) -> BTreeSet<u64> {
        let mut tokens = BTreeSet::new();
        while let Some(unused) = self.driver.detach_unused() {
            let (token, data) = (unused.token, unused.data);
            assert_eq!(token, Token(data));
            assert!(tokens.insert(data), "token {data} came twice");
        }
        assert_eq!(self.driver.in_flight(), 0);
        assert_eq!(self.driver.free_descriptors(), SIZE);
        tokens
    }
}

// Shows: device/2.7.8/1, device/2.7.8.2/2
/// Two buffers are in flight, under heads 0 and 2; the device returns one entry.
#[rstest]
#[case::first_id_behind_the_table(8, 0, Violation::IdOutOfRange { id: 8, size: 8 })]
#[case::id_beyond_16_bits(0x1_0000, 0, Violation::IdOutOfRange { id: 0x1_0000, size: 8 })]
#[case::all_ones(u32::MAX, 0, Violation::IdOutOfRange { id: u32::MAX, size: 8 })]
#[case::middle_of_a_chain(1, 0, Violation::IdNotInFlight { id: 1 })]
#[case::free_descriptor(7, 0, Violation::IdNotInFlight { id: 7 })]
#[case::one_byte_too_many(0, 11, Violation::UsedLengthTooLong { used_length: 11, writable: 10 })]
#[case::readable_bytes_counted(2, 14, Violation::UsedLengthTooLong { used_length: 14, writable: 10 })]
#[case::endless(2, u32::MAX, Violation::UsedLengthTooLong { used_length: u32::MAX, writable: 10 })]
fn bad_entries_break_the_queue(
    #[case] id: u32,
    #[case] len: u32,
    #[case] violation: Violation,
    #[values(false, true)] event_idx: bool,
) {
    let mut ring = ring(event_idx);
    ring.add(1);
    ring.add(2);
    ring.write_used(0, id, len);
    ring.write_used_index(1);
    let error = ring.driver.get_buf().unwrap_err();
    assert_eq!(error.violation, violation);
    ring.assert_broken(error, &[1, 2]);
}

// Shows: device/2.7.8/2, device/2.7.8/3
/// Two buffers are in flight; the used index stands `moved` away from where the
/// driver expects the next entry.
#[rstest]
fn a_used_index_that_jumps_breaks_the_queue(
    #[values(3, 8, 9, 32_768, 65_535)] moved: u16,
    #[values(0, 65_533, 65_535)] rounds: u32,
    #[values(false, true)] event_idx: bool,
) {
    if cfg!(miri) && rounds > 0 {
        return; // Minutes of turning the ring; nothing else is different.
    }
    let mut ring = ring(event_idx);
    ring.run(rounds);
    ring.add(1);
    ring.add(2);
    let last_used = RingIndex(rounds as u16);
    let used_index = last_used.advance(moved);
    ring.write_used(rounds as u16, 0, 0);
    ring.write_used_index(used_index.0);
    let error = ring.driver.get_buf().unwrap_err();
    assert_eq!(
        error.violation,
        Violation::UsedIndexJumped {
            last_used,
            used_index,
            in_flight: 2
        }
    );
    ring.assert_broken(error, &[1, 2]);
}

// Shows: device/2.7.8/1
#[rstest]
fn an_id_returned_twice_breaks_the_queue(#[values(false, true)] event_idx: bool) {
    let mut ring = ring(event_idx);
    ring.add(1);
    ring.add(2);
    ring.write_used(0, 2, 10);
    ring.write_used(1, 2, 10);
    ring.write_used_index(2);
    assert_eq!(ring.driver.get_buf().unwrap().unwrap().data, 2);
    let error = ring.driver.get_buf().unwrap_err();
    assert_eq!(error.violation, Violation::IdNotInFlight { id: 2 });
    ring.assert_broken(error, &[1]);
}

// Shows: device/2.7.8/3
/// Its index goes back, to take entries again that the driver has taken.
#[test]
fn an_index_that_goes_back_breaks_the_queue() {
    let mut ring = ring(false);
    ring.add(1);
    ring.add(2);
    ring.write_used(0, 0, 0);
    ring.write_used_index(1);
    assert_eq!(ring.driver.get_buf().unwrap().unwrap().data, 1);
    ring.write_used_index(0);
    let error = ring.driver.get_buf().unwrap_err();
    assert_eq!(
        error.violation,
        Violation::UsedIndexJumped {
            last_used: RingIndex(1),
            used_index: RingIndex(0),
            in_flight: 1
        }
    );
    ring.assert_broken(error, &[2]);
}

// Shows: device/2.7.8/1
/// What was added and not published is not the device's to return, even if it
/// guesses the id.
#[test]
fn an_unpublished_buffer_can_not_be_returned() {
    let mut ring = ring(false);
    ring.add(1);
    let segment = ring.segment(10);
    ring.driver
        .add_unpublished(&[], &[segment], Token(2), 2, Context::default())
        .unwrap();
    ring.write_used(0, 2, 0);
    ring.write_used_index(1);
    let error = ring.driver.get_buf().unwrap_err();
    assert_eq!(error.violation, Violation::IdNotInFlight { id: 2 });
    ring.assert_broken(error, &[1, 2]);
}

// Shows: device/2.7.8/2
#[test]
fn unpublished_buffers_do_not_widen_the_index() {
    let mut ring = ring(false);
    let segment = ring.segment(10);
    ring.driver
        .add_unpublished(&[], &[segment], Token(1), 1, Context::default())
        .unwrap();
    ring.write_used(0, 0, 0);
    ring.write_used_index(1);
    let error = ring.driver.get_buf().unwrap_err();
    assert_eq!(
        error.violation,
        Violation::UsedIndexJumped {
            last_used: RingIndex(0),
            used_index: RingIndex(1),
            in_flight: 0
        }
    );
    ring.assert_broken(error, &[1]);
}

// Shows: driver/2.7.10.1/2, driver/2.7.10.1/3, driver/2.7.10.1/4, driver/2.7.10.1/5,
//   driver/2.7.10.1/6, driver/2.7.10.1/7, device/2.7.7.2/1, device/2.7.7.2/4,
//   device/2.7.10.2/1, device/2.7.10.2/3
/// Flags and event index are requests, not facts: nonsense in them costs a
/// notification at most. One bit of the flags has a meaning, and none with
/// event indices (virtio 1.4 §2.7.10.1).
#[rstest]
fn nonsense_in_suppression_is_harmless(
    #[values(0, 1, 2, 0xfffe, 0xffff)] flags: u16,
    #[values(0, 1, 7, 8, 32_768, 65_535)] event: u16,
    #[values(false, true)] event_idx: bool,
) {
    let mut ring = ring(event_idx);
    let size = QueueSize::new(SIZE).unwrap();
    let area = ring.raw.device_area();
    area.store_u16(FLAGS, flags, Relaxed);
    area.store_u16(avail_event(size), event, Relaxed);
    ring.add(1);
    let wanted = if event_idx {
        event == 0
    } else {
        flags & 1 == 0
    };
    assert_eq!(ring.driver.kick_prepare(), wanted);

    let area = ring.raw.driver_area();
    area.store_u16(FLAGS, flags, Relaxed);
    area.store_u16(used_event(size), event, Relaxed);
    let chain = ring.device.take().unwrap().unwrap();
    ring.device.put_used(&chain, 10);
    assert_eq!(ring.device.should_interrupt(), wanted);
    assert_eq!(ring.driver.get_buf().unwrap().unwrap().data, 1);
}

/// What a device that writes at random does next.
#[derive(Clone, Debug)]
enum Scribble {
    Half(usize, u16),
    Entry(u16, u32, u32),
    Index(u16),
    Look,
    Add,
}

fn scribble() -> impl Strategy<Value = Scribble> {
    prop_oneof![
        1 => (prop_oneof![Just(FLAGS), Just(avail_event(QueueSize::new(SIZE).unwrap()))], any::<u16>())
            .prop_map(|(at, value)| Scribble::Half(at, value)),
        1 => (0..SIZE, any::<u32>(), any::<u32>()).prop_map(|(slot, id, len)| Scribble::Entry(slot, id, len)),
        4 => (0..SIZE, 0..10u32, 0..12u32).prop_map(|(slot, id, len)| Scribble::Entry(slot, id, len)),
        1 => any::<u16>().prop_map(Scribble::Index),
        4 => (0..6u16).prop_map(Scribble::Index),
        4 => Just(Scribble::Look),
        2 => Just(Scribble::Add),
    ]
}

proptest! {
    #![proptest_config(config())]

    /// Whatever stands in the device area: no panic, no endless loop, no token
    /// twice, and none lost.
    #[test]
    fn random_device_areas_cost_no_token(
        event_idx: bool,
        steps in proptest::collection::vec(scribble(), 1..60),
    ) {
        let mut ring = ring(event_idx);
        let mut given = BTreeSet::new();
        let mut back = BTreeSet::new();
        let mut broken = None;
        for (number, step) in steps.into_iter().enumerate() {
            let number = number as u64;
            match step {
                Scribble::Half(at, value) => ring.raw.device_area().store_u16(at, value, Relaxed),
                Scribble::Entry(slot, id, len) => ring.write_used(slot, id, len),
                Scribble::Index(index) => ring.write_used_index(index),
                Scribble::Add => {
                    let segment = ring.segment(10);
                    match ring.driver.add(&[], &[segment], Token(number), number) {
                        Ok(_) => { given.insert(number); }
                        Err(refused) => prop_assert_eq!(refused.data, number),
                    }
                    ring.driver.kick_prepare();
                }
                Scribble::Look => match ring.driver.get_buf() {
                    Ok(Some(used)) => {
                        prop_assert!(used.written <= 10);
                        prop_assert_eq!(used.token, Token(used.data));
                        prop_assert!(given.contains(&used.data), "never given");
                        prop_assert!(back.insert(used.data), "token {} came twice", used.data);
                    }
                    Ok(None) => prop_assert_eq!(broken, None),
                    Err(error) => {
                        prop_assert_eq!(*broken.get_or_insert(error), error);
                    }
                },
            }
            prop_assert_eq!(ring.driver.broken(), broken);
            prop_assert_eq!(usize::from(ring.driver.in_flight()), given.len() - back.len());
        }
        let left = ring.detach_all();
        prop_assert!(left.is_disjoint(&back));
        back.extend(left);
        prop_assert_eq!(back, given);
    }
}
