//! A capture as the demo would write it, of any length, the same each time.
//!
//! 9P queues of 128 entries; both halves' records; a session that holds together
//! from its Tversion on, with requests of the kinds and in the proportions of the demo,
//! some twenty in flight, added in batches and returned out of order; half of the kicks
//! suppressed.

mod session;

use std::collections::VecDeque;
use std::io::Write;

use virtscope_captures::{CaptureInfo, CaptureWriter, ClockOffset, WriteError};
use virtscope_record::{
    Add, Body, Callback, Common, Context, FeatureBits, Flags, Notification, NotificationReason,
    Notify, Producer, ProducerId, QueueFacts, QueueId, Record, Returned, RingIndex, Sequence,
    Statistics, Taken, Timestamp, Token, Used,
};

use session::{Call, Session};

/// Entries of a ring.
const SIZE: u16 = 128;
/// Bytes of a message that are kept.
const SNAPLEN: u32 = 256;
/// Requests in flight beyond which none is added.
const DEPTH: usize = 20;

/// Numbers that look random: the constants are those of Knuth's MMIX generator.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

#[derive(Clone)]
struct Request {
    head: u16,
    position: u16,
    thread: u32,
    call: Call,
}

struct Queue {
    id: QueueId,
    sequences: [u32; 3],
    free: Vec<u16>,
    added: u16,
    kicked: u16,
    used_idx: u16,
    signalled: u16,
    last_used: u16,
    available: VecDeque<Request>,
    at_device: Vec<Request>,
    used: VecDeque<Request>,
    session: Session,
}

/// Where the records go.
struct Sink<W: Write> {
    writer: CaptureWriter<W>,
    now: u64,
    written: u64,
}

impl<W: Write> Sink<W> {
    fn put(
        &mut self,
        queue: &mut Queue,
        producer: Producer,
        about: (u32, u64, Flags),
        body: Body,
        payload: &[u8],
    ) -> Result<(), WriteError> {
        let (thread, token, flags) = about;
        let sequence = &mut queue.sequences[match producer {
            Producer::DriverHalf => 0,
            Producer::DeviceHalf => 1,
            _ => 2,
        }];
        let common = Common {
            time: Timestamp::from_nanos(self.now),
            queue: queue.id,
            producer: producer.id(),
            sequence: Sequence(*sequence),
            context: Context::Task,
            process: 100,
            thread,
            token: Token(token),
            flags,
            ..Common::default()
        };
        *sequence = sequence.wrapping_add(1);
        self.written += 1;
        self.writer.write(&Record::new(common, body), payload)
    }
}

/// Writes a capture of at least `records` records, and hardly more, of so many queues, the
/// first of which has twice as many as the others.
///
/// # Errors
/// Trouble of the output.
pub fn write_capture<W: Write>(out: W, records: u64, queues: u16) -> Result<(), WriteError> {
    let clock = ClockOffset::new(1_700_000_000_000_000_000, 0);
    let mut sink = Sink {
        writer: CaptureWriter::new(out, CaptureInfo::new(SNAPLEN, clock))?,
        now: 1_000_000_000,
        written: 0,
    };
    let mut random = Random(1);
    let mut queues: Vec<_> = (0..queues.max(1)).map(Queue::new).collect();
    for queue in &mut queues {
        queue.facts(&mut sink)?;
        for call in Session::beginning() {
            queue.one(&mut sink, call)?;
        }
    }
    while sink.written < records {
        let which = random.below(queues.len() as u64 + 1).saturating_sub(1);
        let queue = &mut queues[which as usize];
        sink.now += random.below(4000);
        queue.round(&mut sink, &mut random)?;
    }
    for queue in &mut queues {
        queue.drain(&mut sink)?;
        queue.statistics(&mut sink)?;
    }
    sink.writer.finish().map(drop)
}

impl Queue {
    fn new(device: u16) -> Self {
        Self {
            id: QueueId::new(device, 0),
            sequences: [0; 3],
            free: (0..SIZE / 2).rev().map(|head| 2 * head).collect(),
            added: 0,
            kicked: 0,
            used_idx: 0,
            signalled: 0,
            last_used: 0,
            available: VecDeque::new(),
            at_device: Vec::new(),
            used: VecDeque::new(),
            session: Session::default(),
        }
    }

    fn facts<W: Write>(&mut self, sink: &mut Sink<W>) -> Result<(), WriteError> {
        let facts = Body::QueueFacts(QueueFacts {
            size: SIZE,
            device_type: 9,
            features: FeatureBits::EVENT_IDX.union(FeatureBits::VERSION_1),
            ..QueueFacts::default()
        });
        let name = format!("virtio{}/requests\ndriver=virtscope", self.id.device);
        let about = (0, 0, Flags::empty());
        sink.put(self, Producer::Recorder, about, facts, name.as_bytes())
    }

