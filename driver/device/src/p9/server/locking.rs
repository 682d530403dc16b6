//! Record locks: lock, getlock.

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::{FileServer, Session};
use crate::p9::fids::{Handle, Open};
use crate::p9::locks::{Owner, Range};
use crate::p9::wire::reply::Reply;
use crate::p9::wire::request::Lock;
use crate::p9::wire::{Fid, lock_kind, lock_status};

impl FileServer {
    /// fcntl(2), `F_SETLK`. Nobody waits here: a client that would rather wait is told
    /// that somebody has it, and asks again.
    pub(super) fn lock(
        session: &Session,
        fid: Fid,
        lock: Lock<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<(), Errno> {
        let handle = session.fids.get(fid)?;
        may_lock(&handle, lock.kind)?;
        let (range, owner) = (Range::new(lock.start, lock.length)?, owner(lock));
        let file = handle.node().identity();
        let taken = match lock.kind {
            lock_kind::UNLOCK => {
                session.locks().give_up(file, range, &owner);
                true
            }
            kind => {
                let exclusive = kind == lock_kind::WRITE;
                session.locks().take(fid, file, range, exclusive, owner)?
            }
        };
        reply.lock(if taken {
            lock_status::SUCCESS
        } else {
            lock_status::BLOCKED
        })
    }

    /// fcntl(2), `F_GETLK`.
    pub(super) fn getlock(
        session: &Session,
        fid: Fid,
        lock: Lock<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<(), Errno> {
        let handle = session.fids.get(fid)?;
        may_lock(&handle, lock_kind::UNLOCK)?;
        let exclusive = match lock.kind {
            lock_kind::READ => false,
            lock_kind::WRITE => true,
            _ => return Err(Errno::INVAL),
        };
        let (range, owner) = (Range::new(lock.start, lock.length)?, owner(lock));
        let locks = session.locks();
        let held = locks.conflict(handle.node().identity(), range, exclusive, &owner);
        reply.getlock(match held {
            Some(held) => Lock {
                kind: if held.exclusive {
                    lock_kind::WRITE
                } else {
                    lock_kind::READ
                },
                start: held.range.start(),
                length: held.range.length(),
                proc_id: held.owner.process,
                client_id: &held.owner.client,
            },
            None => Lock {
                kind: lock_kind::UNLOCK,
                ..lock
            },
        })
    }
}

fn owner(lock: Lock<'_>) -> Owner {
    Owner {
        client: lock.client_id.into(),
        process: lock.proc_id,
    }
}

/// `EBADF` unless the file is open, and open for what the lock is about.
fn may_lock(handle: &Handle, kind: u8) -> Result<(), Errno> {
    let file = match handle.open() {
        Open::File(file) => file,
        Open::Directory(_) if kind != lock_kind::WRITE => return Ok(()),
        _ => return Err(Errno::BADF),
    };
    let mode = rustix::fs::fcntl_getfl(file)? & OFlags::ACCMODE;
    match kind {
        lock_kind::READ if mode == OFlags::WRONLY => Err(Errno::BADF),
        lock_kind::WRITE if mode == OFlags::RDONLY => Err(Errno::BADF),
        lock_kind::READ | lock_kind::WRITE | lock_kind::UNLOCK => Ok(()),
        _ => Err(Errno::INVAL),
    }
}
