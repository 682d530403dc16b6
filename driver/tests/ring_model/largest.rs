//! The largest rings, filled to the last entry: every count that 16 bits hold is used up.

use rstest::rstest;
use virtscope_driver::ring::{AddErrorKind, Context, Features, Violation};
use virtscope_record::{Generation, Layout, Token};

use super::examples::{Ring, with};

/// Buffers that went round before, so that nothing begins at the ring's beginning.
const BEFORE: u64 = 5;

fn ring((layout, size): (Layout, u16), event_idx: bool, in_order: bool) -> Ring {
    let features = Features {
        event_idx,
        indirect: false,
        in_order,
    };
    let mut ring = with(layout, size, features, (0, 0));
    for token in 0..BEFORE {
        ring.add(token);
        ring.answer();
        assert_eq!(ring.get(), Some((token, 10)));
    }
    ring
}

/// A buffer for each entry, all made available at once.
fn fill(ring: &mut Ring) {
    let size = ring.driver.size().get();
    let one = ring.segments(1, 10);
    for token in 0..u64::from(size) {
        let added = ring
            .driver
            .add_unpublished(&[], &one, Token(token), token, Context(0));
        assert_eq!(added.unwrap(), size - 1 - token as u16);
    }
    ring.driver.publish();
    let refused = ring.driver.add_inbuf(&one, Token(0), 0).unwrap_err();
    let (needed, free) = (1, 0);
    assert_eq!(refused.kind, AddErrorKind::NoSpace { needed, free });
    assert_eq!(ring.driver.in_flight(), size);
}

/// The device takes and returns the next `count`, and shows them all at once.
fn answer(ring: &mut Ring, count: u16) {
    for _ in 0..count {
        let chain = ring.device.take().unwrap().expect("one is available");
        ring.device.stage_used(&chain, 10);
    }
    ring.device.publish_used();
}

fn get_all(ring: &mut Ring) {
    for token in 0..u64::from(ring.driver.size().get()) {
        assert_eq!(ring.get(), Some((token, 10)));
    }
    assert_eq!(ring.get(), None);
}

// Shows: driver/2.7.6.1/1, driver/2.7.13.3/1, driver/2.8.1/1, driver/2.8.17/5
/// Full and empty again while the indices go round and the wrap counters turn; used in
/// two batches, about which the driver is to hear once, after most.
#[rstest]
fn they_are_filled_and_emptied(
    #[values((Layout::Split, 32_768), (Layout::Packed, 32_768), (Layout::Packed, 32_767))] size: (
        Layout,
        u16,
    ),
    #[values(false, true)] event_idx: bool,
    #[values(false, true)] in_order: bool,
) {
    let mut ring = ring(size, event_idx, in_order);
    let size = size.1;
    let most = (u32::from(size) * 3 / 4) as u16;
    for _ in 0..4 {
        assert!(ring.device.enable_kicks());
        fill(&mut ring);
        assert!(ring.driver.kick_prepare());
        ring.device.should_interrupt();
        assert!(ring.driver.enable_callbacks_delayed());
        answer(&mut ring, most);
        assert_eq!(ring.device.should_interrupt(), !event_idx);
        answer(&mut ring, 1);
        assert!(ring.device.should_interrupt());
        assert!(!ring.driver.enable_callbacks_delayed());
        answer(&mut ring, size - most - 1);
        assert!(ring.device.take().unwrap().is_none());
        get_all(&mut ring);
        assert_eq!(ring.driver.free_descriptors(), size);
        assert!(ring.driver.enable_callbacks());
    }
}

// Shows: driver/2.7.5.3.1/3, driver/2.8.17/1, driver/2.8.17/2
/// One list that takes all of it, and one that is longer.
#[rstest]
fn a_list_is_as_long_as_they_are(
    #[values((Layout::Split, 32_768), (Layout::Packed, 32_768), (Layout::Packed, 32_767))] size: (
        Layout,
        u16,
    ),
    #[values(false, true)] in_order: bool,
) {
    let mut ring = ring(size, true, in_order);
    let size = size.1;
    let segments = usize::from(size);
    let too_many = ring.segments(segments + 1, 1);
    let refused = ring.driver.add_inbuf(&too_many, Token(1), 1).unwrap_err();
    let segments = segments + 1;
    assert_eq!(
        refused.kind,
        AddErrorKind::TooManySegments { segments, size }
    );
    let all = &too_many[1..];
    for token in 0..3 {
        assert!(ring.device.enable_kicks());
        let (readable, writable) = all.split_at(usize::from(token as u16) * 10_000);
        let added = ring.driver.add(readable, writable, Token(token), token);
        assert_eq!(added.unwrap(), 0);
        assert!(ring.driver.kick_prepare());
        let chain = ring.device.take().unwrap().expect("it is available");
        assert_eq!(chain.descriptors, size);
        assert_eq!(chain.readable, readable);
        assert_eq!(chain.writable, writable);
        ring.device.put_used(&chain, chain.writable_bytes());
        assert!(ring.device.should_interrupt());
        assert_eq!(ring.get(), Some((token, writable.len() as u32)));
        assert_eq!(ring.driver.free_descriptors(), size);
    }
}

/// Half of a full ring comes back used, the rest by a detach, each token once; and by a
/// reset, all of them.
#[rstest]
fn each_token_comes_back_once(
    #[values((Layout::Split, 32_768), (Layout::Packed, 32_768), (Layout::Packed, 32_767))] size: (
        Layout,
        u16,
    ),
    #[values(false, true)] in_order: bool,
) {
    let mut ring = ring(size, false, in_order);
    let size = size.1;
    fill(&mut ring);
    answer(&mut ring, size / 2);
    let mut back = vec![false; size.into()];
    let mut came = |token: u64| {
        let before = std::mem::replace(&mut back[token as usize], true);
        assert!(!before, "{token} came twice");
    };
    for _ in 0..size / 2 {
        came(ring.get().expect("one is used").0);
    }
    while let Some(unused) = ring.driver.detach_unused() {
        came(unused.data);
    }
    assert!(back.iter().all(|back| *back));
    assert_eq!(ring.driver.free_descriptors(), size);
    let mut left = Vec::new();
    ring.driver
        .reset(Generation(1), |unused| left.push(unused.data));
    assert_eq!(left, []);
    fill(&mut ring);
    ring.driver
        .reset(Generation(2), |unused| left.push(unused.data));
    left.sort_unstable();
    assert!(left.into_iter().eq(0..u64::from(size)));
}

/// An index that jumps by as much as the ring is long is to be believed of a full one,
/// and by one more of none.
#[rstest]
fn a_used_index_may_be_ahead_by_a_whole_ring(#[values(0, 1)] more: u16) {
    let mut ring = ring((Layout::Split, 32_768), false, false);
    fill(&mut ring);
    answer(&mut ring, 32_768);
    ring.raw.set_used_idx(BEFORE as u16 + 32_768 + more);
    if more == 0 {
        get_all(&mut ring);
        return;
    }
    let violation = ring.driver.get_buf().unwrap_err().violation;
    assert!(
        matches!(
            violation,
            Violation::UsedIndexJumped {
                in_flight: 32_768,
                ..
            }
        ),
        "{violation:?}"
    );
}
