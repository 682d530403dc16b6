//! How replies are decoded: by the request they answer.

use super::{
    Answer, Attributes, DirectoryEntry, FileSystem, HeldLock, LockKind, LockStatus, Qid,
    READ_OVERHEAD, Reply, Request,
};

/// `Rlerror`'s type number.
const RLERROR: u8 = 7;

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
    /// A number that the field can't have.
    #[error("{field} is {found}, which means nothing")]
    Value {
        /// Which field.
        field: &'static str,
        /// What stands there.
        found: u8,
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
        let answer = match self.decode_header(tag, &mut from)? {
            Ok(()) => Ok(self.decode_body(&mut from)?),
            Err(errno) => Err(errno),
        };
        match from.rest.len() {
            0 => Ok(answer),
            extra => Err(DecodeError::Trailing { extra }),
        }
    }

    /// Reads the reply to a zero-copy [`Read`](Self::Read), of which only the first
    /// [`READ_OVERHEAD`] bytes are here and the data are where the caller wants them: how
    /// many there are. `written` is what the device says it wrote in all.
    ///
    /// # Errors
    /// As [`decode_reply`](Self::decode_reply); and fewer bytes than the reply claims.
    pub fn decode_zero_copy_reply(
        &self,
        tag: u16,
        header: &[u8],
        written: usize,
    ) -> Result<Result<u32, rustix::io::Errno>, DecodeError> {
        let Self::Read { count: asked, .. } = self else {
            let answer = self.decode_reply(tag, header)?;
            return Ok(answer.map(|_| 0));
        };
        let len = written.min(header.len());
        let mut from = Decoder {
            rest: &header[..len],
            len,
        };
        let size = from.u32("size")? as usize;
        if size > written {
            return Err(DecodeError::Short {
                field: "size",
                len: written,
            });
        }
        if let Err(errno) = self.decode_header(tag, &mut from)? {
            return Ok(Err(errno));
        }
        let count = at_most(*asked, from.u32("count")?)?;
        match size.checked_sub(READ_OVERHEAD as usize + count as usize) {
            Some(0) => Ok(Ok(count)),
            Some(extra) => Err(DecodeError::Trailing { extra }),
            None => Err(DecodeError::Short {
                field: "data",
                len: size,
            }),
        }
    }

    /// `type[1] tag[2]`, and the errno if it is an Rlerror.
    fn decode_header(
        &self,
        tag: u16,
        from: &mut Decoder<'_>,
    ) -> Result<Result<(), rustix::io::Errno>, DecodeError> {
        let kind = from.u8("type")?;
        let found = from.u16("tag")?;
        if found != tag {
            return Err(DecodeError::Tag {
                expected: tag,
                found,
            });
        }
        let expected = self.kind() as u8 + 1;
        if kind == RLERROR {
            let ecode = from.u32("ecode")?;
            // 0 and what is no errno would pass for success somewhere.
            let errno = i32::try_from(ecode).ok().filter(|e| (1..4096).contains(e));
            let errno = errno.map_or(rustix::io::Errno::IO, rustix::io::Errno::from_raw_os_error);
            return Ok(Err(errno));
        }
        if kind != expected {
            return Err(DecodeError::Type {
                expected,
                found: kind,
            });
        }
        Ok(Ok(()))
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
            Self::WriteFrom { count, .. } => Reply::Write {
                count: at_most(*count, from.u32("count")?)?,
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
            Self::Symlink { .. } => Reply::Symlink { qid: from.qid()? },
            Self::Mknod { .. } => Reply::Mknod { qid: from.qid()? },
            Self::Auth { .. } => Reply::Auth { aqid: from.qid()? },
            Self::Readlink { .. } => Reply::Readlink {
                target: from.string("target")?.to_vec(),
            },
            Self::Statfs { .. } => Reply::Statfs(Box::new(FileSystem {
                kind: from.u32("type")?,
                bsize: from.u32("bsize")?,
                blocks: from.u64("blocks")?,
                bfree: from.u64("bfree")?,
                bavail: from.u64("bavail")?,
                files: from.u64("files")?,
                ffree: from.u64("ffree")?,
                fsid: from.u64("fsid")?,
                namelen: from.u32("namelen")?,
            })),
            Self::Xattrwalk { .. } => Reply::Xattrwalk {
                size: from.u64("size")?,
            },
            Self::Lock { .. } => Reply::Lock {
                status: known("status", from.u8("status")?, LockStatus::from_raw)?,
            },
            Self::Getlock { .. } => Reply::Getlock(HeldLock {
                kind: known("type", from.u8("type")?, LockKind::from_raw)?,
                start: from.u64("start")?,
                length: from.u64("length")?,
                proc_id: from.u32("proc_id")?,
                client_id: from.string("client_id")?.to_vec(),
            }),
            Self::Flush { .. }
            | Self::Rename { .. }
            | Self::Setattr { .. }
            | Self::Xattrcreate { .. }
            | Self::Fsync { .. }
            | Self::Link { .. }
            | Self::Renameat { .. }
            | Self::Unlinkat { .. }
            | Self::Clunk { .. }
            | Self::Remove { .. } => Reply::Done,
        })
    }
}

fn at_most(asked: u32, found: u32) -> Result<u32, DecodeError> {
    if found > asked {
        return Err(DecodeError::TooMuch { asked, found });
    }
    Ok(found)
}

/// A number that stands for something.
fn known<T>(
    field: &'static str,
    found: u8,
    from_raw: fn(u8) -> Option<T>,
) -> Result<T, DecodeError> {
    from_raw(found).ok_or(DecodeError::Value { field, found })
}
