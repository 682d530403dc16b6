//! How a message's fields stand in it, for whoever goes through them one by one.

use super::Dialect;

/// How a field stands in a message. Integers are little-endian.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Shape {
    U8,
    U16,
    U32,
    U64,
    /// 2 bytes.
    Tag,
    /// 4 bytes.
    Fid,
    /// 4 bytes, read in octal.
    Octal,
    /// 1 byte, read in hexadecimal.
    Mask8,
    /// 4 bytes, read in hexadecimal.
    Mask32,
    /// 8 bytes, read in hexadecimal.
    Mask64,
    /// 4 bytes.
    Errno,
    /// A 2-byte length, then the string.
    Text,
    /// 13 bytes.
    Qid,
    /// As many strings as the field before says.
    Texts,
    /// As many qids as the field before says.
    Qids,
    /// As many bytes as the field before says.
    Data,
    /// As many bytes of directory entries as the field before says.
    Directory,
}

/// Which dialects have a field.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum When {
    Always,
    /// 9P2000.u and 9P2000.L.
    Extended,
    /// 9P2000.u.
    Unix,
}

impl When {
    pub(super) const fn is_in(self, dialect: Dialect) -> bool {
        match self {
            Self::Always => true,
            Self::Extended => !matches!(dialect, Dialect::Plain),
            Self::Unix => matches!(dialect, Dialect::Unix),
        }
    }
}

/// One field: its name, its shape and whether a one-line summary shows it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spec {
    pub(super) name: &'static str,
    pub(super) shape: Shape,
    pub(super) when: When,
    pub(super) in_summary: bool,
}
