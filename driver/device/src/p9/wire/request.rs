//! Requests: the T messages, read from bytes that nobody vouches for.

use thiserror::Error;

use super::{Fid, HEADER_LEN, Header, MAX_WALK_NAMES, MessageType, Tag};

/// One request, borrowed from the bytes it was read from. Names are the bytes
/// the client sent, not yet checked for what they would mean to a file system.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Request<'a> {
    /// `Tversion msize[4] version[s]`
    Version {
        /// Largest message the client can take, in bytes.
        msize: u32,
        /// The protocol it wants to speak.
        version: &'a [u8],
    },
    /// `Tauth afid[4] uname[s] aname[s] n_uname[4]`
    Auth {
        /// The fid that would carry the authentication.
        afid: Fid,
    },
    /// `Tattach fid[4] afid[4] uname[s] aname[s] n_uname[4]`. The two names and
    /// the number are checked for length and then left: there is one tree here,
    /// and everyone is served as the user the server runs as.
    Attach {
        /// The fid that shall name the root.
        fid: Fid,
        /// An authenticated fid, or [`Fid::NONE`].
        afid: Fid,
    },
    /// `Tflush oldtag[2]`
    Flush {
        /// The request to take back.
        oldtag: Tag,
    },
    /// `Twalk fid[4] newfid[4] nwname[2] nwname*(wname[s])`
    Walk {
        /// Where to start.
        fid: Fid,
        /// The fid for where the walk ends; may be the same.
        newfid: Fid,
        /// The names on the way.
        names: WalkNames<'a>,
    },
    /// `Tlopen fid[4] flags[4]`
    Lopen {
        /// What to open.
        fid: Fid,
        /// Linux `P9_DOTL_*` open flags.
        flags: u32,
    },
    /// `Tlcreate fid[4] name[s] flags[4] mode[4] gid[4]`; `gid` is not used.
    Lcreate {
        /// The directory; becomes the new file.
        fid: Fid,
        /// The new file's name.
        name: &'a [u8],
        /// Linux `P9_DOTL_*` open flags.
        flags: u32,
        /// Permission bits.
        mode: u32,
    },
    /// `Tread fid[4] offset[8] count[4]`
    Read {
        /// An open file.
        fid: Fid,
        /// Where in the file, in bytes.
        offset: u64,
        /// Bytes wanted at most.
        count: u32,
    },
    /// `Twrite fid[4] offset[8] count[4] data[count]`
    Write {
        /// An open file.
        fid: Fid,
        /// Where in the file, in bytes.
        offset: u64,
        /// What to write there.
        data: &'a [u8],
    },
    /// `Treaddir fid[4] offset[8] count[4]`
    Readdir {
        /// An open directory.
        fid: Fid,
        /// 0, or the offset that the last entry seen carried.
        offset: u64,
        /// Bytes wanted at most.
        count: u32,
    },
    /// `Tgetattr fid[4] request_mask[8]`
    Getattr {
        /// The file.
        fid: Fid,
        /// Linux `P9_STATS_*`: what the client wants to know.
        mask: u64,
    },
    /// `Tstatfs fid[4]`
    Statfs {
        /// Any file of the file system.
        fid: Fid,
    },
    /// `Treadlink fid[4]`
    Readlink {
        /// A symbolic link.
        fid: Fid,
    },
    /// `Tmkdir dfid[4] name[s] mode[4] gid[4]`; `gid` is not used.
    Mkdir {
        /// Where.
        fid: Fid,
        /// The new directory's name.
        name: &'a [u8],
        /// Permission bits.
        mode: u32,
    },
    /// `Tunlinkat dirfd[4] name[s] flags[4]`
    Unlinkat {
        /// Where.
        fid: Fid,
        /// The name to remove.
        name: &'a [u8],
        /// 0 or [`super::AT_REMOVEDIR`].
        flags: u32,
    },
    /// `Tclunk fid[4]`
    Clunk {
        /// The fid to forget.
        fid: Fid,
    },
    /// `Tremove fid[4]`
    Remove {
        /// The file to remove and the fid to forget.
        fid: Fid,
    },
    /// `Tfsync fid[4] datasync[4]`
    Fsync {
        /// An open file.
        fid: Fid,
        /// Whether attributes may be left behind, as fdatasync(2) does.
        data_only: bool,
    },
    /// Any other type: its body is not looked at.
    Unsupported(MessageType),
}

