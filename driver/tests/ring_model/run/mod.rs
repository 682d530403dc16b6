//! Plays a case on the ring and on the model.

mod device;
mod driver;
mod used;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::Ordering::Relaxed;

use virtscope_device::queue::Chain;
use virtscope_driver::instrument::Instrument;
use virtscope_driver::memory::{GuestAddress, Segment};
use virtscope_driver::ring::CallbackState;
use virtscope_record::{
    Body, Flags, Generation, Layout, Notification, NotificationReason, Producer, RingIndex, Token,
};

use super::case::{Case, Operation};
use super::common::{Plan, Rig};
use super::model::{Buffer, Model, Wish};
use super::picture::{Field, Picture};
use super::records::{Expected, Records};

/// Room for one segment; neighbouring ones begin at different alignments.
const ROOM: u64 = 128;
/// Rooms at most: enough for all that a case of some hundred operations can hold.
const MOST_ROOMS: u64 = 1024;
/// What stands in a device-writable segment before the device writes it.
const UNWRITTEN: u8 = 0xee;

use Producer::{DeviceHalf, DriverHalf};

/// The ring, the model, and what is to be recorded.
pub(crate) struct Run<I> {
    rig: Rig<I, u64>,
    plan: Plan,
    model: Model,
    /// The bytes of the ring behind the last operation.
    now: Picture,
    /// The bytes that the running operation may change.
    allowed: Vec<Range<usize>>,
    /// What the device holds, by token.
    chains: BTreeMap<u64, Chain>,
    /// Free rooms for segments.
    rooms: Vec<u64>,
    next_token: u64,
    rung: usize,
    /// What `enable_callbacks_prepare` answered, while it is worth something.
    since: Option<CallbackState>,
    generation: Generation,
    device_instrument: I,
    records: Option<Records>,
    expected: Vec<Expected>,
    /// Used entries that stood for more than one buffer.
    pub(crate) batches: usize,
}

/// Byte `i` of what the driver (or the device) puts into a buffer.
fn content(token: u64, by: Producer, len: u32) -> Vec<u8> {
    let seed = token * 2 + u64::from(by.id().0);
    (0..u64::from(len))
        .map(|i| (seed * 37 + i * 11 + i / 23) as u8)
        .collect()
}

impl<I: Instrument> Run<I> {
    pub(crate) fn new(case: &Case, driver: I, device: I, records: Option<Records>) -> Self {
        let (tables, capacity) = case.plan.tables;
        let rooms = u64::from(case.plan.entries) + u64::from(tables) * u64::from(capacity);
        let rooms = rooms.min(MOST_ROOMS) + 1;
        let plan = Plan {
            buffer_pages: (rooms * ROOM).div_ceil(4096) as usize,
            ..case.plan
        };
        let rig = Rig::new(plan, driver, device.clone());
        let now = Picture::of(plan.layout, plan.entries, &rig);
        // It must be so before the device learns where the ring is (virtio 1.4
        // §2.7.10.1, §2.8.13).
        assert!(now.is_zeroed());
        Self {
            rooms: (0..rooms).map(|i| rig.buffers.0 + i * ROOM).collect(),
            rig,
            plan,
            model: Model::new(&plan),
            now,
            allowed: Vec::new(),
            chains: BTreeMap::new(),
            next_token: 1,
            rung: 0,
            since: None,
            generation: Generation(0),
            device_instrument: device,
            records,
            expected: Vec::new(),
            batches: 0,
        }
    }

    /// The whole case, and at its end what is left is detached. Returns how many
    /// used entries stood for more than one buffer.
    pub(crate) fn play(mut self, case: &Case) -> usize {
        self.skip(case.rounds);
        for operation in &case.operations {
            self.step(operation);
        }
        self.detach();
        self.batches
    }

    /// Turns the ring without a look at every step.
    fn skip(&mut self, rounds: u32) {
        let segment = Segment {
            address: self.rig.buffers,
            len: 1,
        };
        for round in 0..rounds {
            self.rig.driver.add(&[], &[segment], Token(0), 0).unwrap();
            let chain = self.rig.device.take().unwrap().unwrap();
            self.rig.device.put_used(&chain, 1);
            self.rig.driver.get_buf().unwrap().unwrap();
            if let Some(records) = &mut self.records
                && (round % 100 == 99 || round + 1 == rounds)
            {
                records.skip();
            }
        }
        self.model.skip(rounds);
        self.now.take(&self.rig.memory);
    }

    /// One operation, on the ring and on the model, and a look at everything that
    /// can be seen behind it.
    fn step(&mut self, operation: &Operation) {
        let before = self.now.clone();
        self.perform(operation);
        self.now.assert_only_changed(&before, &self.allowed);
        self.allowed.clear();
        self.check_state();
        if let Some(records) = &mut self.records {
            records.expect(&self.expected);
            records.generation = self.generation;
        }
        self.expected.clear();
    }

