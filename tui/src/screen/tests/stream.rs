//! A hand-made stream of records, and what the analyzer makes of it.

use std::collections::HashMap;
use std::sync::Arc;

use virtscope_analyzer::{Analyzer, Filter, Options, Snapshot};
use virtscope_record::{
    Add, Body, Callback, CallbackSwitch, Common, Context, FeatureBits, Flags, Generation, Layout,
    Notification, NotificationReason, Producer, ProducerId, QueueFacts, QueueId, Record, Returned,
    RingIndex, Sequence, Statistics, Taken, Timestamp, Token, Used,
};

/// When streams begin, ns.
pub(super) const START: u64 = 4_000_000_000_000;

/// Appends records one after the other, at the time set by [`at`](Self::at).
pub(super) struct Stream {
    analyzer: Analyzer,
    queue: QueueId,
    now: u64,
    free: u16,
    /// The queue is packed: its positions are offset and wrap counter.
    packed: bool,
    sequences: HashMap<(QueueId, ProducerId), u32>,
}

impl Stream {
    pub(super) fn new() -> Self {
        Self {
            analyzer: Analyzer::new(Options::default()),
            queue: QueueId::new(0, 0),
            now: START,
            free: 0,
            packed: false,
            sequences: HashMap::new(),
        }
    }

    /// What follows is about this queue, with so many descriptors free.
    pub(super) fn queue(&mut self, device: u16, free: u16) -> &mut Self {
        self.queue = QueueId::new(device, 0);
        self.free = free;
        self
    }

    /// What follows is about a packed ring: every buffer takes two descriptors.
    pub(super) fn packed(&mut self) -> &mut Self {
        self.packed = true;
        self
    }

    /// What follows happened so many microseconds into the run.
    pub(super) fn at(&mut self, micros: u64) -> &mut Self {
        self.now = START + micros * 1000;
        self
    }

    /// From here on only requests that match are shown.
    pub(super) fn show_only(&mut self, filter: &str) -> &mut Self {
        let filter = Filter::compile(filter).expect("it is sound");
        self.analyzer.show_only(Some(Arc::new(filter)));
        self
    }

    /// What the analyzer makes of it. The stream ends here.
    pub(super) fn snapshot(&mut self) -> Snapshot {
        self.analyzer.finish();
        self.analyzer
            .snapshot(Some(Timestamp::from_nanos(self.now)))
    }

    /// The record before this one was lost.
    pub(super) fn lose(&mut self, producer: Producer) -> &mut Self {
        *self.sequence(producer) += 1;
        self
    }

    fn sequence(&mut self, producer: Producer) -> &mut u32 {
        self.sequences
            .entry((self.queue, producer.id()))
            .or_default()
    }

    fn push(&mut self, producer: Producer, token: u64, flags: Flags, body: Body, payload: &[u8]) {
        let mut flags = flags;
        flags.set(Flags::PACKED, self.packed);
        let sequence = self.sequence(producer);
        let number = Sequence(*sequence);
        *sequence += 1;
        let common = Common {
            time: Timestamp::from_nanos(self.now),
            queue: self.queue,
            generation: Generation(0),
            producer: producer.id(),
            sequence: number,
            context: Context::Task,
            process: 4242,
            thread: 4243,
            token: Token(token),
            flags,
        };
        self.analyzer.push(&Record::new(common, body), payload);
    }

    pub(super) fn facts(&mut self, size: u16, device_type: u16, text: &str) -> &mut Self {
        let mut features = FeatureBits::EVENT_IDX.union(FeatureBits::VERSION_1);
        let mut layout = Layout::Split;
        if self.packed {
            features = features
                .union(FeatureBits::RING_PACKED)
                .union(FeatureBits::IN_ORDER);
            layout = Layout::Packed;
        }
        let body = Body::QueueFacts(QueueFacts {
            size,
            device_type,
            layout,
            features,
            ..QueueFacts::default()
        });
        self.free = size;
        self.push(Producer::Recorder, 0, Flags::empty(), body, text.as_bytes());
        self
    }

    /// The payload is cut to 64 bytes, like a capture with that snaplen.
    pub(super) fn add(&mut self, head: u16, position: u16, request: &[u8]) -> &mut Self {
        self.free = self.free.saturating_sub(2);
        let add = Add {
            free: self.free,
            readable_bytes: request.len() as u32,
            writable_bytes: 8192,
            head,
            position: RingIndex(position),
            readable_segments: 1,
            writable_segments: 1,
            descriptors: 2,
            ..Add::default()
        };
        let cut = &request[..request.len().min(64)];
        self.push(
            Producer::DriverHalf,
            token(head),
            Flags::empty(),
            Body::Add(add),
            cut,
        );
        self
    }

