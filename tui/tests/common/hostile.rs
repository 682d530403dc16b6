//! A capture in which every text is what somebody chose who means harm: names of queues,
//! devices and tags, users, files, targets of links, texts of errors, versions.
#![allow(dead_code, reason = "each user uses a part of it")]

use std::sync::LazyLock;

use proptest::prelude::*;
use virtscope_captures::{CaptureInfo, CaptureWriter, ClockOffset, Origin};
use virtscope_record::{
    Add, Body, Callback, Common, Context, FeatureBits, Flags, Generation, Layout, Notification,
    NotificationReason, Producer, QueueFacts, QueueId, Record, RingIndex, Sequence, Timestamp,
    Token, Used,
};

/// Stands where a text will; a file with it is made once, as its writer's cleaning would
/// spoil some of what is to be tried.
const MARK: &[u8; 24] = b"MARK-MARK-MARK-MARK-MARK";

/// What changes what a terminal shows, or hides in it, and what stands around it.
pub(crate) fn text() -> impl Strategy<Value = Vec<u8>> {
    const PIECES: [&[u8]; 22] = [
        b"\x1b[31m",
        b"\x1b]0;owned\x07",
        b"\x1bP\x1b\\",
        b"\xc2\x9b2J",
        b"\x9b2J",
        b"\r\n",
        b"\n",
        b"\t",
        b"\0",
        b"\x08\x7f",
        "\u{202e}".as_bytes(),
        "\u{2066}\u{2069}".as_bytes(),
        "\u{200e}\u{061c}".as_bytes(),
        "\u{200b}\u{200d}\u{feff}\u{ad}".as_bytes(),
        "\u{2028}\u{2029}\u{85}".as_bytes(),
        "\u{e0041}".as_bytes(),
        b"\xff\xfe\xc3",
        b"\\x1b",
        b"/",
        b"=,;",
        "日本e\u{301}".as_bytes(),
        b"abc",
    ];
    let piece = prop::sample::select(&PIECES[..]);
    let bytes = prop::collection::vec(any::<u8>(), 1..4);
    let piece = prop_oneof![6 => piece.prop_map(<[u8]>::to_vec), 1 => bytes];
    prop::collection::vec(piece, 1..8).prop_map(|pieces| pieces.concat())
}

/// Whether `c` may be among what a terminal shows.
pub(crate) fn is_harmless(c: char) -> bool {
    !c.is_control()
        && !matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{feff}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{e0000}'..='\u{e0fff}')
}

/// The capture, with these texts in it.
pub(crate) fn capture(texts: &[Vec<u8>]) -> Vec<u8> {
    static CAPTURE: LazyLock<Vec<u8>> = LazyLock::new(template);
    let mut capture = CAPTURE.clone();
    let mut texts = texts.iter().cycle();
    let mut rest = &mut capture[..];
    while let Some((head, _)) = rest.split_first_chunk::<8>() {
        let [kind, length] = [0, 4].map(|at| {
            let bytes = head[at..at + 4].try_into().expect("there are four");
            u32::from_le_bytes(bytes)
        });
        let (block, after) = rest.split_at_mut(length as usize);
        rest = after;
        // Texts of blocks that are not UTF-8 make the block, and not the text, a bad one.
        let is_packet = kind == 6;
        while let Some(at) = block.windows(MARK.len()).position(|part| part == MARK) {
            let text = texts.next().expect("there are texts");
            let text = match is_packet {
                true => filled(text, MARK.len()),
                false => filled_text(text, MARK.len()),
            };
            block[at..at + MARK.len()].copy_from_slice(&text);
        }
    }
    capture
}

/// `text` in so many bytes.
fn filled(text: &[u8], len: usize) -> Vec<u8> {
    let filled = text.iter().copied().chain(std::iter::repeat(b'x'));
    filled.take(len).collect()
}

/// The same in UTF-8.
fn filled_text(text: &[u8], len: usize) -> Vec<u8> {
    let mut text = String::from_utf8_lossy(text).into_owned();
    text.truncate(text.floor_char_boundary(len));
    filled(text.as_bytes(), len)
}

/// An image of a kernel, as hexadecimal text, in which `names` are these texts.
pub(crate) fn image(image: &str, names: &[&str], texts: &[Vec<u8>]) -> Vec<u8> {
    let hex = |bytes: &[u8]| -> String { bytes.iter().map(|byte| format!("{byte:02x}")).collect() };
    let mut image = image.to_owned();
    for (name, text) in names.iter().zip(texts.iter().cycle()) {
        // A zero would end it.
        let text: Vec<u8> = text.iter().copied().filter(|byte| *byte != 0).collect();
        assert!(image.contains(&hex(name.as_bytes())), "no {name}");
        image = image.replace(&hex(name.as_bytes()), &hex(&filled(&text, name.len())));
    }
    image.into_bytes()
}

