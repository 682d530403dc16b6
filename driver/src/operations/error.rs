//! What the five operations can answer beside success.

use virtscope_record::Token;

use super::SocketViolation;
use crate::buffer::Buffer;
use crate::ring::{AddErrorKind, QueueError};

/// A queue that nothing comes back from any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QueueFailure {
    /// The device broke a rule of the ring.
    #[error(transparent)]
    Ring(#[from] QueueError),
    /// The peer broke a rule of the socket's protocol.
    #[error(transparent)]
    Socket(#[from] SocketViolation),
    /// The device can't be notified, or has closed its end.
    #[error("the device is gone")]
    DeviceGone,
}

/// Why a buffer was not added.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AddBufErrorKind {
    /// No room now (`ENOSPC`): try again when a buffer was used.
    #[error("the queue is full: wait for a used buffer")]
    Full,
    /// The buffer fits no such queue.
    #[error("the buffer can't be added: {0}")]
    Unfit(AddErrorKind),
    /// The queue has failed (`EIO`).
    #[error(transparent)]
    Failed(#[from] QueueFailure),
    /// A buffer was detached from a ring, whose device has therefore let go of it
    /// (`ESHUTDOWN`).
    #[error("the queue is shut down")]
    ShutDown,
}

impl AddBufErrorKind {
    /// Whether the same buffer can be added once others were used.
    pub const fn is_temporary(&self) -> bool {
        matches!(self, Self::Full)
    }
}

impl From<AddErrorKind> for AddBufErrorKind {
    fn from(kind: AddErrorKind) -> Self {
        match kind {
            AddErrorKind::Broken(error) => Self::Failed(error.into()),
            kind if kind.is_temporary() => Self::Full,
            kind => Self::Unfit(kind),
        }
    }
}

/// A buffer that was not added, and why. It comes back untouched.
#[derive(Debug, thiserror::Error)]
#[error("buffer {token} was not added: {kind}")]
pub struct AddBufError {
    /// Why.
    #[source]
    pub kind: AddBufErrorKind,
    /// The token given.
    pub token: Token,
    /// The buffer given.
    pub buffer: Buffer,
}

/// No unused buffer of this token is in the queue (`ENOENT`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("no unused buffer {token} is in the queue (ENOENT)")]
pub struct NotInQueue {
    /// The token.
    pub token: Token,
}
