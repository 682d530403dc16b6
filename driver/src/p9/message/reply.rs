//! Replies, as what was asked for.

use super::{Attributes, FileSystem, LockKind, LockStatus, Qid};

/// A directory entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DirectoryEntry {
    /// What it is.
    pub qid: Qid,
    /// Where reading goes on behind it.
    pub offset: u64,
    /// `DT_*` of readdir(3).
    pub kind: u8,
    /// Its name: bytes, as Linux has it.
    pub name: Vec<u8>,
}

/// A reply, by what was asked.
#[derive(Clone, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "fields are named as in the protocol's text")]
pub enum Reply {
    Version {
        msize: u32,
        version: Vec<u8>,
    },
    Attach {
        qid: Qid,
    },
    Walk {
        qids: Vec<Qid>,
    },
    Open {
        qid: Qid,
        iounit: u32,
    },
    Read {
        data: Vec<u8>,
    },
    Write {
        count: u32,
    },
    Readdir {
        entries: Vec<DirectoryEntry>,
    },
    Getattr(Box<Attributes>),
    Mkdir {
        qid: Qid,
    },
    Symlink {
        qid: Qid,
    },
    Mknod {
        qid: Qid,
    },
    Readlink {
        target: Vec<u8>,
    },
    Statfs(Box<FileSystem>),
    Xattrwalk {
        size: u64,
    },
    Lock {
        status: LockStatus,
    },
    Getlock(HeldLock),
    Auth {
        aqid: Qid,
    },
    /// Nothing but that it was done.
    Done,
}

/// The lock that is in the way, or that there is none (`kind` is then
/// [`LockKind::Unlock`]).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HeldLock {
    /// What kind.
    pub kind: LockKind,
    /// Its first byte.
    pub start: u64,
    /// Its bytes; 0: to the end of the file.
    pub length: u64,
    /// Whose it is.
    pub proc_id: u32,
    /// On which machine.
    pub client_id: Vec<u8>,
}

/// What a reply says: the answer, or an errno.
pub type Answer = Result<Reply, rustix::io::Errno>;
