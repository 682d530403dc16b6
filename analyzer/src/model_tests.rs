//! The whole analyzer against a simple model of a ring and its two sides.
//!
//! The model plays a valid history of one queue (adds, kick decisions, a device
//! that takes, returns in any order and interrupts, callbacks, polling) and knows
//! every request's times because it made them up. Its records go through the
//! analyzer, whole or with losses.

mod losses;
mod properties;

use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;
use virtscope_record::{
    Body, Common, Layout, Missed, NotificationReason, Producer, Record, RingIndex, Sequence,
    Timestamp,
};

use crate::index_space::IndexSpace;
use crate::testing::{Stream, analyze};
use crate::{Announcement, Incomplete, Life, Outcome, Phases, Piece};

/// Entries of the model's ring. On a split ring each buffer takes one descriptor, on
/// a packed one up to three.
const SIZE: u16 = 8;

/// What kind of queue is played.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    pub(crate) packed: bool,
    /// The device returns buffers in the order in which it took them
    /// (`VIRTIO_F_IN_ORDER`).
    pub(crate) in_order: bool,
    /// The first index of a split ring; of a packed one, the first offset.
    pub(crate) start: u16,
    /// Buffers that the device had already when the capture began.
    pub(crate) begun_before: u16,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            packed: false,
            in_order: false,
            start: 65530,
            begun_before: 0,
        }
    }
}

fn setup() -> impl Strategy<Value = Setup> {
    let start = prop_oneof![Just(0_u16), 65500_u16..=65535, any::<u16>()];
    (any::<bool>(), any::<bool>(), start, 0_u16..4).prop_map(
        |(packed, in_order, start, begun_before)| Setup {
            packed,
            in_order,
            start,
            begun_before,
        },
    )
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    Add,
    Kick(bool),
    Take,
    Return(usize),
    Interrupt(bool),
    Callback,
    Harvest,
    Refuse,
}

pub(crate) fn step() -> impl Strategy<Value = (Step, u64)> {
    let step = prop_oneof![
        6 => Just(Step::Add),
        4 => any::<bool>().prop_map(Step::Kick),
        5 => Just(Step::Take),
        5 => any::<usize>().prop_map(Step::Return),
        3 => any::<bool>().prop_map(Step::Interrupt),
        3 => Just(Step::Callback),
        6 => Just(Step::Harvest),
        1 => Just(Step::Refuse),
    ];
    // Zero too: records of one nanosecond.
    (step, 0_u64..50)
}

/// A request as the model lived it.
#[derive(Clone, Debug, Default)]
struct Request {
    head: u16,
    position: RingIndex,
    descriptors: u16,
    /// It was in flight when the capture began: its add is not among the records.
    begun_before: bool,
    added: u64,
    kicked: Option<u64>,
    batch: u16,
    taken: Option<u64>,
    returned: Option<u64>,
    used_position: Option<RingIndex>,
    interrupted: Option<bool>,
    callback: Option<u64>,
    used: Option<u64>,
    out_of_order: bool,
}

impl Request {
    fn phases(&self) -> Option<Phases> {
        if self.begun_before {
            return None;
        }
        let (used, kicked) = (self.used?, self.kicked?.min(self.used?));
        let announced = self.callback.unwrap_or(used).max(kicked);
        Some(Phases {
            queued_ns: kicked - self.added,
            device_ns: announced - kicked,
            harvest_ns: used - announced,
            announcement: match self.callback {
                Some(_) => Announcement::Callback,
                None => Announcement::Polled,
            },
        })
    }

