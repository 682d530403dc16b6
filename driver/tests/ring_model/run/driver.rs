//! What the driver's half does with buffers of its own, and what must come of it.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering::Relaxed;

use virtscope_device::queue::DeviceQueue;
use virtscope_driver::instrument::Instrument;
use virtscope_driver::memory::{GuestAddress, Segment};
use virtscope_driver::ring::{Context, NotifyError, QueueSize};
use virtscope_record::{Add, Body, Detach, Flags, Generation, Layout, Notify, Reset, Token};

use super::super::case::Piece;
use super::super::model::{Buffer, Model, bytes};
use super::super::picture::{Field, NEXT};
use super::{DriverHalf, Run, UNWRITTEN, content};

impl<I: Instrument> Run<I> {
    pub(super) fn add(&mut self, readable: &[Piece], writable: &[Piece], publish: bool) {
        if readable.len() + writable.len() > self.rooms.len() {
            return;
        }
        let (rooms, token) = (self.rooms.clone(), self.next_token);
        let readable = self.place(readable);
        let writable = self.place(writable);
        self.next_token += 1;
        let ring_end = self.rig.buffers.0;
        let in_ring = |segment: &Segment| segment.address.0 < ring_end;
        let verdict = self.model.check_add(&readable, &writable, in_ring);
        let mut body = Add {
            free: self.model.free,
            error: 0,
            readable_bytes: bytes(&readable),
            writable_bytes: bytes(&writable),
            head: 0,
            position: self.model.place(self.model.added),
            readable_segments: readable.len() as u16,
            writable_segments: writable.len() as u16,
            descriptors: 0,
        };
        let request = content(token, DriverHalf, bytes(&readable));
        if verdict.is_ok() {
            self.scatter(&readable, &request);
            let unwritten = vec![UNWRITTEN; bytes(&writable) as usize];
            self.scatter(&writable, &unwritten);
        } else {
            self.rooms = rooms;
        }
        // Each of the ways to add that the segments leave.
        let (data, context) = (token, Context(token * 3));
        let (token, mut given) = (Token(token), Context::default());
        let added = self.act(|rig| {
            let driver = &mut rig.driver;
            if !publish {
                given = context;
                driver.add_unpublished(&readable, &writable, token, data, context)
            } else if writable.is_empty() {
                driver.add_outbuf(&readable, token, data)
            } else if !readable.is_empty() {
                driver.add(&readable, &writable, token, data)
            } else if data % 2 == 0 {
                driver.add_inbuf(&writable, token, data)
            } else {
                given = context;
                driver.add_inbuf_ctx(&writable, token, data, context)
            }
        });
        match (added, verdict) {
            (Ok(left), Ok((descriptors, indirect))) => {
                let buffer = Buffer {
                    readable,
                    writable,
                    context: given,
                    descriptors,
                    indirect,
                    id: self.recorded_id(),
                    entries: Vec::new(),
                    table: None,
                };
                self.check_added(data, buffer, publish);
                assert_eq!(left, self.model.free);
                body.descriptors = descriptors;
                body.free = left;
                body.head = self.model.buffers[&data].id.unwrap_or_default();
                let mut flags = Flags::empty();
                flags.set(Flags::INDIRECT, indirect);
                let expected = self.expect(DriverHalf, flags, Body::Add(body));
                expected.token = token;
                expected.bytes = request;
            }
            (Err(refused), Err(kind)) => {
                assert_eq!(refused.kind, kind);
                assert_eq!((refused.token, refused.data), (token, data));
                body.error = kind.errno();
                let expected = self.expect(DriverHalf, Flags::empty(), Body::AddFailed(body));
                expected.token = token;
            }
            (added, verdict) => panic!("{added:?}, but the model says {verdict:?}"),
        }
    }

    /// Segments for `pieces`, in rooms of their own.
    fn place(&mut self, pieces: &[Piece]) -> Vec<Segment> {
        let place = |piece: &Piece| match piece {
            Piece::Bytes(len) => self.room(*len),
            Piece::InRing(byte) => {
                let mut bytes = self.now.areas().into_iter().flatten();
                let count = bytes.clone().count();
                let address = bytes.nth(*byte as usize % count).expect("one of them");
                Segment {
                    address: GuestAddress(address as u64),
                    len: 1,
                }
            }
        };
        pieces.iter().map(place).collect()
    }

