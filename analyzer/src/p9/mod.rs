//! 9P2000.L as it stands in captured buffers.
//!
//! The decoder borrows from the capture and copies nothing. A message that the
//! capture's snaplen cut is decoded as far as it goes and says so
//! ([`End::Truncated`]); a malformed one names the field and the offset
//! ([`End::Malformed`]). Neither ends a run, and no input panics.
//!
//! What each message holds is the table in `layout.rs`; message types outside
//! 9P2000.L have a name and are [not decoded](End::NotDecoded).
//!
//! This decoder shares nothing with the reference driver's encoder, so that each
//! checks the other.

mod directory;
mod end;
mod layout;
mod message;
#[cfg(test)]
mod tests;
mod types;
mod value;

pub use directory::{DirectoryEntries, DirectoryEntry};
pub use end::{End, Problem};
pub use message::{Fields, HeaderError, Message};
pub use types::{Fid, MessageType, Qid, Tag};
pub use value::{Field, Value};
