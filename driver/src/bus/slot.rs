//! A device's place on the bus: who drives it, and what becomes of it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::device::Seat;
use super::{
    Bound, BusError, ConfigInterrupt, Device, DeviceId, DeviceInfo, Driver, InitError, Recovery,
};
use crate::event::Signal;
use crate::transport::Status;

/// A device that fails more often than this within the time below is not recovered
/// again by itself: it would keep everyone busy and serve nobody.
const RECOVERIES: usize = 5;
const LATELY: Duration = Duration::from_secs(60);

/// A driver on the bus.
pub(super) struct RegisteredDriver {
    driver: Arc<dyn Driver>,
    gone: AtomicBool,
}

impl RegisteredDriver {
    pub(super) fn new(driver: Arc<dyn Driver>) -> Self {
        Self {
            driver,
            gone: AtomicBool::new(false),
        }
    }

    /// It takes on no device from now on.
    pub(super) fn leave(&self) {
        self.gone.store(true, Ordering::Release);
    }

    fn is_for(&self, seat: &Seat) -> bool {
        let (device_type, vendor) = (seat.transport.device_type(), seat.transport.vendor());
        !self.gone.load(Ordering::Acquire)
            && self
                .driver
                .ids()
                .iter()
                .any(|id| id.matches(device_type, vendor))
    }
}

/// A device on the bus.
pub(super) struct Slot {
    seat: Seat,
    config_changed: Arc<AtomicBool>,
    bus: Arc<Signal>,
    /// Linux `device_lock`: held while a driver is probed or removed.
    binding: Mutex<Binding>,
}

#[derive(Default)]
struct Binding {
    holder: Option<Holder>,
    error: Option<InitError>,
    /// Off the bus.
    gone: bool,
    recoveries: VecDeque<Instant>,
}

/// The driver that has the device.
struct Holder {
    driver: Arc<RegisteredDriver>,
    device: Device,
    bound: Box<dyn Bound>,
}

impl Slot {
    pub(super) fn new(seat: Seat, bus: Arc<Signal>) -> Self {
        Self {
            seat,
            config_changed: Arc::default(),
            bus,
            binding: Mutex::default(),
        }
    }

    pub(super) fn id(&self) -> DeviceId {
        self.seat.id
    }

    pub(super) fn info(&self) -> DeviceInfo {
        let binding = self.lock();
        let holder = binding.holder.as_ref();
        DeviceInfo {
            id: self.seat.id,
            device_type: self.seat.transport.device_type(),
            vendor: self.seat.transport.vendor(),
            driver: holder.map(|holder| holder.driver.driver.name().to_owned()),
            error: binding.error,
        }
    }

    /// A new device, or one that lost its driver: in a state that is known, and
    /// noticed (virtio 1.4 §3.1.1, steps 1 and 2).
    pub(super) fn acknowledge(&self) {
        let mut binding = self.lock();
        // A driver that was faster than us has done as much.
        if binding.holder.is_none() && !binding.gone {
            self.acknowledge_locked(&mut binding);
        }
    }

    fn acknowledge_locked(&self, binding: &mut Binding) {
        match self.seat.reset() {
            Ok(()) => self.seat.add_status(Status::ACKNOWLEDGE),
            Err(error) => binding.error = Some(error),
        }
    }

    /// Lets the drivers that match try in turn, unless one has the device.
    pub(super) fn bind(&self, drivers: &[Arc<RegisteredDriver>]) {
        self.bind_locked(&mut self.lock(), drivers);
    }

    /// Whether some driver was for it.
    fn bind_locked(&self, binding: &mut Binding, drivers: &[Arc<RegisteredDriver>]) -> bool {
        let mut any = false;
        for driver in drivers {
            if binding.holder.is_some() || binding.gone {
                break;
            }
            if !driver.is_for(&self.seat) {
                continue;
            }
            any = true;
            match self.probe(driver) {
                Ok(holder) => {
                    binding.holder = Some(holder);
                    binding.error = None;
                }
                Err(error) => binding.error = Some(error),
            }
        }
        any
    }

