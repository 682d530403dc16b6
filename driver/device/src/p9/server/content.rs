//! Files: lopen, lcreate, read, write, fsync.

use std::sync::{Arc, Mutex, PoisonError};

use rustix::io::{self, Errno};

use super::naming::permissions;
use super::{FileServer, Session};
use crate::p9::fids::{Handle, Open};
use crate::p9::flags::OpenFlags;
use crate::p9::name::ChildName;
use crate::p9::stat::Kind;
use crate::p9::tree::{Node, OpenFile};
use crate::p9::wire::reply::Reply;
use crate::p9::wire::{Fid, Qid};

/// How often a create starts over when the name is taken and freed under it.
const CREATE_ATTEMPTS: u32 = 16;

impl FileServer {
    /// open(2) of what a fid was walked to; only files and directories.
    pub(super) fn lopen(
        &self,
        session: &Session,
        fid: Fid,
        flags: u32,
        reply: &mut Reply<'_>,
    ) -> Result<(), Errno> {
        let flags = OpenFlags::new(flags)?;
        if flags.writes() {
            self.may_write()?;
        }
        let handle = session.fids.get(fid)?;
        let node = handle.not_open()?;
        let open = self.open(node, flags)?;
        let qid = self.tree.devices().qid(&node.stat()?);
        let opened = Handle::opened(Arc::clone(node), open);
        session.fids.replace(fid, &handle, opened)?;
        reply.open(qid, session.iounit())
    }

    fn open(&self, node: &Node, flags: OpenFlags) -> Result<Open, Errno> {
        match node.kind() {
            Kind::Directory if flags.writes() => Err(Errno::ISDIR),
            Kind::Directory => {
                let file = self.tree.open_node(node, flags.kernel())?;
                Ok(Open::Directory(Mutex::new(file)))
            }
            Kind::File if flags.directory() => Err(Errno::NOTDIR),
            Kind::File | Kind::Symlink | Kind::Special => {
                self.tree.open_node(node, flags.kernel()).map(Open::File)
            }
        }
    }

    /// open(2) with `O_CREAT`: the fid of the directory becomes that of the
    /// file. `gid` is not used, since the server changes no owners.
    pub(super) fn lcreate(
        &self,
        session: &Session,
        fid: Fid,
        name: &[u8],
        (flags, mode): (u32, u32),
        reply: &mut Reply<'_>,
    ) -> Result<(), Errno> {
        self.may_write()?;
        let name = ChildName::new(name)?;
        let flags = OpenFlags::new(flags)?;
        let handle = session.fids.get(fid)?;
        let (node, qid, open) = self.create_or_open(handle.not_open()?, name, flags, mode)?;
        session
            .fids
            .replace(fid, &handle, Handle::opened(node, open))?;
        reply.open(qid, session.iounit())
    }

    /// `O_CREAT` alone would open whatever it finds, FIFOs and devices
    /// included. So a file is either made anew or, if the name is taken and
    /// that is no objection, looked at first and then opened as any other.
    fn create_or_open(
        &self,
        parent: &Arc<Node>,
        name: ChildName<'_>,
        flags: OpenFlags,
        mode: u32,
    ) -> Result<(Arc<Node>, Qid, Open), Errno> {
        for _ in 0..CREATE_ATTEMPTS {
            match self
                .tree
                .create(parent, name, flags.kernel(), permissions(mode))
            {
                Ok((node, qid, file)) => return Ok((node, qid, Open::File(file))),
                Err(Errno::EXIST) if !flags.exclusive() => {}
                Err(errno) => return Err(errno),
            }
            match self.tree.child(parent, name) {
                Ok((node, _)) if node.kind() == Kind::Directory => return Err(Errno::ISDIR),
                Ok((node, qid)) => {
                    let open = self.open(&node, flags)?;
                    return Ok((node, qid, open));
                }
                Err(Errno::NOENT) => {}
                Err(errno) => return Err(errno),
            }
        }
        Err(Errno::AGAIN)
    }

    /// pread(2): at the message's offset, so that reads of one fid need not
    /// wait for each other.
    pub(super) fn read(
        &self,
        session: &Session,
        fid: Fid,
        offset: u64,
        count: u32,
        reply: &mut Reply<'_>,
    ) -> Result<(), Errno> {
        let handle = session.fids.get(fid)?;
        if let Open::Attribute(value) = handle.open() {
            let offset = usize::try_from(offset).unwrap_or(usize::MAX);
            let rest = value.get(offset..).unwrap_or_default();
            return reply.data(count, |space| {
                let len = rest.len().min(space.len());
                space[..len].copy_from_slice(&rest[..len]);
                Ok(len)
            });
        }
        let file = open_file(&handle)?;
        reply.data(count, |space| {
            io::retry_on_intr(|| io::pread(file, &mut *space, offset))
        })
    }

    /// pwrite(2). May write less than was sent, and then says so.
    pub(super) fn write(
        &self,
        session: &Session,
        fid: Fid,
        offset: u64,
        data: &[u8],
        reply: &mut Reply<'_>,
    ) -> Result<(), Errno> {
        self.may_write()?;
        let handle = session.fids.get(fid)?;
        if let Open::NewAttribute(draft) = handle.open() {
            let written = draft.write(offset, data)?;
            return reply.count(u32::try_from(written).map_err(|_| Errno::OVERFLOW)?);
        }
        let file = open_file(&handle)?;
        let written = io::retry_on_intr(|| io::pwrite(file, data, offset))?;
        reply.count(u32::try_from(written).map_err(|_| Errno::OVERFLOW)?)
    }

    /// fsync(2) or fdatasync(2).
    pub(super) fn fsync(
        &self,
        session: &Session,
        fid: Fid,
        data_only: bool,
        reply: &mut Reply<'_>,
    ) -> Result<(), Errno> {
        let handle = session.fids.get(fid)?;
        match handle.open() {
            Open::No | Open::Attribute(_) | Open::NewAttribute(_) => return Err(Errno::BADF),
            Open::File(file) => sync(file, data_only)?,
            Open::Directory(directory) => {
                let directory = directory.lock().unwrap_or_else(PoisonError::into_inner);
                sync(&directory, data_only)?;
            }
        }
        reply.empty()
    }
}

fn sync(file: &OpenFile, data_only: bool) -> Result<(), Errno> {
    if data_only {
        rustix::fs::fdatasync(file)
    } else {
        rustix::fs::fsync(file)
    }
}

/// # Errors
/// `EBADF` unless open, `EISDIR` for a directory: 9P2000.L lists those by
/// `Treaddir` alone.
fn open_file(handle: &Handle) -> Result<&OpenFile, Errno> {
    match handle.open() {
        Open::File(file) => Ok(file),
        Open::Directory(_) => Err(Errno::ISDIR),
        Open::No | Open::Attribute(_) | Open::NewAttribute(_) => Err(Errno::BADF),
    }
}