    /// What both sides do in some microseconds.
    fn round<W: Write>(
        &mut self,
        sink: &mut Sink<W>,
        random: &mut Random,
    ) -> Result<(), WriteError> {
        let in_flight = usize::from(SIZE / 2) - self.free.len();
        if in_flight < DEPTH {
            for _ in 0..=random.below(4) {
                sink.now += 300;
                let Some(head) = self.free.pop() else { break };
                let call = self.session.next(head, random);
                self.add(sink, head, 200 + random.below(8) as u32, call)?;
            }
            self.kick(sink, random.below(2) == 0)?;
        }
        while let Some(request) = self.available.pop_front() {
            sink.now += 200;
            self.take(sink, request)?;
        }
        for _ in 0..random.below(5) {
            sink.now += random.below(2000);
            self.give_back(sink, random.below(64) as usize)?;
        }
        if self.used_idx != self.signalled {
            self.announce(sink)?;
            self.harvest(sink)?;
        }
        Ok(())
    }

    fn drain<W: Write>(&mut self, sink: &mut Sink<W>) -> Result<(), WriteError> {
        while !self.at_device.is_empty() {
            self.give_back(sink, 0)?;
        }
        if self.used_idx != self.signalled {
            self.announce(sink)?;
        }
        self.harvest(sink)
    }

    /// A request by itself, from its add to its return.
    fn one<W: Write>(&mut self, sink: &mut Sink<W>, call: Call) -> Result<(), WriteError> {
        let Some(head) = self.free.pop() else {
            return Ok(());
        };
        sink.now += 300;
        self.add(sink, head, 200, call)?;
        self.kick(sink, true)?;
        while let Some(request) = self.available.pop_front() {
            sink.now += 200;
            self.take(sink, request)?;
        }
        self.drain(sink)
    }

    fn add<W: Write>(
        &mut self,
        sink: &mut Sink<W>,
        head: u16,
        thread: u32,
        call: Call,
    ) -> Result<(), WriteError> {
        let position = self.added;
        self.added = self.added.wrapping_add(1);
        let body = Body::Add(Add {
            free: 2 * self.free.len() as u16,
            readable_bytes: call.request_len,
            writable_bytes: 8192,
            head,
            position: RingIndex(position),
            readable_segments: 1,
            writable_segments: 1,
            descriptors: 2,
            ..Add::default()
        });
        let about = (thread, token(head), Flags::empty());
        sink.put(self, Producer::DriverHalf, about, body, &call.request)?;
        self.available.push_back(Request {
            head,
            position,
            thread,
            call,
        });
        Ok(())
    }

    fn kick<W: Write>(&mut self, sink: &mut Sink<W>, needed: bool) -> Result<(), WriteError> {
        let mut flags = Flags::EVENT_IDX;
        flags.set(Flags::NOTIFICATION_NEEDED, needed);
        let free = 2 * self.free.len() as u16;
        let body = Body::Kick(Notification {
            free,
            old: RingIndex(self.kicked),
            new: RingIndex(self.added),
            event: RingIndex(self.kicked.wrapping_sub(u16::from(!needed))),
            reason: if needed {
                NotificationReason::EventCrossed
            } else {
                NotificationReason::EventNotCrossed
            },
            ..Notification::default()
        });
        self.kicked = self.added;
        sink.now += 100;
        sink.put(self, Producer::DriverHalf, (200, 0, flags), body, &[])?;
        if needed {
            let body = Body::Notify(Notify { free, error: 0 });
            let about = (200, 0, Flags::empty());
            sink.put(self, Producer::DriverHalf, about, body, &[])?;
        }
        Ok(())
    }

    fn take<W: Write>(&mut self, sink: &mut Sink<W>, request: Request) -> Result<(), WriteError> {
        let body = Body::Taken(Taken {
            readable_bytes: request.call.request_len,
            writable_bytes: 8192,
            head: request.head,
            position: RingIndex(request.position),
            avail_index: RingIndex(self.added),
            readable_segments: 1,
            writable_segments: 1,
            ..Taken::default()
        });
        let about = (300, 0, Flags::empty());
        sink.put(self, Producer::DeviceHalf, about, body, &[])?;
        self.at_device.push(request);
        Ok(())
    }

    fn give_back<W: Write>(&mut self, sink: &mut Sink<W>, which: usize) -> Result<(), WriteError> {
        if self.at_device.is_empty() {
            return Ok(());
        }
        let request = self.at_device.remove(which % self.at_device.len());
        let body = Body::Returned(Returned {
            used_length: request.call.reply_len,
            head: request.head,
            position: RingIndex(self.used_idx),
            ..Returned::default()
        });
        self.used_idx = self.used_idx.wrapping_add(1);
        let about = (300, 0, Flags::empty());
        sink.put(self, Producer::DeviceHalf, about, body, &[])?;
        self.used.push_back(request);
        Ok(())
    }

