//! Kicks: whether the device needs to hear of what was published.

use virtscope_record::{NotificationReason, RingIndex};

use super::super::NotifyError;
use super::super::packed_layout::{
    EVENT, EVENT_DESC, EVENT_DISABLE, EVENT_FLAGS_MASK, EventSuppression, Position,
};
use super::super::records::{self, Decision};
use super::{Cursor, PackedQueue};
use crate::instrument::Instrument;
use crate::memory::{Barrier, Order, QueueMemory, RingWords};

impl<M: QueueMemory, I: Instrument, T> PackedQueue<M, I, T> {
    /// Linux `virtqueue_kick_prepare`: whether the device needs an available
    /// buffer notification for what was published since the last decision.
    ///
    /// If `true`, call [`QueueHandle::notify`](super::QueueHandle::notify), which need not be serialised.
    /// Where nothing was published the answer is `false`, and so it is on a queue that
    /// is broken or from which buffers were detached.
    #[inline(always)]
    pub fn kick_prepare(&mut self) -> bool {
        if self.closed {
            return false;
        }
        let shared = &*self.shared;
        // The device must see the new flags before we look at what it asks for:
        // otherwise both sides could miss each other (virtio 1.4 §2.8.21.3.1).
        shared.memory.fence(Barrier::PackedKick);
        let word = shared.memory.device_area().load_u32(EVENT, Order::Relaxed);
        let wish = EventSuppression::from_word(word);
        let (old, new) = (self.kicked, self.published());
        let reason = self.reason(old, new, wish);
        self.kicked = new;
        if I::ENABLED {
            let decision = Decision {
                old: old.to_index(),
                new: new.to_index(),
                event: RingIndex(wish.desc),
                flags: wish.flags,
                reason,
            };
            records::kick(&self.shared, self.free, decision);
        }
        reason.verdict() == Some(true)
    }

    /// Why the device needs to hear of what was published, or does not.
    #[inline(always)]
    fn reason(&self, old: Cursor, new: Cursor, wish: EventSuppression) -> NotificationReason {
        let shared = &*self.shared;
        if old == new {
            return NotificationReason::NothingAdded;
        }
        match wish.flags & EVENT_FLAGS_MASK {
            EVENT_DISABLE => NotificationReason::FlagSet,
            EVENT_DESC if shared.features.event_idx => {
                let event = Position::from_raw(wish.desc);
                // Past two rounds every place was crossed, and the two alone don't tell.
                let rounds = 2 * u64::from(shared.size.get());
                if new.distance_from(old, shared.size) >= rounds
                    || event.is_crossed_by(old.get(), new.get(), shared.size)
                {
                    NotificationReason::EventCrossed
                } else {
                    NotificationReason::EventNotCrossed
                }
            }
            // Also for what is reserved or was not negotiated: a notification too
            // many does no harm.
            _ => NotificationReason::FlagClear,
        }
    }

    /// Linux `virtqueue_kick`: [`kick_prepare`](Self::kick_prepare), and
    /// [`notify`](super::QueueHandle::notify) if needed. Returns whether the device was
    /// notified.
    ///
    /// # Errors
    /// The device is gone, or the queue is broken.
    #[inline(always)]
    pub fn kick(&mut self) -> Result<bool, NotifyError> {
        if self.closed {
            return self.broken.map_or(Ok(false), |_| Err(NotifyError));
        }
        if self.kick_prepare() {
            self.shared.notify()?;
            return Ok(true);
        }
        Ok(false)
    }
}
