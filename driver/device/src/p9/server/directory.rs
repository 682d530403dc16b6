//! Listing: readdir.

use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::sync::{Arc, PoisonError};

use rustix::fs::{FileType, RawDir, SeekFrom, seek};
use rustix::io::Errno;

use super::{FileServer, Session};
use crate::p9::fids::Open;
use crate::p9::stat::{Identity, Kind, Stat};
use crate::p9::tree::Node;
use crate::p9::wire::reply::Reply;
use crate::p9::wire::{Fid, Qid};

/// Bytes asked of the kernel at a time: at least the longest entry, and no
/// more than pays. Its entries are about as long as the protocol's.
const KERNEL_BUFFER: std::ops::RangeInclusive<usize> = 512..=65_536;

/// One entry as the kernel gives it.
struct Entry<'a> {
    name: &'a [u8],
    kind: FileType,
    inode: u64,
    /// Where the entry after this one is found.
    next: u64,
}

impl FileServer {
    /// getdents(2), entry by entry into what room there is. An entry's offset
    /// is the kernel's own, so a listing can go on from any entry that was
    /// seen, also after others were added or removed.
    ///
    /// `EINVAL` if not even the next entry fits: an empty answer would mean
    /// that there is none.
    pub(super) fn readdir(
        &self,
        session: &Session,
        fid: Fid,
        offset: u64,
        count: u32,
        reply: &mut Reply<'_>,
    ) -> Result<(), Errno> {
        let handle = session.fids.get(fid)?;
        let Open::Directory(directory) = handle.open() else {
            return Err(match handle.open() {
                Open::No => Errno::BADF,
                _ => Errno::NOTDIR,
            });
        };
        if i64::try_from(offset).is_err() {
            return Err(Errno::INVAL);
        }
        let directory = directory.lock().unwrap_or_else(PoisonError::into_inner);
        seek(&*directory, SeekFrom::Start(offset))?;
        reply.data(count, |space| {
            self.entries(handle.node(), &*directory, space)
        })
    }

    /// Fills `space` with whole entries; how many bytes.
    fn entries(
        &self,
        node: &Arc<Node>,
        directory: impl AsFd,
        space: &mut [u8],
    ) -> Result<usize, Errno> {
        let size = space
            .len()
            .clamp(*KERNEL_BUFFER.start(), *KERNEL_BUFFER.end());
        let mut buffer = vec![MaybeUninit::uninit(); size];
        let mut listing = RawDir::new(directory, &mut buffer);
        let mut filled = 0;
        while let Some(entry) = listing.next() {
            let entry = match entry {
                Ok(entry) => entry,
                // What is already listed is true; the error comes again.
                Err(_) if filled > 0 => break,
                Err(errno) => return Err(errno),
            };
            let entry = Entry {
                name: entry.file_name().to_bytes(),
                kind: entry.file_type(),
                inode: entry.ino(),
                next: entry.next_entry_cookie(),
            };
            let free = space.get_mut(filled..).unwrap_or_default();
            match self.entry(node, &entry, free) {
                Some(written) => filled += written,
                None if filled > 0 => break,
                None => return Err(Errno::INVAL),
            }
        }
        Ok(filled)
    }

    /// `qid[13] offset[8] type[1] name[s]`, or `None` if it does not fit.
    fn entry(&self, node: &Arc<Node>, entry: &Entry<'_>, space: &mut [u8]) -> Option<usize> {
        let name_len = u16::try_from(entry.name.len()).ok()?;
        let len = Qid::LEN + 8 + 1 + 2 + entry.name.len();
        let mut space = space.get_mut(..len)?;
        let (qid, kind) = self.describe(node, entry);
        for field in [
            &[qid.kind][..],
            &qid.version.to_le_bytes(),
            &qid.path.to_le_bytes(),
            &entry.next.to_le_bytes(),
            &[kind],
            &name_len.to_le_bytes(),
            entry.name,
        ] {
            let (here, rest) = space.split_at_mut_checked(field.len())?;
            here.copy_from_slice(field);
            space = rest;
        }
        Some(len)
    }

    /// An entry's qid and its `d_type`. The version is 0: nobody looked.
    fn describe(&self, node: &Arc<Node>, entry: &Entry<'_>) -> (Qid, u8) {
        let identity = Identity {
            device: node.identity().device,
            inode: entry.inode,
        };
        // What is above the root is no business of the client's.
        if entry.name == b".." {
            return match self.tree.parent(node) {
                Ok((_, qid)) => (Qid { version: 0, ..qid }, DT_DIR),
                Err(_) => (self.unseen(Kind::Directory, node.identity()), DT_DIR),
            };
        }
        match entry.kind {
            FileType::RegularFile => (self.unseen(Kind::File, identity), DT_REG),
            FileType::Directory => (self.unseen(Kind::Directory, identity), DT_DIR),
            FileType::Symlink => (self.unseen(Kind::Symlink, identity), DT_LNK),
            FileType::Fifo => (self.unseen(Kind::Special, identity), DT_FIFO),
            FileType::CharacterDevice => (self.unseen(Kind::Special, identity), DT_CHR),
            FileType::BlockDevice => (self.unseen(Kind::Special, identity), DT_BLK),
            FileType::Socket => (self.unseen(Kind::Special, identity), DT_SOCK),
            // Some file systems leave the type out. The qid needs it.
            FileType::Unknown => {
                let kind = Stat::at(node, entry.name).map_or(Kind::Special, |stat| stat.kind());
                (self.unseen(kind, identity), DT_UNKNOWN)
            }
        }
    }

    fn unseen(&self, kind: Kind, identity: Identity) -> Qid {
        Qid {
            kind: kind.qid_type(),
            version: 0,
            path: self.tree.devices().path(identity),
        }
    }
}

// The kernel's `d_type`, which the protocol hands on as it is.
const DT_UNKNOWN: u8 = 0;
const DT_FIFO: u8 = 1;
const DT_CHR: u8 = 2;
const DT_DIR: u8 = 4;
const DT_BLK: u8 = 6;
const DT_REG: u8 = 8;
const DT_LNK: u8 = 10;
const DT_SOCK: u8 = 12;
