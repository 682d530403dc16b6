//! Plays a case on the ring and on the model.

mod device;
mod driver;

use std::sync::atomic::Ordering::Relaxed;

use virtscope_driver::instrument::Instrument;
use virtscope_driver::memory::Segment;
use virtscope_record::{Body, Flags, Producer, RingIndex, Token};

use super::common::Rig;
use super::model::{Model, bytes};
use super::operation::{Case, Operation};
use super::records::{Expected, Records};

/// Room for one segment; neighbouring ones begin at different alignments.
const ROOM: u64 = 128;
/// What stands in a device-writable segment before the device writes it.
const UNWRITTEN: u8 = 0xee;

use Producer::{DeviceHalf, DriverHalf};

/// The ring, the model, and what is to be recorded.
pub(crate) struct Run<I> {
    rig: Rig<I, u64>,
    event_idx: bool,
    model: Model,
    /// Free rooms for segments.
    rooms: Vec<u64>,
    next_token: u64,
    rung: usize,
    records: Option<Records>,
    expected: Vec<Expected>,
}

/// A count of entries as the 16-bit index that stands in the ring.
fn index(count: u64) -> RingIndex {
    RingIndex(count as u16)
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
        let rooms = u64::from(case.size) + 1;
        let pages = (rooms * ROOM).div_ceil(4096) as usize;
        let rig = Rig::new(case.size, case.event_idx, pages, driver, device);
        Self {
            rooms: (0..rooms).map(|i| rig.buffers.0 + i * ROOM).collect(),
            rig,
            event_idx: case.event_idx,
            model: Model::new(case.size),
            next_token: 1,
            rung: 0,
            records,
            expected: Vec::new(),
        }
    }

    /// The whole case, and at its end what is left is detached.
    pub(crate) fn play(mut self, case: &Case) {
        self.skip(case.rounds);
        for operation in &case.operations {
            self.step(operation);
            self.check_state();
        }
        self.detach();
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
            self.rig.device.put_used(chain.head, 0);
            self.rig.driver.get_buf().unwrap().unwrap();
            if let Some(records) = &mut self.records
                && (round % 100 == 99 || round + 1 == rounds)
            {
                records.drain();
            }
        }
        self.model.skip(u64::from(rounds));
    }

    fn step(&mut self, operation: &Operation) {
        match operation {
            Operation::Add {
                readable,
                writable,
                publish,
            } => self.add(readable, writable, *publish),
            Operation::Publish => {
                self.rig.driver.publish();
                self.model.published = self.model.added;
            }
            Operation::KickPrepare => {
                let needed = self.expect_kick();
                assert_eq!(self.rig.driver.kick_prepare(), needed);
            }
            Operation::Kick => {
                let needed = self.expect_kick();
                if needed {
                    self.expect_notify();
                }
                assert_eq!(self.rig.driver.kick(), Ok(needed));
            }
            Operation::Notify => {
                self.expect_notify();
                assert_eq!(self.rig.driver.handle().notify(), Ok(()));
            }
            Operation::GetBuf => self.get_buf(),
            Operation::Interrupt => self.interrupt(),
            Operation::DisableCallbacks => self.disable_callbacks(),
            Operation::EnableCallbacks => self.enable_callbacks(),
            Operation::Take => self.take(),
            Operation::PutUsed { which, written } => {
                if !self.model.held.is_empty() {
                    let token = self
                        .model
                        .held
                        .swap_remove(which.index(self.model.held.len()));
                    let most = bytes(&self.model.buffers[&token].writable);
                    self.put_used(token, written.index(most as usize + 1) as u32);
                }
            }
            Operation::ShouldInterrupt => self.should_interrupt(),
            Operation::DisableKicks => self.disable_kicks(),
            Operation::EnableKicks => self.enable_kicks(),
        }
        if let Some(records) = &mut self.records {
            records.expect(&self.expected);
        }
        self.expected.clear();
    }

    /// What can be seen after every operation.
    fn check_state(&self) {
        let driver = &self.rig.driver;
        assert_eq!(driver.free_descriptors(), self.model.free);
        assert_eq!(usize::from(driver.in_flight()), self.model.buffers.len());
        assert_eq!(driver.broken(), None);
        let raw = &self.rig.raw;
        // With event indices both flags stay 0 (virtio 1.4 §2.7.7.1, §2.7.10.2).
        let flag = |wanted: bool| u16::from(!self.event_idx && !wanted);
        assert_eq!(raw.avail_flags(), flag(self.model.interrupts.wanted));
        assert_eq!(raw.used_flags(), flag(self.model.kicks.wanted));
        if self.event_idx && self.model.interrupts.wanted {
            assert_eq!(RingIndex(raw.used_event()), index(self.model.harvested));
        }
        let returned = self.model.returned - u64::from(self.rig.device.returned_unsignalled());
        assert_eq!(returned, self.model.interrupts.decided);
        assert_eq!(self.rig.doorbell.load(Relaxed), self.rung);
    }

    fn suppression(&self) -> Flags {
        if self.event_idx {
            Flags::EVENT_IDX
        } else {
            Flags::empty()
        }
    }

    fn expect(&mut self, producer: Producer, flags: Flags, body: Body) -> &mut Expected {
        self.expected.push(Expected::new(producer, flags, body));
        self.expected.last_mut().unwrap()
    }

    fn expect_decision(&mut self, producer: Producer, needed: bool, body: Body) -> bool {
        let mut record_flags = self.suppression();
        record_flags.set(Flags::NOTIFICATION_NEEDED, needed);
        self.expect(producer, record_flags, body);
        needed
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
}
