//! Drivers and devices come and go in any order, and find each other by id.

use std::sync::Arc;
use std::time::Duration;

use rstest::rstest;
use virtscope_driver::bus::{Bus, BusError, DeviceId, DeviceMatch, InitError, Recovery};
use virtscope_driver::transport::Status;
use virtscope_record::FeatureBits;

use crate::recording::{Recording, TYPE, VENDOR};
use crate::test_driver::{TestDriver, Told};

fn bus() -> Bus {
    Bus::new(Recovery::ByHand).unwrap()
}

fn device() -> Arc<Recording> {
    Recording::new(FeatureBits::default())
}

fn probed(name: &str) -> Told {
    Told::Probe(name.into())
}

#[test]
fn whoever_comes_first_they_meet() {
    for driver_first in [true, false] {
        let (bus, driver, device) = (bus(), Arc::new(TestDriver::new()), device());
        if driver_first {
            bus.register_driver(driver.clone());
        }
        let id = bus.register_device(device.clone()).unwrap();
        if !driver_first {
            assert_eq!(bus.info(id).unwrap().driver, None);
            // Noticed, no more.
            assert_eq!(device.state().status, Status::ACKNOWLEDGE);
            bus.register_driver(driver.clone());
        }
        assert_eq!(driver.told(), [probed("virtio0")]);
        assert_eq!(bus.info(id).unwrap().driver.as_deref(), Some("test"));
        assert!(device.state().status.contains(Status::DRIVER_OK));
        device.steps();
    }
}

#[rstest]
#[case::of_type(DeviceMatch::of_type(TYPE), true)]
#[case::other_type(DeviceMatch::of_type(TYPE + 1), false)]
#[case::type_and_vendor(DeviceMatch { device_type: Some(TYPE), vendor: Some(VENDOR) }, true)]
#[case::other_vendor(DeviceMatch { device_type: Some(TYPE), vendor: Some(1) }, false)]
#[case::any_type_of_vendor(DeviceMatch { device_type: None, vendor: Some(VENDOR) }, true)]
#[case::any(DeviceMatch { device_type: None, vendor: None }, true)]
fn drivers_get_the_devices_they_are_for(#[case] id: DeviceMatch, #[case] matches: bool) {
    let bus = bus();
    let mut driver = TestDriver::new();
    // The first entry never matches: all are looked at.
    driver.ids = vec![DeviceMatch::of_type(1), id];
    let driver = Arc::new(driver);
    bus.register_driver(driver.clone());
    bus.register_device(device()).unwrap();
    assert_eq!(driver.told().is_empty(), !matches);
}

/// The first driver can't drive it, the second can; a third comes too late.
#[test]
fn the_next_driver_tries_its_luck() {
    let bus = bus();
    let unfit = InitError::Unfit("not mine");
    let first = Arc::new(TestDriver::probing(move |_| Err(unfit)));
    let mut second = TestDriver::new();
    second.name = "second";
    let (second, third) = (Arc::new(second), Arc::new(TestDriver::new()));
    bus.register_driver(first.clone());
    let device = device();
    let id = bus.register_device(device.clone()).unwrap();
    assert_eq!(bus.info(id).unwrap().error, Some(unfit));
    assert!(device.state().status.contains(Status::FAILED));
    bus.register_driver(second.clone());
    bus.register_driver(third.clone());
    let info = bus.info(id).unwrap();
    assert_eq!((info.driver.as_deref(), info.error), (Some("second"), None));
    assert_eq!(first.told(), [probed("virtio0")]);
    assert_eq!(second.told(), [probed("virtio0")]);
    assert_eq!(third.told(), []);
    device.steps();
}

#[test]
fn numbers_are_given_to_the_next_when_they_are_free() {
    let bus = bus();
    let ids: Vec<DeviceId> = (0..3)
        .map(|_| bus.register_device(device()).unwrap())
        .collect();
    let names: Vec<String> = ids.iter().map(ToString::to_string).collect();
    assert_eq!(names, ["virtio0", "virtio1", "virtio2"]);
    bus.unregister_device(ids[1]).unwrap();
    let gone = BusError::UnknownDevice(ids[1]);
    assert_eq!(bus.unregister_device(ids[1]), Err(gone));
    assert_eq!(bus.recover(ids[1]), Err(gone));
    assert_eq!(bus.info(ids[1]), None);
    assert_eq!(bus.register_device(device()), Ok(ids[1]));
    assert_eq!(bus.devices().len(), 3);
    assert_eq!(bus.recover(ids[0]), Err(BusError::NoDriver(ids[0])));
}

// Shows: driver/3.3.1/2
#[test]
fn a_driver_lets_go_of_its_devices_when_it_leaves() {
    let bus = bus();
    let driver = Arc::new(TestDriver::new());
    let driver_id = bus.register_driver(driver.clone());
    let devices = [device(), device()];
    for device in &devices {
        bus.register_device(device.clone()).unwrap();
    }
    driver.told();
    bus.unregister_driver(driver_id).unwrap();
    assert_eq!(driver.told(), [Told::Remove, Told::Remove]);
    assert_eq!(
        bus.unregister_driver(driver_id),
        Err(BusError::UnknownDriver(driver_id))
    );
    for device in &devices {
        // Reset, and the bus's again.
        assert_eq!(device.state().status, Status::ACKNOWLEDGE);
        device.steps();
    }
    // They are free for the next.
    bus.register_driver(driver.clone());
    assert_eq!(driver.told(), [probed("virtio0"), probed("virtio1")]);
}

#[test]
fn a_device_that_leaves_is_reset_and_so_are_all_when_the_bus_goes() {
    let bus = bus();
    let driver = Arc::new(TestDriver::new());
    bus.register_driver(driver.clone());
    let devices = [device(), device()];
    let first = bus.register_device(devices[0].clone()).unwrap();
    bus.register_device(devices[1].clone()).unwrap();
    driver.told();
    bus.unregister_device(first).unwrap();
    assert_eq!(driver.told(), [Told::Remove]);
    assert!(devices[0].state().status.is_empty());
    assert!(devices[1].state().status.contains(Status::DRIVER_OK));
    drop(bus);
    assert_eq!(driver.told(), [Told::Remove]);
    assert!(devices[1].state().status.is_empty());
}

/// Four threads that come and go, a hundred times each: no device is left behind with
/// a driver, and none is driven twice.
#[rstest]
#[timeout(Duration::from_secs(60))]
fn many_come_and_go_at_once() {
    let bus = bus();
    let rounds = if cfg!(miri) { 3 } else { 100 };
    let driver = Arc::new(TestDriver::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..rounds {
                    let device = device();
                    let id = bus.register_device(device.clone()).unwrap();
                    bus.unregister_device(id).unwrap();
                    assert!(device.state().status.is_empty());
                    device.steps();
                }
            });
            scope.spawn(|| {
                for _ in 0..rounds {
                    let id = bus.register_driver(driver.clone());
                    bus.unregister_driver(id).unwrap();
                }
            });
        }
    });
    let told = driver.told();
    let count = |wanted: fn(&&Told) -> bool| told.iter().filter(wanted).count();
    let probes = count(|told| matches!(told, Told::Probe(_)));
    assert_eq!(probes, count(|told| **told == Told::Remove));
    assert_eq!(bus.devices(), []);
}
