//! The 9P2000.L client (Linux `net/9p/client.c`): one mount of one channel.
//!
//! All calls block until the reply is there and may be made from many threads
//! at once; each has its own tag, and replies find their way by it.

use std::sync::atomic::{AtomicU64, Ordering};

use rustix::io::Errno;

use super::channel::{Channel, ChannelError, Claim, Message};
use super::message::{
    Answer, Attributes, DecodeError, DirectoryEntry, EncodeError, Fid, GETATTR_BASIC, NOTAG, Qid,
    READ_OVERHEAD, Reply, Request, Type, WRITE_OVERHEAD,
};
use super::numbers::Numbers;
use crate::instrument::Instrument;

/// The dialect we speak.
const DIALECT: &str = "9P2000.L";
/// `P9_NONUNAME`: no numeric user.
const NONUNAME: u32 = u32::MAX;

/// An operation that did not succeed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The server says why.
    #[error("the file server answers {0}")]
    Server(Errno),
    /// The request can't be put into a message.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The reply is none.
    #[error("the file server's reply makes no sense: {0}")]
    Decode(#[from] DecodeError),
    /// It did not reach the server, or no reply came.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// The server speaks another dialect.
    #[error("the file server does not speak 9P2000.L")]
    Dialect,
    /// The server wants messages too short to be useful, or longer than ours.
    #[error("the file server offers an msize of {msize}, outside 4096 to {asked}")]
    Msize {
        /// What it offers.
        msize: u32,
        /// What we asked for.
        asked: u32,
    },
}

impl ClientError {
    /// The errno a system call would return for it.
    pub fn errno(&self) -> Errno {
        match self {
            Self::Server(errno) => *errno,
            Self::Encode(EncodeError::NameTooLong { .. }) => Errno::NAMETOOLONG,
            Self::Encode(_) => Errno::INVAL,
            Self::Channel(ChannelError::Busy) => Errno::BUSY,
            Self::Channel(ChannelError::NoPages(_)) => Errno::NOMEM,
            _ => Errno::IO,
        }
    }
}

/// A mounted channel.
pub struct Client<I: Instrument> {
    channel: Claim<I>,
    msize: u32,
    root: Fid,
    tags: Numbers,
    fids: Numbers,
    issued: IssuedCounts,
}

/// Requests sent, by type.
#[derive(Debug, Default)]
struct IssuedCounts([AtomicU64; Type::ALL.len()]);

