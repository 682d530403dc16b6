//! Why a device could not be brought up, and what a bus refuses.

use virtscope_record::FeatureBits;

use super::{DeviceId, DriverId};
use crate::memory::{NoPages, OutOfRange};
use crate::ring::InvalidQueueSize;
use crate::transport::Status;

/// Why a device could not be brought up.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InitError {
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
    /// A queue did not come out of its reset.
    #[error("the device does not reset queue {index}")]
    NoQueueReset {
        /// The queue's index.
        index: u16,
    },
    /// `VIRTIO_F_RING_RESET` was not negotiated.
    #[error("queue {index} can't be reset by itself: VIRTIO_F_RING_RESET was not negotiated")]
    QueueResetNotNegotiated {
        /// The queue's index.
        index: u16,
    },
    /// The device has no such queue.
    #[error("the device has no queue {index}")]
    NoQueue {
        /// The queue's index.
        index: u16,
    },
    /// The queue is in use already.
    #[error("queue {index} is set up already")]
    QueueInUse {
        /// The queue's index.
        index: u16,
    },
    /// The device wants a queue that its layout forbids.
    #[error(transparent)]
    QueueSize(#[from] InvalidQueueSize),
    /// The ring does not fit where it was put.
    #[error(transparent)]
    QueueMemory(#[from] OutOfRange),
    /// Guest memory is used up.
    #[error("no room for a ring: {0}")]
    NoMemory(#[from] NoPages),
    /// No thread for the interrupts.
    #[error("no thread could be started to take the device's interrupts")]
    NoThread,
    /// The device asks for a reset.
    #[error("the device has failed: it asks for a reset")]
    DeviceFailed,
    /// It was reset since the driver got it: this life of the device is over.
    #[error("the device was reset since")]
    Over,
    /// The configuration kept changing while it was read.
    #[error("the device's configuration changes faster than it can be read")]
    ConfigUnstable,
    /// Configuration space ends before a field that is needed.
    #[error("the device's configuration has {len} bytes where {needed} are needed")]
    ConfigTooShort {
        /// Bytes it must have.
        needed: usize,
        /// Bytes it has.
        len: usize,
    },
    /// A field of the configuration whose feature was not negotiated (virtio 1.4
    /// §2.5.1).
    #[error(
        "a configuration field that belongs to the features {feature}, which were not agreed on"
    )]
    ConfigNotOffered {
        /// The feature it belongs to.
        feature: FeatureBits,
    },
    /// The driver finds the device unfit, for a reason of its own.
    #[error("{0}")]
    Unfit(&'static str),
}

/// What a bus could not do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BusError {
    /// There is no such device, or not any more.
    #[error("there is no device {0} on the bus")]
    UnknownDevice(DeviceId),
    /// There is no such driver, or not any more.
    #[error("there is no driver {0:?} on the bus")]
    UnknownDriver(DriverId),
    /// All device numbers are in use.
    #[error("the bus has no number left for a device")]
    Full,
    /// No driver that would take the device.
    #[error("no driver on the bus is for device {0}")]
    NoDriver(DeviceId),
    /// The device could not be brought up.
    #[error(transparent)]
    Init(#[from] InitError),
    /// No thread for configuration changes.
    #[error("no thread could be started for the bus")]
    NoThread,
}
