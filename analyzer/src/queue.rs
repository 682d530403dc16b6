//! Everything known of one queue, record by record.

use virtscope_record::{Body, Flags, Producer, QueueFacts, QueueId, Record, Timestamp};

use crate::analyzer::{Budgets, Options};
use crate::findings::Detectors;
use crate::life::Life;
use crate::lives::Lives;
use crate::losses::{Continuity, Step};
use crate::occupancy::Occupancy;
use crate::p9;
use crate::positions::Positions;
use crate::rates::RateWindow;
use crate::ring::RingTracker;
use crate::snapshot::{Facts, QueueView, RecordTotals, RequestTotals};
use crate::stats::{QueueCounts, RequestStats, is_no_space};
use crate::waits::{SpaceWaits, Waits};

/// The device type of the 9P transport (Linux `VIRTIO_ID_9P`).
pub(crate) const DEVICE_TYPE_9P: u16 = 9;

/// One queue.
#[derive(Debug)]
pub(crate) struct Queue {
    pub(crate) id: QueueId,
    pub(crate) name: String,
    pub(crate) facts: Option<Facts>,
    /// Generations seen.
    pub(crate) generations: u64,
    /// Times the clock was set back.
    pub(crate) clock_steps: u64,
    pub(crate) counts: QueueCounts,
    pub(crate) requests: RequestStats,
    /// Those that the filter wants, if there is one.
    pub(crate) matching: Option<RequestStats>,
    pub(crate) occupancy: Occupancy,
    pub(crate) continuity: Continuity,
    pub(crate) positions: Positions,
    pub(crate) detectors: Detectors,
    lives: Lives,
    waits: Waits,
    /// Nothing, if no rings are drawn.
    ring: Option<RingTracker>,
    rates: RateWindow,
    looks_for_findings: bool,
    /// Records were left out of the stream on purpose: a hole is no loss.
    is_part: bool,
}

impl Queue {
    pub(crate) fn new(id: QueueId, options: &Options, budgets: &Budgets) -> Self {
        Self {
            id,
            name: id.to_string(),
            facts: None,
            generations: 0,
            clock_steps: 0,
            counts: QueueCounts::default(),
            requests: RequestStats::new(&budgets.latencies),
            matching: options
                .filter
                .is_some()
                .then(|| RequestStats::new(&budgets.latencies)),
            occupancy: Occupancy::default(),
            continuity: Continuity::default(),
            positions: Positions::default(),
            detectors: Detectors::default(),
            lives: Lives::new(id, options.keep_bytes, budgets.p9.clone()),
            waits: Waits::default(),
            ring: options.draw_rings.then(RingTracker::default),
            rates: RateWindow::default(),
            looks_for_findings: options.look_for_findings,
            is_part: !options.selection.is_whole(),
        }
    }

    /// Takes in one record. `number` is what the next new life is called; it is
    /// moved on if there is one.
    pub(crate) fn push(&mut self, record: &Record, body: &Body, payload: &[u8], number: &mut u64) {
        let repeated = record.flags().contains(Flags::REPEATED);
        if let Body::Statistics(statistics) = body {
            self.continuity.learn(statistics, repeated);
            if std::mem::take(&mut self.continuity.began_later) {
                self.lives.began_later(repeated);
                self.positions.began_later();
            }
            if statistics.about == Producer::DeviceHalf.id() {
                self.detectors.device_half_known();
            }
        }
        // What is repeated has no number.
        if !repeated {
            self.follow(record);
        }
        // Statistics are about all generations. On a queue gone quiet they alone
        // tell that time goes on.
        if matches!(body, Body::Statistics(_)) {
            self.lives.settle(record.time());
            return;
        }
        if !self.is_current(record) {
            return;
        }
        macro_rules! by_kind {
            ($($kind:ident),*) => {
                match body {
                    $(Body::$kind(of) => {
                        self.take_in(record, (Body::$kind, of), payload, number);
                    })*
                }
            };
        }
        by_kind!(
            Add,
            AddFailed,
            Kick,
            Notify,
            Callback,
            Used,
            CallbacksDisabled,
            CallbacksEnabled,
            Detach,
            QueueFacts,
            Reset,
            Statistics,
            Missed,
            InFlight,
            Taken,
            Returned,
            InterruptSent
        );
    }

