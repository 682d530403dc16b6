//! Requests.

use super::{Fid, Lock, READ_OVERHEAD, SetAttributes, Type};

/// A request.
#[derive(Clone, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "fields are named as in the protocol's text")]
pub enum Request<'a> {
    Version {
        msize: u32,
        version: &'a str,
    },
    Auth {
        afid: Fid,
        uname: &'a str,
        aname: &'a str,
        n_uname: u32,
    },
    Attach {
        fid: Fid,
        /// What an Auth has made known, if the server asks for that.
        afid: Option<Fid>,
        uname: &'a str,
        aname: &'a str,
        n_uname: u32,
    },
    Flush {
        oldtag: u16,
    },
    Walk {
        fid: Fid,
        newfid: Fid,
        names: &'a [&'a [u8]],
    },
    Lopen {
        fid: Fid,
        flags: u32,
    },
    Lcreate {
        fid: Fid,
        name: &'a [u8],
        flags: u32,
        mode: u32,
        gid: u32,
    },
    Read {
        fid: Fid,
        offset: u64,
        count: u32,
    },
    Write {
        fid: Fid,
        offset: u64,
        data: &'a [u8],
    },
    /// A Twrite whose data stand elsewhere and go to the device from there: only what
    /// stands before them is encoded.
    WriteFrom {
        fid: Fid,
        offset: u64,
        count: u32,
    },
    Readdir {
        fid: Fid,
        offset: u64,
        count: u32,
    },
    Getattr {
        fid: Fid,
        request_mask: u64,
    },
    Mkdir {
        dfid: Fid,
        name: &'a [u8],
        mode: u32,
        gid: u32,
    },
    Unlinkat {
        dirfid: Fid,
        name: &'a [u8],
        flags: u32,
    },
    Statfs {
        fid: Fid,
    },
    Symlink {
        dfid: Fid,
        name: &'a [u8],
        target: &'a [u8],
        gid: u32,
    },
    Mknod {
        dfid: Fid,
        name: &'a [u8],
        mode: u32,
        major: u32,
        minor: u32,
        gid: u32,
    },
    Rename {
        fid: Fid,
        dfid: Fid,
        name: &'a [u8],
    },
    Readlink {
        fid: Fid,
    },
    Setattr {
        fid: Fid,
        attributes: SetAttributes,
    },
    Xattrwalk {
        fid: Fid,
        newfid: Fid,
        name: &'a [u8],
    },
    Xattrcreate {
        fid: Fid,
        name: &'a [u8],
        size: u64,
        flags: u32,
    },
    Fsync {
        fid: Fid,
        datasync: bool,
    },
    Lock {
        fid: Fid,
        lock: Lock<'a>,
        flags: u32,
    },
    Getlock {
        fid: Fid,
        lock: Lock<'a>,
    },
    Link {
        dfid: Fid,
        fid: Fid,
        name: &'a [u8],
    },
    Renameat {
        olddirfid: Fid,
        oldname: &'a [u8],
        newdirfid: Fid,
        newname: &'a [u8],
    },
    Clunk {
        fid: Fid,
    },
    Remove {
        fid: Fid,
    },
}

impl Request<'_> {
    /// The message's type.
    pub const fn kind(&self) -> Type {
        match self {
            Self::Version { .. } => Type::Version,
            Self::Auth { .. } => Type::Auth,
            Self::Attach { .. } => Type::Attach,
            Self::Flush { .. } => Type::Flush,
            Self::Walk { .. } => Type::Walk,
            Self::Lopen { .. } => Type::Lopen,
            Self::Lcreate { .. } => Type::Lcreate,
            Self::Read { .. } => Type::Read,
            Self::Readdir { .. } => Type::Readdir,
            Self::Getattr { .. } => Type::Getattr,
            Self::Mkdir { .. } => Type::Mkdir,
            Self::Unlinkat { .. } => Type::Unlinkat,
            Self::Statfs { .. } => Type::Statfs,
            Self::Symlink { .. } => Type::Symlink,
            Self::Mknod { .. } => Type::Mknod,
            Self::Rename { .. } => Type::Rename,
            Self::Readlink { .. } => Type::Readlink,
            Self::Setattr { .. } => Type::Setattr,
            Self::Xattrwalk { .. } => Type::Xattrwalk,
            Self::Xattrcreate { .. } => Type::Xattrcreate,
            Self::Fsync { .. } => Type::Fsync,
            Self::Lock { .. } => Type::Lock,
            Self::Getlock { .. } => Type::Getlock,
            Self::Link { .. } => Type::Link,
            Self::Renameat { .. } => Type::Renameat,
            Self::Clunk { .. } => Type::Clunk,
            Self::Remove { .. } => Type::Remove,
            Self::Write { .. } | Self::WriteFrom { .. } => Type::Write,
        }
    }

    /// How long the reply can be, so that its buffer need not be `msize` for
    /// every request (Linux does the same in `p9_msg_buf_size`).
    pub fn reply_capacity(&self) -> u32 {
        match self {
            Self::Read { count, .. } | Self::Readdir { count, .. } => {
                count.saturating_add(READ_OVERHEAD)
            }
            // A target may be as long as a path (`PATH_MAX`), and a machine's name is
            // what it is called.
            Self::Readlink { .. } | Self::Getlock { .. } => 4096,
            // The longest other reply is Rgetattr with 160 bytes, or an Rwalk of
            // 16 qids with 217; a version string may be anything short.
            _ => 1024,
        }
    }
}
