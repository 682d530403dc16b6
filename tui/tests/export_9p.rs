//! `virtscope export --to 9p-pcapng` as its users run it, and by it our 9P decoder
//! against Wireshark's: every message it knows, field by field.

#[path = "common/program.rs"]
mod program;

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use program::{file, is_there, piped, run, sample, virtscope};
use virtscope_analyzer::p9::{Dialect, Field, Message, Value};
use virtscope_captures::{CaptureInfo, CaptureWriter, ClockOffset};
use virtscope_driver::instrument::Payload;
use virtscope_driver::memory::{GuestAddress, Segment};
use virtscope_record::{
    Add, Body, Common, Layout, Producer, QueueFacts, QueueId, Record, RingIndex, Sequence,
    Timestamp, Used,
};

fn text(s: &str) -> Vec<u8> {
    [&(s.len() as u16).to_le_bytes()[..], s.as_bytes()].concat()
}

fn u32s(numbers: &[u32]) -> Vec<u8> {
    numbers.iter().flat_map(|n| n.to_le_bytes()).collect()
}

fn u64s(numbers: &[u64]) -> Vec<u8> {
    numbers.iter().flat_map(|n| n.to_le_bytes()).collect()
}

fn message(kind: u8, body: &[Vec<u8>]) -> Vec<u8> {
    let body = body.concat();
    let tag = if kind == 100 || kind == 101 {
        0xffff
    } else {
        3u16
    };
    let mut bytes = (body.len() as u32 + 7).to_le_bytes().to_vec();
    bytes.push(kind);
    bytes.extend(tag.to_le_bytes());
    bytes.extend(body);
    bytes
}

fn qid() -> Vec<u8> {
    [vec![0x80], u32s(&[3]), u64s(&[42])].concat()
}

fn version(name: &str) -> Vec<Vec<u8>> {
    let body = [u32s(&[8192]), text(name)];
    vec![message(100, &body), message(101, &body)]
}

/// Every message of 9P2000.L, no two numbers in one alike.
fn linux() -> Vec<Vec<u8>> {
    let lock = |flags: &[u32]| {
        vec![
            u32s(&[5]),
            vec![1],
            u32s(flags),
            u64s(&[10, 20]),
            u32s(&[77]),
            text("host"),
        ]
    };
    let entry = [qid(), u64s(&[1]), vec![4], text("a")].concat();
    let names = [vec![2, 0], text("a"), text("bc")].concat();
    let attributes: Vec<u64> = (2..17).collect();
    let user = [text("me"), text("/x"), u32s(&[1000])].concat();
    let mut all = version("9P2000.L");
    all.extend([
        message(7, &[u32s(&[2])]),
        message(8, &[u32s(&[5])]),
        message(
            9,
            &[
                u32s(&[0x0102_1994, 4096]),
                u64s(&[100, 101, 102, 103, 104, 105]),
                u32s(&[255]),
            ],
        ),
        message(12, &[u32s(&[5, 0o2])]),
        message(13, &[qid(), u32s(&[77])]),
        message(14, &[u32s(&[5]), text("nf"), u32s(&[1, 0o644, 9])]),
        message(15, &[qid(), u32s(&[77])]),
        message(16, &[u32s(&[5]), text("ln"), text("tgt"), u32s(&[9])]),
        message(17, &[qid()]),
        message(18, &[u32s(&[5]), text("nod"), u32s(&[0o20666, 1, 3, 9])]),
        message(19, &[qid()]),
        message(20, &[u32s(&[5, 6]), text("new")]),
        message(21, &[]),
        message(22, &[u32s(&[5])]),
        message(23, &[text("tgt")]),
        message(24, &[u32s(&[5]), u64s(&[0x7ff])]),
        message(
            25,
            &[
                u64s(&[0x7ff]),
                qid(),
                u32s(&[0o100_644, 1000, 1001]),
                u64s(&attributes),
            ],
        ),
        message(
            26,
            &[
                u32s(&[5, 0x1ff, 0o644, 1000, 1001]),
                u64s(&[6, 7, 8, 9, 10]),
            ],
        ),
        message(27, &[]),
        message(30, &[u32s(&[5, 6]), text("user.x")]),
        message(31, &[u64s(&[12])]),
        message(32, &[u32s(&[5]), text("user.x"), u64s(&[12]), u32s(&[1])]),
        message(33, &[]),
        message(40, &[u32s(&[5]), u64s(&[1]), u32s(&[512])]),
        message(41, &[u32s(&[entry.len() as u32]), entry]),
        message(50, &[u32s(&[5, 1])]),
        message(51, &[]),
        message(52, &lock(&[1])),
        message(53, &[vec![2]]),
        message(54, &lock(&[])),
        message(55, &lock(&[])[1..]),
        message(70, &[u32s(&[5, 6]), text("lk")]),
        message(71, &[]),
        message(72, &[u32s(&[5]), text("d"), u32s(&[0o755, 9])]),
        message(73, &[qid()]),
        message(74, &[u32s(&[5]), text("a"), u32s(&[6]), text("b")]),
        message(75, &[]),
        message(76, &[u32s(&[5]), text("d"), u32s(&[0x200])]),
        message(77, &[]),
        message(102, &[u32s(&[9]), user.clone()]),
        message(103, &[qid()]),
        message(104, &[u32s(&[5, 9]), user]),
        message(105, &[qid()]),
        message(108, &[vec![4, 0]]),
        message(109, &[]),
        message(110, &[u32s(&[5, 6]), names]),
        message(111, &[vec![2, 0], qid(), qid()]),
        message(116, &[u32s(&[5]), u64s(&[100]), u32s(&[50])]),
        message(117, &[u32s(&[3]), b"abc".to_vec()]),
        message(
            118,
            &[u32s(&[5]), u64s(&[100]), u32s(&[3]), b"abc".to_vec()],
        ),
        message(119, &[u32s(&[3])]),
        message(120, &[u32s(&[5])]),
        message(121, &[]),
        message(122, &[u32s(&[5])]),
        message(123, &[]),
    ]);
    all
}

