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
