//! Every barrier is needed: without it the two halves miss each other.
//!
//! Each barrier of `Barrier::ALL` is taken out alone (a release or acquire becomes
//! relaxed, a full fence nothing) in the smallest of `loom_ring`'s windows that
//! needs it. Loom must then find the loss, and must find none with all of them in
//! place, so that it is really this barrier that is missed.
//!
//! Three barriers are about words of the queue's own, which must be loom's for that:
//! their tests are part of a build for loom only (see `loom_byte_ring`).

mod loom_common;

use std::panic::{AssertUnwindSafe, catch_unwind};

use loom_common::Plan;
use loom_common::windows::{Sleep, interrupts, kicks};
use virtscope_driver::memory::Barrier;
use virtscope_record::Layout;

/// A barrier that matters with `VIRTIO_F_EVENT_IDX` and without.
const EITHER: &[bool] = &[false, true];
/// One that only event indices need.
const EVENT_IDX: &[bool] = &[true];
/// One that matters wherever `get_buf` does not end with the fence of an event
/// index that moves on.
#[cfg(loom)]
const FLAGS: &[bool] = &[false];

const SPLIT: &[Layout] = &[Layout::Split];
const PACKED: &[Layout] = &[Layout::Packed];
#[cfg(loom)]
const BOTH: &[Layout] = &[Layout::Split, Layout::Packed];

/// Tests, and the list of the barriers that they are about.
macro_rules! needed {
    ($($(#[$attribute:meta])* fn $name:ident(
        $barrier:ident, $layouts:ident, $event_idx:ident, $loss:literal, $window:expr $(,)?
    );)*) => {
        $($(#[$attribute])* fn $name() {
            is_needed(Barrier::$barrier, $layouts, $event_idx, $loss, $window);
        })*

        #[test]
        fn every_barrier_has_a_test() {
            assert_eq!([$(Barrier::$barrier),*], *Barrier::ALL);
        }
    };
}

needed! {
    // Shows: driver/2.7.13.3.1/1
    #[test]
    fn split_available(SplitAvailable, SPLIT, EITHER, "the list was taken unseen", one_offered);

    #[test]
    fn split_used(SplitUsed, SPLIT, EITHER, "the length was taken unseen", one_returned);

    // Shows: driver/2.7.13/3, driver/2.7.13.4.1/1
    #[test]
    fn split_kick(SplitKick, SPLIT, EITHER, "a kick was lost", one_offered);

    #[test]
    fn split_poll(SplitPoll, SPLIT, EITHER, "an interrupt was lost", one_returned);

    #[test]
    fn split_delayed(SplitDelayed, SPLIT, EITHER, "an interrupt was lost", most_returned);

    #[test]
    fn split_harvest(SplitHarvest, SPLIT, EVENT_IDX, "an interrupt was lost", two_returned);

    // Shows: driver/2.8.21.1.1/1
    #[test]
    fn packed_available(PackedAvailable, PACKED, EITHER, "the list was taken unseen", one_offered);

    #[cfg(loom)]
    #[test]
    fn packed_recycle(PackedRecycle, PACKED, FLAGS, "called spurious", lists_beside);

    #[test]
    fn packed_used(PackedUsed, PACKED, EITHER, "Causality violation", one_returned);

    // Shows: driver/2.8.21/1, driver/2.8.21.3.1/1
    #[test]
    fn packed_kick(PackedKick, PACKED, EITHER, "a kick was lost", one_offered);

    #[test]
    fn packed_poll(PackedPoll, PACKED, EITHER, "an interrupt was lost", one_returned);

    #[test]
    fn packed_harvest(PackedHarvest, PACKED, EVENT_IDX, "an interrupt was lost", two_returned);

    #[cfg(loom)]
    #[test]
    fn notification_place(
        NotificationPlace, BOTH, FLAGS, "told of what is not to be seen", one_offered_beside,
    );

    #[cfg(loom)]
    #[test]
    fn notification_sent(
        NotificationSent, BOTH, FLAGS, "told of what is not to be seen", one_offered_beside,
    );

    #[test]
    fn device_split_available(
        DeviceSplitAvailable, SPLIT, EITHER, "the list was taken unseen", one_offered,
    );

    #[test]
    fn device_split_used(DeviceSplitUsed, SPLIT, EITHER, "the length was taken unseen", one_returned);

    #[test]
    fn device_split_interrupt(
        DeviceSplitInterrupt, SPLIT, EITHER, "an interrupt was lost", one_returned,
    );

    #[test]
    fn device_split_enable_kicks(
        DeviceSplitEnableKicks, SPLIT, EITHER, "a kick was lost", one_offered,
    );

    #[test]
    fn device_packed_available(
        DevicePackedAvailable, PACKED, EITHER, "the list was taken unseen", one_offered,
    );

    #[test]
    fn device_packed_used(DevicePackedUsed, PACKED, EITHER, "Causality violation", one_returned);

    #[test]
    fn device_packed_interrupt(
        DevicePackedInterrupt, PACKED, EITHER, "an interrupt was lost", one_returned,
    );

    #[test]
    fn device_packed_enable_kicks(
        DevicePackedEnableKicks, PACKED, EITHER, "a kick was lost", one_offered,
    );
}

/// One buffer is made available while the device goes to sleep.
fn one_offered(plan: Plan) {
    kicks(plan, &[1]);
}

/// One buffer is returned while the driver, which asked for no interrupts, goes to
/// sleep.
fn one_returned(plan: Plan) {
    interrupts(plan, &[1], Sleep::Enable);
}

/// One buffer is returned, which is most of them, while the driver, which asked for no
/// interrupts, goes to sleep until most are.
fn most_returned(plan: Plan) {
    interrupts(plan, &[1], Sleep::Delayed);
}

/// Two buffers are returned while the driver, which asks for interrupts all the
/// time, takes them until it finds none.
fn two_returned(plan: Plan) {
    interrupts(plan.in_bounds(2), &[1, 1], Sleep::CallbacksOn);
}

/// Two buffers of two descriptors are returned to a driver that takes one and offers
/// another, whose second descriptor stands in the place of the taken one's first.
#[cfg(loom)]
fn lists_beside(plan: Plan) {
    let plan = Plan {
        entries: 5,
        shape: loom_common::Shape::List,
        ..plan.in_bounds(2)
    };
    loom_common::windows::spurious(plan, &[1, 1]);
}

/// One buffer is made available while someone notifies beside the queue.
#[cfg(loom)]
fn one_offered_beside(plan: Plan) {
    loom_common::windows::notified_beside(plan, &[1]);
}

/// With all barriers loom finds nothing in `window`, and without this one `loss`.
fn is_needed(
    barrier: Barrier,
    layouts: &[Layout],
    event_idx: &[bool],
    loss: &str,
    window: impl Fn(Plan),
) {
    let rings = layouts
        .iter()
        .flat_map(|layout| event_idx.iter().map(|event_idx| (*layout, *event_idx)));
    for (layout, event_idx) in rings {
        let whole = Plan::new(layout, 2, event_idx);
        window(whole);
        let plan = Plan {
            without: Some(barrier),
            ..whole
        };
        let found = catch_unwind(AssertUnwindSafe(|| window(plan)));
        let message = found.expect_err("nobody misses it");
        let message = message
            .downcast_ref::<String>()
            .map(String::as_str)
            .or(message.downcast_ref::<&str>().copied())
            .unwrap_or_default();
        assert!(message.contains(loss), "found something else: {message}");
    }
}
