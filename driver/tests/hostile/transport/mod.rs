//! A device that misbehaves while it is brought up: whatever it answers, the driver
//! goes on by the rules or gives up by the rules, and in finite time.

mod device;

use std::sync::Arc;

use proptest::prelude::*;
use rstest::rstest;
use virtscope_driver::bus::{Bus, InitError, QueuePlan, Recovery};
use virtscope_driver::ring::QueueSize;
use virtscope_driver::transport::Status;
use virtscope_record::FeatureBits;

use device::{Manners, Polite, Rude};

/// What the driver wants of its queue.
const PLAN: QueuePlan = QueuePlan {
    index: 0,
    max_size: QueueSize::MAX,
    indirect: 2,
};

/// Brings a device up, takes it off the bus again, and judges what the device saw.
fn bring_up(manners: Manners) -> (Option<InitError>, Arc<Rude>, Arc<Polite>) {
    let (device, driver) = (Rude::new(manners), Arc::new(Polite::default()));
    let bus = Bus::new(Recovery::Automatic).unwrap();
    bus.register_driver(driver.clone());
    let id = bus.register_device(device.clone()).unwrap();
    let info = bus.info(id).unwrap();
    assert_eq!(info.driver.is_some(), info.error.is_none());
    if info.error.is_some() {
        let seen = device.seen();
        let last = seen.written.iter().rev().find(|status| !status.is_empty());
        let given_up = last.is_none_or(|status| status.contains(Status::FAILED));
        let resets = matches!(info.error, Some(InitError::NoReset { .. }));
        assert!(given_up || resets, "{:?}", seen.written);
    }
    drop(bus);
    let seen = device.seen();
    assert!(!seen.notified_early);
    let (before, after) = (Status::FEATURES_OK, Status::DRIVER_OK);
    for (at, status) in seen.written.iter().enumerate() {
        if status.contains(after) && !status.contains(Status::FAILED) {
            let agreed = seen.written[..at].iter().any(|one| one.contains(before));
            assert!(agreed, "{:?}", seen.written);
        }
    }
    drop(seen);
    let [given, back] = *driver.buffers.lock().unwrap();
    if !matches!(info.error, Some(InitError::DeviceFailed) | None) {
        assert_eq!(given, 0, "a driver without a device gives it nothing");
    }
    assert_eq!(back, given, "every buffer comes back");
    (info.error, device, driver)
}

/// The reads of the status while a device is brought up, in order. Those that wait
/// for a reset are repeated until it is seen.
const RESET: [usize; 2] = [0, 2];
const FEATURES_OK: usize = 6;
const DRIVER_OK: usize = 8;

/// What the status may be said to be, right or wrong.
fn statuses() -> [Status; 9] {
    let agreed = Status::ACKNOWLEDGE | Status::DRIVER | Status::FEATURES_OK;
    [
        Status::empty(),
        Status::ACKNOWLEDGE,
        Status::DRIVER,
        Status::FEATURES_OK,
        Status::DEVICE_NEEDS_RESET,
        agreed | Status::DEVICE_NEEDS_RESET,
        agreed | Status::FAILED,
        Status::from_bits_retain(0x20) | agreed,
        Status::from_bits_retain(0xff),
    ]
}

/// What must come of a status that is wrong from one read on and right again before
/// another.
fn end(lie: Status, from: usize, before: usize) -> Option<InitError> {
    let wrong = |read: usize| (from..before).contains(&read);
    let endless = before == usize::MAX;
    if endless && from <= RESET[1] && !lie.is_empty() {
        return Some(InitError::NoReset { status: lie });
    }
    // A wrong read that waits for a reset is repeated: later ones are as they should.
    let repeated = !endless && RESET.contains(&from) && !lie.is_empty();
    if !repeated && wrong(FEATURES_OK) && !lie.contains(Status::FEATURES_OK) {
        let features = FeatureBits::VERSION_1;
        return Some(InitError::FeaturesRefused { features });
    }
    if !repeated && wrong(DRIVER_OK) && lie.contains(Status::DEVICE_NEEDS_RESET) {
        return Some(InitError::DeviceFailed);
    }
    None
}

