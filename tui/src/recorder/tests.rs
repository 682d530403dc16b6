use super::source::INTERVAL;
use super::*;
use rstest::rstest;
use virtscope_captures::{CaptureReader, Item};
use virtscope_record::{FeatureBits, Generation, Layout, QueueFacts};
use virtscope_tracer::trace::StreamCounters;

/// A source of one queue on which nothing happens.
struct Silent;

impl Source for Silent {
    fn snaplen(&self) -> u32 {
        0
    }

    fn drain(&mut self, _: &mut dyn FnMut(&Record, &[u8])) {}

    fn counters(&self) -> Vec<StreamCounters> {
        Vec::new()
    }
}

fn all() -> Option<Options> {
    Some(Options::default())
}

fn silent() -> QueueNotice {
    QueueNotice {
        queue: QueueId::new(3, 1),
        generation: Generation(0),
        facts: QueueFacts {
            size: 4,
            in_flight: 0,
            device_type: 4,
            layout: Layout::Split,
            features: FeatureBits(0),
        },
        text: "silent".to_owned(),
        in_flight: Vec::new(),
    }
}

/// Whoever reads a capture of queues that do nothing learns that time goes on.
#[rstest]
#[timeout(Duration::from_secs(60))]
fn the_clock_goes_on_where_nothing_happens() {
    let (input, output) = std::io::pipe().unwrap();
    let output: Output = Box::new(output);
    let recorder =
        Recorder::start(Silent, &[silent()], Some(output), Limits::default(), all()).unwrap();
    let mut reader = CaptureReader::new(input).unwrap();
    let mut times = Vec::new();
    while times.len() < 3 {
        if let Item::Record(packet) = reader.next_item().unwrap() {
            times.push(packet.record.time());
        }
    }
    // Its facts, and two heartbeats.
    assert!(times[0] < times[1] && times[1] < times[2], "{times:?}");
    let reading = std::thread::spawn(
        move || {
            while !matches!(reader.next_item().unwrap(), Item::End(_)) {}
        },
    );
    let recorded = recorder.finish();
    reading.join().unwrap();
    assert!(recorded.failure.is_none());
    let report = recorded.report.unwrap();
    let totals = report.records;
    assert_eq!((totals.lost, totals.filtered, totals.missed), (0, 0, 0));
    assert_eq!(totals.emitted, totals.stored);
    assert_eq!(report.queues.len(), 1);
}

/// A picture is made for whoever looks, and the last one in any case.
#[rstest]
#[timeout(Duration::from_secs(60))]
fn what_nobody_looks_at_is_not_made() {
    let recorder = Recorder::start(Silent, &[silent()], None, Limits::default(), all()).unwrap();
    let shared = Arc::clone(recorder.shared());
    std::thread::sleep(3 * SNAPSHOT_INTERVAL);
    assert!(shared.snapshot().queues.is_empty(), "of the beginning");
    while shared.snapshot().queues.is_empty() {
        std::thread::sleep(INTERVAL);
    }
    recorder.finish();

    let recorder = Recorder::start(Silent, &[silent()], None, Limits::default(), all()).unwrap();
    let shared = Arc::clone(recorder.shared());
    recorder.finish();
    assert_eq!(shared.snapshot().queues.len(), 1);
}

/// An output, and a thread that ends with all that went into it.
fn output_and_reader() -> (Output, JoinHandle<Vec<u8>>) {
    let (mut input, output) = std::io::pipe().unwrap();
    let reading = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut input, &mut bytes).unwrap();
        bytes
    });
    (Box::new(output), reading)
}

/// A source whose programs the kernel skips: once more whenever it is asked.
struct Skipped(std::cell::Cell<u64>);

impl Source for Skipped {
    fn snaplen(&self) -> u32 {
        0
    }

    fn drain(&mut self, _: &mut dyn FnMut(&Record, &[u8])) {}

    fn counters(&self) -> Vec<StreamCounters> {
        Vec::new()
    }

    fn programs_skipped(&self) -> u64 {
        self.0.replace(self.0.get() + 1)
    }
}

/// What the kernel counted in the end stands in the report and in the capture.
#[rstest]
#[timeout(Duration::from_secs(60))]
fn skipped_programs_are_told() {
    let (output, reading) = output_and_reader();
    let source = Skipped(3.into());
    let recorder =
        Recorder::start(source, &[silent()], Some(output), Limits::default(), all()).unwrap();
    let recorded = recorder.finish();
    let told = recorded.report.unwrap().capture.programs_skipped;
    assert!(told >= 3, "{told}");

    let bytes = reading.join().unwrap();
    let mut reader = CaptureReader::new(&bytes[..]).unwrap();
    let stored = loop {
        match reader.next_item().unwrap() {
            Item::Statistics(statistics) => break statistics.programs_skipped,
            Item::End(_) => panic!("no statistics"),
            _ => {}
        }
    };
    assert_eq!(stored, told);
}

