//! The file server: one request in, one answer out.

mod attributes;
mod content;
mod directory;
mod locking;
mod naming;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use rustix::io::Errno;

use super::budget::Budget;
use super::error::ServeError;
use super::fids::{Fids, Open};
use super::locks::Locks;
use super::tree::Tree;
use super::wire::reply::Reply;
use super::wire::request::Request;
use super::wire::{Fid, Header, IO_HEADER_LEN, RLERROR_LEN, UNKNOWN_VERSION, VERSION};
use super::{Access, MAX_MSIZE, MIN_MSIZE};

/// Serves one directory to any number of threads at once. See the
/// [module](super) for what it answers and how it keeps clients inside.
#[derive(Debug)]
pub struct FileServer {
    tree: Tree,
    access: Access,
    /// `None` until a version is agreed on. A new version puts a new session
    /// here; what is still running holds on to the one it began in.
    session: RwLock<Option<Arc<Session>>>,
}

/// What one `Tversion` begins and the next one ends.
#[derive(Debug)]
struct Session {
    msize: u32,
    fids: Fids,
    locks: Mutex<Locks>,
}

impl FileServer {
    /// A server for the directory at `root`. Links on the way to it are
    /// followed; below it none are.
    ///
    /// Clients can make it hold a quarter of the descriptors that the process
    /// may open; see [`Self::with_descriptor_limit`].
    ///
    /// # Errors
    /// [`ServeError`], which names the path, if there is no directory that can
    /// be read (and written, with [`Access::ReadWrite`]), or no procfs.
    pub fn new(root: &Path, access: Access) -> Result<Self, ServeError> {
        Ok(Self {
            tree: Tree::open(root, access, Budget::of_process())?,
            access,
            session: RwLock::new(None),
        })
    }

    /// Limits how many descriptors clients can make the server hold: each fid
    /// costs one for every level below the root (fids cloned from it share
    /// them), and one more when opened. Beyond the limit they get `EMFILE`.
    #[must_use]
    pub fn with_descriptor_limit(mut self, limit: usize) -> Self {
        self.tree.set_descriptor_limit(limit);
        self
    }

    /// Answers one request. `reply` is emptied first and then holds one whole
    /// R message of at most `reply_capacity` bytes, and at most the size agreed
    /// on for the session.
    ///
    /// It is left empty, which on a ring means a used length of 0, only if no
    /// answer is possible: the request has no whole header and so no tag, or
    /// there is not even the room for an `Rlerror` (11 bytes).
    ///
    /// Blocks for as long as the file system takes. `Tflush` is answered at
    /// once and takes nothing back, since this function knows of one request
    /// only; [`Pool`](super::Pool) does the flushing.
    pub fn handle(&self, request: &[u8], reply: &mut Vec<u8>, reply_capacity: usize) {
        let Some(header) = Header::peek(request) else {
            reply.clear();
            return;
        };
        let session = self.session();
        let msize = session.as_ref().map_or(MIN_MSIZE, |session| session.msize);
        let msize = usize::try_from(msize).unwrap_or(usize::MAX);
        let limit = reply_capacity.min(msize);
        let mut reply = Reply::new(reply, limit, header);
        if limit < RLERROR_LEN {
            return;
        }
        let answered = if request.len() > msize {
            Err(Errno::MSGSIZE)
        } else {
            self.answer(session.as_deref(), request, limit, &mut reply)
        };
        if let Err(errno) = answered {
            reply.error(errno);
        }
    }

