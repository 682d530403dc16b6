//! A device that is up, with one queue of which the test has the driver's half.

use std::sync::{Arc, Mutex};

use virtscope_driver::bus::{Bus, Device, QueuePlan, RING_FEATURES, Recovery};
use virtscope_driver::instrument::NoInstrument;
use virtscope_driver::memory::{
    GuestAddress, Order, QueueMemory, RingWords, Segment, SharedQueueMemory,
};
use virtscope_driver::transport::Transport;
use virtscope_record::{FeatureBits, Layout};

use crate::recording::Recording;
use crate::test_driver::{TestDriver, TestQueue};

/// All that the rings know.
pub(crate) const ALL: FeatureBits = RING_FEATURES;
/// The same of a split ring.
pub(crate) const SPLIT: FeatureBits = ALL.difference(FeatureBits::RING_PACKED);

/// A device that is up, with the queue of its driver.
pub(crate) struct Rig {
    pub(crate) recording: Arc<Recording>,
    pub(crate) device: Device,
    pub(crate) queue: TestQueue,
    _bus: Bus,
}

impl Rig {
    pub(crate) fn new(recording: Arc<Recording>, plan: QueuePlan) -> Self {
        Self::probing(recording, plan, |_| ())
    }

    /// `early` is done with the queue before `DRIVER_OK`.
    pub(crate) fn probing(
        recording: Arc<Recording>,
        plan: QueuePlan,
        early: impl Fn(&mut TestQueue) + Send + Sync + 'static,
    ) -> Self {
        let made: Arc<Mutex<Option<TestQueue>>> = Arc::default();
        let driver = TestDriver::probing({
            let made = Arc::clone(&made);
            move |device| {
                let mut queue = device.queue(plan, NoInstrument)?;
                early(&mut queue);
                *made.lock().unwrap() = Some(queue);
                Ok(())
            }
        });
        let bus = Bus::new(Recovery::ByHand).unwrap();
        let driver = Arc::new(driver);
        bus.register_driver(driver.clone());
        bus.register_device(recording.clone()).unwrap();
        assert_eq!(bus.devices()[0].error, None);
        let queue = made.lock().unwrap().take().unwrap();
        Self {
            recording,
            device: driver.device(),
            queue,
            _bus: bus,
        }
    }

    /// The areas, as the device would reach them.
    pub(crate) fn areas(&self) -> SharedQueueMemory {
        let setup = self.recording.last_setup();
        let memory = Arc::clone(self.recording.memory());
        match self.queue.ring.layout() {
            Layout::Split => SharedQueueMemory::split(memory, setup.addresses, setup.size),
            Layout::Packed => SharedQueueMemory::packed(memory, setup.addresses, setup.size),
        }
        .unwrap()
    }

    pub(crate) fn descriptor_words(&self) -> Vec<u64> {
        let areas = self.areas();
        let area = areas.descriptor_area();
        let bytes = usize::from(self.queue.size().get()) * 16;
        let words = (0..bytes).step_by(8);
        words.map(|at| area.load_u64(at, Order::Relaxed)).collect()
    }

    /// A page's worth of buffer, readable or writable.
    pub(crate) fn buffer(&self) -> Segment {
        Segment {
            address: GuestAddress(15 * 4096),
            len: 100,
        }
    }
}
