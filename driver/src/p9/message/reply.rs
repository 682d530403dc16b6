//! Replies, and how they are decoded: by the request they answer.

use super::{Qid, Request};

/// `Rlerror`'s type number.
const RLERROR: u8 = 7;

/// What getattr tells of a file (the fields of `GETATTR_BASIC`).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[expect(missing_docs, reason = "fields are named as in stat(2)")]
pub struct Attributes {
    /// Which of the fields the server filled in.
    pub valid: u64,
    pub qid: Qid,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub nlink: u64,
    pub rdev: u64,
    pub size: u64,
    pub blksize: u64,
    pub blocks: u64,
    /// Seconds and nanoseconds of the last access.
    pub atime: (u64, u64),
    /// Seconds and nanoseconds of the last modification.
    pub mtime: (u64, u64),
    /// Seconds and nanoseconds of the last status change.
    pub ctime: (u64, u64),
}

/// A directory entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DirectoryEntry {
    /// What it is.
    pub qid: Qid,
    /// Where reading goes on behind it.
    pub offset: u64,
    /// `DT_*` of readdir(3).
    pub kind: u8,
    /// Its name: bytes, as Linux has it.
    pub name: Vec<u8>,
}

/// A reply, by what was asked.
#[derive(Clone, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "fields are named as in the protocol's text")]
pub enum Reply {
    Version { msize: u32, version: Vec<u8> },
    Attach { qid: Qid },
    Walk { qids: Vec<Qid> },
    Open { qid: Qid, iounit: u32 },
    Read { data: Vec<u8> },
    Write { count: u32 },
    Readdir { entries: Vec<DirectoryEntry> },
    Getattr(Box<Attributes>),
    Mkdir { qid: Qid },
    Done,
}

/// A reply that is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// It ends too early, or claims a size that is not its own.
    #[error("the reply ends inside {field}, {len} bytes long")]
    Short {
        /// What should stand there.
        field: &'static str,
        /// Bytes of the reply.
        len: usize,
    },
    /// Bytes behind its end.
    #[error("{extra} bytes behind the end of the reply")]
    Trailing {
        /// How many.
        extra: usize,
    },
    /// The reply to something else.
    #[error("a reply of type {found} where {expected} or Rlerror was expected")]
    Type {
        /// The type wanted.
        expected: u8,
        /// The type found.
        found: u8,
    },
    /// Another request's reply.
    #[error("a reply with tag {found} where {expected} was expected")]
    Tag {
        /// The tag sent.
        expected: u16,
        /// The tag found.
        found: u16,
    },
    /// More data than was asked for.
    #[error("the server sent {found} where at most {asked} were asked for")]
    TooMuch {
        /// What was asked for.
        asked: u32,
        /// What came.
        found: u32,
    },
}

/// What a reply says: the answer, or an errno.
pub type Answer = Result<Reply, rustix::io::Errno>;

struct Decoder<'a> {
    rest: &'a [u8],
    len: usize,
}

