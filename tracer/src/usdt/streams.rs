//! What is known of each producer whose records come in: where its numbers began for us,
//! and what became of them since.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use virtscope_record::{Body, Flags, Producer, ProducerId, QueueFacts, QueueId, Record, Sequence};
use virtscope_tracer_shared::{LostKey, LostRecords};

use crate::trace::StreamCounters;

/// What a process told of a queue.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct QueueTold {
    /// Which queue.
    pub queue: QueueId,
    /// What it is.
    pub facts: QueueFacts,
    /// Its name, and `key=value` lines behind it.
    pub text: String,
}

/// Where the numbers of a producer begin for us. Those below are of records that were
/// made before somebody watched.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StreamBegin {
    /// Whose queue.
    pub queue: QueueId,
    /// Whose half.
    pub producer: ProducerId,
    /// The number of its first record.
    pub number: u64,
}

/// All producers of all processes.
#[derive(Debug, Default)]
pub(super) struct Streams {
    streams: BTreeMap<LostKey, Stream>,
    devices: Devices,
    told: Vec<QueueTold>,
    known: BTreeSet<(u32, QueueId)>,
    /// Whether several processes may tell: their queues then say whose they are.
    says_process: bool,
}

#[derive(Debug)]
struct Stream {
    /// What its queue is here.
    queue: QueueId,
    producer: ProducerId,
    /// The number of its first record, once all threads that raced for it have had time
    /// to tell of theirs.
    first: Option<u64>,
    /// Records that came until then.
    held: Vec<(Record, Box<[u8]>)>,
    /// One more than the highest number that came.
    next: u64,
    stored: u64,
    lost: u64,
}

impl Streams {
    pub(super) fn new(says_process: bool) -> Self {
        Self {
            says_process,
            ..Self::default()
        }
    }

    /// Takes a record out of the buffer, and hands it on if its stream has begun.
    pub(super) fn take(
        &mut self,
        record: &Record,
        payload: &[u8],
        hand_on: &mut dyn FnMut(&Record, &[u8]),
    ) {
        let queue = self.devices.place(record.process(), record.queue());
        if let Ok(Body::QueueFacts(facts)) = record.body() {
            self.learn(record, queue, facts, payload);
            return;
        }
        let key = LostKey {
            queue: raw(record.queue()),
            process: record.process(),
            producer: record.producer().id().0.into(),
        };
        let stream = self.streams.entry(key).or_insert_with(|| Stream {
            queue,
            producer: record.producer().id(),
            first: None,
            held: Vec::new(),
            next: 0,
            stored: 0,
            lost: 0,
        });
        let moved = record.of_queue(queue);
        match stream.first {
            None => stream.held.push((moved, payload.into())),
            Some(_) => stream.hand_on(&moved, payload, hand_on),
        }
    }

    fn learn(&mut self, record: &Record, queue: QueueId, facts: QueueFacts, payload: &[u8]) {
        let process = record.process();
        // A text whose page was not there: the process says it again in a moment.
        if record.flags().contains(Flags::PAYLOAD_UNAVAILABLE) {
            return;
        }
        if !self.known.insert((process, record.queue())) {
            return;
        }
        let mut text = String::from_utf8_lossy(payload).into_owned();
        if queue != record.queue() {
            let was = format!("virtio{}", record.queue().device);
            if let Some(rest) = text.strip_prefix(&was) {
                text = format!("virtio{}{rest}", queue.device);
            }
        }
        if self.says_process {
            text.push_str(&format!("\nprocess={process}"));
        }
        self.told.push(QueueTold { queue, facts, text });
    }

    /// What was told of queues since this was last asked.
    pub(super) fn told(&mut self) -> Vec<QueueTold> {
        std::mem::take(&mut self.told)
    }

