//! What the driver's half does, and what must come of it.

use std::sync::atomic::Ordering::Relaxed;

use virtscope_driver::instrument::Instrument;
use virtscope_driver::memory::{GuestAddress, RingWords, Segment};
use virtscope_driver::ring::split_layout::avail_entry;
use virtscope_record::{
    Add, Body, Callback, CallbackSwitch, Detach, Flags, Notification, Notify, RingIndex, Token,
    Used,
};

use super::super::model::{Buffer, bytes};
use super::{DeviceHalf, DriverHalf, ROOM, Run, UNWRITTEN, content, index};

impl<I: Instrument> Run<I> {
    pub(super) fn add(&mut self, readable: &[u32], writable: &[u32], publish: bool) {
        let token = self.next_token;
        self.next_token += 1;
        let verdict = self.model.check_add(readable, writable);
        let place = |rooms: &mut Vec<u64>, lens: &[u32]| -> Vec<Segment> {
            let segment = |len: &u32| {
                // What will be refused needs no room of its own.
                let room = if verdict.is_ok() { rooms.pop() } else { None };
                let room = room.unwrap_or(self.rig.buffers.0);
                Segment {
                    address: GuestAddress(room + token % 9),
                    len: *len,
                }
            };
            lens.iter().map(segment).collect()
        };
        let readable = place(&mut self.rooms, readable);
        let writable = place(&mut self.rooms, writable);
        let mut body = Add {
            free: self.model.free,
            error: 0,
            readable_bytes: bytes(&readable),
            writable_bytes: bytes(&writable),
            head: 0,
            position: index(self.model.added),
            readable_segments: readable.len() as u16,
            writable_segments: writable.len() as u16,
            descriptors: 0,
        };
        let request = content(token, DriverHalf, bytes(&readable));
        if verdict.is_ok() {
            self.scatter(&readable, &request);
            let unwritten = vec![UNWRITTEN; bytes(&writable) as usize];
            self.scatter(&writable, &unwritten);
        }
        let driver = &mut self.rig.driver;
        let added = if publish {
            driver.add(&readable, &writable, Token(token), token)
        } else {
            driver.add_unpublished(&readable, &writable, Token(token), token)
        };
        let producer = DriverHalf;
        match (added, verdict) {
            (Ok(left), Ok(())) => {
                let slot = self.model.added % u64::from(self.model.size);
                let area = self.rig.raw.driver_area();
                body.head = area.load_u16(avail_entry(slot as u16), Relaxed);
                let buffer = Buffer {
                    readable,
                    writable,
                    head: body.head,
                };
                body.descriptors = buffer.descriptors();
                self.model.add(token, buffer);
                if publish {
                    self.model.published = self.model.added;
                }
                body.free = self.model.free;
                assert_eq!(left, self.model.free);
                let expected = self.expect(producer, Flags::empty(), Body::Add(body));
                expected.token = Token(token);
                expected.bytes = request;
            }
            (Err(refused), Err(kind)) => {
                assert_eq!(refused.kind, kind);
                assert_eq!((refused.token, refused.data), (Token(token), token));
                body.error = kind.errno();
                let expected = self.expect(producer, Flags::empty(), Body::AddFailed(body));
                expected.token = Token(token);
            }
            (added, verdict) => panic!("{added:?}, but the model says {verdict:?}"),
        }
    }

    /// What the kick decision must be.
    pub(super) fn expect_kick(&mut self) -> bool {
        let (flags, event) = if self.event_idx {
            (0, self.rig.raw.avail_event())
        } else {
            (self.rig.raw.used_flags(), 0)
        };
        let (old, new) = (self.model.kicks.decided, self.model.published);
        let (needed, reason) = self.model.kicks.decide(new, self.event_idx, flags, event);
        let body = Body::Kick(Notification {
            free: self.model.free,
            error: 0,
            old: index(old),
            new: index(new),
            event: RingIndex(event),
            event_flags: flags,
            reason,
        });
        self.expect_decision(DriverHalf, needed, body)
    }

    pub(super) fn expect_notify(&mut self) {
        self.rung += 1;
        let body = Body::Notify(Notify {
            free: self.model.free,
            error: 0,
        });
        self.expect(DriverHalf, self.suppression(), body);
    }

