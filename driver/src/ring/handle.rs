//! What both the queue and those beside it use: memory, doorbell, instrument.

use std::sync::Arc;

use virtscope_record::{
    Body, Callback, CallbackSwitch, Flags, Layout, Notify, RingIndex, Timestamp, Token,
};

use super::packed_layout::{self, EVENT, EVENT_DISABLE, EventSuppression, Position, Tail};
use super::split_layout::{AVAIL_F_NO_INTERRUPT, FLAGS, IDX, used_event};
use super::{Features, NotifyError, QueueSize};
use crate::instrument::{Event, Instrument, Payload};
use crate::memory::{Barrier, Order, QueueMemory, RingWords};
use crate::sync::{AtomicBool, AtomicU16, AtomicU32, Ordering};

/// Rings the device's doorbell (virtio 1.4 §2.3).
pub trait Notifier: Send + Sync {
    /// Sends an available buffer notification. Must not block.
    ///
    /// # Errors
    /// The device is gone.
    fn notify(&self, notification: AvailableNotification) -> Result<(), NotifyError>;
}

/// What an available buffer notification says where `VIRTIO_F_NOTIFICATION_DATA`
/// was negotiated, beside the queue's index (virtio 1.4 §2.9): the place of the
/// next buffer not yet made available. Other transports ignore it.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct AvailableNotification {
    /// `next_off` in bits 0 to 14 and `next_wrap` in bit 15: split, the available
    /// index; packed, offset and wrap counter.
    pub next: u16,
}

impl AvailableNotification {
    /// The 32-bit word for queue `index`: `vq_index`, `next_off`, `next_wrap`
    /// (virtio 1.4 §4.1.5.2).
    pub const fn to_word(self, index: u16) -> u32 {
        index as u32 | (self.next as u32) << 16
    }
}

/// The queue as it was when callbacks were enabled: "opaque" in Linux
/// (`virtqueue_enable_cb_prepare`), to be shown to [`QueueHandle::poll`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CallbackState(pub(super) u16);

/// What Linux allows beside the other operations of a queue: notifying the
/// device, looking for used buffers, asking for no more callbacks, and taking
/// note of an interrupt. Cheap to clone.
///
/// Of the others it has none:
///
/// ```compile_fail,E0599
/// # use virtscope_driver::{instrument::NoInstrument, memory::*, ring::*};
/// fn beside(handle: &QueueHandle<SharedQueueMemory, NoInstrument>) {
///     handle.kick_prepare();
/// }
/// ```
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
    pub(super) layout: Layout,
    pub(super) features: Features,
    pub(super) instrument: I,
    pub(super) notifier: Box<dyn Notifier>,
    pub(super) state: State,
}

/// What changes while the queue works. On cache lines of its own: the constants
/// beside it are read by every operation, and a load that touches a word just
/// stored beside its own would wait for it.
#[repr(align(64))]
pub(super) struct State {
    /// How far the queue has taken used buffers, a [`Taken`]. The queue's own word,
    /// read by those beside it, for whom it may lag.
    pub(super) taken: AtomicU32,
    /// Where the next buffer will be made available, for notifications.
    next_available: AtomicU16,
    /// The device broke a rule: it is not notified any more. Late for those beside the
    /// queue, who may then notify once more; that does no harm.
    broken: AtomicBool,
    /// The driver's wish for no callbacks (Linux `event_flags_shadow`).
    pub(super) callbacks_off: AtomicBool,
    /// What the driver last asked for by index: split, `used_event`; packed, its
    /// event offset and wrap counter.
    pub(super) used_event: AtomicU16,
    /// For records only: free entries, and the driver's own suppression flags.
    pub(super) free: AtomicU16,
    event_flags: AtomicU16,
}

/// How far used buffers were taken. One word for those beside the queue, because
/// neither half says enough without the other.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Taken {
    /// Where the next used buffer will stand: split, the used index; packed, offset
    /// and wrap counter.
    pub(super) last_used: u16,
    /// Buffers of a batch (`VIRTIO_F_IN_ORDER`, packed) that are used and not yet
    /// taken: the ring no longer says so.
    pub(super) batched: u16,
}

