//! The demo's two mounts: a directory of this machine, read-only, and a scratch
//! directory for writing, each behind a virtio-9p device of its own.

use std::path::Path;
use std::sync::Arc;

use virtscope_device::in_process::{Config, InProcess9p};
use virtscope_device::p9::{Access, Delay, ServeError};
use virtscope_driver::instrument::live::{Hub, Probe};
use virtscope_driver::p9::channel::Channel;
use virtscope_driver::p9::client::{Client, ClientError};
use virtscope_driver::ring::QueueSize;
use virtscope_driver::transport::{DEVICE_TYPE_9P, InitError};
use virtscope_record::{FeatureBits, Layout, Producer, QueueFacts, QueueId};

use crate::recorder::QueueNotice;

/// The longest message asked for: eight pages of reply for a full read.
const MSIZE: u32 = 32 * 1024;
/// Guest memory of a device: the ring, and buffers for far more requests than
/// the ring holds.
const MEMORY_PAGES: usize = 4096;
/// Threads of each device's file server.
const WORKERS: usize = 3;
/// The device that serves the directory, read-only.
pub(super) const ROOT_DEVICE: u16 = 0;
/// The device that serves the scratch directory.
pub(super) const SCRATCH_DEVICE: u16 = 1;

/// How the devices are made.
#[derive(Clone, Debug)]
pub struct MountOptions {
    /// Entries of each request queue.
    pub queue_size: QueueSize,
    /// Whether `VIRTIO_F_EVENT_IDX` is offered.
    pub event_idx: bool,
    /// Operations that are made slow on purpose.
    pub delay: Delay,
}

/// A directory that could not be mounted.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// It can't be served.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// The device can't be brought up.
    #[error("{device}: {source}")]
    Device {
        /// The device.
        device: String,
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

/// A device that is up, whose channel is not mounted yet.
pub(super) struct Device {
    /// Its channel.
    pub(super) channel: Arc<Channel<Probe>>,
    /// What the recorder must be told of its queue before anything happens.
    pub(super) notice: QueueNotice,
    tag: &'static str,
}

/// Brings up device `number`, which serves `directory` under `tag`. Nothing is
/// on its ring yet.
///
/// # Errors
/// The directory can't be served or the device not be brought up.
pub(super) fn bring_up(
    hub: &Arc<Hub>,
    number: u16,
    tag: &'static str,
    directory: &Path,
    access: Access,
    options: &MountOptions,
) -> Result<Device, MountError> {
    let queue = QueueId::new(number, 0);
    let name = format!("virtio{number}");
    let features = if options.event_idx {
        FeatureBits::EVENT_IDX
    } else {
        FeatureBits::default()
    };
    let config = Config {
        name: name.clone(),
        tag: tag.to_owned(),
        access,
        memory_pages: MEMORY_PAGES,
        max_queue_size: options.queue_size,
        features,
        workers: WORKERS,
        delay: options.delay.clone(),
    };
    let device_half = hub.probe(queue, Producer::DeviceHalf);
    let driver_half = hub.probe(queue, Producer::DriverHalf);
    let device = InProcess9p::new(directory, config, device_half)?;
    let channel = Channel::probe(Arc::new(device), &name, options.event_idx, driver_half).map_err(
        |source| MountError::Device {
            device: name.clone(),
            source,
        },
    )?;
    let notice = QueueNotice {
        queue,
        facts: QueueFacts {
            size: channel.queue_size().get(),
            in_flight: 0,
            device_type: DEVICE_TYPE_9P,
            layout: Layout::Split,
            features: channel.features(),
        },
        text: format!("{name}/requests\ndriver=virtscope\ntag={tag}"),
    };
    Ok(Device {
        channel: Arc::new(channel),
        notice,
        tag,
    })
}

impl Device {
    /// Mounts the channel.
    ///
    /// # Errors
    /// The file server refuses.
    pub(super) fn mount(&self) -> Result<Client<Probe>, MountError> {
        Client::mount(Arc::clone(&self.channel), MSIZE, "virtscope").map_err(|source| {
            MountError::Client {
                tag: self.tag,
                source,
            }
        })
    }
}
