//! What the device's half does, and what must come of it.

use virtscope_driver::instrument::Instrument;
use virtscope_record::{Body, Flags, Notification, Returned, RingIndex, Taken};

use super::super::model::bytes;
use super::{DeviceHalf, DriverHalf, Run, content, index};

impl<I: Instrument> Run<I> {
    pub(super) fn take(&mut self) {
        let chain = self.rig.device.take().unwrap();
        let published = self.model.published;
        if self.model.taken == published {
            assert_eq!(chain, None);
            return;
        }
        let chain = chain.expect("a published buffer is there to take");
        let token = self.model.available.pop_front().unwrap();
        let buffer = &self.model.buffers[&token];
        assert_eq!(chain.head, buffer.head);
        assert_eq!(chain.readable, buffer.readable);
        assert_eq!(chain.writable, buffer.writable);
        let request = content(token, DriverHalf, chain.readable_bytes());
        assert_eq!(self.gather(&chain.readable), request);
        let body = Body::Taken(Taken {
            free: 0,
            error: 0,
            readable_bytes: bytes(&chain.readable),
            writable_bytes: bytes(&chain.writable),
            head: chain.head,
            position: index(self.model.taken),
            avail_index: index(published),
            readable_segments: chain.readable.len() as u16,
            writable_segments: chain.writable.len() as u16,
        });
        self.expect(DeviceHalf, Flags::empty(), body);
        self.model.held.push(token);
        self.model.taken += 1;
        // It is awake, and must say so again before it sleeps.
        self.model.kicks.sleeping_at = None;
    }

    pub(super) fn put_used(&mut self, token: u64, written: u32) {
        let buffer = &self.model.buffers[&token];
        let head = buffer.head;
        self.scatter(&buffer.writable, &content(token, DeviceHalf, written));
        let body = Body::Returned(Returned {
            free: 0,
            error: 0,
            used_length: written,
            head,
            position: index(self.model.returned),
        });
        self.expect(DeviceHalf, Flags::empty(), body);
        self.rig.device.put_used(head, written);
        self.model.used.push_back((token, written));
        self.model.returned += 1;
    }

    pub(super) fn should_interrupt(&mut self) {
        let (flags, event) = if self.event_idx {
            (0, self.rig.raw.used_event())
        } else {
            (self.rig.raw.avail_flags(), 0)
        };
        let model = &mut self.model;
        let (old, new) = (model.interrupts.decided, model.returned);
        let (needed, reason) = model.interrupts.decide(new, self.event_idx, flags, event);
        let body = Body::InterruptSent(Notification {
            free: 0,
            error: 0,
            old: index(old),
            new: index(new),
            event: RingIndex(event),
            event_flags: flags,
            reason,
        });
        self.expect_decision(DeviceHalf, needed, body);
        assert_eq!(self.rig.device.should_interrupt(), needed);
    }

    pub(super) fn disable_kicks(&mut self) {
        self.rig.device.disable_kicks();
        self.model.kicks.wanted = false;
        self.model.kicks.sleeping_at = None;
    }

    pub(super) fn enable_kicks(&mut self) {
        let nothing = self.model.taken == self.model.published;
        assert_eq!(self.rig.device.enable_kicks(), nothing);
        self.model.kicks.wanted = true;
        self.model.kicks.sleeping_at = nothing.then_some(self.model.published);
        if self.event_idx {
            let event = RingIndex(self.rig.raw.avail_event());
            assert_eq!(event, index(self.model.taken));
        }
    }
}
