//! POSIX record locks, as 9P2000.L carries them (fcntl(2), `F_SETLK`, `F_GETLK`).

/// `P9_LOCK_FLAGS_BLOCK`: the client would rather wait. The server does not: it answers
/// [`LockStatus::Blocked`], and the client asks again.
pub const LOCK_BLOCK: u32 = 1;

/// What kind of lock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum LockKind {
    /// `P9_LOCK_TYPE_RDLCK`: shared.
    Read = 0,
    /// `P9_LOCK_TYPE_WRLCK`: exclusive.
    Write = 1,
    /// `P9_LOCK_TYPE_UNLCK`: none.
    Unlock = 2,
}

impl LockKind {
    pub(super) fn from_raw(raw: u8) -> Option<Self> {
        [Self::Read, Self::Write, Self::Unlock]
            .into_iter()
            .find(|kind| *kind as u8 == raw)
    }
}

/// What became of a request for a lock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum LockStatus {
    /// `P9_LOCK_SUCCESS`: the client has it.
    Success = 0,
    /// `P9_LOCK_BLOCKED`: somebody else has one that conflicts.
    Blocked = 1,
    /// `P9_LOCK_ERROR`: it can't be had.
    Error = 2,
    /// `P9_LOCK_GRACE`: the server has begun anew, and only old locks are given out.
    Grace = 3,
}

impl LockStatus {
    pub(super) fn from_raw(raw: u8) -> Option<Self> {
        [Self::Success, Self::Blocked, Self::Error, Self::Grace]
            .into_iter()
            .find(|status| *status as u8 == raw)
    }
}

/// A range of a file and who wants it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lock<'a> {
    /// Shared, exclusive or none.
    pub kind: LockKind,
    /// Its first byte.
    pub start: u64,
    /// Its bytes; 0 means to the end of the file, however long it grows.
    pub length: u64,
    /// The process that wants it, as its own machine numbers it.
    pub proc_id: u32,
    /// That machine's name (Linux: the nodename).
    pub client_id: &'a str,
}
