//! Findings about the 9P conversation on a queue.

pub(super) mod errors;
pub(super) mod fid_leak;
pub(super) mod flush_storm;
pub(super) mod metadata_storm;
pub(super) mod msize;
pub(super) mod small_reads;
pub(super) mod tag_reuse;

use crate::life::{Life, Operation};
use crate::p9::MessageType;

/// What kind of request a life was, if it is known.
#[inline]
fn kind(life: &Life) -> Option<MessageType> {
    match life.operation {
        Operation::P9(kind) => Some(kind),
        Operation::Unknown9p | Operation::Buffer => None,
    }
}

/// The number of the reply's type, if its header was captured.
#[inline]
fn reply_type(life: &Life) -> Option<MessageType> {
    life.reply.bytes.get(4).map(|kind| MessageType(*kind))
}

/// Fields at fixed places behind the header, little-endian. These are the ones that
/// every request is looked at for; the decoder proper reads fields by name.
#[inline]
fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..at + 2)?;
    Some(u16::from_le_bytes(bytes.try_into().ok()?))
}

#[inline]
fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at + 4)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

#[inline]
fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    let bytes = bytes.get(at..at + 8)?;
    Some(u64::from_le_bytes(bytes.try_into().ok()?))
}

/// `Rversion`'s msize.
const MSIZE: usize = 7;
/// The first fid of a request, and its tag.
const FID: usize = 7;
const TAG: usize = 5;
/// `Tread`, `Twrite` and `Treaddir`: offset and count.
const OFFSET: usize = 11;
const COUNT: usize = 19;