    /// Takes in a record of this generation. What is called from here asks for the kind,
    /// one after the other, and most of it does nothing for most: so this is compiled once
    /// for each `kind`, and asks no more.
    #[inline(never)]
    fn take_in<T: Copy>(
        &mut self,
        record: &Record,
        (kind, of): (impl Fn(T) -> Body, &T),
        payload: &[u8],
        number: &mut u64,
    ) {
        // Made anew for each: of one that was lent before, the compiler would not know
        // the kind any more.
        let body = || kind(*of);
        if let Body::QueueFacts(facts) = &body() {
            self.facts(record, facts, payload);
        }
        if self.positions.observe(&body(), self.lives.space()) && !self.is_part {
            self.lives.gap();
        }
        self.counts.record(record.flags(), &body());
        if let Some(ring) = &mut self.ring {
            ring.observe(record, &body());
        }
        self.occupancy.advance(record.time());
        self.join(record, &body(), payload, number);
        self.occupy(record, &body());
        self.rate(record, &body());
        if self.looks_for_findings {
            let size = self.facts.as_ref().map_or(0, |facts| facts.size);
            self.detectors.record(record, body, size, &self.lives);
        }
    }

    /// Records were lost, of a stream whose holes do not say so.
    pub(crate) fn lost(&mut self) {
        self.lives.gap();
    }

    /// Takes in a record that cannot be read: only its place in the sequence.
    pub(crate) fn skip(&mut self, record: &Record) {
        self.follow(record);
    }

    fn follow(&mut self, record: &Record) {
        if let Some(step) = self.continuity.observe(record) {
            if self.continuity.set_back {
                self.set_back(record.time());
            }
            let step = if self.is_part { Step::Next } else { step };
            self.lives.follow(record, step);
        }
    }

    /// The clock was set back to `time`.
    #[cold]
    fn set_back(&mut self, time: Timestamp) {
        self.clock_steps += 1;
        self.lives.set_back(time);
        self.waits.reset();
        self.occupancy.set_back(time);
        self.rates = RateWindow::default();
    }

    /// Whether the record is of the generation being followed. A newer one ends
    /// it; an older one comes too late to tell anything of what is in flight.
    fn is_current(&mut self, record: &Record) -> bool {
        let generation = record.generation();
        let newer = self
            .lives
            .generation()
            .is_none_or(|current| generation.0.wrapping_sub(current.0).cast_signed() > 0);
        if newer {
            self.lives.begin_generation(generation);
            self.generations += 1;
            self.restart();
        }
        newer || self.lives.generation() == Some(generation)
    }

    fn restart(&mut self) {
        self.positions.restart();
        if let Some(ring) = &mut self.ring {
            ring.restart();
        }
        self.waits.reset();
        self.occupancy.empty();
    }

    fn facts(&mut self, record: &Record, facts: &QueueFacts, payload: &[u8]) {
        let (name, told) = Facts::read(record.generation(), facts, payload);
        if let Some(name) = name {
            self.name = name;
        }
        self.facts = Some(told);
        self.occupancy.set_size(facts.size);
        self.lives.facts(facts);
    }

    #[inline(always)]
    fn join(&mut self, record: &Record, body: &Body, payload: &[u8], number: &mut u64) {
        match body {
            Body::Add(add) => self.lives.add(record, add, payload, number),
            Body::Kick(kick) => self.lives.kick(record, kick),
            Body::Callback(callback) => self.lives.callback(record, callback),
            Body::Used(used) => self.lives.used(record, used, payload, number),
            Body::Detach(detach) => self.lives.detach(detach),
            Body::Reset(_) => {
                self.lives.reset();
                self.restart();
            }
            Body::Taken(taken) => self.lives.taken(record, taken),
            Body::Returned(returned) => self.lives.returned(record, returned),
            Body::InterruptSent(interrupt) => self.lives.interrupt(record, interrupt),
            Body::Missed(missed) => self.lives.missed(missed),
            Body::InFlight(found) => self.lives.found_in_flight(record, found, number),
            Body::AddFailed(_)
            | Body::Notify(_)
            | Body::CallbacksDisabled(_)
            | Body::CallbacksEnabled(_)
            | Body::QueueFacts(_)
            | Body::Statistics(_) => {}
        }
    }

    /// Brings the occupancy to what it is after the record.
    #[inline(always)]
    fn occupy(&mut self, record: &Record, body: &Body) {
        self.occupancy.set_in_flight(self.lives.in_flight());
        // Only operations that are serialised with each other know the count of
        // free descriptors; a callback runs beside them.
        let free = match body {
            Body::Add(add) => {
                let doubt = self.absent();
                self.waits.added(record, doubt);
                Some(add.free)
            }
            Body::AddFailed(add) => {
                let no_space = is_no_space(add);
                self.occupancy.refused(no_space);
                // Room for what may come (no device-readable bytes) is kept full on
                // purpose: who finds it full waits for nothing.
                if no_space && add.readable_bytes > 0 {
                    let doubt = self.absent();
                    self.waits.refused(record, doubt);
                }
                Some(add.free)
            }
            Body::Kick(kick) => Some(kick.free),
            Body::Used(used) => Some(used.free),
            Body::CallbacksDisabled(switch) | Body::CallbacksEnabled(switch) => Some(switch.free),
            Body::Detach(detach) => Some(detach.free),
            Body::Missed(missed) => Some(missed.free),
            Body::InFlight(found) => Some(found.free),
            _ => None,
        };
        if let Some(free) = free {
            self.occupancy.set_free(free);
        }
    }

