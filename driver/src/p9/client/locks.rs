//! POSIX record locks.

use super::super::message::{Fid, HeldLock, Lock, LockStatus, Reply, Request};
use super::{Client, ClientError, unexpected};
use crate::instrument::Instrument;

impl<I: Instrument> Client<I> {
    /// Takes or gives up a lock (fcntl(2), `F_SETLK`); `flags` may be
    /// [`LOCK_BLOCK`](crate::p9::message::LOCK_BLOCK).
    ///
    /// # Errors
    /// What the server says. That somebody else has it is no error but
    /// [`LockStatus::Blocked`].
    pub fn lock(&self, fid: Fid, lock: Lock<'_>, flags: u32) -> Result<LockStatus, ClientError> {
        match self.call(&Request::Lock { fid, lock, flags })? {
            Reply::Lock { status } => Ok(status),
            _ => Err(unexpected()),
        }
    }

    /// The lock that would be in this one's way (fcntl(2), `F_GETLK`), if there is one:
    /// else its kind is [`LockKind::Unlock`](crate::p9::message::LockKind::Unlock).
    ///
    /// # Errors
    /// What the server says.
    pub fn getlock(&self, fid: Fid, lock: Lock<'_>) -> Result<HeldLock, ClientError> {
        match self.call(&Request::Getlock { fid, lock })? {
            Reply::Getlock(held) => Ok(held),
            _ => Err(unexpected()),
        }
    }
}