    fn perform(&mut self, operation: &Operation) {
        if self.model.given_up {
            return self.perform_given_up(operation);
        }
        match operation {
            Operation::Add {
                readable,
                writable,
                publish,
            } => self.add(readable, writable, *publish),
            Operation::Publish => self.publish(),
            Operation::KickPrepare => {
                let needed = self.expect_kick();
                assert_eq!(self.act(|rig| rig.driver.kick_prepare()), needed);
            }
            Operation::Kick => {
                let needed = self.expect_kick();
                if needed {
                    self.expect_notify();
                }
                assert_eq!(self.act(|rig| rig.driver.kick()), Ok(needed));
                if needed {
                    self.check_notified();
                }
            }
            Operation::Notify => {
                self.expect_notify();
                assert_eq!(self.act(|rig| rig.driver.handle().notify()), Ok(()));
                self.check_notified();
            }
            Operation::NotifyNobody => self.notify_nobody(),
            Operation::GetBuf => self.get_buf(),
            Operation::Interrupt => self.interrupt(),
            Operation::DisableCallbacks => self.disable_callbacks(),
            Operation::EnableCallbacks => self.enable_callbacks(),
            Operation::EnableCallbacksPrepare => self.enable_callbacks_prepare(),
            Operation::EnableCallbacksDelayed => self.enable_callbacks_delayed(),
            Operation::Poll => self.poll(),
            Operation::Take => self.take(),
            Operation::Finish {
                which,
                written,
                publish,
            } => self.finish(*which, *written, *publish),
            Operation::PublishUsed => {
                self.act(|rig| rig.device.publish_used());
                self.check_published_used();
            }
            Operation::ShouldInterrupt => self.should_interrupt(),
            Operation::DisableKicks => self.disable_kicks(),
            Operation::EnableKicks => self.enable_kicks(),
            Operation::AskForKickAfter(more) => self.ask_for_kick_after(*more),
            Operation::Noise(noise) => self.noise(*noise),
            Operation::Detach => self.detach_one(),
            Operation::Reset => self.reset(),
        }
    }

    /// The same on a queue from which buffers were detached. The device works on it no
    /// more, and the driver looks for no used buffers there.
    fn perform_given_up(&mut self, operation: &Operation) {
        match operation {
            Operation::Add {
                readable,
                writable,
                publish,
            } => self.add(readable, writable, *publish),
            // No byte of the ring may change, and there is no record.
            Operation::Publish => self.act(|rig| rig.driver.publish()),
            Operation::KickPrepare => {
                assert!(!self.act(|rig| rig.driver.kick_prepare()), "for whom?");
            }
            Operation::Kick => assert_eq!(self.act(|rig| rig.driver.kick()), Ok(false)),
            Operation::Interrupt => self.interrupt(),
            Operation::DisableCallbacks => self.disable_callbacks(),
            Operation::EnableCallbacks => self.enable_callbacks(),
            Operation::EnableCallbacksPrepare => self.enable_callbacks_prepare(),
            Operation::EnableCallbacksDelayed => self.enable_callbacks_delayed(),
            Operation::Poll => self.poll(),
            Operation::Detach => self.detach_one(),
            Operation::Reset => self.reset(),
            Operation::Notify
            | Operation::NotifyNobody
            | Operation::GetBuf
            | Operation::Take
            | Operation::Finish { .. }
            | Operation::PublishUsed
            | Operation::ShouldInterrupt
            | Operation::DisableKicks
            | Operation::EnableKicks
            | Operation::AskForKickAfter(_)
            | Operation::Noise(_) => {}
        }
    }

    /// Does something to the ring, and then looks at it.
    fn act<R>(&mut self, act: impl FnOnce(&mut Rig<I, u64>) -> R) -> R {
        let result = act(&mut self.rig);
        self.now.take(&self.rig.memory);
        result
    }

    fn allow(&mut self, field: Field) {
        self.allowed.push(self.now.range(field));
    }

    /// What can be seen after every operation.
    fn check_state(&self) {
        let (driver, model) = (&self.rig.driver, &self.model);
        assert_eq!(driver.free_descriptors(), model.free);
        assert_eq!(usize::from(driver.in_flight()), model.buffers.len());
        assert_eq!(driver.broken(), None);
        assert_eq!(self.rig.device.returned_unsignalled(), model.unsignalled);
        assert_eq!(self.rig.doorbell.rings.load(Relaxed), self.rung);
        if self.plan.layout == Layout::Split {
            let (avail, used) = (Field::AvailIdx, Field::UsedIdx);
            assert_eq!(self.index(avail), model.place(model.published));
            assert_eq!(self.index(used), model.place(model.visible));
        } else {
            // The device finds nothing behind what is published, and the driver
            // nothing behind what is visible.
            assert!(!self.now.is_available(model.published));
            assert_eq!(self.now.used_entry(model.visible), None);
        }
        // Nothing was put where a buffer stands that was not taken back.
        assert!(model.added - model.harvested <= u64::from(self.plan.entries));
        self.check_wish_for_interrupts();
    }

    fn index(&self, field: Field) -> RingIndex {
        RingIndex(self.now.u16(field))
    }

