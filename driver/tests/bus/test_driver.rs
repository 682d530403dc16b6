//! A driver that does what the test says, and remembers what it was told.

use std::sync::{Arc, Mutex};

use virtscope_driver::bus::{
    Bound, Device, DeviceMatch, Driver, DriverFeatures, InitError, Queue, QueuePlan,
};
use virtscope_driver::instrument::NoInstrument;
use virtscope_driver::ring::QueueSize;
use virtscope_record::FeatureBits;

use crate::recording::TYPE;

pub(crate) type TestQueue = Queue<NoInstrument, u32>;
type Probe = Box<dyn Fn(&Device) -> Result<(), InitError> + Send + Sync>;

/// What the driver was told, in order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Told {
    Probe(String),
    ConfigChanged,
    Failed,
    Remove,
}

pub(crate) struct TestDriver {
    pub(crate) name: &'static str,
    pub(crate) ids: Vec<DeviceMatch>,
    pub(crate) features: DriverFeatures,
    probe: Probe,
    state: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    told: Mutex<Vec<Told>>,
    device: Mutex<Option<Device>>,
}

impl TestDriver {
    /// A driver for [`TYPE`] that takes all ring features and sets nothing up.
    pub(crate) fn new() -> Self {
        Self::probing(|_| Ok(()))
    }

    /// The same, which does `probe` with each device.
    pub(crate) fn probing(
        probe: impl Fn(&Device) -> Result<(), InitError> + Send + Sync + 'static,
    ) -> Self {
        Self {
            name: "test",
            ids: vec![DeviceMatch::of_type(TYPE)],
            features: DriverFeatures::all_rings(FeatureBits::default()),
            probe: Box::new(probe),
            state: Arc::default(),
        }
    }

    /// What it was told since this was asked last.
    pub(crate) fn told(&self) -> Vec<Told> {
        std::mem::take(&mut self.state.told.lock().unwrap())
    }

    /// The last device it was given.
    pub(crate) fn device(&self) -> Device {
        self.state.device.lock().unwrap().clone().unwrap()
    }
}

/// A queue of up to 64 entries, without tables of indirect descriptors.
pub(crate) fn plan(index: u16) -> QueuePlan {
    QueuePlan {
        index,
        max_size: QueueSize::new(64).unwrap(),
        indirect: 0,
    }
}

impl Driver for TestDriver {
    fn name(&self) -> &str {
        self.name
    }
    fn ids(&self) -> &[DeviceMatch] {
        &self.ids
    }
    fn features(&self) -> DriverFeatures {
        self.features
    }
    fn probe(&self, device: &Device) -> Result<Box<dyn Bound>, InitError> {
        let told = Told::Probe(device.name().to_owned());
        self.state.told.lock().unwrap().push(told);
        *self.state.device.lock().unwrap() = Some(device.clone());
        (self.probe)(device)?;
        Ok(Box::new(TestBound {
            state: Arc::clone(&self.state),
            device: device.clone(),
        }))
    }
}

struct TestBound {
    state: Arc<Shared>,
    device: Device,
}

impl Bound for TestBound {
    fn config_changed(&self) {
        self.state.told.lock().unwrap().push(Told::ConfigChanged);
    }
    fn failed(&self) {
        self.state.told.lock().unwrap().push(Told::Failed);
    }
    fn remove(self: Box<Self>) {
        self.state.told.lock().unwrap().push(Told::Remove);
        // A device that does not reset is the bus's concern.
        let _ = self.device.reset();
    }
}
