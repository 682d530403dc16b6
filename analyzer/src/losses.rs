//! What was lost, and where the driver's story has holes.
//!
//! Two questions, answered apart. How many records were lost in all is the
//! [`Ledger`]'s business. Whether a request may have been touched depends on what
//! came between its own records: that begins with [`Continuity`], which tells of
//! every jump in a sequence and of every late record as they come.

use std::collections::HashMap;
use std::ops::Range;

use virtscope_captures::{Ledger, Selection, Totals};
use virtscope_record::{
    Context, Kind, Producer, ProducerId, QueueId, Record, Statistics, Timestamp,
};

use crate::snapshot::RecordTotals;

/// The accounts of a stream.
#[derive(Debug)]
pub(crate) struct Losses {
    ledger: Ledger,
}

impl Losses {
    pub(crate) fn new(selection: Selection) -> Self {
        Self {
            ledger: Ledger::new(selection),
        }
    }

    /// As [`Ledger::observe`].
    #[inline]
    pub(crate) fn observe(&mut self, record: &Record) -> bool {
        self.ledger.observe(record)
    }

    pub(crate) fn tell_lost(&mut self, queue: QueueId, lost: u64) {
        self.ledger.tell_lost(queue, lost);
    }

    pub(crate) fn tell_tail_unknown(&mut self) {
        self.ledger.tell_tail_unknown();
    }

    /// Losses of `queue` that are believed.
    pub(crate) fn settled(&self, queue: QueueId) -> u64 {
        self.ledger.settled_losses(queue)
    }

    pub(crate) fn totals(&self) -> RecordTotals {
        self.ledger.totals().into()
    }

    pub(crate) fn queue_totals(&self, queue: QueueId) -> RecordTotals {
        self.ledger.queue_totals(queue).into()
    }

    pub(crate) fn tail_known(&self) -> bool {
        self.ledger.tail_known()
    }

    /// What does not fit together, as a sentence.
    pub(crate) fn inconsistencies(&self) -> Option<String> {
        let found = self.ledger.inconsistencies();
        (!found.is_empty()).then(|| found.to_string())
    }
}

impl From<Totals> for RecordTotals {
    fn from(totals: Totals) -> Self {
        Self {
            emitted: totals.emitted,
            stored: totals.stored,
            lost: totals.lost,
            filtered: totals.filtered,
            missed: totals.missed,
        }
    }
}

/// Follows the sequences of one queue's producers.
#[derive(Debug, Default)]
pub(crate) struct Continuity {
    streams: Vec<(ProducerId, Stream)>,
    /// Where a producer's stream is.
    places: HashMap<ProducerId, usize>,
    /// The places that were looked up last, by the low bits of the producer.
    recent: [usize; RECENT],
    threads: Threads,
    /// Sequence numbers of the driver's half that were passed over.
    pub(crate) driver_holes: u64,
    /// Sequence numbers of the device's half that were passed over.
    pub(crate) device_holes: u64,
    /// Records that came behind later ones of their producer.
    pub(crate) late: u64,
    /// Whether the clock was set back before the record observed last.
    pub(crate) set_back: bool,
    /// Whether a producer had been at work before the first record.
    pub(crate) began_later: bool,
}

/// Where a record stands in the sequence of its producer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    /// Right behind the highest so far.
    Next,
    /// Further on: these numbers were passed over.
    Over(Range<u64>),
    /// Behind the highest so far, at this number.
    Late(u64),
}

#[derive(Debug, Default)]
struct Stream {
    /// The number the next record should have.
    next: u64,
    /// Records that the producer's last statistics say it emitted.
    emitted: u64,
    /// The latest moment that it told of since the clock was set back last.
    latest: Timestamp,
}

/// How far a record may tell of an earlier moment than one of another thread with a
/// smaller number. Threads that share a producer take their numbers one way round and
/// their times the other, and between the two a busy machine may keep one waiting for
/// some tens of milliseconds, but not for so long; a larger step is one of the clock.
/// What one thread does it does in order, so there any step is: see [`Threads`].
const DISORDER_NS: u64 = 1_000_000_000;

/// The latest moments that threads told of, each by one producer. A thread takes the
/// times and the numbers of its records in the same order, so one that runs back tells
/// that the clock was set back, however little.
#[derive(Debug, Default)]
struct Threads([ThreadAt; Threads::LEN]);

#[derive(Clone, Copy, Debug, Default)]
struct ThreadAt {
    producer: ProducerId,
    /// 0 for none.
    thread: u32,
    at: Timestamp,
}

impl Threads {
    /// Those that meet in a place displace each other: a step may then be told a little
    /// later.
    const LEN: usize = 32;

