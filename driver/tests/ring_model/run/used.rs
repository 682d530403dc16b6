//! What the driver's half does with used buffers, and how it asks to hear of them.

use virtscope_driver::instrument::Instrument;
use virtscope_driver::ring::UsedBuffer;
use virtscope_record::{Body, Callback, CallbackSwitch, Flags, Layout, Token, Used};

use super::super::model::Buffer;
use super::super::picture::Field;
use super::{DeviceHalf, DriverHalf, Run, UNWRITTEN, content};

impl<I: Instrument> Run<I> {
    pub(super) fn get_buf(&mut self) {
        let used = self.act(|rig| rig.driver.get_buf()).unwrap();
        let model = &mut self.model;
        if model.used_seen == model.harvested {
            model.used_seen = model.visible;
        }
        let Some((token, written)) = model.used.pop_front() else {
            assert!(used.is_none());
            if model.interrupts.wanted {
                model.interrupts.due = Some(model.asked.max(model.visible));
            }
            return;
        };
        let used = used.expect("a returned buffer is there to take");
        let position = model.place(model.harvested);
        let used_index = match model.layout {
            Layout::Split => model.place(model.used_seen),
            Layout::Packed => position,
        };
        model.harvested += model.steps(token);
        // It is awake, and will look again.
        model.interrupts.due = None;
        let buffer = model.remove(token);
        let free = model.free;
        if model.interrupts.wanted {
            model.asked = model.asked.max(model.harvested);
            self.allow_event();
        }
        self.since = None;
        self.check_came_back(token, &buffer, written, &used);
        let reply = content(token, DeviceHalf, written);
        let held = self.gather(&buffer.writable);
        let (first, rest) = held.split_at(written as usize);
        assert_eq!(first, reply);
        assert!(rest.iter().all(|byte| *byte == UNWRITTEN));
        let body = Body::Used(Used {
            free,
            error: 0,
            used_length: written,
            writable_bytes: buffer.writable_bytes(),
            head: buffer.id.unwrap(),
            position,
            used_index,
            descriptors: buffer.descriptors,
        });
        let mut flags = Flags::empty();
        flags.set(Flags::INDIRECT, buffer.indirect);
        let expected = self.expect(DriverHalf, flags, body);
        expected.token = Token(token);
        expected.bytes = reply;
    }

    /// What was given with a buffer comes back with it.
    pub(super) fn check_came_back(
        &mut self,
        token: u64,
        buffer: &Buffer,
        written: u32,
        got: &UsedBuffer<u64>,
    ) {
        assert_eq!((got.token, got.data), (Token(token), token));
        assert_eq!((got.context, got.written), (buffer.context, written));
        self.free_rooms(buffer);
    }

    pub(super) fn interrupt(&mut self) {
        let pending = self.model.pending();
        let mut flags = Flags::empty();
        flags.set(Flags::SPURIOUS, !pending);
        let (_, used_event, event_flags) = self.wish(DriverHalf);
        let last_used = self.model.place(self.model.harvested);
        let used_index = match self.plan.layout {
            Layout::Split => self.model.place(self.model.visible),
            Layout::Packed => last_used,
        };
        let body = Body::Callback(Callback {
            free: self.model.free,
            error: 0,
            used_index,
            last_used,
            used_event,
            event_flags,
        });
        self.expect(DriverHalf, flags, body);
        assert_eq!(self.act(|rig| rig.driver.handle().interrupt()), pending);
    }

    pub(super) fn poll(&mut self) {
        if let Some(since) = self.since {
            let pending = self.act(|rig| rig.driver.handle().poll(since));
            assert_eq!(pending, self.model.pending());
        }
    }

    /// The word with which the driver asks for interrupts at a position.
    fn allow_event(&mut self) {
        match self.plan.layout {
            _ if !self.plan.features.event_idx => {}
            Layout::Split => self.allow(Field::UsedEvent),
            Layout::Packed => self.allow(Field::DriverEvent),
        }
    }

    /// The words with which it asks for them at all.
    fn allow_switch(&mut self) {
        match self.plan.layout {
            Layout::Split if self.plan.features.event_idx => self.allow(Field::UsedEvent),
            Layout::Split => self.allow(Field::AvailFlags),
            Layout::Packed => self.allow(Field::DriverEvent),
        }
    }

    fn switch(&self) -> CallbackSwitch {
        let (_, used_event, event_flags) = self.wish(DriverHalf);
        CallbackSwitch {
            free: self.model.free,
            error: 0,
            last_used: self.model.place(self.model.harvested),
            used_event,
            event_flags,
        }
    }

    pub(super) fn disable_callbacks(&mut self) {
        // Either of the two ways.
        if self.model.harvested.is_multiple_of(2) {
            self.act(|rig| rig.driver.disable_callbacks());
        } else {
            self.act(|rig| rig.driver.handle().disable_callbacks());
        }
        self.allow_switch();
        let body = Body::CallbacksDisabled(self.switch());
        self.expect(DriverHalf, Flags::empty(), body);
        self.model.untouched = false;
        self.model.interrupts.wanted = false;
        self.model.interrupts.due = None;
        self.model.interrupts.quiet_from = Some(self.model.harvested);
    }

    /// Callbacks are on again, for the used buffer at `asked`, where that can be
    /// said, else for the next. `enough` says whether so many are pending that the
    /// driver must not sleep.
    fn enabled(&mut self, asked: u64, enough: bool) {
        self.allow_switch();
        self.model.untouched = false;
        self.model.asked = asked;
        let due = if self.plan.features.event_idx {
            asked
        } else {
            self.model.visible
        };
        self.model.interrupts.wanted = true;
        self.model.interrupts.quiet_from = None;
        self.model.interrupts.due = (!enough).then_some(due);
    }

    fn expect_enabled(&mut self, pending: bool) {
        let mut flags = Flags::empty();
        flags.set(Flags::PENDING, pending);
        let body = Body::CallbacksEnabled(self.switch());
        self.expect(DriverHalf, flags, body);
    }

    pub(super) fn enable_callbacks(&mut self) {
        let pending = self.model.pending();
        assert_eq!(self.act(|rig| rig.driver.enable_callbacks()), !pending);
        self.enabled(self.model.harvested, pending);
        self.expect_enabled(pending);
    }

    pub(super) fn enable_callbacks_prepare(&mut self) {
        let since = self.act(|rig| rig.driver.enable_callbacks_prepare());
        self.since = Some(since);
        self.enabled(self.model.harvested, self.model.pending());
        self.expect_enabled(false);
    }

    pub(super) fn enable_callbacks_delayed(&mut self) {
        let in_flight = self.model.published - self.model.harvested;
        let most = in_flight * 3 / 4;
        let pending = self.model.visible - self.model.harvested;
        // A packed ring does not say how many are pending.
        let enough = match self.plan.layout {
            Layout::Split => pending > most,
            Layout::Packed => pending > 0,
        };
        let enabled = self.act(|rig| rig.driver.enable_callbacks_delayed());
        assert_eq!(enabled, !enough);
        self.enabled(self.model.harvested + most, enough);
        self.expect_enabled(enough);
    }
}
