//! Composes record streams for tests.

use std::collections::HashMap;
use std::sync::Arc;

use virtscope_record::{
    Add, Body, Callback, CallbackSwitch, Common, Context, Detach, Flags, Generation, InFlight,
    Layout, Notification, NotificationReason, Producer, ProducerId, QueueFacts, QueueId, Record,
    Reset, Returned, RingIndex, Sequence, Statistics, Taken, Timestamp, Token, Used,
};

use crate::{Analyzer, Life, Options};

/// The queue that streams are about.
pub(crate) const QUEUE: QueueId = QueueId::new(0, 0);

/// A stream in the making. Every method appends one record at the time set by
/// [`at`](Self::at), with the next sequence number of its producer.
#[derive(Clone, Debug)]
pub(crate) struct Stream {
    pub(crate) records: Vec<(Record, Vec<u8>)>,
    pub(crate) free: u16,
    /// Of the buffers that are added and taken back.
    pub(crate) descriptors: u16,
    now: u64,
    generation: u16,
    /// What the records of a packed ring are marked with.
    layout: Flags,
    sequences: HashMap<ProducerId, u32>,
}

impl Stream {
    pub(crate) fn new() -> Self {
        Self {
            records: Vec::new(),
            free: 8,
            descriptors: 2,
            now: 0,
            generation: 0,
            layout: Flags::empty(),
            sequences: HashMap::new(),
        }
    }

    /// A stream that begins with the facts of a 9P queue of eight entries.
    pub(crate) fn with_facts() -> Self {
        let mut stream = Self::new();
        stream.facts(8, 0);
        stream
    }

    /// The same of a packed ring, whose positions are offset and wrap counter.
    pub(crate) fn with_packed_facts() -> Self {
        let mut stream = Self::new();
        stream.layout = Flags::PACKED;
        stream.facts(8, 0);
        stream
    }

    /// What follows is about a packed ring.
    pub(crate) fn packed(&mut self) -> &mut Self {
        self.layout = Flags::PACKED;
        self
    }

    /// A buffer that was in flight when the capture began.
    pub(crate) fn in_flight(&mut self, head: u16) -> &mut Self {
        let body = Body::InFlight(InFlight {
            free: self.free,
            head,
            descriptors: self.descriptors,
            ..InFlight::default()
        });
        self.driver(token(head), Flags::empty(), body, &[])
    }

    pub(crate) fn at(&mut self, ns: u64) -> &mut Self {
        self.now = ns;
        self
    }

    pub(crate) fn generation(&mut self, generation: u16) -> &mut Self {
        self.generation = generation;
        self
    }

    /// The record that was just made did not get into the stream.
    pub(crate) fn lose(&mut self) -> &mut Self {
        self.records.pop();
        self
    }

    /// It was never made: no sequence number tells of it.
    pub(crate) fn miss(&mut self) -> &mut Self {
        if let Some((record, _)) = self.records.pop() {
            *self.sequences.entry(record.producer().id()).or_default() -= 1;
        }
        self
    }

    pub(crate) fn push(
        &mut self,
        producer: Producer,
        token: u64,
        flags: Flags,
        body: Body,
        payload: &[u8],
    ) -> &mut Self {
        let sequence = self.sequences.entry(producer.id()).or_default();
        let common = Common {
            time: Timestamp::from_nanos(self.now),
            queue: QUEUE,
            generation: Generation(self.generation),
            producer: producer.id(),
            sequence: Sequence(*sequence),
            token: Token(token),
            flags,
            process: 100,
            thread: 101,
            context: Context::Task,
        };
        *sequence = sequence.wrapping_add(1);
        self.records
            .push((Record::new(common, body), payload.to_vec()));
        self
    }

    fn driver(&mut self, token: u64, flags: Flags, body: Body, payload: &[u8]) -> &mut Self {
        let flags = flags | self.layout;
        self.push(Producer::DriverHalf, token, flags, body, payload)
    }

    fn device(&mut self, flags: Flags, body: Body) -> &mut Self {
        let flags = flags | self.layout;
        self.push(Producer::DeviceHalf, 0, flags, body, &[])
    }

    pub(crate) fn facts(&mut self, size: u16, in_flight: u16) -> &mut Self {
        let packed = self.layout.contains(Flags::PACKED);
        let body = Body::QueueFacts(QueueFacts {
            size,
            in_flight,
            device_type: 9,
            layout: if packed {
                Layout::Packed
            } else {
                Layout::Split
            },
            ..QueueFacts::default()
        });
        let payload = b"virtio0/requests\ndriver=9pnet_virtio\ntag=scratch";
        self.push(Producer::Recorder, 0, Flags::empty(), body, payload)
    }