/// What 9P2000 and 9P2000.u have beside those.
fn old(unix: bool) -> Vec<Vec<u8>> {
    let only = |bytes: Vec<u8>| if unix { bytes } else { vec![] };
    let stat = [
        11u16.to_le_bytes().to_vec(),
        u32s(&[12]),
        qid(),
        u32s(&[0o644, 13, 14]),
        u64s(&[99]),
        text("nm"),
        text("us"),
        text("gr"),
        text("mu"),
        only([text("ext"), u32s(&[21, 22, 23])].concat()),
    ]
    .concat();
    let length = |bytes: &[u8]| (bytes.len() as u16).to_le_bytes().to_vec();
    let stat = [length(&stat), stat].concat();
    let stat = [length(&stat), stat].concat();
    let user = [text("me"), text("/x"), only(u32s(&[1000]))].concat();
    let mut all = version(if unix { "9P2000.u" } else { "9P2000" });
    all.extend([
        message(107, &[text("oops"), only(u32s(&[2]))]),
        message(102, &[u32s(&[9]), user.clone()]),
        message(104, &[u32s(&[5, 9]), user]),
        message(112, &[u32s(&[5]), vec![0x11]]),
        message(113, &[qid(), u32s(&[7])]),
        message(
            114,
            &[
                u32s(&[5]),
                text("nf"),
                u32s(&[0o644]),
                vec![1],
                only(text("ext")),
            ],
        ),
        message(115, &[qid(), u32s(&[7])]),
        message(124, &[u32s(&[5])]),
        message(125, std::slice::from_ref(&stat)),
        message(126, &[u32s(&[5]), stat]),
        message(127, &[]),
    ]);
    all
}

