//! Configuration space (virtio 1.4 §2.5), and news of its changes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rstest::rstest;
use virtscope_driver::bus::{Bus, InitError, Recovery};
use virtscope_driver::instrument::NoInstrument;
use virtscope_driver::p9::driver::P9Driver;
use virtscope_driver::transport::{DEVICE_TYPE_9P, Status};
use virtscope_record::FeatureBits;

use crate::recording::{Recording, Step};
use crate::test_driver::{TestDriver, Told, plan};

/// What takes this long would never end.
const PATIENCE: Duration = Duration::from_secs(60);

fn meet(device: &Arc<Recording>, recovery: Recovery) -> (Bus, Arc<TestDriver>) {
    let bus = Bus::new(recovery).unwrap();
    let driver = Arc::new(TestDriver::new());
    bus.register_driver(driver.clone());
    bus.register_device(device.clone()).unwrap();
    assert_eq!(bus.devices()[0].error, None);
    (bus, driver)
}

/// The next that the driver is told.
fn next_told(driver: &TestDriver) -> Vec<Told> {
    let begun = Instant::now();
    loop {
        let told = driver.told();
        if !told.is_empty() {
            return told;
        }
        assert!(begun.elapsed() < PATIENCE / 2, "the driver hears nothing");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn fields_are_little_endian() {
    let device = Recording::new(FeatureBits::default());
    let (_bus, driver) = meet(&device, Recovery::ByHand);
    let device = driver.device();
    assert_eq!(device.read_config_u8(1), Ok(1));
    assert_eq!(device.read_config_u16(1), Ok(0x0201));
    assert_eq!(device.read_config_u32(1), Ok(0x0403_0201));
    assert_eq!(device.read_config_u64(1), Ok(0x0807_0605_0403_0201));
}

/// The configuration changes between two accesses of one read: it is read again.
// Shows: driver/2.5.1/1, device/2.5/1
#[test]
fn a_read_is_of_one_version() {
    let recording = Recording::new(FeatureBits::default());
    let (_bus, driver) = meet(&recording, Recovery::ByHand);
    let device = driver.device();
    for overtaken in 0..10 {
        let before = recording.state().generation;
        recording.state().overtaken = overtaken;
        let read = device.read_config_u64(0).unwrap();
        let version = (before + overtaken) as u8;
        let expected: Vec<u8> = (0..8).map(|i: u8| i.wrapping_add(version)).collect();
        assert_eq!(read.to_le_bytes(), expected[..]);
    }
    recording.state().overtaken = u32::MAX;
    assert_eq!(device.read_config_u64(0), Err(InitError::ConfigUnstable));
}

// Shows: driver/2.5.1/3, driver/2.5.1/4
#[test]
fn only_what_is_read_must_be_there() {
    let recording = Recording::new(FeatureBits::default());
    let (_bus, driver) = meet(&recording, Recovery::ByHand);
    let device = driver.device();
    for len in [64, 4096, 1 << 20] {
        recording.state().config = vec![7; len];
        assert_eq!(device.read_config_u32(60), Ok(0x0707_0707));
        let mut all = vec![0; len];
        device.read_config(0, &mut all).unwrap();
        assert_eq!(all, vec![7; len]);
    }
    recording.state().config = vec![7; 62];
    let short = InitError::ConfigTooShort {
        needed: 64,
        len: 62,
    };
    assert_eq!(device.read_config_u32(60), Err(short));
    assert_eq!(device.write_config(60, &[0; 4]), Err(short));
    assert_eq!(device.read_config_u16(60), Ok(0x0707));
    let beyond = device.read_config(usize::MAX, &mut [0; 2]);
    assert!(matches!(beyond, Err(InitError::ConfigTooShort { .. })));
}

// Shows: driver/2.5.1/2
#[test]
fn a_field_without_its_feature_is_not_touched() {
    let feature = FeatureBits(1 << 5);
    let recording = Recording::new(feature);
    // The driver does not know the feature, so it is not agreed on.
    let (_bus, driver) = meet(&recording, Recovery::ByHand);
    let device = driver.device();
    let refused = device.read_config_with(feature, 8, &mut [0; 4]);
    assert_eq!(refused, Err(InitError::ConfigNotOffered { feature }));
    let reads = |step: &Step| matches!(step, Step::ReadConfig(..));
    assert!(!recording.steps().iter().any(reads));
    let agreed = FeatureBits::VERSION_1;
    assert_eq!(device.read_config_with(agreed, 8, &mut [0; 4]), Ok(()));
    assert!(recording.steps().iter().any(reads));
}

/// A 9P device without a mount tag: its driver does not look for one.
// Shows: driver/2.5.1/2
#[test]
fn the_9p_driver_reads_no_tag_that_is_not_offered() {
    let bus = Bus::new(Recovery::ByHand).unwrap();
    bus.register_driver(P9Driver::new(|_| NoInstrument));
    let recording = Recording::with(|state| state.device_type = DEVICE_TYPE_9P);
    bus.register_device(recording.clone()).unwrap();
    let missing = FeatureBits::P9_MOUNT_TAG;
    let error = bus.devices()[0].error;
    assert_eq!(error, Some(InitError::MissingFeatures { missing }));
    let reads = |step: &Step| matches!(step, Step::ReadConfig(..));
    assert!(!recording.steps().iter().any(reads));
}

// Shows: device/3.2.1/1
#[rstest]
#[timeout(PATIENCE)]
fn a_driver_hears_of_changes() {
    let recording = Recording::new(FeatureBits::default());
    let (_bus, driver) = meet(&recording, Recovery::ByHand);
    assert_eq!(driver.told(), [Told::Probe("virtio0".into())]);
    for _ in 0..3 {
        recording.interrupt(|state| state.generation += 1);
        assert_eq!(next_told(&driver), [Told::ConfigChanged]);
    }
}

// Shows: device/2.1.2/3, driver/2.1.1/3, driver/2.1.1/2
#[rstest]
#[timeout(PATIENCE)]
fn a_device_that_needs_a_reset_gets_it_and_comes_back() {
    let recording = Recording::new(FeatureBits::default());
    let (bus, driver) = meet(&recording, Recovery::Automatic);
    assert_eq!(driver.told(), [Told::Probe("virtio0".into())]);
    let failed = driver.device();
    recording.interrupt(|state| state.status |= Status::DEVICE_NEEDS_RESET);
    let mut told = next_told(&driver);
    while told.len() < 3 {
        told.extend(next_told(&driver));
    }
    let probed = Told::Probe("virtio0".into());
    assert_eq!(told, [Told::Failed, Told::Remove, probed]);
    let info = bus.devices().remove(0);
    assert_eq!((info.driver.as_deref(), info.error), (Some("test"), None));
    assert!(recording.state().status.contains(Status::DRIVER_OK));
    // The life that is over can't be meddled with any more.
    failed.give_up();
    assert_eq!(failed.ready(), Err(InitError::Over));
    assert_eq!(failed.write_config(0, &[1]), Err(InitError::Over));
    let queue = failed.queue::<_, u32>(plan(0), NoInstrument);
    assert_eq!(queue.err(), Some(InitError::Over));
    assert!(!recording.state().status.contains(Status::FAILED));
    recording.steps();
}

#[rstest]
#[timeout(PATIENCE)]
fn without_recovery_the_driver_is_told_and_no_more() {
    let recording = Recording::new(FeatureBits::default());
    let (bus, driver) = meet(&recording, Recovery::ByHand);
    driver.told();
    recording.interrupt(|state| state.status |= Status::DEVICE_NEEDS_RESET);
    assert_eq!(next_told(&driver), [Told::Failed]);
    let status = recording.state().status;
    assert!(status.contains(Status::DEVICE_NEEDS_RESET | Status::FAILED));
    let id = bus.devices()[0].id;
    bus.recover(id).unwrap();
    let told = driver.told();
    assert_eq!(
        told[told.len() - 2..],
        [Told::Remove, Told::Probe("virtio0".into())]
    );
    recording.steps();
}
