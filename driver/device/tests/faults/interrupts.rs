//! Faults in what the driver is told.

use std::time::Duration;

use rstest::rstest;
use virtscope_driver::ring::Features;
use virtscope_record::{Body, Layout};

use super::{FEATURES, Ring};

/// The device's records say that it meant to send it: what the driver gets is
/// another matter.
#[rstest]
fn an_interrupt_is_dropped(
    #[values(Layout::Split, Layout::Packed)] layout: Layout,
    #[values(FEATURES[0], FEATURES[1])] features: Features,
) {
    let mut ring = Ring::new("drop-interrupt:at=1", layout, features);
    let chains = ring.exchange(0..1);
    ring.put(&chains[0]);
    assert_eq!(ring.interrupts(), 0);
    let seen = ring.witness.seen();
    let Some(Body::InterruptSent(decision)) = seen.last() else {
        panic!("{seen:?}");
    };
    assert_eq!(decision.reason.verdict(), Some(true));
    ring.pass(3_600_000);
    ring.device.advance();
    assert_eq!(ring.interrupts(), 0);
    assert_eq!(ring.drain(), [0]);
    let chains = ring.exchange(1..2);
    ring.put(&chains[0]);
    assert_eq!(ring.interrupts(), 1, "the next is sent");
}

#[rstest]
fn an_interrupt_comes_late(
    #[values(Layout::Split, Layout::Packed)] layout: Layout,
    #[values(FEATURES[0], FEATURES[1])] features: Features,
) {
    let mut ring = Ring::new("late-interrupt:at=1,ms=5", layout, features);
    let chains = ring.exchange(0..1);
    ring.put(&chains[0]);
    assert_eq!(ring.interrupts(), 0);
    assert_eq!(ring.device.next_due(), Some(Duration::from_millis(5)));
    assert!(ring.device.enable_kicks(), "it may sleep so long");
    ring.pass(5);
    assert!(!ring.device.enable_kicks());
    assert_eq!(ring.interrupts(), 1);
    assert_eq!(ring.device.next_due(), None);
}

#[rstest]
fn interrupts_storm(
    #[values(Layout::Split, Layout::Packed)] layout: Layout,
    #[values(FEATURES[0], FEATURES[1])] features: Features,
    #[values(false, true)] wanted: bool,
) {
    let mut ring = Ring::new("storm-interrupts:at=2,count=5", layout, features);
    let chains = ring.exchange(0..3);
    ring.put(&chains[0]);
    assert_eq!(ring.interrupts(), 1);
    assert_eq!(ring.drain(), [0]);
    if !wanted {
        ring.driver.disable_callbacks();
    }
    ring.put(&chains[1]);
    assert_eq!(ring.interrupts(), 5 + usize::from(wanted));
    ring.put(&chains[2]);
    // With an event index the second interrupt was the last one asked for.
    let again = wanted && !features.event_idx;
    assert_eq!(ring.interrupts(), usize::from(again));
}

#[rstest]
fn an_interrupt_comes_for_nothing(
    #[values(Layout::Split, Layout::Packed)] layout: Layout,
    #[values(FEATURES[0], FEATURES[1])] features: Features,
) {
    let mut ring = Ring::new("spurious-interrupt:every=2", layout, features);
    ring.exchange(0..1);
    assert_eq!(ring.interrupts(), 0);
    ring.exchange(1..2);
    assert!(!ring.device.enable_kicks(), "there is one to send");
    assert_eq!(ring.interrupts(), 1);
    assert_eq!(ring.get(), Ok(None));
}

#[test]
fn a_dropped_interrupt_does_not_come_late() {
    let plan = "late-interrupt;drop-interrupt";
    let mut ring = Ring::new(plan, Layout::Split, FEATURES[0]);
    let chains = ring.exchange(0..1);
    ring.put(&chains[0]);
    assert_eq!(ring.interrupts(), 0);
    assert_eq!(ring.device.next_due(), None);
}
