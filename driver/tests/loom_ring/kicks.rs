//! Making buffers available against going to sleep over the available ring.

use rstest::rstest;
use virtscope_record::Layout;

use crate::loom_common::windows::{conversation, kicks};
use crate::loom_common::{Plan, Shape};

// Shows: driver/2.7.13/3, driver/2.7.13.3.1/1, driver/2.7.13.4.1/1
// Shows: driver/2.8.21/1, driver/2.8.21.1.1/1, driver/2.8.21.3.1/1,
//   driver/2.8.10/3
#[rstest]
fn no_kick_is_lost(
    #[values(Layout::Split, Layout::Packed)] layout: Layout,
    #[values(false, true)] event_idx: bool,
    #[values(&[1], &[1, 1])] groups: &'static [u64],
) {
    let plan = Plan::new(layout, groups.len() as u16, event_idx);
    kicks(plan.in_bounds(groups.len()), groups);
}

/// Several buffers made available by one publication. In a packed ring of three
/// entries the last one stands at the ring's beginning again.
#[rstest]
fn a_batch_is_seen_whole(
    #[values((Layout::Split, 4), (Layout::Packed, 3))] ring: (Layout, u16),
    #[values(false, true)] event_idx: bool,
    #[values(false, true)] in_order: bool,
    #[values(&[2], &[1, 2])] groups: &'static [u64],
) {
    let (layout, entries) = ring;
    let plan = Plan {
        in_order,
        preemptions: Some(3),
        ..Plan::new(layout, entries, event_idx)
    };
    kicks(plan, groups);
}

/// A buffer of two descriptors, in the ring or in a table of its own. In a packed
/// ring of three entries the list runs over the ring's end.
// Shows: driver/2.8.17/6
#[rstest]
fn a_list_is_seen_whole(
    #[values((Layout::Split, 2), (Layout::Packed, 3))] ring: (Layout, u16),
    #[values(false, true)] in_order: bool,
    #[values(Shape::List, Shape::Table)] shape: Shape,
) {
    let (layout, entries) = ring;
    let plan = Plan {
        in_order,
        shape,
        ..Plan::new(layout, entries, false)
    };
    kicks(plan, &[1]);
}

/// Nobody sleeps for ever.
#[rstest]
fn both_sides_sleep_and_wake(
    #[values(Layout::Split, Layout::Packed)] layout: Layout,
    #[values(false, true)] event_idx: bool,
) {
    let plan = Plan {
        preemptions: Some(2),
        ..Plan::new(layout, 1, event_idx)
    };
    conversation(plan, 2);
}
