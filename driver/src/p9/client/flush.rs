//! Giving requests up (Linux `p9_client_rpc`, `p9_client_flush`).

use super::super::channel::{Answered, ChannelError, Interrupted, Message, Pending};
use super::super::interrupt::Interrupt;
use super::super::message::{Reply, Request};
use super::{Client, ClientError, settle};
use crate::instrument::Instrument;

impl<I: Instrument> Client<I> {
    /// A call that ends early when `interrupt` is raised.
    ///
    /// A request that the device has can't be taken back: the server is asked by Tflush
    /// to give it up, and only its Rflush, for which we wait whatever happens, makes the
    /// tag free again. A reply that comes before it is the request's result, as if nobody
    /// had interrupted it.
    pub(super) fn call_or(
        &self,
        request: &Request<'_>,
        interrupt: &Interrupt,
    ) -> Result<Reply, ClientError> {
        let tag = self.tags.take();
        let answer = self.call_with_tag_or(request, tag as u16, interrupt);
        self.tags.give_back(tag);
        answer
    }

    fn call_with_tag_or(
        &self,
        request: &Request<'_>,
        tag: u16,
        interrupt: &Interrupt,
    ) -> Result<Reply, ClientError> {
        let mut bytes = Vec::new();
        request.encode(tag, self.msize, &mut bytes)?;
        let message = Message {
            request: &bytes,
            reply_capacity: request.reply_capacity() as usize,
        };
        let pending = match self.channel.request_or(message, interrupt) {
            Err(ChannelError::Interrupted) => return Err(ClientError::Interrupted),
            sent => sent?,
        };
        self.issued.count(request.kind());
        let answered = match pending.wait_or(interrupt) {
            Ok(answered) => answered?,
            Err(Interrupted(pending)) => self.flush(tag, pending)?,
        };
        // What QEMU returns of a request that it gave up: a buffer with nothing in it.
        if answered.written == 0 && interrupt.is_raised() {
            return Err(ClientError::Interrupted);
        }
        settle(request.decode_reply(tag, &answered.reply))
    }

    /// Linux `p9_client_flush`.
    fn flush(&self, oldtag: u16, pending: Pending) -> Result<Answered, ClientError> {
        let flushed = match self.channel.cancel(&pending) {
            true => self.call(&Request::Flush { oldtag }).map(drop),
            false => Ok(()),
        };
        match pending.try_wait() {
            // Whatever became of the flush.
            Ok(answered) => Ok(answered?),
            // A server may keep the buffer of what it gave up (flush(5)). The queue
            // holds it for as long.
            Err(_still_there) => Err(flushed.err().unwrap_or(ClientError::Interrupted)),
        }
    }
}
