//! Kicks: whether the device needs to hear of what was published.

use virtscope_record::{NotificationReason, RingIndex};

use super::super::NotifyError;
use super::super::packed_layout::{
    EVENT, EVENT_DESC, EVENT_DISABLE, EVENT_FLAGS_MASK, EventSuppression, Position,
};
use super::super::records::{self, Decision};
use super::PackedQueue;
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
        let (old, new) = (self.kicked, self.published);
        let reason = self.reason(wish);
        self.kicked = new;
        self.published_at_kick = self.descriptors_published;
        if I::ENABLED {
            let decision = Decision {
                old: old.get().to_index(),
                new: new.get().to_index(),
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
    fn reason(&self, wish: EventSuppression) -> NotificationReason {
        let shared = &*self.shared;
        let published = self.descriptors_published - self.published_at_kick;
        if published == 0 {
            return NotificationReason::NothingAdded;
        }
        match wish.flags & EVENT_FLAGS_MASK {
            EVENT_DISABLE => NotificationReason::FlagSet,
            EVENT_DESC if shared.features.event_idx => {
                let event = Position::from_raw(wish.desc);
                // Past two rounds of descriptors the places alone don't tell.
                let (old, new) = (self.kicked.get(), self.published.get());
                let moved = new.distance_from(old, shared.size);
                if published != u64::from(moved) || event.is_crossed_by(old, new, shared.size) {
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
    /// The device is gone.
    #[inline(always)]
    pub fn kick(&mut self) -> Result<bool, NotifyError> {
        if self.kick_prepare() {
            self.shared.notify()?;
            return Ok(true);
        }
        Ok(false)
    }
}