    pub(super) fn get_buf(&mut self) {
        let used = self.rig.driver.get_buf().unwrap();
        let Some((token, written)) = self.model.used.pop_front() else {
            assert!(used.is_none());
            if self.model.interrupts.wanted {
                self.model.interrupts.sleeping_at = Some(self.model.returned);
            }
            return;
        };
        let used = used.expect("a returned buffer is there to take");
        assert_eq!((used.token, used.data), (Token(token), token));
        assert_eq!(used.written, written);
        let buffer = self.model.remove(token);
        let reply = content(token, DeviceHalf, written);
        let held = self.gather(&buffer.writable);
        let (first, rest) = held.split_at(written as usize);
        assert_eq!(first, reply);
        assert!(rest.iter().all(|byte| *byte == UNWRITTEN));
        self.free_rooms(&buffer);
        let body = Body::Used(Used {
            free: self.model.free,
            error: 0,
            used_length: written,
            writable_bytes: bytes(&buffer.writable),
            head: buffer.head,
            position: index(self.model.harvested),
            used_index: index(self.model.returned),
            descriptors: buffer.descriptors(),
        });
        let expected = self.expect(DriverHalf, Flags::empty(), body);
        expected.token = Token(token);
        expected.bytes = reply;
        self.model.harvested += 1;
        // It is awake, and will look again.
        self.model.interrupts.sleeping_at = None;
    }

    pub(super) fn interrupt(&mut self) {
        let pending = self.model.returned > self.model.harvested;
        let mut flags = self.suppression();
        flags.set(Flags::SPURIOUS, !pending);
        let body = Body::Callback(Callback {
            free: self.model.free,
            error: 0,
            used_index: index(self.model.returned),
            last_used: index(self.model.harvested),
            used_event: RingIndex(self.rig.raw.used_event()),
            event_flags: self.rig.raw.avail_flags(),
        });
        self.expect(DriverHalf, flags, body);
        assert_eq!(self.rig.driver.handle().interrupt(), pending);
    }

    fn switch(&self) -> CallbackSwitch {
        CallbackSwitch {
            free: self.model.free,
            error: 0,
            last_used: index(self.model.harvested),
            used_event: RingIndex(self.rig.raw.used_event()),
            event_flags: self.rig.raw.avail_flags(),
        }
    }

    pub(super) fn disable_callbacks(&mut self) {
        self.rig.driver.disable_callbacks();
        let body = Body::CallbacksDisabled(self.switch());
        self.expect(DriverHalf, self.suppression(), body);
        self.model.interrupts.wanted = false;
        self.model.interrupts.sleeping_at = None;
        self.model.interrupts.quiet_from = Some(self.model.harvested);
    }

    pub(super) fn enable_callbacks(&mut self) {
        let pending = self.model.returned > self.model.harvested;
        assert_eq!(self.rig.driver.enable_callbacks(), !pending);
        let mut flags = self.suppression();
        flags.set(Flags::PENDING, pending);
        let body = Body::CallbacksEnabled(self.switch());
        self.expect(DriverHalf, flags, body);
        self.model.interrupts.wanted = true;
        self.model.interrupts.quiet_from = None;
        self.model.interrupts.sleeping_at = (!pending).then_some(self.model.returned);
    }

    /// At the end the driver takes out what never came back, each once.
    pub(super) fn detach(mut self) {
        while let Some((token, data)) = self.rig.driver.detach_unused() {
            assert_eq!(token, Token(data));
            let buffer = self.model.remove(data);
            let body = Body::Detach(Detach {
                free: self.model.free,
                error: 0,
                head: buffer.head,
            });
            self.expect(DriverHalf, Flags::empty(), body).token = token;
        }
        assert!(self.model.buffers.is_empty());
        assert_eq!(self.rig.driver.free_descriptors(), self.model.size);
        assert_eq!(self.rig.driver.in_flight(), 0);
        if let Some(mut records) = self.records {
            records.expect(&self.expected);
        }
    }

    fn free_rooms(&mut self, buffer: &Buffer) {
        let segments = buffer.readable.iter().chain(&buffer.writable);
        let first = self.rig.buffers.0;
        self.rooms
            .extend(segments.map(|segment| first + (segment.address.0 - first) / ROOM * ROOM));
    }
}
