//! Messages written by hand, cut everywhere, and bytes of any kind.

mod examples;

use std::collections::BTreeSet;

use proptest::prelude::*;
use rstest::rstest;

use super::{
    Body, Dialect, DirectoryEntries, DirectoryEntry, End, Extended, Fid, HeaderError, Message,
    MessageType, Problem, Qid, Stats, Tag, Tattach, Text, Twalk, UnixOnly, Value,
};
use crate::Errno;
use crate::testing::{message, rlerror, rread, tread};

use examples::*;

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

/// Every request that 9P has and every reply is among the examples, but for the two
/// that nobody may send.
#[test]
fn there_is_an_example_of_every_message() {
    let shown: BTreeSet<u8> = examples().iter().map(|(_, bytes, _)| bytes[4]).collect();
    for kind in MessageType::REQUESTS {
        let forbidden = matches!(*kind, MessageType::Tlerror | MessageType::Terror);
        assert_eq!(shown.contains(&kind.0), !forbidden, "{kind}");
        assert!(shown.contains(&kind.reply().0), "{}", kind.reply());
    }
}

#[test]
fn every_message_reads_as_it_should() {
    for (dialect, bytes, reads) in examples() {
        let message = decode(&bytes).in_dialect(dialect);
        assert_eq!(message.to_string(), reads);
        assert_eq!(message.end(), End::Whole, "{reads}");
        assert_eq!(message.body().unwrap().kind(), message.kind, "{reads}");
        assert_eq!(message.check().unsound_text, None, "{reads}");
        assert_eq!(message.size as usize, bytes.len());
    }
}

