//! What a request is about.

use std::sync::Arc;

use super::path::Path;
use crate::p9::{Dialect, MessageType};

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
    /// Its number in the conversation.
    pub(super) serial: u64,
}
