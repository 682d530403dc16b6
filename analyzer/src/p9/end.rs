//! How far a message could be decoded, and why no further.

use std::fmt;

/// How the decoding of a message's fields ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// Every field was read, and the message ends behind the last.
    Whole,
    /// The capture cut the message in or before this field.
    Truncated {
        /// The first field that is not whole.
        field: &'static str,
    },
    /// The bytes contradict the protocol.
    Malformed {
        /// In which field; `end` for bytes behind the last.
        field: &'static str,
        /// Where in the message, in bytes.
        offset: usize,
        /// What is wrong.
        problem: Problem,
    },
    /// The message's type is none that 9P has; its header is all there is.
    NotDecoded,
}

/// What is wrong with a malformed field.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Problem {
    /// The field needs more bytes than the message has.
    BeyondEnd,
    /// Bytes follow behind the last field.
    Trailing {
        /// How many.
        bytes: usize,
    },
    /// The bytes here are no whole directory entry.
    NotAnEntry,
    /// The size that stands here is not what follows.
    Size {
        /// What it says.
        says: u64,
        /// Bytes that follow.
        follow: u64,
    },
    /// The message is longer than the buffer it stands in.
    LargerThanBuffer {
        /// Bytes of the buffer.
        buffer: u32,
    },
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole => f.write_str("whole"),
            Self::Truncated { field } => write!(f, "cut by the capture at field `{field}`"),
            Self::NotDecoded => f.write_str("not decoded"),
            Self::Malformed {
                field,
                offset,
                problem,
            } => {
                write!(f, "malformed: field `{field}` at offset {offset}: ")?;
                match problem {
                    Problem::BeyondEnd => f.write_str("the message ends before it does"),
                    Problem::Trailing { bytes } => write!(f, "{bytes} bytes too many"),
                    Problem::NotAnEntry => f.write_str("no whole directory entry stands there"),
                    Problem::Size { says, follow } => {
                        write!(f, "it says {says} bytes, and {follow} follow")
                    }
                    Problem::LargerThanBuffer { buffer } => {
                        write!(f, "larger than the buffer's {buffer} bytes")
                    }
                }
            }
        }
    }
}
