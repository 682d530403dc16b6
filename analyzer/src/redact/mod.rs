//! Names and contents out of captured buffers, in place.
//!
//! What makes a buffer's analysis stays: sizes, types, tags, fids, offsets,
//! counts, modes, errors. What someone might not want to share goes: names become
//! [pseudonyms](Pseudonyms) of the same length, the same name always the same one,
//! and data become zeros. What cannot be understood cannot be kept either.

mod blocks;
mod p9;
mod pseudonyms;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use virtscope_record::{Body, QueueId, Record};

use crate::queue::DEVICE_TYPE_9P;
use pseudonyms::Pseudonyms;

/// Device types whose requests begin with a header that is no content (virtio 1.4
/// §5.1, §5.2).
const NET: u16 = 1;
const BLOCK: u16 = 2;

/// Properties of a queue that are no names: what drives it and how.
const PLAIN_PROPERTIES: [&str; 10] = [
    "driver",
    "size",
    "layout",
    "transport",
    "features",
    "merged_as",
    "vectors",
    "msize",
    "queue",
    "irq",
];

/// Redacts the payloads of one stream of records.
///
/// ```
/// use virtscope_analyzer::Redactor;
/// use virtscope_record::{Add, Body, Common, Record};
///
/// // A queue of which nothing is known: nothing of it can be kept.
/// let mut redactor = Redactor::new();
/// let mut payload = *b"secret";
/// redactor.redact(&Record::new(Common::default(), Body::Add(Add::default())), &mut payload);
/// assert_eq!(payload, [0; 6]);
/// ```
#[derive(Debug)]
pub struct Redactor {
    pseudonyms: Pseudonyms,
    device_types: HashMap<QueueId, u16>,
}

impl Default for Redactor {
    fn default() -> Self {
        Self::new()
    }
}

impl Redactor {
    /// With pseudonyms that nobody can foresee: another redactor has others.
    pub fn new() -> Self {
        Self::keyed(Pseudonyms::random())
    }

    /// With the pseudonyms of this seed, for whoever redacts several captures that
    /// belong together and keeps the seed to himself.
    pub fn with_seed(seed: u64) -> Self {
        Self::keyed(Pseudonyms::of_seed(seed))
    }

    fn keyed(pseudonyms: Pseudonyms) -> Self {
        Self {
            pseudonyms,
            device_types: HashMap::new(),
        }
    }

    /// Redacts the payload of `record`. Records are to come in the order of their
    /// stream, because a queue's facts say what its buffers hold.
    pub fn redact(&mut self, record: &Record, payload: &mut [u8]) {
        let queue = record.queue();
        let kind = self.device_types.get(&queue).copied();
        match record.body() {
            Ok(Body::QueueFacts(facts)) => {
                self.device_types.insert(queue, facts.device_type);
                self.facts(payload);
            }
            Ok(Body::Add(add)) => match kind {
                Some(DEVICE_TYPE_9P) => self.message(payload, add.readable_bytes),
                Some(BLOCK) => blocks::request(payload),
                Some(NET) => blocks::frame(payload),
                _ => payload.fill(0),
            },
            Ok(Body::Used(used)) => match kind {
                Some(DEVICE_TYPE_9P) => self.message(payload, used.used_length),
                Some(BLOCK) => blocks::reply(payload, used.used_length),
                Some(NET) => blocks::frame(payload),
                _ => payload.fill(0),
            },
            // No other kind has one that is known.
            _ => payload.fill(0),
        }
    }

    fn message(&mut self, payload: &mut [u8], full_length: u32) {
        p9::redact(payload, full_length, &mut self.pseudonyms);
    }

    /// The queue's name stays, and of its properties those that name nothing.
    fn facts(&mut self, payload: &mut [u8]) {
        let lines = payload.split_mut(|byte| *byte == b'\n');
        for line in lines.skip(1) {
            let Some(equals) = line.iter().position(|byte| *byte == b'=') else {
                self.pseudonyms.path(line);
                continue;
            };
            let (key, value) = line.split_at_mut(equals);
            let plain = PLAIN_PROPERTIES.iter().any(|name| name.as_bytes() == key);
            if let Some(value) = value.get_mut(1..)
                && !plain
            {
                self.pseudonyms.path(value);
            }
        }
    }
}
