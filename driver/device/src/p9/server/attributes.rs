//! What is known of files beside their content: getattr, setattr, statfs, and
//! extended attributes.

use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{OFlags, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, XattrFlags};
use rustix::io::Errno;

use super::naming::permissions;
use super::{FileServer, Session};
use crate::p9::fids::{Handle, NewAttribute, Open};
use crate::p9::name::AttributeName;
use crate::p9::stat::Kind;
use crate::p9::tree::{Node, OpenFile};
use crate::p9::wire::reply::{FileSystem, Reply, Time};
use crate::p9::wire::request::Change;
use crate::p9::wire::{Fid, setattr};

/// Linux `XATTR_SIZE_MAX`: the longest value, and list of names.
const ATTRIBUTE_MAX: usize = 65_536;

impl FileServer {
    pub(super) fn getattr(
        &self,
        session: &Session,
        fid: Fid,
        reply: &mut Reply<'_>,
    ) -> Result<(), Errno> {
        let handle = session.fids.get(fid)?;
        let stat = handle.node().stat()?;
        reply.getattr(&stat.attributes(self.tree.devices().qid(&stat)))
    }

    /// chmod(2), truncate(2), utimensat(2), in this order. Modes are cut as those of new
    /// files are, and nobody is given a file: `EPERM` for another owner or group than it
    /// has. What comes first has happened where what follows fails.
    pub(super) fn setattr(
        &self,
        session: &Session,
        fid: Fid,
        change: &Change,
        reply: &mut Reply<'_>,
    ) -> Result<(), Errno> {
        self.may_write()?;
        let handle = session.fids.get(fid)?;
        let node = handle.node();
        let changes = |bits: u32| change.valid & bits != 0;
        let (uid, gid) = node.stat()?.owner();
        if (changes(setattr::UID) && change.uid != uid)
            || (changes(setattr::GID) && change.gid != gid)
        {
            return Err(Errno::PERM);
        }
        if changes(setattr::MODE) {
            self.tree.set_mode(node, permissions(change.mode))?;
        }
        if changes(setattr::SIZE) {
            self.truncate(node, change.size)?;
        }
        if changes(setattr::ATIME | setattr::MTIME) {
            let times = Timestamps {
                last_access: time(
                    changes(setattr::ATIME),
                    changes(setattr::ATIME_SET),
                    change.atime,
                )?,
                last_modification: time(
                    changes(setattr::MTIME),
                    changes(setattr::MTIME_SET),
                    change.mtime,
                )?,
            };
            self.tree.set_times(node, &times)?;
        }
        // Anything else has set it already.
        if change.valid == setattr::CTIME {
            self.tree.touch(node)?;
        }
        reply.empty()
    }

    fn truncate(&self, node: &Node, size: u64) -> Result<(), Errno> {
        match node.kind() {
            Kind::Directory => return Err(Errno::ISDIR),
            Kind::Symlink | Kind::Special => return Err(Errno::INVAL),
            Kind::File => {}
        }
        let file = self.tree.open_node(node, OFlags::WRONLY)?;
        rustix::fs::ftruncate(&file, size)
    }

    pub(super) fn statfs(session: &Session, fid: Fid, reply: &mut Reply<'_>) -> Result<(), Errno> {
        let handle = session.fids.get(fid)?;
        // Only statfs knows the type, and only statvfs is the same everywhere.
        let kind = rustix::fs::fstatfs(handle.node())?.f_type;
        let numbers = rustix::fs::fstatvfs(handle.node())?;
        let narrow = |wide: u64| u32::try_from(wide).unwrap_or(u32::MAX);
        reply.statfs(&FileSystem {
            // Magic numbers are 32 bits; the field is wider on some machines
            // and must not be sign-extended.
            kind: kind as u32,
            block_size: narrow(numbers.f_bsize),
            blocks: numbers.f_blocks,
            blocks_free: numbers.f_bfree,
            blocks_available: numbers.f_bavail,
            files: numbers.f_files,
            files_free: numbers.f_ffree,
            id: numbers.f_fsid,
            name_max: narrow(numbers.f_namemax),
        })
    }

