//! 9P messages that a capture has whole, however long: each that carries a file's content
//! against the file.

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, bail, ensure};
use virtscope_captures::{CaptureReader, Item};
use virtscope_record::{Body, Flags};

use super::hooked::Paired;
use super::runs::{COMMON, RUN};
use crate::guest::Guest;

/// What reads and writes files.
const LOAD: &str = include_str!("work/whole.sh");
/// The file, in the guest's folder, and what its copies are called.
const FILE: &str = "whole.bytes";
const COPIES: [&str; 4] = [
    "copy.131072.none",
    "copy.131072.loose",
    "copy.524288.none",
    "copy.524288.loose",
];
/// A copy of its first bytes, in messages that are copied.
const SHORT_COPY: &str = "copy.short";
const SHORT: usize = 20 * 1000;
/// Not whole pages.
const LENGTH: usize = 1_400_123;
/// The longest message: Linux' msize is 125 pages at most, and a read or a write leaves 24
/// bytes of it for its header.
const LONGEST: usize = 512_000;
/// How much shorter the longest may be, where it is made of whole pages or has a shorter
/// header.
const LESS: usize = 4096 + 24;

const TREAD: u8 = 116;
const RREAD: u8 = 117;
const TWRITE: u8 = 118;
/// Bytes before the data.
const RREAD_HEADER: usize = 11;
const TWRITE_HEADER: usize = 23;

/// Traces the copying of a file, whole, in the guest that has `share`.
///
/// # Errors
/// A message is not whole, or has other bytes than the file.
pub(super) fn check(guest: &mut Guest, share: &Path, paired: &Paired) -> anyhow::Result<Messages> {
    let file = content();
    fs::write(share.join(FILE), &file).context("writing a file to read")?;
    let script = format!(
        "{COMMON}
         begin whole virtscope trace -d virtio0 --payload full --snaplen 524288 -w /tmp/whole.pcapng
         attached whole > /dev/null
         (
         {LOAD}
         ) || exit
         kill -INT $(cat /tmp/whole.pid)
         ended whole > /dev/null
         unhooked && cp /tmp/whole.pcapng /share"
    );
    guest.succeed(&script, RUN)?;
    let copies = COPIES.map(|copy| (copy, file.as_slice()));
    for (copy, bytes) in copies.into_iter().chain([(SHORT_COPY, &file[..SHORT])]) {
        let copied = fs::read(share.join(copy)).with_context(|| copy.to_owned())?;
        ensure!(copied == bytes, "{copy} is not what was copied");
    }
    let capture = fs::File::open(share.join("whole.pcapng")).context("no capture")?;
    let messages = read(capture, &file)?;
    ensure!(
        messages.missed == 0 || !paired.is_all(),
        "{} operations were missed",
        messages.missed
    );
    ensure!(
        messages
            .longest
            .iter()
            .all(|longest| longest + LESS >= LONGEST),
        "the longest messages should have about {LONGEST} bytes: {messages}"
    );
    let (least, found) = (COPIES.len() * LENGTH, messages.bytes);
    ensure!(
        messages.missed > 0 || found.iter().all(|bytes| *bytes >= least as u64),
        "{least} bytes were read and written at least: {messages}"
    );
    Ok(messages)
}

/// What of messages was compared: read and written.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Messages {
    count: [u64; 2],
    bytes: [u64; 2],
    longest: [usize; 2],
    missed: u64,
}

impl fmt::Display for Messages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} reads and {} writes of {} and {} bytes, messages of up to {} and {} bytes whole, \
             with the file's content",
            self.count[0],
            self.count[1],
            self.bytes[0],
            self.bytes[1],
            self.longest[0],
            self.longest[1]
        )
    }
}

impl Messages {
    fn add(&mut self, which: usize, message: usize, data: usize) {
        self.count[which] += 1;
        self.bytes[which] += data as u64;
        self.longest[which] = self.longest[which].max(message);
    }
}