// Shows: device/2.1/1, device/2.4.1/1, device/2.2.2/2, device/2.1.2/3
// Shows: driver/3.1.1/8, driver/3.1.1/11, driver/3.1.1/12
/// The status goes back, loses bits, asks for a reset or says anything else at each
/// step of the initialisation, once or from then on.
#[rstest]
fn a_status_that_lies_at_any_step(#[values(false, true)] endless: bool) {
    if cfg!(miri) {
        return; // A bus waits by the clock.
    }
    // Those that never reset take their time: they are all waited for at once.
    std::thread::scope(|scope| {
        for lie in statuses() {
            for from in 0..=DRIVER_OK {
                scope.spawn(move || {
                    let before = if endless { usize::MAX } else { from + 1 };
                    let (error, ..) = bring_up(Manners {
                        status: Some((lie, from, before)),
                        ..Manners::default()
                    });
                    assert_eq!(error, end(lie, from, before), "{lie:?} from read {from} on");
                });
            }
        }
    });
}

// Shows: device/2.2.2/4, driver/2.1.1/3
/// Features that were agreed on once are refused the next time.
#[test]
fn a_device_that_changes_its_mind_is_given_up() {
    if cfg!(miri) {
        return; // A bus waits by the clock.
    }
    let refused = (Status::ACKNOWLEDGE | Status::DRIVER, 12, 20);
    let device = Rude::new(Manners {
        status: Some(refused),
        ..Manners::default()
    });
    let bus = Bus::new(Recovery::ByHand).unwrap();
    bus.register_driver(Arc::new(Polite::default()));
    let id = bus.register_device(device.clone()).unwrap();
    assert_eq!(bus.info(id).unwrap().error, None);
    let features = FeatureBits::VERSION_1;
    let error = InitError::FeaturesRefused { features };
    assert_eq!(bus.recover(id), Err(error.into()));
    assert_eq!(bus.info(id).unwrap().driver, None);
    let last = *device.seen().written.last().unwrap();
    assert!(last.contains(Status::FAILED));
    // Refused no more: it may be tried again.
    assert_eq!(bus.recover(id), Ok(()));
}

/// One configuration after the other while it is read.
#[rstest]
// Shows: device/2.5/1
#[case::once_before_the_first_byte(1, 2, None)]
#[case::once_in_the_middle(1, 4, None)]
#[case::once_at_the_last_byte(1, 5, None)]
#[case::fifteen_times(15, 3, None)]
#[case::sixteen_times(16, 3, Some(InitError::ConfigUnstable))]
#[case::for_ever(usize::MAX, 2, Some(InitError::ConfigUnstable))]
#[case::behind_what_is_read(usize::MAX, 6, None)]
fn a_configuration_that_changes_while_it_is_read(
    #[case] reads: usize,
    #[case] at: usize,
    #[case] expected: Option<InitError>,
) {
    if cfg!(miri) {
        return; // A bus waits by the clock.
    }
    let (error, _, driver) = bring_up(Manners {
        overtaken: (reads, at),
        ..Manners::default()
    });
    assert_eq!(error, expected);
    let config = *driver.config.lock().unwrap();
    let whole = config.is_none_or(|bytes| bytes.iter().all(|byte| *byte == bytes[0]));
    assert!(whole, "{config:?} is of several generations");
    assert_eq!(config.is_some(), expected.is_none());
}

#[rstest]
#[case::no_configuration([0, 0], Some((6, 0)))]
#[case::half_a_field([5, 5], Some((6, 5)))]
#[case::just_enough([6, 6], None)]
#[case::less_at_the_next_look([8, 1], None)]
#[case::without_end([usize::MAX, usize::MAX], None)]
fn a_configuration_of_any_length(
    #[case] config_len: [usize; 2],
    #[case] short: Option<(usize, usize)>,
) {
    if cfg!(miri) {
        return; // A bus waits by the clock.
    }
    let (error, ..) = bring_up(Manners {
        config_len,
        ..Manners::default()
    });
    let expected = short.map(|(needed, len)| InitError::ConfigTooShort { needed, len });
    assert_eq!(error, expected);
}

