//! Message types and the small things messages are made of.

use std::fmt;

use super::Dialect;

/// The type byte of a message: even for a request (T), odd for its reply (R).
///
/// Shown by name: `Tread`; a number that 9P does not define as `type 200`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct MessageType(pub u8);

macro_rules! message_types {
    ($($number:literal $t:ident $r:ident $name:literal $doc:literal)*) => {
        #[allow(non_upper_case_globals, reason = "the protocol spells them so")]
        impl MessageType {
            $(
                #[doc = concat!("Request: ", $doc, ".")]
                pub const $t: Self = Self($number);
                #[doc = concat!("Reply: ", $doc, ".")]
                pub const $r: Self = Self($number + 1);
            )*

            /// Every request type with a name.
            pub const REQUESTS: &[Self] = &[$(Self::$t),*];

            /// The operation, without direction: `read`; `unknown` for numbers
            /// that 9P does not define.
            pub const fn operation_name(self) -> &'static str {
                match self.0 & !1 {
                    $($number => $name,)*
                    _ => "unknown",
                }
            }

            /// Whether 9P (2000, 2000.u or 2000.L) defines this number.
            pub const fn is_known(self) -> bool {
                matches!(self.0 & !1, $($number)|*)
            }
        }
    };
}

message_types! {
    6 Tlerror Rlerror "lerror" "an error, as a Linux errno; Tlerror is never sent"
    8 Tstatfs Rstatfs "statfs" "file system information"
    12 Tlopen Rlopen "lopen" "open a fid"
    14 Tlcreate Rlcreate "lcreate" "create a regular file"
    16 Tsymlink Rsymlink "symlink" "create a symbolic link"
    18 Tmknod Rmknod "mknod" "create a device node"
    20 Trename Rrename "rename" "rename by fid"
    22 Treadlink Rreadlink "readlink" "read a symbolic link"
    24 Tgetattr Rgetattr "getattr" "file attributes"
    26 Tsetattr Rsetattr "setattr" "set file attributes"
    30 Txattrwalk Rxattrwalk "xattrwalk" "prepare to read an extended attribute"
    32 Txattrcreate Rxattrcreate "xattrcreate" "prepare to set an extended attribute"
    40 Treaddir Rreaddir "readdir" "directory entries"
    50 Tfsync Rfsync "fsync" "write cached data"
    52 Tlock Rlock "lock" "take or release a record lock"
    54 Tgetlock Rgetlock "getlock" "test for a record lock"
    70 Tlink Rlink "link" "create a hard link"
    72 Tmkdir Rmkdir "mkdir" "create a directory"
    74 Trenameat Rrenameat "renameat" "rename by names"
    76 Tunlinkat Runlinkat "unlinkat" "remove a name"
    100 Tversion Rversion "version" "protocol version and message size"
    102 Tauth Rauth "auth" "authenticate"
    104 Tattach Rattach "attach" "begin at the root"
    106 Terror Rerror "error" "an error as text, not of 9P2000.L"
    108 Tflush Rflush "flush" "give up a request"
    110 Twalk Rwalk "walk" "descend a directory tree"
    112 Topen Ropen "open" "open, not of 9P2000.L"
    114 Tcreate Rcreate "create" "create, not of 9P2000.L"
    116 Tread Rread "read" "read from a file"
    118 Twrite Rwrite "write" "write to a file"
    120 Tclunk Rclunk "clunk" "forget a fid"
    122 Tremove Rremove "remove" "remove by fid"
    124 Tstat Rstat "stat" "attributes, not of 9P2000.L"
    126 Twstat Rwstat "wstat" "set attributes, not of 9P2000.L"
}

impl MessageType {
    /// Whether it is a request (T).
    pub const fn is_request(self) -> bool {
        self.0 & 1 == 0
    }

    /// Whether this dialect has it. What 9P does not define, none has.
    pub const fn is_in(self, dialect: Dialect) -> bool {
        let number = self.0 & !1;
        let is_linux = number < 100;
        // Error, open, create, stat, wstat.
        let is_old = matches!(number, 106 | 112 | 114 | 124 | 126);
        self.is_known()
            && match dialect {
                Dialect::Linux => !is_old,
                Dialect::Plain | Dialect::Unix => !is_linux,
            }
    }

    /// The request's reply type.
    #[must_use]
    pub const fn reply(self) -> Self {
        Self(self.0 | 1)
    }
}

impl fmt::Display for MessageType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.is_known() {
            return write!(f, "type {}", self.0);
        }
        let direction = if self.is_request() { 'T' } else { 'R' };
        write!(f, "{direction}{}", self.operation_name())
    }
}

/// What joins a reply to its request, chosen by the client.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Tag(pub u16);

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            u16::MAX => f.write_str("NOTAG"),
            tag => tag.fmt(f),
        }
    }
}

/// The client's number for a file.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Fid(pub u32);

impl fmt::Display for Fid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            u32::MAX => f.write_str("NOFID"),
            fid => fid.fmt(f),
        }
    }
}

/// The server's identity of a file: 13 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct Qid {
    /// What it is: 0x80 directory, 0x02 symbolic link, 0 file.
    pub kind: u8,
    /// Rises with each change.
    pub version: u32,
    /// Unique on the server.
    pub path: u64,
}

impl Qid {
    /// Bytes of one in a message.
    pub const LEN: usize = 13;
}

impl fmt::Display for Qid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x}.{:x}.{:x}", self.kind, self.version, self.path)
    }
}
