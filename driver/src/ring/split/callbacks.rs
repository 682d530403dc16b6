//! Used buffer notifications: asking for none, and for them again.

use std::sync::atomic::Ordering;

use virtscope_record::{Body, CallbackSwitch, Flags, RingIndex, Token};

use super::super::split_layout::{AVAIL_F_NO_INTERRUPT, FLAGS, used_event};
use super::SplitQueue;
use crate::instrument::{Instrument, Payload};
use crate::memory::{QueueMemory, RingWords};

impl<M: QueueMemory, I: Instrument, T> SplitQueue<M, I, T> {
    /// Linux `virtqueue_disable_cb`: asks for no used buffer notifications. The
    /// device may send some all the same.
    pub fn disable_callbacks(&mut self) {
        self.avail_flags |= AVAIL_F_NO_INTERRUPT;
        // With event indices the flag must stay 0 (virtio 1.4 §2.7.7.1) and an
        // index that lies just behind does the work: once the device has decided
        // about that entry, it won't cross it for another 65535. If it has not
        // yet, one interrupt more comes, which is allowed.
        if self.shared.features.event_idx {
            self.write_used_event(RingIndex(self.last_used.0.wrapping_sub(1)));
        } else {
            self.write_avail_flags();
        }
        self.record_switch(Flags::empty(), Body::CallbacksDisabled);
    }

    /// Linux `virtqueue_enable_cb`: asks for used buffer notifications again.
    /// Returns `false` if used buffers are pending already, for which no
    /// notification may come: take them, then call again.
    pub fn enable_callbacks(&mut self) -> bool {
        self.avail_flags &= !AVAIL_F_NO_INTERRUPT;
        if self.shared.features.event_idx {
            self.write_used_event(self.last_used);
        } else {
            self.write_avail_flags();
        }
        // The device must see our wish before we look whether it was too late
        // (virtio 1.4 §2.7.14).
        self.shared.memory.full_fence();
        let pending = self.shared.used_index() != self.last_used;
        let mut flags = Flags::empty();
        flags.set(Flags::PENDING, pending);
        self.record_switch(flags, Body::CallbacksEnabled);
        !pending
    }

    pub(super) fn write_avail_flags(&self) {
        self.shared
            .memory
            .driver_area()
            .store_u16(FLAGS, self.avail_flags, Ordering::Relaxed);
        if I::ENABLED {
            self.shared
                .callbacks
                .store(self.avail_flags, Ordering::Relaxed);
        }
    }

    pub(super) fn write_used_event(&self, index: RingIndex) {
        let shared = &*self.shared;
        shared
            .memory
            .driver_area()
            .store_u16(used_event(shared.size), index.0, Ordering::Relaxed);
        if I::ENABLED {
            shared.used_event.store(index.0, Ordering::Relaxed);
        }
    }

    fn record_switch(&self, flags: Flags, body: impl FnOnce(CallbackSwitch) -> Body) {
        if I::ENABLED {
            let shared = &*self.shared;
            self.emit(
                shared.instrument.stamp(),
                Token::default(),
                flags | self.suppression_flags(),
                body(CallbackSwitch {
                    free: self.free,
                    error: 0,
                    last_used: self.last_used,
                    used_event: RingIndex(shared.used_event.load(Ordering::Relaxed)),
                    event_flags: shared.callbacks.load(Ordering::Relaxed),
                }),
                Payload::none(),
            );
        }
    }
}
