//! Faults in what stands in the ring.

use rstest::rstest;
use virtscope_driver::memory::GuestAddress;
use virtscope_driver::memory::{Order, RingWords};
use virtscope_driver::ring::split_layout::{self, IDX};
use virtscope_driver::ring::{Features, QueueSize, Violation, packed_layout};
use virtscope_record::{Layout, RingIndex};

use super::{FEATURES, Ring, SIZE, WRITABLE};

#[rstest]
#[case("short-length:by=3", WRITABLE - 3)]
#[case("short-length:by=11", 0)]
#[case("short-length", 0)]
fn a_length_is_too_short(#[case] plan: &str, #[case] written: u32) {
    for layout in [Layout::Split, Layout::Packed] {
        let mut ring = Ring::new(plan, layout, FEATURES[2]);
        let chains = ring.exchange(0..1);
        ring.put(&chains[0]);
        assert_eq!(ring.get(), Ok(Some((0, written))));
    }
}

// Shows: device/2.7.8.2/2
#[rstest]
fn a_length_is_too_long(
    #[values(Layout::Split, Layout::Packed)] layout: Layout,
    #[values(FEATURES[0], FEATURES[1], FEATURES[2], FEATURES[3])] features: Features,
    #[values((1, WRITABLE + 1), (u32::MAX, u32::MAX))] (by, used_length): (u32, u32),
) {
    let mut ring = Ring::new(&format!("wrong-length:at=2,by={by}"), layout, features);
    for chain in &ring.exchange(0..2) {
        ring.put(chain);
    }
    assert_eq!(ring.get(), Ok(Some((0, WRITABLE))));
    let writable = WRITABLE;
    let expected = Violation::UsedLengthTooLong {
        used_length,
        writable,
    };
    assert_eq!(ring.violation(), expected);
}

/// The driver gets another buffer than was finished, and can't know it. It does
/// when that one is finished.
#[rstest]
fn an_id_is_anothers(
    #[values(Layout::Split, Layout::Packed)] layout: Layout,
    #[values(FEATURES[0], FEATURES[1])] features: Features,
) {
    let mut ring = Ring::new("wrong-id:at=1", layout, features);
    let chains = ring.exchange(0..2);
    ring.put(&chains[0]);
    assert_eq!(ring.get(), Ok(Some((1, WRITABLE))));
    ring.put(&chains[1]);
    let id = chains[1].id;
    assert_eq!(ring.violation(), Violation::IdNotInFlight { id });
    assert_eq!(
        ring.driver.detach_unused().map(|unused| unused.data),
        Some(0)
    );
}

/// A split ring's index says that it can't be a batch. A packed ring has none, so
/// the driver takes it for one.
#[test]
fn an_id_is_anothers_though_buffers_come_in_order() {
    let mut ring = Ring::new("wrong-id:at=1", Layout::Split, FEATURES[2]);
    let chains = ring.exchange(0..2);
    ring.put(&chains[0]);
    let (id, skipped) = (chains[1].id, 1);
    assert_eq!(ring.violation(), Violation::OutOfOrder { id, skipped });

    let mut ring = Ring::new("wrong-id:at=1", Layout::Packed, FEATURES[2]);
    let chains = ring.exchange(0..2);
    ring.put(&chains[0]);
    assert_eq!(ring.drain(), [0, 1]);
}

/// Nor the id of one that was returned before.
#[test]
fn the_only_buffer_has_no_others_id() {
    let mut ring = Ring::new("wrong-id:from=2", Layout::Split, FEATURES[0]);
    for chain in &ring.exchange(0..2) {
        ring.put(chain);
    }
    assert_eq!(ring.drain(), [0, 1]);
    assert_eq!(ring.log.total(), 0);
}

/// Where one entry stands for several buffers, the one that lies stands alone.
#[rstest]
fn no_batch_hides_a_lie(#[values(Layout::Split, Layout::Packed)] layout: Layout) {
    let mut ring = Ring::new("id-out-of-range:at=2", layout, FEATURES[2]);
    for chain in &ring.exchange(0..3) {
        ring.device.stage_used(chain, WRITABLE);
    }
    ring.device.publish_used();
    assert_eq!(ring.get(), Ok(Some((0, WRITABLE))));
    let violation = ring.violation();
    assert!(
        matches!(violation, Violation::IdOutOfRange { .. }),
        "{violation:?}"
    );
}

// Shows: device/2.7.8/1
#[rstest]
fn an_id_is_nobodys(
    #[values(Layout::Split, Layout::Packed)] layout: Layout,
    #[values(FEATURES[0], FEATURES[1], FEATURES[2], FEATURES[3])] features: Features,
    #[values(0, 1, 2)] seed: u64,
) {
    let plan = format!("seed={seed};id-not-in-flight:at=1");
    let mut ring = Ring::new(&plan, layout, features);
    let chains = ring.exchange(0..2);
    ring.put(&chains[0]);
    let Violation::IdNotInFlight { id } = ring.violation() else {
        panic!("{:?}", ring.driver.broken());
    };
    assert!(id < SIZE && chains.iter().all(|chain| chain.id != id));
}

#[rstest]
fn an_id_is_beyond_the_ring(
    #[values(Layout::Split, Layout::Packed)] layout: Layout,
    #[values(FEATURES[0], FEATURES[1], FEATURES[2], FEATURES[3])] features: Features,
) {
    let mut ring = Ring::new("id-out-of-range", layout, features);
    let chains = ring.exchange(0..1);
    ring.put(&chains[0]);
    let Violation::IdOutOfRange { id, size } = ring.violation() else {
        panic!("{:?}", ring.driver.broken());
    };
    assert!(id >= u32::from(size) && size == SIZE);
}

