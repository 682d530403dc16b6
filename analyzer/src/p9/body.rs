//! Every message of 9P2000, 9P2000.u and 9P2000.L: one table, from which come a
//! type for each message, its parser, and the list of its fields.

use nom::IResult;

use super::layout::{Shape, Spec, When};
use super::stat::CountedStat;
use super::wire::{Data, Extended, Qids, Text, Texts, UnixOnly, Wire};
use super::{Dialect, Fid, MessageType, Qid, Tag};
use crate::errno::Errno;

/// A string that may be missing.
trait Strings<'a> {
    fn strings(self) -> Option<Text<'a>>;
}

impl<'a> Strings<'a> for Text<'a> {
    fn strings(self) -> Option<Text<'a>> {
        Some(self)
    }
}

impl<'a> Strings<'a> for UnixOnly<Text<'a>> {
    fn strings(self) -> Option<Text<'a>> {
        self.0
    }
}

messages! {
    /// 9P2000.L: an error in place of any reply.
    Rlerror {
        /// A Linux errno.
        shown ecode: Errno [Errno],
    }
    /// 9P2000.L: asks about the file system.
    Tstatfs {
        /// A file in it.
        shown fid: Fid [Fid],
    }
    /// About the file system, as Linux `statfs` has it.
    Rstatfs {
        /// Its magic number.
        hidden kind = "type": u32 [Mask32],
        /// Bytes of a block.
        shown bsize: u32 [U32],
        /// Blocks.
        shown blocks: u64 [U64],
        /// Free blocks.
        hidden bfree: u64 [U64],
        /// Blocks that are free to everyone.
        shown bavail: u64 [U64],
        /// Inodes.
        hidden files: u64 [U64],
        /// Free inodes.
        hidden ffree: u64 [U64],
        /// Its id.
        hidden fsid: u64 [Mask64],
        /// Bytes of the longest name.
        hidden namelen: u32 [U32],
    }
    /// 9P2000.L: opens a fid.
    Tlopen {
        /// The fid.
        shown fid: Fid [Fid],
        /// Linux `open(2)` flags.
        shown flags: u32 [Octal],
    }
    /// The fid is open.
    Rlopen {
        /// The file's identity.
        shown qid: Qid [Qid],
        /// Bytes that are moved as one; 0 if the server doesn't say.
        shown iounit: u32 [U32],
    }
    /// 9P2000.L: creates a file in a directory and opens it.
    Tlcreate<'a> {
        /// The directory; afterwards the file.
        shown fid: Fid [Fid],
        /// The file's name.
        shown name: Text<'a> [Text],
        /// Linux `open(2)` flags.
        shown flags: u32 [Octal],
        /// Linux `creat(2)` mode.
        shown mode: u32 [Octal],
        /// The group it shall have.
        hidden gid: u32 [U32],
    }
    /// The file is there and open.
    Rlcreate {
        /// The file's identity.
        shown qid: Qid [Qid],
        /// Bytes that are moved as one; 0 if the server doesn't say.
        shown iounit: u32 [U32],
    }
    /// 9P2000.L: creates a symbolic link.
    Tsymlink<'a> {
        /// The directory.
        shown fid: Fid [Fid],
        /// The link's name.
        shown name: Text<'a> [Text],
        /// What it points to.
        shown symtgt: Text<'a> [Text],
        /// The group it shall have.
        hidden gid: u32 [U32],
    }
    /// The link is there.
    Rsymlink {
        /// Its identity.
        shown qid: Qid [Qid],
    }
    /// 9P2000.L: creates a device node.
    Tmknod<'a> {
        /// The directory.
        shown dfid: Fid [Fid],
        /// The node's name.
        shown name: Text<'a> [Text],
        /// Linux `mknod(2)` mode.
        shown mode: u32 [Octal],
        /// Major number.
        shown major: u32 [U32],
        /// Minor number.
        shown minor: u32 [U32],
        /// The group it shall have.
        hidden gid: u32 [U32],
    }
    /// The node is there.
    Rmknod {
        /// Its identity.
        shown qid: Qid [Qid],
    }
    /// 9P2000.L: renames a file by its fid.
    Trename<'a> {
        /// The file.
        shown fid: Fid [Fid],
        /// The directory it shall stand in.
        shown dfid: Fid [Fid],
        /// The name it shall have.
        shown name: Text<'a> [Text],
    }
    /// It is renamed.
    Rrename {}
    /// 9P2000.L: reads a symbolic link.
    Treadlink {
        /// The link.
        shown fid: Fid [Fid],
    }
    /// What the link says.
    Rreadlink<'a> {
        /// What it points to.
        shown target: Text<'a> [Text],
    }
    /// 9P2000.L: asks for a file's attributes.
    Tgetattr {
        /// The file.
        shown fid: Fid [Fid],
        /// Which (`P9_GETATTR_*`).
        shown request_mask: u64 [Mask64],
    }
    /// A file's attributes, as Linux `stat(2)` has them.
    Rgetattr {
        /// Which of them are valid (`P9_GETATTR_*`).
        hidden valid: u64 [Mask64],
        /// The file's identity.
        shown qid: Qid [Qid],
        /// Type and permissions.
        shown mode: u32 [Octal],
        /// The owner.
        hidden uid: u32 [U32],
        /// The group.
        hidden gid: u32 [U32],
        /// How many links.
        hidden nlink: u64 [U64],
        /// Which device, if it is one.
        hidden rdev: u64 [Mask64],
        /// Its length in bytes.
        shown size: u64 [U64],
        /// Bytes of a block.
        hidden blksize: u64 [U64],
        /// Blocks of 512 bytes.
        hidden blocks: u64 [U64],
        /// Last read: seconds since 1970.
        hidden atime_sec: u64 [U64],
        /// And nanoseconds.
        hidden atime_nsec: u64 [U64],
        /// Last change of its content: seconds since 1970.
        hidden mtime_sec: u64 [U64],
        /// And nanoseconds.
        hidden mtime_nsec: u64 [U64],
        /// Last change of its attributes: seconds since 1970.
        hidden ctime_sec: u64 [U64],
        /// And nanoseconds.
        hidden ctime_nsec: u64 [U64],
        /// When it was made: seconds since 1970.
        hidden btime_sec: u64 [U64],
        /// And nanoseconds.
        hidden btime_nsec: u64 [U64],
        /// Its generation number.
        hidden generation = "gen": u64 [U64],
        /// Rises with each change of its content.
        hidden data_version: u64 [U64],
    }
    /// 9P2000.L: sets attributes.
    Tsetattr {
        /// The file.
        shown fid: Fid [Fid],
        /// Which (`P9_SETATTR_*`).
        shown valid: u32 [Mask32],
        /// Permissions.
        hidden mode: u32 [Octal],
        /// The owner.
        hidden uid: u32 [U32],
        /// The group.
        hidden gid: u32 [U32],
        /// The length in bytes.
        hidden size: u64 [U64],
        /// Last read: seconds since 1970.
        hidden atime_sec: u64 [U64],
        /// And nanoseconds.
        hidden atime_nsec: u64 [U64],
        /// Last change: seconds since 1970.
        hidden mtime_sec: u64 [U64],
        /// And nanoseconds.
        hidden mtime_nsec: u64 [U64],
    }
    /// They are set.
    Rsetattr {}
    /// 9P2000.L: makes a fid for reading an extended attribute.
    Txattrwalk<'a> {
        /// The file.
        shown fid: Fid [Fid],
        /// The fid that will stand for the attribute.
        shown newfid: Fid [Fid],
        /// The attribute's name; empty for the list of all.
        shown name: Text<'a> [Text],
    }
    /// The fid stands for the attribute.
    Rxattrwalk {
        /// The attribute's length in bytes.
        shown size: u64 [U64],
    }
    /// 9P2000.L: makes a fid stand for an attribute to write.
    Txattrcreate<'a> {
        /// The file; afterwards the attribute.
        shown fid: Fid [Fid],
        /// The attribute's name.
        shown name: Text<'a> [Text],
        /// The attribute's length in bytes.
        shown attr_size: u64 [U64],
        /// Linux `setxattr(2)` flags.
        shown flags: u32 [Mask32],
    }
    /// The fid stands for the attribute.
    Rxattrcreate {}
    /// 9P2000.L: reads a directory.
    Treaddir {
        /// The directory.
        shown fid: Fid [Fid],
        /// Where to go on: 0, or the offset of the last entry read.
        shown offset: u64 [U64],
        /// Bytes to answer at most.
        shown count: u32 [U32],
    }
    /// Entries of a directory.
    Rreaddir<'a> {
        /// The entries: see [`DirectoryEntries`](super::DirectoryEntries).
        shown data: Data<'a> [Directory] after shown "count" [U32],
    }
    /// 9P2000.L: has what was written reach the disk.
    Tfsync {
        /// The file.
        shown fid: Fid [Fid],
        /// Not 0: its content is enough.
        shown datasync: u32 [U32],
    }
    /// It has.
    Rfsync {}
    /// 9P2000.L: takes or releases a record lock.
    Tlock<'a> {
        /// The file.
        shown fid: Fid [Fid],
        /// Which lock (`P9_LOCK_TYPE_*`).
        shown kind = "type": u8 [U8],
        /// `P9_LOCK_FLAGS_*`.
        shown flags: u32 [Mask32],
        /// Where it begins.
        shown start: u64 [U64],
        /// How long it is; 0 to the end of the file.
        shown length: u64 [U64],
        /// The process that wants it.
        hidden proc_id: u32 [U32],
        /// The machine that wants it.
        hidden client_id: Text<'a> [Text],
    }
    /// What became of the lock.
    Rlock {
        /// `P9_LOCK_SUCCESS` (0), `_BLOCKED` (1), `_ERROR` (2), `_GRACE` (3).
        shown status: u8 [U8],
    }
    /// 9P2000.L: asks whether a lock could be had.
    Tgetlock<'a> {
        /// The file.
        shown fid: Fid [Fid],
        /// Which lock (`P9_LOCK_TYPE_*`).
        shown kind = "type": u8 [U8],
        /// Where it would begin.
        shown start: u64 [U64],
        /// How long it would be.
        shown length: u64 [U64],
        /// The process that asks.
        hidden proc_id: u32 [U32],
        /// The machine that asks.
        hidden client_id: Text<'a> [Text],
    }
    /// The lock that is in the way, if any.
    Rgetlock<'a> {
        /// Which lock (`P9_LOCK_TYPE_*`); unlocked if none is in the way.
        shown kind = "type": u8 [U8],
        /// Where it begins.
        shown start: u64 [U64],
        /// How long it is.
        shown length: u64 [U64],
        /// The process that has it.
        hidden proc_id: u32 [U32],
        /// The machine that has it.
        hidden client_id: Text<'a> [Text],
    }
    /// 9P2000.L: creates a hard link.
    Tlink<'a> {
        /// The directory.
        shown dfid: Fid [Fid],
        /// The file.
        shown fid: Fid [Fid],
        /// The name it shall have as well.
        shown name: Text<'a> [Text],
    }
    /// The link is there.
    Rlink {}
    /// 9P2000.L: creates a directory.
    Tmkdir<'a> {
        /// The directory to create it in.
        shown dfid: Fid [Fid],
        /// Its name.
        shown name: Text<'a> [Text],
        /// Linux `mkdir(2)` mode.
        shown mode: u32 [Octal],
        /// The group it shall have.
        hidden gid: u32 [U32],
    }
    /// The directory is there.
    Rmkdir {
        /// Its identity.
        shown qid: Qid [Qid],
    }
    /// 9P2000.L: renames by names.
    Trenameat<'a> {
        /// The directory it stands in.
        shown olddirfid: Fid [Fid],
        /// The name it has.
        shown oldname: Text<'a> [Text],
        /// The directory it shall stand in.
        shown newdirfid: Fid [Fid],
        /// The name it shall have.
        shown newname: Text<'a> [Text],
    }
    /// It is renamed.
    Rrenameat {}
    /// 9P2000.L: removes a name.
    Tunlinkat<'a> {
        /// The directory.
        shown dfid: Fid [Fid],
        /// The name.
        shown name: Text<'a> [Text],
        /// `AT_REMOVEDIR` (0x200) for a directory.
        shown flags: u32 [Mask32],
    }
    /// It is gone.
    Runlinkat {}
    /// Begins a session: everything before is forgotten.
    Tversion<'a> {
        /// Bytes of the largest message the client will take.
        shown msize: u32 [U32],
        /// The version it wants.
        shown version: Text<'a> [Text],
    }
    /// The session has begun.
    Rversion<'a> {
        /// Bytes of the largest message either side may send.
        shown msize: u32 [U32],
        /// The version that is spoken; `unknown` if none.
        shown version: Text<'a> [Text],
    }
    /// Begins to authenticate.
    Tauth<'a> {
        /// The fid for what is said then.
        shown afid: Fid [Fid],
        /// The user.
        shown uname: Text<'a> [Text],
        /// The tree.
        shown aname: Text<'a> [Text],
        /// The user's number.
        shown n_uname: Extended<u32> [U32 in Extended],
    }
    /// Authentication may begin.
    Rauth {
        /// The identity of the file that is read and written for it.
        shown aqid: Qid [Qid],
    }
    /// Makes a fid stand for the root of a tree.
    Tattach<'a> {
        /// The fid.
        shown fid: Fid [Fid],
        /// The fid by which it was authenticated; `NOFID` if it was not.
        shown afid: Fid [Fid],
        /// The user.
        shown uname: Text<'a> [Text],
        /// The tree.
        shown aname: Text<'a> [Text],
        /// The user's number.
        shown n_uname: Extended<u32> [U32 in Extended],
    }
    /// The fid stands for the root.
    Rattach {
        /// The root's identity.
        shown qid: Qid [Qid],
    }
    /// 9P2000 and 9P2000.u: an error in place of any reply.
    Rerror<'a> {
        /// What went wrong.
        shown ename: Text<'a> [Text],
        /// The same as a Unix errno.
        shown errno: UnixOnly<Errno> [Errno in Unix],
    }
    /// Gives up a request.
    Tflush {
        /// The request's tag.
        shown oldtag: Tag [Tag],
    }
    /// The request will not be answered any more.
    Rflush {}
    /// Makes a fid stand for a file further down the tree.
    Twalk<'a> {
        /// Where to start.
        shown fid: Fid [Fid],
        /// The fid that will stand for where it ends.
        shown newfid: Fid [Fid],
        /// The names on the way.
        shown wname: Texts<'a> [Texts] after hidden "nwname" [U16],
    }
    /// How far the walk went.
    Rwalk<'a> {
        /// What it met on the way, one for each name it could follow.
        hidden wqid: Qids<'a> [Qids] after shown "nwqid" [U16],
    }
    /// 9P2000 and 9P2000.u: opens a fid.
    Topen {
        /// The fid.
        shown fid: Fid [Fid],
        /// Read 0, write 1, both 2, execute 3; truncate 0x10, remove on close 0x40.
        shown mode: u8 [Mask8],
    }
    /// The fid is open.
    Ropen {
        /// The file's identity.
        shown qid: Qid [Qid],
        /// Bytes that are moved as one; 0 if the server doesn't say.
        shown iounit: u32 [U32],
    }
    /// 9P2000 and 9P2000.u: creates a file in a directory and opens it.
    Tcreate<'a> {
        /// The directory; afterwards the file.
        shown fid: Fid [Fid],
        /// The file's name.
        shown name: Text<'a> [Text],
        /// Permissions, and flags in the upper bits (`DMDIR` 0x80000000).
        shown perm: u32 [Octal],
        /// As in [`Topen`].
        shown mode: u8 [Mask8],
        /// What a symbolic link or a device is.
        shown extension: UnixOnly<Text<'a>> [Text in Unix],
    }
    /// The file is there and open.
    Rcreate {
        /// The file's identity.
        shown qid: Qid [Qid],
        /// Bytes that are moved as one; 0 if the server doesn't say.
        shown iounit: u32 [U32],
    }
    /// Reads from a file; in 9P2000 and 9P2000.u also a directory.
    Tread {
        /// The file.
        shown fid: Fid [Fid],
        /// Where.
        shown offset: u64 [U64],
        /// Bytes at most.
        shown count: u32 [U32],
    }
    /// What was read.
    Rread<'a> {
        /// It.
        hidden data: Data<'a> [Data] after shown "count" [U32],
    }
    /// Writes to a file.
    Twrite<'a> {
        /// The file.
        shown fid: Fid [Fid],
        /// Where.
        shown offset: u64 [U64],
        /// What.
        hidden data: Data<'a> [Data] after shown "count" [U32],
    }
    /// It is written.
    Rwrite {
        /// Bytes of it that were.
        shown count: u32 [U32],
    }
    /// Gives up a fid.
    Tclunk {
        /// The fid.
        shown fid: Fid [Fid],
    }
    /// The fid is free.
    Rclunk {}
    /// Removes a file and gives up its fid, whether or not that works.
    Tremove {
        /// The file.
        shown fid: Fid [Fid],
    }
    /// The file is gone.
    Rremove {}
    /// 9P2000 and 9P2000.u: asks for a file's attributes.
    Tstat {
        /// The file.
        shown fid: Fid [Fid],
    }
    /// A file's attributes.
    Rstat<'a> {
        /// They.
        shown stat: CountedStat<'a> [Stat],
    }
    /// 9P2000 and 9P2000.u: sets attributes, its name among them.
    Twstat<'a> {
        /// The file.
        shown fid: Fid [Fid],
        /// The attributes; all ones, and empty strings, for those to keep.
        shown stat: CountedStat<'a> [Stat],
    }
    /// They are set.
    Rwstat {}
}

