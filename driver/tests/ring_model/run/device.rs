//! What the device's half does, and what must come of it.

use virtscope_driver::instrument::Instrument;
use virtscope_driver::memory::{Order, RingWords};
use virtscope_record::{Body, Flags, Layout, Returned, Taken};

use super::super::case::{Pick, Written};
use super::super::model::bytes;
use super::super::picture::{Field, List};
use super::{DeviceHalf, DriverHalf, Run, content};

impl<I: Instrument> Run<I> {
    pub(super) fn take(&mut self) {
        let chain = self.act(|rig| rig.device.take()).unwrap();
        let model = &mut self.model;
        if model.avail_seen == model.taken {
            model.avail_seen = model.published;
        }
        let Some(token) = model.available.pop_front() else {
            assert_eq!(chain, None);
            return;
        };
        let chain = chain.expect("a published buffer is there to take");
        let position = model.taken;
        model.taken += model.steps(token);
        let avail_index = match model.layout {
            Layout::Split => model.avail_seen,
            Layout::Packed => model.taken,
        };
        let (position, avail_index) = (model.place(position), model.place(avail_index));
        model.held.push(token);
        if model.features.in_order {
            model.in_order.push_back((token, None));
        }
        // It is awake, and must say so again before it sleeps.
        model.kicks.due = None;

        let buffer = &model.buffers[&token];
        assert_eq!(Some(chain.id), buffer.id);
        assert_eq!(chain.readable, buffer.readable);
        assert_eq!(chain.writable, buffer.writable);
        assert_eq!(chain.descriptors, buffer.descriptors);
        let request = content(token, DriverHalf, chain.readable_bytes());
        assert_eq!(self.gather(&chain.readable), request);
        let body = Body::Taken(Taken {
            free: 0,
            error: 0,
            readable_bytes: bytes(&chain.readable),
            writable_bytes: bytes(&chain.writable),
            head: chain.id,
            position,
            avail_index,
            readable_segments: chain.readable.len() as u16,
            writable_segments: chain.writable.len() as u16,
        });
        self.expect(DeviceHalf, Flags::empty(), body);
        self.chains.insert(token, chain);
    }

    pub(super) fn finish(&mut self, which: Pick, written: Written, publish: bool) {
        if self.model.held.is_empty() {
            return;
        }
        let which = which.of(self.model.held.len());
        let token = self.model.held.remove(which);
        let buffer = &self.model.buffers[&token];
        let whole = buffer.writable_bytes();
        let written = match written {
            Written::Nothing => 0,
            Written::Part(some) => some % (whole + 1),
            Written::Everything => whole,
        };
        self.scatter(&buffer.writable, &content(token, DeviceHalf, written));
        for (token, written) in self.model.finish(token, written) {
            let buffer = &self.model.buffers[&token];
            let body = Body::Returned(Returned {
                free: 0,
                error: 0,
                used_length: written,
                head: buffer.id.unwrap(),
                position: self.model.place(self.model.returned),
            });
            self.expect(DeviceHalf, Flags::empty(), body);
            self.model.returned += self.model.steps(token);
            self.model.staged.push_back((token, written));
        }
        let chain = self.chains.remove(&token).expect("it was taken");
        if publish {
            self.act(|rig| rig.device.put_used(&chain, written));
            self.check_published_used();
        } else {
            self.act(|rig| rig.device.stage_used(&chain, written));
            self.allow_used();
        }
    }

    /// The device may write the used entries of what it has returned, and no other.
    fn allow_used(&mut self) {
        for position in self.model.visible..self.model.returned {
            let slot = self.now.slot(position);
            self.allow(match self.plan.layout {
                Layout::Split => Field::UsedRing(slot),
                Layout::Packed => Field::Descriptor(slot),
            });
        }
    }

    /// All that the device has returned is visible: reads it as a driver does.
    pub(super) fn check_published_used(&mut self) {
        self.allow_used();
        if self.plan.layout == Layout::Split {
            self.allow(Field::UsedIdx);
        }
        let mut position = self.model.visible;
        while !self.model.staged.is_empty() {
            let entry = self.now.used_entry(position);
            let entry = entry.expect("the next used entry is visible");
            let named = self.model.staged.iter().position(|(token, _)| {
                let id = self.model.buffers[token].id;
                id.map(u32::from) == Some(entry.id)
            });
            let named = named.expect("an entry names one of the buffers returned");
            let batch: Vec<_> = self.model.staged.drain(..=named).collect();
            self.batches += usize::from(batch.len() > 1);
            assert!(batch.len() == 1 || self.plan.features.in_order);
            for (place, (token, written)) in batch.iter().enumerate() {
                let whole = self.model.buffers[token].writable_bytes();
                // "The skipped buffers (for which no used ring entry was written) are
                // assumed to have been used (read or written) by the device
                // completely" (virtio 1.4 §2.7.9, §2.8.8).
                let told = if place == named { entry.written } else { whole };
                assert_eq!(told, *written);
                position += self.model.steps(*token);
                self.model.unsignalled += 1;
            }
            self.model.used.extend(batch);
        }
        assert_eq!(position, self.model.returned);
        self.model.visible = position;
    }

