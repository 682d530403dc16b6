//! Used buffer notifications: asking for none, and for them again.

use std::sync::atomic::Ordering;

use virtscope_record::{Body, Flags, RingIndex};

use super::super::CallbackState;
use super::SplitQueue;
use crate::instrument::Instrument;
use crate::memory::{Barrier, QueueMemory};

impl<M: QueueMemory, I: Instrument, T> SplitQueue<M, I, T> {
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
        self.ask_at(self.last_used());
        self.shared
            .record_switch(Flags::empty(), Body::CallbacksEnabled);
        CallbackState(self.last_used().0)
    }

    /// Linux `virtqueue_enable_cb`: asks for used buffer notifications again.
    /// Returns `false` if used buffers are pending already, for which no
    /// notification may come: take them, then call again.
    pub fn enable_callbacks(&mut self) -> bool {
        self.ask_at(self.last_used());
        let pending = self.shared.poll(CallbackState(self.last_used().0));
        let mut flags = Flags::empty();
        flags.set(Flags::PENDING, pending);
        self.shared.record_switch(flags, Body::CallbacksEnabled);
        !pending
    }

    /// Linux `virtqueue_enable_cb_delayed`: asks for a used buffer notification once
    /// three quarters of the buffers in flight were used. Returns `false` if as
    /// many are pending already: take them, then call again.
    ///
    /// Without `VIRTIO_F_EVENT_IDX` nothing can be said of how many; then the next
    /// used buffer is announced.
    pub fn enable_callbacks_delayed(&mut self) -> bool {
        let in_flight = self.published().distance_from(self.last_used());
        let most = (u32::from(in_flight) * 3 / 4) as u16;
        self.ask_at(self.last_used().advance(most));
        let shared = &*self.shared;
        shared.memory.fence(Barrier::SplitDelayed);
        let pending = shared.split_used_index().distance_from(self.last_used()) > most;
        let mut flags = Flags::empty();
        flags.set(Flags::PENDING, pending);
        shared.record_switch(flags, Body::CallbacksEnabled);
        !pending
    }

    /// Wants to hear of the used entry at `index`, if that can be said, else of the
    /// next.
    fn ask_at(&self, index: RingIndex) {
        let shared = &*self.shared;
        shared.state.callbacks_off.store(false, Ordering::Relaxed);
        if shared.features.event_idx {
            shared.write_used_event(index.0);
        } else {
            shared.write_avail_flags(0);
        }
    }
}
