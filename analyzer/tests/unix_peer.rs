//! Our decoder of 9P2000.u against another's, in the fields that Wireshark leaves
//! undecoded: aio9p's, which wrote or read the messages of `peers/9p2000u-aio9p.json`.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value as Json, json};
use virtscope_analyzer::p9::{Dialect, End, Message, Value};

#[derive(Deserialize)]
struct Said {
    kind: String,
    bytes: String,
    fields: BTreeMap<String, Json>,
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits = hex.as_bytes().chunks(2);
    digits
        .map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap())
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A value as the peer's are written down.
fn json(value: Value<'_>) -> Json {
    match value {
        Value::Text(text) => json!(hex(text)),
        Value::Number(number) | Value::Mask(number) => json!(number),
        Value::Octal(number) => json!(number),
        Value::Errno(errno) => json!(errno.0),
        other => panic!("the peer says nothing of {other}"),
    }
}

#[test]
fn what_only_9p2000_u_has_is_what_the_peer_wrote_or_read() {
    let said: Vec<Said> = serde_json::from_str(include_str!("peers/9p2000u-aio9p.json")).unwrap();
    let mut seen = BTreeMap::new();
    for Said {
        kind,
        bytes: hex,
        fields,
    } in &said
    {
        let bytes = bytes(hex);
        let message = Message::decode(&bytes, bytes.len() as u32).unwrap();
        let message = message.in_dialect(Dialect::Unix);
        assert_eq!(message.kind.to_string(), *kind);
        assert_eq!(message.end(), End::Whole, "{message}");
        assert!(message.body().is_ok(), "{message}");
        for (name, value) in fields {
            let ours = message.value(name).map(json);
            assert_eq!(ours.as_ref(), Some(value), "{name} of {message}");
        }
        *seen.entry(kind.as_str()).or_insert(0) += 1;
    }
    let kinds = ["Rerror", "Rstat", "Tauth", "Tcreate", "Twstat"];
    assert_eq!(seen, kinds.map(|kind| (kind, 40)).into());
}