    /// Takes note of a record in its sequence; says whether its thread's one before told
    /// of a later moment.
    #[inline]
    fn runs_back(&mut self, record: &Record) -> bool {
        let (producer, thread) = (record.producer().id(), record.thread());
        // What interrupts do is not the thread's doing. The record of a notification is
        // of the moment before it, and made when it is over: what an interrupt handler
        // of a device in the same thread did stands between.
        if record.context() != Context::Task || thread == 0 || record.kind() == Ok(Kind::Notify) {
            return false;
        }
        let place = &mut self.0[(thread as usize ^ usize::from(producer.0)) % Self::LEN];
        let at = record.time();
        let before = std::mem::replace(
            place,
            ThreadAt {
                producer,
                thread,
                at,
            },
        );
        (before.producer, before.thread) == (producer, thread) && before.at > at
    }
}

/// Places remembered: as many producers of one queue, if they are CPUs, do not get
/// into each other's way.
const RECENT: usize = 32;

/// Producers that are followed: more are not believed to exist on one queue.
const MAX_STREAMS: usize = 4096;

impl Continuity {
    /// Takes note of `record`; tells of those of the driver's half where they
    /// stand.
    pub(crate) fn observe(&mut self, record: &Record) -> Option<Step> {
        let step = self.step(record)?;
        let holes = match &step {
            Step::Over(missing) => missing.end - missing.start,
            Step::Next | Step::Late(_) => 0,
        };
        match record.producer() {
            Producer::Recorder => None,
            Producer::DeviceHalf => {
                self.device_holes = self.device_holes.saturating_add(holes);
                None
            }
            Producer::DriverHalf | Producer::Cpu(_) | Producer::Unknown(_) => {
                self.driver_holes = self.driver_holes.saturating_add(holes);
                Some(step)
            }
        }
    }

    /// Nothing, if there are too many producers.
    fn step(&mut self, record: &Record) -> Option<Step> {
        self.set_back = false;
        let stream = self.stream(record.producer().id())?;
        let time = record.time();
        let behind = stream.latest.nanos_since(time);
        if record.sequence().0 == stream.next as u32 {
            stream.next = stream.next.saturating_add(1);
            stream.latest = stream.latest.max(time);
            self.look_at_clock(record, behind);
            return Some(Step::Next);
        }
        let mut number = record.sequence().unwrap_near(stream.next);
        if number > u64::MAX / 2 {
            // Wrapped below zero: nothing lies before the first record.
            number = record.sequence().0.into();
        }
        // A late record lies behind `next` and opens no hole.
        if number < stream.next {
            self.late += 1;
            return Some(Step::Late(number));
        }
        let missing = stream.next..number;
        stream.next = number + 1;
        stream.latest = stream.latest.max(time);
        self.look_at_clock(record, behind);
        Some(if missing.is_empty() {
            Step::Next
        } else {
            Step::Over(missing)
        })
    }

    /// A record in sequence tells of a moment so long `behind` the latest of its
    /// producer. All producers have the same clock, so a step of it is said once; the
    /// device's half is not asked.
    #[inline]
    fn look_at_clock(&mut self, record: &Record, behind: u64) {
        if matches!(record.producer(), Producer::DeviceHalf | Producer::Recorder) {
            return;
        }
        let runs_back = self.threads.runs_back(record);
        if runs_back || behind > DISORDER_NS {
            self.note_set_back(record);
        }
    }

    #[cold]
    fn note_set_back(&mut self, record: &Record) {
        self.set_back = true;
        for (_, stream) in &mut self.streams {
            stream.latest = stream.latest.min(record.time());
        }
        // Times of others, from before, say nothing of what they will tell of now.
        self.threads = Threads::default();
        self.threads.runs_back(record);
    }

    /// Takes note of what a producer says of itself.
    pub(crate) fn learn(&mut self, statistics: &Statistics, repeated: bool) {
        let mut began_later = false;
        if let Some(stream) = self.stream(statistics.about) {
            // What was made before anybody recorded, or stands in another file, is no
            // hole: its numbers begin there.
            let begins = if repeated {
                !statistics.is_final
            } else {
                statistics.filtered == statistics.emitted
            };
            if begins && stream.next == 0 {
                stream.next = statistics.emitted;
                began_later = statistics.emitted > 0;
            }
            stream.emitted = stream.emitted.max(statistics.emitted);
        }
        let other = [Producer::Recorder.id(), Producer::DeviceHalf.id()];
        self.began_later |= began_later && !other.contains(&statistics.about);
    }

    /// At the end of the stream: whether the driver's half emitted records that
    /// never came.
    pub(crate) fn driver_tail_lost(&mut self) -> bool {
        let mut any = false;
        for (producer, stream) in &mut self.streams {
            let lost = stream.emitted.saturating_sub(stream.next);
            stream.next = stream.next.saturating_add(lost);
            match Producer::from(*producer) {
                Producer::Recorder => {}
                Producer::DeviceHalf => self.device_holes = self.device_holes.saturating_add(lost),
                Producer::DriverHalf | Producer::Cpu(_) | Producer::Unknown(_) => {
                    self.driver_holes = self.driver_holes.saturating_add(lost);
                    any |= lost > 0;
                }
            }
        }
        any
    }

