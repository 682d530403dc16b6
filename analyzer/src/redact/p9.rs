//! One 9P message.

use std::ops::Range;

use super::pseudonyms::Pseudonyms;
use crate::p9::{End, Message, Problem, Value};

/// Bytes of size, type and tag.
const HEADER: usize = 7;
/// Bytes of a string's length.
const LENGTH: usize = 2;
/// `qid[13] offset[8] type[1]`, before the name of a directory's entry.
const ENTRY_HEAD: usize = 22;

/// What stands where something was that can't be understood. As a length it is
/// longer than any message, so that what was malformed stays so.
const UNKNOWN: u8 = 0xff;

/// What to do with some bytes.
enum Change {
    Name(Range<usize>),
    Zero(Range<usize>),
    Entries(Range<usize>),
    Unknown(Range<usize>),
}

/// Redacts the message at the start of `payload`, which is what was captured of a
/// buffer of `full_length` bytes.
pub(super) fn redact(payload: &mut [u8], full_length: u32, pseudonyms: &mut Pseudonyms) {
    let changes = changes(payload, full_length);
    for change in changes {
        match change {
            Change::Name(range) => {
                if let Some(name) = payload.get_mut(range) {
                    pseudonyms.path(name);
                }
            }
            Change::Zero(range) => fill(payload, range, 0),
            Change::Entries(range) => {
                if let Some(entries) = payload.get_mut(range) {
                    directory(entries, pseudonyms);
                }
            }
            Change::Unknown(range) => fill(payload, range, UNKNOWN),
        }
    }
}

fn fill(payload: &mut [u8], range: Range<usize>, byte: u8) {
    if let Some(bytes) = payload.get_mut(range) {
        bytes.fill(byte);
    }
}

fn changes(payload: &[u8], full_length: u32) -> Vec<Change> {
    let whole = payload.len();
    let Ok(message) = Message::decode(payload, full_length) else {
        return vec![Change::Unknown(HEADER.min(whole)..whole)];
    };
    let mut changes = Vec::new();
    let mut end = HEADER;
    let mut fields = message.fields();
    for field in fields.by_ref() {
        let range = field.range;
        end = end.max(range.end);
        changes.push(match field.value {
            Value::Type(_)
            | Value::Tag(_)
            | Value::Fid(_)
            | Value::Number(_)
            | Value::Octal(_)
            | Value::Mask(_)
            | Value::Errno(_)
            | Value::Qid(_) => continue,
            Value::Text(_) if field.name == "version" => continue,
            Value::Text(text) => Change::Name(range.end - text.len()..range.end),
            Value::Directory { .. } => Change::Entries(range),
            Value::Data { .. } => Change::Zero(range),
            #[allow(unreachable_patterns, reason = "what is new is not kept unseen")]
            _ => Change::Unknown(range),
        });
    }
    // Of a name that is not whole, its length says so.
    let kept = match fields.end() {
        End::Whole
        | End::NotDecoded
        | End::Malformed {
            problem: Problem::Trailing { .. },
            ..
        } => 0,
        _ => LENGTH,
    };
    changes.push(Change::Unknown((end + kept).min(whole)..whole));
    changes
}

/// The entries of an `Rreaddir`, each name a pseudonym; what is behind the last
/// whole one is not understood.
fn directory(entries: &mut [u8], pseudonyms: &mut Pseudonyms) {
    let mut start = 0;
    loop {
        let name = start + ENTRY_HEAD + LENGTH;
        let length = entries
            .get(start + ENTRY_HEAD..name)
            .map_or(usize::MAX, |length| {
                usize::from(length[0]) | usize::from(length[1]) << 8
            });
        match entries.get_mut(name..name.saturating_add(length)) {
            Some(text) => pseudonyms.path(text),
            None => {
                // Of one that is cut, what it is and how long its name.
                let kept = name.min(entries.len());
                entries[kept..].fill(UNKNOWN);
                return;
            }
        }
        start = name + length;
    }
}
