//! The fields of the requests, in the order of their bytes.

use super::reply::Time;
use super::request::{Change, Lock, Malformed, Request, WalkNames};
use super::{Fid, MAX_WALK_NAMES, MessageType, Tag};

/// What of the body is still unread.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn request(&mut self, kind: MessageType) -> Result<Option<Request<'a>>, Malformed> {
        Ok(Some(match kind {
            MessageType::TVERSION => Request::Version {
                msize: self.u32()?,
                version: self.string()?,
            },
            MessageType::TAUTH => {
                let afid = self.fid()?;
                self.user()?;
                Request::Auth { afid }
            }
            MessageType::TATTACH => {
                let (fid, afid) = (self.fid()?, self.fid()?);
                self.user()?;
                Request::Attach { fid, afid }
            }
            MessageType::TFLUSH => Request::Flush {
                oldtag: Tag(self.u16()?),
            },
            MessageType::TWALK => Request::Walk {
                fid: self.fid()?,
                newfid: self.fid()?,
                names: self.walk_names()?,
            },
            MessageType::TLOPEN => Request::Lopen {
                fid: self.fid()?,
                flags: self.u32()?,
            },
            MessageType::TLCREATE => {
                let fid = self.fid()?;
                let name = self.string()?;
                let (flags, mode) = (self.u32()?, self.u32()?);
                self.u32()?;
                Request::Lcreate {
                    fid,
                    name,
                    flags,
                    mode,
                }
            }
            MessageType::TREAD => Request::Read {
                fid: self.fid()?,
                offset: self.u64()?,
                count: self.u32()?,
            },
            MessageType::TWRITE => {
                let (fid, offset) = (self.fid()?, self.u64()?);
                let count = self.u32()?;
                let data = self.take(usize::try_from(count).unwrap_or(usize::MAX))?;
                Request::Write { fid, offset, data }
            }
            MessageType::TREADDIR => Request::Readdir {
                fid: self.fid()?,
                offset: self.u64()?,
                count: self.u32()?,
            },
            MessageType::TGETATTR => Request::Getattr {
                fid: self.fid()?,
                mask: self.u64()?,
            },
            MessageType::TSTATFS => Request::Statfs { fid: self.fid()? },
            MessageType::TREADLINK => Request::Readlink { fid: self.fid()? },
            MessageType::TMKDIR => {
                let fid = self.fid()?;
                let name = self.string()?;
                let mode = self.u32()?;
                self.u32()?;
                Request::Mkdir { fid, name, mode }
            }
            MessageType::TUNLINKAT => Request::Unlinkat {
                fid: self.fid()?,
                name: self.string()?,
                flags: self.u32()?,
            },
            MessageType::TCLUNK => Request::Clunk { fid: self.fid()? },
            MessageType::TREMOVE => Request::Remove { fid: self.fid()? },
            MessageType::TFSYNC => Request::Fsync {
                fid: self.fid()?,
                data_only: self.u32()? != 0,
            },
            MessageType::TSYMLINK => {
                let fid = self.fid()?;
                let (name, target) = (self.string()?, self.string()?);
                self.u32()?;
                Request::Symlink { fid, name, target }
            }
            MessageType::TMKNOD => {
                let fid = self.fid()?;
                let name = self.string()?;
                let mode = self.u32()?;
                let _device = (self.u32()?, self.u32()?);
                self.u32()?;
                Request::Mknod { fid, name, mode }
            }
            MessageType::TRENAME => Request::Rename {
                fid: self.fid()?,
                dfid: self.fid()?,
                name: self.string()?,
            },
            MessageType::TSETATTR => Request::Setattr {
                fid: self.fid()?,
                change: Change {
                    valid: self.u32()?,
                    mode: self.u32()?,
                    uid: self.u32()?,
                    gid: self.u32()?,
                    size: self.u64()?,
                    atime: self.time()?,
                    mtime: self.time()?,
                },
            },
            MessageType::TXATTRWALK => Request::Xattrwalk {
                fid: self.fid()?,
                newfid: self.fid()?,
                name: self.string()?,
            },
            MessageType::TXATTRCREATE => Request::Xattrcreate {
                fid: self.fid()?,
                name: self.string()?,
                size: self.u64()?,
                flags: self.u32()?,
            },
            MessageType::TLOCK => {
                let (fid, kind) = (self.fid()?, self.u8()?);
                self.u32()?;
                let lock = self.lock(kind)?;
                Request::Lock { fid, lock }
            }
            MessageType::TGETLOCK => {
                let (fid, kind) = (self.fid()?, self.u8()?);
                let lock = self.lock(kind)?;
                Request::Getlock { fid, lock }
            }
            MessageType::TLINK => Request::Link {
                dfid: self.fid()?,
                fid: self.fid()?,
                name: self.string()?,
            },
            MessageType::TRENAMEAT => Request::Renameat {
                from: self.fid()?,
                old_name: self.string()?,
                to: self.fid()?,
                new_name: self.string()?,
            },
            _ => return Ok(None),
        }))
    }

    /// `start[8] length[8] proc_id[4] client_id[s]`
    fn lock(&mut self, kind: u8) -> Result<Lock<'a>, Malformed> {
        Ok(Lock {
            kind,
            start: self.u64()?,
            length: self.u64()?,
            proc_id: self.u32()?,
            client_id: self.string()?,
        })
    }

    fn time(&mut self) -> Result<Time, Malformed> {
        Ok(Time {
            seconds: self.u64()?,
            nanoseconds: self.u64()?,
        })
    }

    /// `uname[s] aname[s] n_uname[4]`
    fn user(&mut self) -> Result<(), Malformed> {
        self.string()?;
        self.string()?;
        self.u32()?;
        Ok(())
    }

    fn walk_names(&mut self) -> Result<WalkNames<'a>, Malformed> {
        let count = self.u16()?;
        if usize::from(count) > MAX_WALK_NAMES {
            return Err(Malformed::TooManyNames { count });
        }
        let all = self.0;
        for _ in 0..count {
            self.string()?;
        }
        let len = all.len() - self.0.len();
        Ok(WalkNames {
            encoded: all.get(..len).unwrap_or_default(),
            count: usize::from(count),
        })
    }

    pub(super) fn string(&mut self) -> Result<&'a [u8], Malformed> {
        let len = self.u16()?;
        self.take(usize::from(len))
    }

    fn fid(&mut self) -> Result<Fid, Malformed> {
        self.u32().map(Fid)
    }

    fn u8(&mut self) -> Result<u8, Malformed> {
        self.chunk().map(u8::from_le_bytes)
    }

    fn u16(&mut self) -> Result<u16, Malformed> {
        self.chunk().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, Malformed> {
        self.chunk().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, Malformed> {
        self.chunk().map(u64::from_le_bytes)
    }

    fn chunk<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (chunk, rest) = self.0.split_first_chunk().ok_or(Malformed::Truncated {
            missing: N.saturating_sub(self.0.len()),
        })?;
        self.0 = rest;
        Ok(*chunk)
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(Malformed::Truncated {
            missing: len.saturating_sub(self.0.len()),
        })?;
        self.0 = rest;
        Ok(taken)
    }
}