/// A capture with one queue for each dialect.
fn capture(sessions: &[(Dialect, Vec<Vec<u8>>)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let info = CaptureInfo::new(4096, ClockOffset::new(1_700_000_000_000_000_000, 0));
    let mut writer = CaptureWriter::new(&mut bytes, info).unwrap();
    let mut time = 0;
    for (device, (_, messages)) in sessions.iter().enumerate() {
        let queue = QueueId::new(device as u16, 0);
        let mut put = |producer: Producer, sequence: u32, body, payload: &[u8]| {
            time += 1000;
            let common = Common {
                time: Timestamp::from_nanos(time),
                queue,
                producer: producer.id(),
                sequence: Sequence(sequence),
                ..Common::default()
            };
            writer.write(&Record::new(common, body), payload).unwrap();
        };
        let facts = QueueFacts {
            size: 128,
            device_type: 9,
            layout: Layout::Split,
            ..QueueFacts::default()
        };
        let name = format!("virtio{device}/requests");
        let body = Body::QueueFacts(facts);
        put(Producer::Recorder, 0, body, name.as_bytes());
        for (number, message) in messages.iter().enumerate() {
            let position = RingIndex(number as u16);
            let body = if message[4] & 1 == 0 {
                Body::Add(Add {
                    position,
                    readable_bytes: message.len() as u32,
                    ..Add::default()
                })
            } else {
                Body::Used(Used {
                    position,
                    used_length: message.len() as u32,
                    writable_bytes: 8192,
                    ..Used::default()
                })
            };
            put(Producer::DriverHalf, number as u32, body, message);
        }
    }
    writer.finish().unwrap();
    bytes
}

/// One field as Wireshark has it: its name, where it begins in the message, its bytes.
#[derive(Debug)]
struct Theirs {
    name: String,
    at: usize,
    bytes: Vec<u8>,
}

fn attribute<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let from = line.find(&format!(" {name}=\""))? + name.len() + 3;
    line[from..].split('"').next()
}

/// The 9P fields of every packet.
fn wiresharks(pcap: &Path) -> Vec<Vec<Theirs>> {
    let mut tshark = Command::new("tshark");
    tshark.arg("-r").arg(pcap).args(["-T", "pdml"]);
    let ended = run(piped(&mut tshark));
    assert_eq!(ended.code, Some(0), "tshark: {}", ended.stderr);
    let packets = ended.text().split("<packet>").skip(1);
    packets
        .map(|packet| {
            let from = packet.find("<proto name=\"9p\"").expect("a 9P packet");
            let mut start = None;
            let mut fields = Vec::new();
            for line in packet[from..].lines() {
                let Some(name) = attribute(line, "name").and_then(|n| n.strip_prefix("9p.")) else {
                    continue;
                };
                let at: usize = attribute(line, "pos").unwrap().parse().unwrap();
                // Of what has single bits the value is shown twice.
                let hex = attribute(line, "unmaskedvalue").or(attribute(line, "value"));
                let hex = hex.unwrap_or_default();
                let bytes = (0..hex.len() / 2)
                    .map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap())
                    .collect();
                let start = *start.get_or_insert(at);
                fields.push(Theirs {
                    name: name.to_owned(),
                    at: at - start,
                    bytes,
                });
            }
            fields
        })
        .collect()
}

/// Which of our names Wireshark's name may stand for; none for what it adds itself:
/// single bits, the lengths of strings, bytes that it does not dissect.
fn ours_of(theirs: &str) -> &'static [&'static str] {
    match theirs {
        "msglen" => &["size"],
        "msgtype" | "fstype" | "stattype" | "lock.type" => &["type"],
        "tag" => &["tag"],
        "oldtag" => &["oldtag"],
        "maxsize" => &["msize"],
        "version" => &["version"],
        "fid" => &["fid", "dfid"],
        "dfid" => &["dfid", "olddirfid"],
        "newfid" => &["newfid", "newdirfid"],
        "afid" => &["afid"],
        "uname" => &["uname"],
        "aname" => &["aname"],
        "ename" => &["ename"],
        "wname" => &[
            "wname",
            "name",
            "oldname",
            "newname",
            "symtgt",
            "target",
            "client_id",
        ],
        "filename" => &["name"],
        "user" => &["uid"],
        "group" => &["gid"],
        "muid" => &["muid"],
        "uid" => &["uid", "n_uname"],
        "gid" => &["gid"],
        "nwalk" => &["nwname"],
        "nqid" => &["nwqid"],
        "qidtype" | "qidvers" | "qidpath" => &["qid", "aqid", "wqid"],
        "offset" => &["offset"],
        "count" => &["count"],
        "iounit" => &["iounit"],
        "mode" => &["mode"],
        "perm" => &["perm"],
        "statmode" => &["mode", "flags"],
        "lcreate.flags" | "xattr.flag" | "lock.flag" | "unlinkat.flags" => &["flags"],
        "mknod.major" => &["major"],
        "mknod.minor" => &["minor"],
        "getattr.flags" => &["request_mask", "valid"],
        "setattr.flags" => &["valid"],
        "nlink" => &["nlink"],
        "rdev" => &["rdev"],
        "size" => &["size", "attr_size"],
        "sdlen" => &["size"],
        "blksize" => &["blksize", "bsize"],
        "blocks" => &["blocks"],
        "bfree" => &["bfree"],
        "bavail" => &["bavail"],
        "files" => &["files"],
        "ffree" => &["ffree"],
        "fsid" => &["fsid"],
        "namelen" => &["namelen"],
        "gen" => &["gen"],
        "dataversion" => &["data_version"],
        "dev" => &["dev"],
        "length" => &["length"],
        "atime" => &["atime", "atime_sec"],
        "mtime" => &["mtime", "mtime_sec"],
        "ctime" => &["ctime_sec"],
        "btime" => &["btime_sec"],
        "lock.start" => &["start"],
        "lock.length" => &["length"],
        "lock.procid" => &["proc_id"],
        "lock.status" => &["status"],
        _ => &[],
    }
}

