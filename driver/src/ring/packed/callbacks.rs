//! Used buffer notifications: asking for none, and for them again.

use std::sync::atomic::Ordering;

use virtscope_record::{Body, Flags};

use super::super::CallbackState;
use super::super::packed_layout::{EVENT_DESC, EVENT_ENABLE, Position};
use super::PackedQueue;
use crate::instrument::Instrument;
use crate::memory::QueueMemory;

impl<M: QueueMemory, I: Instrument, T> PackedQueue<M, I, T> {
    /// Linux `virtqueue_disable_cb`: asks for no used buffer notifications. The
    /// device may send some all the same. Also on
    /// [`QueueHandle`](super::QueueHandle::disable_callbacks).
    pub fn disable_callbacks(&mut self) {
        self.shared.disable_callbacks();
    }

    /// Linux `virtqueue_enable_cb_prepare`: asks for used buffer notifications
    /// again. Used buffers may be pending already, for which none will come: show
    /// the answer to [`QueueHandle::poll`](super::QueueHandle::poll) before sleeping.
    pub fn enable_callbacks_prepare(&mut self) -> CallbackState {
        self.ask_at(self.last_used().get());
        self.shared
            .record_switch(Flags::empty(), Body::CallbacksEnabled);
        CallbackState(self.last_used().to_raw())
    }

    /// Linux `virtqueue_enable_cb`: asks for used buffer notifications again.
    /// Returns `false` if used buffers are pending already, for which no
    /// notification may come: take them, then call again.
    pub fn enable_callbacks(&mut self) -> bool {
        self.enable_at(self.last_used().get())
    }

    /// Linux `virtqueue_enable_cb_delayed`: asks for a used buffer notification once
    /// three quarters of the descriptors in flight were used. Returns `false` if
    /// any are pending already: take them, then call again. (How many are pending a
    /// packed ring does not say.)
    ///
    /// Without `VIRTIO_F_EVENT_IDX` nothing can be said of how many; then the next
    /// used buffer is announced.
    pub fn enable_callbacks_delayed(&mut self) -> bool {
        let size = self.shared.size;
        // Not those that wait to be published: the device can't use them, so an
        // event among them might never come.
        let published = self.published().get();
        let last_used = self.last_used().get();
        let in_flight = published.distance_from(last_used, size);
        let most = (in_flight * 3 / 4) as u16;
        self.enable_at(last_used.advance(most, size))
    }

    fn enable_at(&self, event: Position) -> bool {
        self.ask_at(event);
        let pending = self.shared.poll(CallbackState(self.last_used().to_raw()));
        let mut flags = Flags::empty();
        flags.set(Flags::PENDING, pending);
        self.shared.record_switch(flags, Body::CallbacksEnabled);
        !pending
    }

    /// Wants to hear of the used descriptor at `event`, if that can be said, else of
    /// the next.
    fn ask_at(&self, event: Position) {
        let shared = &*self.shared;
        shared.state.callbacks_off.store(false, Ordering::Relaxed);
        let flags = if shared.features.event_idx {
            EVENT_DESC
        } else {
            EVENT_ENABLE
        };
        shared.write_event_suppression(event.to_raw(), flags);
    }
}
