//! Answers: the R messages, written into no more room than there is.

use rustix::io::Errno;

use super::request::Lock;
use super::{HEADER_LEN, Header, MessageType, Qid, READ_HEADER_LEN, RLERROR_LEN, Tag};

/// Bytes of an `Rgetattr` behind its header.
pub const GETATTR_BODY_LEN: usize = 8 + Qid::LEN + 3 * 4 + 15 * 8;

/// Bytes of an `Rstatfs` behind its header.
pub const STATFS_BODY_LEN: usize = 2 * 4 + 6 * 8 + 4;

/// Bytes of an `Rgetlock` behind its header that says there is no lock in the way and
/// names nobody.
pub const GETLOCK_BODY_LEN: usize = 1 + 2 * 8 + 4 + 2;

/// A moment as 9P2000.L writes it.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Time {
    /// Seconds since 1970; moments before it wrap, as Linux reads them.
    pub seconds: u64,
    /// Nanoseconds within the second.
    pub nanoseconds: u64,
}

/// What an `Rgetattr` says. `gen` and `data_version` are reserved by the
/// protocol and written as 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Attributes {
    /// Linux `P9_STATS_*`: which of the fields below are meant.
    pub valid: u64,
    /// Which file this is.
    pub qid: Qid,
    /// Type and permission bits, as `st_mode`.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Names that the file has.
    pub nlink: u64,
    /// Device number, of device nodes.
    pub rdev: u64,
    /// Bytes of content.
    pub size: u64,
    /// Bytes that are good to read or write at once.
    pub block_size: u64,
    /// Blocks of 512 bytes taken on disk.
    pub blocks: u64,
    /// Last access.
    pub atime: Time,
    /// Last change of the content.
    pub mtime: Time,
    /// Last change of the attributes.
    pub ctime: Time,
    /// Creation.
    pub btime: Time,
}

/// What an `Rstatfs` says: the fields of statfs(2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FileSystem {
    /// Magic number of the file system.
    pub kind: u32,
    /// Bytes of a block.
    pub block_size: u32,
    /// Blocks there are.
    pub blocks: u64,
    /// Blocks free.
    pub blocks_free: u64,
    /// Blocks free to everyone.
    pub blocks_available: u64,
    /// Files there can be.
    pub files: u64,
    /// Files that can still be made.
    pub files_free: u64,
    /// Identity of the file system.
    pub id: u64,
    /// Bytes of the longest name.
    pub name_max: u32,
}

/// The room for one answer.
#[derive(Debug)]
pub struct Reply<'a> {
    buffer: &'a mut Vec<u8>,
    limit: usize,
    request: Header,
}

impl<'a> Reply<'a> {
    /// Room for the answer to `request`: `buffer`, emptied, up to `limit` bytes.
    pub fn new(buffer: &'a mut Vec<u8>, limit: usize, request: Header) -> Self {
        buffer.clear();
        Self {
            buffer,
            limit,
            request,
        }
    }

    /// Bytes of data that an `Rread` or `Rreaddir` can carry.
    #[must_use]
    pub fn data_room(&self) -> usize {
        self.limit.saturating_sub(READ_HEADER_LEN)
    }

    /// `Rlerror ecode[4]`, in place of whatever was written before. With less
    /// room than that takes, the answer is left empty.
    pub fn error(&mut self, errno: Errno) {
        self.buffer.clear();
        if self.limit >= RLERROR_LEN {
            encode_error(self.buffer, self.request.tag, errno);
        }
    }

    /// An answer that is a header alone.
    ///
    /// # Errors
    /// `EMSGSIZE`, as of every method here, when the answer outgrows its room.
    pub fn empty(&mut self) -> Result<(), Errno> {
        self.answer(|_| ())
    }

    /// `Rversion msize[4] version[s]`
    ///
    /// # Errors
    /// `EMSGSIZE`.
    pub fn version(&mut self, msize: u32, version: &[u8]) -> Result<(), Errno> {
        self.answer(|body| {
            body.u32(msize);
            body.string(version);
        })
    }

    /// `Rattach qid[13]`, and `Rmkdir`, `Rsymlink` and `Rmknod`, which look the same.
    ///
    /// # Errors
    /// `EMSGSIZE`.
    pub fn qid(&mut self, qid: Qid) -> Result<(), Errno> {
        self.answer(|body| body.qid(qid))
    }

    /// `Rwalk nwqid[2] nwqid*(wqid[13])`
    ///
    /// # Errors
    /// `EMSGSIZE`.
    pub fn walk(&mut self, qids: &[Qid]) -> Result<(), Errno> {
        let count = u16::try_from(qids.len()).map_err(|_| Errno::MSGSIZE)?;
        self.answer(|body| {
            body.u16(count);
            for qid in qids {
                body.qid(*qid);
            }
        })
    }

    /// `Rxattrwalk size[8]`
    ///
    /// # Errors
    /// `EMSGSIZE`.
    pub fn xattrwalk(&mut self, size: u64) -> Result<(), Errno> {
        self.answer(|body| body.u64(size))
    }

    /// `Rlock status[1]`
    ///
    /// # Errors
    /// `EMSGSIZE`.
    pub fn lock(&mut self, status: u8) -> Result<(), Errno> {
        self.answer(|body| body.0.push(status))
    }

    /// `Rgetlock type[1] start[8] length[8] proc_id[4] client_id[s]`
    ///
    /// # Errors
    /// `EMSGSIZE`.
    pub fn getlock(&mut self, lock: Lock<'_>) -> Result<(), Errno> {
        self.answer(|body| {
            body.0.push(lock.kind);
            body.u64(lock.start);
            body.u64(lock.length);
            body.u32(lock.proc_id);
            body.string(lock.client_id);
        })
    }