    /// The streams that begin now: all of which a record was there when this was last
    /// asked, or of which one is lost.
    pub(super) fn begin(&mut self, lost: &HashMap<LostKey, LostRecords>) -> Vec<StreamBegin> {
        for key in lost.keys() {
            // Facts, which are told again and again.
            if u32::from(Producer::Recorder.id().0) == key.producer {
                continue;
            }
            let queue = self.devices.place(key.process, queue_of(key));
            self.streams.entry(*key).or_insert_with(|| Stream {
                queue,
                producer: ProducerId(key.producer as u16),
                first: None,
                held: Vec::new(),
                next: 0,
                stored: 0,
                lost: 0,
            });
        }
        let mut begun = Vec::new();
        for (key, stream) in &mut self.streams {
            let lost = lost.get(key);
            stream.lost = lost.map_or(0, |lost| lost.count);
            if stream.first.is_some() {
                stream.learn_last(lost);
                continue;
            }
            let held = stream.held.iter().map(|(record, _)| record.sequence().0);
            let Some(first) = held.chain(lost.map(|lost| lost.first)).reduce(earlier) else {
                continue;
            };
            let number = u64::from(first);
            stream.first = Some(number);
            stream.next = number;
            stream.learn_last(lost);
            begun.push(StreamBegin {
                queue: stream.queue,
                producer: stream.producer,
                number,
            });
        }
        begun
    }

    /// Hands on what was held of streams that have begun.
    pub(super) fn release(&mut self, hand_on: &mut dyn FnMut(&Record, &[u8])) {
        for stream in self.streams.values_mut() {
            if stream.first.is_some() && !stream.held.is_empty() {
                for (record, payload) in std::mem::take(&mut stream.held) {
                    stream.hand_on(&record, &payload, hand_on);
                }
            }
        }
    }

    /// The counters of every stream that has begun.
    pub(super) fn counters(&self) -> Vec<StreamCounters> {
        let begun = self.streams.values().filter_map(|stream| {
            let first = stream.first?;
            Some(StreamCounters {
                queue: stream.queue,
                producer: stream.producer,
                // A number that was given out and is in neither count is a record that
                // was made and shown to nobody: as somebody began to watch, or a page that
                // could not be read.
                emitted: (first + stream.stored + stream.lost).max(stream.next),
                lost: stream.lost,
                filtered: first,
                missed: 0,
            })
        });
        begun.collect()
    }
}

/// A queue as a record has it, which is also how the program counts losses.
fn raw(queue: QueueId) -> u32 {
    (u32::from(queue.device) << 16) | u32::from(queue.index)
}

/// The queue of which these were lost.
pub(super) const fn queue_of(key: &LostKey) -> QueueId {
    QueueId::new((key.queue >> 16) as u16, key.queue as u16)
}

/// The earlier one of two numbers that wrap.
fn earlier(a: u32, b: u32) -> u32 {
    if a.wrapping_sub(b).cast_signed() < 0 {
        a
    } else {
        b
    }
}

/// Numbers from here on no producer gets to: what says so is no record of ours.
const IMPOSSIBLE: u64 = 1 << 46;

impl Stream {
    fn learn_last(&mut self, lost: Option<&LostRecords>) {
        if let Some(lost) = lost {
            self.passed(Sequence(lost.last).unwrap_near(self.next));
        }
    }

    fn passed(&mut self, number: u64) {
        if number < IMPOSSIBLE {
            self.next = self.next.max(number + 1);
        }
    }

    fn hand_on(
        &mut self,
        record: &Record,
        payload: &[u8],
        hand_on: &mut dyn FnMut(&Record, &[u8]),
    ) {
        let number = record.sequence().unwrap_near(self.next);
        // One that was made before, by a thread that took its time.
        if self.first.is_some_and(|first| number < first) {
            return;
        }
        self.passed(number);
        self.stored += 1;
        hand_on(record, payload);
    }
}

/// Which number each process's devices have here: their own, unless another process has
/// taken it.
#[derive(Debug, Default)]
struct Devices {
    places: HashMap<(u32, u16), u16>,
    taken: BTreeSet<u16>,
}

