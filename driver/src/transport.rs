//! Bringing a device up: status, features, configuration (virtio 1.4 §2.1–§2.5,
//! §3.1), and what a transport must offer for it.

use std::sync::Arc;

use virtscope_record::FeatureBits;

use crate::event::Signal;
use crate::memory::{GuestMemory, QueueAddresses};
use crate::ring::{AvailableNotification, InvalidQueueSize, NotifyError, QueueSize};

bitflags::bitflags! {
    /// The device status field (virtio 1.4 §2.1).
    #[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
    pub struct Status: u8 {
        /// The driver has noticed the device.
        const ACKNOWLEDGE = 1;
        /// The driver knows how to drive it.
        const DRIVER = 2;
        /// The driver is ready.
        const DRIVER_OK = 4;
        /// The features are agreed on.
        const FEATURES_OK = 8;
        /// The device can't go on without a reset.
        const DEVICE_NEEDS_RESET = 64;
        /// The driver has given up.
        const FAILED = 128;
    }
}

/// The type of a 9P transport device (virtio 1.4 §5).
pub const DEVICE_TYPE_9P: u16 = 9;

/// A queue as the driver sets it up (virtio 1.4 §4.1.4.3).
#[derive(Clone, Debug)]
pub struct QueueSetup {
    /// Its entries.
    pub size: QueueSize,
    /// Its areas.
    pub addresses: QueueAddresses,
    /// What the device sets to interrupt the driver for this queue.
    pub interrupt: Arc<Signal>,
}

/// The way to one device. All methods may be called from any thread.
pub trait Transport: Send + Sync {
    /// The device's type (virtio 1.4 §5).
    fn device_type(&self) -> u16;
    /// The features it offers (virtio 1.4 §2.2).
    fn device_features(&self) -> FeatureBits;
    /// Tells it the features the driver accepts.
    fn set_driver_features(&self, features: FeatureBits);
    /// The device status (virtio 1.4 §2.1).
    fn status(&self) -> Status;
    /// Writes the device status. An empty one resets the device; the call
    /// returns when it is reset.
    fn set_status(&self, status: Status);
    /// Copies configuration space from `offset` on into `into`; bytes past its
    /// end read as zero (virtio 1.4 §2.5).
    fn read_config(&self, offset: usize, into: &mut [u8]);
    /// Changes whenever the configuration does (virtio 1.4 §2.5.2).
    fn config_generation(&self) -> u32;
    /// The largest size of queue `index`; `None` if there is no such queue.
    fn max_queue_size(&self, index: u16) -> Option<QueueSize>;
    /// Sets up and enables queue `index`.
    fn enable_queue(&self, index: u16, setup: QueueSetup);
    /// Sends an available buffer notification for queue `index`; what it says beside
    /// that matters with `VIRTIO_F_NOTIFICATION_DATA` only.
    ///
    /// # Errors
    /// The device is gone.
    fn notify(&self, index: u16, notification: AvailableNotification) -> Result<(), NotifyError>;
    /// The memory that driver and device share.
    fn memory(&self) -> &Arc<GuestMemory>;
}

/// Why a device could not be brought up.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InitError {
    /// Another type of device.
    #[error("device type {found} where {expected} was expected")]
    DeviceType {
        /// The type wanted.
        expected: u16,
        /// The type found.
        found: u16,
    },
    /// The device does not offer a feature the driver can't do without.
    #[error("the device does not offer the features {missing}, which this driver needs")]
    MissingFeatures {
        /// The features.
        missing: FeatureBits,
    },
    /// The device cleared `FEATURES_OK` (virtio 1.4 §3.1.1, step 6).
    #[error("the device refuses the features {features}")]
    FeaturesRefused {
        /// The features the driver wrote.
        features: FeatureBits,
    },
    /// The device did not come out of reset.
    #[error("the device does not reset: its status is still {status:?}")]
    NoReset {
        /// Its status.
        status: Status,
    },
    /// The device has no such queue.
    #[error("the device has no queue {index}")]
    NoQueue {
        /// The queue's index.
        index: u16,
    },
    /// The device wants a queue that its layout forbids.
    #[error(transparent)]
    QueueSize(#[from] InvalidQueueSize),
    /// Guest memory is used up.
    #[error("no guest memory left for {what}")]
    NoMemory {
        /// What it was for.
        what: &'static str,
    },
    /// No thread for the interrupts.
    #[error("no thread could be started to take the device's interrupts")]
    NoThread,
    /// The device asks for a reset as soon as it is started.
    #[error("the device could not start: it asks for a reset")]
    DeviceFailed,
    /// The configuration kept changing while it was read.
    #[error("the device's configuration changes faster than it can be read")]
    ConfigUnstable,
}

/// The first part of bringing a device up (virtio 1.4 §3.1.1, steps 1 to 6):
/// reset, acknowledge, agree on features. Returns the features agreed on.
///
/// # Errors
/// The device is of another type or does not reset; or it lacks a `required`
/// feature or refuses the choice, and is then marked `FAILED`.
pub fn negotiate(
    transport: &dyn Transport,
    device_type: u16,
    required: FeatureBits,
    optional: FeatureBits,
) -> Result<FeatureBits, InitError> {
    let found = transport.device_type();
    if found != device_type {
        return Err(InitError::DeviceType {
            expected: device_type,
            found,
        });
    }
    transport.set_status(Status::empty());
    let status = transport.status();
    if !status.is_empty() {
        return Err(InitError::NoReset { status });
    }
    transport.set_status(Status::ACKNOWLEDGE);
    transport.set_status(Status::ACKNOWLEDGE | Status::DRIVER);
    let offered = transport.device_features();
    let missing = required.difference(offered);
    if missing != FeatureBits::default() {
        transport.set_status(transport.status() | Status::FAILED);
        return Err(InitError::MissingFeatures { missing });
    }
    let features = offered.intersection(required.union(optional));
    transport.set_driver_features(features);
    transport.set_status(Status::ACKNOWLEDGE | Status::DRIVER | Status::FEATURES_OK);
    // Only the device knows whether the choice works together.
    if !transport.status().contains(Status::FEATURES_OK) {
        transport.set_status(transport.status() | Status::FAILED);
        return Err(InitError::FeaturesRefused { features });
    }
    Ok(features)
}

/// The last step (virtio 1.4 §3.1.1, step 8): the device may work from now on.
///
/// # Errors
/// It can't, and asks for a reset.
pub fn driver_ok(transport: &dyn Transport) -> Result<(), InitError> {
    transport.set_status(transport.status() | Status::DRIVER_OK);
    if transport.status().contains(Status::DEVICE_NEEDS_RESET) {
        return Err(InitError::DeviceFailed);
    }
    Ok(())
}

/// Reads configuration space as one consistent whole: again if it changed
/// meanwhile (virtio 1.4 §2.5.1).
///
/// # Errors
/// It changed every time.
pub fn read_config_stable(
    transport: &dyn Transport,
    offset: usize,
    into: &mut [u8],
) -> Result<(), InitError> {
    for _ in 0..16 {
        let before = transport.config_generation();
        transport.read_config(offset, into);
        if transport.config_generation() == before {
            return Ok(());
        }
    }
    Err(InitError::ConfigUnstable)
}
