//! Captures made up here, held against logs made up here: what agrees must be found
//! to agree, and every kind of difference must be found.

use std::fmt::Write;

use rstest::rstest;
use virtscope_captures::{CaptureInfo, CaptureWriter, ClockOffset};
use virtscope_record::{
    Add, Body, Common, FeatureBits, Flags, Kind, Layout, Missed, Notification, Notify, Producer,
    QueueFacts, QueueId, Record, RingIndex, Sequence, Statistics, Timestamp, Token, Used,
};

use super::capture::{Added, Capture, GuestQueue, Returned};
use super::compare::{Comparison, Use};
use super::host::{self, HostQueue};
use super::log;

const SIZE: u16 = 4;

/// A request that was made and answered on both sides.
#[derive(Clone, Copy)]
struct Request {
    readable: u16,
    writable: u16,
    length: u32,
    /// Whether the probe of its completion was skipped.
    missed: bool,
}

fn request(number: usize) -> Request {
    let number = (number % 1000) as u16;
    Request {
        readable: 1 + number % 3,
        writable: number % 2,
        length: 100 + u32::from(number),
        missed: false,
    }
}

/// Where the buffer of this number stands.
fn position(layout: Layout, number: usize) -> RingIndex {
    RingIndex(match layout {
        Layout::Split => number as u16,
        Layout::Packed => {
            let wrap = u16::from((number / usize::from(SIZE)).is_multiple_of(2));
            (number % usize::from(SIZE)) as u16 | wrap << 15
        }
    })
}

/// QEMU's log: the queue is brought up, does `before` requests, and then these.
/// Returns it with the byte at which these begin.
fn log(before: usize, requests: &[Request]) -> (String, u64) {
    let mut log = "virtio_set_status vdev 0xd val 0\nvirtio_set_status vdev 0xd val 1\n".to_owned();
    let one = |log: &mut String, number: usize, request: Request| {
        let buffer = 0x100 + number;
        let Request {
            readable,
            writable,
            length,
            ..
        } = request;
        writeln!(log, "virtio_queue_notify vdev 0xd n 0 vq 0x9").unwrap();
        writeln!(
            log,
            "virtqueue_pop vq 0x9 elem {buffer:#x} in_num {writable} out_num {readable}"
        )
        .unwrap();
        writeln!(
            log,
            "virtqueue_fill vq 0x9 elem {buffer:#x} len {length} idx 0"
        )
        .unwrap();
        writeln!(log, "virtqueue_flush vq 0x9 count 1").unwrap();
    };
    for number in 0..before {
        one(&mut log, number, request(number));
    }
    let start = log.len() as u64;
    for (number, request) in requests.iter().enumerate() {
        one(&mut log, before + number, *request);
    }
    (log, start)
}

