//! What evaluating a filter costs, beside the analysis of the requests themselves:
//! `cargo run --release -p virtscope-analyzer --example filter`

use std::hint::black_box;
use std::time::Instant;

use virtscope_analyzer::{Analyzer, Filter, Options};
use virtscope_record::{
    Add, Body, Common, Kind, Notification, Producer, QueueFacts, Record, RingIndex, Sequence,
    Timestamp, Token, Used,
};

/// Requests of the made-up stream.
const REQUESTS: u32 = 200_000;
/// Runs; the fastest counts.
const RUNS: usize = 5;

const FILTERS: [&str; 5] = [
    "true",
    r#"op == "read""#,
    r#"op == "read" && latency > duration("1ms")"#,
    r#"error in ["ENOENT", "EIO"] || latency > duration("1h")"#,
    r#"queue.matches("^virtio[0-9]") && offset > 4096"#,
];

fn record(time: u64, sequence: u32, token: u64, body: Body) -> Record {
    let producer = match body.kind() {
        Kind::QueueFacts => Producer::Recorder,
        _ => Producer::DriverHalf,
    };
    let common = Common {
        time: Timestamp::from_nanos(time),
        producer: producer.id(),
        sequence: Sequence(sequence),
        token: Token(token),
        ..Common::default()
    };
    Record::new(common, body)
}

/// Reads of 4096 bytes, one after the other.
fn stream() -> Vec<(Record, Vec<u8>)> {
    let facts = QueueFacts {
        size: 128,
        device_type: 9,
        ..QueueFacts::default()
    };
    let mut all = vec![(
        record(0, 0, 0, Body::QueueFacts(facts)),
        b"virtio0/requests".to_vec(),
    )];
    let mut read = 23_u32.to_le_bytes().to_vec();
    read.extend([116, 1, 0, 5, 0, 0, 0]);
    read.extend(8192_u64.to_le_bytes());
    read.extend(4096_u32.to_le_bytes());
    for number in 0..REQUESTS {
        let (time, index) = (u64::from(number) * 10_000, number as u16);
        let add = Add {
            free: 126,
            readable_bytes: 23,
            writable_bytes: 8192,
            position: RingIndex(index),
            descriptors: 2,
            ..Add::default()
        };
        let kick = Notification {
            old: RingIndex(index),
            new: RingIndex(index.wrapping_add(1)),
            ..Notification::default()
        };
        let used = Used {
            free: 128,
            used_length: 11,
            writable_bytes: 8192,
            position: RingIndex(index),
            used_index: RingIndex(index.wrapping_add(1)),
            descriptors: 2,
            ..Used::default()
        };
        let reply = [11, 0, 0, 0, 117, 1, 0, 0, 0, 0, 0];
        let bodies = [
            (Body::Add(add), read.clone()),
            (Body::Kick(kick), Vec::new()),
            (Body::Used(used), reply.to_vec()),
        ];
        for (at, (body, payload)) in (0..).zip(bodies) {
            all.push((
                record(time + 1000 * at, number * 3 + at as u32, 7, body),
                payload,
            ));
        }
    }
    all
}

/// Seconds for a whole analysis.
fn analyze(stream: &[(Record, Vec<u8>)], filter: Option<&str>) -> f64 {
    let filter = filter.map(|text| match Filter::compile(text) {
        Ok(filter) => std::sync::Arc::new(filter),
        Err(error) => panic!("{error}"),
    });
    let began = Instant::now();
    let mut analyzer = Analyzer::new(Options {
        recent_lives: 0,
        keep_bytes: if filter.is_some() { 512 } else { 0 },
        draw_rings: false,
        filter,
        ..Options::default()
    });
    for (record, payload) in stream {
        analyzer.push(record, payload);
    }
    analyzer.finish();
    black_box(&analyzer);
    began.elapsed().as_secs_f64()
}

fn best(stream: &[(Record, Vec<u8>)], filter: Option<&str>) -> f64 {
    (0..RUNS)
        .map(|_| analyze(stream, filter))
        .fold(f64::INFINITY, f64::min)
}

fn main() {
    let stream = stream();
    let without = best(&stream, None);
    let each = |seconds: f64| seconds * 1e9 / f64::from(REQUESTS);
    println!("{:>8.0} ns a request   without a filter", each(without));
    for filter in FILTERS {
        let with = best(&stream, Some(filter));
        let (ns, ratio) = (each(with - without), with / without);
        println!("{ns:>+8.0} ns a request   {ratio:.2} times   {filter}");
    }
}
