//! Faults in when the device looks for buffers.

use std::time::Duration;

use rstest::rstest;
use virtscope_record::Layout;

use super::{FEATURES, Ring, features};

const BOTH: [Layout; 2] = [Layout::Split, Layout::Packed];

#[test]
fn a_slow_start_takes_nothing_at_first() {
    for layout in BOTH {
        let mut ring = Ring::new("slow-start:ms=5", layout, FEATURES[0]);
        ring.add(1);
        assert_eq!(ring.device.take(), Ok(None));
        assert!(ring.device.enable_kicks(), "it may sleep");
        assert_eq!(ring.device.next_due(), Some(Duration::from_millis(5)));
        ring.pass(4);
        assert_eq!(ring.device.take(), Ok(None));
        ring.pass(1);
        assert!(ring.device.take().unwrap().is_some());
        assert_eq!(ring.device.next_due(), None);
    }
}

#[test]
fn a_kick_gets_lost() {
    let mut ring = Ring::new("lose-kick:every=2", Layout::Split, FEATURES[0]);
    let heard: Vec<bool> = (0..5).map(|_| ring.device.kicked()).collect();
    assert_eq!(heard, [true, false, true, false, true]);
    assert_eq!(ring.log.total(), 2);
}

/// The device wakes, takes nothing and sleeps again, though there is a buffer.
/// Without event indices the driver's next kick mends it. With them there is
/// none: the index the device asked about was passed already.
#[rstest]
fn a_kick_is_ignored(
    #[values(Layout::Split, Layout::Packed)] layout: Layout,
    #[values(false, true)] event_idx: bool,
) {
    let mut ring = Ring::new("ignore-kick:at=1", layout, features(event_idx, false));
    assert!(ring.device.enable_kicks(), "asleep");
    ring.add(1);
    assert!(ring.driver.kick_prepare());
    // The kick wakes the device.
    ring.device.disable_kicks();
    assert_eq!(ring.device.take(), Ok(None));
    assert!(ring.device.enable_kicks(), "asleep again");
    assert!(!ring.device.enable_kicks(), "were it awake, it would look");
    ring.add(2);
    assert_eq!(ring.driver.kick_prepare(), !event_idx);
    // Whatever wakes it now is not ignored.
    assert!(ring.device.take().unwrap().is_some());
    assert!(ring.device.take().unwrap().is_some());
    assert_eq!(ring.log.total(), 1);
}

/// It sleeps with kicks still switched off, so the driver sends none.
#[rstest]
fn kicks_are_forgotten(
    #[values(Layout::Split, Layout::Packed)] layout: Layout,
    #[values(false, true)] event_idx: bool,
    #[values(1, 2)] at: u64,
) {
    let plan = format!("forget-kicks:at={at}");
    let mut ring = Ring::new(&plan, layout, features(event_idx, false));
    let forgotten = at == 1;
    ring.add(1);
    ring.driver.kick_prepare();
    ring.device.disable_kicks();
    ring.device.take().unwrap().unwrap();
    assert!(ring.device.enable_kicks());
    ring.add(2);
    assert_eq!(ring.driver.kick_prepare(), !forgotten);
    assert_eq!(ring.log.total(), u64::from(forgotten));
}

/// It sleeps without a last look, though a buffer came just before.
#[test]
fn forgetting_kicks_is_also_forgetting_to_look() {
    for layout in BOTH {
        let mut ring = Ring::new("forget-kicks:at=2", layout, FEATURES[0]);
        ring.add(1);
        assert!(!ring.device.enable_kicks(), "there is a buffer");
        assert!(ring.device.enable_kicks(), "it does not look");
    }
}

#[rstest]
#[case::for_a_while("stop-consuming:at=2,ms=5", true)]
#[case::for_good("stop-consuming:at=2", false)]
fn it_stops_consuming(#[case] plan: &str, #[case] goes_on: bool) {
    for layout in BOTH {
        let mut ring = Ring::new(plan, layout, FEATURES[1]);
        let chains = ring.exchange(0..2);
        ring.add(2);
        assert_eq!(ring.device.take(), Ok(None));
        assert!(ring.device.enable_kicks(), "it may sleep");
        assert_eq!(ring.device.next_due().is_some(), goes_on);
        // What it has taken it still returns.
        ring.put(&chains[1]);
        assert_eq!(ring.drain(), [1]);
        ring.pass(3_600_000);
        assert_eq!(ring.device.take().unwrap().is_some(), goes_on);
    }
}

#[test]
fn it_needs_a_reset_and_does_nothing_any_more() {
    for layout in BOTH {
        let plan = "needs-reset:at=2; delay:at=1,ms=1; spurious-interrupt";
        let mut ring = Ring::new(plan, layout, FEATURES[0]);
        let first = ring.exchange(0..1).remove(0);
        ring.put(&first);
        assert!(!ring.device.needs_reset());
        let second = ring.exchange(1..2).remove(0);
        assert!(ring.device.needs_reset());
        let before = ring.bytes();
        ring.pass(10);
        ring.put(&second);
        ring.device.advance();
        ring.device.disable_kicks();
        assert!(ring.device.enable_kicks());
        assert!(!ring.device.kicked());
        assert!(!ring.device.should_interrupt());
        assert_eq!(ring.device.returned_unsignalled(), 0);
        assert_eq!(ring.device.next_due(), None);
        assert_eq!(ring.device.take(), Ok(None));
        assert_eq!(ring.bytes(), before);
        assert_eq!(ring.get(), Ok(None));
    }
}
