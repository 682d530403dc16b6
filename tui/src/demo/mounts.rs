//! The demo's two mounts: a directory of this machine, read-only, and a scratch
//! directory for writing, each behind a virtio-9p device of its own.

use std::path::Path;
use std::sync::Arc;

use virtscope_device::fault::Faults;
use virtscope_device::in_process::{Config, InProcess9p};
use virtscope_device::p9::{Access, Delay, ServeError};
use virtscope_driver::bus::{Bus, BusError, DeviceId, InitError, Recovery};
use virtscope_driver::instrument::live::{Hub, Probe};
use virtscope_driver::p9::channel::{Channel, REQUEST_QUEUE};
use virtscope_driver::p9::client::{Client, ClientError};
use virtscope_driver::p9::driver::P9Driver;
use virtscope_driver::ring::QueueSize;
use virtscope_driver::transport::DEVICE_TYPE_9P;
use virtscope_record::{FeatureBits, Generation, Producer, QueueFacts, QueueId};

use crate::recorder::QueueNotice;

/// The longest message asked for, if nothing else is said: eight pages of reply for a
/// full read.
pub const MSIZE: u32 = 32 * 1024;
/// Guest memory of a device: the ring, and buffers for far more requests than
/// the ring holds.
const MEMORY_PAGES: usize = 4096;
/// Threads of each device's file server.
const WORKERS: usize = 3;

/// How the devices are made.
#[derive(Clone, Debug)]
pub struct MountOptions {
    /// Entries of each request queue.
    pub queue_size: QueueSize,
    /// The features of the rings that the devices offer, all of which the driver
    /// takes: layout, suppression of notifications, indirect descriptors, order.
    pub features: FeatureBits,
    /// Operations that are made slow on purpose.
    pub delay: Delay,
    /// What goes wrong on the queues on purpose.
    pub faults: Faults,
    /// The longest message asked for.
    pub msize: u32,
}

/// A directory that could not be mounted.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// It can't be served.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// There is no bus for it.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// The device can't be brought up.
    #[error("{device}: {source}")]
    Device {
        /// The device.
        device: DeviceId,
        /// Why.
        source: InitError,
    },
    /// A thread of the workload could not be started.
    #[error("no thread for the demo's work: {source}; allow more threads or processes (ulimit -u)")]
    Thread {
        /// What the system said.
        source: std::io::Error,
    },
    /// The file server refuses the mount.
    #[error("mounting {tag}: {source}")]
    Client {
        /// The mount tag.
        tag: &'static str,
        /// Why.
        source: ClientError,
    },
}

/// The bus of the demo, with the driver for both devices.
pub(super) struct Machine {
    bus: Bus,
    driver: Arc<P9Driver<Probe>>,
    hub: Arc<Hub>,
}

/// A device that is up, whose channel is not mounted yet.
pub(super) struct Device {
    id: DeviceId,
    channel: Arc<Channel<Probe>>,
    /// What the recorder must be told of its queue before anything happens.
    pub(super) notice: QueueNotice,
    tag: &'static str,
    msize: u32,
}

impl Machine {
    /// A bus with a driver whose records go to `hub`.
    ///
    /// # Errors
    /// There is no thread for it.
    pub(super) fn new(hub: &Arc<Hub>) -> Result<Self, MountError> {
        // A device that fails is the end of its mount: the demo says so.
        let bus = Bus::new(Recovery::ByHand)?;
        let driver = P9Driver::new({
            let hub = Arc::clone(hub);
            move |queue| hub.probe(queue, Producer::DriverHalf)
        });
        bus.register_driver(driver.clone());
        Ok(Self {
            bus,
            driver,
            hub: Arc::clone(hub),
        })
    }

    /// Brings up a device which serves `directory` under `tag`. Nothing is on its
    /// ring yet.
    ///
    /// # Errors
    /// The directory can't be served or the device not be brought up.
    pub(super) fn bring_up(
        &self,
        tag: &'static str,
        directory: &Path,
        access: Access,
        options: &MountOptions,
    ) -> Result<Device, MountError> {
        // The number that the bus will give it: devices only come.
        let id = DeviceId(self.bus.devices().len() as u16);
        let queue = QueueId::new(id.0, REQUEST_QUEUE);
        let config = Config {
            name: id.to_string(),
            tag: tag.to_owned(),
            access,
            memory_pages: MEMORY_PAGES,
            max_queue_size: options.queue_size,
            features: options.features,
            workers: WORKERS,
            delay: options.delay.clone(),
            faults: options.faults.clone(),
        };
        let device_half = self.hub.probe(queue, Producer::DeviceHalf);
        let device = InProcess9p::new(directory, config, device_half)?;
        let id = self.bus.register_device(Arc::new(device))?;
        let up = self.driver.channels();
        let Some(channel) = up.into_iter().find(|channel| channel.device().id() == id) else {
            let info = self.bus.info(id);
            let source = info.and_then(|info| info.error);
            return Err(MountError::Device {
                device: id,
                source: source.unwrap_or(InitError::DeviceFailed),
            });
        };
        let features = channel.features();
        let notice = QueueNotice {
            queue,
            generation: Generation(0),
            facts: QueueFacts {
                size: channel.queue_size().get(),
                in_flight: 0,
                device_type: DEVICE_TYPE_9P,
                layout: channel.layout(),
                features,
            },
            text: format!("{id}/requests\ndriver=virtscope\ntag={tag}"),
            in_flight: Vec::new(),
        };
        Ok(Device {
            id,
            channel,
            notice,
            tag,
            msize: options.msize,
        })
    }

    /// Takes a device off the bus: nothing is recorded of it afterwards.
    pub(super) fn remove(&self, device: &Device) {
        // It may be gone already, which is as well.
        let _ = self.bus.unregister_device(device.id);
    }
}

impl Device {
    /// Mounts the channel.
    ///
    /// # Errors
    /// The file server refuses.
    pub(super) fn mount(&self) -> Result<Client<Probe>, MountError> {
        let mount = || Client::mount(self.channel.claim()?, self.msize, "virtscope");
        mount().map_err(|source| MountError::Client {
            tag: self.tag,
            source,
        })
    }
}
