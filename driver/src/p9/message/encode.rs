//! How requests are encoded.

use super::{Lock, MAX_WALK, NOFID, Request, SetAttributes, SetTime};

/// A request that cannot be put into a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// A string longer than its 16-bit length can say.
    #[error("a name of {len} bytes is longer than the 65535 that 9P can say")]
    NameTooLong {
        /// Its length.
        len: usize,
    },
    /// More names than one walk may hold.
    #[error("{names} names in one walk; 9P allows 16")]
    TooManyNames {
        /// How many.
        names: usize,
    },
    /// Longer than the msize agreed on.
    #[error("a message of {len} bytes is longer than the msize of {msize}")]
    TooLong {
        /// Its length.
        len: usize,
        /// The msize.
        msize: u32,
    },
}

struct Encoder<'a>(&'a mut Vec<u8>);

impl Encoder<'_> {
    fn u16(&mut self, value: u16) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }
    fn u32(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }
    fn u64(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }
    fn string(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        let len = bytes.len();
        self.u16(u16::try_from(len).map_err(|_| EncodeError::NameTooLong { len })?);
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    /// `valid[4] mode[4] uid[4] gid[4] size[8]` and the times; what does not change is 0.
    fn attributes(&mut self, attributes: &SetAttributes) {
        self.u32(attributes.valid());
        self.u32(attributes.mode.unwrap_or(0));
        self.u32(attributes.uid.unwrap_or(0));
        self.u32(attributes.gid.unwrap_or(0));
        self.u64(attributes.size.unwrap_or(0));
        for time in [attributes.atime, attributes.mtime] {
            let (seconds, nanoseconds) = match time {
                Some(SetTime::To(seconds, nanoseconds)) => (seconds, nanoseconds),
                Some(SetTime::Now) | None => (0, 0),
            };
            self.u64(seconds);
            self.u64(nanoseconds);
        }
    }

    /// `start[8] length[8] proc_id[4] client_id[s]`
    fn range(&mut self, lock: &Lock<'_>) -> Result<(), EncodeError> {
        self.u64(lock.start);
        self.u64(lock.length);
        self.u32(lock.proc_id);
        self.string(lock.client_id.as_bytes())
    }
}

impl Request<'_> {
    /// Writes the whole message with `tag` into `into`, replacing what is there.
    ///
    /// # Errors
    /// A name too long, too many names, or a message longer than `msize`.
    pub fn encode(&self, tag: u16, msize: u32, into: &mut Vec<u8>) -> Result<(), EncodeError> {
        into.clear();
        // Bytes of the message that stand somewhere else.
        let mut elsewhere = 0;
        let mut to = Encoder(into);
        to.u32(0);
        to.0.push(self.kind() as u8);
        to.u16(tag);
        match *self {
            Self::Version { msize, version } => {
                to.u32(msize);
                to.string(version.as_bytes())?;
            }
            Self::Auth {
                afid,
                uname,
                aname,
                n_uname,
            } => {
                to.u32(afid.0);
                to.string(uname.as_bytes())?;
                to.string(aname.as_bytes())?;
                to.u32(n_uname);
            }
            Self::Attach {
                fid,
                afid,
                uname,
                aname,
                n_uname,
            } => {
                to.u32(fid.0);
                to.u32(afid.map_or(NOFID, |afid| afid.0));
                to.string(uname.as_bytes())?;
                to.string(aname.as_bytes())?;
                to.u32(n_uname);
            }
            Self::Flush { oldtag } => to.u16(oldtag),
            Self::Walk { fid, newfid, names } => {
                if names.len() > MAX_WALK {
                    return Err(EncodeError::TooManyNames { names: names.len() });
                }
                to.u32(fid.0);
                to.u32(newfid.0);
                to.u16(names.len() as u16);
                for name in names {
                    to.string(name)?;
                }
            }
            Self::Lopen { fid, flags } => {
                to.u32(fid.0);
                to.u32(flags);
            }
            Self::Lcreate {
                fid,
                name,
                flags,
                mode,
                gid,
            } => {
                to.u32(fid.0);
                to.string(name)?;
                to.u32(flags);
                to.u32(mode);
                to.u32(gid);
            }
            Self::Read { fid, offset, count } | Self::Readdir { fid, offset, count } => {
                to.u32(fid.0);
                to.u64(offset);
                to.u32(count);
            }
            Self::Write { fid, offset, data } => {
                to.u32(fid.0);
                to.u64(offset);
                to.u32(data.len() as u32);
                to.0.extend_from_slice(data);
            }
            Self::WriteFrom { fid, offset, count } => {
                to.u32(fid.0);
                to.u64(offset);
                to.u32(count);
                elsewhere = count as usize;
            }
            Self::Getattr { fid, request_mask } => {
                to.u32(fid.0);
                to.u64(request_mask);
            }
            Self::Mkdir {
                dfid,
                name,
                mode,
                gid,
            } => {
                to.u32(dfid.0);
                to.string(name)?;
                to.u32(mode);
                to.u32(gid);
            }
            Self::Unlinkat {
                dirfid,
                name,
                flags,
            } => {
                to.u32(dirfid.0);
                to.string(name)?;
                to.u32(flags);
            }
            Self::Symlink {
                dfid,
                name,
                target,
                gid,
            } => {
                to.u32(dfid.0);
                to.string(name)?;
                to.string(target)?;
                to.u32(gid);
            }
            Self::Mknod {
                dfid,
                name,
                mode,
                major,
                minor,
                gid,
            } => {
                to.u32(dfid.0);
                to.string(name)?;
                to.u32(mode);
                to.u32(major);
                to.u32(minor);
                to.u32(gid);
            }
            Self::Rename { fid, dfid, name } => {
                to.u32(fid.0);
                to.u32(dfid.0);
                to.string(name)?;
            }
            Self::Setattr { fid, attributes } => {
                to.u32(fid.0);
                to.attributes(&attributes);
            }
            Self::Xattrwalk { fid, newfid, name } => {
                to.u32(fid.0);
                to.u32(newfid.0);
                to.string(name)?;
            }
            Self::Xattrcreate {
                fid,
                name,
                size,
                flags,
            } => {
                to.u32(fid.0);
                to.string(name)?;
                to.u64(size);
                to.u32(flags);
            }
            Self::Fsync { fid, datasync } => {
                to.u32(fid.0);
                to.u32(u32::from(datasync));
            }
            Self::Lock { fid, lock, flags } => {
                to.u32(fid.0);
                to.0.push(lock.kind as u8);
                to.u32(flags);
                to.range(&lock)?;
            }
            Self::Getlock { fid, lock } => {
                to.u32(fid.0);
                to.0.push(lock.kind as u8);
                to.range(&lock)?;
            }
            Self::Link { dfid, fid, name } => {
                to.u32(dfid.0);
                to.u32(fid.0);
                to.string(name)?;
            }
            Self::Renameat {
                olddirfid,
                oldname,
                newdirfid,
                newname,
            } => {
                to.u32(olddirfid.0);
                to.string(oldname)?;
                to.u32(newdirfid.0);
                to.string(newname)?;
            }
            Self::Statfs { fid }
            | Self::Readlink { fid }
            | Self::Clunk { fid }
            | Self::Remove { fid } => to.u32(fid.0),
        }
        let len = into.len() + elsewhere;
        if len > msize as usize {
            return Err(EncodeError::TooLong { len, msize });
        }
        into[..4].copy_from_slice(&(len as u32).to_le_bytes());
        Ok(())
    }
}
