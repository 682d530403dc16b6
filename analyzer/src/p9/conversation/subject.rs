//! What a request is about.

use std::sync::Arc;

use super::path::Path;
use crate::p9::{Body, Dialect, Fid, MessageType};

/// What a request is about, beside what its own bytes say.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct Subject {
    /// How it and its reply are to be read.
    pub dialect: Dialect,
    /// The dialect is a guess: no `Tversion` was seen before.
    pub dialect_guessed: bool,
    /// What its first fid stood for when it was made; `None` if it names no fid.
    pub path: Option<Arc<Path>>,
    /// The same of its second fid, where that names a file: the directory that
    /// something is moved to, or the file that a link is made to.
    pub other: Option<Arc<Path>>,
    /// Of a `Tflush`: the request in flight that it gives up.
    pub flushes: Option<MessageType>,
    /// A `Tflush` gave it up, and it was answered all the same.
    pub answered_while_flushed: bool,
    /// A `Tflush` gave it up, and it was not answered.
    pub given_up: bool,
    /// Bytes of the largest message that the two sides had agreed on when it was made,
    /// if that was seen.
    pub msize: Option<u32>,
    /// What of its fields findings are about.
    pub(crate) asked: Asked,
    /// Its number in the conversation.
    pub(super) serial: u64,
}

/// What findings look at in a request. Its bytes may not be kept with its life, and are
/// decoded once.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) enum Asked {
    /// Anything else.
    #[default]
    Other,
    /// A `Tread`.
    Read { fid: Fid, offset: u64, count: u32 },
    /// A `Twalk` without names: a second fid for the same file.
    Clone,
}

impl Asked {
    pub(super) fn of(body: &Body<'_>) -> Self {
        match body {
            Body::Tread(read) => Self::Read {
                fid: read.fid,
                offset: read.offset,
                count: read.count,
            },
            Body::Twalk(walk) if walk.wname.is_empty() => Self::Clone,
            _ => Self::Other,
        }
    }
}
