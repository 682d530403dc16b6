//! A request that got no reply.

use crate::bus::InitError;
use crate::memory::NoPages;
use crate::ring::{AddErrorKind, NotifyError, QueueError};

/// A request that got no reply.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChannelError {
    /// Its buffers can't be added, now or ever.
    #[error(transparent)]
    Add(#[from] AddErrorKind),
    /// No memory for its buffers.
    #[error(transparent)]
    NoPages(#[from] NoPages),
    /// The device can't be told of it.
    #[error(transparent)]
    Notify(#[from] NotifyError),
    /// The device broke the queue.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// The device asks for a reset (virtio 1.4 §2.1.2, `DEVICE_NEEDS_RESET`).
    #[error("the device has failed and needs a reset")]
    DeviceFailed,
    /// The queue was reset while it was in flight: nobody knows whether the server
    /// has seen it.
    #[error("the queue was reset before the reply came")]
    QueueReset,
    /// The queue can't be reset, or does not come back.
    #[error(transparent)]
    Init(#[from] InitError),
    /// It was interrupted before the device was told of it (Linux `-ERESTARTSYS`).
    #[error("interrupted before the request was sent")]
    Interrupted,
    /// The channel was closed meanwhile.
    #[error("the channel is closed")]
    Closed,
    /// Another mount has the channel (Linux `EBUSY`).
    #[error("the channel is in use by another mount (EBUSY)")]
    Busy,
    /// No device has this mount tag (Linux `ENOENT`).
    #[error("no device has this mount tag (ENOENT)")]
    NoChannel,
}