    fn stream(&mut self, producer: ProducerId) -> Option<&mut Stream> {
        let recent = usize::from(producer.0) % RECENT;
        let mut place = self.recent[recent];
        if self
            .streams
            .get(place)
            .is_none_or(|(of, _)| *of != producer)
        {
            place = match self.places.get(&producer) {
                Some(place) => *place,
                None if self.streams.len() >= MAX_STREAMS => return None,
                None => {
                    self.streams.push((producer, Stream::default()));
                    self.places.insert(producer, self.streams.len() - 1);
                    self.streams.len() - 1
                }
            };
            self.recent[recent] = place;
        }
        self.streams.get_mut(place).map(|(_, stream)| stream)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use virtscope_record::{Body, Common, Notify, Sequence};

    fn record(producer: Producer, sequence: u32) -> Record {
        Record::new(
            Common {
                producer: producer.id(),
                sequence: Sequence(sequence),
                ..Common::default()
            },
            Body::Notify(Notify::default()),
        )
    }

    #[test]
    fn a_jump_is_seen_at_once_and_a_late_record_is_none() {
        let mut continuity = Continuity::default();
        let mut step = |sequence| continuity.observe(&record(Producer::DriverHalf, sequence));
        assert_eq!(step(0), Some(Step::Next));
        assert_eq!(step(3), Some(Step::Over(1..3)));
        assert_eq!(step(1), Some(Step::Late(1)));
        assert_eq!(step(4), Some(Step::Next));
        assert_eq!(continuity.driver_holes, 2);
    }

    #[test]
    fn the_device_half_does_not_touch_the_drivers_story() {
        let mut continuity = Continuity::default();
        assert_eq!(continuity.observe(&record(Producer::DeviceHalf, 7)), None);
        assert_eq!((continuity.driver_holes, continuity.device_holes), (0, 7));
    }

    /// Two threads of one producer, one of which is kept waiting between its time and
    /// its number, do not set the clock back; one that runs back itself does, by however
    /// little.
    #[test]
    fn a_thread_that_runs_back_tells_of_the_clock() {
        let mut continuity = Continuity::default();
        let mut sequence = 0;
        let mut is_set_back = |thread, ns, context, body| {
            let record = Record::new(
                Common {
                    time: Timestamp::from_nanos(ns),
                    producer: Producer::DriverHalf.id(),
                    sequence: Sequence(sequence),
                    context,
                    thread,
                    ..Common::default()
                },
                body,
            );
            sequence += 1;
            continuity.observe(&record);
            continuity.set_back
        };
        let (task, irq) = (Context::Task, Context::HardIrq);
        let add = Body::Add(virtscope_record::Add::default());
        let notify = Body::Notify(Notify::default());
        assert!(!is_set_back(1, 100_000_000, task, add));
        // Late by 50 ms, of another thread; and in an interrupt.
        assert!(!is_set_back(2, 50_000_000, task, add));
        assert!(!is_set_back(2, 40_000_000, irq, add));
        assert!(!is_set_back(2, 49_000_000, task, notify));
        assert!(!is_set_back(1, 100_000_000, task, add));
        assert!(is_set_back(1, 99_999_999, task, add));
        // That is said once.
        assert!(!is_set_back(2, 49_000_000, task, add));
        assert!(!is_set_back(1, 99_999_999, task, add));
        assert!(is_set_back(2, 48_000_000, task, add));
        // By more than a second, whoever says it.
        assert!(!is_set_back(2, 5_000_000_000, task, add));
        assert!(is_set_back(3, 3_000_000_000, irq, add));
    }

    #[test]
    fn statistics_tell_of_the_tail() {
        let mut continuity = Continuity::default();
        continuity.observe(&record(Producer::DriverHalf, 0));
        continuity.learn(
            &Statistics {
                about: Producer::DriverHalf.id(),
                emitted: 2,
                ..Statistics::default()
            },
            false,
        );
        assert!(continuity.driver_tail_lost());
        assert!(!continuity.driver_tail_lost());
        assert_eq!(continuity.driver_holes, 1);
    }

    #[test]
    fn a_producer_that_was_at_work_before_begins_without_a_hole() {
        let mut continuity = Continuity::default();
        continuity.learn(
            &Statistics {
                about: Producer::DriverHalf.id(),
                emitted: 7,
                filtered: 7,
                ..Statistics::default()
            },
            false,
        );
        let step = continuity.observe(&record(Producer::DriverHalf, 7));
        assert_eq!((step, continuity.driver_holes), (Some(Step::Next), 0));
        assert!(!continuity.driver_tail_lost());
    }

    #[test]
    fn sequences_wrap() {
        let mut continuity = Continuity::default();
        let driver = Producer::DriverHalf;
        continuity.observe(&record(driver, 1 << 30));
        continuity.observe(&record(driver, 1 << 31));
        continuity.observe(&record(driver, 3 << 30));
        continuity.observe(&record(driver, u32::MAX));
        let holes = continuity.driver_holes;
        assert_eq!(continuity.observe(&record(driver, 0)), Some(Step::Next));
        assert_eq!(continuity.driver_holes, holes);
    }
}
