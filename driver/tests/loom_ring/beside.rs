//! What may be called beside the queue's other operations.
//!
//! `QueueHandle` looks at words of the queue's own that may lag behind it: how far
//! used buffers were taken, what the driver asked for last, and whether it asked for
//! anything. Two answers depend on them, and both are certain all the same:
//! `interrupt` calls an interrupt spurious only if nothing is left of what was
//! returned before it, and `poll` never misses what was used. `disable_callbacks`
//! promises nothing, but must not undo what is asked for after it.
//!
//! Those words are the standard library's atomics, which loom does not see: it
//! tries every order of the accesses to the ring between which they stand. In a
//! build for loom (see `loom_byte_ring`) they are loom's, and really lag.

use rstest::rstest;
use virtscope_record::Layout;

use crate::loom_common::windows::{Sleep, disabled_beside, polled_beside, spurious};
use crate::loom_common::{Plan, Shape};

/// Three buffers at most, in a ring that is full of them: a new one stands in the
/// place of one just taken. Of a list, in a packed ring, it is the second descriptor
/// that stands there.
#[rstest]
fn no_interrupt_is_called_spurious_that_is_not(
    #[values(Layout::Split, Layout::Packed)] layout: Layout,
    #[values(false, true)] event_idx: bool,
    #[values(false, true)] in_order: bool,
    #[values(Shape::Single, Shape::List)] shape: Shape,
    #[values(&[1, 1], &[2], &[2, 1])] groups: &'static [u64],
) {
    let buffers = groups.iter().sum::<u64>() as u16;
    let entries = match (layout, shape) {
        (Layout::Split, Shape::Single) => buffers.next_power_of_two(),
        (Layout::Split, _) => (2 * buffers).next_power_of_two(),
        (Layout::Packed, Shape::Single) => buffers,
        (Layout::Packed, _) => 2 * buffers + 1,
    };
    let plan = Plan {
        in_order,
        shape,
        preemptions: Some(3),
        ..Plan::new(layout, entries, event_idx)
    };
    spurious(plan, groups);
}

#[rstest]
fn poll_misses_nothing(
    #[values(Layout::Split, Layout::Packed)] layout: Layout,
    #[values(false, true)] event_idx: bool,
) {
    polled_beside(Plan::new(layout, 1, event_idx));
}

#[rstest]
fn a_handler_that_disables_callbacks_loses_none(
    #[values(Layout::Split, Layout::Packed)] layout: Layout,
    #[values(false, true)] event_idx: bool,
    #[values(&[1], &[1, 1])] groups: &'static [u64],
    #[values(Sleep::Enable, Sleep::PrepareAndPoll, Sleep::Delayed)] sleep: Sleep,
) {
    let plan = Plan {
        preemptions: Some(3),
        ..Plan::new(layout, groups.len() as u16, event_idx)
    };
    disabled_beside(plan, groups, sleep);
}

/// In a packed ring of three entries the last place is the ring's beginning. The place
/// that a notification names stands in a word of the queue's own, behind which loom
/// would miss the order if it did not watch it.
#[cfg(loom)]
#[rstest]
fn no_notification_runs_ahead_of_the_ring(
    #[values((Layout::Split, 4), (Layout::Packed, 3), (Layout::Packed, 4))] ring: (Layout, u16),
    #[values(Shape::Single, Shape::List, Shape::Table)] shape: Shape,
) {
    let (layout, entries) = ring;
    let plan = Plan {
        shape,
        preemptions: Some(3),
        ..Plan::new(layout, entries, false)
    };
    let groups: &[u64] = if shape == Shape::List { &[1] } else { &[1, 1] };
    crate::loom_common::windows::notified_beside(plan, groups);
}
