//! What the tests show: one small run with everything in it.

use std::sync::Arc;

use virtscope_analyzer::{
    Evidence, Facts, Finding, FindingCode, Findings, Life, Note, NoteCode, Snapshot, Undecided,
};
use virtscope_record::{FeatureBits, Generation, Layout, Producer, QueueFacts, QueueId, Timestamp};

use super::stream::{Fields, Stream, p9};
use crate::screen::feed::{FeedStatus, FoundQueue, Mode, Starting};

pub(super) fn fields() -> Fields {
    Fields::default()
}

pub(super) fn read(tag: u16, count: u32) -> (Vec<u8>, Vec<u8>) {
    let request = fields().u32(7).u64(4096).u32(count).message(116, tag);
    let data: Vec<u8> = b"int main(void)\n{\n\treturn 0;\n}\n\n"
        .iter()
        .copied()
        .cycle()
        .take(count as usize)
        .collect();
    let reply = fields().u32(count).bytes(&data).message(117, tag);
    (request, reply)
}

fn walk(tag: u16, names: &[&str]) -> Vec<u8> {
    let mut body = fields().u32(1).u32(7).u16(names.len() as u16);
    for name in names {
        body = body.text(name);
    }
    body.message(110, tag)
}

fn readdir(tag: u16) -> (Vec<u8>, Vec<u8>) {
    let entry = |path, kind, dt, name: &str| fields().qid(kind, path).u64(path).u8(dt).text(name);
    let mut body = Vec::new();
    for fields in [entry(21, 0x80, 4, "src"), entry(22, 0, 8, "Cargo.toml")] {
        body.extend(&fields.message(0, 0)[7..]);
    }
    let request = fields().u32(3).u64(0).u32(8192).message(40, tag);
    let reply = fields()
        .u32(body.len() as u32)
        .bytes(&body)
        .message(41, tag);
    (request, reply)
}

/// A 9P queue whose device half is seen, and a block queue whose is not; every
/// outcome, and a buffer in every state.
pub(super) fn stream() -> Stream {
    let mut s = Stream::new();
    s.queue(0, 0)
        .facts(128, 9, "virtio0/requests\ndriver=9pnet_virtio\ntag=scratch");

    // Three in one batch, the first returned last: out of order.
    let (read_4k, reply_4k) = read(3, 4096);
    let failed = walk(2, &["no", "such"]);
    let (readdir, entries) = readdir(1);
    s.at(100).add(0, 0, &read_4k);
    s.at(103).add(2, 1, &failed);
    s.at(105).add(4, 2, &readdir);
    s.at(110).kick(0, 3, true);
    s.at(130).taken(0, 0).taken(2, 1);
    s.at(135).taken(4, 2);
    s.at(180).returned(2, 0, 11).interrupt(0, 1);
    s.at(200).callback(1, 0);
    s.at(210).used(2, 0, &fields().u32(2).message(7, 2));
    s.at(250).returned(4, 1, 100).interrupt(1, 2);
    s.at(262).callback(2, 1);
    s.at(270).used(4, 1, &entries);
    s.at(330).returned(0, 2, 4107).interrupt(2, 3);
    s.at(345).callback(3, 2);
    s.at(349).used(0, 2, &reply_4k).callbacks_enabled(3);

    // Taken before the kick decision, and found by looking: overlap, polled.
    let clunk = fields().u32(7).message(120, 4);
    s.at(400).add(6, 3, &clunk);
    s.at(404).taken(6, 3);
    s.at(420).kick(3, 4, false);
    s.at(460).returned(6, 3, 7);
    s.at(480).used(6, 3, &p9(121, 4, &[]));

    // Its callback was lost.
    s.at(500)
        .add(8, 4, &fields().u32(1).u64(0x3fff).message(24, 5));
    s.at(505).kick(4, 5, true);
    s.at(520).taken(8, 4);
    s.at(560).returned(8, 4, 160);
    s.at(570).lose(Producer::DriverHalf);
    s.at(575).used(8, 4, &p9(25, 5, &[0; 153]));

    // Another queue, of which only the driver's half is seen.
    s.queue(1, 0)
        .facts(256, 2, "virtio1/requests\ndriver=virtio_blk");
    s.at(600).add(0, 0, &[0; 16]).kick(0, 1, true);
    s.at(790).callback(1, 0);
    s.at(793).used(0, 0, &[0; 513]);
    s.at(800).add(2, 1, &[0; 528]).kick(1, 2, true);

    // In flight, in every state there is.
    s.queue(0, 128);
    s.at(820).add(10, 5, &walk(6, &["usr", "share", "doc"]));
    s.at(821).add(12, 6, &read(7, 8192).0);
    s.at(822).add(14, 7, &fields().u32(9).message(200, 8));
    s.at(823).add(16, 8, &read(9, 512).0);
    s.at(830).kick(5, 9, true);
    s.at(840).taken(10, 5).taken(12, 6);
    s.at(841).taken(14, 7);
    s.at(870).returned(10, 5, 48).interrupt(5, 6);
    s.at(890).callback(6, 5);
    s.at(895).returned(12, 6, 8203);
    s.at(900).add(18, 9, &fields().u32(7).message(120, 10));
    s.statistics(1, 0);
    s.at(950);
    s
}