    fn overlap(&self) -> u64 {
        let first = [self.taken, self.returned, self.callback, self.used];
        let first = first.into_iter().flatten().min();
        match (first, self.kicked) {
            (Some(first), Some(kicked)) => kicked.saturating_sub(first),
            _ => 0,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) stream: Stream,
    setup: Setup,
    space: IndexSpace,
    now: u64,
    began: u64,
    requests: Vec<Request>,
    free: Vec<u16>,
    free_descriptors: u16,
    added: RingIndex,
    kicked: RingIndex,
    /// Requests that no kick decision covers.
    unkicked: u16,
    available: VecDeque<usize>,
    taken: Vec<usize>,
    used: VecDeque<usize>,
    used_idx: RingIndex,
    signalled: RingIndex,
    last_used: RingIndex,
    refused: u64,
    /// In flight times nanoseconds; and nanoseconds at no free descriptor.
    area: u64,
    full_ns: u64,
    peak: usize,
    peak_descriptors: u16,
}

impl Model {
    fn new(setup: Setup) -> Self {
        let mut stream = Stream::new();
        let layout = if setup.packed {
            stream.packed();
            Layout::Packed
        } else {
            Layout::Split
        };
        stream.at(1000).facts(SIZE, setup.begun_before);
        let space = IndexSpace::new(SIZE, layout);
        let start = if setup.packed {
            RingIndex(0x8000 | (setup.start % SIZE))
        } else {
            RingIndex(setup.start)
        };
        // Two laps of a packed ring, less those that are in flight.
        let behind = (2 * SIZE).wrapping_sub(setup.begun_before);
        let first_used = if setup.packed {
            space.advance(start, behind)
        } else {
            RingIndex(setup.start.wrapping_sub(setup.begun_before))
        };
        let mut model = Self {
            stream,
            setup,
            space,
            now: 1000,
            began: 1000,
            requests: Vec::new(),
            free: (0..SIZE).collect(),
            free_descriptors: SIZE,
            added: start,
            kicked: start,
            unkicked: 0,
            available: VecDeque::new(),
            taken: Vec::new(),
            used: VecDeque::new(),
            used_idx: first_used,
            signalled: first_used,
            last_used: first_used,
            refused: 0,
            area: 0,
            full_ns: 0,
            peak: 0,
            peak_descriptors: 0,
        };
        for _ in 0..setup.begun_before {
            model.begin_before();
        }
        model.note_peaks();
        model
    }

    /// A buffer that the device has since before the capture began.
    fn begin_before(&mut self) {
        let Some(head) = self.free.pop() else { return };
        self.free_descriptors -= 1;
        self.stream.free = self.free_descriptors;
        self.stream.descriptors = 1;
        self.stream.in_flight(head);
        self.taken.push(self.requests.len());
        self.requests.push(Request {
            head,
            descriptors: 1,
            begun_before: true,
            ..Request::default()
        });
    }

    /// Places of the ring that a request takes.
    fn places(&self, request: &Request) -> u16 {
        if self.setup.packed {
            request.descriptors
        } else {
            1
        }
    }

    fn note_peaks(&mut self) {
        self.peak = self.peak.max(self.in_flight());
        self.peak_descriptors = self.peak_descriptors.max(SIZE - self.free_descriptors);
    }

    fn in_flight(&self) -> usize {
        usize::from(SIZE) - self.free.len()
    }

    pub(crate) fn play(steps: &[(Step, u64)], setup: Setup) -> Self {
        let mut model = Self::new(setup);
        for (step, ns) in steps {
            model.area += model.in_flight() as u64 * ns;
            model.full_ns += if model.free_descriptors == 0 { *ns } else { 0 };
            model.now += ns;
            model.stream.at(model.now);
            model.step(*step);
            model.note_peaks();
        }
        // A record at the end, so that the last stretch of time is seen.
        model.stream.final_statistics();
        model
    }

    fn step(&mut self, step: Step) {
        match step {
            // A driver kicks before it has added a ring's worth again.
            Step::Add if self.space.ahead(self.kicked, self.added) >= SIZE.into() => {
                self.kick(true);
            }
            Step::Add => self.add(),
            Step::Kick(needed) => self.kick(needed),
            Step::Take => {
                if let Some(at) = self.available.pop_front() {
                    let request = &mut self.requests[at];
                    request.taken = Some(self.now);
                    let behind = if self.setup.packed {
                        request.descriptors
                    } else {
                        1
                    };
                    let seen = self.space.advance(request.position, behind);
                    self.stream
                        .taken_up_to(request.head, request.position.0, seen.0);
                    self.taken.push(at);
                }
            }
            Step::Return(which) => self.return_one(which),
            Step::Interrupt(needed) => self.interrupt(needed),
            Step::Callback => {
                if self.setup.packed {
                    let spurious = self.used.is_empty();
                    self.stream.packed_callback(self.last_used.0, spurious);
                } else {
                    self.stream.callback(self.used_idx.0, self.last_used.0);
                }
                for at in &self.used {
                    let callback = &mut self.requests[*at].callback;
                    *callback = callback.or(Some(self.now));
                }
            }
            Step::Harvest => self.harvest(),
            Step::Refuse => {
                if self.free_descriptors == 0 {
                    self.stream.free = 0;
                    self.stream.add_failed(28);
                    self.refused += 1;
                }
            }
        }
    }