impl Taken {
    #[inline(always)]
    const fn to_word(self) -> u32 {
        self.last_used as u32 | (self.batched as u32) << 16
    }

    const fn from_word(word: u32) -> Self {
        Self {
            last_used: word as u16,
            batched: (word >> 16) as u16,
        }
    }
}

impl<M: QueueMemory, I: Instrument> Shared<M, I> {
    pub(super) fn new(
        memory: M,
        size: QueueSize,
        layout: Layout,
        features: Features,
        instrument: I,
        notifier: Box<dyn Notifier>,
    ) -> Self {
        let start = Self::start(layout);
        Self {
            memory,
            size,
            layout,
            features,
            instrument,
            notifier,
            state: State {
                taken: AtomicU32::new(start.to_word()),
                next_available: AtomicU16::new(start.last_used),
                broken: AtomicBool::new(false),
                callbacks_off: AtomicBool::new(false),
                used_event: AtomicU16::new(0),
                free: AtomicU16::new(size.get()),
                event_flags: AtomicU16::new(0),
            },
        }
    }

    /// The words of a queue that has done nothing yet.
    pub(super) fn reset(&self) {
        let start = Self::start(self.layout);
        self.set_taken(start);
        self.state
            .next_available
            .store(start.last_used, Ordering::Relaxed);
        self.state.broken.store(false, Ordering::Relaxed);
        self.state.callbacks_off.store(false, Ordering::Relaxed);
        self.state.used_event.store(0, Ordering::Relaxed);
        self.state.free.store(self.size.get(), Ordering::Relaxed);
        self.state.event_flags.store(0, Ordering::Relaxed);
    }

    const fn start(layout: Layout) -> Taken {
        let last_used = match layout {
            Layout::Split => 0,
            Layout::Packed => Position::START.to_raw(),
        };
        Taken {
            last_used,
            batched: 0,
        }
    }

    #[inline(always)]
    pub(super) fn set_taken(&self, taken: Taken) {
        self.state.taken.store(taken.to_word(), Ordering::Relaxed);
    }

    /// What was made available ends at `next`. Called behind the store that made it
    /// available, so that no notification names a place that the device can't see yet.
    #[inline(always)]
    pub(super) fn set_next_available(&self, next: u16) {
        let order = Order::Barrier(Barrier::NotificationPlace);
        let order = self.memory.own_order(order).store();
        self.state.next_available.store(next, order);
    }

    /// The queue is broken: from now on the device is notified of nothing.
    pub(super) fn set_broken(&self) {
        self.state.broken.store(true, Ordering::Relaxed);
    }

    #[inline(always)]
    pub(super) fn taken(&self) -> Taken {
        Taken::from_word(self.state.taken.load(Ordering::Relaxed))
    }

    /// The device's used index. Acquire: used entries before it, and what the
    /// device wrote into their buffers, are seen if it is (virtio 1.4 §2.7.14).
    #[inline(always)]
    pub(super) fn split_used_index(&self) -> RingIndex {
        let order = Order::Barrier(Barrier::SplitUsed);
        RingIndex(self.memory.device_area().load_u16(IDX, order))
    }

    /// The second word of a packed descriptor. Acquire: what the device wrote into
    /// the buffer is seen if its used flags are (virtio 1.4 §2.8.22).
    #[inline(always)]
    pub(super) fn packed_tail(&self, slot: u16) -> Tail {
        let order = Order::Barrier(Barrier::PackedUsed);
        let at = packed_layout::tail_word(slot);
        Tail::from_word(self.memory.descriptor_area().load_u64(at, order))
    }