/// The guest's side of the same.
fn capture(layout: Layout, before: usize, requests: &[Request]) -> Capture {
    let mut file = Vec::new();
    let info = CaptureInfo::new(64, ClockOffset::measure());
    let mut writer = CaptureWriter::new(&mut file, info).unwrap();
    let queue = QueueId::new(0, 0);
    let facts = QueueFacts {
        size: SIZE,
        layout,
        ..QueueFacts::default()
    };
    let common = Common {
        queue,
        producer: Producer::Recorder.id(),
        ..Common::default()
    };
    let facts = Record::new(common, Body::QueueFacts(facts));
    writer
        .write(&facts, b"virtio0/requests\ndriver=9pnet_virtio")
        .unwrap();
    let producer = Producer::Cpu(0).id();
    let mut sequence = 0;
    let mut missed = 0;
    let mut write = |token: u64, flags: Flags, body: Body| {
        let common = Common {
            queue,
            producer,
            time: Timestamp::from_nanos(1000 + u64::from(sequence)),
            sequence: Sequence(sequence),
            token: Token(token),
            flags,
            ..Common::default()
        };
        sequence += 1;
        writer.write(&Record::new(common, body), &[]).unwrap();
    };
    for (number, request) in requests.iter().enumerate() {
        let number = before + number;
        let token = 0xffff_0000 + number as u64;
        let head = number as u16 % SIZE;
        let none = Flags::empty();
        let add = Add {
            head,
            position: position(layout, number),
            readable_segments: request.readable,
            writable_segments: request.writable,
            descriptors: 1,
            ..Add::default()
        };
        write(token, none, Body::Add(add));
        let kick = Body::Kick(Notification::default());
        write(0, Flags::NOTIFICATION_NEEDED, kick);
        write(0, none, Body::Notify(Notify::default()));
        if request.missed {
            missed += 1;
            let skipped = Missed {
                count: 1,
                operation: Kind::Used as u16,
                old: position(layout, number),
                new: position(layout, number + 1),
                head,
                ..Missed::default()
            };
            write(token, none, Body::Missed(skipped));
            continue;
        }
        let used = Used {
            used_length: request.length,
            head,
            position: position(layout, number),
            ..Used::default()
        };
        write(token, none, Body::Used(used));
    }
    let statistics = Statistics {
        about: producer,
        is_final: true,
        emitted: sequence.into(),
        missed,
        ..Statistics::default()
    };
    let common = Common {
        queue,
        producer: Producer::Recorder.id(),
        sequence: Sequence(1),
        time: Timestamp::from_nanos(9_999_999),
        ..Common::default()
    };
    writer
        .write(&Record::new(common, Body::Statistics(statistics)), &[])
        .unwrap();
    writer.finish().unwrap();
    Capture::read(file.as_slice()).unwrap()
}

struct Sides {
    guest: GuestQueue,
    host: HostQueue,
    start: u64,
    end: u64,
}

fn sides(layout: Layout, before: usize, requests: &[Request]) -> Sides {
    let (text, start) = log(before, requests);
    let mut devices = host::follow(&log::parse(&text).unwrap(), u64::MAX).unwrap();
    let capture = capture(layout, before, requests);
    assert!(capture.inconsistencies.is_empty() && capture.tail_known);
    Sides {
        guest: capture.queues[&(QueueId::new(0, 0), 0)].clone(),
        host: devices[0][0].remove(&0).unwrap(),
        start,
        end: text.len() as u64,
    }
}

impl Sides {
    fn compare(&self) -> anyhow::Result<super::compare::Compared> {
        Comparison {
            guest: &self.guest,
            host: &self.host,
            window: self.start..self.end,
            usage: Use::Requests,
            notifications: true,
        }
        .run()
    }

    fn disagree(&self) -> String {
        self.compare().unwrap_err().to_string()
    }
}

fn requests(count: usize) -> Vec<Request> {
    (0..count).map(request).collect()
}

#[rstest]
fn two_that_agree_agree(
    #[values(Layout::Split, Layout::Packed)] layout: Layout,
    #[values(0, 1, 3, 4, 9, 66_000)] before: usize,
) {
    let compared = sides(layout, before, &requests(21)).compare().unwrap();
    assert_eq!(
        (compared.adds, compared.used, compared.notifications),
        (21, 21, 21)
    );
    assert_eq!(compared.missed, 0);
}

/// QEMU is done with every other buffer before its turn, and lets it wait where buffers are
/// used in order.
#[rstest]
fn fills_wait_for_their_turn_where_buffers_are_used_in_order(
    #[values(Layout::Split, Layout::Packed)] layout: Layout,
) {
    let mut sides = sides(layout, 2, &requests(20));
    for pair in sides.host.fills[2..].chunks_exact_mut(2) {
        let [first, second] = pair else {
            unreachable!()
        };
        std::mem::swap(&mut first.pop, &mut second.pop);
        std::mem::swap(&mut first.length, &mut second.length);
    }
    let told = sides.disagree();
    assert!(
        told.contains("used 2 has the length 100, and QEMU wrote 101"),
        "{told}"
    );
    sides.guest.facts.as_mut().unwrap().features = FeatureBits::IN_ORDER;
    let compared = sides.compare().unwrap();
    assert_eq!((compared.used, compared.early), (20, 10));

    let last = sides.host.fills.len() - 1;
    sides.host.fills[last].pop = 77;
    let told = sides.disagree();
    assert!(
        told.contains("used 21 in order, and QEMU filled pop 77"),
        "{told}"
    );
}