    pub(super) fn should_interrupt(&mut self) {
        let (old, new) = (self.model.interrupts.decided, self.model.visible);
        let (decision, needed) = self.decision(DeviceHalf, old, new);
        self.model.interrupts.decide(new, needed);
        self.model.unsignalled = 0;
        let mut flags = Flags::empty();
        flags.set(Flags::NOTIFICATION_NEEDED, needed);
        self.expect(DeviceHalf, flags, Body::InterruptSent(decision));
        assert_eq!(self.act(|rig| rig.device.should_interrupt()), needed);
    }

    pub(super) fn disable_kicks(&mut self) {
        self.act(|rig| rig.device.disable_kicks());
        self.model.kicks.due = None;
        if !std::mem::replace(&mut self.model.kicks.wanted, false) {
            return;
        }
        match self.plan.layout {
            // With event indices the flag stays 0 (virtio 1.4 §2.7.10.2).
            Layout::Split if self.plan.features.event_idx => {}
            Layout::Split => {
                self.allow(Field::UsedFlags);
                assert_eq!(self.now.u16(Field::UsedFlags), 1);
            }
            Layout::Packed => {
                self.allow(Field::DeviceEvent);
                assert_eq!(self.now.event(Field::DeviceEvent).1, 1);
            }
        }
    }

    pub(super) fn enable_kicks(&mut self) {
        let nothing = self.model.available.is_empty();
        assert_eq!(self.act(|rig| rig.device.enable_kicks()), nothing);
        self.model.kicks.wanted = true;
        self.model.kicks.due = nothing.then_some(self.model.published);
        let next = self.model.place(self.model.taken).0;
        match (self.plan.layout, self.plan.features.event_idx) {
            (Layout::Split, true) => {
                self.allow(Field::AvailEvent);
                assert_eq!(self.now.u16(Field::AvailEvent), next);
            }
            (Layout::Split, false) => {
                self.allow(Field::UsedFlags);
                assert_eq!(self.now.u16(Field::UsedFlags), 0);
            }
            (Layout::Packed, true) => {
                self.allow(Field::DeviceEvent);
                assert_eq!(self.now.event(Field::DeviceEvent), (next, 2));
            }
            (Layout::Packed, false) => {
                self.allow(Field::DeviceEvent);
                assert_eq!(self.now.event(Field::DeviceEvent).1, 0);
            }
        }
    }

    /// A device that knows what it waits for names a position further on.
    pub(super) fn ask_for_kick_after(&mut self, more: u16) {
        if !self.plan.features.event_idx {
            return;
        }
        // A packed place means what it says for two rounds.
        let most = match self.plan.layout {
            Layout::Split => u64::from(u16::MAX),
            Layout::Packed => 2 * u64::from(self.plan.entries) - 1,
        };
        let due = self.model.published + u64::from(more).min(most);
        let event = self.model.place(due).0;
        match self.plan.layout {
            Layout::Split => {
                self.act(|rig| rig.raw.set_avail_event(event));
                self.allow(Field::AvailEvent);
                assert_eq!(self.now.u16(Field::AvailEvent), event);
            }
            Layout::Packed => {
                self.write_device_event(event, 2);
                assert_eq!(self.now.event(Field::DeviceEvent), (event, 2));
            }
        }
        self.model.kicks.due = Some(due);
    }

    fn write_device_event(&mut self, desc: u16, flags: u16) {
        let word = u32::from(desc) | u32::from(flags) << 16;
        self.act(|rig| rig.raw.device_area().store_u32(0, word, Order::Relaxed));
        self.allow(Field::DeviceEvent);
    }

    /// What the driver must ignore says something: the way of suppression that was
    /// not negotiated (virtio 1.4 §2.7.10.1), or reserved bits (§2.8.14).
    pub(super) fn noise(&mut self, noise: u16) {
        match (self.plan.layout, self.plan.features.event_idx) {
            (Layout::Split, false) => {
                self.act(|rig| rig.raw.set_avail_event(noise));
                self.allow(Field::AvailEvent);
            }
            (Layout::Split, true) => {
                self.act(|rig| {
                    let area = rig.raw.device_area();
                    area.store_u16(0, noise & 1, Order::Relaxed);
                });
                self.allow(Field::UsedFlags);
            }
            (Layout::Packed, event_idx) => {
                let (desc, flags) = self.now.event(Field::DeviceEvent);
                let desc = if event_idx { desc } else { noise };
                self.write_device_event(desc, flags & 3 | noise << 2);
            }
        }
    }

    /// A list in the ring is the buffer that was added.
    pub(super) fn check_list(&self, token: u64, list: &List) {
        let buffer = &self.model.buffers[&token];
        let readable = buffer.readable.iter().map(|segment| (*segment, false));
        let writable = buffer.writable.iter().map(|segment| (*segment, true));
        assert!(list.elements.iter().copied().eq(readable.chain(writable)));
        assert_eq!(list.entries.len(), usize::from(buffer.descriptors));
        assert_eq!(list.table.is_some(), buffer.indirect);
        assert!(list.id < self.plan.entries);
        if let Some(id) = buffer.id {
            assert_eq!(list.id, id, "its record says so");
        }
        for (other, known) in self
            .model
            .buffers
            .iter()
            .filter(|(other, _)| **other != token)
        {
            assert_ne!(known.id, Some(list.id), "{token} and {other} share an id");
            let shares = list
                .entries
                .iter()
                .any(|entry| known.entries.contains(entry));
            assert!(!shares, "{token} and {other} share a descriptor");
            let shares = list.table.is_some() && known.table == list.table;
            assert!(!shares, "{token} and {other} share a table");
        }
    }
}