    fn answer(
        &self,
        session: Option<&Session>,
        request: &[u8],
        limit: usize,
        reply: &mut Reply<'_>,
    ) -> Result<(), Errno> {
        let request = Request::parse(request).map_err(|_| Errno::INVAL)?;
        // Before anything is done: nothing may have happened when the client
        // is told that it did not.
        if request.smallest_answer() > limit {
            return Err(Errno::MSGSIZE);
        }
        if let Request::Version { msize, version } = request {
            return self.version(msize, version, reply);
        }
        let session = session.ok_or(Errno::PROTO)?;
        match request {
            Request::Attach { fid, afid } => self.attach(session, fid, afid, reply),
            Request::Flush { .. } => reply.empty(),
            Request::Walk { fid, newfid, names } => self.walk(session, fid, newfid, names, reply),
            Request::Clunk { fid } => self.clunk(session, fid, reply),
            Request::Lopen { fid, flags } => self.lopen(session, fid, flags, reply),
            Request::Lcreate {
                fid,
                name,
                flags,
                mode,
            } => self.lcreate(session, fid, name, (flags, mode), reply),
            Request::Read { fid, offset, count } => self.read(session, fid, offset, count, reply),
            Request::Write { fid, offset, data } => self.write(session, fid, offset, data, reply),
            Request::Fsync { fid, data_only } => self.fsync(session, fid, data_only, reply),
            Request::Readdir { fid, offset, count } => {
                self.readdir(session, fid, offset, count, reply)
            }
            Request::Mkdir { fid, name, mode } => self.mkdir(session, fid, name, mode, reply),
            Request::Unlinkat { fid, name, flags } => {
                self.unlinkat(session, fid, name, flags, reply)
            }
            Request::Remove { fid } => self.remove(session, fid, reply),
            Request::Getattr { fid, .. } => self.getattr(session, fid, reply),
            Request::Statfs { fid } => Self::statfs(session, fid, reply),
            Request::Readlink { fid } => Self::readlink(session, fid, reply),
            Request::Symlink { fid, name, target } => {
                self.symlink(session, fid, name, target, reply)
            }
            Request::Mknod { fid, name, mode } => self.mknod(session, fid, name, mode, reply),
            Request::Link { dfid, fid, name } => self.link(session, (dfid, fid), name, reply),
            Request::Rename { fid, dfid, name } => self.rename(session, (fid, dfid), name, reply),
            Request::Renameat {
                from,
                old_name,
                to,
                new_name,
            } => self.renameat(session, (from, old_name), (to, new_name), reply),
            Request::Setattr { fid, change } => self.setattr(session, fid, &change, reply),
            Request::Xattrwalk { fid, newfid, name } => {
                self.xattrwalk(session, (fid, newfid), name, reply)
            }
            Request::Xattrcreate {
                fid,
                name,
                size,
                flags,
            } => self.xattrcreate(session, fid, name, (size, flags), reply),
            Request::Lock { fid, lock } => Self::lock(session, fid, lock, reply),
            Request::Getlock { fid, lock } => Self::getlock(session, fid, lock, reply),
            // Nobody is asked who they are: all are served as the user that
            // the server runs as.
            Request::Auth { .. } | Request::Unsupported(_) | Request::Version { .. } => {
                Err(Errno::OPNOTSUPP)
            }
        }
    }

    /// version(5): agrees on sizes and begins a session without any fids. An
    /// unknown version is answered with `unknown` and ends the old session
    /// without beginning a new one.
    fn version(&self, msize: u32, version: &[u8], reply: &mut Reply<'_>) -> Result<(), Errno> {
        if msize < MIN_MSIZE {
            return Err(Errno::MSGSIZE);
        }
        let msize = msize.min(MAX_MSIZE);
        let (session, version) = if version == VERSION {
            (Some(Arc::new(Session::new(msize))), VERSION)
        } else {
            (None, UNKNOWN_VERSION)
        };
        let ended = {
            let mut current = self.session.write().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *current, session)
        };
        // Closes the old session's files, with the lock already released.
        drop(ended);
        reply.version(msize, version)
    }

    /// clunk(5): the fid is gone, and what was only waiting for that happens.
    fn clunk(&self, session: &Session, fid: Fid, reply: &mut Reply<'_>) -> Result<(), Errno> {
        let handle = session.fids.remove(fid)?;
        session.locks().forget(fid);
        if let Open::NewAttribute(draft) = handle.open() {
            self.set_attribute(handle.node(), draft)?;
        }
        reply.empty()
    }

    /// `EROFS` from a server that only reads.
    fn may_write(&self) -> Result<(), Errno> {
        match self.access {
            Access::ReadWrite => Ok(()),
            Access::ReadOnly => Err(Errno::ROFS),
        }
    }

    fn session(&self) -> Option<Arc<Session>> {
        self.session
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Session {
    fn new(msize: u32) -> Self {
        Self {
            msize,
            fids: Fids::default(),
            locks: Mutex::default(),
        }
    }

    fn locks(&self) -> MutexGuard<'_, Locks> {
        // Nothing that can panic runs under the lock.
        self.locks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The most that one read or write can carry, as `iounit` tells it.
    fn iounit(&self) -> u32 {
        self.msize.saturating_sub(IO_HEADER_LEN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::p9::wire::reply::GETATTR_BODY_LEN;
    use crate::p9::wire::{HEADER_LEN, MAX_WALK_NAMES, Qid};

    #[test]
    fn several_threads_may_share_a_server() {
        fn shared<T: Send + Sync>() {}
        shared::<FileServer>();
    }

    #[test]
    fn the_smallest_session_has_room_for_every_fixed_answer() {
        let largest_walk = HEADER_LEN + 2 + MAX_WALK_NAMES * Qid::LEN;
        let msize = usize::try_from(MIN_MSIZE).expect("fits");
        assert!(msize > largest_walk);
        assert!(msize > HEADER_LEN + GETATTR_BODY_LEN);
    }
}
