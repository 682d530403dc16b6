//! The doorbell of one queue in one life of its device.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU16, Ordering};

use crate::ring::{AvailableNotification, Notifier, NotifyError};
use crate::transport::Transport;

/// Before `DRIVER_OK`: nothing may be sent (virtio 1.4 §3.1.1).
const HELD: u8 = 0;
/// The same, and something is to be sent as soon as it may.
const WITHHELD: u8 = 1;
const OPEN: u8 = 2;
/// The device or the queue was reset since.
const CLOSED: u8 = 3;

/// Sends notifications while the queue is live, and holds back what comes before
/// `DRIVER_OK`.
pub(super) struct Doorbell {
    transport: Arc<dyn Transport>,
    index: u16,
    state: AtomicU8,
    /// What the notification held back says.
    withheld: AtomicU16,
}

impl Doorbell {
    pub(super) fn new(transport: Arc<dyn Transport>, index: u16) -> Self {
        Self {
            transport,
            index,
            state: AtomicU8::new(HELD),
            withheld: AtomicU16::new(0),
        }
    }

    /// `DRIVER_OK` is set: sends what was held back.
    ///
    /// # Errors
    /// The device is gone.
    pub(super) fn open(&self) -> Result<(), NotifyError> {
        let opened = self
            .state
            .try_update(Ordering::AcqRel, Ordering::Acquire, |state| {
                (state != CLOSED).then_some(OPEN)
            });
        match opened {
            Ok(WITHHELD) => self.send(AvailableNotification {
                next: self.withheld.load(Ordering::Relaxed),
            }),
            Ok(_) => Ok(()),
            Err(_) => Err(NotifyError),
        }
    }

    /// The queue is live no more: nothing is sent from now on but by who is just doing
    /// so.
    pub(super) fn close(&self) {
        self.state.store(CLOSED, Ordering::Release);
    }

    fn send(&self, notification: AvailableNotification) -> Result<(), NotifyError> {
        self.transport.notify(self.index, notification)
    }
}

/// What the ring has of it.
pub(super) struct Ringer(pub(super) Arc<Doorbell>);

impl Notifier for Ringer {
    fn notify(&self, notification: AvailableNotification) -> Result<(), NotifyError> {
        let bell = &*self.0;
        loop {
            let state = bell.state.load(Ordering::Acquire);
            match state {
                OPEN => return bell.send(notification),
                CLOSED => return Err(NotifyError),
                _ => {}
            }
            bell.withheld.store(notification.next, Ordering::Relaxed);
            let held =
                bell.state
                    .compare_exchange(state, WITHHELD, Ordering::AcqRel, Ordering::Acquire);
            // Else it was opened or closed meanwhile.
            if held.is_ok() {
                return Ok(());
            }
        }
    }
}