/// The names of a `Twalk`: at most [`MAX_WALK_NAMES`], still as they were sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WalkNames<'a> {
    /// `nwname*(wname[s])`, known to hold `count` whole strings.
    encoded: &'a [u8],
    count: usize,
}

impl<'a> WalkNames<'a> {
    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// The names in order.
    pub fn iter(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let mut fields = Fields(self.encoded);
        std::iter::from_fn(move || fields.string().ok())
    }
}

/// Why bytes are not a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum Malformed {
    /// The message ends inside a field.
    #[error("the message ends {missing} bytes inside a field; send the whole message")]
    Truncated {
        /// Bytes that the field still needed.
        missing: usize,
    },
    /// Bytes are left over behind the last field.
    #[error("{extra} bytes follow the last field; send the fields of the message and no more")]
    Trailing {
        /// How many.
        extra: usize,
    },
    /// `size[4]` is not the length of the message.
    #[error("size[4] says {said} bytes but {actual} were sent; make the two equal")]
    Size {
        /// The header's value.
        said: u32,
        /// The length of the message.
        actual: usize,
    },
    /// More names than a walk may have.
    #[error("{count} names in one walk; walk at most {MAX_WALK_NAMES} at a time")]
    TooManyNames {
        /// The message's `nwname[2]`.
        count: u16,
    },
}

impl<'a> Request<'a> {
    /// Reads one whole message.
    ///
    /// # Errors
    /// [`Malformed`] unless the message is exactly as long as its header says
    /// and its fields fill it to the last byte.
    pub fn parse(message: &'a [u8]) -> Result<Self, Malformed> {
        let header = Header::peek(message).ok_or(Malformed::Truncated {
            missing: HEADER_LEN.saturating_sub(message.len()),
        })?;
        if usize::try_from(header.size) != Ok(message.len()) {
            return Err(Malformed::Size {
                said: header.size,
                actual: message.len(),
            });
        }
        let mut body = Fields(message.get(HEADER_LEN..).unwrap_or_default());
        let Some(request) = body.request(header.kind)? else {
            return Ok(Self::Unsupported(header.kind));
        };
        match body.0.len() {
            0 => Ok(request),
            extra => Err(Malformed::Trailing { extra }),
        }
    }

    /// Bytes of the smallest successful answer. An answer that carries data
    /// may be longer, but can be cut to the room there is.
    #[must_use]
    pub fn smallest_answer(&self) -> usize {
        HEADER_LEN
            + match self {
                Self::Version { .. } => 4 + 2 + super::VERSION.len(),
                Self::Attach { .. } | Self::Mkdir { .. } => super::Qid::LEN,
                Self::Walk { names, .. } => 2 + names.count() * super::Qid::LEN,
                Self::Lopen { .. } | Self::Lcreate { .. } => super::Qid::LEN + 4,
                Self::Getattr { .. } => super::reply::GETATTR_BODY_LEN,
                Self::Statfs { .. } => super::reply::STATFS_BODY_LEN,
                Self::Read { .. } | Self::Write { .. } | Self::Readdir { .. } => 4,
                Self::Readlink { .. } => 2,
                Self::Auth { .. }
                | Self::Flush { .. }
                | Self::Unlinkat { .. }
                | Self::Clunk { .. }
                | Self::Remove { .. }
                | Self::Fsync { .. }
                | Self::Unsupported(_) => 0,
            }
    }
}

/// What of the body is still unread.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn request(&mut self, kind: MessageType) -> Result<Option<Request<'a>>, Malformed> {
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
            _ => return Ok(None),
        }))
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

    fn string(&mut self) -> Result<&'a [u8], Malformed> {
        let len = self.u16()?;
        self.take(usize::from(len))
    }

    fn fid(&mut self) -> Result<Fid, Malformed> {
        self.u32().map(Fid)
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