    fn add(&mut self) {
        let descriptors = if self.setup.packed {
            self.requests.len() as u16 % 3 + 1
        } else {
            1
        };
        if descriptors > self.free_descriptors {
            return;
        }
        let Some(head) = self.free.pop() else { return };
        self.free_descriptors -= descriptors;
        self.stream.free = self.free_descriptors;
        self.stream.descriptors = descriptors;
        self.stream.add(head, self.added.0);
        self.available.push_back(self.requests.len());
        let request = Request {
            head,
            position: self.added,
            descriptors,
            added: self.now,
            ..Request::default()
        };
        self.added = self.space.advance(self.added, self.places(&request));
        self.requests.push(request);
        self.unkicked += 1;
    }

    fn kick(&mut self, needed: bool) {
        let reason = NotificationReason::Unknown;
        self.stream.free = self.free_descriptors;
        self.stream
            .kick_as(self.kicked.0, self.added.0, needed, reason);
        let batch = std::mem::take(&mut self.unkicked);
        for request in self.requests.iter_mut().rev().take(batch.into()) {
            (request.kicked, request.batch) = (Some(self.now), batch);
        }
        self.kicked = self.added;
    }

    fn return_one(&mut self, which: usize) {
        if self.taken.is_empty() {
            return;
        }
        // Past two laps the positions of a packed ring would not tell which entries
        // a decision is about; a device decides before that.
        if self.setup.packed && self.space.ahead(self.signalled, self.used_idx) >= SIZE.into() {
            self.interrupt(false);
        }
        let which = if self.setup.in_order {
            0
        } else {
            which % self.taken.len()
        };
        let at = self.taken.remove(which);
        let request = &mut self.requests[at];
        request.returned = Some(self.now);
        request.used_position = Some(self.used_idx);
        self.stream.returned(request.head, self.used_idx.0);
        let places = self.places(&self.requests[at]);
        self.used_idx = self.space.advance(self.used_idx, places);
        self.used.push_back(at);
    }

    fn interrupt(&mut self, needed: bool) {
        let (old, new) = (self.signalled, self.used_idx);
        self.stream.interrupt(old.0, new.0, needed);
        for request in &mut self.requests {
            let inside = request
                .used_position
                .is_some_and(|position| self.space.contains(old, new, position));
            // Positions of a packed ring come again.
            if inside && request.interrupted.is_none() {
                request.interrupted = Some(needed);
            }
        }
        self.signalled = new;
    }

    fn harvest(&mut self) {
        let Some(at) = self.used.pop_front() else {
            return;
        };
        let older = self.requests[..at].iter().any(|r| r.used.is_none());
        let request = &mut self.requests[at];
        request.used = Some(self.now);
        request.out_of_order = older;
        self.free.push(request.head);
        self.free_descriptors += request.descriptors;
        self.stream.free = self.free_descriptors;
        self.stream.descriptors = request.descriptors;
        self.stream.used(request.head, self.last_used.0);
        let places = self.places(&self.requests[at]);
        self.last_used = self.space.advance(self.last_used, places);
    }

    /// By what is unique to it.
    fn request_of(&self, life: &Life) -> Option<&Request> {
        self.requests.iter().find(|request| {
            if request.begun_before {
                return life.moments.added.is_none() && life.head == request.head;
            }
            Some(Timestamp::from_nanos(request.added)) == life.moments.added
                && life.position == Some(request.position)
        })
    }
}

/// Whether `phases` are the request's. On a packed ring a callback speaks of the next
/// entry alone: of another, whose return the device half did not tell, only the rest
/// is known.
fn are_of(phases: Phases, life: &Life, request: &Request, setup: Setup) -> bool {
    let Some(was) = request.phases() else {
        return false;
    };
    if setup.packed && life.moments.returned.is_none() {
        return (phases.queued_ns, phases.total_ns()) == (was.queued_ns, was.total_ns());
    }
    phases == was
}

fn renumber(record: &mut Record, producer: Producer, number: usize) {
    let common = Common {
        producer: producer.id(),
        sequence: Sequence(number as u32),
        ..record.common()
    };
    *record = Record::new(common, record.body().unwrap());
}

fn time(ns: Option<u64>) -> Option<Timestamp> {
    ns.map(Timestamp::from_nanos)
}
