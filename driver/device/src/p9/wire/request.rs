//! Requests: the T messages, read from bytes that nobody vouches for.

use thiserror::Error;

use super::fields::Fields;
use super::reply::Time;
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
    /// `Tsymlink dfid[4] name[s] symtgt[s] gid[4]`; `gid` is not used.
    Symlink {
        /// Where.
        fid: Fid,
        /// The new link's name.
        name: &'a [u8],
        /// Its text.
        target: &'a [u8],
    },
    /// `Tmknod dfid[4] name[s] mode[4] major[4] minor[4] gid[4]`; `gid` is not used, nor
    /// are the device's numbers.
    Mknod {
        /// Where.
        fid: Fid,
        /// The new file's name.
        name: &'a [u8],
        /// Its type and permission bits.
        mode: u32,
    },
    /// `Trename fid[4] dfid[4] name[s]`
    Rename {
        /// What to move.
        fid: Fid,
        /// Where to.
        dfid: Fid,
        /// Its name there.
        name: &'a [u8],
    },
    /// `Tsetattr fid[4] valid[4] mode[4] uid[4] gid[4] size[8]` and access and
    /// modification time
    Setattr {
        /// The file.
        fid: Fid,
        /// What to change.
        change: Change,
    },
    /// `Txattrwalk fid[4] newfid[4] name[s]`
    Xattrwalk {
        /// The file.
        fid: Fid,
        /// The fid for the attribute's value.
        newfid: Fid,
        /// Which attribute; empty for the list of all.
        name: &'a [u8],
    },
    /// `Txattrcreate fid[4] name[s] attr_size[8] flags[4]`
    Xattrcreate {
        /// The file; becomes the attribute.
        fid: Fid,
        /// Which attribute.
        name: &'a [u8],
        /// Bytes that will be written.
        size: u64,
        /// Linux `XATTR_CREATE`, `XATTR_REPLACE`.
        flags: u32,
    },
    /// `Tlock fid[4] type[1] flags[4] start[8] length[8] proc_id[4] client_id[s]`; no
    /// request waits for a lock, so `flags` change nothing.
    Lock {
        /// An open file.
        fid: Fid,
        /// What is wanted.
        lock: Lock<'a>,
    },
    /// `Tgetlock fid[4] type[1] start[8] length[8] proc_id[4] client_id[s]`
    Getlock {
        /// An open file.
        fid: Fid,
        /// What would be wanted.
        lock: Lock<'a>,
    },
    /// `Tlink dfid[4] fid[4] name[s]`
    Link {
        /// Where.
        dfid: Fid,
        /// The file that gets a name.
        fid: Fid,
        /// The name.
        name: &'a [u8],
    },
    /// `Trenameat olddirfid[4] oldname[s] newdirfid[4] newname[s]`
    Renameat {
        /// From where.
        from: Fid,
        /// Its name there.
        old_name: &'a [u8],
        /// Where to.
        to: Fid,
        /// Its name there.
        new_name: &'a [u8],
    },
    /// Any other type: its body is not looked at.
    Unsupported(MessageType),
}

/// What a `Tsetattr` changes, as it was sent: only what `valid` names is meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Change {
    /// Which of the fields below are meant: [`super::setattr`].
    pub valid: u32,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes of content.
    pub size: u64,
    /// Last access.
    pub atime: Time,
    /// Last change of the content.
    pub mtime: Time,
}

/// A range of a file, and who wants a lock on it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lock<'a> {
    /// [`super::lock_kind`].
    pub kind: u8,
    /// Its first byte.
    pub start: u64,
    /// Its bytes; 0 for all that follow.
    pub length: u64,
    /// The process.
    pub proc_id: u32,
    /// Its machine.
    pub client_id: &'a [u8],
}

/// The names of a `Twalk`: at most [`MAX_WALK_NAMES`], still as they were sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WalkNames<'a> {
    /// `nwname*(wname[s])`, known to hold `count` whole strings.
    pub(super) encoded: &'a [u8],
    pub(super) count: usize,
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
                Self::Attach { .. }
                | Self::Mkdir { .. }
                | Self::Symlink { .. }
                | Self::Mknod { .. } => super::Qid::LEN,
                Self::Walk { names, .. } => 2 + names.count() * super::Qid::LEN,
                Self::Lopen { .. } | Self::Lcreate { .. } => super::Qid::LEN + 4,
                Self::Getattr { .. } => super::reply::GETATTR_BODY_LEN,
                Self::Statfs { .. } => super::reply::STATFS_BODY_LEN,
                Self::Read { .. } | Self::Write { .. } | Self::Readdir { .. } => 4,
                Self::Readlink { .. } => 2,
                Self::Xattrwalk { .. } => 8,
                Self::Lock { .. } => 1,
                Self::Getlock { .. } => super::reply::GETLOCK_BODY_LEN,
                Self::Auth { .. }
                | Self::Flush { .. }
                | Self::Unlinkat { .. }
                | Self::Clunk { .. }
                | Self::Remove { .. }
                | Self::Fsync { .. }
                | Self::Rename { .. }
                | Self::Setattr { .. }
                | Self::Xattrcreate { .. }
                | Self::Link { .. }
                | Self::Renameat { .. }
                | Self::Unsupported(_) => 0,
            }
    }
}