    fn announce<W: Write>(&mut self, sink: &mut Sink<W>) -> Result<(), WriteError> {
        let body = Body::InterruptSent(Notification {
            old: RingIndex(self.signalled),
            new: RingIndex(self.used_idx),
            event: RingIndex(self.signalled),
            reason: NotificationReason::EventCrossed,
            ..Notification::default()
        });
        self.signalled = self.used_idx;
        let flags = Flags::EVENT_IDX | Flags::NOTIFICATION_NEEDED;
        sink.put(self, Producer::DeviceHalf, (300, 0, flags), body, &[])?;
        sink.now += 2000;
        let body = Body::Callback(Callback {
            free: 2 * self.free.len() as u16,
            used_index: RingIndex(self.used_idx),
            last_used: RingIndex(self.last_used),
            used_event: RingIndex(self.last_used),
            ..Callback::default()
        });
        let about = (400, 0, Flags::EVENT_IDX);
        sink.put(self, Producer::DriverHalf, about, body, &[])
    }

    fn harvest<W: Write>(&mut self, sink: &mut Sink<W>) -> Result<(), WriteError> {
        while let Some(request) = self.used.pop_front() {
            sink.now += 400;
            self.free.push(request.head);
            let body = Body::Used(Used {
                free: 2 * self.free.len() as u16,
                used_length: request.call.reply_len,
                writable_bytes: 8192,
                head: request.head,
                position: RingIndex(self.last_used),
                used_index: RingIndex(self.used_idx),
                descriptors: 2,
                ..Used::default()
            });
            self.last_used = self.last_used.wrapping_add(1);
            let about = (request.thread, token(request.head), Flags::empty());
            sink.put(self, Producer::DriverHalf, about, body, &request.call.reply)?;
        }
        Ok(())
    }

    fn statistics<W: Write>(&mut self, sink: &mut Sink<W>) -> Result<(), WriteError> {
        let halves = [Producer::DriverHalf.id(), Producer::DeviceHalf.id()];
        for (about, emitted) in halves.into_iter().zip(self.sequences) {
            self.counters(sink, about, emitted.into())?;
        }
        let own = u64::from(self.sequences[2]) + 1;
        self.counters(sink, Producer::Recorder.id(), own)
    }

    fn counters<W: Write>(
        &mut self,
        sink: &mut Sink<W>,
        about: ProducerId,
        emitted: u64,
    ) -> Result<(), WriteError> {
        let body = Body::Statistics(Statistics {
            about,
            is_final: true,
            emitted,
            ..Statistics::default()
        });
        sink.put(self, Producer::Recorder, (0, 0, Flags::empty()), body, &[])
    }
}

fn token(head: u16) -> u64 {
    0xffff_8880_0001_0000 | u64::from(head)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{analyse, pcap_file_blocks, pcap_file_raw, read};

    /// Everybody reads the same records, and the analysis finds nothing amiss.
    #[test]
    fn everybody_reads_all_of_it() {
        let mut bytes = Vec::new();
        write_capture(&mut bytes, 5000, 2).unwrap();
        let records = read(&bytes);
        assert!((5000..5200).contains(&records), "{records}");
        for found in [
            pcap_file_blocks(&bytes),
            pcap_file_raw(&bytes),
            analyse(&bytes),
        ] {
            assert_eq!(found, records);
        }
    }

    /// It is a whole session in which nothing is wrong, and every path is known.
    #[test]
    fn it_is_a_sound_session() {
        use virtscope_analyzer::{Analyzer, CaptureEnd, Options};
        use virtscope_captures::{CaptureReader, Item};

        let mut bytes = Vec::new();
        write_capture(&mut bytes, 20_000, 3).unwrap();
        let mut reader = CaptureReader::new(bytes.as_slice()).unwrap();
        let mut analyzer = Analyzer::new(Options {
            collect_ended: true,
            ..Options::default()
        });
        loop {
            match reader.next_item().unwrap() {
                Item::Record(packet) => analyzer.push(&packet.record, packet.payload),
                Item::End(end) => break assert!(end.is_complete()),
                _ => {}
            }
        }
        analyzer.finish();
        for life in analyzer.take_ended() {
            assert_eq!(life.anomalies, [], "{:?}", life.describe_request());
            let path = life.subject.path.as_ref();
            assert!(path.is_none_or(|path| path.known().is_some()), "{path:?}");
        }
        let report = analyzer.report(&CaptureEnd::default());
        assert!(report.requests.completed > 2000, "{report}");
        assert_eq!(
            (report.requests.incomplete, report.requests.in_flight),
            (0, 0)
        );
        assert_eq!(report.findings, []);
        assert_eq!(report.not_enough_evidence, []);
    }
}
