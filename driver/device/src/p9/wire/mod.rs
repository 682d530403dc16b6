//! The 9P2000.L messages, as bytes.
//!
//! [`request`] reads what a client sends and [`reply`] writes what the server
//! answers. Neither trusts the other side: a request is only believed once
//! every length in it has been checked, and a reply never grows beyond the
//! room it was given.
//!
//! This codec is deliberately apart from the driver's encoder and from the
//! analyzer's decoder, so that each of the three checks the other two.
//! Numbers and layouts are those of 9P2000.L and of Linux `include/net/9p/9p.h`.

mod fields;
pub mod reply;
pub mod request;

use core::fmt;

/// The one protocol version this server speaks.
pub const VERSION: &[u8] = b"9P2000.L";

/// What a server answers to a version it does not know (version(5)).
pub const UNKNOWN_VERSION: &[u8] = b"unknown";

/// Bytes in front of every message's body: `size[4] type[1] tag[2]`.
pub const HEADER_LEN: usize = 7;

/// Bytes of an `Rlerror`: the smallest room in which an error can be told.
pub const RLERROR_LEN: usize = HEADER_LEN + 4;

/// Bytes in front of the data of `Rread` and `Rreaddir`: header and `count[4]`.
pub const READ_HEADER_LEN: usize = HEADER_LEN + 4;

/// Bytes that a read or write costs beside its data, as clients reckon it:
/// Linux `P9_IOHDRSZ`.
pub const IO_HEADER_LEN: u32 = 24;

/// Names in one `Twalk` at most: Linux `P9_MAXWELEM`.
pub const MAX_WALK_NAMES: usize = 16;

/// `unlinkat` flag: remove a directory. Linux `P9_DOTL_AT_REMOVEDIR`.
pub const AT_REMOVEDIR: u32 = 0x200;

/// What a Tsetattr changes: Linux `P9_ATTR_*`.
pub mod setattr {
    #![expect(missing_docs, reason = "the names are the protocol's own")]
    pub const MODE: u32 = 0x001;
    pub const UID: u32 = 0x002;
    pub const GID: u32 = 0x004;
    pub const SIZE: u32 = 0x008;
    pub const ATIME: u32 = 0x010;
    pub const MTIME: u32 = 0x020;
    pub const CTIME: u32 = 0x040;
    pub const ATIME_SET: u32 = 0x080;
    pub const MTIME_SET: u32 = 0x100;
}

/// Kinds of record locks: Linux `P9_LOCK_TYPE_*`.
pub mod lock_kind {
    #![expect(missing_docs, reason = "the names are the protocol's own")]
    pub const READ: u8 = 0;
    pub const WRITE: u8 = 1;
    pub const UNLOCK: u8 = 2;
}

/// What became of a lock: Linux `P9_LOCK_*`.
pub mod lock_status {
    #![expect(missing_docs, reason = "the names are the protocol's own")]
    pub const SUCCESS: u8 = 0;
    pub const BLOCKED: u8 = 1;
}

/// The tag of a message: what a reply is matched to its request by.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Tag(pub u16);

/// A client's name for a file it walked to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Fid(pub u32);

impl Fid {
    /// "No fid": Linux `P9_NOFID`. Never names a file.
    pub const NONE: Self = Self(u32::MAX);
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Fid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A server's name for a file: two files are the same exactly when their
/// `path` is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Qid {
    /// What kind of file: [`Qid::DIRECTORY`], [`Qid::SYMLINK`] or [`Qid::FILE`].
    pub kind: u8,
    /// Changes when the file's content does; 0 where it was not looked up.
    pub version: u32,
    /// Unique among the files that one server serves.
    pub path: u64,
}

impl Qid {
    /// `type[1] version[4] path[8]`.
    pub const LEN: usize = 13;
    /// Linux `P9_QTDIR`.
    pub const DIRECTORY: u8 = 0x80;
    /// Linux `P9_QTSYMLINK`.
    pub const SYMLINK: u8 = 0x02;
    /// Linux `P9_QTFILE`.
    pub const FILE: u8 = 0x00;
}

/// The type byte of a message. An answer's is its request's plus one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct MessageType(pub u8);

macro_rules! message_types {
    ($($(#[$doc:meta])* $name:ident = $number:literal),* $(,)?) => {
        impl MessageType {
            $($(#[$doc])* pub const $name: Self = Self($number);)*
        }
    };
}

message_types! {
    /// The error answer to any request.
    RLERROR = 7,
    /// File system statistics.
    TSTATFS = 8,
    /// Open a file.
    TLOPEN = 12,
    /// Create a regular file and open it.
    TLCREATE = 14,
    /// Create a symbolic link.
    TSYMLINK = 16,
    /// Create a FIFO, a socket or a device node.
    TMKNOD = 18,
    /// Move what a fid stands for.
    TRENAME = 20,
    /// Read where a symbolic link points.
    TREADLINK = 22,
    /// Attributes of a file.
    TGETATTR = 24,
    /// Change attributes of a file.
    TSETATTR = 26,
    /// Go to an extended attribute, or to the list of all.
    TXATTRWALK = 30,
    /// Write an extended attribute.
    TXATTRCREATE = 32,
    /// Entries of a directory.
    TREADDIR = 40,
    /// Write a file's data to its disk.
    TFSYNC = 50,
    /// Take or give up a record lock.
    TLOCK = 52,
    /// Ask for the lock in the way.
    TGETLOCK = 54,
    /// Give a file one more name.
    TLINK = 70,
    /// Create a directory.
    TMKDIR = 72,
    /// Move a name.
    TRENAMEAT = 74,
    /// Remove a name from a directory.
    TUNLINKAT = 76,
    /// Begin a session.
    TVERSION = 100,
    /// Authenticate (not offered).
    TAUTH = 102,
    /// Name the root by a fid.
    TATTACH = 104,
    /// Take back an earlier request.
    TFLUSH = 108,
    /// Go from one fid to another by names.
    TWALK = 110,
    /// Read data.
    TREAD = 116,
    /// Write data.
    TWRITE = 118,
    /// Forget a fid.
    TCLUNK = 120,
    /// Remove a file and forget its fid.
    TREMOVE = 122,
}

impl MessageType {
    /// The type of the answer to this request.
    #[must_use]
    pub const fn answer(self) -> Self {
        Self(self.0.wrapping_add(1))
    }
}

/// What stands in front of every message: `size[4] type[1] tag[2]`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// The message's own idea of its length, this header included; unchecked.
    pub size: u32,
    /// Which message it is.
    pub kind: MessageType,
    /// What the answer must carry.
    pub tag: Tag,
}

impl Header {
    /// Reads the header, or `None` if there are not even its seven bytes.
    #[must_use]
    pub fn peek(message: &[u8]) -> Option<Self> {
        let (header, _) = message.split_first_chunk::<HEADER_LEN>()?;
        let [s0, s1, s2, s3, kind, t0, t1] = *header;
        Some(Self {
            size: u32::from_le_bytes([s0, s1, s2, s3]),
            kind: MessageType(kind),
            tag: Tag(u16::from_le_bytes([t0, t1])),
        })
    }
}
