//! Bringing a device up, step by step (virtio 1.4 §3.1.1), and what becomes of one
//! that can't be.

use std::sync::Arc;

use virtscope_driver::bus::{Bus, DriverFeatures, InitError, RING_FEATURES, Recovery};
use virtscope_driver::instrument::NoInstrument;
use virtscope_driver::transport::Status;
use virtscope_record::FeatureBits;

use crate::recording::{Recording, Step};
use crate::test_driver::{TestDriver, TestQueue, Told, plan};

/// A bus with this driver and this device.
fn meet(driver: TestDriver, device: &Arc<Recording>) -> (Bus, Arc<TestDriver>) {
    let bus = Bus::new(Recovery::ByHand).unwrap();
    let driver = Arc::new(driver);
    bus.register_driver(driver.clone());
    bus.register_device(device.clone()).unwrap();
    (bus, driver)
}

fn error(bus: &Bus) -> Option<InitError> {
    bus.devices()[0].error
}

/// What was done, without the looks at the status.
fn deeds(device: &Recording) -> Vec<String> {
    let deed = |step| match step {
        Step::ReadStatus(_) => None,
        Step::EnableQueue(index, _) => Some(format!("EnableQueue({index})")),
        other => Some(format!("{other:?}")),
    };
    device.steps().into_iter().filter_map(deed).collect()
}

// Shows: driver/2.1.1/1, driver/3.1.1/1, driver/3.1.1/2, driver/3.1.1/3
// Shows: driver/3.1.1/4, driver/3.1.1/5, driver/3.1.1/6, driver/3.1.1/7
// Shows: driver/3.1.1/8, driver/3.1.1/9, driver/3.1.1/10
#[test]
fn a_device_is_brought_up_in_the_order_of_the_standard() {
    let device = Recording::new(FeatureBits::EVENT_IDX);
    let driver = TestDriver::probing(|device| {
        assert_eq!(device.read_config_u8(3), Ok(3));
        device.write_config(4, &[9])?;
        let _queue: TestQueue = device.queue(plan(0), NoInstrument)?;
        Ok(())
    });
    let (bus, _) = meet(driver, &device);
    assert_eq!(error(&bus), None);
    let features = FeatureBits::VERSION_1.union(FeatureBits::EVENT_IDX);
    let acknowledged = Status::ACKNOWLEDGE;
    let driven = acknowledged | Status::DRIVER;
    let agreed = driven | Status::FEATURES_OK;
    let write = |status: Status| format!("WriteStatus({status:?})");
    let expected = [
        // The bus takes note of the device; then it has a driver.
        "Reset".into(),
        write(acknowledged),
        "Reset".into(),
        write(acknowledged),
        write(driven),
        "ReadFeatures".into(),
        format!("WriteFeatures({features:?})"),
        write(agreed),
        "SetConfigInterrupt".into(),
        "ReadConfig(3, 1)".into(),
        "WriteConfig(4, [9])".into(),
        "EnableQueue(0)".into(),
        write(agreed | Status::DRIVER_OK),
    ];
    assert_eq!(deeds(&device), expected);
    // Whether the features were taken is looked at before anything is set up.
    let steps = device.steps();
    let at = |wanted: fn(&Step) -> bool| steps.iter().position(wanted).unwrap();
    let agreed = at(
        |step| matches!(step, Step::WriteStatus(status) if status.contains(Status::FEATURES_OK)),
    );
    assert!(
        matches!(steps[agreed + 1], Step::ReadStatus(_)),
        "{steps:?}"
    );
}

/// A device that offers every bit there is, through a whole life.
// Shows: driver/3.4.1/1, driver/2.2.1/3, driver/2.2.1/4, driver/2.2.1/8
#[test]
fn a_device_that_offers_everything_is_not_suspended() {
    let device = Recording::with(|state| state.offered = FeatureBits(u64::MAX));
    let (bus, driver) = meet(TestDriver::new(), &device);
    assert_eq!(error(&bus), None);
    assert_eq!(driver.device().features(), RING_FEATURES);
    let id = bus.devices()[0].id;
    bus.recover(id).unwrap();
    bus.unregister_device(id).unwrap();
    for step in device.steps() {
        if let Step::WriteStatus(status) = step {
            assert!(!status.contains(Status::SUSPEND));
        }
    }
    let accepted = format!("WriteFeatures({RING_FEATURES:?})");
    assert_eq!(
        deeds(&device)
            .iter()
            .filter(|deed| **deed == accepted)
            .count(),
        2
    );
}

// Shows: driver/2.4.2/1, device/2.4.1/1
#[test]
fn a_reset_is_done_when_the_status_says_so() {
    let device = Recording::with(|state| {
        state.reset_reads = Some(3);
        state.status = Status::ACKNOWLEDGE | Status::DRIVER | Status::FAILED;
    });
    let (bus, _) = meet(TestDriver::new(), &device);
    assert_eq!(error(&bus), None);
    let steps = device.steps();
    for (at, step) in steps.iter().enumerate() {
        if matches!(step, Step::WriteStatus(status) if *status == Status::ACKNOWLEDGE) {
            let seen = steps[..at].iter().rev().find_map(|step| match step {
                Step::ReadStatus(status) => Some(*status),
                _ => None,
            });
            assert_eq!(seen, Some(Status::empty()));
        }
    }
}