    pub(crate) fn add(&mut self, head: u16, position: u16) -> &mut Self {
        self.add_message(head, position, &[])
    }

    pub(crate) fn add_message(&mut self, head: u16, position: u16, request: &[u8]) -> &mut Self {
        let add = Add {
            free: self.free,
            readable_bytes: request.len() as u32,
            writable_bytes: 8192,
            head,
            position: RingIndex(position),
            readable_segments: 1,
            writable_segments: 1,
            descriptors: self.descriptors,
            ..Add::default()
        };
        let token = token(head);
        self.driver(token, Flags::empty(), Body::Add(add), request)
    }

    pub(crate) fn add_failed(&mut self, error: u16) -> &mut Self {
        let add = Add {
            free: self.free,
            error,
            ..Add::default()
        };
        self.driver(0, Flags::empty(), Body::AddFailed(add), &[])
    }

    /// An add of a request that is refused.
    pub(crate) fn add_failed_request(&mut self, error: u16) -> &mut Self {
        let add = Add {
            free: self.free,
            error,
            readable_bytes: 23,
            ..Add::default()
        };
        self.driver(0, Flags::empty(), Body::AddFailed(add), &[])
    }

    pub(crate) fn kick(&mut self, old: u16, new: u16) -> &mut Self {
        self.kick_as(old, new, true, NotificationReason::FlagClear)
    }

    pub(crate) fn kick_as(
        &mut self,
        old: u16,
        new: u16,
        needed: bool,
        reason: NotificationReason,
    ) -> &mut Self {
        let body = Body::Kick(Notification {
            free: self.free,
            old: RingIndex(old),
            new: RingIndex(new),
            reason,
            ..Notification::default()
        });
        self.driver(0, verdict(needed), body, &[])
    }

    pub(crate) fn callback(&mut self, used_index: u16, last_used: u16) -> &mut Self {
        let mut flags = Flags::empty();
        flags.set(Flags::SPURIOUS, used_index == last_used);
        let body = Body::Callback(Callback {
            free: self.free,
            used_index: RingIndex(used_index),
            last_used: RingIndex(last_used),
            ..Callback::default()
        });
        self.driver(0, flags, body, &[])
    }

    /// A callback on a packed ring, whose next entry is `last_used`.
    pub(crate) fn packed_callback(&mut self, last_used: u16, spurious: bool) -> &mut Self {
        let mut flags = Flags::empty();
        flags.set(Flags::SPURIOUS, spurious);
        // There is no used index: the records say the next entry's place again.
        let body = Body::Callback(Callback {
            free: self.free,
            used_index: RingIndex(last_used),
            last_used: RingIndex(last_used),
            ..Callback::default()
        });
        self.driver(0, flags, body, &[])
    }

    pub(crate) fn callbacks(&mut self, enabled: bool, last_used: u16) -> &mut Self {
        let switch = CallbackSwitch {
            free: self.free,
            last_used: RingIndex(last_used),
            ..CallbackSwitch::default()
        };
        let body = if enabled {
            Body::CallbacksEnabled(switch)
        } else {
            Body::CallbacksDisabled(switch)
        };
        self.driver(0, Flags::empty(), body, &[])
    }

    pub(crate) fn used(&mut self, head: u16, position: u16) -> &mut Self {
        self.used_message(head, position, &[])
    }

    pub(crate) fn used_message(&mut self, head: u16, position: u16, reply: &[u8]) -> &mut Self {
        self.used_as(head, position, token(head), reply)
    }

    pub(crate) fn used_as(
        &mut self,
        head: u16,
        position: u16,
        token: u64,
        reply: &[u8],
    ) -> &mut Self {
        let body = Body::Used(Used {
            free: self.free,
            used_length: reply.len() as u32,
            writable_bytes: 8192,
            head,
            position: RingIndex(position),
            used_index: RingIndex(position.wrapping_add(1)),
            descriptors: self.descriptors,
            ..Used::default()
        });
        self.driver(token, Flags::empty(), body, reply)
    }

    pub(crate) fn detach(&mut self, head: u16) -> &mut Self {
        let body = Body::Detach(Detach {
            free: self.free,
            head,
            ..Detach::default()
        });
        self.driver(token(head), Flags::empty(), body, &[])
    }

