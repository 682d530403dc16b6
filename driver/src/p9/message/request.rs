//! Requests, and how they are encoded.

use super::{Fid, MAX_WALK, NOFID, READ_OVERHEAD, Type};

/// A request.
#[derive(Clone, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "fields are named as in the protocol's text")]
pub enum Request<'a> {
    Version {
        msize: u32,
        version: &'a str,
    },
    Attach {
        fid: Fid,
        uname: &'a str,
        aname: &'a str,
        n_uname: u32,
    },
    Walk {
        fid: Fid,
        newfid: Fid,
        names: &'a [&'a [u8]],
    },
    Lopen {
        fid: Fid,
        flags: u32,
    },
    Lcreate {
        fid: Fid,
        name: &'a [u8],
        flags: u32,
        mode: u32,
        gid: u32,
    },
    Read {
        fid: Fid,
        offset: u64,
        count: u32,
    },
    Write {
        fid: Fid,
        offset: u64,
        data: &'a [u8],
    },
    Readdir {
        fid: Fid,
        offset: u64,
        count: u32,
    },
    Getattr {
        fid: Fid,
        request_mask: u64,
    },
    Mkdir {
        dfid: Fid,
        name: &'a [u8],
        mode: u32,
        gid: u32,
    },
    Unlinkat {
        dirfid: Fid,
        name: &'a [u8],
        flags: u32,
    },
    Clunk {
        fid: Fid,
    },
}

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
}

impl Request<'_> {
    /// The message's type.
    pub const fn kind(&self) -> Type {
        match self {
            Self::Version { .. } => Type::Version,
            Self::Attach { .. } => Type::Attach,
            Self::Walk { .. } => Type::Walk,
            Self::Lopen { .. } => Type::Lopen,
            Self::Lcreate { .. } => Type::Lcreate,
            Self::Read { .. } => Type::Read,
            Self::Write { .. } => Type::Write,
            Self::Readdir { .. } => Type::Readdir,
            Self::Getattr { .. } => Type::Getattr,
            Self::Mkdir { .. } => Type::Mkdir,
            Self::Unlinkat { .. } => Type::Unlinkat,
            Self::Clunk { .. } => Type::Clunk,
        }
    }

    /// How long the reply can be, so that its buffer need not be `msize` for
    /// every request (Linux does the same in `p9_msg_buf_size`).
    pub fn reply_capacity(&self) -> u32 {
        match self {
            Self::Read { count, .. } | Self::Readdir { count, .. } => {
                count.saturating_add(READ_OVERHEAD)
            }
            // The longest other reply is Rgetattr with 160 bytes, or an Rwalk of
            // 16 qids with 217; a version string may be anything short.
            _ => 1024,
        }
    }

    /// Writes the whole message with `tag` into `into`, replacing what is there.
    ///
    /// # Errors
    /// A name too long, too many names, or a message longer than `msize`.
    pub fn encode(&self, tag: u16, msize: u32, into: &mut Vec<u8>) -> Result<(), EncodeError> {
        into.clear();
        let mut to = Encoder(into);
        to.u32(0);
        to.0.push(self.kind() as u8);
        to.u16(tag);
        match *self {
            Self::Version { msize, version } => {
                to.u32(msize);
                to.string(version.as_bytes())?;
            }
            Self::Attach {
                fid,
                uname,
                aname,
                n_uname,
            } => {
                to.u32(fid.0);
                to.u32(NOFID);
                to.string(uname.as_bytes())?;
                to.string(aname.as_bytes())?;
                to.u32(n_uname);
            }
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
            Self::Clunk { fid } => to.u32(fid.0),
        }
        let len = into.len();
        if len > msize as usize {
            return Err(EncodeError::TooLong { len, msize });
        }
        into[..4].copy_from_slice(&(len as u32).to_le_bytes());
        Ok(())
    }
}
