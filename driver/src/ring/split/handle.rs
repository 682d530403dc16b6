//! What both the queue and those beside it use: memory, doorbell, instrument.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use virtscope_record::{Body, Callback, Flags, Notify, RingIndex, Timestamp, Token};

use super::super::split_layout::{IDX, used_entry};
use super::super::{NotifyError, QueueSize};
use super::Features;
use crate::instrument::{Event, Instrument, Payload};
use crate::memory::{QueueMemory, RingWords};

/// Rings the device's doorbell (virtio 1.4 §2.3).
pub trait Notifier: Send + Sync {
    /// Sends an available buffer notification. Must not block.
    ///
    /// # Errors
    /// The device is gone.
    fn notify(&self) -> Result<(), NotifyError>;
}

/// What Linux allows beside the other operations of a queue: notifying the
/// device, and taking note of an interrupt. Cheap to clone.
pub struct QueueHandle<M, I> {
    pub(super) shared: Arc<Shared<M, I>>,
}

impl<M, I> Clone for QueueHandle<M, I> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

pub(super) struct Shared<M, I> {
    pub(super) memory: M,
    pub(super) size: QueueSize,
    pub(super) features: Features,
    pub(super) instrument: I,
    pub(super) notifier: Box<dyn Notifier>,
    /// Copies of the driver's own state for what runs outside the queue's lock:
    /// records, and `interrupt`'s answer. They may lag while the queue works.
    pub(super) last_used: AtomicU16,
    pub(super) free: AtomicU16,
    pub(super) callbacks: AtomicU16,
    pub(super) used_event: AtomicU16,
}

/// A used entry as the device wrote it: nothing in it is believed yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct UsedEntry {
    /// The used index seen beside it.
    pub(super) used_index: RingIndex,
    pub(super) id: u32,
    pub(super) length: u32,
}

impl<M: QueueMemory, I: Instrument> Shared<M, I> {
    /// The device's used index. Acquire: used entries before it, and what the
    /// device wrote into their buffers, are seen if it is (virtio 1.4 §2.7.14).
    pub(super) fn used_index(&self) -> RingIndex {
        let area = self.memory.device_area();
        RingIndex(area.load_u16(IDX, Ordering::Acquire))
    }

    /// The used entry at `position`, if the device has put one there.
    pub(super) fn used_entry(&self, position: RingIndex) -> Option<UsedEntry> {
        let used_index = self.used_index();
        if used_index == position {
            return None;
        }
        let area = self.memory.device_area();
        let at = used_entry(position.0 & self.size.mask());
        Some(UsedEntry {
            used_index,
            id: area.load_u32(at, Ordering::Relaxed),
            length: area.load_u32(at + 4, Ordering::Relaxed),
        })
    }

    pub(super) fn suppression_flags(&self) -> Flags {
        if self.features.event_idx {
            Flags::EVENT_IDX
        } else {
            Flags::empty()
        }
    }

    pub(super) fn notify(&self) -> Result<(), NotifyError> {
        let time = self.instrument.stamp();
        if I::ENABLED {
            // Recorded first: the device may act on it before we return.
            self.emit_notify(time);
        }
        self.notifier.notify()
    }

    fn emit_notify(&self, time: Timestamp) {
        self.instrument.emit(
            Event {
                time,
                token: Token::default(),
                flags: self.suppression_flags(),
                body: Body::Notify(Notify {
                    free: self.free.load(Ordering::Relaxed),
                    error: 0,
                }),
            },
            Payload::none(),
        );
    }
}

impl<M: QueueMemory, I: Instrument> QueueHandle<M, I> {
    /// Linux `virtqueue_notify`: tells the device that buffers are available.
    /// Need not be serialised.
    ///
    /// # Errors
    /// The device is gone.
    pub fn notify(&self) -> Result<(), NotifyError> {
        self.shared.notify()
    }

    /// Linux `vring_interrupt`: a used buffer notification arrived. Returns
    /// whether there is anything used; if not, it was spurious. Need not be
    /// serialised, but then `true` may mean that someone else is just taking it;
    /// `false` is certain for buffers returned before this notification, because
    /// taking them is the only way they stop being pending.
    pub fn interrupt(&self) -> bool {
        let shared = &*self.shared;
        let used_index = shared.used_index();
        let last_used = RingIndex(shared.last_used.load(Ordering::Relaxed));
        let any = used_index != last_used;
        if I::ENABLED {
            let mut flags = shared.suppression_flags();
            flags.set(Flags::SPURIOUS, !any);
            shared.instrument.emit(
                Event {
                    time: shared.instrument.stamp(),
                    token: Token::default(),
                    flags,
                    body: Body::Callback(Callback {
                        free: shared.free.load(Ordering::Relaxed),
                        error: 0,
                        used_index,
                        last_used,
                        used_event: RingIndex(shared.used_event.load(Ordering::Relaxed)),
                        event_flags: shared.callbacks.load(Ordering::Relaxed),
                    }),
                },
                Payload::none(),
            );
        }
        any
    }
}
