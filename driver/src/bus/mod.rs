//! The virtio bus (Linux `drivers/virtio/virtio.c`): devices and drivers come and
//! go in any order, and find each other by id.
//!
//! [`Bus::register_driver`] and [`Bus::register_device`] are Linux's
//! `register_virtio_driver` and `register_virtio_device`. A device that matches is
//! brought up in the sequence of virtio 1.4 §3.1.1 and handed to the driver's
//! [`probe`](Driver::probe) as a [`Device`]: features agreed on, configuration to
//! read, queues to set up.

mod config;
mod device;
mod doorbell;
mod driver;
mod error;
mod interrupts;
mod negotiate;
mod queue;
mod slot;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

pub use device::Device;
pub use driver::{Bound, DeviceMatch, Driver};
pub use error::{BusError, InitError};
pub use interrupts::InterruptThread;
pub use negotiate::{DEVICE_TYPE_FEATURES, DriverFeatures, RING_FEATURES, choose};
pub use queue::{Queue, QueuePlan};

use crate::event::Signal;
use crate::memory::{GuestAddress, PagePool};
use crate::transport::{ConfigInterrupt, Transport};
use device::Seat;
use queue::Lives;
use slot::{RegisteredDriver, Slot};

/// A device's number on its bus; shown as its name, `virtio0`. The lowest that is
/// free is given to the next device.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct DeviceId(pub u16);

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "virtio{}", self.0)
    }
}

/// A registered driver.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct DriverId(u32);

/// What happens to a device that asks for a reset (`DEVICE_NEEDS_RESET`, virtio 1.4
/// §2.1).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Recovery {
    /// It is reset and probed again, unless it failed too often lately.
    #[default]
    Automatic,
    /// Its driver is told. Nothing more happens until [`Bus::recover`].
    ByHand,
}

/// A device, as the bus knows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeviceInfo {
    /// Its number.
    pub id: DeviceId,
    /// Its type (virtio 1.4 §5).
    pub device_type: u16,
    /// Its vendor.
    pub vendor: u32,
    /// The name of the driver that has it, if one does.
    pub driver: Option<String>,
    /// Why the last attempt to bring it up failed, if it did.
    pub error: Option<InitError>,
}

/// A bus. Dropping it takes all devices off it.
pub struct Bus {
    shared: Arc<Shared>,
    worker: Option<JoinHandle<()>>,
}

struct Shared {
    recovery: Recovery,
    members: Mutex<Members>,
    next_driver: AtomicU32,
    lives: Arc<Lives>,
    /// Some device's configuration has changed.
    changed: Arc<Signal>,
    stop: AtomicBool,
}

#[derive(Default)]
struct Members {
    devices: BTreeMap<DeviceId, Arc<Slot>>,
    drivers: BTreeMap<DriverId, Arc<RegisteredDriver>>,
}

impl Bus {
    /// A bus without devices and drivers.
    ///
    /// # Errors
    /// [`BusError::NoThread`]: there is none for configuration changes.
    pub fn new(recovery: Recovery) -> Result<Self, BusError> {
        let shared = Arc::new(Shared {
            recovery,
            members: Mutex::default(),
            next_driver: AtomicU32::new(0),
            lives: Arc::default(),
            changed: Arc::new(Signal::new()),
            stop: AtomicBool::new(false),
        });
        let worker = std::thread::Builder::new()
            .name("virtio-bus".into())
            .spawn({
                let shared = Arc::clone(&shared);
                move || shared.take_config_changes()
            });
        Ok(Self {
            shared,
            worker: Some(worker.map_err(|_| BusError::NoThread)?),
        })
    }

    /// Linux `register_virtio_driver`: devices on the bus that match and have no
    /// driver are probed before this returns.
    pub fn register_driver(&self, driver: Arc<dyn Driver>) -> DriverId {
        let id = DriverId(self.shared.next_driver.fetch_add(1, Ordering::Relaxed));
        let driver = Arc::new(RegisteredDriver::new(driver));
        let devices: Vec<Arc<Slot>> = {
            let mut members = self.shared.lock();
            members.drivers.insert(id, Arc::clone(&driver));
            members.devices.values().cloned().collect()
        };
        for device in devices {
            device.bind(&[Arc::clone(&driver)]);
        }
        id
    }