    pub(super) fn kick(&mut self, old: u16, new: u16, needed: bool) -> &mut Self {
        let mut flags = Flags::EVENT_IDX;
        flags.set(Flags::NOTIFICATION_NEEDED, needed);
        let body = Body::Kick(Notification {
            free: self.free,
            old: RingIndex(old),
            new: RingIndex(new),
            event: RingIndex(old),
            event_flags: if self.packed { 2 } else { 0 },
            reason: if needed {
                NotificationReason::EventCrossed
            } else {
                NotificationReason::EventNotCrossed
            },
            ..Notification::default()
        });
        self.push(Producer::DriverHalf, 0, flags, body, &[]);
        self
    }

    pub(super) fn taken(&mut self, head: u16, position: u16) -> &mut Self {
        let body = Body::Taken(Taken {
            head,
            position: RingIndex(position),
            // No list of the tests is behind the end of its ring.
            avail_index: RingIndex(position.wrapping_add(if self.packed { 2 } else { 1 })),
            ..Taken::default()
        });
        self.push(Producer::DeviceHalf, 0, Flags::empty(), body, &[]);
        self
    }

    pub(super) fn returned(&mut self, head: u16, position: u16, length: u32) -> &mut Self {
        let body = Body::Returned(Returned {
            used_length: length,
            head,
            position: RingIndex(position),
            ..Returned::default()
        });
        self.push(Producer::DeviceHalf, 0, Flags::empty(), body, &[]);
        self
    }

    pub(super) fn interrupt(&mut self, old: u16, new: u16) -> &mut Self {
        let body = Body::InterruptSent(Notification {
            old: RingIndex(old),
            new: RingIndex(new),
            event: RingIndex(old),
            reason: NotificationReason::EventCrossed,
            ..Notification::default()
        });
        let flags = Flags::EVENT_IDX | Flags::NOTIFICATION_NEEDED;
        self.push(Producer::DeviceHalf, 0, flags, body, &[]);
        self
    }

    pub(super) fn callback(&mut self, used_index: u16, last_used: u16) -> &mut Self {
        let body = Body::Callback(Callback {
            free: self.free,
            used_index: RingIndex(used_index),
            last_used: RingIndex(last_used),
            used_event: RingIndex(last_used),
            event_flags: if self.packed { 2 } else { 0 },
            ..Callback::default()
        });
        self.push(Producer::DriverHalf, 0, Flags::EVENT_IDX, body, &[]);
        self
    }

    pub(super) fn callbacks_enabled(&mut self, last_used: u16) -> &mut Self {
        let body = Body::CallbacksEnabled(CallbackSwitch {
            free: self.free,
            last_used: RingIndex(last_used),
            used_event: RingIndex(last_used),
            ..CallbackSwitch::default()
        });
        self.push(Producer::DriverHalf, 0, Flags::EVENT_IDX, body, &[]);
        self
    }

    pub(super) fn used(&mut self, head: u16, position: u16, reply: &[u8]) -> &mut Self {
        self.free += 2;
        let body = Body::Used(Used {
            free: self.free,
            used_length: reply.len() as u32,
            writable_bytes: 8192,
            head,
            position: RingIndex(position),
            used_index: RingIndex(position.wrapping_add(1)),
            descriptors: 2,
            ..Used::default()
        });
        let cut = &reply[..reply.len().min(64)];
        self.push(Producer::DriverHalf, token(head), Flags::empty(), body, cut);
        self
    }

    /// The counters of the driver's half: so many records lost, none missed.
    pub(super) fn statistics(&mut self, lost: u64, missed: u32) -> &mut Self {
        let emitted = u64::from(*self.sequence(Producer::DriverHalf));
        let body = Body::Statistics(Statistics {
            about: Producer::DriverHalf.id(),
            is_final: false,
            missed,
            emitted,
            lost,
            filtered: 0,
        });
        self.push(Producer::Recorder, 0, Flags::empty(), body, &[]);
        self
    }
}

fn token(head: u16) -> u64 {
    0xffff_8880_0001_0000 | u64::from(head)
}

/// A 9P message.
pub(super) fn p9(kind: u8, tag: u16, body: &[u8]) -> Vec<u8> {
    let size = 7 + body.len() as u32;
    let mut message = size.to_le_bytes().to_vec();
    message.push(kind);
    message.extend(tag.to_le_bytes());
    message.extend(body);
    message
}

/// The body of a 9P message, field by field.
#[derive(Default)]
pub(super) struct Fields(Vec<u8>);

impl Fields {
    pub(super) fn u8(mut self, value: u8) -> Self {
        self.0.push(value);
        self
    }

    pub(super) fn u16(mut self, value: u16) -> Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    pub(super) fn u32(mut self, value: u32) -> Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    pub(super) fn u64(mut self, value: u64) -> Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    pub(super) fn text(self, text: &str) -> Self {
        let mut with_length = self.u16(text.len() as u16);
        with_length.0.extend(text.as_bytes());
        with_length
    }

    pub(super) fn qid(self, kind: u8, path: u64) -> Self {
        self.u8(kind).u32(1).u64(path)
    }

    pub(super) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }

    pub(super) fn message(self, kind: u8, tag: u16) -> Vec<u8> {
        p9(kind, tag, &self.0)
    }
}