#[test]
fn a_device_that_does_not_reset_is_left_alone() {
    let device = Recording::with(|state| {
        state.reset_reads = None;
        state.status = Status::FAILED;
    });
    let (bus, driver) = meet(TestDriver::new(), &device);
    let status = Status::FAILED;
    assert_eq!(error(&bus), Some(InitError::NoReset { status }));
    assert_eq!(driver.told(), []);
    let wrote = |step: &Step| !matches!(step, Step::Reset | Step::ReadStatus(_));
    assert!(!device.steps().iter().any(wrote));
}

// Shows: driver/3.1.1/11, driver/3.1.1/12, driver/2.2.1/7, device/2.2.2/2
#[test]
fn features_that_are_refused_are_the_end() {
    let device = Recording::with(|state| state.refuses = true);
    let (bus, driver) = meet(TestDriver::new(), &device);
    let features = FeatureBits::VERSION_1;
    assert_eq!(error(&bus), Some(InitError::FeaturesRefused { features }));
    assert_eq!(driver.told(), [], "nobody is given such a device");
    assert_eq!(
        device.state().status,
        Status::ACKNOWLEDGE | Status::DRIVER | Status::FAILED
    );
    device.steps();
}

// Shows: driver/2.2.1/7, driver/6.1/2, device/6.2/1
#[test]
fn a_legacy_device_is_failed() {
    let device = Recording::with(|state| state.offered = FeatureBits::EVENT_IDX);
    let (bus, _) = meet(TestDriver::new(), &device);
    let missing = FeatureBits::VERSION_1;
    assert_eq!(error(&bus), Some(InitError::MissingFeatures { missing }));
    assert!(device.state().status.contains(Status::FAILED));
    let agreed = |step: &Step| matches!(step, Step::WriteFeatures(_));
    assert!(!device.steps().iter().any(agreed));
}

// Shows: driver/2.2.1/7, driver/3.1.1/11
#[test]
fn a_device_without_what_its_driver_needs_is_failed() {
    let device = Recording::new(FeatureBits::default());
    let mut driver = TestDriver::new();
    let missing = FeatureBits(1 << 5);
    driver.features = DriverFeatures::all_rings(missing);
    let (bus, driver) = meet(driver, &device);
    assert_eq!(error(&bus), Some(InitError::MissingFeatures { missing }));
    assert!(device.state().status.contains(Status::FAILED));
    assert_eq!(driver.told(), []);
    device.steps();
}

// Shows: driver/3.1.1/11, driver/3.1.1/12
#[test]
fn a_driver_that_finds_the_device_unfit_leaves_it_failed_and_stopped() {
    let device = Recording::new(FeatureBits::default());
    let unfit = InitError::Unfit("it has no such thing");
    let driver = TestDriver::probing(move |device| {
        let _queue: TestQueue = device.queue(plan(0), NoInstrument)?;
        Err(unfit)
    });
    let (bus, driver) = meet(driver, &device);
    assert_eq!(error(&bus), Some(unfit));
    assert_eq!(driver.told(), [Told::Probe("virtio0".into())]);
    let steps = device.steps();
    let failed =
        |step: &Step| matches!(step, Step::WriteStatus(status) if status.contains(Status::FAILED));
    let first = steps.iter().position(failed).unwrap();
    // The queue that was set up is not left live.
    assert!(
        steps[first..]
            .iter()
            .any(|step| matches!(step, Step::Reset))
    );
    assert!(device.state().status.contains(Status::FAILED));
    let ready = |step: &Step| matches!(step, Step::WriteStatus(status) if status.contains(Status::DRIVER_OK));
    assert!(!steps.iter().any(ready));
    // Its pages are free again.
    assert_eq!(driver.device().pages().available(), 16);
}

#[test]
fn a_device_that_fails_as_it_starts_is_not_bound() {
    let device = Recording::with(|state| state.breaks_down = true);
    let (bus, driver) = meet(TestDriver::new(), &device);
    assert_eq!(error(&bus), Some(InitError::DeviceFailed));
    assert_eq!(bus.devices()[0].driver, None);
    let told = [Told::Probe("virtio0".into()), Told::Failed, Told::Remove];
    assert_eq!(driver.told(), told);
    assert!(device.state().status.contains(Status::FAILED));
    device.steps();
    // It can be tried again, and works if the device does by then.
    device.state().breaks_down = false;
    let id = bus.devices()[0].id;
    assert_eq!(bus.recover(id), Ok(()));
    assert_eq!(bus.info(id).unwrap().driver.as_deref(), Some("test"));
    device.steps();
}