/// The fields of a message cover it without gaps or overlap.
#[test]
fn fields_stand_side_by_side() {
    for (dialect, bytes, reads) in examples() {
        let message = decode(&bytes).in_dialect(dialect);
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
    for (dialect, bytes, reads) in examples() {
        let whole: Vec<_> = decode(&bytes).in_dialect(dialect).fields().collect();
        for cut in 0..bytes.len() {
            let decoded = Message::decode(&bytes[..cut], bytes.len() as u32);
            if cut < 7 {
                assert_eq!(
                    decoded.unwrap_err(),
                    HeaderError::NotCaptured { captured: cut }
                );
                continue;
            }
            let message = decoded.unwrap().in_dialect(dialect);
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
    for (dialect, bytes, reads) in examples() {
        for size in 7..bytes.len() as u32 {
            let mut bytes = bytes.clone();
            bytes[..4].copy_from_slice(&size.to_le_bytes());
            let end = decode(&bytes).in_dialect(dialect).end();
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
    for (kind, reads) in [(6, "Tlerror"), (106, "Terror")] {
        let bytes = message(kind, 1, &[0; 9]);
        assert_eq!(
            decode(&bytes).to_string(),
            format!("{reads} tag 1 (not decoded)")
        );
    }
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

/// What a message says by its type is what it says field by field.
#[test]
fn bodies_borrow_what_they_hold() {
    let names = body(&[&u32le(1), &u32le(2), &u16le(2), &text("a"), &text("b c")]);
    let bytes = message(110, 1, &names);
    let Ok(Body::Twalk(Twalk { fid, newfid, wname })) = decode(&bytes).body() else {
        panic!("a walk");
    };
    assert_eq!((fid, newfid, wname.len()), (Fid(1), Fid(2), 2));
    let names: Vec<_> = wname.iter().map(Text::as_str).collect();
    assert_eq!(names, [Some("a"), Some("b c")]);

    let attach = body(&[&u32le(0), &u32le(9), &text("me"), &text("/")]);
    let bytes = message(104, 1, &attach);
    let Ok(Body::Tattach(attach)) = decode(&bytes).in_dialect(Dialect::Plain).body() else {
        panic!("an attach");
    };
    assert_eq!(
        attach,
        Tattach {
            fid: Fid(0),
            afid: Fid(9),
            uname: Text(b"me"),
            aname: Text(b"/"),
            n_uname: Extended(None),
        }
    );
}

/// Data may be cut by the capture; what is asked for and how long it is are known.
#[test]
fn the_body_of_cut_data_is_known() {
    let bytes = rread(1, &[7; 1000]);
    let message = Message::decode(&bytes[..20], bytes.len() as u32).unwrap();
    let data = message.body().unwrap().data().unwrap();
    assert_eq!((data.declared, data.bytes), (1000, &[7; 9][..]));
    let cut = Message::decode(&bytes[..9], bytes.len() as u32).unwrap();
    assert_eq!(cut.body(), Err(End::Truncated { field: "count" }));
}

#[test]
fn a_directory_of_stats_is_read() {
    let inner = |name| stat_bytes(name, true)[2..].to_vec();
    let data = body(&[&inner("a"), &inner("bb")]);
    let mut stats = Stats::new(&data, Dialect::Unix);
    let names: Vec<_> = stats.by_ref().map(|stat| stat.name).collect();
    assert_eq!(names, [Text(b"a"), Text(b"bb")]);
    assert!(stats.rest().is_empty());
    let mut cut = Stats::new(&data[..data.len() - 1], Dialect::Unix);
    let first = cut.next().unwrap();
    assert_eq!(
        (first.extension, first.n_gid, first.length),
        (UnixOnly(Some(Text(b"to"))), UnixOnly(Some(2)), 99)
    );
    assert!(cut.next().is_none());
    assert_eq!(cut.rest().len(), inner("bb").len() - 1);
    // Read in the other dialect, nothing fits.
    assert_eq!(Stats::new(&data, Dialect::Plain).count(), 0);
}

#[rstest]
#[case(
    7,
    5,
    "malformed: field `nstat` at offset 7: it says 5 bytes, and 65 follow"
)]
#[case(
    9,
    4,
    "malformed: field `size` at offset 9: it says 4 bytes, and 63 follow"
)]
fn a_stat_that_does_not_fill_its_bytes_is_malformed(
    #[case] at: usize,
    #[case] says: u8,
    #[case] reads: &str,
) {
    let mut bytes = message(125, 1, &stat_bytes("f", false));
    bytes[at] = says;
    let message = decode(&bytes).in_dialect(Dialect::Plain);
    assert_eq!(message.end().to_string(), reads);
    assert_eq!(message.body(), Err(message.end()));
}

#[test]
fn a_malformed_directory_entry_is_named() {
    let mut data = body(&[&entry(7, 1, 4, "."), &entry(8, 2, 8, "file")]);
    data[25 + 22] = 200;
    let bytes = message(41, 1, &body(&[&u32le(data.len() as u32), &data]));
    let end = decode(&bytes).end();
    assert_eq!(
        end.to_string(),
        "malformed: field `data` at offset 36: no whole directory entry stands there"
    );
    assert_eq!(decode(&bytes).check().end, end);
}

#[test]
fn strings_that_are_none_are_named() {
    let bytes = message(72, 1, &body(&[&u32le(3), &[2, 0, 0xff, 0xfe], &[0; 8]]));
    let check = decode(&bytes).check();
    assert_eq!((check.end, check.unsound_text), (End::Whole, Some("name")));
    let bytes = message(23, 1, &text("a\0b"));
    assert_eq!(decode(&bytes).check().unsound_text, Some("target"));
}

#[rstest]
#[case("9P2000", Some(Dialect::Plain))]
#[case("9P2000.L", Some(Dialect::Linux))]
#[case("9P2000.u", Some(Dialect::Unix))]
#[case("9P2000.L.x", Some(Dialect::Plain))]
#[case("9P2001", Some(Dialect::Plain))]
#[case("9P1999", None)]
#[case("9P", None)]
#[case("unknown", None)]
#[case("", None)]
fn versions_name_dialects(#[case] version: &str, #[case] dialect: Option<Dialect>) {
    assert_eq!(Dialect::of_version(version.as_bytes()), dialect);
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

    /// The parser of whole messages and the one that goes field by field say the same.
    #[test]
    fn both_parsers_agree(
        (at, cut) in any::<(prop::sample::Index, prop::sample::Index)>(),
        changes in prop::collection::vec(any::<(prop::sample::Index, u8)>(), 0..4),
        in_dialect in prop::sample::select(vec![Dialect::Plain, Dialect::Unix, Dialect::Linux]),
    ) {
        let examples = examples();
        let (_, mut bytes, _) = at.get(&examples).clone();
        let size = bytes.len() as u32;
        for (place, value) in changes {
            // The header stays.
            let place = 7 + place.index(bytes.len());
            if let Some(byte) = bytes.get_mut(place) {
                *byte = value;
            }
        }
        let bytes = &bytes[..7 + cut.index(bytes.len() - 6)];
        let message = Message::decode(bytes, size).unwrap().in_dialect(in_dialect);
        let mut fields = message.fields();
        fields.by_ref().for_each(drop);
        match (fields.end(), message.body()) {
            (End::Whole | End::Truncated { field: "data" }, Ok(_)) => {}
            (End::Whole, Err(End::Malformed { problem: Problem::Size { .. }, .. })) => {}
            (by_fields, Err(end)) => prop_assert_eq!(by_fields, end),
            (by_fields, Ok(body)) => prop_assert!(false, "{by_fields:?} and {body:?}"),
        }
    }

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
