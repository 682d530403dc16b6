//! Messages written by hand, cut everywhere, and bytes of any kind.

use proptest::prelude::*;
use rstest::rstest;

use super::{
    DirectoryEntries, DirectoryEntry, End, Fid, HeaderError, Message, MessageType, Problem, Qid,
    Tag, Value,
};
use crate::Errno;
use crate::testing::{message, rlerror, rread, tread};

fn decode(bytes: &[u8]) -> Message<'_> {
    Message::decode(bytes, bytes.len() as u32).unwrap()
}

fn text(s: &str) -> Vec<u8> {
    [&(s.len() as u16).to_le_bytes()[..], s.as_bytes()].concat()
}

fn body(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

fn u16le(n: u16) -> [u8; 2] {
    n.to_le_bytes()
}

fn u32le(n: u32) -> [u8; 4] {
    n.to_le_bytes()
}

fn u64le(n: u64) -> [u8; 8] {
    n.to_le_bytes()
}

fn qid_bytes(kind: u8, version: u32, path: u64) -> Vec<u8> {
    body(&[&[kind], &u32le(version), &u64le(path)])
}

fn entry(path: u64, offset: u64, kind: u8, name: &str) -> Vec<u8> {
    body(&[&qid_bytes(0, 1, path), &u64le(offset), &[kind], &text(name)])
}

/// One of every message that the issue's client and server exchange, with how it
/// reads.
fn examples() -> Vec<(Vec<u8>, &'static str)> {
    let nofid = u32::MAX;
    let qid = qid_bytes(0x80, 2, 0x10);
    let names = body(&[&u32le(1), &u32le(2), &u16le(2), &text("a"), &text("b c")]);
    let create = body(&[
        &u32le(3),
        &text("new"),
        &u32le(0o101),
        &u32le(0o644),
        &u32le(0),
    ]);
    let entries = body(&[&entry(7, 1, 4, "."), &entry(8, 2, 8, "x")]);
    let mut getattr = body(&[&u64le(0x7ff), &qid, &u32le(0o40755), &u32le(0), &u32le(0)]);
    getattr.extend(u64le(2));
    getattr.extend(u64le(0));
    getattr.extend(u64le(4096));
    getattr.extend([0; 8 * 12]);
    let mut statfs = body(&[&u32le(0x0102_1994), &u32le(4096)]);
    statfs.extend(u64le(100));
    statfs.extend([0; 8]);
    statfs.extend(u64le(50));
    statfs.extend([0; 8 * 3 + 4]);
    vec![
        (
            message(100, 0xffff, &body(&[&u32le(8192), &text("9P2000.L")])),
            "Tversion tag NOTAG msize 8192 version \"9P2000.L\"",
        ),
        (
            message(101, 0xffff, &body(&[&u32le(4096), &text("9P2000.L")])),
            "Rversion tag NOTAG msize 4096 version \"9P2000.L\"",
        ),
        (
            message(
                104,
                1,
                &body(&[
                    &u32le(0),
                    &u32le(nofid),
                    &text("me"),
                    &text(""),
                    &u32le(1000),
                ]),
            ),
            "Tattach tag 1 fid 0 afid NOFID uname \"me\" aname \"\" n_uname 1000",
        ),
        (message(105, 1, &qid), "Rattach tag 1 qid 80.2.10"),
        (
            message(110, 1, &names),
            "Twalk tag 1 fid 1 newfid 2 wname \"a\" \"b c\"",
        ),
        (
            message(111, 1, &body(&[&u16le(1), &qid])),
            "Rwalk tag 1 nwqid 1",
        ),
        (
            message(12, 1, &body(&[&u32le(3), &u32le(0o100_000)])),
            "Tlopen tag 1 fid 3 flags 0100000",
        ),
        (
            message(13, 1, &body(&[&qid, &u32le(4096)])),
            "Rlopen tag 1 qid 80.2.10 iounit 4096",
        ),
        (
            message(14, 1, &create),
            "Tlcreate tag 1 fid 3 name \"new\" flags 0101 mode 0644",
        ),
        (
            message(15, 1, &body(&[&qid, &u32le(0)])),
            "Rlcreate tag 1 qid 80.2.10 iounit 0",
        ),
        (
            tread(3, 7, 4096, 8192),
            "Tread tag 3 fid 7 offset 4096 count 8192",
        ),
        (rread(3, b"data"), "Rread tag 3 count 4"),
        (
            message(118, 1, &body(&[&u32le(3), &u64le(9), &u32le(2), b"hi"])),
            "Twrite tag 1 fid 3 offset 9 count 2",
        ),
        (message(119, 1, &u32le(2)), "Rwrite tag 1 count 2"),
        (
            message(40, 1, &body(&[&u32le(3), &u64le(0), &u32le(512)])),
            "Treaddir tag 1 fid 3 offset 0 count 512",
        ),
        (
            message(41, 1, &body(&[&u32le(entries.len() as u32), &entries])),
            "Rreaddir tag 1 count 50 data 2 entries",
        ),
        (
            message(24, 1, &body(&[&u32le(3), &u64le(0x7ff)])),
            "Tgetattr tag 1 fid 3 request_mask 0x7ff",
        ),
        (
            message(25, 1, &getattr),
            "Rgetattr tag 1 qid 80.2.10 mode 040755 size 4096",
        ),
        (
            message(
                72,
                1,
                &body(&[&u32le(3), &text("d"), &u32le(0o755), &u32le(0)]),
            ),
            "Tmkdir tag 1 dfid 3 name \"d\" mode 0755",
        ),
        (message(73, 1, &qid), "Rmkdir tag 1 qid 80.2.10"),
        (
            message(76, 1, &body(&[&u32le(3), &text("d"), &u32le(0x200)])),
            "Tunlinkat tag 1 dfid 3 name \"d\" flags 0x200",
        ),
        (message(77, 1, &[]), "Runlinkat tag 1"),
        (message(120, 1, &u32le(3)), "Tclunk tag 1 fid 3"),
        (message(121, 1, &[]), "Rclunk tag 1"),
        (message(108, 1, &u16le(9)), "Tflush tag 1 oldtag 9"),
        (message(109, 1, &[]), "Rflush tag 1"),
        (rlerror(3, 2), "Rlerror tag 3 ENOENT (2)"),
        (message(8, 1, &u32le(3)), "Tstatfs tag 1 fid 3"),
        (
            message(9, 1, &statfs),
            "Rstatfs tag 1 bsize 4096 blocks 100 bavail 50",
        ),
        (
            message(50, 1, &body(&[&u32le(3), &u32le(1)])),
            "Tfsync tag 1 fid 3 datasync 1",
        ),
        (message(122, 1, &u32le(3)), "Tremove tag 1 fid 3"),
        (message(22, 1, &u32le(3)), "Treadlink tag 1 fid 3"),
        (message(23, 1, &text("to")), "Rreadlink tag 1 target \"to\""),
    ]
}

#[test]
fn every_message_reads_as_it_should() {
    for (bytes, reads) in examples() {
        let message = decode(&bytes);
        assert_eq!(message.to_string(), reads);
        assert_eq!(message.end(), End::Whole, "{reads}");
        assert_eq!(message.size as usize, bytes.len());
    }
}

/// The fields of a message cover it without gaps or overlap.
#[test]
fn fields_stand_side_by_side() {
    for (bytes, reads) in examples() {
        let message = decode(&bytes);
        let mut at = 0;
        for field in message.header_fields().into_iter().chain(message.fields()) {
            assert_eq!(field.range.start, at, "{reads}: {}", field.name);
            at = field.range.end;
        }
        assert_eq!(at, bytes.len(), "{reads}");
    }
}

/// Cut by the capture at any offset, the fields before the cut are the same and
/// the message is called truncated, never malformed.
#[test]
fn every_cut_keeps_what_stands_before_it() {
    for (bytes, reads) in examples() {
        let whole: Vec<_> = decode(&bytes).fields().collect();
        for cut in 0..bytes.len() {
            let decoded = Message::decode(&bytes[..cut], bytes.len() as u32);
            if cut < 7 {
                assert_eq!(
                    decoded.unwrap_err(),
                    HeaderError::NotCaptured { captured: cut }
                );
                continue;
            }
            let message = decoded.unwrap();
            assert!(
                matches!(message.end(), End::Truncated { .. }),
                "{reads} cut at {cut}: {:?}",
                message.end()
            );
            for (got, was) in message.fields().zip(&whole) {
                assert_eq!(got.name, was.name);
                if got.range == was.range {
                    assert_eq!(&got.value, &was.value, "{reads} cut at {cut}");
                } else {
                    // Data goes as far as it was captured; its length is known.
                    assert!(matches!(
                        (got.value, was.value),
                        (
                            Value::Data { declared: a, .. },
                            Value::Data { declared: b, .. }
                        ) | (
                            Value::Directory { declared: a, .. },
                            Value::Directory { declared: b, .. }
                        ) if a == b
                    ));
                }
            }
        }
    }
}

/// A message that says it is shorter than it is ends within a field, or has bytes
/// too many in front: either way the field is named.
#[test]
fn every_shorter_size_is_malformed() {
    for (bytes, reads) in examples() {
        for size in 7..bytes.len() as u32 {
            let mut bytes = bytes.clone();
            bytes[..4].copy_from_slice(&size.to_le_bytes());
            let end = decode(&bytes).end();
            let End::Malformed {
                offset, problem, ..
            } = end
            else {
                panic!("{reads} of size {size}: {end:?}");
            };
            assert_eq!(problem, Problem::BeyondEnd);
            assert!(offset <= size as usize);
        }
    }
}

#[test]
fn data_that_was_cut_keeps_its_length() {
    let bytes = rread(1, &[7; 1000]);
    let message = Message::decode(&bytes[..20], bytes.len() as u32).unwrap();
    assert_eq!(message.count(), Some(1000));
    assert_eq!(
        message.value("data"),
        Some(Value::Data {
            declared: 1000,
            bytes: &[7; 9]
        })
    );
    assert_eq!(message.end(), End::Truncated { field: "data" });
    assert_eq!(message.to_string(), "Rread tag 1 count 1000");
}

#[rstest]
#[case::too_short(&b"\x05\0\0\0\x74"[..], HeaderError::TooShort { length: 5 })]
#[case::empty(b"", HeaderError::TooShort { length: 0 })]
#[case::small_size(b"\x06\0\0\0\x74\0\0", HeaderError::Size { size: 6 })]
fn bytes_without_a_header_are_refused(#[case] bytes: &[u8], #[case] error: HeaderError) {
    assert_eq!(
        Message::decode(bytes, bytes.len() as u32).unwrap_err(),
        error
    );
}

#[test]
fn bytes_behind_the_last_field_are_named() {
    let message = decode(&{ message(121, 1, b"xyz") }).end();
    assert_eq!(
        message.to_string(),
        "malformed: field `end` at offset 7: 3 bytes too many"
    );
}

#[test]
fn a_message_larger_than_its_buffer_is_malformed() {
    let mut bytes = tread(1, 2, 3, 4);
    bytes[0] = 200;
    let end = decode(&bytes).end();
    assert_eq!(
        end.to_string(),
        "malformed: field `size` at offset 0: larger than the buffer's 23 bytes"
    );
    // Even where the capture cut it as well.
    let cut = Message::decode(&bytes[..10], 23).unwrap();
    assert_eq!(cut.end(), end);
}

#[test]
fn other_types_have_a_name_and_are_not_decoded() {
    let bytes = message(112, 1, &[0; 9]);
    assert_eq!(decode(&bytes).to_string(), "Topen tag 1 (not decoded)");
    let bytes = message(200, 1, &[]);
    assert_eq!(decode(&bytes).to_string(), "type 200 tag 1 (not decoded)");
    assert_eq!(decode(&bytes).end(), End::NotDecoded);
}

#[test]
fn names_from_a_capture_are_made_harmless() {
    let bytes = message(23, 1, &text("\u{1b}[2J\u{202e}"));
    assert_eq!(
        decode(&bytes).to_string(),
        r#"Rreadlink tag 1 target "\x1b[2J\u{202e}""#
    );
}

#[test]
fn directory_entries_stop_before_a_cut() {
    let bytes = body(&[&entry(7, 1, 4, ".."), &entry(8, 2, 8, "file")]);
    let entries: Vec<_> = DirectoryEntries::new(&bytes).collect();
    assert_eq!(
        entries[1],
        DirectoryEntry {
            qid: Qid {
                kind: 0,
                version: 1,
                path: 8
            },
            offset: 2,
            kind: 8,
            name: b"file",
        }
    );
    for cut in 0..bytes.len() {
        let mut iter = DirectoryEntries::new(&bytes[..cut]);
        let whole = iter.by_ref().count();
        assert_eq!(whole, usize::from(cut >= 26));
        assert_eq!(iter.rest().len(), cut - whole * 26);
    }
}

#[test]
fn types_fit_their_replies() {
    for kind in MessageType::REQUESTS {
        assert!(kind.is_request() && !kind.reply().is_request());
        assert_eq!(kind.operation_name(), kind.reply().operation_name());
    }
    assert_eq!(MessageType::Tread.reply(), MessageType::Rread);
    assert_eq!(MessageType::Rlerror.to_string(), "Rlerror");
}

#[test]
fn what_a_message_is_about_is_found() {
    let bytes = tread(3, 7, 0, 1);
    assert_eq!(
        (decode(&bytes).tag, decode(&bytes).fid()),
        (Tag(3), Some(Fid(7)))
    );
    assert_eq!(decode(&rlerror(1, 17)).errno(), Some(Errno(17)));
    assert_eq!(decode(&bytes).errno(), None);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Any bytes, any claimed length: no panic, and fields within the bytes.
    #[test]
    fn any_bytes_do_no_harm(mut bytes: Vec<u8>, kind: u8, full: u32, honest: bool) {
        if bytes.len() > 4 {
            bytes[4] = kind;
            if honest {
                let size = (bytes.len() as u32).to_le_bytes();
                bytes[..4].copy_from_slice(&size);
            }
        }
        let full = if honest { bytes.len() as u32 } else { full };
        if let Ok(message) = Message::decode(&bytes, full) {
            let mut at = 7;
            for field in message.fields() {
                prop_assert_eq!(field.range.start, at);
                at = field.range.end;
                prop_assert!(at <= bytes.len());
                let shown = field.value.to_string();
                prop_assert!(!shown.chars().any(char::is_control));
            }
            prop_assert!(!message.to_string().is_empty());
        }
    }
}