/// The records of one run, in order.
struct Run<'a> {
    writer: CaptureWriter<&'a mut Vec<u8>>,
    device: u16,
    now: u64,
    sequences: [u32; 4],
    position: u16,
}

impl Run<'_> {
    fn push(&mut self, producer: Producer, flags: Flags, body: Body, payload: &[u8]) {
        let sequence = &mut self.sequences[usize::from(self.device)];
        self.now += 1000;
        let common = Common {
            time: Timestamp::from_nanos(self.now),
            queue: QueueId::new(self.device, 0),
            generation: Generation(0),
            producer: producer.id(),
            sequence: Sequence(*sequence),
            context: Context::Task,
            process: 7,
            thread: 8,
            token: Token(u64::from(self.position)),
            flags,
        };
        *sequence += 1;
        let written = self.writer.write(&Record::new(common, body), payload);
        written.expect("memory has room");
    }

    fn queue(&mut self, device: u16, device_type: u16) {
        self.device = device;
        self.position = 0;
        let facts = QueueFacts {
            size: 64,
            device_type,
            layout: Layout::Split,
            features: FeatureBits::VERSION_1.union(FeatureBits::EVENT_IDX),
            ..QueueFacts::default()
        };
        let mark = std::str::from_utf8(MARK).expect("it is ASCII");
        let text = format!("{mark}/{mark}\ndriver={mark}\ntag={mark}\n{mark}={mark}");
        let body = Body::QueueFacts(facts);
        self.push(Producer::DriverHalf, Flags::empty(), body, text.as_bytes());
    }

    fn request(&mut self, request: &[u8], reply: Option<&[u8]>) {
        let position = RingIndex(self.position);
        self.position += 1;
        let next = RingIndex(self.position);
        let add = Body::Add(Add {
            free: 62,
            readable_bytes: request.len() as u32,
            writable_bytes: 8192,
            position,
            readable_segments: 1,
            writable_segments: 1,
            descriptors: 2,
            ..Add::default()
        });
        let driver = Producer::DriverHalf;
        self.push(driver, Flags::empty(), add, request);
        let flags = Flags::EVENT_IDX | Flags::NOTIFICATION_NEEDED;
        let kick = Body::Kick(Notification {
            free: 62,
            old: position,
            new: next,
            event: position,
            reason: NotificationReason::EventCrossed,
            ..Notification::default()
        });
        self.push(driver, flags, kick, &[]);
        let Some(reply) = reply else { return };
        let callback = Body::Callback(Callback {
            free: 62,
            used_index: next,
            last_used: position,
            used_event: position,
            ..Callback::default()
        });
        self.push(driver, Flags::EVENT_IDX, callback, &[]);
        let used = Body::Used(Used {
            free: 64,
            used_length: reply.len() as u32,
            writable_bytes: 8192,
            position,
            used_index: next,
            descriptors: 2,
            ..Used::default()
        });
        self.push(driver, Flags::empty(), used, reply);
    }
}

/// The body of a 9P message, field by field.
#[derive(Default)]
struct Fields(Vec<u8>);

impl Fields {
    fn n8(mut self, value: u8) -> Self {
        self.0.push(value);
        self
    }

    fn n16(mut self, value: u16) -> Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    fn n32(mut self, value: u32) -> Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    fn n64(mut self, value: u64) -> Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    fn qid(self) -> Self {
        self.n8(0x80).n32(1).n64(2)
    }

    fn text(self, text: &[u8]) -> Self {
        let mut longer = self.n16(text.len() as u16);
        longer.0.extend(text);
        longer
    }

    fn mark(self) -> Self {
        self.text(MARK)
    }

    fn message(self, kind: u8, tag: u16) -> Vec<u8> {
        let mut message = (7 + self.0.len() as u32).to_le_bytes().to_vec();
        message.push(kind);
        message.extend(tag.to_le_bytes());
        message.extend(self.0);
        message
    }
}

fn f() -> Fields {
    Fields::default()
}

