//! The served directory, and the only ways into it.
//!
//! Containment rests on three things. Every file is held by an `O_PATH`
//! descriptor, so nothing is ever looked up by a path again. Every step down is
//! one `openat` of one checked name with `O_NOFOLLOW`, so no link is followed,
//! whatever is swapped in meanwhile. And every step up goes to the node that
//! the walk came from, not to what the kernel calls `..`, so that even a
//! directory that was moved out of the tree does not lead there.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{self, AtFlags, CWD, FileType, Mode, OFlags, PROC_SUPER_MAGIC, Timestamps};
use rustix::io::Errno;

use super::budget::{Budget, Permit};
use super::error::ServeError;
use super::name::ChildName;
use super::stat::{Devices, Identity, Kind, Stat};
use super::{Access, wire::Qid};

/// How deep below the root a client may walk: several times as deep as source
/// trees are, and each level of a fid costs a descriptor.
const MAX_DEPTH: u32 = 256;

/// `O_PATH` that opens the named file itself.
const HANDLE: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Set on every file that is opened for real. `O_NONBLOCK` means nothing to an
/// ordinary file, but the strange ones that call themselves regular (in procfs
/// for example) then fail with `EAGAIN` where they would block a worker.
const ALWAYS: OFlags = OFlags::CLOEXEC
    .union(OFlags::NOCTTY)
    .union(OFlags::NONBLOCK);

/// A file that a walk arrived at.
#[derive(Debug)]
pub(super) struct Node {
    handle: OwnedFd,
    kind: Kind,
    identity: Identity,
    depth: u32,
    /// `None` at the root.
    place: Option<Place>,
    /// `None` at the root, which is not a client's doing.
    _permit: Option<Permit>,
}

/// Where a walk found a file.
#[derive(Debug)]
struct Place {
    parent: Arc<Node>,
    name: Box<[u8]>,
}

/// A file opened for reading or writing.
#[derive(Debug)]
pub(super) struct OpenFile {
    fd: OwnedFd,
    _permit: Permit,
}

impl AsFd for OpenFile {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The root, and what it takes to open files below it.
#[derive(Debug)]
pub(super) struct Tree {
    root: Arc<Node>,
    proc_self_fd: OwnedFd,
    budget: Arc<Budget>,
    devices: Devices,
}

impl Node {
    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    pub(super) fn identity(&self) -> Identity {
        self.identity
    }

    /// What the file's attributes are now.
    pub(super) fn stat(&self) -> Result<Stat, Errno> {
        Stat::of(&self.handle)
    }

    /// `ENAMETOOLONG` where a client is as deep as it may go.
    fn has_room_below(&self) -> Result<(), Errno> {
        if self.depth >= MAX_DEPTH {
            return Err(Errno::NAMETOOLONG);
        }
        Ok(())
    }

    /// The directory and the name by which this node was found, if it still is.
    ///
    /// # Errors
    /// `EBUSY` for the root, `ENOENT` if the name is by now that of another file.
    fn named(&self) -> Result<(&OwnedFd, &[u8]), Errno> {
        let place = self.place.as_ref().ok_or(Errno::BUSY)?;
        let directory = place.parent.directory()?;
        if Stat::at(directory, &place.name)?.identity() != self.identity {
            return Err(Errno::NOENT);
        }
        Ok((directory, &place.name))
    }

    /// `ENOTDIR` unless names can be looked up in this node.
    fn directory(&self) -> Result<&OwnedFd, Errno> {
        match self.kind {
            Kind::Directory => Ok(&self.handle),
            _ => Err(Errno::NOTDIR),
        }
    }
}

impl AsFd for Node {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.handle.as_fd()
    }
}

impl Drop for Node {
    /// Lets go of the ancestors one by one: left to itself the chain would
    /// unwind on the stack, as deep as a client cared to walk.
    fn drop(&mut self) {
        let mut next = self.place.take();
        while let Some(place) = next {
            next = Arc::into_inner(place.parent).and_then(|mut parent| parent.place.take());
        }
    }
}

impl Tree {
    /// Opens `root`, following links on the way to it: whoever starts the
    /// server chooses it, not a client.
    pub(super) fn open(
        root: &Path,
        access: Access,
        descriptors: usize,
    ) -> Result<Self, ServeError> {
        let opening = |errno| ServeError::opening(root, errno);
        // O_PATH comes last, since it would succeed without the right to read.
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
        let readable =
            fs::openat(CWD, root, flags | OFlags::RDONLY, Mode::empty()).map_err(opening)?;
        if access == Access::ReadWrite {
            fs::accessat(&readable, c".", fs::Access::WRITE_OK, AtFlags::EACCESS)
                .map_err(|errno| ServeError::writing(root, errno))?;
        }
        let handle =
            fs::openat(&readable, c".", flags | OFlags::PATH, Mode::empty()).map_err(opening)?;
        let identity = Stat::of(&handle).map_err(opening)?.identity();
        Ok(Self {
            root: Arc::new(Node {
                handle,
                kind: Kind::Directory,
                identity,
                depth: 0,
                place: None,
                _permit: None,
            }),
            proc_self_fd: open_proc_self_fd().map_err(|errno| ServeError::NoProc {
                source: errno.into(),
            })?,
            budget: Budget::new(descriptors),
            devices: Devices::new(identity.device),
        })
    }

