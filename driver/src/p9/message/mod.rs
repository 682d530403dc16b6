//! Messages as the client needs them: requests to encode, replies to decode.
//!
//! Numbers are little-endian, strings are a 16-bit length and bytes; every
//! message begins with `size[4] type[1] tag[2]`.

mod reply;
mod request;
#[cfg(all(test, not(loom)))]
mod tests;

pub use reply::{Answer, Attributes, DecodeError, DirectoryEntry, Reply};
pub use request::{EncodeError, Request};

/// Bytes of `size[4] type[1] tag[2]`.
pub const HEADER_LEN: usize = 7;
/// `P9_NOTAG`: the tag of Tversion.
pub const NOTAG: u16 = u16::MAX;
/// `P9_NOFID`: no fid, in Tattach's `afid`.
pub const NOFID: u32 = u32::MAX;
/// The most names one Twalk may hold (walk(5)).
pub const MAX_WALK: usize = 16;
/// Bytes of an Rread or Rreaddir before its data: header and `count[4]`.
pub const READ_OVERHEAD: u32 = 11;
/// Bytes of a Twrite before its data: header, fid, offset and count.
pub const WRITE_OVERHEAD: u32 = 23;
/// `P9_GETATTR_BASIC`: all fields up to `blocks`.
pub const GETATTR_BASIC: u64 = 0x7ff;
/// `AT_REMOVEDIR` in Tunlinkat's flags: remove a directory.
pub const UNLINK_DIRECTORY: u32 = 0x200;

/// A file's number in the conversation: what the client names it by.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Fid(pub u32);

/// "A unique file system object" (13 bytes on the wire).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct Qid {
    /// What it is: `0x80` directory, `0x02` symbolic link.
    pub kind: u8,
    /// Changes with the content.
    pub version: u32,
    /// Unique on the server: the inode number.
    pub path: u64,
}

impl Qid {
    /// Whether it is a directory.
    pub const fn is_directory(self) -> bool {
        self.kind & 0x80 != 0
    }
}

/// The message types of 9P2000.L that the client speaks (Linux `enum
/// p9_msg_t`); a reply's number is its request's plus one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
#[expect(missing_docs, reason = "the names are the protocol's own")]
pub enum Type {
    Lopen = 12,
    Lcreate = 14,
    Getattr = 24,
    Readdir = 40,
    Mkdir = 72,
    Unlinkat = 76,
    Version = 100,
    Attach = 104,
    Walk = 110,
    Read = 116,
    Write = 118,
    Clunk = 120,
}

impl Type {
    /// Every type the client speaks.
    pub const ALL: [Self; 12] = [
        Self::Lopen,
        Self::Lcreate,
        Self::Getattr,
        Self::Readdir,
        Self::Mkdir,
        Self::Unlinkat,
        Self::Version,
        Self::Attach,
        Self::Walk,
        Self::Read,
        Self::Write,
        Self::Clunk,
    ];
}