/// Each request of 9P2000.L and 9P2000.u that carries a text, with its reply.
fn conversation(dialect: &[u8]) -> Vec<(u8, Fields, u8, Fields)> {
    let stat = || {
        let strings = f().mark().mark().mark().mark().mark();
        let fixed = f().n16(1).n32(2).qid().n32(0).n32(0).n32(0).n64(5);
        let numbers = f().n32(1).n32(2).n32(3);
        let all = [fixed.0, strings.0, numbers.0].concat();
        let inner = f().text(&all);
        f().text(&inner.0)
    };
    let entry = f().qid().n64(1).n8(4).mark().0;
    let entries = [entry.clone(), entry].concat();
    let mut listing = f().n32(entries.len() as u32);
    listing.0.extend(&entries);
    vec![
        (
            100,
            f().n32(8192).text(dialect),
            101,
            f().n32(8192).text(dialect),
        ),
        (102, f().n32(9).mark().mark().n32(0), 103, f().qid()),
        (
            104,
            f().n32(1).n32(u32::MAX).mark().mark().n32(0),
            105,
            f().qid(),
        ),
        (
            110,
            f().n32(1).n32(2).n16(2).mark().mark(),
            111,
            f().n16(2).qid().qid(),
        ),
        (110, f().n32(2).n32(3).n16(1).mark(), 7, f().n32(2)),
        (
            110,
            f().n32(2).n32(3).n16(2).mark().mark(),
            111,
            f().n16(1).qid(),
        ),
        (110, f().n32(2).n32(3).n16(0), 111, f().n16(0)),
        (12, f().n32(3).n32(0), 13, f().qid().n32(0)),
        (116, f().n32(3).n64(0).n32(512), 117, f().n32(24).mark()),
        (40, f().n32(3).n64(0).n32(4096), 41, listing),
        (16, f().n32(2).mark().mark().n32(0), 17, f().qid()),
        (22, f().n32(2), 23, f().mark()),
        (
            18,
            f().n32(2).mark().n32(0).n32(1).n32(2).n32(0),
            19,
            f().qid(),
        ),
        (72, f().n32(2).mark().n32(0o755).n32(0), 73, f().qid()),
        (20, f().n32(3).n32(2).mark(), 21, f()),
        (74, f().n32(2).mark().n32(1).mark(), 75, f()),
        (70, f().n32(1).n32(3).mark(), 71, f()),
        (76, f().n32(2).mark().n32(0x200), 7, f().n32(39)),
        (30, f().n32(2).n32(5).mark(), 31, f().n64(9)),
        (32, f().n32(5).mark().n64(9).n32(0), 33, f()),
        (
            52,
            f().n32(3).n8(1).n32(0).n64(0).n64(9).n32(4).mark(),
            53,
            f().n8(1),
        ),
        (
            54,
            f().n32(3).n8(1).n64(0).n64(9).n32(4).mark(),
            55,
            f().n8(1).n64(0).n64(9).n32(4).mark(),
        ),
        (
            14,
            f().n32(2).mark().n32(0).n32(0).n32(0),
            15,
            f().qid().n32(0),
        ),
        (
            114,
            f().n32(2).mark().n32(0).n8(0).mark(),
            115,
            f().qid().n32(0),
        ),
        (124, f().n32(2), 125, stat()),
        (
            126,
            Fields([f().n32(2).0, stat().0].concat()),
            107,
            f().mark().n32(13),
        ),
        (112, f().n32(2).n8(0), 107, f().mark()),
        (200, f().mark(), 201, f().mark()),
        (108, f().n16(77), 109, f()),
        (120, f().n32(3), 121, f()),
    ]
}

fn template() -> Vec<u8> {
    let mut bytes = Vec::new();
    write(&mut bytes);
    bytes
}

fn write(bytes: &mut Vec<u8>) {
    let mut origin = Origin::default();
    origin.add(std::str::from_utf8(MARK).expect("it is ASCII"));
    let info = CaptureInfo::new(4096, ClockOffset::new(0, 0));
    let writer = CaptureWriter::with_origin(bytes, info, &origin);
    let mut run = Run {
        writer: writer.expect("memory has room"),
        device: 0,
        now: 1_000_000_000,
        sequences: [0; 4],
        position: 0,
    };
    for (device, dialect) in [&b"9P2000.L"[..], b"9P2000.u", MARK]
        .into_iter()
        .enumerate()
    {
        run.queue(device as u16, 9);
        // Often enough that it is something to report.
        for round in 0..4 {
            for (request_kind, request, reply_kind, reply) in conversation(dialect) {
                let tag = if request_kind == 100 { u16::MAX } else { round };
                let reply = reply.message(reply_kind, tag);
                run.request(&request.message(request_kind, tag), Some(&reply));
            }
        }
        let hangs = f().n32(1).n32(2).n16(1).mark().message(110, 9);
        run.request(&hangs, None);
    }
    run.queue(3, 2);
    run.request(MARK, Some(MARK));
    run.writer.finish().expect("memory has room");
}