    /// The id under which the buffer that was added just now was recorded.
    fn recorded_id(&mut self) -> Option<u16> {
        let records = self.records.as_mut()?;
        match records.last()? {
            Body::Add(add) => Some(add.head),
            other => panic!("an add is recorded as {other:?}"),
        }
    }

    /// A buffer was added: what must stand in the ring, and what may.
    fn check_added(&mut self, token: u64, buffer: Buffer, publish: bool) {
        let position = self.model.added;
        let withheld = !publish && self.model.unpublished.is_empty();
        if buffer.indirect {
            // Any that no buffer in flight is known to stand in.
            let taken: Vec<_> = self.model.buffers.values().map(|b| b.table).collect();
            for table in 0..usize::from(self.plan.tables.0) {
                if !taken.contains(&Some(table)) {
                    self.allow(Field::Table(table));
                }
            }
        }
        let descriptors = buffer.descriptors;
        self.model.add(token, buffer);
        match self.plan.layout {
            Layout::Split => self.check_chain(token, position),
            Layout::Packed => {
                for at in position..position + u64::from(descriptors) {
                    let slot = self.now.slot(at);
                    let mut range = self.now.range(Field::Descriptor(slot));
                    if withheld && at == position {
                        // All but the flags, which make the list available (virtio
                        // 1.4 §2.8.21.1).
                        range.end = self.now.range(Field::DescriptorFlags(slot)).start;
                    }
                    self.allowed.push(range);
                }
            }
        }
        if publish {
            self.check_published();
        }
    }

    /// The buffer at `position` of the available ring.
    fn check_chain(&mut self, token: u64, position: u64) {
        let entry = Field::AvailRing(self.now.slot(position));
        self.allow(entry);
        let list = self.now.split_list(self.now.u16(entry));
        self.check_list(token, &list);
        for entry in &list.entries {
            self.allow(Field::Descriptor(*entry));
        }
        if self.plan.features.in_order {
            self.check_in_order(&list.entries);
        }
        let buffer = self.model.buffers.get_mut(&token).unwrap();
        buffer.id = Some(list.id);
        buffer.table = list.table;
        buffer.entries = list.entries;
    }

    /// `VIRTIO_F_IN_ORDER`: descriptors are taken in the order of the table, and
    /// `next` says so (virtio 1.4 §2.7.5, §2.7.5.2).
    fn check_in_order(&self, entries: &[usize]) {
        let size = u64::from(self.plan.entries);
        let first = self.model.descriptors - entries.len() as u64;
        for (index, entry) in (first..).zip(entries) {
            assert_eq!(*entry as u64, index % size);
            let descriptor = self.now.descriptor(*entry);
            if descriptor.has(NEXT) {
                let next = (*entry + 1) % usize::from(self.plan.entries);
                assert_eq!(usize::from(descriptor.id), next);
            }
        }
    }

    pub(super) fn publish(&mut self) {
        self.act(|rig| rig.driver.publish());
        self.check_published();
    }

    /// Everything that was added is available: reads it as a device does.
    fn check_published(&mut self) {
        match self.plan.layout {
            Layout::Split => self.allow(Field::AvailIdx),
            Layout::Packed => {
                let mut position = self.model.published;
                for token in self.model.unpublished.clone() {
                    let list = self.now.packed_list(position);
                    self.check_list(token, &list);
                    if position == self.model.published {
                        self.allow(Field::Descriptor(self.now.slot(position)));
                    }
                    position += self.model.steps(token);
                    let buffer = self.model.buffers.get_mut(&token).unwrap();
                    buffer.id = Some(list.id);
                    buffer.table = list.table;
                }
                assert_eq!(position, self.model.added);
            }
        }
        self.model.publish();
    }