impl<'a> Decoder<'a> {
    fn bytes(&mut self, count: usize, field: &'static str) -> Result<&'a [u8], DecodeError> {
        let (now, rest) = self
            .rest
            .split_at_checked(count)
            .ok_or(DecodeError::Short {
                field,
                len: self.len,
            })?;
        self.rest = rest;
        Ok(now)
    }
    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], DecodeError> {
        let mut array = [0; N];
        array.copy_from_slice(self.bytes(N, field)?);
        Ok(array)
    }
    fn u8(&mut self, field: &'static str) -> Result<u8, DecodeError> {
        Ok(self.array::<1>(field)?[0])
    }
    fn u16(&mut self, field: &'static str) -> Result<u16, DecodeError> {
        Ok(u16::from_le_bytes(self.array(field)?))
    }
    fn u32(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        Ok(u32::from_le_bytes(self.array(field)?))
    }
    fn u64(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        Ok(u64::from_le_bytes(self.array(field)?))
    }
    fn string(&mut self, field: &'static str) -> Result<&'a [u8], DecodeError> {
        let len = self.u16(field)?;
        self.bytes(usize::from(len), field)
    }
    fn qid(&mut self) -> Result<Qid, DecodeError> {
        Ok(Qid {
            kind: self.u8("qid.type")?,
            version: self.u32("qid.version")?,
            path: self.u64("qid.path")?,
        })
    }
    fn time(&mut self, field: &'static str) -> Result<(u64, u64), DecodeError> {
        Ok((self.u64(field)?, self.u64(field)?))
    }
}

impl Request<'_> {
    /// Reads the reply to this request, sent with `tag`.
    ///
    /// # Errors
    /// The bytes are no such reply. An Rlerror is an answer, not an error.
    pub fn decode_reply(&self, tag: u16, bytes: &[u8]) -> Result<Answer, DecodeError> {
        let len = bytes.len();
        let mut from = Decoder { rest: bytes, len };
        let size = from.u32("size")? as usize;
        if size > len {
            return Err(DecodeError::Short { field: "size", len });
        }
        // The device may say it wrote more than the message; the message's own
        // size counts, as in Linux.
        from.rest = &bytes[4..size.max(4)];
        from.len = size;
        let kind = from.u8("type")?;
        let found = from.u16("tag")?;
        if found != tag {
            return Err(DecodeError::Tag {
                expected: tag,
                found,
            });
        }
        let expected = self.kind() as u8 + 1;
        let answer = if kind == RLERROR {
            let ecode = from.u32("ecode")?;
            // 0 and what is no errno would pass for success somewhere.
            let errno = i32::try_from(ecode).ok().filter(|e| (1..4096).contains(e));
            Err(errno.map_or(rustix::io::Errno::IO, rustix::io::Errno::from_raw_os_error))
        } else if kind == expected {
            Ok(self.decode_body(&mut from)?)
        } else {
            return Err(DecodeError::Type {
                expected,
                found: kind,
            });
        };
        match from.rest.len() {
            0 => Ok(answer),
            extra => Err(DecodeError::Trailing { extra }),
        }
    }

    fn decode_body(&self, from: &mut Decoder<'_>) -> Result<Reply, DecodeError> {
        Ok(match self {
            Self::Version { .. } => Reply::Version {
                msize: from.u32("msize")?,
                version: from.string("version")?.to_vec(),
            },
            Self::Attach { .. } => Reply::Attach { qid: from.qid()? },
            Self::Walk { names, .. } => {
                let count = from.u16("nwqid")?;
                at_most(names.len() as u32, u32::from(count))?;
                Reply::Walk {
                    qids: (0..count).map(|_| from.qid()).collect::<Result<_, _>>()?,
                }
            }
            Self::Lopen { .. } | Self::Lcreate { .. } => Reply::Open {
                qid: from.qid()?,
                iounit: from.u32("iounit")?,
            },
            Self::Read { count, .. } => {
                let found = at_most(*count, from.u32("count")?)?;
                Reply::Read {
                    data: from.bytes(found as usize, "data")?.to_vec(),
                }
            }
            Self::Write { data, .. } => Reply::Write {
                count: at_most(data.len() as u32, from.u32("count")?)?,
            },
            Self::Readdir { count, .. } => {
                let found = at_most(*count, from.u32("count")?)?;
                let mut body = Decoder {
                    rest: from.bytes(found as usize, "data")?,
                    len: from.len,
                };
                let mut entries = Vec::new();
                while !body.rest.is_empty() {
                    entries.push(DirectoryEntry {
                        qid: body.qid()?,
                        offset: body.u64("entry.offset")?,
                        kind: body.u8("entry.type")?,
                        name: body.string("entry.name")?.to_vec(),
                    });
                }
                Reply::Readdir { entries }
            }
            Self::Getattr { .. } => {
                let attributes = Attributes {
                    valid: from.u64("valid")?,
                    qid: from.qid()?,
                    mode: from.u32("mode")?,
                    uid: from.u32("uid")?,
                    gid: from.u32("gid")?,
                    nlink: from.u64("nlink")?,
                    rdev: from.u64("rdev")?,
                    size: from.u64("size")?,
                    blksize: from.u64("blksize")?,
                    blocks: from.u64("blocks")?,
                    atime: from.time("atime")?,
                    mtime: from.time("mtime")?,
                    ctime: from.time("ctime")?,
                };
                from.time("btime")?;
                from.u64("gen")?;
                from.u64("data_version")?;
                Reply::Getattr(Box::new(attributes))
            }
            Self::Mkdir { .. } => Reply::Mkdir { qid: from.qid()? },
            Self::Unlinkat { .. } | Self::Clunk { .. } => Reply::Done,
        })
    }
}

fn at_most(asked: u32, found: u32) -> Result<u32, DecodeError> {
    if found > asked {
        return Err(DecodeError::TooMuch { asked, found });
    }
    Ok(found)
}