    /// Whether there are used buffers behind those taken, and the used index (a
    /// packed ring has none, and says `last_used` again). Beside the queue, also
    /// whether it is just taking some.
    fn any_used(&self, taken: Taken) -> (bool, RingIndex) {
        let last_used = taken.last_used;
        let (any, used_index) = match self.layout {
            Layout::Split => {
                let used_index = self.split_used_index();
                (used_index.0 != last_used, used_index)
            }
            Layout::Packed => {
                let at = Position::from_raw(last_used);
                let used = self.packed_tail(at.offset).is_used(at.wrap);
                (used || taken.batched > 0, RingIndex(last_used))
            }
        };
        // In a packed ring a buffer taken meanwhile may have made room for a new
        // one, and what we looked at was that. Then we see now that it was taken,
        // because that comes before every descriptor made available later.
        (any || self.taken() != taken, used_index)
    }

    /// Linux `virtqueue_poll`.
    pub(super) fn poll(&self, since: CallbackState) -> bool {
        // The device must see our wish for a callback before we look whether it
        // was too late (virtio 1.4 §2.7.14, §2.8.22).
        self.memory.fence(match self.layout {
            Layout::Split => Barrier::SplitPoll,
            Layout::Packed => Barrier::PackedPoll,
        });
        let taken = self.taken();
        taken.last_used != since.0 || self.any_used(taken).0
    }

    /// Linux `virtqueue_disable_cb`.
    pub(super) fn disable_callbacks(&self) {
        self.state.callbacks_off.store(true, Ordering::Relaxed);
        match self.layout {
            // With event indices the flag must stay 0 (virtio 1.4 §2.7.7.1) and an
            // index that lies just behind does the work: once the device has
            // decided about that entry, it won't cross it for another 65535. If it
            // has not yet, one interrupt more comes, which is allowed.
            Layout::Split if self.features.event_idx => {
                self.write_used_event(self.taken().last_used.wrapping_sub(1));
            }
            Layout::Split => self.write_avail_flags(AVAIL_F_NO_INTERRUPT),
            Layout::Packed => {
                let desc = self.state.used_event.load(Ordering::Relaxed);
                self.write_event_suppression(desc, EVENT_DISABLE);
            }
        }
        self.record_switch(Flags::empty(), Body::CallbacksDisabled);
    }

    /// Split: `flags` of the available ring.
    pub(super) fn write_avail_flags(&self, flags: u16) {
        self.memory
            .driver_area()
            .store_u16(FLAGS, flags, Order::Relaxed);
        self.note_flags(flags);
    }

    /// Split: `used_event`.
    #[inline(always)]
    pub(super) fn write_used_event(&self, index: u16) {
        self.memory
            .driver_area()
            .store_u16(used_event(self.size), index, Order::Relaxed);
        self.state.used_event.store(index, Ordering::Relaxed);
    }

    /// Packed: the driver event suppression.
    #[inline(always)]
    pub(super) fn write_event_suppression(&self, desc: u16, flags: u16) {
        let word = EventSuppression { desc, flags }.to_word();
        self.memory
            .driver_area()
            .store_u32(EVENT, word, Order::Relaxed);
        self.state.used_event.store(desc, Ordering::Relaxed);
        self.note_flags(flags);
    }

    /// Remembers, for records, what was written as `avail.flags` or as packed event
    /// flags.
    #[inline(always)]
    fn note_flags(&self, flags: u16) {
        if I::ENABLED {
            self.state.event_flags.store(flags, Ordering::Relaxed);
        }
    }

    /// The flags that all records of this queue carry.
    pub(super) fn record_flags(&self) -> Flags {
        let mut flags = Flags::empty();
        flags.set(Flags::EVENT_IDX, self.features.event_idx);
        flags.set(Flags::PACKED, self.layout == Layout::Packed);
        flags
    }

    /// Writes one record. Inlined, so that the body goes from where its kind is known
    /// to the instrument in registers.
    #[inline(always)]
    pub(super) fn emit(
        &self,
        time: Timestamp,
        token: Token,
        flags: Flags,
        body: Body,
        payload: Payload<'_>,
    ) {
        let event = Event {
            time,
            token,
            flags: flags | self.record_flags(),
            body,
        };
        self.instrument.emit(event, payload);
    }