impl Devices {
    fn place(&mut self, process: u32, queue: QueueId) -> QueueId {
        let taken = &mut self.taken;
        let device = *self
            .places
            .entry((process, queue.device))
            .or_insert_with(|| {
                let mut number = queue.device;
                // With all of them taken they share the last.
                while taken.contains(&number) && number < u16::MAX {
                    number += 1;
                }
                taken.insert(number);
                number
            });
        QueueId::new(device, queue.index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use virtscope_record::{Common, Layout, Notify};

    const QUEUE: QueueId = QueueId::new(0, 1);

    fn record(process: u32, sequence: u32) -> Record {
        let common = Common {
            queue: QUEUE,
            process,
            producer: Producer::DriverHalf.id(),
            sequence: Sequence(sequence),
            ..Common::default()
        };
        Record::new(common, Body::Notify(Notify::default()))
    }

    fn key(process: u32) -> LostKey {
        LostKey {
            queue: raw(QUEUE),
            process,
            producer: Producer::DriverHalf.id().0.into(),
        }
    }

    fn lost(process: u32, count: u64, first: u32, last: u32) -> HashMap<LostKey, LostRecords> {
        HashMap::from([(key(process), LostRecords { count, first, last })])
    }

    /// Takes records of these numbers, and returns the numbers handed on.
    fn take(streams: &mut Streams, process: u32, numbers: &[u32]) -> Vec<u32> {
        let mut out = Vec::new();
        streams.release(&mut |record, _| out.push(record.sequence().0));
        for number in numbers {
            let record = record(process, *number);
            streams.take(&record, b"", &mut |record, _| out.push(record.sequence().0));
        }
        out
    }

    #[test]
    fn a_stream_begins_with_its_lowest_number_among_those_that_raced() {
        let mut streams = Streams::new(false);
        let none = HashMap::new();
        assert!(streams.begin(&none).is_empty());
        assert!(take(&mut streams, 1, &[8, 7, 9]).is_empty());
        let begun = streams.begin(&none);
        assert_eq!((begun.len(), begun[0].number), (1, 7));
        assert_eq!(take(&mut streams, 1, &[10, 6]), [8, 7, 9, 10]);
        assert!(streams.begin(&none).is_empty());
        let counters = streams.counters()[0];
        assert_eq!(
            (counters.emitted, counters.lost, counters.filtered),
            (11, 0, 7)
        );
    }

    #[test]
    fn what_is_lost_at_the_beginning_and_at_the_end_counts() {
        let mut streams = Streams::new(false);
        assert!(take(&mut streams, 1, &[5]).is_empty());
        assert_eq!(streams.begin(&lost(1, 2, 3, 4))[0].number, 3);
        assert_eq!(take(&mut streams, 1, &[]), [5]);
        streams.begin(&lost(1, 5, 3, 8));
        let counters = streams.counters()[0];
        // 3, 4, 6, 7, 8 of 3..=8 are lost.
        assert_eq!(
            (counters.emitted, counters.lost, counters.filtered),
            (9, 5, 3)
        );
        // Of which nothing came at all.
        let begun = streams.begin(&lost(2, 4, 0, 3));
        assert_eq!(begun[0].queue, QueueId::new(1, 1), "another process's");
    }

    #[test]
    fn numbers_go_on_when_they_wrap() {
        let mut streams = Streams::new(false);
        take(&mut streams, 1, &[u32::MAX, 0, 1]);
        assert_eq!(
            streams.begin(&HashMap::new())[0].number,
            u64::from(u32::MAX)
        );
        assert_eq!(take(&mut streams, 1, &[2]), [u32::MAX, 0, 1, 2]);
        assert_eq!(streams.counters()[0].emitted, (1 << 32) + 3);
    }

    #[test]
    fn a_forged_number_makes_no_panic() {
        let mut streams = Streams::new(false);
        take(&mut streams, 1, &[0]);
        streams.begin(&HashMap::new());
        take(&mut streams, 1, &[u32::MAX, 0x8000_0000, 5]);
        assert!(streams.counters()[0].emitted >= 4);
    }

    #[test]
    fn queues_of_several_processes_stay_apart() {
        let mut streams = Streams::new(true);
        let facts = QueueFacts {
            size: 8,
            layout: Layout::Packed,
            ..QueueFacts::default()
        };
        for process in [10, 11, 10] {
            let common = Common {
                queue: QUEUE,
                process,
                producer: Producer::Recorder.id(),
                ..Common::default()
            };
            let record = Record::new(common, Body::QueueFacts(facts));
            streams.take(&record, b"virtio0/requests\ntag=x", &mut |_, _| panic!());
        }
        let told = streams.told();
        let texts: Vec<_> = told.iter().map(|told| told.text.as_str()).collect();
        assert_eq!(
            texts,
            [
                "virtio0/requests\ntag=x\nprocess=10",
                "virtio1/requests\ntag=x\nprocess=11"
            ]
        );
        assert_eq!(told[1].queue, QueueId::new(1, 1));
        assert!(streams.told().is_empty());
    }
}
