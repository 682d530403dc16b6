//! A device as its driver sees it (Linux `struct virtio_device`).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use virtscope_record::{FeatureBits, QueueId};

use super::negotiate::{DriverFeatures, choose};
use super::queue::{Live, Lives};
use super::{DeviceId, InitError};
use crate::memory::PagePool;
use crate::transport::{ConfigInterrupt, Status, Transport};

/// How often is looked whether a reset is done, and how long is rested in between: a
/// second altogether.
const LOOKS: usize = 1000;
const REST: Duration = Duration::from_millis(1);

/// One life of a device: from the agreement on features to the next reset. Cheap to
/// clone.
#[derive(Clone)]
pub struct Device {
    inner: Arc<Inner>,
}

/// What of a device outlasts a reset.
#[derive(Clone)]
pub(super) struct Seat {
    pub(super) id: DeviceId,
    pub(super) transport: Arc<dyn Transport>,
    pub(super) pages: Arc<PagePool>,
    pub(super) lives: Arc<Lives>,
    /// Held while the status is read and written back, so that of two who write it
    /// neither undoes what the other did.
    pub(super) status: Arc<Mutex<()>>,
}

struct Inner {
    seat: Seat,
    name: String,
    features: FeatureBits,
    ready: AtomicBool,
    /// This life is over.
    over: AtomicBool,
    /// Held while it is being ended: whoever comes second waits for the first.
    ending: Mutex<()>,
    /// By index; `None` for one that is just being set up.
    queues: Mutex<BTreeMap<u16, Option<Live>>>,
}

impl Seat {
    /// Steps 1 to 6 of the initialisation (virtio 1.4 §3.1.1): reset, acknowledge,
    /// agree on features.
    ///
    /// # Errors
    /// The device does not reset; or it lacks a feature the driver needs or refuses
    /// the choice, and is then marked `FAILED`.
    pub(super) fn begin(
        &self,
        driver: &DriverFeatures,
        interrupt: ConfigInterrupt,
    ) -> Result<Device, InitError> {
        let transport = &self.transport;
        self.reset()?;
        self.add_status(Status::ACKNOWLEDGE);
        self.add_status(Status::DRIVER);
        let agreed = choose(
            transport.device_features(),
            transport.transport_features(),
            driver,
        );
        let features = agreed.inspect_err(|_| self.add_status(Status::FAILED))?;
        transport.set_driver_features(features);
        self.add_status(Status::FEATURES_OK);
        // Only the device knows whether the choice works together.
        if !transport.status().contains(Status::FEATURES_OK) {
            self.add_status(Status::FAILED);
            return Err(InitError::FeaturesRefused { features });
        }
        transport.set_config_interrupt(interrupt);
        Ok(Device {
            inner: Arc::new(Inner {
                name: self.id.to_string(),
                seat: self.clone(),
                features,
                ready: AtomicBool::new(false),
                over: AtomicBool::new(false),
                ending: Mutex::default(),
                queues: Mutex::default(),
            }),
        })
    }

    /// Linux `virtio_reset_device`: resets the device, and waits until it says that it
    /// is done (virtio 1.4 §2.4.2).
    ///
    /// # Errors
    /// It does not say so for a second.
    pub(super) fn reset(&self) -> Result<(), InitError> {
        {
            let _whole = self.lock_status();
            self.transport.set_status(Status::empty());
        }
        if poll(|| self.transport.status().is_empty()) {
            return Ok(());
        }
        let status = self.transport.status();
        Err(InitError::NoReset { status })
    }

    /// Linux `virtio_add_status`: sets bits, and clears none (virtio 1.4 §2.1.1).
    pub(super) fn add_status(&self, more: Status) {
        let _whole = self.lock_status();
        self.transport.set_status(self.transport.status() | more);
    }

    pub(super) fn lock_status(&self) -> MutexGuard<'_, ()> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks at `done` until it is, for about a second; whether it was.
pub(super) fn poll(mut done: impl FnMut() -> bool) -> bool {
    for look in 0..LOOKS {
        if look > 0 {
            std::thread::sleep(REST);
        }
        if done() {
            return true;
        }
    }
    false
}

impl Device {
    /// Which device of the bus.
    pub fn id(&self) -> DeviceId {
        self.inner.seat.id
    }