    /// What the kick decision must be.
    pub(super) fn expect_kick(&mut self) -> bool {
        let (old, new) = (self.model.kicks.decided, self.model.published);
        let (decision, needed) = self.decision(DriverHalf, old, new);
        self.model.kicks.decide(new, needed);
        let mut flags = Flags::empty();
        flags.set(Flags::NOTIFICATION_NEEDED, needed);
        self.expect(DriverHalf, flags, Body::Kick(decision));
        needed
    }

    pub(super) fn expect_notify(&mut self) {
        self.rung += 1;
        let body = Body::Notify(Notify {
            free: self.model.free,
            error: 0,
        });
        self.expect(DriverHalf, Flags::empty(), body);
    }

    /// A notification that fails is one record, which says so.
    pub(super) fn notify_nobody(&mut self) {
        self.rig.doorbell.gone.store(true, Relaxed);
        let notified = self.act(|rig| rig.driver.handle().notify());
        self.rig.doorbell.gone.store(false, Relaxed);
        assert_eq!(notified, Err(NotifyError));
        let body = Body::Notify(Notify {
            free: self.model.free,
            error: 5,
        });
        self.expect(DriverHalf, Flags::empty(), body);
    }

    /// What the last notification said is the place of the next buffer that is not
    /// available (virtio 1.4 §2.8.16, §2.9).
    pub(super) fn check_notified(&self) {
        let next = self.rig.doorbell.next.load(Relaxed);
        assert_eq!(next, self.model.place(self.model.published).0);
    }

    /// The queue begins afresh, and so does the model; the device too.
    pub(super) fn reset(&mut self) {
        let body = Body::Reset(Reset {
            free: self.model.free,
            error: 0,
            in_flight: self.model.buffers.len() as u16,
        });
        self.expect(DriverHalf, Flags::empty(), body);
        self.generation = Generation(self.generation.0 + 1);
        let mut left = Vec::new();
        let generation = self.generation;
        self.act(|rig| rig.driver.reset(generation, |buffer| left.push(buffer)));
        for buffer in left {
            let token = buffer.data;
            let known = self.model.remove(token);
            self.check_came_back(token, &known, 0, &buffer);
        }
        assert!(self.model.buffers.is_empty(), "each comes back once");
        // As it was when the device first saw it.
        assert!(self.now.is_zeroed());
        self.allowed.extend(self.now.areas());
        self.model = Model::new(&self.plan);
        self.chains.clear();
        self.since = None;
        self.device_instrument.start_generation(generation);
        self.rig.device = DeviceQueue::new(
            self.plan.layout,
            self.rig.device.memory().clone(),
            QueueSize::new(self.plan.entries).unwrap(),
            self.plan.features,
            self.device_instrument.clone(),
        )
        .unwrap();
    }

    /// The driver takes out one that was not used, if there is one: any of them.
    pub(super) fn detach_one(&mut self) {
        let Some(unused) = self.act(|rig| rig.driver.detach_unused()) else {
            assert!(self.model.buffers.is_empty(), "they never come back");
            return;
        };
        self.model.given_up = true;
        let token = unused.data;
        let buffer = self.model.remove(token);
        self.check_came_back(token, &buffer, 0, &unused);
        let body = Body::Detach(Detach {
            free: self.model.free,
            error: 0,
            head: buffer.id.unwrap_or_default(),
        });
        self.expect(DriverHalf, Flags::empty(), body).token = Token(token);
    }

    /// At the end the driver takes out what never came back, each once.
    pub(super) fn detach(&mut self) {
        let before = self.now.clone();
        let mut in_flight = BTreeSet::new();
        let driver = &self.rig.driver;
        driver.for_each_in_flight(|data| assert!(in_flight.insert(*data)));
        assert!(in_flight.iter().eq(self.model.buffers.keys()));
        while !self.model.buffers.is_empty() {
            self.detach_one();
        }
        self.detach_one();
        assert!(self.model.buffers.is_empty());
        assert_eq!(self.rig.driver.free_descriptors(), self.plan.entries);
        assert_eq!(self.rig.driver.in_flight(), 0);
        self.now.assert_only_changed(&before, &[]);
        if let Some(records) = &mut self.records {
            records.expect(&self.expected);
        }
    }
}