    /// Limits the descriptors from now on.
    pub(super) fn set_descriptor_limit(&mut self, limit: usize) {
        self.budget = Budget::new(limit);
    }

    pub(super) fn root(&self) -> &Arc<Node> {
        &self.root
    }

    pub(super) fn devices(&self) -> &Devices {
        &self.devices
    }

    /// One step up: where the walk came from; the root's parent is the root.
    pub(super) fn parent(&self, node: &Arc<Node>) -> Result<(Arc<Node>, Qid), Errno> {
        node.directory()?;
        let parent = node.place.as_ref().map_or(node, |place| &place.parent);
        let qid = self.devices.qid(&parent.stat()?);
        Ok((Arc::clone(parent), qid))
    }

    /// One step down.
    pub(super) fn child(
        &self,
        parent: &Arc<Node>,
        name: ChildName<'_>,
    ) -> Result<(Arc<Node>, Qid), Errno> {
        let directory = parent.directory()?;
        parent.has_room_below()?;
        let permit = self.budget.take()?;
        let handle = fs::openat(directory, name.bytes(), HANDLE, Mode::empty())?;
        self.node(parent, name, handle, permit)
    }

    fn node(
        &self,
        parent: &Arc<Node>,
        name: ChildName<'_>,
        handle: OwnedFd,
        permit: Permit,
    ) -> Result<(Arc<Node>, Qid), Errno> {
        let stat = Stat::of(&handle)?;
        let node = Arc::new(Node {
            handle,
            kind: stat.kind(),
            identity: stat.identity(),
            depth: parent.depth + 1,
            place: Some(Place {
                parent: Arc::clone(parent),
                name: name.bytes().into(),
            }),
            _permit: Some(permit),
        });
        Ok((node, self.devices.qid(&stat)))
    }

    /// Opens the very file that a node holds. Its type was seen on the `O_PATH`
    /// descriptor, which also keeps the file from being swapped for another.
    ///
    /// # Errors
    /// `ELOOP` for a symbolic link, `ENXIO` for what is neither file nor
    /// directory.
    pub(super) fn open_node(&self, node: &Node, flags: OFlags) -> Result<OpenFile, Errno> {
        let permit = self.budget.take()?;
        let fd = match node.kind {
            Kind::Symlink => return Err(Errno::LOOP),
            Kind::Special => return Err(Errno::NXIO),
            // "." of a directory is the directory.
            Kind::Directory => {
                let flags = flags | ALWAYS | OFlags::DIRECTORY;
                fs::openat(&node.handle, c".", flags, Mode::empty())?
            }
            Kind::File => self.reopen(&node.handle, flags | ALWAYS)?,
        };
        Ok(OpenFile {
            fd,
            _permit: permit,
        })
    }

    /// Another descriptor of the same file, with other flags. The entries of
    /// `/proc/self/fd` lead to the open file itself and not to a path, so this
    /// is the one link that is followed.
    fn reopen(&self, fd: &OwnedFd, flags: OFlags) -> Result<OwnedFd, Errno> {
        fs::openat(&self.proc_self_fd, number(fd), flags, Mode::empty())
    }

    /// Makes a regular file that was not there, and opens it.
    ///
    /// # Errors
    /// `EEXIST` if the name is taken, be it by a link that leads nowhere.
    pub(super) fn create(
        &self,
        parent: &Arc<Node>,
        name: ChildName<'_>,
        flags: OFlags,
        mode: Mode,
    ) -> Result<(Arc<Node>, Qid, OpenFile), Errno> {
        let directory = parent.directory()?;
        // Whatever can run out must do so before there is a new file.
        parent.has_room_below()?;
        let (node_permit, file_permit) = (self.budget.take()?, self.budget.take()?);
        let create = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let fd = fs::openat(directory, name.bytes(), flags | ALWAYS | create, mode)?;
        let handle = self.reopen(&fd, OFlags::PATH | OFlags::CLOEXEC)?;
        let (node, qid) = self.node(parent, name, handle, node_permit)?;
        let file = OpenFile {
            fd,
            _permit: file_permit,
        };
        Ok((node, qid, file))
    }

    /// Makes a directory.
    pub(super) fn make_directory(
        &self,
        parent: &Node,
        name: ChildName<'_>,
        mode: Mode,
    ) -> Result<Qid, Errno> {
        let directory = parent.directory()?;
        fs::mkdirat(directory, name.bytes(), mode)?;
        Stat::at(directory, name.bytes()).map(|stat| self.devices.qid(&stat))
    }