    pub(crate) fn reset(&mut self) -> &mut Self {
        self.driver(0, Flags::empty(), Body::Reset(Reset::default()), &[])
    }

    pub(crate) fn taken(&mut self, head: u16, position: u16) -> &mut Self {
        self.taken_up_to(head, position, position.wrapping_add(1))
    }

    /// With the place behind it, of which a packed ring's record tells.
    pub(crate) fn taken_up_to(&mut self, head: u16, position: u16, behind: u16) -> &mut Self {
        let body = Body::Taken(Taken {
            head,
            position: RingIndex(position),
            avail_index: RingIndex(behind),
            ..Taken::default()
        });
        self.device(Flags::empty(), body)
    }

    pub(crate) fn returned(&mut self, head: u16, position: u16) -> &mut Self {
        let body = Body::Returned(Returned {
            head,
            position: RingIndex(position),
            ..Returned::default()
        });
        self.device(Flags::empty(), body)
    }

    pub(crate) fn interrupt(&mut self, old: u16, new: u16, needed: bool) -> &mut Self {
        let body = Body::InterruptSent(Notification {
            old: RingIndex(old),
            new: RingIndex(new),
            ..Notification::default()
        });
        self.device(verdict(needed), body)
    }

    /// The last counters of both halves.
    pub(crate) fn final_statistics(&mut self) -> &mut Self {
        self.statistics(true)
    }

    /// The last counters of the driver's half, where there is no other.
    pub(crate) fn driver_statistics(&mut self) -> &mut Self {
        self.statistics_of(&[Producer::DriverHalf], true)
    }

    /// Counters of both halves.
    pub(crate) fn statistics(&mut self, is_final: bool) -> &mut Self {
        self.statistics_of(&[Producer::DriverHalf, Producer::DeviceHalf], is_final)
    }

    fn statistics_of(&mut self, producers: &[Producer], is_final: bool) -> &mut Self {
        for producer in producers {
            let emitted = self.sequences.get(&producer.id()).copied().unwrap_or(0);
            let body = Body::Statistics(Statistics {
                about: producer.id(),
                is_final,
                emitted: emitted.into(),
                ..Statistics::default()
            });
            self.push(Producer::Recorder, 0, Flags::empty(), body, &[]);
        }
        self
    }

    /// An analyzer that has seen it all, and the lives that ended.
    pub(crate) fn analyze(&self) -> (Analyzer, Vec<Arc<Life>>) {
        analyze(&self.records)
    }

    /// The only life there is.
    pub(crate) fn only_life(&self) -> Life {
        let (_, lives) = self.analyze();
        assert_eq!(lives.len(), 1, "{lives:#?}");
        (*lives[0]).clone()
    }
}

/// The token under which the stream adds `head`.
pub(crate) fn token(head: u16) -> u64 {
    0x1000 + u64::from(head)
}

pub(crate) fn analyze(records: &[(Record, Vec<u8>)]) -> (Analyzer, Vec<Arc<Life>>) {
    let mut analyzer = Analyzer::new(Options {
        collect_ended: true,
        ..Options::default()
    });
    for (record, payload) in records {
        analyzer.push(record, payload);
    }
    analyzer.finish();
    let lives = analyzer.take_ended().collect();
    (analyzer, lives)
}

fn verdict(needed: bool) -> Flags {
    let mut flags = Flags::empty();
    flags.set(Flags::NOTIFICATION_NEEDED, needed);
    flags
}

/// A 9P message: size and header are put in front of `body`.
pub(crate) fn message(kind: u8, tag: u16, body: &[u8]) -> Vec<u8> {
    let mut bytes = (7 + body.len() as u32).to_le_bytes().to_vec();
    bytes.push(kind);
    bytes.extend(tag.to_le_bytes());
    bytes.extend(body);
    bytes
}

pub(crate) fn tread(tag: u16, fid: u32, offset: u64, count: u32) -> Vec<u8> {
    let body = [
        &fid.to_le_bytes()[..],
        &offset.to_le_bytes(),
        &count.to_le_bytes(),
    ];
    message(116, tag, &body.concat())
}

pub(crate) fn rread(tag: u16, data: &[u8]) -> Vec<u8> {
    let count = (data.len() as u32).to_le_bytes();
    message(117, tag, &[&count[..], data].concat())
}

pub(crate) fn rlerror(tag: u16, errno: u32) -> Vec<u8> {
    message(7, tag, &errno.to_le_bytes())
}