/// Bytes of the ring's areas.
fn ring_len(layout: Layout) -> usize {
    let size = QueueSize::new(SIZE).unwrap();
    let (_, len) = match layout {
        Layout::Split => split_layout::contiguous(GuestAddress(0), size),
        Layout::Packed => packed_layout::contiguous(GuestAddress(0), size),
    };
    len as usize
}

/// It writes where it says, and nowhere else: buffers are not the ring's.
#[rstest]
fn it_scribbles_over_the_ring(
    #[values(Layout::Split, Layout::Packed)] layout: Layout,
    #[values(1, 500)] words: usize,
) {
    let mut areas_hit = [false; 3];
    for seed in 0..40 {
        let plan = format!("seed={seed};scribble:words={words}");
        let run = |plan: &str| {
            let mut ring = Ring::new(plan, layout, FEATURES[0]);
            for chain in &ring.exchange(0..3) {
                ring.put(chain);
            }
            ring.bytes()
        };
        let (honest, scribbled) = (run(""), run(&plan));
        let end = ring_len(layout);
        assert_eq!(honest[end..], scribbled[end..]);
        let changed = (0..end).filter(|at| honest[*at] != scribbled[*at]);
        let changed: Vec<usize> = changed.collect();
        assert!(changed.len() <= 3 * 8 * words);
        // Where the driver area and the device area begin.
        let (driver, device) = match layout {
            Layout::Split => (128, 152),
            Layout::Packed => (128, 136),
        };
        for at in changed {
            areas_hit[usize::from(at >= driver) + usize::from(at >= device)] = true;
        }
    }
    assert_eq!(areas_hit, [true; 3]);
}

// Shows: device/2.7.8/2
#[rstest]
fn a_used_index_jumps_ahead(
    #[values(FEATURES[0], FEATURES[1], FEATURES[2], FEATURES[3])] features: Features,
    #[values(2, 32_768)] by: u16,
) {
    let mut ring = Ring::new(&format!("index-jump:at=1,by={by}"), Layout::Split, features);
    let chains = ring.exchange(0..2);
    ring.put(&chains[0]);
    let expected = Violation::UsedIndexJumped {
        last_used: RingIndex(0),
        used_index: RingIndex(1 + by),
        in_flight: 2,
    };
    assert_eq!(ring.violation(), expected);
}

/// A jump that the driver can't tell from the truth: as many as are in flight.
#[test]
fn a_small_jump_returns_buffers_by_stale_entries() {
    let mut ring = Ring::new("index-jump:at=1,by=1", Layout::Split, FEATURES[0]);
    let chains = ring.exchange(0..2);
    ring.put(&chains[1]);
    assert_eq!(ring.get(), Ok(Some((1, WRITABLE))));
    // The entry behind was never written: it says id 0, no bytes.
    assert_eq!(chains[0].id, 0);
    assert_eq!(ring.get(), Ok(Some((0, 0))));
}

/// A packed ring claims it descriptor by descriptor.
#[rstest]
fn descriptors_are_marked_used_that_are_not(
    #[values(FEATURES[0], FEATURES[1])] features: Features,
) {
    let mut ring = Ring::new("index-jump:at=1", Layout::Packed, features);
    let chains = ring.exchange(0..2);
    ring.put(&chains[0]);
    assert_eq!(ring.get(), Ok(Some((0, WRITABLE))));
    let violation = ring.violation();
    assert!(
        matches!(violation, Violation::IdNotInFlight { .. }),
        "{violation:?}"
    );
}

// Shows: device/2.7.8/3
#[rstest]
fn a_used_index_goes_back(
    #[values(FEATURES[0], FEATURES[1], FEATURES[2], FEATURES[3])] features: Features,
) {
    let mut ring = Ring::new("index-back:at=2,by=1", Layout::Split, features);
    let chains = ring.exchange(0..3);
    ring.put(&chains[0]);
    assert_eq!(ring.drain(), [0]);
    ring.put(&chains[1]);
    let index = ring.raw.device_area().load_u16(IDX, Order::Relaxed);
    assert_eq!(index, 0);
    let expected = Violation::UsedIndexJumped {
        last_used: RingIndex(1),
        used_index: RingIndex(0),
        in_flight: 2,
    };
    assert_eq!(ring.violation(), expected);
}

/// A driver that did not look in between never knows.
#[test]
fn an_index_that_went_back_is_right_again_with_the_next() {
    let mut ring = Ring::new("index-back:at=1", Layout::Split, FEATURES[0]);
    let chains = ring.exchange(0..2);
    ring.put(&chains[0]);
    ring.put(&chains[1]);
    assert_eq!(ring.drain(), [0, 1]);
}

/// The driver waits at a descriptor that looks as if it were not used, and does
/// not see those behind it.
#[rstest]
fn a_wrap_counter_lies(
    #[values(FEATURES[0], FEATURES[1], FEATURES[2], FEATURES[3])] features: Features,
) {
    let mut ring = Ring::new("wrap-lie:at=2", Layout::Packed, features);
    for chain in &ring.exchange(0..3) {
        ring.put(chain);
    }
    assert_eq!(ring.drain(), [0]);
    assert_eq!(ring.driver.in_flight(), 2);
    assert_eq!(ring.log.total(), 1);
}

/// What the other layout has and this one lacks is no occasion.
#[rstest]
#[case("wrap-lie", Layout::Split)]
#[case("index-back", Layout::Packed)]
fn what_a_layout_lacks_does_not_happen(#[case] plan: &str, #[case] layout: Layout) {
    let mut ring = Ring::new(plan, layout, FEATURES[0]);
    for chain in &ring.exchange(0..3) {
        ring.put(chain);
    }
    assert_eq!(ring.drain(), [0, 1, 2]);
    assert_eq!(ring.log.total(), 0);
}
