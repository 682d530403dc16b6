//! How many records a second the analyzer takes in: a synthetic 9P stream of
//! requests with all records of both halves.
//! `cargo run --release -p virtscope-analyzer --example throughput`

use std::time::Instant;

use virtscope_analyzer::{Analyzer, CaptureEnd, Options};
use virtscope_record::{
    Add, Body, Callback, Common, Flags, Notification, Producer, QueueFacts, Record, Returned,
    RingIndex, Sequence, Taken, Timestamp, Token, Used,
};

/// Entries of the ring.
const SIZE: u16 = 128;
/// Requests in flight at a time, used in the reverse order of adding.
const DEPTH: u16 = 32;

/// Hands out records of one queue with time and sequences that go on.
struct Source {
    now: u64,
    /// Of the driver's half, the device's half and the recorder.
    sequences: [u32; 3],
}

impl Source {
    fn record(&mut self, producer: Producer, token: u64, flags: Flags, body: Body) -> Record {
        self.now += 250;
        let sequence = &mut self.sequences[match producer {
            Producer::DriverHalf => 0,
            Producer::DeviceHalf => 1,
            _ => 2,
        }];
        let common = Common {
            time: Timestamp::from_nanos(self.now),
            producer: producer.id(),
            sequence: Sequence(*sequence),
            token: Token(token),
            flags,
            ..Common::default()
        };
        *sequence = sequence.wrapping_add(1);
        Record::new(common, body)
    }

    fn driver(&mut self, head: u16, body: Body) -> Record {
        self.record(
            Producer::DriverHalf,
            head.into(),
            Flags::NOTIFICATION_NEEDED,
            body,
        )
    }

    fn device(&mut self, body: Body) -> Record {
        self.record(Producer::DeviceHalf, 0, Flags::NOTIFICATION_NEEDED, body)
    }

    /// One batch of requests from add to used.
    fn batch(&mut self, start: u16, records: &mut Vec<(Record, &'static [u8])>) {
        // Tread tag 1 fid 7 offset 0 count 4096, and its reply cut by the snaplen.
        const REQUEST: &[u8] = b"\x17\0\0\0\x74\x01\0\x07\0\0\0\0\0\0\0\0\0\0\0\0\x10\0\0";
        const REPLY: &[u8] = &{
            let mut bytes = [7; 256];
            let header = b"\x0b\x10\0\0\x75\x01\0\0\x10\0\0";
            let mut i = 0;
            while i < header.len() {
                bytes[i] = header[i];
                i += 1;
            }
            bytes
        };
        let index = |i: u16| RingIndex(start.wrapping_add(i));
        for i in 0..DEPTH {
            let add = Body::Add(Add {
                free: SIZE - 1 - i,
                readable_bytes: REQUEST.len() as u32,
                writable_bytes: 8192,
                head: i,
                position: index(i),
                readable_segments: 1,
                writable_segments: 1,
                descriptors: 1,
                ..Add::default()
            });
            records.push((self.driver(i, add), REQUEST));
            let decision = Notification {
                free: SIZE - 1 - i,
                old: index(i),
                new: index(i + 1),
                ..Notification::default()
            };
            records.push((self.driver(0, Body::Kick(decision)), b""));
            let taken = Taken {
                head: i,
                position: index(i),
                ..Taken::default()
            };
            records.push((self.device(Body::Taken(taken)), b""));
        }
        for i in 0..DEPTH {
            let head = DEPTH - 1 - i;
            let returned = Returned {
                head,
                position: index(i),
                ..Returned::default()
            };
            records.push((self.device(Body::Returned(returned)), b""));
            let decision = Notification {
                old: index(i),
                new: index(i + 1),
                ..Notification::default()
            };
            records.push((self.device(Body::InterruptSent(decision)), b""));
            let callback = Callback {
                used_index: index(i + 1),
                last_used: index(i),
                ..Callback::default()
            };
            records.push((self.driver(0, Body::Callback(callback)), b""));
            let used = Body::Used(Used {
                free: SIZE - DEPTH + 1 + i,
                used_length: 4107,
                writable_bytes: 8192,
                head,
                position: index(i),
                used_index: index(i + 1),
                descriptors: 1,
                ..Used::default()
            });
            records.push((self.driver(head, used), REPLY));
        }
    }
}

fn main() {
    let mut source = Source {
        now: 0,
        sequences: [0; 3],
    };
    let facts = Body::QueueFacts(QueueFacts {
        size: SIZE,
        device_type: 9,
        ..QueueFacts::default()
    });
    let facts = source.record(Producer::Recorder, 0, Flags::empty(), facts);
    let mut analyzer = Analyzer::new(Options::default());
    analyzer.push(&facts, b"virtio0/requests");
    let (mut pushed, mut busy) = (1_u64, std::time::Duration::ZERO);
    let mut records = Vec::new();
    // Positions and heads repeat after 65536 adds, so go well beyond that.
    for batch in 0..16_384_u16 {
        records.clear();
        source.batch(batch.wrapping_mul(DEPTH), &mut records);
        let begin = Instant::now();
        for (record, payload) in &records {
            analyzer.push(record, payload);
        }
        busy += begin.elapsed();
        pushed += records.len() as u64;
    }
    let begin = Instant::now();
    let snapshot = analyzer.snapshot(None);
    let snapshot_time = begin.elapsed();
    analyzer.finish();
    println!("{}", analyzer.report(&CaptureEnd::default()));
    println!(
        "{pushed} records in {busy:.2?}: {:.2} million a second; a snapshot of {} lives {snapshot_time:.2?}",
        pushed as f64 / busy.as_secs_f64() / 1e6,
        snapshot.recent.len(),
    );
}
