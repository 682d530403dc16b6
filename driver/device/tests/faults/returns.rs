//! Faults in when and how often buffers come back.

use std::time::Duration;

use rstest::rstest;
use virtscope_driver::ring::{Features, Violation};
use virtscope_record::Layout;

use super::{FEATURES, Ring, WRITABLE};

#[rstest]
fn a_buffer_comes_late(
    #[values(Layout::Split, Layout::Packed)] layout: Layout,
    #[values(FEATURES[0], FEATURES[1], FEATURES[2], FEATURES[3])] features: Features,
) {
    let mut ring = Ring::new("delay:at=1,ms=5", layout, features);
    let chains = ring.exchange(0..2);
    ring.put(&chains[0]);
    assert_eq!(ring.device.next_due(), Some(Duration::from_millis(5)));
    assert_eq!(ring.device.returned_unsignalled(), 0);
    ring.pass(2);
    ring.put(&chains[1]);
    // In order, the second waits for the first.
    let overtaken = if features.in_order { vec![] } else { vec![1] };
    assert_eq!(ring.drain(), overtaken);
    ring.interrupts();
    assert_eq!(ring.device.next_due(), Some(Duration::from_millis(3)));
    ring.pass(3);
    ring.device.advance();
    assert_eq!(ring.device.next_due(), None);
    assert_eq!(ring.interrupts(), 1, "the driver hears of it");
    let late = if features.in_order {
        vec![0, 1]
    } else {
        vec![0]
    };
    assert_eq!(ring.drain(), late);
}

/// Those that are late come in the order in which they are due.
#[test]
fn a_late_buffer_overtakes_a_later_one() {
    let plan = "delay:at=1,ms=9;delay:at=2,ms=3";
    let mut ring = Ring::new(plan, Layout::Split, FEATURES[0]);
    for chain in &ring.exchange(0..2) {
        ring.put(chain);
    }
    ring.pass(10);
    ring.device.advance();
    assert_eq!(ring.drain(), [1, 0]);
}

/// A device that looks for work before it sleeps does not sleep over a late
/// buffer that has just come due.
#[test]
fn nobody_sleeps_over_a_late_buffer() {
    let mut ring = Ring::new("delay:ms=5", Layout::Split, FEATURES[0]);
    let chains = ring.exchange(0..1);
    ring.put(&chains[0]);
    assert!(ring.device.enable_kicks());
    ring.pass(5);
    assert!(!ring.device.enable_kicks(), "an interrupt is to be sent");
    assert!(ring.device.should_interrupt());
    assert!(ring.device.enable_kicks());
}

#[rstest]
fn buffers_come_in_another_order(
    #[values(Layout::Split, Layout::Packed)] layout: Layout,
    #[values(false, true)] in_order: bool,
    #[values(0, 1, 2, 3, 4)] seed: u64,
) {
    let plan = format!("seed={seed};reorder:window=3");
    let mut ring = Ring::new(&plan, layout, super::features(false, in_order));
    let chains = ring.exchange(0..3);
    ring.put(&chains[0]);
    ring.put(&chains[1]);
    assert_eq!(ring.get(), Ok(None), "two are held");
    ring.put(&chains[2]);
    let mut order = ring.drain();
    assert_eq!(order == [0, 1, 2], in_order, "{order:?}");
    order.sort_unstable();
    assert_eq!(order, [0, 1, 2]);
}

#[test]
fn a_window_that_never_fills_is_emptied_in_time() {
    let mut ring = Ring::new("reorder:window=4,ms=7", Layout::Packed, FEATURES[0]);
    let chains = ring.exchange(0..2);
    ring.put(&chains[0]);
    ring.pass(4);
    ring.put(&chains[1]);
    assert_eq!(ring.device.next_due(), Some(Duration::from_millis(3)));
    ring.pass(3);
    ring.device.advance();
    assert_eq!(ring.drain(), [1, 0]);
    assert_eq!(ring.device.next_due(), None);
}

#[rstest]
fn a_buffer_never_comes(
    #[values(Layout::Split, Layout::Packed)] layout: Layout,
    #[values(false, true)] in_order: bool,
) {
    let mut ring = Ring::new(
        "never-return:at=1",
        layout,
        super::features(false, in_order),
    );
    for chain in &ring.exchange(0..3) {
        ring.put(chain);
    }
    ring.pass(3_600_000);
    ring.device.advance();
    let rest = if in_order { vec![] } else { vec![1, 2] };
    assert_eq!(ring.drain(), rest);
    assert_eq!(usize::from(ring.driver.in_flight()), 3 - rest.len());
}

#[rstest]
fn a_buffer_comes_twice(
    #[values(Layout::Split, Layout::Packed)] layout: Layout,
    #[values(FEATURES[0], FEATURES[1])] features: Features,
) {
    let mut ring = Ring::new("return-twice:at=2", layout, features);
    let chains = ring.exchange(0..3);
    ring.put(&chains[0]);
    ring.put(&chains[1]);
    assert_eq!(ring.get(), Ok(Some((0, WRITABLE))));
    assert_eq!(ring.get(), Ok(Some((1, WRITABLE))));
    let id = chains[1].id;
    assert_eq!(ring.violation(), Violation::IdNotInFlight { id });
    let unused = ring.driver.detach_unused().unwrap();
    assert_eq!(
        unused.data, 2,
        "the third is still the driver's to take back"
    );
    assert!(ring.driver.detach_unused().is_none());
}

/// In order, it comes twice only after its turn has come, which here is after
/// the first.
#[rstest]
fn in_order_a_buffer_comes_twice_behind_the_others(
    #[values(Layout::Split, Layout::Packed)] layout: Layout,
) {
    let mut ring = Ring::new("return-twice:at=1", layout, FEATURES[2]);
    let chains = ring.exchange(0..3);
    ring.put(&chains[1]);
    assert_eq!(ring.get(), Ok(None));
    ring.put(&chains[0]);
    assert_eq!(ring.get(), Ok(Some((0, WRITABLE))));
    assert_eq!(ring.get(), Ok(Some((1, WRITABLE))));
    let id = chains[1].id;
    assert_eq!(ring.violation(), Violation::IdNotInFlight { id });
}
