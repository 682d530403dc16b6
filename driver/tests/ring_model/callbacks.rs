//! Asking for interrupts and for kicks, in the plainest rings that show it.

use rstest::rstest;
use virtscope_driver::memory::{Order, RingWords};
use virtscope_driver::ring::{Context, Features};
use virtscope_record::{Layout, Token};

use super::common::Plan;
use super::examples::Ring;

fn ring(layout: Layout, entries: u16, event_idx: bool) -> Ring {
    let mut plan = Plan::new(layout, entries);
    plan.features.event_idx = event_idx;
    Ring::of(plan)
}

/// `virtqueue_enable_cb`: false if buffers are pending, for which no callback may
/// come any more.
#[rstest]
fn enable_callbacks_says_what_is_pending(
    #[values(Layout::Split, Layout::Packed)] layout: Layout,
    #[values(false, true)] event_idx: bool,
) {
    let mut ring = ring(layout, 4, event_idx);
    assert!(ring.driver.enable_callbacks());
    ring.add(1);
    let since = ring.driver.enable_callbacks_prepare();
    assert!(!ring.driver.handle().poll(since));
    ring.answer();
    assert!(ring.driver.handle().poll(since));
    assert!(!ring.driver.enable_callbacks());
    assert!(!ring.driver.enable_callbacks_delayed());
    ring.get();
    assert!(ring.driver.enable_callbacks());
}

/// `virtqueue_enable_cb_delayed` asks for one interrupt after most buffers: a device
/// that returns them one by one interrupts once, with the first buffer beyond three
/// quarters of them (rounded down).
#[rstest]
#[case::one(8, 1, 0)]
#[case::two(8, 2, 1)]
#[case::three(8, 3, 2)]
#[case::four(8, 4, 3)]
#[case::five(8, 5, 3)]
#[case::all(8, 8, 6)]
fn a_delayed_callback_comes_once_after_most_buffers(
    #[case] size: u16,
    #[case] in_flight: u64,
    #[case] after: u64,
    #[values(Layout::Split, Layout::Packed)] layout: Layout,
    #[values(0, 5, 11)] offset: u64,
) {
    let mut ring = ring(layout, size, true);
    for token in 0..offset {
        ring.add(token);
        ring.answer();
        ring.get();
    }
    (0..in_flight).for_each(|token| ring.add(token));
    // Of what has gone before there is nothing to tell any more.
    ring.device.should_interrupt();
    assert!(ring.driver.enable_callbacks_delayed());
    for number in 0..in_flight {
        ring.answer();
        assert_eq!(ring.device.should_interrupt(), number == after);
    }
    for number in 0..in_flight {
        assert_eq!(ring.get(), Some((number, 10)));
    }
    // From here on each is told of again.
    ring.add(9);
    ring.answer();
    assert!(ring.device.should_interrupt());
}

/// With nothing in flight the next used buffer is told of.
#[rstest]
fn a_delayed_callback_for_nothing_comes_with_the_next_buffer(
    #[values(Layout::Split, Layout::Packed)] layout: Layout,
    #[values(false, true)] event_idx: bool,
) {
    let mut ring = ring(layout, 4, event_idx);
    ring.driver.disable_callbacks();
    assert!(ring.driver.enable_callbacks_delayed());
    ring.add(1);
    ring.answer();
    assert!(ring.device.should_interrupt());
}

/// Buffers that the device cannot use yet don't count: it would never come to an
/// event among them.
#[rstest]
fn a_delayed_callback_counts_what_is_available(
    #[values(Layout::Split, Layout::Packed)] layout: Layout,
) {
    let mut ring = ring(layout, 8, true);
    (0..2).for_each(|token| ring.add(token));
    let one = ring.segments(1, 4);
    for token in 2..8 {
        let added = ring
            .driver
            .add_unpublished(&one, &[], Token(token), token, Context(0));
        added.unwrap();
    }
    assert!(ring.driver.enable_callbacks_delayed());
    ring.answer();
    assert!(!ring.device.should_interrupt());
    ring.answer();
    assert!(ring.device.should_interrupt());
}

