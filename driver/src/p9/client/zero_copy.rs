//! Requests whose data are the caller's own pages (Linux `p9_client_zc_rpc`).

use super::super::channel::{Message, Payload, Unsent};
use super::super::message::{Fid, READ_OVERHEAD, Reply, Request};
use super::{Client, ClientError, settle, unexpected};
use crate::instrument::Instrument;
use crate::memory::PageBuffer;

/// A zero-copy request that was answered.
#[derive(Debug)]
pub struct ZeroCopied {
    /// The caller's memory, theirs again.
    pub pages: PageBuffer,
    /// Bytes read into it or written from it.
    pub count: u32,
}

/// A zero-copy request that did not succeed.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct ZeroCopyError {
    /// Why.
    #[source]
    pub error: ClientError,
    /// The caller's memory; `None` where the device may still reach it, because its
    /// queue ended with the request in it.
    pub pages: Option<PageBuffer>,
}

impl<I: Instrument> Client<I> {
    /// Reads into `pages`, as much as they and one message hold. Get them from
    /// [`Channel::allocate`](crate::p9::channel::Channel::allocate).
    ///
    /// # Errors
    /// What the server says, with the pages.
    pub fn read_zero_copy(
        &self,
        fid: Fid,
        offset: u64,
        pages: PageBuffer,
    ) -> Result<ZeroCopied, ZeroCopyError> {
        let room = (self.msize - READ_OVERHEAD) as usize;
        let request = Request::Read {
            fid,
            offset,
            count: pages.len().min(room) as u32,
        };
        let payload = Payload::FromDevice(pages);
        let (tag, answer) = self.zero_copy(&request, READ_OVERHEAD, payload)?;
        let Answer {
            reply,
            written,
            pages,
        } = answer;
        match request.decode_zero_copy_reply(tag, &reply, written) {
            Ok(Ok(count)) => Ok(ZeroCopied { pages, count }),
            Ok(Err(errno)) => Err(ClientError::Server(errno).with(pages)),
            Err(error) => Err(ClientError::from(error).with(pages)),
        }
    }

    /// Writes `pages`, which one message must hold.
    ///
    /// # Errors
    /// What the server says, with the pages.
    pub fn write_zero_copy(
        &self,
        fid: Fid,
        offset: u64,
        pages: PageBuffer,
    ) -> Result<ZeroCopied, ZeroCopyError> {
        let request = Request::WriteFrom {
            fid,
            offset,
            count: pages.len() as u32,
        };
        let capacity = request.reply_capacity();
        let (tag, answer) = self.zero_copy(&request, capacity, Payload::ToDevice(pages))?;
        match settle(request.decode_reply(tag, &answer.reply)) {
            Ok(Reply::Write { count }) => Ok(ZeroCopied {
                pages: answer.pages,
                count,
            }),
            Ok(_) => Err(unexpected().with(answer.pages)),
            Err(error) => Err(error.with(answer.pages)),
        }
    }

    fn zero_copy(
        &self,
        request: &Request<'_>,
        reply_capacity: u32,
        payload: Payload,
    ) -> Result<(u16, Answer), ZeroCopyError> {
        let tag = self.tags.take();
        let answer = self.zero_copy_with_tag(request, tag as u16, reply_capacity, payload);
        self.tags.give_back(tag);
        Ok((tag as u16, answer?))
    }

    fn zero_copy_with_tag(
        &self,
        request: &Request<'_>,
        tag: u16,
        reply_capacity: u32,
        payload: Payload,
    ) -> Result<Answer, ZeroCopyError> {
        let mut bytes = Vec::new();
        if let Err(error) = request.encode(tag, self.msize, &mut bytes) {
            return Err(ClientError::from(error).with(payload.into_pages()));
        }
        let message = Message {
            request: &bytes,
            reply_capacity: reply_capacity as usize,
        };
        let pending = self.channel.zero_copy_request(message, payload).map_err(
            |Unsent { error, payload }| ClientError::from(error).with(payload.into_pages()),
        )?;
        self.issued.count(request.kind());
        let gone = |error: ClientError| ZeroCopyError { error, pages: None };
        let answered = pending
            .wait_answered()
            .map_err(|error| gone(error.into()))?;
        let Some(payload) = answered.payload else {
            return Err(gone(unexpected()));
        };
        Ok(Answer {
            reply: answered.reply,
            written: answered.written,
            pages: payload.into_pages(),
        })
    }
}

/// An answer, its pages still beside it.
struct Answer {
    reply: Vec<u8>,
    written: usize,
    pages: PageBuffer,
}

impl ClientError {
    fn with(self, pages: PageBuffer) -> ZeroCopyError {
        ZeroCopyError {
            error: self,
            pages: Some(pages),
        }
    }
}