fn little_endian(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .rev()
        .fold(0, |n, byte| n << 8 | u64::from(*byte))
}

/// Whether the two say the same of the same bytes.
fn agree(ours: &Field<'_>, theirs: &Theirs) -> bool {
    if !ours_of(&theirs.name).contains(&ours.name) {
        return false;
    }
    let at = ours.range.start;
    let number = |ours: u64, length: usize| {
        // Wireshark takes seconds and nanoseconds as one.
        let bytes = theirs.bytes.get(..length).unwrap_or_default();
        theirs.at == at && little_endian(bytes) == ours
    };
    let length = ours.range.len();
    match ours.value {
        Value::Text(text) => theirs.at == at + 2 && theirs.bytes == text,
        Value::Qid(qid) => match &*theirs.name {
            "qidtype" => theirs.at == at && theirs.bytes == [qid.kind],
            "qidvers" => {
                theirs.at == at + 1 && little_endian(&theirs.bytes) == u64::from(qid.version)
            }
            _ => theirs.at == at + 5 && little_endian(&theirs.bytes) == qid.path,
        },
        Value::Number(n) | Value::Mask(n) => number(n, length),
        Value::Octal(n) => number(n.into(), length),
        Value::Fid(fid) => number(fid.0.into(), length),
        Value::Tag(tag) => number(tag.0.into(), length),
        Value::Type(kind) => number(kind.0.into(), length),
        _ => false,
    }
}

#[test]
fn every_field_is_what_wireshark_says() {
    if !is_there("tshark", "tshark") {
        return;
    }
    let sessions = [
        (Dialect::Linux, linux()),
        (Dialect::Plain, old(false)),
        (Dialect::Unix, old(true)),
    ];
    let (dir, path) = file("sample.pcapng", &capture(&sessions));
    let out = dir.path().join("9p.pcapng");
    let mut export = virtscope(["export", "--to", "9p-pcapng"]);
    let ended = run(export.arg(&path).arg("-o").arg(&out));
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);

    let packets = wiresharks(&out);
    let messages: Vec<_> = sessions
        .iter()
        .flat_map(|(dialect, messages)| messages.iter().map(move |message| (*dialect, message)))
        .collect();
    assert_eq!(packets.len(), messages.len());
    // What we read and it does not, and what it reads otherwise.
    let (mut not_theirs, mut not_ours) = (BTreeSet::new(), BTreeSet::new());
    for ((dialect, bytes), packet) in messages.into_iter().zip(&packets) {
        let message = Message::decode(bytes, bytes.len() as u32).unwrap();
        let message = message.in_dialect(dialect);
        let fields: Vec<_> = message
            .header_fields()
            .into_iter()
            .chain(message.fields())
            .collect();
        for theirs in packet
            .iter()
            .filter(|theirs| !ours_of(&theirs.name).is_empty())
        {
            if !fields.iter().any(|ours| agree(ours, theirs)) {
                not_ours.insert(format!("{dialect} {} {}", message.kind, theirs.name));
            }
        }
        for ours in &fields {
            if !packet.iter().any(|theirs| agree(ours, theirs)) {
                not_theirs.insert(format!("{dialect} {} {}", message.kind, ours.name));
            }
        }
    }
    // Wireshark 4.0 takes Tgetlock and Rgetlock for Tlock, which has flags.
    let getlock = [
        "9P2000.L Rgetlock lock.flag",
        "9P2000.L Rgetlock lock.length",
        "9P2000.L Rgetlock lock.procid",
        "9P2000.L Rgetlock lock.start",
        "9P2000.L Tgetlock lock.flag",
        "9P2000.L Tgetlock lock.length",
        "9P2000.L Tgetlock lock.procid",
        "9P2000.L Tgetlock lock.start",
    ];
    assert_eq!(not_ours, getlock.map(String::from).into());
    let left_alone = [
        "9P2000.L Rgetlock client_id",
        "9P2000.L Rgetlock length",
        "9P2000.L Rgetlock proc_id",
        "9P2000.L Rgetlock start",
        "9P2000.L Rlerror ecode",
        "9P2000.L Rread data",
        "9P2000.L Rreaddir data",
        "9P2000.L Tauth n_uname",
        "9P2000.L Tfsync datasync",
        "9P2000.L Tgetlock client_id",
        "9P2000.L Tgetlock length",
        "9P2000.L Tgetlock proc_id",
        "9P2000.L Tgetlock start",
        "9P2000.L Twrite data",
        "9P2000.u Rerror errno",
        "9P2000.u Tauth n_uname",
        "9P2000.u Tcreate extension",
    ];
    let mut left_alone: BTreeSet<String> = left_alone.map(String::from).into();
    for kind in ["Rstat", "Twstat"] {
        left_alone.insert(format!("9P2000 {kind} nstat"));
        for field in ["nstat", "extension", "n_uid", "n_gid", "n_muid"] {
            left_alone.insert(format!("9P2000.u {kind} {field}"));
        }
    }
    // Of times, the nanoseconds are in the seconds' field.
    not_theirs.retain(|field| !field.ends_with("_nsec"));
    assert_eq!(not_theirs, left_alone);
}