    /// Linux `unregister_virtio_driver`: its devices are removed from it, whatever is
    /// in flight, before this returns. They stay on the bus.
    ///
    /// # Errors
    /// There is no such driver.
    pub fn unregister_driver(&self, id: DriverId) -> Result<(), BusError> {
        let (driver, devices) = {
            let mut members = self.shared.lock();
            let driver = members.drivers.remove(&id);
            let driver = driver.ok_or(BusError::UnknownDriver(id))?;
            let devices: Vec<Arc<Slot>> = members.devices.values().cloned().collect();
            (driver, devices)
        };
        // Nothing is bound to it from here on.
        driver.leave();
        for device in devices {
            device.unbind_from(&driver);
        }
        Ok(())
    }

    /// Linux `register_virtio_device`: the device is reset, acknowledged, and probed
    /// by the first driver that matches and takes it on, before this returns. What
    /// went wrong, if so, is in its [`DeviceInfo`].
    ///
    /// # Errors
    /// [`BusError::Full`]: there are 65536 devices.
    pub fn register_device(&self, transport: Arc<dyn Transport>) -> Result<DeviceId, BusError> {
        let memory = Arc::clone(transport.memory());
        let (device, drivers) = {
            let mut members = self.shared.lock();
            let id = (0..=u16::MAX).map(DeviceId);
            let free = |id: &DeviceId| !members.devices.contains_key(id);
            let id = id.into_iter().find(free).ok_or(BusError::Full)?;
            let seat = Seat {
                id,
                transport,
                pages: PagePool::new(memory, GuestAddress(0)),
                lives: Arc::clone(&self.shared.lives),
                status: Arc::default(),
            };
            let device = Arc::new(Slot::new(seat, Arc::clone(&self.shared.changed)));
            members.devices.insert(id, Arc::clone(&device));
            (device, members.drivers())
        };
        device.acknowledge();
        device.bind(&drivers);
        Ok(device.id())
    }

    /// Linux `unregister_virtio_device`: removes it from its driver, whatever is in
    /// flight, and takes it off the bus.
    ///
    /// # Errors
    /// There is no such device.
    pub fn unregister_device(&self, id: DeviceId) -> Result<(), BusError> {
        let device = self.device(id)?;
        device.leave();
        // Its number is free for another only now that it is gone. Someone else may
        // have been taking it off at the same time.
        let mut members = self.shared.lock();
        let is_it = |other: &Arc<Slot>| Arc::ptr_eq(other, &device);
        if members.devices.get(&id).is_some_and(is_it) {
            members.devices.remove(&id);
        }
        Ok(())
    }

    /// Resets a device and probes it again: after it has asked for a reset, or after a
    /// driver could not bring it up.
    ///
    /// # Errors
    /// There is no such device, no driver for it, or it could not be brought up.
    pub fn recover(&self, id: DeviceId) -> Result<(), BusError> {
        let device = self.device(id)?;
        let drivers = self.shared.lock().drivers();
        device.recover(&drivers)
    }

    /// What is known of a device; `None` if there is none of this number.
    pub fn info(&self, id: DeviceId) -> Option<DeviceInfo> {
        self.device(id).ok().map(|device| device.info())
    }

    /// The devices on the bus.
    pub fn devices(&self) -> Vec<DeviceInfo> {
        let devices: Vec<Arc<Slot>> = self.shared.lock().devices.values().cloned().collect();
        devices.iter().map(|device| device.info()).collect()
    }

    fn device(&self, id: DeviceId) -> Result<Arc<Slot>, BusError> {
        let members = self.shared.lock();
        let device = members.devices.get(&id).cloned();
        device.ok_or(BusError::UnknownDevice(id))
    }
}

impl Members {
    /// The drivers in the order they came.
    fn drivers(&self) -> Vec<Arc<RegisteredDriver>> {
        self.drivers.values().cloned().collect()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Members> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The bus's thread: sees to every device whose configuration has changed.
    fn take_config_changes(&self) {
        loop {
            self.changed.wait();
            if self.stop.load(Ordering::Acquire) {
                return;
            }
            let devices: Vec<Arc<Slot>> = self.lock().devices.values().cloned().collect();
            for device in devices {
                device.take_config_change(self.recovery);
            }
        }
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.shared.changed.set();
        if let Some(worker) = self.worker.take() {
            // A panic in a driver was reported by its hook; devices still leave.
            let _ = worker.join();
        }
        let devices = std::mem::take(&mut self.shared.lock().devices);
        for device in devices.values() {
            device.leave();
        }
    }
}

impl fmt::Debug for Bus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bus")
            .field("devices", &self.devices())
            .finish_non_exhaustive()
    }
}