/// Compares all messages of a capture that carry the content of a file, or of its copies.
fn read(capture: impl Read, file: &[u8]) -> anyhow::Result<Messages> {
    let mut reader = CaptureReader::new(capture).context("opening the capture")?;
    let mut messages = Messages::default();
    // Where each read that is under way begins, by its tag.
    let mut reads = HashMap::new();
    loop {
        match reader.next_item().context("reading the capture")? {
            Item::Record(packet) => {
                let record = &packet.record;
                let body = record.body().context("a record that is not understood")?;
                let (Body::Add(_) | Body::Used(_)) = body else {
                    continue;
                };
                ensure!(
                    !record.flags().contains(Flags::PAYLOAD_UNAVAILABLE),
                    "payload is unavailable: {record:?}"
                );
                let message = Message(packet.payload);
                let (kind, tag) = (message.byte(4)?, message.number::<2>(5)?);
                match (body, kind) {
                    (Body::Add(_), TREAD) => {
                        reads.insert(tag, message.number::<8>(11)?);
                    }
                    (Body::Add(_), TWRITE) => {
                        let data = message.data(TWRITE_HEADER)?;
                        compare(file, message.number::<8>(11)?, data)?;
                        messages.add(1, packet.payload.len(), data.len());
                    }
                    (Body::Used(_), RREAD) => {
                        let data = message.data(RREAD_HEADER)?;
                        let Some(offset) = reads.remove(&tag) else {
                            continue;
                        };
                        compare(file, offset, data)?;
                        messages.add(0, packet.payload.len(), data.len());
                    }
                    _ => {}
                }
            }
            Item::Corrupt { problem, .. } => bail!("{problem}"),
            Item::Statistics(statistics) => {
                let totals = statistics.totals.context("statistics without totals")?;
                ensure!(totals.lost == 0, "{} records were lost", totals.lost);
                messages.missed += totals.missed;
            }
            Item::End(end) => {
                ensure!(end.is_complete(), "the capture {end}");
                return Ok(messages);
            }
            Item::Section(_) | Item::Interface(_) => {}
        }
    }
}

/// A message as a record has it.
struct Message<'a>(&'a [u8]);

impl<'a> Message<'a> {
    fn byte(&self, at: usize) -> anyhow::Result<u8> {
        self.0.get(at).copied().context("a message ends early")
    }

    fn number<const BYTES: usize>(&self, at: usize) -> anyhow::Result<u64> {
        let bytes = self.0.get(at..at + BYTES).context("a message ends early")?;
        let mut number = [0; 8];
        number[..BYTES].copy_from_slice(bytes);
        Ok(u64::from_le_bytes(number))
    }

    /// The data behind a header that ends with their length.
    fn data(&self, header: usize) -> anyhow::Result<&'a [u8]> {
        let count = self.number::<4>(header - 4)? as usize;
        self.0.get(header..header + count).with_context(|| {
            let has = self.0.len();
            format!("a message of {count} bytes of data is not whole: {has} bytes of it are there")
        })
    }
}

fn compare(file: &[u8], offset: u64, data: &[u8]) -> anyhow::Result<()> {
    let offset = usize::try_from(offset)?;
    let expected = file
        .get(offset..offset + data.len())
        .with_context(|| format!("{} bytes at {offset} are beyond the file", data.len()))?;
    match expected.iter().zip(data).position(|(a, b)| a != b) {
        None => Ok(()),
        Some(at) => bail!(
            "of {} bytes at {offset} the one at {at} is not the file's",
            data.len()
        ),
    }
}

/// Bytes of which no stretch is another one.
fn content() -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let words = std::iter::repeat_with(|| {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.flatten().take(LENGTH).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_are_found_and_compared() {
        let file = content();
        let mut message = vec![0; TWRITE_HEADER];
        message[19..23].copy_from_slice(&5000_u32.to_le_bytes());
        message.extend_from_slice(&file[100..5100]);
        let data = Message(&message).data(TWRITE_HEADER).unwrap();
        compare(&file, 100, data).unwrap();
        assert!(compare(&file, 101, data).is_err());
        assert!(compare(&file, LENGTH as u64, data).is_err());
        message.pop();
        assert!(Message(&message).data(TWRITE_HEADER).is_err());
    }
}