/// Where the bytes of a field stand that are no number.
fn borrowed<'a>(field: &Field<'a>) -> Option<&'a [u8]> {
    match field.value {
        Value::Text(bytes) | Value::Data { bytes, .. } | Value::Directory { bytes, .. } => {
            Some(bytes)
        }
        _ => None,
    }
}

/// A message's header in one segment and what follows in others, as zero-copy reads and
/// writes have it, and any other cut: what a record gathers of them is read as the flat
/// message is, and read where it lies.
#[test]
fn messages_over_several_segments_read_as_flat_ones_and_without_copying() {
    let sessions = [
        (Dialect::Linux, linux()),
        (Dialect::Plain, old(false)),
        (Dialect::Unix, old(true)),
    ];
    let messages = sessions
        .iter()
        .flat_map(|(dialect, messages)| messages.iter().map(move |message| (*dialect, message)));
    let mut data = 0;
    for (dialect, flat) in messages {
        let len = flat.len() as u32;
        let whole = Message::decode(flat, len).unwrap().in_dialect(dialect);
        // A client's header, a reply's with its count, a write's; pages of 4; what is kept
        // of it ends with the message, with the header, or in between.
        let cuts: [&[u32]; 5] = [&[7], &[11], &[23], &[7, 11, 15, 19], &[1, 2, 3]];
        for (cuts, kept) in cuts
            .into_iter()
            .flat_map(|cuts| [len, 23, 11].map(|kept| (cuts, kept)))
        {
            // Segments lie apart, and the last first.
            let ends = cuts.iter().copied().filter(|cut| *cut < len).chain([len]);
            let mut from = 0;
            let segments: Vec<_> = ends
                .map(|end| {
                    let address = GuestAddress(0x10_000 - u64::from(from) * 16 + u64::from(from));
                    let segment = Segment {
                        address,
                        len: end - from,
                    };
                    from = end;
                    segment
                })
                .collect();
            let read = |address: GuestAddress, into: &mut [u8]| {
                let from = ((0x10_000 - address.0) / 15) as usize;
                into.copy_from_slice(&flat[from..from + into.len()]);
                true
            };
            let payload = Payload::segments(&segments, kept, &read);
            let mut bytes = vec![0; payload.len()];
            assert!(payload.copy_to(&mut bytes));
            let cut = &flat[..bytes.len()];
            let there = Message::decode(&bytes, len).unwrap().in_dialect(dialect);
            let expected = Message::decode(cut, len).unwrap().in_dialect(dialect);
            assert_eq!(there.end(), expected.end());
            let fields: Vec<_> = there.fields().collect();
            assert!(
                fields
                    .iter()
                    .eq(expected.fields().collect::<Vec<_>>().iter())
            );
            if bytes.len() == flat.len() {
                assert!(fields.iter().eq(whole.fields().collect::<Vec<_>>().iter()));
            }
            for field in &fields {
                let Some(part) = borrowed(field) else {
                    continue;
                };
                // Behind its own length, if it is cut short no more than there is.
                let end = field.range.end.min(bytes.len());
                let at = end - part.len();
                assert!(std::ptr::eq(part, &raw const bytes[at..end]), "{field:?}");
            }
            if let Ok(body) = there.body()
                && let Some(moved) = body.data()
            {
                let at = bytes.len() - moved.bytes.len();
                assert!(std::ptr::eq(moved.bytes, &raw const bytes[at..]));
                data += 1;
            }
        }
    }
    assert!(data > 20, "only {data} with data");
}