    /// `Rlopen qid[13] iounit[4]`, and `Rlcreate`, which looks the same.
    ///
    /// # Errors
    /// `EMSGSIZE`.
    pub fn open(&mut self, qid: Qid, iounit: u32) -> Result<(), Errno> {
        self.answer(|body| {
            body.qid(qid);
            body.u32(iounit);
        })
    }

    /// `Rwrite count[4]`
    ///
    /// # Errors
    /// `EMSGSIZE`.
    pub fn count(&mut self, count: u32) -> Result<(), Errno> {
        self.answer(|body| body.u32(count))
    }

    /// `Rreadlink target[s]`
    ///
    /// # Errors
    /// `EMSGSIZE`, also for a target that no 9P string can hold.
    pub fn readlink(&mut self, target: &[u8]) -> Result<(), Errno> {
        if target.len() > usize::from(u16::MAX) {
            return Err(Errno::MSGSIZE);
        }
        self.answer(|body| body.string(target))
    }

    /// `Rread count[4] data[count]`, and `Rreaddir`, which looks the same:
    /// gives `fill` at most `wanted` bytes, as many as there is room for, and
    /// sends as many of them as it says it filled.
    ///
    /// # Errors
    /// Those of `fill`.
    pub fn data(
        &mut self,
        wanted: u32,
        fill: impl FnOnce(&mut [u8]) -> Result<usize, Errno>,
    ) -> Result<(), Errno> {
        let room = usize::try_from(wanted).unwrap_or(usize::MAX);
        let room = room.min(self.data_room());
        self.answer(|body| body.u32(0))?;
        self.buffer.resize(READ_HEADER_LEN + room, 0);
        let space = self.buffer.get_mut(READ_HEADER_LEN..).unwrap_or_default();
        let filled = fill(space)?.min(room);
        self.buffer.truncate(READ_HEADER_LEN + filled);
        let count = u32::try_from(filled).map_err(|_| Errno::MSGSIZE)?;
        self.patch(HEADER_LEN, count);
        self.finish()
    }

    /// `Rgetattr`
    ///
    /// # Errors
    /// `EMSGSIZE`.
    pub fn getattr(&mut self, attributes: &Attributes) -> Result<(), Errno> {
        self.answer(|body| {
            body.u64(attributes.valid);
            body.qid(attributes.qid);
            body.u32(attributes.mode);
            body.u32(attributes.uid);
            body.u32(attributes.gid);
            body.u64(attributes.nlink);
            body.u64(attributes.rdev);
            body.u64(attributes.size);
            body.u64(attributes.block_size);
            body.u64(attributes.blocks);
            for time in [
                attributes.atime,
                attributes.mtime,
                attributes.ctime,
                attributes.btime,
            ] {
                body.u64(time.seconds);
                body.u64(time.nanoseconds);
            }
            body.u64(0);
            body.u64(0);
        })
    }

    /// `Rstatfs`
    ///
    /// # Errors
    /// `EMSGSIZE`.
    pub fn statfs(&mut self, system: &FileSystem) -> Result<(), Errno> {
        self.answer(|body| {
            body.u32(system.kind);
            body.u32(system.block_size);
            body.u64(system.blocks);
            body.u64(system.blocks_free);
            body.u64(system.blocks_available);
            body.u64(system.files);
            body.u64(system.files_free);
            body.u64(system.id);
            body.u32(system.name_max);
        })
    }

    /// Writes header and body of the answer that belongs to the request.
    fn answer(&mut self, body: impl FnOnce(&mut Body<'_>)) -> Result<(), Errno> {
        self.buffer.clear();
        begin(self.buffer, self.request.kind.answer(), self.request.tag);
        body(&mut Body(self.buffer));
        self.finish()
    }

    /// Makes `size[4]` true, now that the length is known.
    fn finish(&mut self) -> Result<(), Errno> {
        if self.buffer.len() > self.limit {
            self.buffer.clear();
            return Err(Errno::MSGSIZE);
        }
        let size = u32::try_from(self.buffer.len()).map_err(|_| Errno::MSGSIZE)?;
        self.patch(0, size);
        Ok(())
    }

    fn patch(&mut self, at: usize, value: u32) {
        if let Some(field) = self.buffer.get_mut(at..at + 4) {
            field.copy_from_slice(&value.to_le_bytes());
        }
    }
}

/// Appends a whole `Rlerror`: [`RLERROR_LEN`] bytes.
pub fn encode_error(buffer: &mut Vec<u8>, tag: Tag, errno: Errno) {
    let start = buffer.len();
    begin(buffer, MessageType::RLERROR, tag);
    Body(buffer).u32(errno.raw_os_error().unsigned_abs());
    let size = [RLERROR_LEN as u8, 0, 0, 0];
    if let Some(field) = buffer.get_mut(start..start + 4) {
        field.copy_from_slice(&size);
    }
}

/// A header whose size is filled in later.
fn begin(buffer: &mut Vec<u8>, kind: MessageType, tag: Tag) {
    buffer.extend_from_slice(&[0; 4]);
    buffer.push(kind.0);
    buffer.extend_from_slice(&tag.0.to_le_bytes());
}

/// Appends fields in wire order.
struct Body<'a>(&'a mut Vec<u8>);

impl Body<'_> {
    fn u16(&mut self, value: u16) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn u32(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn u64(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    /// A string; what does not fit the 16-bit length is cut, so that length
    /// and bytes always agree.
    fn string(&mut self, bytes: &[u8]) {
        let len = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
        self.u16(len);
        self.0
            .extend_from_slice(bytes.get(..usize::from(len)).unwrap_or(bytes));
    }

    fn qid(&mut self, qid: Qid) {
        self.0.push(qid.kind);
        self.u32(qid.version);
        self.u64(qid.path);
    }
}
