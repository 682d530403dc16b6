//! Going places and changing names: attach, walk, mkdir, symlink, mknod, link, rename,
//! renameat, unlinkat, remove.

use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, Mode};
use rustix::io::Errno;

use super::{FileServer, Session};
use crate::p9::fids::Handle;
use crate::p9::name::{ChildName, Step};
use crate::p9::stat::Kind;
use crate::p9::wire::reply::Reply;
use crate::p9::wire::request::WalkNames;
use crate::p9::wire::{AT_REMOVEDIR, Fid};

/// The permission bits that a client may set on what it makes: no set-uid,
/// set-gid or sticky bit on the host's files. The umask still applies.
pub(super) fn permissions(mode: u32) -> Mode {
    Mode::from_raw_mode(mode & 0o777)
}

impl FileServer {
    /// attach(5). There is one tree, whatever name is asked for.
    pub(super) fn attach(
        &self,
        session: &Session,
        fid: Fid,
        afid: Fid,
        reply: &mut Reply<'_>,
    ) -> Result<(), Errno> {
        // There is no authentication, so no fid can come from one.
        if afid != Fid::NONE {
            return Err(Errno::INVAL);
        }
        let root = self.tree.root();
        let qid = self.tree.devices().qid(&root.stat()?);
        session.fids.insert(fid, Handle::walked(Arc::clone(root)))?;
        reply.qid(qid)
    }

