//! The 9P2000.L client (Linux `net/9p/client.c`): one mount of one channel.
//!
//! All calls block until the reply is there and may be made from many threads
//! at once; each has its own tag, and replies find their way by it.
//!
//! What can be asked for stands by subject: names in `names.rs`, content in
//! `files.rs`, attributes in `attributes.rs`, locks in `locks.rs`; `zero_copy.rs` has the
//! caller's own pages carried, and `flush.rs` gives requests up.

mod attributes;
mod files;
mod flush;
mod locks;
mod names;
mod zero_copy;

use std::sync::atomic::{AtomicU64, Ordering};

use rustix::io::Errno;

use super::channel::{Channel, ChannelError, Claim, MAX_MESSAGE, Message};
use super::message::{Answer, DecodeError, EncodeError, Fid, NOTAG, Reply, Request, Type};
use super::numbers::Numbers;
use crate::instrument::Instrument;

pub use files::ReadAt;
pub use zero_copy::{ZeroCopied, ZeroCopyError};

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
    /// It was interrupted: before it was sent, or the server was asked to give it up
    /// and no reply had come by then (Linux `EINTR`).
    #[error("interrupted (EINTR)")]
    Interrupted,
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
            Self::Interrupted | Self::Channel(ChannelError::Interrupted) => Errno::INTR,
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

impl<I: Instrument> Client<I> {
    /// Mounts a channel: agrees on dialect and msize, which is at most what a channel can
    /// carry ([`MAX_MESSAGE`]), and attaches to the root as `uname`.
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
        client.msize = client.version(msize.min(MAX_MESSAGE))?;
        client.root = client.attach(None, uname, NONUNAME)?;
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