    #[inline(always)]
    fn rate(&mut self, record: &Record, body: &Body) {
        let counts = self.rates.at(record.time());
        match body {
            Body::Add(_) => counts.adds += 1,
            Body::Kick(_) => {
                if record.flags().contains(Flags::NOTIFICATION_NEEDED) {
                    counts.kicks_sent += 1;
                } else {
                    counts.kicks_suppressed += 1;
                }
            }
            Body::Callback(_) => counts.callbacks += 1,
            _ => {}
        }
    }

    /// Counts the lives that ended here since this was called last, and shows each
    /// to `each`, which says whether it is wanted.
    #[inline]
    pub(crate) fn drain_ended(&mut self, mut each: impl FnMut(&Life) -> bool) {
        let Self {
            lives,
            requests,
            matching,
            counts,
            rates,
            detectors,
            looks_for_findings,
            ..
        } = self;
        if !lives.any_ended() {
            return;
        }
        lives.drain_ended(|life| {
            requests.record(life);
            counts.record_life(life);
            if let Some(used) = life.moments.used {
                let rates = rates.at(used);
                rates.completions += 1;
                rates.bytes += life.data_bytes;
            }
            if *looks_for_findings {
                detectors.life(life);
            }
            let is_wanted = each(life);
            if let (true, Some(matching)) = (is_wanted, &mut *matching) {
                matching.record(life);
            }
        });
        detectors.others(lives);
    }

    /// The stream has ended.
    pub(crate) fn finish(&mut self) {
        if self.continuity.driver_tail_lost() && !self.is_part {
            self.lives.gap();
        }
        self.lives.finish();
    }

    /// Whether records were left out of the stream on purpose.
    pub(crate) fn is_part(&self) -> bool {
        self.is_part
    }

    /// What is known to be absent of the driver's half, whether lost or missed.
    fn absent(&self) -> u64 {
        self.continuity
            .driver_holes
            .saturating_add(self.positions.driver_absent())
    }

    /// The least number of operations that no record tells of.
    pub(crate) fn missed(&self) -> u64 {
        self.positions.missed(&self.continuity)
    }

    pub(crate) fn request_totals(&self) -> RequestTotals {
        RequestTotals {
            completed: self.requests.completed,
            incomplete: self.requests.incomplete,
            in_flight: self.lives.open_count(),
        }
    }

    /// The requests that are shown.
    pub(crate) fn shown(&self) -> &RequestStats {
        self.matching.as_ref().unwrap_or(&self.requests)
    }

    /// How the conversation on a 9P queue stands.
    pub(crate) fn conversation(&self) -> Option<p9::ConversationView> {
        self.lives.conversation()
    }

    /// What became of the fids of a 9P queue.
    pub(crate) fn fid_account(&self) -> p9::FidAccount {
        self.lives.fid_account()
    }

    /// The lives in flight, oldest first, without what is only looked up when they are
    /// shown.
    pub(crate) fn open(&self) -> impl Iterator<Item = &Life> {
        self.lives.open()
    }

    pub(crate) fn open_lives(&self, most: usize) -> Vec<Life> {
        self.lives.open_lives(most)
    }

    /// Who waited for room.
    pub(crate) fn space_waits(&self) -> SpaceWaits {
        self.waits.view(self.absent())
    }

    /// Its view. `slots` are what may still be drawn of rings, and are taken from.
    pub(crate) fn view(
        &self,
        now: Option<Timestamp>,
        records: RecordTotals,
        slots: &mut usize,
    ) -> QueueView {
        let drawn = self.ring.as_ref().and_then(|ring| {
            *slots = slots.checked_sub(ring.slots())?;
            Some(ring.model())
        });
        QueueView {
            id: self.id,
            name: self.name.clone(),
            facts: self.facts.clone(),
            records,
            requests: self.request_totals(),
            errors: self.shown().error_count(),
            data_bytes: self.shown().data_bytes,
            occupancy: self.occupancy.view(now),
            waits: self.space_waits(),
            rates: now.map(|now| self.rates.rates(now)).unwrap_or_default(),
            latency: self.shown().latencies.view(),
            counts: self.counts,
            conversation: self.lives.conversation(),
            ring: drawn.unwrap_or_default(),
        }
    }
}
