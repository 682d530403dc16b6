//! Messages as the client needs them: requests to encode, replies to decode.
//!
//! Numbers are little-endian, strings are a 16-bit length and bytes; every
//! message begins with `size[4] type[1] tag[2]`.

mod attributes;
mod decode;
mod encode;
mod lock;
mod reply;
mod request;
#[cfg(all(test, not(loom)))]
mod tests;

pub use attributes::{Attributes, FileSystem, SetAttributes, SetTime};
pub use decode::DecodeError;
pub use encode::EncodeError;
pub use lock::{LOCK_BLOCK, Lock, LockKind, LockStatus};
pub use reply::{Answer, DirectoryEntry, HeldLock, Reply};
pub use request::Request;

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

/// Declares the requests of 9P2000.L with their numbers, once for all uses.
macro_rules! types {
    ($($name:ident = $number:literal),* $(,)?) => {
        /// The requests of 9P2000.L (Linux `enum p9_msg_t`); a reply's number is its
        /// request's plus one.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[repr(u8)]
        #[expect(missing_docs, reason = "the names are the protocol's own")]
        pub enum Type {
            $($name = $number,)*
        }

        impl Type {
            /// Every request there is, in the order of their numbers.
            pub const ALL: [Self; [$($number),*].len()] = [$(Self::$name),*];
        }
    };
}

types! {
    Statfs = 8,
    Lopen = 12,
    Lcreate = 14,
    Symlink = 16,
    Mknod = 18,
    Rename = 20,
    Readlink = 22,
    Getattr = 24,
    Setattr = 26,
    Xattrwalk = 30,
    Xattrcreate = 32,
    Readdir = 40,
    Fsync = 50,
    Lock = 52,
    Getlock = 54,
    Link = 70,
    Mkdir = 72,
    Renameat = 74,
    Unlinkat = 76,
    Version = 100,
    Auth = 102,
    Attach = 104,
    Flush = 108,
    Walk = 110,
    Read = 116,
    Write = 118,
    Clunk = 120,
    Remove = 122,
}
