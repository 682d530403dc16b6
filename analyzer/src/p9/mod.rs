//! 9P as it stands in captured buffers: 9P2000, 9P2000.u and 9P2000.L.
//!
//! The decoder borrows from the capture and copies nothing. A message that the
//! capture's snaplen cut is decoded as far as it goes and says so
//! ([`End::Truncated`]); a malformed one names the field and the offset
//! ([`End::Malformed`]). Neither ends a run, and no input panics.
//!
//! What each message holds is the table in `body.rs`. A [`Message`] is its header;
//! [`Message::body`] is all it says, by a type for each message; [`Message::fields`]
//! goes through the same one by one, with names and places, as far as they go.
//!
//! This decoder shares nothing with the reference driver's encoder, so that each
//! checks the other.

#[macro_use]
mod messages;
mod body;
mod conversation;
mod describe;
mod dialect;
mod directory;
mod end;
mod layout;
mod message;
mod stat;
#[cfg(test)]
mod tests;
mod types;
mod value;
mod wire;

pub use body::*;
pub(crate) use conversation::{Asked, BYTES, Conversation, FidAccount};
pub use conversation::{ConversationView, Irregularity, Path, Subject};
pub use describe::{describe_reply, describe_request};
pub use dialect::Dialect;
pub use directory::{DirectoryEntries, DirectoryEntry};
pub use end::{End, Problem};
pub use message::{Check, Fields, HeaderError, Message};
pub use stat::{CountedStat, Stat, Stats};
pub use types::{Fid, MessageType, Qid, Tag};
pub use value::{Field, Value};
pub use wire::{Data, Extended, Qids, Text, Texts, UnixOnly};