    /// Its name: `virtio0`.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Its type (virtio 1.4 §5).
    pub fn device_type(&self) -> u16 {
        self.transport().device_type()
    }

    /// The features agreed on.
    pub fn features(&self) -> FeatureBits {
        self.inner.features
    }

    /// The device status (virtio 1.4 §2.1).
    pub fn status(&self) -> Status {
        self.transport().status()
    }

    /// The stock of pages that rings and buffers come from.
    pub fn pages(&self) -> &Arc<PagePool> {
        &self.inner.seat.pages
    }

    /// How records call queue `index`.
    pub fn queue_id(&self, index: u16) -> QueueId {
        QueueId::new(self.inner.seat.id.0, index)
    }

    /// Linux `virtio_device_ready`: sets `DRIVER_OK`; the device may work from now on
    /// (virtio 1.4 §3.1.1, step 8). Notifications that were held back are sent.
    ///
    /// # Errors
    /// It can't, and asks for a reset; or it was reset since ([`InitError::Over`]).
    pub fn ready(&self) -> Result<(), InitError> {
        self.alive()?;
        if self.inner.ready.swap(true, Ordering::AcqRel) {
            // The first call may have failed.
            return match self.status().contains(Status::DEVICE_NEEDS_RESET) {
                true => Err(InitError::DeviceFailed),
                false => Ok(()),
            };
        }
        self.add_status(Status::DRIVER_OK)?;
        if self.status().contains(Status::DEVICE_NEEDS_RESET) {
            return Err(InitError::DeviceFailed);
        }
        self.open_doorbells()
    }

    /// Linux `virtio_reset_device`: ends this life of the device. Its queues are live
    /// no more, so buffers can be detached from them (virtio 1.4 §3.3).
    ///
    /// # Errors
    /// The device does not let go; then its memory is not ours again.
    pub fn reset(&self) -> Result<(), InitError> {
        let ending = self.inner.ending.lock();
        let _alone = ending.unwrap_or_else(PoisonError::into_inner);
        if self.alive().is_err() {
            return Ok(());
        }
        {
            // Nothing is written to the status in this life's name behind the reset.
            let _whole = self.inner.seat.lock_status();
            self.inner.over.store(true, Ordering::Release);
        }
        self.close_doorbells();
        let reset = self.inner.seat.reset();
        match reset {
            Ok(()) => self.queues().clear(),
            Err(_) => self.inner.over.store(false, Ordering::Release),
        }
        reset
    }

    /// The driver gives the device up: `FAILED` (virtio 1.4 §2.1). Only a reset helps.
    pub fn give_up(&self) {
        // A device that was reset has forgotten that we ever knew it.
        let _ = self.add_status(Status::FAILED);
    }

    /// Sets bits of the status, unless this life is over.
    fn add_status(&self, more: Status) -> Result<(), InitError> {
        let transport = self.transport();
        let _whole = self.inner.seat.lock_status();
        self.alive()?;
        transport.set_status(transport.status() | more);
        Ok(())
    }

    pub(super) fn lock_status(&self) -> MutexGuard<'_, ()> {
        self.inner.seat.lock_status()
    }

    /// Nothing is done to a device in the name of a life that is over.
    pub(super) fn alive(&self) -> Result<(), InitError> {
        if self.inner.over.load(Ordering::Acquire) {
            Err(InitError::Over)
        } else {
            Ok(())
        }
    }

    pub(super) fn is_ready(&self) -> bool {
        self.inner.ready.load(Ordering::Acquire)
    }

    pub(super) fn transport(&self) -> &Arc<dyn Transport> {
        &self.inner.seat.transport
    }

    pub(super) fn lives(&self) -> &Lives {
        &self.inner.seat.lives
    }

    pub(super) fn queues(&self) -> MutexGuard<'_, BTreeMap<u16, Option<Live>>> {
        self.inner
            .queues
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Device")
            .field("name", &self.inner.name)
            .field("features", &self.inner.features)
            .finish_non_exhaustive()
    }
}