/// Who only wants a capture pays for nothing else.
#[rstest]
#[timeout(Duration::from_secs(60))]
fn a_capture_needs_no_analysis() {
    let (output, reading) = output_and_reader();
    let recorder =
        Recorder::start(Silent, &[silent()], Some(output), Limits::default(), None).unwrap();
    assert!(recorder.shared().snapshot().queues.is_empty());
    let recorded = recorder.finish();
    assert!(recorded.report.is_none() && recorded.failure.is_none());

    let bytes = reading.join().unwrap();
    let mut reader = CaptureReader::new(&bytes[..]).unwrap();
    let mut records = 0;
    loop {
        match reader.next_item().unwrap() {
            Item::Record(_) => records += 1,
            Item::End(_) => break,
            _ => {}
        }
    }
    assert_eq!(recorded.capture.unwrap().stored, records);
    assert!(records > 0);
}

/// A source of one producer that makes a hundred records at once, and then nothing; and that
/// takes its time to stop.
struct Burst(u32);

const MADE: u32 = 100;

/// The record of this number, made just now by CPU 0.
fn made(number: u32, body: Body) -> Record {
    let common = Common {
        time: monotonic_now(),
        queue: silent().queue,
        producer: Producer::Cpu(0).id(),
        sequence: Sequence(number),
        ..Common::default()
    };
    Record::new(common, body)
}

impl Source for Burst {
    fn snaplen(&self) -> u32 {
        0
    }

    fn drain(&mut self, take: &mut dyn FnMut(&Record, &[u8])) {
        for number in std::mem::replace(&mut self.0, MADE)..MADE {
            let body = Body::Notify(virtscope_record::Notify::default());
            take(&made(number, body), &[]);
        }
    }

    fn counters(&self) -> Vec<StreamCounters> {
        vec![StreamCounters {
            queue: silent().queue,
            producer: Producer::Cpu(0).id(),
            emitted: self.0.into(),
            lost: 0,
            filtered: 0,
            missed: 0,
        }]
    }

    fn stop(&mut self) {
        std::thread::sleep(SLOW);
    }
}

const SLOW: Duration = Duration::from_secs(1);

/// What comes when the capture has the bytes that it may have is no part of it.
#[rstest]
#[timeout(Duration::from_secs(60))]
fn a_capture_ends_with_the_record_that_reaches_its_limit() {
    let (output, reading) = output_and_reader();
    let limits = Limits {
        bytes: Some(1500),
        ..Limits::default()
    };
    let recorder = Recorder::start(Burst(0), &[silent()], Some(output), limits, all()).unwrap();
    while !recorder.shared().limit_reached() {
        std::thread::sleep(Duration::from_millis(1));
    }
    let recorded = recorder.finish();
    let totals = recorded.capture.unwrap();
    assert!(totals.stored < u64::from(MADE) / 2, "{totals:?}");
    assert_eq!(totals.emitted, totals.stored);
    let report = recorded.report.unwrap();
    let seen = report.records;
    assert_eq!((seen.emitted, seen.stored), (totals.stored, totals.stored));
    // What is in flight at the limit has not been so for as long as it takes to detach.
    let seconds = Duration::from_nanos(report.time.duration_ns);
    assert!(seconds < SLOW, "{seconds:?}");
    // Behind the last one come the facts of the end alone.
    let bytes = reading.join().unwrap();
    assert!((1500..3000).contains(&bytes.len()), "{} bytes", bytes.len());
}

/// A source that makes long records of a queue of whose facts nobody tells.
struct Nameless(u32);

const LONG: usize = 1 << 19;

impl Source for Nameless {
    fn snaplen(&self) -> u32 {
        LONG as u32
    }

    fn drain(&mut self, take: &mut dyn FnMut(&Record, &[u8])) {
        for number in std::mem::replace(&mut self.0, MADE)..MADE {
            let body = Body::Add(virtscope_record::Add::default());
            take(&made(number, body), &[7; LONG]);
        }
    }

    fn counters(&self) -> Vec<StreamCounters> {
        Vec::new()
    }

    fn stop(&mut self) {}
}

/// They are not held until there are as many of them as of short ones.
#[rstest]
#[timeout(Duration::from_secs(60))]
fn long_records_are_held_by_their_bytes() {
    let (output, reading) = output_and_reader();
    let recorder =
        Recorder::start(Nameless(0), &[], Some(output), Limits::default(), None).unwrap();
    while recorder.shared().written() < 16 << 20 {
        std::thread::sleep(Duration::from_millis(1));
    }
    let recorded = recorder.finish();
    assert!(recorded.failure.is_none());
    let bytes = reading.join().unwrap().len();
    assert!(bytes > MADE as usize * LONG, "{bytes} bytes");
}
