use std::collections::{HashMap, HashSet};

use proptest::prelude::*;

use super::pseudonyms::Pseudonyms;
use super::{blocks, p9};
use crate::p9::{End, Message, Value};
use crate::testing::message;

fn redacted(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let length = bytes.len() as u32;
    p9::redact(&mut bytes, length, &mut Pseudonyms::of_seed(7));
    bytes
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u16).to_le_bytes()[..], text.as_bytes()].concat()
}

fn walk(names: &[&str]) -> Vec<u8> {
    let mut body = [1_u32.to_le_bytes(), 2_u32.to_le_bytes()].concat();
    body.extend((names.len() as u16).to_le_bytes());
    for name in names {
        body.extend(text(name));
    }
    message(110, 3, &body)
}

#[test]
fn names_go_and_everything_else_stays() {
    let bytes = walk(&["etc", "..", "shadow", "etc"]);
    let after = redacted(&bytes);
    assert_eq!(after.len(), bytes.len());
    let message = Message::decode(&after, after.len() as u32).unwrap();
    assert_eq!(message.end(), End::Whole);
    let names: Vec<_> = message
        .fields()
        .filter_map(|field| match field.value {
            Value::Text(name) => Some(name.to_vec()),
            _ => None,
        })
        .collect();
    assert_eq!(names.iter().map(Vec::len).collect::<Vec<_>>(), [3, 2, 6, 3]);
    assert_eq!(names[1], b"..", "the parent is no name");
    assert_eq!(names[0], names[3], "the same name is the same pseudonym");
    for secret in ["etc", "shadow"] {
        assert!(!after.windows(secret.len()).any(|w| w == secret.as_bytes()));
    }
    assert_eq!(after[..17], bytes[..17], "header, fids and count");
}

#[test]
fn data_and_directory_entries_go() {
    let data = b"the contents of a file";
    let count = (data.len() as u32).to_le_bytes();
    let read = redacted(&message(117, 3, &[&count[..], data].concat()));
    assert_eq!(read[7..11], count);
    assert!(read[11..].iter().all(|byte| *byte == 0));

    let mut entries = Vec::new();
    for name in ["passwd", "hosts"] {
        entries.extend([7; 22]);
        entries.extend(text(name));
    }
    // And one that was cut.
    entries.extend([7; 22]);
    entries.extend([9, 0, b's', b'e']);
    let count = (entries.len() as u32).to_le_bytes();
    let listed = redacted(&message(41, 3, &[&count[..], &entries].concat()));
    for secret in [&b"passwd"[..], b"hosts", b"se"] {
        assert!(!listed.windows(secret.len()).any(|w| w == secret));
    }
    let kept = [&[7; 22][..], &[9, 0]].concat();
    assert!(
        listed.windows(kept.len()).any(|w| w == kept),
        "its length stays"
    );
}

#[test]
fn the_version_is_no_secret() {
    let body = [&8192_u32.to_le_bytes()[..], &text("9P2000.L")].concat();
    let version = message(100, u16::MAX, &body);
    assert_eq!(redacted(&version), version);
}

#[test]
fn block_and_network_headers_stay() {
    let mut request = [1; 20];
    blocks::request(&mut request);
    assert_eq!(request[..16], [1; 16]);
    assert_eq!(request[16..], [0; 4]);
    let mut reply = [5; 4];
    blocks::reply(&mut reply, 4);
    assert_eq!(reply, [0, 0, 0, 5], "the status stays");
    let mut cut = [5; 4];
    blocks::reply(&mut cut, 512);
    assert_eq!(cut, [0; 4], "what is cut has none");
    let mut frame = [6; 14];
    blocks::frame(&mut frame);
    assert_eq!(frame[..12], [6; 12]);
    assert_eq!(frame[12..], [0; 2]);
}

proptest! {
    /// One pseudonym a name, one name a pseudonym, however short they are.
    #[test]
    fn pseudonyms_are_one_to_one(
        names in prop::collection::vec(prop::collection::vec(1_u8.., 1..4), 1..300)
    ) {
        let mut pseudonyms = Pseudonyms::of_seed(1);
        let mut given: HashMap<Vec<u8>, Vec<u8>> = HashMap::new();
        for name in names {
            if name.contains(&b'/') || matches!(&name[..], b"." | b"..") {
                continue;
            }
            let mut made = name.clone();
            pseudonyms.path(&mut made);
            prop_assert_eq!(made.len(), name.len());
            prop_assert!(!made.contains(&b'/'));
            let before = given.insert(name, made.clone());
            prop_assert!(before.is_none_or(|before| before == made));
        }
        let different: HashSet<_> = given.values().collect();
        prop_assert_eq!(different.len(), given.len());
    }

    /// Whatever the bytes and wherever they are cut: how decoding ends stays the
    /// same, and so does every number in it.
    #[test]
    fn decoding_ends_the_same_way(
        kind in 100_u8..128,
        names in prop::collection::vec("[a-z.]{1,20}", 0..4),
        junk in prop::collection::vec(any::<u8>(), 0..60),
        walks: bool,
        keep in 0_usize..120,
    ) {
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let whole = if walks { walk(&names) } else { message(kind, 1, &junk) };
        let kept = &whole[..keep.min(whole.len())];
        let full = whole.len() as u32;
        let mut after = kept.to_vec();
        p9::redact(&mut after, full, &mut Pseudonyms::of_seed(2));
        match (Message::decode(kept, full), Message::decode(&after, full)) {
            (Ok(before), Ok(after)) => {
                prop_assert_eq!(before.kind, after.kind);
                prop_assert_eq!(before.end(), after.end());
                let numbers = |message: &Message<'_>| -> Vec<_> {
                    let fields = message.fields();
                    fields
                        .filter(|field| !matches!(
                            field.value,
                            Value::Text(_) | Value::Data { .. } | Value::Directory { .. }
                        ))
                        .map(|field| (field.name, field.value.to_string()))
                        .collect()
                };
                prop_assert_eq!(numbers(&before), numbers(&after));
            }
            (before, after) => prop_assert_eq!(before.is_err(), after.is_err()),
        }
    }
}