    /// Makes a symbolic link.
    pub(super) fn make_symlink(
        &self,
        parent: &Node,
        name: ChildName<'_>,
        target: &[u8],
    ) -> Result<Qid, Errno> {
        let directory = parent.directory()?;
        fs::symlinkat(target, directory, name.bytes())?;
        Stat::at(directory, name.bytes()).map(|stat| self.devices.qid(&stat))
    }

    /// Makes a FIFO, a socket or an empty file.
    pub(super) fn make_node(
        &self,
        parent: &Node,
        name: ChildName<'_>,
        kind: FileType,
        mode: Mode,
    ) -> Result<Qid, Errno> {
        let directory = parent.directory()?;
        fs::mknodat(directory, name.bytes(), kind, mode, 0)?;
        Stat::at(directory, name.bytes()).map(|stat| self.devices.qid(&stat))
    }

    /// Gives the very file that a node holds one more name.
    ///
    /// # Errors
    /// `EPERM` for a directory, `ENOENT` for a file that has no name any more.
    pub(super) fn link(
        &self,
        node: &Node,
        parent: &Node,
        name: ChildName<'_>,
    ) -> Result<(), Errno> {
        let directory = parent.directory()?;
        let (from, flags) = (&self.proc_self_fd, AtFlags::SYMLINK_FOLLOW);
        fs::linkat(from, number(&node.handle), directory, name.bytes(), flags)
    }

    /// Moves a name.
    pub(super) fn rename(
        &self,
        (from, old): (&Node, ChildName<'_>),
        (to, new): (&Node, ChildName<'_>),
    ) -> Result<(), Errno> {
        fs::renameat(from.directory()?, old.bytes(), to.directory()?, new.bytes())
    }

    /// Moves the name by which a node was found, and returns the node found by its new
    /// one; `None` if that was taken by another file at once.
    ///
    /// # Errors
    /// As of [`remove`](Self::remove).
    pub(super) fn rename_node(
        &self,
        node: &Node,
        to: &Arc<Node>,
        name: ChildName<'_>,
    ) -> Result<Option<Arc<Node>>, Errno> {
        let (directory, old) = node.named()?;
        fs::renameat(directory, old, to.directory()?, name.bytes())?;
        let found = self.child(to, name).ok().map(|(node, _)| node);
        Ok(found.filter(|found| found.identity == node.identity))
    }

    /// chmod(2) of the very file that a node holds.
    pub(super) fn set_mode(&self, node: &Node, mode: Mode) -> Result<(), Errno> {
        let follow = AtFlags::empty();
        fs::chmodat(&self.proc_self_fd, number(&node.handle), mode, follow)
    }

    /// utimensat(2), likewise.
    pub(super) fn set_times(&self, node: &Node, times: &Timestamps) -> Result<(), Errno> {
        let follow = AtFlags::empty();
        fs::utimensat(&self.proc_self_fd, number(&node.handle), times, follow)
    }

    /// Has the kernel write down that attributes changed now, and changes none.
    pub(super) fn touch(&self, node: &Node) -> Result<(), Errno> {
        fs::chownat(&node.handle, c"", None, None, AtFlags::EMPTY_PATH)
    }

    /// Removes a name: of a directory with `AT_REMOVEDIR`, else of anything but.
    pub(super) fn unlink(
        &self,
        parent: &Node,
        name: ChildName<'_>,
        flags: AtFlags,
    ) -> Result<(), Errno> {
        fs::unlinkat(parent.directory()?, name.bytes(), flags)
    }

    /// Removes the name by which a node was found.
    ///
    /// # Errors
    /// `EBUSY` for the root, `ENOENT` if the name is by now that of another
    /// file. (That can change once more between the look and the removal; what
    /// is removed is then still a name in the directory walked through.)
    pub(super) fn remove(&self, node: &Node) -> Result<(), Errno> {
        let (directory, name) = node.named()?;
        let flags = match node.kind {
            Kind::Directory => AtFlags::REMOVEDIR,
            Kind::File | Kind::Symlink | Kind::Special => AtFlags::empty(),
        };
        fs::unlinkat(directory, name, flags)
    }
}

/// A descriptor's name in `/proc/self/fd`.
fn number(fd: &OwnedFd) -> String {
    fd.as_raw_fd().to_string()
}

/// `/proc/self/fd`, if it is what it seems to be: over anything but procfs the
/// numbers in it could lead anywhere.
fn open_proc_self_fd() -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = fs::openat(CWD, c"/proc/self/fd", flags, Mode::empty())?;
    match fs::fstatfs(&directory)?.f_type {
        PROC_SUPER_MAGIC => Ok(directory),
        _ => Err(Errno::NOENT),
    }
}
