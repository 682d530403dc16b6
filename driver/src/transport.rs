//! What a transport must offer for a device to be brought up on it: status,
//! features, configuration, queues (virtio 1.4 §2.1 to §2.6, §4).

use std::fmt;
use std::sync::Arc;

use virtscope_record::{FeatureBits, Generation};

use crate::event::Signal;
use crate::memory::{GuestMemory, QueueAddresses};
use crate::ring::{AvailableNotification, NotifyError, QueueSize};

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
        /// The device is suspended. Never set by this driver, which does not
        /// accept `VIRTIO_F_SUSPEND` (virtio 1.4 §3.4.1).
        const SUSPEND = 16;
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
    /// The life of the queue that begins, as the driver's records count it: a device
    /// that makes records of its own uses the same number.
    pub generation: Generation,
}

/// What the device calls, from a thread of its own, to send a configuration change
/// notification (virtio 1.4 §2.3). It does not block.
#[derive(Clone)]
pub struct ConfigInterrupt(Arc<dyn Fn() + Send + Sync>);

impl ConfigInterrupt {
    /// An interrupt that calls `raise`.
    pub fn new(raise: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Arc::new(raise))
    }

    /// Sends the notification.
    pub fn raise(&self) {
        (self.0)();
    }
}

impl fmt::Debug for ConfigInterrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ConfigInterrupt")
    }
}

/// The way to one device. All methods may be called from any thread.
pub trait Transport: Send + Sync {
    /// The device's type (virtio 1.4 §5).
    fn device_type(&self) -> u16;

    /// The device's vendor, where the transport has such a number (virtio 1.4
    /// §4.2.2, `VendorID`).
    fn vendor(&self) -> u32 {
        0
    }

    /// Of the features that need something of the transport, those that it has the
    /// means for (virtio 1.4 §2.2.1).
    fn transport_features(&self) -> FeatureBits {
        FeatureBits::NOTIFICATION_DATA.union(FeatureBits::RING_RESET)
    }

    /// The features the device offers (virtio 1.4 §2.2).
    fn device_features(&self) -> FeatureBits;

    /// Tells it the features the driver accepts.
    fn set_driver_features(&self, features: FeatureBits);

    /// The device status (virtio 1.4 §2.1).
    fn status(&self) -> Status;

    /// Writes the device status. An empty one resets the device, which is done when
    /// the status reads as empty (virtio 1.4 §2.4).
    fn set_status(&self, status: Status);

    /// Bytes of configuration space.
    fn config_len(&self) -> usize;

    /// Copies configuration space from `offset` on into `into`; bytes past its
    /// end read as zero (virtio 1.4 §2.5).
    fn read_config(&self, offset: usize, into: &mut [u8]);

    /// Writes configuration space from `offset` on. What the device does not let be
    /// written stays as it is.
    fn write_config(&self, offset: usize, from: &[u8]);

    /// Changes whenever the configuration does (virtio 1.4 §2.5.2).
    fn config_generation(&self) -> u32;

    /// Where configuration change notifications go until the next reset.
    fn set_config_interrupt(&self, interrupt: ConfigInterrupt);

    /// The largest size of queue `index`; `None` if there is no such queue.
    fn max_queue_size(&self, index: u16) -> Option<QueueSize>;

    /// Sets up and enables queue `index`.
    fn enable_queue(&self, index: u16, setup: QueueSetup);

    /// Whether queue `index` is enabled (virtio 1.4 §4.1.4.3, `queue_enable`).
    fn queue_enabled(&self, index: u16) -> bool;

    /// Resets queue `index`, with `VIRTIO_F_RING_RESET` (virtio 1.4 §2.6.1). The
    /// device has let go of it when it is no longer enabled.
    fn reset_queue(&self, index: u16);

    /// Sends an available buffer notification for queue `index`; what it says beside
    /// that matters with `VIRTIO_F_NOTIFICATION_DATA` only.
    ///
    /// # Errors
    /// The device is gone.
    fn notify(&self, index: u16, notification: AvailableNotification) -> Result<(), NotifyError>;

    /// The memory that driver and device share.
    fn memory(&self) -> &Arc<GuestMemory>;
}