    /// fgetxattr(2), or with an empty name flistxattr(2), of which the users' are told.
    pub(super) fn xattrwalk(
        &self,
        session: &Session,
        (fid, newfid): (Fid, Fid),
        name: &[u8],
        reply: &mut Reply<'_>,
    ) -> Result<(), Errno> {
        let handle = session.fids.get(fid)?;
        let file = self.attributed(handle.node())?;
        let mut value = vec![0; ATTRIBUTE_MAX];
        if name.is_empty() {
            let len = rustix::fs::flistxattr(&file, &mut value[..])?;
            value.truncate(len);
            value = value
                .split_inclusive(|byte| *byte == 0)
                .filter(|name| name.starts_with(AttributeName::PREFIX))
                .collect::<Vec<_>>()
                .concat();
        } else {
            let name = AttributeName::new(name)?;
            let len = rustix::fs::fgetxattr(&file, name.bytes(), &mut value[..])?;
            value.truncate(len);
        }
        let size = value.len() as u64;
        let opened = Handle::opened(Arc::clone(handle.node()), Open::Attribute(value));
        if fid == newfid {
            handle.not_open()?;
            session.fids.replace(fid, &handle, opened)?;
        } else {
            session.fids.insert(newfid, opened)?;
        }
        reply.xattrwalk(size)
    }

    /// The fid becomes the attribute; [`set_attribute`](Self::set_attribute) sets it.
    pub(super) fn xattrcreate(
        &self,
        session: &Session,
        fid: Fid,
        name: &[u8],
        (size, flags): (u64, u32),
        reply: &mut Reply<'_>,
    ) -> Result<(), Errno> {
        self.may_write()?;
        let name = AttributeName::new(name)?;
        let size = usize::try_from(size)
            .ok()
            .filter(|size| *size <= ATTRIBUTE_MAX)
            .ok_or(Errno::NOSPC)?;
        let flags = XattrFlags::from_bits(flags).ok_or(Errno::INVAL)?;
        let handle = session.fids.get(fid)?;
        let draft = NewAttribute {
            name,
            size,
            flags,
            value: Mutex::default(),
        };
        let node = Arc::clone(handle.not_open()?);
        let opened = Handle::opened(node, Open::NewAttribute(draft));
        session.fids.replace(fid, &handle, opened)?;
        reply.empty()
    }

    /// Sets an attribute that was written, now that its fid goes. As in QEMU, one of no
    /// bytes that must be there already is removed: that is how Linux asks for it.
    ///
    /// # Errors
    /// `EINVAL` unless as much was written as was announced.
    pub(super) fn set_attribute(&self, node: &Node, draft: &NewAttribute) -> Result<(), Errno> {
        let value = draft.value.lock().unwrap_or_else(PoisonError::into_inner);
        if value.len() != draft.size {
            return Err(Errno::INVAL);
        }
        let file = self.attributed(node)?;
        if value.is_empty() && draft.flags.contains(XattrFlags::REPLACE) {
            return rustix::fs::fremovexattr(&file, draft.name.bytes());
        }
        rustix::fs::fsetxattr(&file, draft.name.bytes(), &value, draft.flags)
    }

    /// # Errors
    /// `EOPNOTSUPP` for what can't have attributes of the users' (xattr(7)).
    fn attributed(&self, node: &Node) -> Result<OpenFile, Errno> {
        match node.kind() {
            Kind::File | Kind::Directory => self.tree.open_node(node, OFlags::RDONLY),
            Kind::Symlink | Kind::Special => Err(Errno::OPNOTSUPP),
        }
    }
}

impl NewAttribute {
    /// Takes what a client writes: no more than it announced, and no holes.
    pub(super) fn write(&self, offset: u64, data: &[u8]) -> Result<usize, Errno> {
        let mut value = self.value.lock().unwrap_or_else(PoisonError::into_inner);
        let offset = usize::try_from(offset).map_err(|_| Errno::NOSPC)?;
        let end = offset.checked_add(data.len()).ok_or(Errno::NOSPC)?;
        if end > self.size {
            return Err(Errno::NOSPC);
        }
        if offset > value.len() {
            return Err(Errno::INVAL);
        }
        if value.len() < end {
            value.resize(end, 0);
        }
        if let Some(space) = value.get_mut(offset..end) {
            space.copy_from_slice(data);
        }
        Ok(data.len())
    }
}

/// A time as utimensat(2) takes it.
fn time(changes: bool, to_this: bool, time: Time) -> Result<Timespec, Errno> {
    let special = |tv_nsec| Timespec { tv_sec: 0, tv_nsec };
    match (changes, to_this) {
        (false, _) => Ok(special(UTIME_OMIT)),
        (true, false) => Ok(special(UTIME_NOW)),
        // Larger numbers mean something else there.
        (true, true) if time.nanoseconds >= 1_000_000_000 => Err(Errno::INVAL),
        (true, true) => Ok(Timespec {
            tv_sec: time.seconds.cast_signed(),
            tv_nsec: time.nanoseconds.cast_signed(),
        }),
    }
}
