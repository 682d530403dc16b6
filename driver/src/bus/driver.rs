//! What a driver is to the bus (Linux `struct virtio_driver`).

use super::{Device, DriverFeatures, InitError};

/// Which devices a driver is for (Linux `struct virtio_device_id`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DeviceMatch {
    /// The device type (virtio 1.4 §5); `None` is any (Linux `VIRTIO_DEV_ANY_ID`).
    pub device_type: Option<u16>,
    /// The vendor; `None` is any.
    pub vendor: Option<u32>,
}

impl DeviceMatch {
    /// Devices of this type, whoever made them.
    pub const fn of_type(device_type: u16) -> Self {
        Self {
            device_type: Some(device_type),
            vendor: None,
        }
    }

    /// Linux `virtio_id_match`: whether a device is one of these.
    pub fn matches(&self, device_type: u16, vendor: u32) -> bool {
        self.device_type.is_none_or(|wanted| wanted == device_type)
            && self.vendor.is_none_or(|wanted| wanted == vendor)
    }
}

/// A driver (Linux `struct virtio_driver`). Its methods, and those of what it binds,
/// are called while the bus holds the device: they must not call the bus.
pub trait Driver: Send + Sync {
    /// Its name.
    fn name(&self) -> &str;

    /// The devices it is for.
    fn ids(&self) -> &[DeviceMatch];

    /// The features it knows.
    fn features(&self) -> DriverFeatures;

    /// Brings `device` up: queues, and what else it needs (virtio 1.4 §3.1.1, steps 7
    /// and 8). Features are agreed on. The bus sets `DRIVER_OK` afterwards, unless
    /// the driver did so by [`Device::ready`].
    ///
    /// # Errors
    /// It can't drive this one: the bus sets `FAILED`, and lets the next driver try.
    fn probe(&self, device: &Device) -> Result<Box<dyn Bound>, InitError>;
}

/// A device that a driver has taken on. Dropping it gives the device up without a
/// reset; the bus calls [`remove`](Self::remove).
pub trait Bound: Send + Sync {
    /// The configuration has changed (Linux `virtio_driver::config_changed`).
    fn config_changed(&self) {}

    /// The device asks for a reset, or is about to be taken away from a driver that
    /// may be waiting for it: no operation will be completed any more (virtio 1.4
    /// §2.1.1). A reset follows by [`remove`](Self::remove), if it does.
    fn failed(&self);

    /// Linux `virtio_driver::remove`: resets the device, so that nothing in flight is
    /// the device's any more, and gives everything back.
    fn remove(self: Box<Self>);
}
