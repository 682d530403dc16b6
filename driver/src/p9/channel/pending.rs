//! Requests on their way, and what comes back.

use std::sync::{Arc, Weak};

use super::super::completion::Completion;
use super::super::interrupt::{Interrupt, Wake};
use super::ChannelError;
use crate::memory::PageBuffer;

/// A message to send: the request's bytes and the longest reply it may have.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// The whole T-message; of one whose data are a [`Payload`], what stands before
    /// them.
    pub request: &'a [u8],
    /// Bytes its reply may have; in front of a [`Payload::FromDevice`], Linux's
    /// `in_hdr_len`.
    pub reply_capacity: usize,
}

/// The caller's own memory, which a zero-copy request carries as it is. It comes back
/// with the reply: until then it is the device's.
#[derive(Debug)]
pub enum Payload {
    /// Stands behind the request; the device reads it (Linux `uodata`).
    ToDevice(PageBuffer),
    /// Stands behind the reply's first bytes; the device writes it (Linux `uidata`).
    FromDevice(PageBuffer),
}

impl Payload {
    /// The memory.
    pub fn pages(&self) -> &PageBuffer {
        match self {
            Self::ToDevice(pages) | Self::FromDevice(pages) => pages,
        }
    }

    /// The memory, whatever it was for.
    pub fn into_pages(self) -> PageBuffer {
        match self {
            Self::ToDevice(pages) | Self::FromDevice(pages) => pages,
        }
    }
}

/// A zero-copy request that was not sent, and its memory.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct Unsent {
    /// Why.
    #[source]
    pub error: ChannelError,
    /// What it would have carried.
    pub payload: Payload,
}

/// What the device wrote.
#[derive(Debug)]
pub struct Answered {
    /// The reply's bytes; of a zero-copy request, those in front of its payload.
    pub reply: Vec<u8>,
    /// How many bytes the device says it wrote in all.
    pub written: usize,
    /// The memory that the request carried, if it was a zero-copy one.
    pub payload: Option<Payload>,
}

pub(super) type Outcome = Result<Answered, ChannelError>;

/// A request on its way.
#[derive(Debug)]
#[must_use = "the reply is lost unless it is waited for"]
pub struct Pending {
    pub(super) done: Arc<Completion<Outcome>>,
}

impl Pending {
    /// Waits for the reply's bytes: as many as the device says it wrote.
    ///
    /// # Errors
    /// The queue broke or was reset, or the channel was closed.
    pub fn wait(self) -> Result<Vec<u8>, ChannelError> {
        self.wait_answered().map(|answered| answered.reply)
    }

    /// [`wait`](Self::wait), for all that came back.
    ///
    /// # Errors
    /// The same.
    pub fn wait_answered(self) -> Result<Answered, ChannelError> {
        self.done.wait()
    }

    /// Waits until `interrupt` is raised. The request is still on its way then, and
    /// comes back: its buffer is the device's until the device returns it.
    ///
    /// # Errors
    /// The request, if it was interrupted.
    pub fn wait_or(
        self,
        interrupt: &Interrupt,
    ) -> Result<Result<Answered, ChannelError>, Interrupted> {
        let place = Arc::downgrade(&self.done) as Weak<dyn Wake>;
        let attendance = interrupt.attend(place);
        let done = self.done.wait_while(|| !interrupt.is_raised());
        drop(attendance);
        done.ok_or(Interrupted(self))
    }

    /// The end of the request, if it is known by now.
    ///
    /// # Errors
    /// The request, if it is still on its way.
    pub fn try_wait(self) -> Result<Result<Answered, ChannelError>, Self> {
        self.done.try_take().ok_or(self)
    }
}

/// A wait that ended before the request did.
#[derive(Debug)]
pub struct Interrupted(pub Pending);
