//! Fields of a message and how they read.

use std::fmt;
use std::ops::Range;

use super::{DirectoryEntries, Fid, MessageType, Qid, Tag};
use crate::errno::Errno;
use crate::text::sanitize;

/// One field of a message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Field<'a> {
    /// Its name in the protocol.
    pub name: &'static str,
    /// Its place among those of the same name, where the message repeats it.
    pub index: Option<u16>,
    /// What it says.
    pub value: Value<'a>,
    /// Which bytes of the message say so.
    pub range: Range<usize>,
}

/// What a field says. `Display` is safe to print.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Value<'a> {
    /// The message's type.
    Type(MessageType),
    /// A tag.
    Tag(Tag),
    /// A fid.
    Fid(Fid),
    /// A size, count, offset, id or time.
    Number(u64),
    /// File mode or open flags, read in octal.
    Octal(u32),
    /// A mask, read in hexadecimal.
    Mask(u64),
    /// An error.
    Errno(Errno),
    /// A string; any bytes.
    Text(&'a [u8]),
    /// A file's identity.
    Qid(Qid),
    /// File data.
    Data {
        /// How long it is by the message's count.
        declared: u32,
        /// What was captured of it.
        bytes: &'a [u8],
    },
    /// Directory entries.
    Directory {
        /// How long they are by the message's count.
        declared: u32,
        /// What was captured of them: see [`DirectoryEntries`].
        bytes: &'a [u8],
    },
}

impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Type(kind) => kind.fmt(f),
            Self::Tag(tag) => tag.fmt(f),
            Self::Fid(fid) => fid.fmt(f),
            Self::Number(number) => number.fmt(f),
            Self::Octal(bits) => write!(f, "0{bits:o}"),
            Self::Mask(bits) => write!(f, "{bits:#x}"),
            Self::Errno(errno) => errno.fmt(f),
            Self::Text(bytes) => write!(f, "\"{}\"", sanitize(bytes)),
            Self::Qid(qid) => qid.fmt(f),
            Self::Data { declared, .. } => write!(f, "{declared} bytes"),
            Self::Directory { declared, bytes } => {
                let captured = DirectoryEntries::new(bytes).count();
                if bytes.len() < declared as usize {
                    write!(f, "{declared} bytes, {captured} entries captured")
                } else {
                    write!(f, "{captured} entries")
                }
            }
        }
    }
}
