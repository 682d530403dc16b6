//! What the kernel says about a file, and the qid it gets.

use std::os::fd::AsFd;
use std::sync::{PoisonError, RwLock};

use rustix::fs::{AtFlags, Statx, StatxFlags, makedev, statx};
use rustix::io::Errno;

use super::wire::Qid;
use super::wire::reply::{Attributes, Time};

/// Linux `P9_STATS_BASIC`: all fields up to the blocks.
const STATS_BASIC: u64 = 0x7ff;
/// Linux `P9_STATS_BTIME`.
const STATS_BTIME: u64 = 0x800;

/// What kind of file, as far as serving it goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link: read, never followed.
    Symlink,
    /// A FIFO, socket or device: seen, never opened.
    Special,
}

impl Kind {
    /// The type byte of this kind's qid.
    pub(super) fn qid_type(self) -> u8 {
        match self {
            Self::Directory => Qid::DIRECTORY,
            Self::Symlink => Qid::SYMLINK,
            Self::File | Self::Special => Qid::FILE,
        }
    }
}

/// Which file: what two names of one file have in common.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Identity {
    pub(super) device: Device,
    pub(super) inode: u64,
}

/// Which file system, by its device number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Device {
    major: u32,
    minor: u32,
}

#[cfg(test)]
impl Device {
    pub(super) const fn for_tests() -> Self {
        Self { major: 0, minor: 1 }
    }
}

/// statx(2)'s answer about one file.
#[derive(Debug)]
pub(super) struct Stat(Statx);

impl Stat {
    /// About the file that a descriptor stands for, symbolic link or not.
    pub(super) fn of(fd: impl AsFd) -> Result<Self, Errno> {
        Self::look(fd, b"", AtFlags::EMPTY_PATH)
    }

    /// About an entry of a directory, itself and not where it points.
    pub(super) fn at(directory: impl AsFd, name: &[u8]) -> Result<Self, Errno> {
        Self::look(directory, name, AtFlags::empty())
    }

    fn look(fd: impl AsFd, name: &[u8], flags: AtFlags) -> Result<Self, Errno> {
        let flags = flags | AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
        statx(fd, name, flags, StatxFlags::BASIC_STATS | StatxFlags::BTIME).map(Self)
    }

    pub(super) fn kind(&self) -> Kind {
        use rustix::fs::FileType;
        match FileType::from_raw_mode(u32::from(self.0.stx_mode)) {
            FileType::RegularFile => Kind::File,
            FileType::Directory => Kind::Directory,
            FileType::Symlink => Kind::Symlink,
            _ => Kind::Special,
        }
    }

    pub(super) fn identity(&self) -> Identity {
        Identity {
            device: Device {
                major: self.0.stx_dev_major,
                minor: self.0.stx_dev_minor,
            },
            inode: self.0.stx_ino,
        }
    }

    /// Owner and group.
    pub(super) fn owner(&self) -> (u32, u32) {
        (self.0.stx_uid, self.0.stx_gid)
    }

    /// Changes with every change of the content that the clock can tell apart.
    fn version(&self) -> u32 {
        let Statx {
            stx_mtime,
            stx_size,
            ..
        } = self.0;
        // A digest: the high bits may go.
        (stx_mtime.tv_sec as u32).rotate_left(8) ^ stx_mtime.tv_nsec ^ (stx_size as u32)
    }

    /// All that an `Rgetattr` says, whatever was asked for: it costs nothing,
    /// and the client reads `valid`.
    pub(super) fn attributes(&self, qid: Qid) -> Attributes {
        let stat = &self.0;
        let created = StatxFlags::from_bits_retain(stat.stx_mask).contains(StatxFlags::BTIME);
        let time = |seconds: i64, nanoseconds: u32| Time {
            seconds: seconds.cast_unsigned(),
            nanoseconds: u64::from(nanoseconds),
        };
        Attributes {
            valid: STATS_BASIC | if created { STATS_BTIME } else { 0 },
            qid,
            mode: u32::from(stat.stx_mode),
            uid: stat.stx_uid,
            gid: stat.stx_gid,
            nlink: u64::from(stat.stx_nlink),
            rdev: makedev(stat.stx_rdev_major, stat.stx_rdev_minor),
            size: stat.stx_size,
            block_size: u64::from(stat.stx_blksize),
            blocks: stat.stx_blocks,
            atime: time(stat.stx_atime.tv_sec, stat.stx_atime.tv_nsec),
            mtime: time(stat.stx_mtime.tv_sec, stat.stx_mtime.tv_nsec),
            ctime: time(stat.stx_ctime.tv_sec, stat.stx_ctime.tv_nsec),
            btime: if created {
                time(stat.stx_btime.tv_sec, stat.stx_btime.tv_nsec)
            } else {
                Time::default()
            },
        }
    }
}

/// The file systems seen so far, so that equal inode numbers on different ones
/// do not look like one file.
#[derive(Debug)]
pub(super) struct Devices {
    seen: RwLock<Vec<Device>>,
}

impl Devices {
    /// Begins with the file system of the root, whose inode numbers are then
    /// used as they are.
    pub(super) fn new(root: Device) -> Self {
        Self {
            seen: RwLock::new(vec![root]),
        }
    }

    /// The qid of a file that was looked at.
    pub(super) fn qid(&self, stat: &Stat) -> Qid {
        Qid {
            kind: stat.kind().qid_type(),
            version: stat.version(),
            path: self.path(stat.identity()),
        }
    }

    /// The qid path of a file: its inode number, with the index of its file
    /// system mixed into the highest byte. Two files could only share one if a
    /// file system used inode numbers of more than 56 bits, or if more than
    /// 256 were mounted below the root.
    pub(super) fn path(&self, identity: Identity) -> u64 {
        (self.index(identity.device).min(255) << 56) ^ identity.inode
    }

    fn index(&self, device: Device) -> u64 {
        let position = |seen: &[Device]| seen.iter().position(|other| *other == device);
        let known = position(&self.seen.read().unwrap_or_else(PoisonError::into_inner));
        let index = known.unwrap_or_else(|| {
            let mut seen = self.seen.write().unwrap_or_else(PoisonError::into_inner);
            position(&seen).unwrap_or_else(|| {
                seen.push(device);
                seen.len() - 1
            })
        });
        index as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn device(minor: u32) -> Device {
        Device { major: 8, minor }
    }

    #[test]
    fn equal_inodes_on_two_file_systems_are_two_files() {
        let devices = Devices::new(device(1));
        let at = |minor, inode| {
            devices.path(Identity {
                device: device(minor),
                inode,
            })
        };
        assert_eq!(at(1, 42), 42, "the root's inode numbers are kept");
        assert_ne!(at(2, 42), at(1, 42));
        assert_ne!(at(3, 42), at(2, 42));
        assert_eq!(at(2, 42), at(2, 42), "and stay what they were");
    }
}