/// A packed 9P queue in its second lap: lists in every state, used descriptors that
/// stand over available ones, and one that was written over again.
pub(super) fn packed(size: u16) -> Snapshot {
    let mut s = Stream::new();
    s.packed().queue(0, 0);
    s.facts(size, 9, "virtio0/requests\ndriver=9pnet_virtio");
    let (read_4k, reply_4k) = read(3, 4096);
    // A lap of eight lists of two, the second returned first: its used descriptor
    // stands over the first one's list.
    for (place, id) in (0..8).enumerate() {
        let position = 0x8000 | (2 * place as u16);
        s.at(100 + u64::from(id)).add(id, position, &read_4k);
    }
    let next = if size == 16 { 0 } else { 0x8010 };
    s.at(110).kick(0x8000, next, true);
    s.at(120)
        .taken(0, 0x8000)
        .taken(1, 0x8002)
        .taken(2, 0x8004)
        .taken(3, 0x8006);
    s.at(130)
        .returned(1, 0x8000, 4107)
        .interrupt(0x8000, 0x8002);
    s.at(140).callback(0x8000, 0x8000);
    s.at(150).used(1, 0x8000, &reply_4k);
    s.at(160)
        .returned(0, 0x8002, 4107)
        .returned(3, 0x8004, 4107);
    s.at(170).callback(0x8002, 0x8002);
    s.at(180).used(0, 0x8002, &reply_4k);
    // Where the ring ended, the wrap counter was turned over.
    s.at(190).add(1, next, &fields().u32(7).message(120, 4));
    s.at(200);
    s.snapshot()
}

/// What the analyzer makes of it.
pub(super) fn snapshot() -> Snapshot {
    stream().snapshot()
}

/// With notes, one of them long.
pub(super) fn with_notes() -> Snapshot {
    let mut snapshot = snapshot();
    snapshot.notes.push(Note {
        code: NoteCode::CaptureTruncated,
        text: "The capture ends in the middle of a block: what stands before it was \
               read, what came behind it is not known, and requests that were under \
               way then are listed as in flight."
            .to_owned(),
    });
    snapshot
}

/// Every life of it.
pub(in crate::screen) fn lives() -> Vec<Arc<Life>> {
    let snapshot = snapshot();
    snapshot
        .recent
        .iter()
        .chain(&snapshot.in_flight)
        .cloned()
        .collect()
}

pub(super) fn live() -> FeedStatus {
    FeedStatus {
        title: "demo /home/x/virtscope".to_owned(),
        mode: Mode::Live,
        capture: Some("writing x.pcapng 12.1 MB".to_owned()),
        message: None,
        finished: false,
        found: Arc::default(),
    }
}

/// Tracing that begins, and has found these queues so far.
pub(super) fn starting(starting: Starting, found: Vec<FoundQueue>) -> FeedStatus {
    FeedStatus {
        title: "trace".to_owned(),
        mode: Mode::Starting(starting),
        capture: None,
        message: None,
        finished: false,
        found: found.into(),
    }
}