    pub(super) fn notify(&self) -> Result<(), NotifyError> {
        // The device may act on it before we return: the record says when it was sent,
        // and whether it was.
        let time = self.instrument.stamp();
        let free = if I::ENABLED {
            self.state.free.load(Ordering::Relaxed)
        } else {
            0
        };
        let notified = if self.state.broken.load(Ordering::Relaxed) {
            Err(NotifyError)
        } else {
            let order = Order::Barrier(Barrier::NotificationSent);
            let order = self.memory.own_order(order).load();
            self.notifier.notify(AvailableNotification {
                next: self.state.next_available.load(order),
            })
        };
        if I::ENABLED {
            let notify = Notify {
                free,
                error: notified.map_or_else(NotifyError::errno, |()| 0),
            };
            self.emit(
                time,
                Token::default(),
                Flags::empty(),
                Body::Notify(notify),
                Payload::none(),
            );
        }
        notified
    }

    pub(super) fn record_switch(&self, flags: Flags, body: impl FnOnce(CallbackSwitch) -> Body) {
        if I::ENABLED {
            let switch = CallbackSwitch {
                free: self.state.free.load(Ordering::Relaxed),
                error: 0,
                last_used: RingIndex(self.taken().last_used),
                used_event: RingIndex(self.state.used_event.load(Ordering::Relaxed)),
                event_flags: self.state.event_flags.load(Ordering::Relaxed),
            };
            self.emit(
                self.instrument.stamp(),
                Token::default(),
                flags,
                body(switch),
                Payload::none(),
            );
        }
    }
}

impl<M: QueueMemory, I: Instrument> QueueHandle<M, I> {
    /// Linux `virtqueue_notify`: tells the device that buffers are available.
    /// Need not be serialised.
    ///
    /// # Errors
    /// The device is gone, or the queue is broken.
    pub fn notify(&self) -> Result<(), NotifyError> {
        self.shared.notify()
    }

    /// Linux `virtqueue_poll`: whether buffers were used that were not when `since`
    /// was taken by `enable_callbacks_prepare`. Need not be serialised, but then
    /// they may be taken already, or just now, by someone else.
    pub fn poll(&self, since: CallbackState) -> bool {
        self.shared.poll(since)
    }

    /// Linux `virtqueue_disable_cb`: asks for no used buffer notifications. The
    /// device may send some all the same. Need not be serialised, and is then
    /// "unreliable and only useful as an optimization": the queue's own operations
    /// may be asking for them again.
    pub fn disable_callbacks(&self) {
        self.shared.disable_callbacks();
    }

    /// Linux `virtqueue_get_vring_size`: the Queue Size. Need not be serialised.
    pub fn size(&self) -> QueueSize {
        self.shared.size
    }

    /// Linux `vring_interrupt`: a used buffer notification arrived. Returns
    /// whether there is anything used; if not, it was spurious. Need not be
    /// serialised, but then `true` may mean that someone else is just taking it;
    /// `false` is certain for buffers returned before this notification, because
    /// taking them is the only way they stop being pending.
    pub fn interrupt(&self) -> bool {
        let shared = &*self.shared;
        let taken = shared.taken();
        let (any, used_index) = shared.any_used(taken);
        if I::ENABLED {
            let mut flags = Flags::empty();
            flags.set(Flags::SPURIOUS, !any);
            let callback = Callback {
                free: shared.state.free.load(Ordering::Relaxed),
                error: 0,
                used_index,
                last_used: RingIndex(taken.last_used),
                used_event: RingIndex(shared.state.used_event.load(Ordering::Relaxed)),
                event_flags: shared.state.event_flags.load(Ordering::Relaxed),
            };
            shared.emit(
                shared.instrument.stamp(),
                Token::default(),
                flags,
                Body::Callback(callback),
                Payload::none(),
            );
        }
        any
    }
}
