//! A virtio-9p device of this process on a bus with its driver, for the tests.

#![allow(dead_code, reason = "each test program uses its part")]

use std::fs;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use virtscope_device::fault::Faults;
use virtscope_device::in_process::{Config, InProcess9p};
use virtscope_device::p9::{Access, Delay};
use virtscope_driver::bus::{Bus, DeviceId, DriverId, Recovery};
use virtscope_driver::instrument::{Instrument, NoInstrument};
use virtscope_driver::p9::client::Client;
use virtscope_driver::p9::driver::P9Driver;
use virtscope_driver::ring::QueueSize;
use virtscope_record::FeatureBits;

pub(crate) const O_RDONLY: u32 = 0;

/// What takes this long would never end.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The features of the rings that a device may offer or not.
const CHOICES: [FeatureBits; 6] = [
    FeatureBits::RING_PACKED,
    FeatureBits::EVENT_IDX,
    FeatureBits::INDIRECT_DESC,
    FeatureBits::IN_ORDER,
    FeatureBits::NOTIFICATION_DATA,
    FeatureBits::RING_RESET,
];

/// Every combination of them.
pub(crate) fn all_features() -> impl Iterator<Item = FeatureBits> {
    (0..1 << CHOICES.len()).map(|chosen: u32| {
        let bits = CHOICES.iter().enumerate();
        let bits = bits.filter(|(bit, _)| chosen & 1 << bit != 0);
        bits.fold(FeatureBits::default(), |all, (_, bit)| all.union(*bit))
    })
}

/// A device that offers event indices, with the tag `root`.
pub(crate) fn config(access: Access) -> Config {
    Config {
        name: "virtio0".into(),
        tag: "root".into(),
        access,
        memory_pages: 2048,
        max_queue_size: QueueSize::new(128).unwrap(),
        features: FeatureBits::EVENT_IDX,
        workers: 4,
        delay: Delay::none(),
        faults: Faults::none(),
    }
}

/// A bus with the driver and one device.
pub(crate) struct Mounted<I: Instrument> {
    pub(crate) bus: Bus,
    pub(crate) driver: Arc<P9Driver<I>>,
    pub(crate) driver_id: DriverId,
    pub(crate) device: Arc<InProcess9p<I>>,
    pub(crate) id: DeviceId,
}

impl Mounted<NoInstrument> {
    /// Without records and without recovery.
    pub(crate) fn new(root: &Path, config: Config) -> Self {
        Self::with(root, config, Recovery::ByHand, NoInstrument, NoInstrument)
    }

    /// The same, mounted.
    pub(crate) fn client(root: &Path, config: Config) -> (Self, Client<NoInstrument>) {
        let mounted = Self::new(root, config);
        let client = mounted.mount(32768);
        (mounted, client)
    }
}

impl<I: Instrument> Mounted<I> {
    pub(crate) fn with(
        root: &Path,
        config: Config,
        recovery: Recovery,
        driver_half: I,
        device_half: I,
    ) -> Self {
        let device = Arc::new(InProcess9p::new(root, config, device_half).unwrap());
        let bus = Bus::new(recovery).unwrap();
        let driver = P9Driver::new(move |_| driver_half.clone());
        let driver_id = bus.register_driver(driver.clone());
        let id = bus.register_device(device.clone()).unwrap();
        assert_eq!(bus.info(id).unwrap().error, None);
        Self {
            bus,
            driver,
            driver_id,
            device,
            id,
        }
    }

    pub(crate) fn mount(&self, msize: u32) -> Client<I> {
        Client::mount(self.driver.create("root").unwrap(), msize, "test").unwrap()
    }
}

/// Holds up reads of seven bytes until it goes.
pub(crate) struct Held {
    pub(crate) entered: Receiver<()>,
    _release: Sender<()>,
}

/// The way to hold reads of seven bytes up. Whoever has it drops it before what waits
/// for them, also when an assertion fails.
pub(crate) fn hold_reads(config: &mut Config) -> Held {
    let (entering, entered) = channel();
    let (release, held) = channel::<()>();
    let held = Mutex::new(held);
    config.delay = Delay::by(move |operation| {
        if operation.bytes == 7 {
            let _ = entering.send(());
            let _ = held.lock().unwrap().recv();
        }
        None
    });
    Held {
        entered,
        _release: release,
    }
}

/// A directory with a file of some bytes.
pub(crate) fn directory() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), b"content").unwrap();
    dir
}