#[test]
fn a_demo_is_exported_for_its_owner_alone() {
    if !is_there("tshark", "tshark") {
        return;
    }
    let (dir, path) = file("sample.pcapng", sample());
    let out = dir.path().join("9p.pcapng");
    let mut export = virtscope(["export", "--to", "9p-pcapng"]);
    let ended = run(export.arg(&path).arg("-o").arg(&out));
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stderr.contains("9P queues"), "{}", ended.stderr);
    let mode = std::fs::metadata(&out).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // Each request and each reply is a packet of 9P.
    let mut tshark = Command::new("tshark");
    tshark
        .arg("-r")
        .arg(&out)
        .args(["-Y", "9p", "-T", "fields", "-e", "9p.msgtype"]);
    let shown = run(piped(&mut tshark));
    let shown = shown.text().lines().count();
    let said: u64 = ended
        .stderr
        .split_whitespace()
        .filter_map(|word| word.parse::<u64>().ok())
        .take(2)
        .sum();
    assert!(said > 100, "{}", ended.stderr);
    assert_eq!(shown as u64, said);
    // What is there is not written over, and what is no capture is said to be none.
    let again = run(virtscope(["export", "--to", "9p-pcapng"])
        .arg(&path)
        .arg("-o")
        .arg(&out));
    assert_eq!(again.code, Some(2));
    let (_dir, bad) = file("bad.pcapng", b"no capture");
    let refused = run(virtscope(["export", "--to", "9p-pcapng"])
        .arg(&bad)
        .arg("-o")
        .arg(dir.path().join("x")));
    assert_eq!(refused.code, Some(2));
    assert!(!dir.path().join("x").exists());
}

/// What `print` says of each request on the mounted directory is so on the disk: the
/// files are there, and reads got what they hold.
#[test]
fn paths_of_a_demo_are_those_of_its_files() {
    let tree = program::tree();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("demo.pcapng");
    program::record(&mut program::demo(tree.path()), &path, 500_000).assert_clean();
    let printed = run(virtscope(["print", "--width=0"]).arg(&path));
    let mut reads = 0;
    for line in printed.assert_clean().text().lines() {
        let (request, reply) = line.split_once(" → ").unwrap_or((line, ""));
        let words: Vec<&str> = request.split_whitespace().collect();
        let Some(at) = words.iter().position(|word| word.starts_with('/')) else {
            assert!(!request.contains('?'), "{line}");
            continue;
        };
        assert!(!line.contains(" ? (fid") && !line.contains("?/"), "{line}");
        // Of what failed the error stands before the operation, and no reply.
        if words[2] != "virtio0.0" || reply.is_empty() || reply.contains('(') {
            continue;
        }
        let file = tree.path().join(words[at].trim_start_matches('/'));
        if reply.starts_with("stopped") {
            assert!(!file.exists(), "{line}");
            continue;
        }
        let metadata = std::fs::symlink_metadata(&file);
        let metadata = metadata.unwrap_or_else(|error| panic!("{line}: {error}"));
        if words[at - 1] == "read" {
            let (from, to) = words[at + 1].split_once("..").unwrap();
            let (from, to): (u64, u64) = (from.parse().unwrap(), to.parse().unwrap());
            let got: u64 = reply.split(' ').next().unwrap().parse().unwrap();
            let there = metadata.len().min(to).saturating_sub(from);
            assert_eq!(got, there, "{line}");
            reads += 1;
        }
    }
    assert!(reads > 10, "only {reads} reads");
}