    /// walk(5): all names or, past the first, as many as lead somewhere; only
    /// in the first case is `newfid` set. As in QEMU a fid may also be cloned
    /// while it is open, and the clone is not open.
    pub(super) fn walk(
        &self,
        session: &Session,
        fid: Fid,
        newfid: Fid,
        names: WalkNames<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<(), Errno> {
        let from = session.fids.get(fid)?;
        if fid == newfid {
            from.not_open()?;
        }
        // All before the first step: a bad name is the client's mistake, not a
        // file that is missing.
        for name in names.iter() {
            Step::new(name)?;
        }
        let mut node = Arc::clone(from.node());
        let mut qids = Vec::with_capacity(names.count());
        for name in names.iter() {
            let step = match Step::new(name)? {
                Step::Up => self.tree.parent(&node),
                Step::Down(name) => self.tree.child(&node, name),
            };
            match step {
                Ok((next, qid)) => {
                    node = next;
                    qids.push(qid);
                }
                Err(errno) if qids.is_empty() => return Err(errno),
                Err(_) => return reply.walk(&qids),
            }
        }
        let arrived = Handle::walked(node);
        if fid == newfid {
            session.fids.replace(fid, &from, arrived)?;
        } else {
            session.fids.insert(newfid, arrived)?;
        }
        reply.walk(&qids)
    }

    /// mkdir(2). The group is the host's choice: `gid` is not used, since the
    /// server changes no owners.
    pub(super) fn mkdir(
        &self,
        session: &Session,
        fid: Fid,
        name: &[u8],
        mode: u32,
        reply: &mut Reply<'_>,
    ) -> Result<(), Errno> {
        self.may_write()?;
        let name = ChildName::new(name)?;
        let parent = session.fids.get(fid)?;
        let qid = self
            .tree
            .make_directory(parent.node(), name, permissions(mode))?;
        reply.qid(qid)
    }

    /// symlink(2). The text may be any: nothing here goes where it leads.
    pub(super) fn symlink(
        &self,
        session: &Session,
        fid: Fid,
        name: &[u8],
        target: &[u8],
        reply: &mut Reply<'_>,
    ) -> Result<(), Errno> {
        self.may_write()?;
        let name = ChildName::new(name)?;
        if target.contains(&0) {
            return Err(Errno::INVAL);
        }
        let parent = session.fids.get(fid)?;
        reply.qid(self.tree.make_symlink(parent.node(), name, target)?)
    }

    /// mknod(2) of a FIFO, a socket or an empty file.
    ///
    /// # Errors
    /// `EPERM` for a device node: it would be one of the host's devices.
    pub(super) fn mknod(
        &self,
        session: &Session,
        fid: Fid,
        name: &[u8],
        mode: u32,
        reply: &mut Reply<'_>,
    ) -> Result<(), Errno> {
        self.may_write()?;
        let name = ChildName::new(name)?;
        let kind = match FileType::from_raw_mode(mode) {
            kind @ (FileType::Fifo | FileType::Socket | FileType::RegularFile) => kind,
            FileType::CharacterDevice | FileType::BlockDevice => return Err(Errno::PERM),
            _ => return Err(Errno::INVAL),
        };
        let parent = session.fids.get(fid)?;
        let qid = self
            .tree
            .make_node(parent.node(), name, kind, permissions(mode))?;
        reply.qid(qid)
    }

    /// link(2).
    pub(super) fn link(
        &self,
        session: &Session,
        (dfid, fid): (Fid, Fid),
        name: &[u8],
        reply: &mut Reply<'_>,
    ) -> Result<(), Errno> {
        self.may_write()?;
        let name = ChildName::new(name)?;
        let (parent, file) = (session.fids.get(dfid)?, session.fids.get(fid)?);
        self.tree.link(file.node(), parent.node(), name)?;
        reply.empty()
    }

    /// rename(2) of what a fid was walked to; the fid goes with it. Other fids of the
    /// file remember the name that it had.
    pub(super) fn rename(
        &self,
        session: &Session,
        (fid, dfid): (Fid, Fid),
        name: &[u8],
        reply: &mut Reply<'_>,
    ) -> Result<(), Errno> {
        self.may_write()?;
        let name = ChildName::new(name)?;
        let (file, parent) = (session.fids.get(fid)?, session.fids.get(dfid)?);
        let moved = self.tree.rename_node(file.node(), parent.node(), name)?;
        if let Some(node) = moved {
            // Clunked meanwhile: then nobody asks where it is.
            let _ = session.fids.replace(fid, &file, file.moved(node));
        }
        reply.empty()
    }

    /// renameat(2).
    pub(super) fn renameat(
        &self,
        session: &Session,
        (from, old_name): (Fid, &[u8]),
        (to, new_name): (Fid, &[u8]),
        reply: &mut Reply<'_>,
    ) -> Result<(), Errno> {
        self.may_write()?;
        let (old_name, new_name) = (ChildName::new(old_name)?, ChildName::new(new_name)?);
        let (from, to) = (session.fids.get(from)?, session.fids.get(to)?);
        self.tree
            .rename((from.node(), old_name), (to.node(), new_name))?;
        reply.empty()
    }

    /// unlinkat(2). Fids of the file keep working, as descriptors do.
    pub(super) fn unlinkat(
        &self,
        session: &Session,
        fid: Fid,
        name: &[u8],
        flags: u32,
        reply: &mut Reply<'_>,
    ) -> Result<(), Errno> {
        self.may_write()?;
        let name = ChildName::new(name)?;
        let flags = match flags {
            0 => AtFlags::empty(),
            AT_REMOVEDIR => AtFlags::REMOVEDIR,
            _ => return Err(Errno::INVAL),
        };
        let parent = session.fids.get(fid)?;
        self.tree.unlink(parent.node(), name, flags)?;
        reply.empty()
    }

    /// remove(5): the fid is gone afterwards, also if the file is not.
    pub(super) fn remove(
        &self,
        session: &Session,
        fid: Fid,
        reply: &mut Reply<'_>,
    ) -> Result<(), Errno> {
        let handle = session.fids.remove(fid)?;
        session.locks().forget(fid);
        self.may_write()?;
        self.tree.remove(handle.node())?;
        reply.empty()
    }

    /// readlink(2): the text of a link. What it names is the client's affair;
    /// nothing here goes there.
    pub(super) fn readlink(
        session: &Session,
        fid: Fid,
        reply: &mut Reply<'_>,
    ) -> Result<(), Errno> {
        let handle = session.fids.get(fid)?;
        if handle.node().kind() != Kind::Symlink {
            return Err(Errno::INVAL);
        }
        let target = rustix::fs::readlinkat(handle.node(), c"", Vec::new())?;
        reply.readlink(target.as_bytes())
    }
}