/// How many are pending a split ring says, so the driver may sleep on some of them.
#[test]
fn a_split_ring_may_sleep_on_a_few_pending_buffers() {
    let mut ring = ring(Layout::Split, 8, true);
    (0..8).for_each(|token| ring.add(token));
    (0..6).for_each(|_| ring.answer());
    assert!(ring.driver.enable_callbacks_delayed());
    ring.answer();
    assert!(!ring.driver.enable_callbacks_delayed());
}

// Shows: driver/2.7.7.1/1, driver/2.7.7.1/3, driver/2.7.7.1/5
/// While callbacks are off none is sent; one that comes all the same, or without
/// reason, does no harm.
#[rstest]
fn callbacks_are_off_until_they_are_on_again(
    #[values(Layout::Split, Layout::Packed)] layout: Layout,
    #[values(false, true)] event_idx: bool,
) {
    let mut ring = ring(layout, 4, event_idx);
    ring.driver.disable_callbacks();
    for token in 0..10 {
        ring.add(token);
        ring.answer();
        assert!(!ring.device.should_interrupt());
        assert!(ring.driver.handle().interrupt(), "it is there to be found");
        assert_eq!(ring.get(), Some((token, 10)));
        assert!(!ring.driver.handle().interrupt(), "and then it is not");
    }
    assert!(ring.driver.enable_callbacks());
    ring.add(1);
    ring.answer();
    assert!(ring.device.should_interrupt());
}

// Shows: driver/2.7.10.1/6, driver/2.7.10.1/7
/// A decision about so many entries that the index went round: every event index
/// was passed, though old and new no longer show it.
#[rstest]
#[case::one_entry_short_of_all(65_535, 65_535, false)]
#[case::all_but_that_one(65_535, 5, true)]
#[case::all(65_536, 65_535, true)]
#[case::all_and_back_to_where_it_was(65_536, 5, true)]
#[case::more_than_all(65_537, 5, true)]
fn decisions_may_be_about_the_whole_index(
    #[case] rounds: u32,
    #[case] event: u16,
    #[case] wanted: bool,
    #[values(1, 2)] size: u16,
) {
    if cfg!(miri) {
        return; // Minutes of turning the ring; nothing else is different.
    }
    let mut ring = ring(Layout::Split, size, true);
    for _ in 0..rounds {
        ring.add(0);
        ring.answer();
        ring.get();
    }
    ring.raw.set_avail_event(event);
    assert_eq!(ring.driver.kick_prepare(), wanted);
    ring.raw.set_used_event(event);
    assert_eq!(ring.device.should_interrupt(), wanted);
    assert!(!ring.driver.kick_prepare() && !ring.device.should_interrupt());
}

// Shows: driver/2.8.10/1, driver/2.8.10/2
/// The same in a packed ring, where two rounds are all places there are.
#[rstest]
fn decisions_may_be_about_two_rounds(#[values(1, 2, 3, 7)] size: u16) {
    if cfg!(miri) && size > 2 {
        return; // Minutes of turning the ring; nothing else is different.
    }
    let rounds = 2 * size;
    for moved in rounds - 1..=rounds + 1 {
        for event in 0..rounds {
            let mut ring = ring(Layout::Packed, size, true);
            let place = (event % size) | u16::from(event < size) << 15;
            let wish = u32::from(place) | 2 << 16;
            for _ in 0..moved {
                ring.add(0);
                ring.answer();
                ring.get();
            }
            ring.raw.device_area().store_u32(0, wish, Order::Relaxed);
            assert_eq!(ring.driver.kick_prepare(), event < moved);
            ring.raw.driver_area().store_u32(0, wish, Order::Relaxed);
            assert_eq!(ring.device.should_interrupt(), event < moved);
            assert!(!ring.driver.kick_prepare() && !ring.device.should_interrupt());
        }
    }
}

/// Where nothing was added nobody is told, whatever the device asks for.
#[rstest]
fn nothing_is_no_reason_to_kick(
    #[values(Layout::Split, Layout::Packed)] layout: Layout,
    #[values(false, true)] event_idx: bool,
) {
    let features = Features {
        event_idx,
        ..Features::default()
    };
    let mut ring = Ring::of(Plan {
        features,
        ..Plan::new(layout, 4)
    });
    assert_eq!(ring.driver.kick(), Ok(false));
    ring.add(1);
    assert_eq!(ring.driver.kick(), Ok(true));
    assert_eq!(ring.driver.kick(), Ok(false));
}