    /// The driver's suppression, as the device reads it.
    fn check_wish_for_interrupts(&self) {
        let wanted = self.model.interrupts.wanted;
        let asked = self.model.place(self.model.asked).0;
        let (layout, event_idx) = (self.plan.layout, self.plan.features.event_idx);
        match layout {
            // With event indices the flag stays 0 (virtio 1.4 §2.7.7.1).
            Layout::Split if event_idx => {
                assert_eq!(self.now.u16(Field::AvailFlags), 0);
                if wanted {
                    assert_eq!(self.now.u16(Field::UsedEvent), asked);
                }
            }
            Layout::Split => {
                assert_eq!(self.now.u16(Field::AvailFlags), u16::from(!wanted));
                assert_eq!(self.now.u16(Field::UsedEvent), 0);
            }
            Layout::Packed => {
                let (desc, flags) = self.now.event(Field::DriverEvent);
                match flags {
                    // Zero at the beginning, which asks for everything.
                    0 => assert!(wanted && (!event_idx || self.model.untouched)),
                    1 => assert!(!wanted),
                    2 => assert!(wanted && event_idx && desc == asked),
                    reserved => panic!("the driver writes event flags {reserved:#x}"),
                }
            }
        }
    }

    /// What the other side's suppression asks for, and how a record samples it.
    fn wish(&self, of: Producer) -> (Wish, RingIndex, u16) {
        let event_idx = self.plan.features.event_idx;
        let driver = of == DriverHalf;
        match self.plan.layout {
            Layout::Split if event_idx => {
                let event = self.now.u16(if driver {
                    Field::UsedEvent
                } else {
                    Field::AvailEvent
                });
                (Wish::At(event), RingIndex(event), 0)
            }
            Layout::Split => {
                let flags = self.now.u16(if driver {
                    Field::AvailFlags
                } else {
                    Field::UsedFlags
                });
                let wish = if flags == 0 { Wish::All } else { Wish::Nothing };
                (wish, RingIndex(0), flags)
            }
            Layout::Packed => {
                let (desc, flags) = self.now.event(if driver {
                    Field::DriverEvent
                } else {
                    Field::DeviceEvent
                });
                // The other bits are reserved (virtio 1.4 §2.8.14).
                let wish = match flags & 3 {
                    1 => Wish::Nothing,
                    2 => Wish::At(desc),
                    _ => Wish::All,
                };
                (wish, RingIndex(desc), flags)
            }
        }
    }

    /// What every record of the driver's half, and every decision, is marked with.
    fn marks(&self) -> Flags {
        let mut flags = Flags::empty();
        flags.set(Flags::EVENT_IDX, self.plan.features.event_idx);
        flags.set(Flags::PACKED, self.plan.layout == Layout::Packed);
        flags
    }

    fn expect(&mut self, producer: Producer, flags: Flags, body: Body) -> &mut Expected {
        let mut marks = self.marks();
        if producer == DeviceHalf && !matches!(body, Body::InterruptSent(_)) {
            marks.remove(Flags::EVENT_IDX);
        }
        let expected = Expected::new(producer, flags | marks, body);
        self.expected.push(expected);
        self.expected.last_mut().unwrap()
    }

    /// What a decision about `old..new` must say, and whether it is to notify.
    fn decision(&self, by: Producer, old: u64, new: u64) -> (Notification, bool) {
        let of = if by == DriverHalf {
            DeviceHalf
        } else {
            DriverHalf
        };
        let (wish, event, event_flags) = self.wish(of);
        let reason = self.model.verdict(old, new, wish);
        let needed = matches!(
            reason,
            NotificationReason::EventCrossed | NotificationReason::FlagClear
        );
        let free = if by == DriverHalf { self.model.free } else { 0 };
        let decision = Notification {
            free,
            error: 0,
            old: self.model.place(old),
            new: self.model.place(new),
            event,
            event_flags,
            reason,
        };
        (decision, needed)
    }

    /// Writes bytes into segments, one after the other.
    fn scatter(&self, segments: &[Segment], mut from: &[u8]) {
        for segment in segments {
            let (now, later) = from.split_at(from.len().min(segment.len as usize));
            self.rig.memory.write(segment.address, now).unwrap();
            from = later;
        }
        assert!(from.is_empty());
    }

    /// Reads all bytes of segments.
    fn gather(&self, segments: &[Segment]) -> Vec<u8> {
        let mut all = Vec::new();
        for segment in segments {
            let mut part = vec![0; segment.len as usize];
            self.rig.memory.read(segment.address, &mut part).unwrap();
            all.append(&mut part);
        }
        all
    }

    fn free_rooms(&mut self, buffer: &Buffer) {
        let segments = buffer.readable.iter().chain(&buffer.writable);
        let first = self.rig.buffers.0;
        self.rooms
            .extend(segments.map(|segment| first + (segment.address.0 - first) / ROOM * ROOM));
    }

    /// A segment in one of the free rooms; the alignment changes with the token.
    fn room(&mut self, len: u32) -> Segment {
        let room = self.rooms.pop().expect("enough rooms were counted");
        Segment {
            address: GuestAddress(room + self.next_token % 9),
            len,
        }
    }
}
