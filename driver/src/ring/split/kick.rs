//! Kicks: whether the device needs to hear of what was published.

use virtscope_record::{NotificationReason, RingIndex};

use super::super::NotifyError;
use super::super::records::{self, Decision};
use super::super::split_layout::{FLAGS, USED_F_NO_NOTIFY, avail_event};
use super::SplitQueue;
use crate::instrument::Instrument;
use crate::memory::{Barrier, Order, QueueMemory, RingWords};

impl<M: QueueMemory, I: Instrument, T> SplitQueue<M, I, T> {
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
        // The device must see the new index before we look at what it asks for:
        // otherwise both sides could miss each other (virtio 1.4 §2.7.13.4).
        shared.memory.fence(Barrier::SplitKick);
        let device_area = shared.memory.device_area();
        let shown = self.slots.shown();
        let published = shown - self.announced_at_kick;
        let (old, new) = (
            RingIndex(self.announced_at_kick as u16),
            RingIndex(shown as u16),
        );
        let (mut event, mut flags) = (RingIndex(0), 0);
        let reason = if shared.features.event_idx {
            event = RingIndex(device_area.load_u16(avail_event(shared.size), Order::Relaxed));
            // Past 65535 buffers every event index was crossed.
            if published > u64::from(u16::MAX) || event.is_crossed_by(old, new) {
                NotificationReason::EventCrossed
            } else {
                NotificationReason::EventNotCrossed
            }
        } else {
            flags = device_area.load_u16(FLAGS, Order::Relaxed);
            if flags & USED_F_NO_NOTIFY == 0 {
                NotificationReason::FlagClear
            } else {
                NotificationReason::FlagSet
            }
        };
        let reason = if published == 0 {
            NotificationReason::NothingAdded
        } else {
            reason
        };
        self.announced_at_kick = shown;
        if I::ENABLED {
            let decision = Decision {
                old,
                new,
                event,
                flags,
                reason,
            };
            records::kick(shared, self.free, decision);
        }
        reason.verdict() == Some(true)
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
