//! The fids of a session: what a client's numbers stand for.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::XattrFlags;
use rustix::io::Errno;

use super::name::AttributeName;
use super::tree::{Node, OpenFile};
use super::wire::Fid;

/// Fids that a client may hold at a time.
const MAX_FIDS: usize = 65_536;

/// What a fid stands for. It is never changed, only replaced, so that an
/// operation under way keeps what it began with.
#[derive(Debug)]
pub(super) struct Handle {
    node: Arc<Node>,
    /// Shared with the handle that takes this one's place when the file is moved.
    open: Arc<Open>,
}

/// Whether and as what a fid is open.
#[derive(Debug)]
pub(super) enum Open {
    /// Only walked to.
    No,
    /// A file: reads and writes name their own offsets.
    File(OpenFile),
    /// A directory. Reading it moves its descriptor's position, so one reader
    /// at a time.
    Directory(Mutex<OpenFile>),
    /// The value of an extended attribute, or the names of all, as they were when they
    /// were walked to.
    Attribute(Vec<u8>),
    /// An extended attribute that is being written, to be set when the fid goes.
    NewAttribute(NewAttribute),
}

/// See [`Open::NewAttribute`].
#[derive(Debug)]
pub(super) struct NewAttribute {
    pub(super) name: AttributeName,
    /// Bytes that it shall have.
    pub(super) size: usize,
    pub(super) flags: XattrFlags,
    /// What was written so far.
    pub(super) value: Mutex<Vec<u8>>,
}

impl Handle {
    pub(super) fn walked(node: Arc<Node>) -> Self {
        Self {
            node,
            open: Arc::new(Open::No),
        }
    }

    pub(super) fn opened(node: Arc<Node>, open: Open) -> Self {
        let open = Arc::new(open);
        Self { node, open }
    }

    /// The same, and the file found somewhere else.
    pub(super) fn moved(&self, node: Arc<Node>) -> Self {
        let open = Arc::clone(&self.open);
        Self { node, open }
    }

    pub(super) fn node(&self) -> &Arc<Node> {
        &self.node
    }

    pub(super) fn open(&self) -> &Open {
        &self.open
    }

    /// # Errors
    /// `EINVAL` if the fid is open: what was asked for needs one that is not.
    pub(super) fn not_open(&self) -> Result<&Arc<Node>, Errno> {
        match *self.open {
            Open::No => Ok(&self.node),
            _ => Err(Errno::INVAL),
        }
    }
}

/// The fids of one session. The lock is held for a look into the table and
/// never across a system call: even the descriptors that a removal closes are
/// closed by whoever gets the handle back.
#[derive(Debug, Default)]
pub(super) struct Fids {
    table: Mutex<HashMap<Fid, Arc<Handle>>>,
}

impl Fids {
    /// # Errors
    /// `EBADF` for a fid that the client was never given or has clunked.
    pub(super) fn get(&self, fid: Fid) -> Result<Arc<Handle>, Errno> {
        self.lock().get(&fid).cloned().ok_or(Errno::BADF)
    }

    /// Gives a new fid its meaning.
    ///
    /// # Errors
    /// `EINVAL` if it has one, or is [`Fid::NONE`]; `EMFILE` if the client
    /// holds too many.
    pub(super) fn insert(&self, fid: Fid, handle: Handle) -> Result<(), Errno> {
        if fid == Fid::NONE {
            return Err(Errno::INVAL);
        }
        let handle = Arc::new(handle);
        let mut table = self.lock();
        let full = table.len() >= MAX_FIDS;
        let result = match table.entry(fid) {
            Entry::Occupied(_) => Err(Errno::INVAL),
            Entry::Vacant(_) if full => Err(Errno::MFILE),
            Entry::Vacant(free) => {
                free.insert(Arc::clone(&handle));
                Ok(())
            }
        };
        drop(table);
        result
    }

    /// Gives a fid another meaning, provided it still has the one that the
    /// caller looked at.
    ///
    /// # Errors
    /// `EBADF` if the fid was clunked or replaced meanwhile.
    pub(super) fn replace(&self, fid: Fid, old: &Arc<Handle>, new: Handle) -> Result<(), Errno> {
        let new = Arc::new(new);
        let mut table = self.lock();
        match table.get_mut(&fid) {
            Some(current) if Arc::ptr_eq(current, old) => {
                // `old` keeps the former handle alive past the lock.
                *current = Arc::clone(&new);
                Ok(())
            }
            _ => {
                drop(table);
                Err(Errno::BADF)
            }
        }
    }

    /// # Errors
    /// `EBADF` as [`Self::get`].
    pub(super) fn remove(&self, fid: Fid) -> Result<Arc<Handle>, Errno> {
        self.lock().remove(&fid).ok_or(Errno::BADF)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Fid, Arc<Handle>>> {
        // No code that can panic runs under the lock, and the table is whole
        // after each of its operations.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
