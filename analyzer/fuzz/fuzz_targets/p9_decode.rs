//! Any bytes as a 9P message: no panic, and fields that lie within the bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use virtscope_analyzer::p9::{Body, Dialect, DirectoryEntries, Message, Stats, Value};

fuzz_target!(|input: (u32, &[u8])| {
    let (full_length, bytes) = input;
    let Ok(message) = Message::decode(bytes, full_length) else {
        return;
    };
    let mut at = 7;
    for field in message.fields() {
        assert_eq!(field.range.start, at);
        at = field.range.end;
        assert!(at <= bytes.len());
        assert!(!field.value.to_string().chars().any(char::is_control));
        if let Value::Directory { bytes, .. } = field.value {
            let mut entries = DirectoryEntries::new(bytes);
            entries.by_ref().for_each(drop);
            assert!(entries.rest().len() <= bytes.len());
        }
    }
    let _ = message.to_string();
    for dialect in [Dialect::Plain, Dialect::Unix, Dialect::Linux] {
        let message = message.in_dialect(dialect);
        let end = message.end();
        assert_eq!(message.check().end, end);
        if let Err(why) = message.body() {
            assert_eq!(why, end);
        }
        if let Ok(Body::Rread(read)) = message.body() {
            Stats::new(read.data.bytes, dialect).for_each(drop);
        }
    }
});