/// The largest size of a queue is no size of a split ring, or there is none.
#[rstest]
// Shows: device/2.7/2
#[case::no_power_of_two(FeatureBits::default(), Some(7), Ok(4))]
#[case::just_over_one(FeatureBits::default(), Some(9), Ok(8))]
#[case::just_below_one(FeatureBits::default(), Some(63), Ok(32))]
#[case::three(FeatureBits::default(), Some(3), Ok(2))]
#[case::one(FeatureBits::default(), Some(1), Ok(1))]
#[case::packed_any(FeatureBits::RING_PACKED, Some(7), Ok(7))]
#[case::packed_one(FeatureBits::RING_PACKED, Some(1), Ok(1))]
#[case::none(FeatureBits::default(), None, Err(InitError::NoQueue { index: 0 }))]
#[case::packed_none(FeatureBits::RING_PACKED, None, Err(InitError::NoQueue { index: 0 }))]
fn a_queue_of_any_size(
    #[case] features: FeatureBits,
    #[case] size: Option<u16>,
    #[case] expected: Result<u16, InitError>,
) {
    if cfg!(miri) {
        return; // A bus waits by the clock.
    }
    let (error, device, _) = bring_up(Manners {
        offered: FeatureBits::VERSION_1.union(features),
        queue: [size, None],
        ..Manners::default()
    });
    let set_up = device.seen().setups.first().map(|setup| setup.size.get());
    assert_eq!(error.map_or(Ok(set_up.unwrap_or(0)), Err), expected);
}

/// A ring larger than guest memory, which the driver would be glad to have.
#[test]
fn a_queue_larger_than_memory_is_no_queue() {
    if cfg!(miri) {
        return; // A bus waits by the clock.
    }
    let (error, device, _) = bring_up(Manners {
        queue: [Some(32_768), Some(32_768)],
        ..Manners::default()
    });
    assert!(matches!(error, Some(InitError::NoMemory(_))), "{error:?}");
    assert!(device.seen().setups.is_empty());
}

// Shows: driver/3.1.1/13
/// The device is gone when the first notification is sent, which waits for
/// `DRIVER_OK`.
#[test]
fn a_device_that_is_gone_when_it_is_ready() {
    if cfg!(miri) {
        return; // A bus waits by the clock.
    }
    let (error, device, driver) = bring_up(Manners {
        notifications: 0,
        ..Manners::default()
    });
    assert_eq!(error, Some(InitError::DeviceFailed));
    assert_eq!(device.seen().notified, 0);
    assert_eq!(*driver.buffers.lock().unwrap(), [1, 1]);
}

/// It asks for a reset as soon as it is ready, each time.
#[test]
fn a_device_that_fails_at_once() {
    if cfg!(miri) {
        return; // A bus waits by the clock.
    }
    let (error, device, driver) = bring_up(Manners {
        fails: true,
        ..Manners::default()
    });
    assert_eq!(error, Some(InitError::DeviceFailed));
    assert_eq!(*driver.buffers.lock().unwrap(), [1, 1]);
    assert_eq!(device.seen().notified, 0, "it was not ready");
}

/// All the bits that a driver of this kind may accept.
const UNDERSTOOD: u64 = 1 << 28 | 1 << 29 | 1 << 32 | 1 << 34 | 1 << 35 | 1 << 38 | 1 << 40;

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        cases: if cfg!(miri) { 0 } else { 200 },
        ..ProptestConfig::default()
    })]

    // Shows: device/2.2.2/1, device/2.2.2/3, device/6.2/1, device/6.2/9
    /// Whatever is offered: no bit that is reserved or unknown is accepted, none that
    /// is not offered, and nothing at all without `VERSION_1`.
    #[test]
    fn features_of_any_kind(offered: u64, version_1: bool, size in 1..300u16) {
        let offered = if version_1 { offered | 1 << 32 } else { offered & !(1 << 32) };
        let (error, device, _) = bring_up(Manners {
            offered: FeatureBits(offered),
            queue: [Some(size), Some(size)],
            ..Manners::default()
        });
        let accepted = device.seen().accepted;
        if version_1 {
            prop_assert_eq!(error, None);
            prop_assert_eq!(accepted, Some(FeatureBits(offered & UNDERSTOOD)));
        } else {
            let missing = FeatureBits::VERSION_1;
            prop_assert_eq!(error, Some(InitError::MissingFeatures { missing }));
            prop_assert_eq!(accepted, None);
        }
    }
}
