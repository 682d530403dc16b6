//! Returning buffers against going to sleep over the used ring.

use rstest::rstest;
use virtscope_record::Layout;

use crate::loom_common::windows::{Sleep, interrupts};
use crate::loom_common::{Plan, Shape};

#[rstest]
fn no_interrupt_is_lost(
    #[values(Layout::Split, Layout::Packed)] layout: Layout,
    #[values(false, true)] event_idx: bool,
    #[values(&[1], &[1, 1])] groups: &'static [u64],
    #[values(
        Sleep::CallbacksOn,
        Sleep::Enable,
        Sleep::PrepareAndPoll,
        Sleep::Delayed
    )]
    sleep: Sleep,
) {
    let plan = Plan::new(layout, groups.len() as u16, event_idx);
    interrupts(plan.in_bounds(groups.len()), groups, sleep);
}

/// Several buffers returned by one publication; in order, by one entry.
#[rstest]
fn a_batch_comes_back_whole(
    #[values((Layout::Split, 4), (Layout::Packed, 3))] ring: (Layout, u16),
    #[values(false, true)] event_idx: bool,
    #[values(false, true)] in_order: bool,
    #[values(&[2], &[1, 2])] groups: &'static [u64],
    #[values(Sleep::CallbacksOn, Sleep::Enable, Sleep::Delayed)] sleep: Sleep,
) {
    let (layout, entries) = ring;
    let plan = Plan {
        in_order,
        preemptions: Some(3),
        ..Plan::new(layout, entries, event_idx)
    };
    interrupts(plan, groups, sleep);
}

/// A buffer of two descriptors, in the ring or in a table of its own.
#[rstest]
fn a_list_comes_back_whole(
    #[values((Layout::Split, 4), (Layout::Packed, 5))] ring: (Layout, u16),
    #[values(Shape::List, Shape::Table)] shape: Shape,
    #[values(Sleep::CallbacksOn, Sleep::Enable)] sleep: Sleep,
) {
    let (layout, entries) = ring;
    let plan = Plan {
        shape,
        preemptions: Some(3),
        ..Plan::new(layout, entries, true)
    };
    interrupts(plan, &[1, 1], sleep);
}