    /// Linux `virtio_dev_probe`.
    fn probe(&self, driver: &Arc<RegisteredDriver>) -> Result<Holder, InitError> {
        self.config_changed.store(false, Ordering::Release);
        let (changed, bus) = (Arc::clone(&self.config_changed), Arc::clone(&self.bus));
        let interrupt = ConfigInterrupt::new(move || {
            changed.store(true, Ordering::Release);
            bus.set();
        });
        let device = self.seat.begin(&driver.driver.features(), interrupt)?;
        let bound = driver
            .driver
            .probe(&device)
            .inspect_err(|_| self.fail(&device))?;
        if let Err(error) = device.ready() {
            device.give_up();
            bound.failed();
            bound.remove();
            self.fail(&device);
            return Err(error);
        }
        Ok(Holder {
            driver: Arc::clone(driver),
            device,
            bound,
        })
    }

    /// The driver could not bring the device up. It is stopped, so that no queue of
    /// the attempt stays live, and left with `FAILED` (virtio 1.4 §3.1.1).
    fn fail(&self, device: &Device) {
        device.give_up();
        // One that does not reset is not ours to touch; the next probe begins with
        // a reset again.
        if device.reset().is_ok() {
            self.seat.add_status(Status::ACKNOWLEDGE | Status::FAILED);
        }
    }

    pub(super) fn unbind_from(&self, driver: &Arc<RegisteredDriver>) {
        let mut binding = self.lock();
        let is_it = |holder: &mut Holder| Arc::ptr_eq(&holder.driver, driver);
        if let Some(holder) = binding.holder.take_if(is_it) {
            holder.remove(&mut binding);
            self.acknowledge_locked(&mut binding);
        }
    }

    /// The device leaves the bus.
    pub(super) fn leave(&self) {
        let mut binding = self.lock();
        if std::mem::replace(&mut binding.gone, true) {
            return;
        }
        match binding.holder.take() {
            Some(holder) => holder.remove(&mut binding),
            // Nobody has it. One that does not reset is not ours to help.
            None => drop(self.seat.reset()),
        }
    }

    pub(super) fn recover(&self, drivers: &[Arc<RegisteredDriver>]) -> Result<(), BusError> {
        let mut binding = self.lock();
        if binding.gone {
            return Err(BusError::UnknownDevice(self.seat.id));
        }
        if let Some(holder) = binding.holder.take() {
            holder.bound.failed();
            holder.remove(&mut binding);
        }
        if !self.bind_locked(&mut binding, drivers) {
            return Err(BusError::NoDriver(self.seat.id));
        }
        match (&binding.holder, binding.error) {
            (None, Some(error)) => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// A configuration change notification may have come.
    pub(super) fn take_config_change(&self, recovery: Recovery) {
        if !self.config_changed.swap(false, Ordering::AcqRel) {
            return;
        }
        let mut binding = self.lock();
        let Some(holder) = &binding.holder else {
            return;
        };
        if !holder.device.status().contains(Status::DEVICE_NEEDS_RESET) {
            holder.bound.config_changed();
            return;
        }
        holder.device.give_up();
        holder.bound.failed();
        if recovery == Recovery::ByHand || !binding.may_recover() {
            return;
        }
        if let Some(holder) = binding.holder.take() {
            let driver = Arc::clone(&holder.driver);
            holder.remove(&mut binding);
            self.bind_locked(&mut binding, &[driver]);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Binding> {
        self.binding.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Holder {
    /// Linux `virtio_dev_remove`: the driver lets go, and the device is reset in any
    /// case.
    fn remove(self, binding: &mut Binding) {
        self.bound.remove();
        // The driver has done it, or could not.
        if let Err(error) = self.device.reset() {
            binding.error = Some(error);
        }
    }
}

impl Binding {
    /// Whether the device has not failed too often lately; counts this time.
    fn may_recover(&mut self) -> bool {
        let now = Instant::now();
        self.recoveries
            .retain(|time| now.duration_since(*time) < LATELY);
        self.recoveries.push_back(now);
        self.recoveries.len() <= RECOVERIES
    }
}
