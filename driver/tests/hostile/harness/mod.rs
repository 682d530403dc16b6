//! A ring whose driver half is watched: after every operation it is asked whether
//! it kept what it promises, whatever the device did meanwhile.

#![allow(dead_code, reason = "the fuzz target shares it and uses its part")]

mod build;
mod finish;
mod memory;
mod records;
pub(crate) mod words;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use virtscope_device::queue::{Chain, DeviceQueue};
use virtscope_driver::instrument::NoInstrument;
use virtscope_driver::memory::{GuestAddress, GuestMemory, Segment, SharedQueueMemory};
use virtscope_driver::ring::{
    AddErrorKind, AvailableNotification, Context, Features, Notifier, NotifyError, QueueError,
    UsedBuffer, Virtqueue,
};
use virtscope_record::{Generation, Layout, Token};

pub(crate) use memory::{Access, Area, Lie, Watch, WatchedMemory, When, Word};
pub(crate) use records::Tally;

/// What stands in every byte that is not the ring's.
const UNTOUCHED: u8 = 0xa5;
/// Bytes between the buffers of one token and the next.
const STRIDE: u64 = 256;

/// What a ring is made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Plan {
    pub(crate) layout: Layout,
    pub(crate) entries: u16,
    pub(crate) features: Features,
    /// Tables of indirect descriptors, of four each.
    pub(crate) tables: u16,
}

/// The lengths of a buffer's device-readable and device-writable segments.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Shape<'a>(pub(crate) &'a [u32], pub(crate) &'a [u32]);

impl Shape<'static> {
    /// One segment of each kind, 4 and 10 bytes.
    pub(crate) const PAIR: Self = Self(&[4], &[10]);
}

/// How often the driver rang.
#[derive(Clone, Default)]
pub(crate) struct Doorbell(Arc<AtomicUsize>);