impl IssuedCounts {
    fn count(&self, kind: Type) {
        if let Some(index) = Type::ALL.iter().position(|each| *each == kind) {
            self.0[index].fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// One read of a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReadAt {
    /// Where it begins.
    pub offset: u64,
    /// Bytes wanted.
    pub count: u32,
}

impl<I: Instrument> Client<I> {
    /// Mounts a channel: agrees on dialect and msize, attaches to the root as `uname`.
    ///
    /// # Errors
    /// The server refuses, or the channel does not work.
    pub fn mount(channel: Claim<I>, msize: u32, uname: &str) -> Result<Self, ClientError> {
        let mut client = Self {
            channel,
            msize,
            root: Fid(0),
            tags: Numbers::below(u32::from(NOTAG)),
            fids: Numbers::below(u32::MAX),
            issued: IssuedCounts::default(),
        };
        client.msize = client.version(msize)?;
        client.root = client.attach(uname)?;
        Ok(client)
    }

    /// The directory that was attached to.
    pub fn root(&self) -> Fid {
        self.root
    }

    /// The longest message, agreed on with the server.
    pub fn msize(&self) -> u32 {
        self.msize
    }

    /// The channel below.
    pub fn channel(&self) -> &Channel<I> {
        &self.channel
    }

    /// Requests sent so far, by type.
    pub fn issued(&self) -> impl Iterator<Item = (Type, u64)> + '_ {
        Type::ALL.into_iter().zip(
            self.issued
                .0
                .iter()
                .map(|count| count.load(Ordering::Relaxed)),
        )
    }

    fn version(&self, asked: u32) -> Result<u32, ClientError> {
        let request = Request::Version {
            msize: asked,
            version: DIALECT,
        };
        let Reply::Version { msize, version } = self.call_with_tag(&request, NOTAG)? else {
            return Err(ClientError::Dialect);
        };
        if version != DIALECT.as_bytes() {
            return Err(ClientError::Dialect);
        }
        if !(4096..=asked).contains(&msize) {
            return Err(ClientError::Msize { msize, asked });
        }
        Ok(msize)
    }

    fn attach(&self, uname: &str) -> Result<Fid, ClientError> {
        let fid = self.new_fid();
        let request = Request::Attach {
            fid,
            uname,
            aname: "",
            n_uname: NONUNAME,
        };
        self.keep_fid(fid, self.call(&request)).map(|_| fid)
    }

    /// Walks from `fid` along `names` to a new fid; no names clone it. Also
    /// returns the qid of each step.
    ///
    /// # Errors
    /// `ENOENT` when a later name does not exist, as Linux turns a short walk
    /// into; else what the server says.
    pub fn walk(&self, fid: Fid, names: &[&[u8]]) -> Result<(Fid, Vec<Qid>), ClientError> {
        let newfid = self.new_fid();
        let request = Request::Walk { fid, newfid, names };
        match self.call(&request) {
            Ok(Reply::Walk { qids }) if qids.len() == names.len() => Ok((newfid, qids)),
            // A short walk makes no fid (walk(5)).
            Ok(_) => {
                self.drop_fid(newfid);
                Err(ClientError::Server(Errno::NOENT))
            }
            Err(error) => {
                self.drop_fid(newfid);
                Err(error)
            }
        }
    }

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

    /// What stat(2) would tell of the file.
    ///
    /// # Errors
    /// What the server says.
    pub fn getattr(&self, fid: Fid) -> Result<Attributes, ClientError> {
        let request = Request::Getattr {
            fid,
            request_mask: GETATTR_BASIC,
        };
        match self.call(&request)? {
            Reply::Getattr(attributes) => Ok(*attributes),
            _ => Err(unexpected()),
        }
    }

    /// Makes a directory.
    ///
    /// # Errors
    /// What the server says.
    pub fn mkdir(&self, dfid: Fid, name: &[u8], mode: u32) -> Result<Qid, ClientError> {
        let request = Request::Mkdir {
            dfid,
            name,
            mode,
            gid: 0,
        };
        match self.call(&request)? {
            Reply::Mkdir { qid } => Ok(qid),
            _ => Err(unexpected()),
        }
    }

    /// Removes a name; a directory with [`UNLINK_DIRECTORY`](super::message::UNLINK_DIRECTORY).
    ///
    /// # Errors
    /// What the server says.
    pub fn unlink(&self, dirfid: Fid, name: &[u8], flags: u32) -> Result<(), ClientError> {
        self.call(&Request::Unlinkat {
            dirfid,
            name,
            flags,
        })
        .map(|_| ())
    }

    /// Gives the fid up. It is gone whatever the answer (clunk(5)).
    ///
    /// # Errors
    /// What the server says.
    pub fn clunk(&self, fid: Fid) -> Result<(), ClientError> {
        let answer = self.call(&Request::Clunk { fid });
        self.drop_fid(fid);
        answer.map(|_| ())
    }

    /// Unmounts: gives the root up, and with the client the channel.
    ///
    /// # Errors
    /// What the server says to the last clunk.
    pub fn unmount(self) -> Result<(), ClientError> {
        self.clunk(self.root)
    }

    fn new_fid(&self) -> Fid {
        Fid(self.fids.take())
    }

    fn drop_fid(&self, fid: Fid) {
        self.fids.give_back(fid.0);
    }

    fn keep_fid<T>(&self, fid: Fid, answer: Result<T, ClientError>) -> Result<T, ClientError> {
        if answer.is_err() {
            self.drop_fid(fid);
        }
        answer
    }

    fn call(&self, request: &Request<'_>) -> Result<Reply, ClientError> {
        let tag = self.tags.take();
        let answer = self.call_with_tag(request, tag as u16);
        self.tags.give_back(tag);
        answer
    }

    fn call_with_tag(&self, request: &Request<'_>, tag: u16) -> Result<Reply, ClientError> {
        let mut bytes = Vec::new();
        request.encode(tag, self.msize, &mut bytes)?;
        let pending = self.channel.request(Message {
            request: &bytes,
            reply_capacity: request.reply_capacity() as usize,
        })?;
        self.issued.count(request.kind());
        settle(request.decode_reply(tag, &pending.wait()?))
    }

    fn call_batch(
        &self,
        requests: &[Request<'_>],
    ) -> Result<Vec<Result<Reply, ClientError>>, ClientError> {
        let tags: Vec<u32> = requests.iter().map(|_| self.tags.take()).collect();
        let answers = self.send_batch(requests, &tags);
        for tag in tags {
            self.tags.give_back(tag);
        }
        answers
    }

    /// Comes back only when no reply is on its way any more: a tag must not be used
    /// again before.
    fn send_batch(
        &self,
        requests: &[Request<'_>],
        tags: &[u32],
    ) -> Result<Vec<Result<Reply, ClientError>>, ClientError> {
        let mut encoded = Vec::with_capacity(requests.len());
        for (request, tag) in requests.iter().zip(tags) {
            let mut bytes = Vec::new();
            request.encode(*tag as u16, self.msize, &mut bytes)?;
            encoded.push(bytes);
        }
        let messages: Vec<Message<'_>> = requests
            .iter()
            .zip(&encoded)
            .map(|(request, bytes)| Message {
                request: bytes,
                reply_capacity: request.reply_capacity() as usize,
            })
            .collect();
        let (sent, all_sent) = self.channel.request_batch(&messages);
        for request in requests.iter().take(sent.len()) {
            self.issued.count(request.kind());
        }
        let replies: Vec<_> = sent
            .into_iter()
            .map(super::channel::Pending::wait)
            .collect();
        all_sent?;
        Ok(requests
            .iter()
            .zip(tags)
            .zip(replies)
            .map(|((request, tag), reply)| settle(request.decode_reply(*tag as u16, &reply?)))
            .collect())
    }
}

fn settle(answer: Result<Answer, DecodeError>) -> Result<Reply, ClientError> {
    answer?.map_err(ClientError::Server)
}

/// `decode_reply` gives the reply that belongs to the request, or an error.
fn unexpected() -> ClientError {
    ClientError::Server(Errno::PROTO)
}