impl<'a> Body<'a> {
    /// The data at its end, if it has any.
    pub const fn data(&self) -> Option<Data<'a>> {
        match self {
            Self::Rread(Rread { data })
            | Self::Twrite(Twrite { data, .. })
            | Self::Rreaddir(Rreaddir { data }) => Some(*data),
            _ => None,
        }
    }
}

/// The fields of a message, or `None` if 9P has no such message. Those of a `stat`
/// structure stand among the message's own.
pub(super) const fn fields_of(kind: MessageType) -> Option<&'static [Spec]> {
    match kind {
        MessageType::Rstat => Some(RSTAT),
        MessageType::Twstat => Some(TWSTAT),
        _ => table(kind),
    }
}

macro_rules! with_stat {
    ($($before:expr),*) => {
        &[
            $($before,)*
            messages!(@spec hidden "nstat", U16),
            messages!(@spec hidden "size", U16),
            messages!(@spec hidden "type", U16),
            messages!(@spec hidden "dev", U32),
            messages!(@spec shown "qid", Qid),
            messages!(@spec shown "mode", Octal),
            messages!(@spec hidden "atime", U32),
            messages!(@spec hidden "mtime", U32),
            messages!(@spec shown "length", U64),
            messages!(@spec shown "name", Text),
            messages!(@spec shown "uid", Text),
            messages!(@spec hidden "gid", Text),
            messages!(@spec hidden "muid", Text),
            messages!(@spec shown "extension", Text Unix),
            messages!(@spec hidden "n_uid", U32 Unix),
            messages!(@spec hidden "n_gid", U32 Unix),
            messages!(@spec hidden "n_muid", U32 Unix),
        ]
    };
}

const RSTAT: &[Spec] = with_stat![];
const TWSTAT: &[Spec] = with_stat![messages!(@spec shown "fid", Fid)];