/// A 9P mount, a disk and a network card, as they are found: the first two are those of
/// [`stream`].
pub(super) fn found() -> Vec<FoundQueue> {
    let network = "driver=virtio_net";
    [
        (
            0,
            0,
            128,
            9,
            3,
            "virtio0/requests\ndriver=9pnet_virtio\ntag=scratch",
        ),
        (1, 0, 256, 2, 0, "virtio1/requests\ndriver=virtio_blk"),
        (2, 0, 256, 1, 256, &format!("virtio2/input.0\n{network}")),
        (2, 1, 256, 1, 0, &format!("virtio2/output.0\n{network}")),
        (2, 2, 64, 1, 0, &format!("virtio2/control\n{network}")),
    ]
    .map(|(device, index, size, device_type, in_flight, text)| {
        let facts = QueueFacts {
            size,
            in_flight,
            device_type,
            layout: Layout::Split,
            features: FeatureBits(FeatureBits::VERSION_1.0 | FeatureBits::EVENT_IDX.0),
        };
        found_queue(QueueId::new(device, index), &facts, text)
    })
    .to_vec()
}

pub(super) fn found_queue(id: QueueId, facts: &QueueFacts, text: &str) -> FoundQueue {
    let (name, facts) = Facts::read(Generation(0), facts, text.as_bytes());
    FoundQueue {
        id,
        name: name.unwrap_or_default(),
        facts,
    }
}

/// So many of a device's many queues.
pub(super) fn many_found(count: u16) -> Vec<FoundQueue> {
    let queue = |index| {
        let id = QueueId::new(0, index);
        found_queue(id, &QueueFacts::default(), &format!("virtio0/req.{index}"))
    };
    (0..count).map(queue).collect()
}

pub(super) fn replay() -> FeedStatus {
    FeedStatus {
        title: "view trace.pcapng".to_owned(),
        mode: Mode::Replay {
            position_ns: 950_000,
            length_ns: Some(12_000_000_000),
            speed: 0.5,
            paused: false,
            ended: false,
        },
        capture: None,
        message: None,
        finished: false,
        found: Arc::default(),
    }
}

/// The same with findings of every severity, and one that is not decided.
pub(super) fn with_findings() -> Snapshot {
    let mut snapshot = snapshot();
    let life = snapshot.recent.first().cloned();
    let finding = |code: FindingCode, evidence| {
        let about = code.about();
        Finding {
            code,
            severity: about.severity,
            queue: Some("virtio0.0".to_owned()),
            name: "virtio0/requests".to_owned(),
            summary: format!("What is said of {code}, with the numbers."),
            count: 3,
            first_ns: Some(1_000_200),
            last_ns: Some(1_000_900),
            evidence,
            spec: about.spec.to_owned(),
            advice: about.advice.to_owned(),
        }
    };
    let piece = |text: &str, of: Option<Arc<Life>>| Evidence {
        text: text.to_owned(),
        time_ns: of
            .as_ref()
            .and_then(|life| life.began())
            .map(Timestamp::as_nanos),
        request: of.as_ref().map(|life| life.number),
        life: of,
    };
    snapshot.findings = Findings {
        found: vec![
            finding(
                FindingCode::LostKick,
                vec![piece("kicked, and taken only 1.20 s later", life.clone())],
            ),
            finding(
                FindingCode::RingFull,
                vec![
                    piece("thread 101 waited 3 times, 2.10 s in all", None),
                    piece("thread 102 waited once, and waits still", None),
                ],
            ),
            finding(
                FindingCode::NineSmallReads,
                vec![piece("fid 7: 512 bytes", life)],
            ),
        ],
        undecided: vec![Undecided {
            code: FindingCode::LostInterrupt,
            queue: Some("virtio1.0".to_owned()),
            name: "virtio1/req.0".to_owned(),
            reason: "A request does not come back, but the device's half left no records: it \
                     may have returned it."
                .to_owned(),
        }],
    };
    snapshot
}