impl Doorbell {
    pub(crate) fn rings(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Notifier for Doorbell {
    fn notify(&self, _: AvailableNotification) -> Result<(), NotifyError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// Both halves, the memory between them, and what the driver was given.
pub(crate) struct Ring {
    pub(crate) plan: Plan,
    pub(crate) driver: Virtqueue<WatchedMemory, Tally, u64>,
    /// A device that keeps the rules, for whoever wants one.
    pub(crate) device: DeviceQueue<SharedQueueMemory, NoInstrument>,
    pub(crate) watch: Arc<Watch>,
    pub(crate) doorbell: Doorbell,
    /// Buffers that this device has taken and not returned.
    pub(crate) taken: VecDeque<Chain>,
    tally: Tally,
    raw: SharedQueueMemory,
    memory: Arc<GuestMemory>,
    /// What is the ring's, as ranges of addresses.
    areas: Vec<(u64, u64)>,
    pub(crate) buffers: GuestAddress,
    /// Where the tables of indirect descriptors begin.
    pub(crate) tables: GuestAddress,
    generation: Generation,
    /// By token: the writable bytes of buffers that the driver holds.
    held: BTreeMap<u64, u32>,
    /// Tokens that came back.
    back: BTreeSet<u64>,
    broken: Option<QueueError>,
    /// Buffers were detached.
    detached: bool,
    /// The accesses of the last operation.
    last: Vec<Access>,
}

impl Ring {
    /// The segments of a token's buffer.
    pub(crate) fn segments(&self, token: u64, shape: Shape<'_>) -> [Vec<Segment>; 2] {
        let mut at = self.buffers.0 + token % 16 * STRIDE;
        [shape.0, shape.1].map(|lengths| {
            let each = lengths.iter().map(|len| {
                let address = GuestAddress(at);
                at += u64::from(*len);
                Segment { address, len: *len }
            });
            each.collect()
        })
    }

    /// The driver adds and publishes a buffer.
    pub(crate) fn add(&mut self, token: u64, shape: Shape<'_>) -> Result<u16, AddErrorKind> {
        let added = self.add_unpublished(token, shape)?;
        self.publish();
        Ok(added)
    }

    /// The driver adds a buffer.
    pub(crate) fn add_unpublished(
        &mut self,
        token: u64,
        shape: Shape<'_>,
    ) -> Result<u16, AddErrorKind> {
        assert!(
            !self.held.contains_key(&token),
            "the test gives {token} twice"
        );
        let [readable, writable] = self.segments(token, shape);
        let context = Context(token + 7);
        let added = self
            .driver
            .add_unpublished(&readable, &writable, Token(token), token, context);
        self.after();
        match added {
            Ok(capacity) => {
                assert!(!self.is_closed(), "a broken queue takes no buffers");
                assert_eq!(capacity, self.driver.free_descriptors());
                self.held.insert(token, shape.1.iter().sum());
                self.back.remove(&token);
                Ok(capacity)
            }
            Err(error) => {
                assert_eq!((error.token, error.data), (Token(token), token));
                if self.is_closed() {
                    let broken = self.broken.map(AddErrorKind::Broken);
                    assert_eq!(error.kind, broken.unwrap_or(AddErrorKind::Detached));
                    assert_eq!(error.kind.errno(), 5, "EIO");
                }
                Err(error.kind)
            }
        }
    }

    /// What was added becomes available.
    pub(crate) fn publish(&mut self) {
        self.driver.publish();
        self.after();
        assert!(!self.is_closed() || self.last.is_empty());
    }

    /// `kick`: whether the device was notified.
    pub(crate) fn kick(&mut self) -> bool {
        let before = self.doorbell.rings();
        let kicked = match self.broken {
            None => self.driver.kick().unwrap(),
            Some(_) => {
                assert_eq!(self.driver.kick(), Err(NotifyError), "a kick that failed");
                false
            }
        };
        self.after();
        assert_eq!(self.doorbell.rings() - before, usize::from(kicked));
        assert!(!self.is_closed() || !kicked && self.last.is_empty());
        kicked
    }

    /// `get_buf`: token and length.
    pub(crate) fn get(&mut self) -> Result<Option<(u64, u32)>, QueueError> {
        let got = self.driver.get_buf();
        if let Err(error) = &got {
            assert_eq!(*self.broken.get_or_insert(*error), *error);
        }
        self.after();
        let used = got?;
        assert_eq!(self.broken, None, "a broken queue gives no buffers");
        Ok(used.map(|used| self.came_back(&used)))
    }

    /// `detach_unused_buf`: the token.
    pub(crate) fn detach(&mut self) -> Option<u64> {
        let unused = self.driver.detach_unused()?;
        self.detached = true;
        self.after();
        let (token, written) = self.came_back(&unused);
        assert_eq!(written, 0, "an unused buffer was not written");
        Some(token)
    }

    /// A token is the driver's own again, once.
    fn came_back(&mut self, used: &UsedBuffer<u64>) -> (u64, u32) {
        let (token, written) = (used.data, used.written);
        assert_eq!(
            (used.token, used.context),
            (Token(token), Context(token + 7))
        );
        let writable = self.held.remove(&token);
        let writable = writable.unwrap_or_else(|| panic!("token {token} is not held"));
        assert!(self.back.insert(token), "token {token} came back twice");
        assert!(
            written <= writable,
            "{written} bytes in a buffer of {writable}"
        );
        self.assert_counts();
        (token, written)
    }

    /// Begins afresh, with a device that knows nothing of what was.
    pub(crate) fn reset(&mut self) {
        self.generation = Generation(self.generation.0.wrapping_add(1));
        self.watch.set_resetting(true);
        let mut recycled = Vec::new();
        self.driver
            .reset(self.generation, |used| recycled.push(used));
        self.watch.take_log();
        self.watch.set_resetting(false);
        self.broken = None;
        self.detached = false;
        self.tally.mend();
        for used in &recycled {
            self.held
                .remove(&used.data)
                .expect("recycled what was not held");
            assert!(
                self.back.insert(used.data),
                "token {} came twice",
                used.data
            );
        }
        assert_eq!(self.held, BTreeMap::new(), "a reset gives everything back");
        self.assert_counts();
        self.device = build::device(self.plan, &self.raw);
        self.taken.clear();
    }

    /// What holds after every operation.
    fn after(&mut self) {
        self.last = self.watch.take_log();
        let accesses = self.last.len();
        // A buffer's descriptors are two words each, and ten more words are read or
        // written at most whatever the operation.
        let most = 2 * usize::from(self.plan.entries.max(4)) + 10;
        assert!(accesses <= most, "{accesses} accesses for one operation");
        assert_eq!(self.driver.broken(), self.broken);
        assert_eq!(self.tally.broken(), usize::from(self.broken.is_some()));
    }

    /// Whether the queue shows the device nothing any more.
    fn is_closed(&self) -> bool {
        self.broken.is_some() || self.detached
    }

    fn assert_counts(&self) {
        assert_eq!(usize::from(self.driver.in_flight()), self.held.len());
        assert!(self.driver.free_descriptors() <= self.plan.entries);
        if self.held.is_empty() {
            assert_eq!(self.driver.free_descriptors(), self.plan.entries);
        }
    }

    /// Asks and tells the driver what changes no buffers.
    pub(crate) fn ask<R>(&mut self, ask: impl FnOnce(&mut Self) -> R) -> R {
        let answer = ask(self);
        self.after();
        answer
    }

    /// What the last operation read and wrote, in this order.
    pub(crate) fn accesses(&self) -> &[Access] {
        &self.last
    }

    /// The tokens that the driver holds.
    pub(crate) fn held(&self) -> Vec<u64> {
        self.held.keys().copied().collect()
    }

    /// What broke the queue, if it is broken.
    pub(crate) fn broken(&self) -> Option<QueueError> {
        self.broken
    }

    /// The device that keeps the rules takes all that is available.
    pub(crate) fn take_all(&mut self) {
        while let Some(chain) = self.device.take().unwrap() {
            self.taken.push_back(chain);
        }
    }

    /// It returns the first `count` of what it took, wholly used, at once.
    pub(crate) fn give_back(&mut self, count: usize) {
        for _ in 0..count {
            let chain = self.taken.pop_front().expect("the device has taken one");
            self.device.stage_used(&chain, chain.writable_bytes());
        }
        self.device.publish_used();
    }

    /// One buffer goes round, and both halves keep the rules.
    pub(crate) fn round(&mut self, token: u64, shape: Shape<'_>) {
        assert!(self.taken.is_empty(), "the device returns others first");
        self.add(token, shape).unwrap();
        self.kick();
        self.take_all();
        self.give_back(1);
        assert_eq!(self.get(), Ok(Some((token, shape.1.iter().sum()))));
    }

    /// Many do, and nobody looks.
    pub(crate) fn rounds(&mut self, count: u32, shape: Shape<'_>) {
        let [readable, writable] = self.segments(0, shape);
        let mut chain = Chain::default();
        for _ in 0..count {
            self.driver.add(&readable, &writable, Token(0), 0).unwrap();
            self.driver.kick_prepare();
            assert!(self.device.take_into(&mut chain).unwrap());
            self.device.put_used(&chain, chain.writable_bytes());
            assert!(self.driver.get_buf().unwrap().is_some());
            self.watch.take_log();
        }
    }
}
