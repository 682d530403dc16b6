//! Content: files and directories that are open.

use super::super::interrupt::Interrupt;
use super::super::message::{
    DirectoryEntry, Fid, Qid, READ_OVERHEAD, Reply, Request, WRITE_OVERHEAD,
};
use super::{Client, ClientError, unexpected};
use crate::instrument::Instrument;

/// One read of a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReadAt {
    /// Where it begins.
    pub offset: u64,
    /// Bytes wanted.
    pub count: u32,
}

impl<I: Instrument> Client<I> {
    /// Opens `fid` with the flags of open(2).
    ///
    /// # Errors
    /// What the server says.
    pub fn open(&self, fid: Fid, flags: u32) -> Result<Qid, ClientError> {
        match self.call(&Request::Lopen { fid, flags })? {
            Reply::Open { qid, .. } => Ok(qid),
            _ => Err(unexpected()),
        }
    }

    /// Creates and opens `name` in the directory `fid`, which stands for the new
    /// file from then on.
    ///
    /// # Errors
    /// What the server says.
    pub fn create(&self, fid: Fid, name: &[u8], flags: u32, mode: u32) -> Result<Qid, ClientError> {
        let request = Request::Lcreate {
            fid,
            name,
            flags,
            mode,
            gid: 0,
        };
        match self.call(&request)? {
            Reply::Open { qid, .. } => Ok(qid),
            _ => Err(unexpected()),
        }
    }

    /// Reads up to `count` bytes, or what one message holds; none at the end of
    /// the file.
    ///
    /// # Errors
    /// What the server says.
    pub fn read(&self, fid: Fid, offset: u64, count: u32) -> Result<Vec<u8>, ClientError> {
        let count = count.min(self.msize - READ_OVERHEAD);
        match self.call(&Request::Read { fid, offset, count })? {
            Reply::Read { data } => Ok(data),
            _ => Err(unexpected()),
        }
    }

    /// [`read`](Self::read), given up when `interrupt` is raised: the server is then told
    /// by Tflush. If the data come all the same before it says that it did, they count.
    ///
    /// # Errors
    /// [`ClientError::Interrupted`]; else what the server says.
    pub fn read_or(
        &self,
        fid: Fid,
        offset: u64,
        count: u32,
        interrupt: &Interrupt,
    ) -> Result<Vec<u8>, ClientError> {
        let count = count.min(self.msize - READ_OVERHEAD);
        match self.call_or(&Request::Read { fid, offset, count }, interrupt)? {
            Reply::Read { data } => Ok(data),
            _ => Err(unexpected()),
        }
    }

    /// Several reads with one kick. The answers are in the order of `reads`,
    /// whatever order the server finished in.
    ///
    /// # Errors
    /// The first error among them, after all have finished.
    pub fn read_batch(&self, fid: Fid, reads: &[ReadAt]) -> Result<Vec<Vec<u8>>, ClientError> {
        let limit = self.msize - READ_OVERHEAD;
        let requests: Vec<Request<'_>> = reads
            .iter()
            .map(|read| Request::Read {
                fid,
                offset: read.offset,
                count: read.count.min(limit),
            })
            .collect();
        self.call_batch(&requests)?
            .into_iter()
            .map(|reply| match reply? {
                Reply::Read { data } => Ok(data),
                _ => Err(unexpected()),
            })
            .collect()
    }

    /// Writes as much of `data` as one message holds; returns how much that was.
    ///
    /// # Errors
    /// What the server says.
    pub fn write(&self, fid: Fid, offset: u64, data: &[u8]) -> Result<u32, ClientError> {
        let room = (self.msize - WRITE_OVERHEAD) as usize;
        let data = &data[..data.len().min(room)];
        match self.call(&Request::Write { fid, offset, data })? {
            Reply::Write { count } => Ok(count),
            _ => Err(unexpected()),
        }
    }

    /// Entries of an open directory from `offset` on (0, or the offset of the
    /// last entry seen); none at its end.
    ///
    /// # Errors
    /// What the server says.
    pub fn readdir(
        &self,
        fid: Fid,
        offset: u64,
        count: u32,
    ) -> Result<Vec<DirectoryEntry>, ClientError> {
        let count = count.min(self.msize - READ_OVERHEAD);
        match self.call(&Request::Readdir { fid, offset, count })? {
            Reply::Readdir { entries } => Ok(entries),
            _ => Err(unexpected()),
        }
    }

    /// Has what was written to an open file reach its disk (fsync(2), or fdatasync(2)).
    ///
    /// # Errors
    /// What the server says.
    pub fn fsync(&self, fid: Fid, datasync: bool) -> Result<(), ClientError> {
        self.call(&Request::Fsync { fid, datasync }).map(drop)
    }
}
