//! What a file's attributes are, and what they shall become.

use super::Qid;

/// What getattr tells of a file (the fields of `GETATTR_BASIC`).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[expect(missing_docs, reason = "fields are named as in stat(2)")]
pub struct Attributes {
    /// Which of the fields the server filled in.
    pub valid: u64,
    pub qid: Qid,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub nlink: u64,
    pub rdev: u64,
    pub size: u64,
    pub blksize: u64,
    pub blocks: u64,
    /// Seconds and nanoseconds of the last access.
    pub atime: (u64, u64),
    /// Seconds and nanoseconds of the last modification.
    pub mtime: (u64, u64),
    /// Seconds and nanoseconds of the last status change.
    pub ctime: (u64, u64),
}

/// A time that setattr sets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SetTime {
    /// The server's own, at the moment it gets to it.
    Now,
    /// This one: seconds and nanoseconds since 1970.
    To(u64, u64),
}

/// What setattr changes (chmod(2), chown(2), truncate(2), utimensat(2)); what is
/// `None` stays as it is.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[expect(missing_docs, reason = "fields are named as in stat(2)")]
pub struct SetAttributes {
    pub mode: Option<u32>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub size: Option<u64>,
    pub atime: Option<SetTime>,
    pub mtime: Option<SetTime>,
    /// Have the server set the status change time (`P9_SETATTR_CTIME`).
    pub ctime: bool,
}

impl SetAttributes {
    /// `valid` as Tsetattr has it (Linux `P9_ATTR_*`).
    pub(super) fn valid(&self) -> u32 {
        let set = |time: Option<SetTime>| matches!(time, Some(SetTime::To(..)));
        let bits = [
            self.mode.is_some(),
            self.uid.is_some(),
            self.gid.is_some(),
            self.size.is_some(),
            self.atime.is_some(),
            self.mtime.is_some(),
            self.ctime,
            set(self.atime),
            set(self.mtime),
        ];
        bits.iter()
            .enumerate()
            .fold(0, |valid, (bit, on)| valid | u32::from(*on) << bit)
    }
}

/// What statfs tells of a file system: the fields of statfs(2).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[expect(missing_docs, reason = "fields are named as in the protocol's text")]
pub struct FileSystem {
    /// Its magic number.
    pub kind: u32,
    pub bsize: u32,
    pub blocks: u64,
    pub bfree: u64,
    pub bavail: u64,
    pub files: u64,
    pub ffree: u64,
    pub fsid: u64,
    pub namelen: u32,
}