#[rstest]
fn what_was_missed_is_counted(#[values(Layout::Split, Layout::Packed)] layout: Layout) {
    let mut requests = requests(21);
    for missed in [0, 7, 8, 20] {
        requests[missed].missed = true;
    }
    let compared = sides(layout, 2, &requests).compare().unwrap();
    assert_eq!((compared.adds, compared.used, compared.missed), (21, 17, 4));
}

#[rstest]
fn each_difference_is_found(#[values(Layout::Split, Layout::Packed)] layout: Layout) {
    type Change = fn(&mut Sides);
    let differences: [(&str, Change); 12] = [
        ("an add without a record", |sides| {
            sides.guest.adds.remove(5);
        }),
        ("the first add without a record", |sides| {
            sides.guest.adds.remove(0);
        }),
        ("the last add without a record", |sides| {
            sides.guest.adds.pop();
        }),
        ("an add that never was", |sides| {
            let last = sides.guest.adds.last().unwrap().clone();
            sides.guest.adds.push(last);
        }),
        ("a completion without a record", |sides| {
            sides.guest.used.remove(5);
        }),
        ("the first completion without a record", |sides| {
            sides.guest.used.remove(0);
        }),
        ("the last completion without a record", |sides| {
            sides.guest.used.pop();
        }),
        ("another segment", |sides| {
            let Added::Seen(add) = &mut sides.guest.adds[3] else {
                panic!("it was seen");
            };
            add.writable_segments += 1;
        }),
        ("another length", |sides| {
            let Returned::Seen(used) = &mut sides.guest.used[3] else {
                panic!("it was seen");
            };
            used.used_length += 1;
        }),
        ("another buffer", |sides| {
            let Returned::Seen(used) = &mut sides.guest.used[3] else {
                panic!("it was seen");
            };
            used.token += 1;
        }),
        ("a notification that was not sent", |sides| {
            sides.guest.notified.pop();
        }),
        ("completions the other way round", |sides| {
            sides.guest.used.swap(3, 4);
        }),
    ];
    for (what, change) in differences {
        let mut sides = sides(layout, 2, &requests(9));
        change(&mut sides);
        assert!(sides.compare().is_err(), "{what} was not found");
    }
}

#[test]
fn a_miss_that_is_not_one_is_found() {
    let mut sides = sides(Layout::Split, 0, &requests(9));
    sides.guest.used.push(Returned::Missed {
        position: 9,
        count: 1,
    });
    let said = sides.disagree();
    assert_eq!(said, "10 buffers were used, and QEMU filled 9");
}

#[test]
fn only_the_first_few_differences_are_listed() {
    let mut sides = sides(Layout::Split, 0, &requests(40));
    for add in &mut sides.guest.adds {
        let Added::Seen(add) = add else {
            panic!("it was seen");
        };
        add.readable_segments += 1;
    }
    let said = sides.disagree();
    assert_eq!(said.lines().count(), 9);
    assert!(said.ends_with("and 32 more"), "{said}");
}

#[test]
fn what_was_missed_has_programs_that_were_skipped() {
    use super::check::{Skips, skipped};
    let mut requests = [request(0), request(1)];
    requests[1].missed = true;
    let mut capture = capture(Layout::Split, 0, &requests);
    assert!(capture.totals.missed > 0, "{:?}", capture.totals);
    let (missed, counted) = (capture.totals.missed, Skips::Counted);
    assert!(skipped(&capture, counted).is_err());
    assert!(skipped(&capture, Skips::Untold).is_ok());
    capture.programs_skipped = missed;
    assert!(skipped(&capture, counted).is_ok());
}
