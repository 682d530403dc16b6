//! What can go wrong on a ring, and what a device did when it broke one.

use virtscope_record::{RingIndex, Token};

/// A rule of virtio 1.4 that the device broke. The queue is unusable from then
/// on; only a reset helps.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// A used entry names a descriptor that the ring does not have.
    #[error(
        "the device returned id {id}, but the ring has {size} descriptors (virtio 1.4 §2.7.8, §2.8.6)"
    )]
    IdOutOfRange {
        /// The id.
        id: u32,
        /// The Queue Size.
        size: u16,
    },
    /// A used entry names a descriptor that heads no buffer in flight.
    #[error(
        "the device returned id {id}, which heads no buffer in flight: returned twice, or never given (virtio 1.4 §2.7.8, §2.8.6)"
    )]
    IdNotInFlight {
        /// The id.
        id: u16,
    },
    /// A used entry claims more bytes than the buffer's writable part has.
    #[error(
        "the device claims to have written {used_length} bytes into a buffer with {writable} device-writable bytes (virtio 1.4 §2.7.8, §2.8.4)"
    )]
    UsedLengthTooLong {
        /// The length claimed.
        used_length: u32,
        /// The bytes there were.
        writable: u32,
    },
    /// `VIRTIO_F_IN_ORDER`: a used entry names a buffer behind which others are
    /// still in flight, and the used index says nothing of a batch.
    #[error(
        "the device returned id {id} before {skipped} buffers made available earlier, though buffers are used in order (virtio 1.4 §2.7.9, §2.8.8)"
    )]
    OutOfOrder {
        /// The id.
        id: u16,
        /// Buffers in flight before it that the used index does not cover.
        skipped: u64,
    },
    /// The used index moved further than there are buffers in flight, or back.
    #[error(
        "the device's used index went from {last_used} to {used_index}, but only {in_flight} buffers are in flight (virtio 1.4 §2.7.8)"
    )]
    UsedIndexJumped {
        /// The next entry the driver expected.
        last_used: RingIndex,
        /// The index the device wrote.
        used_index: RingIndex,
        /// Buffers in flight.
        in_flight: u16,
    },
}

/// A queue that can't be used any more (Linux: `EIO` on a broken virtqueue).
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the queue is broken: {violation}; reset the device to go on")]
pub struct QueueError {
    /// What the device did.
    pub violation: Violation,
}

/// Why a buffer was not added.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AddErrorKind {
    /// Not enough free descriptors now (Linux `ENOSPC`): try again when a buffer
    /// was used.
    #[error("{needed} descriptors are needed and {free} are free: wait for a used buffer")]
    NoSpace {
        /// Descriptors the buffer needs.
        needed: usize,
        /// Descriptors that are free.
        free: u16,
    },
    /// More segments than the ring will ever hold.
    #[error("a buffer of {segments} segments never fits a ring of {size}")]
    TooManySegments {
        /// Segments of the buffer.
        segments: usize,
        /// The Queue Size.
        size: u16,
    },
    /// No memory now for a table of indirect descriptors, and too few free ones for
    /// the list itself (Linux `ENOMEM`): try again when a buffer was used.
    #[error("all tables of indirect descriptors are in use: wait for a used buffer")]
    NoMemory,
    /// Buffers were detached, as a driver does that shuts down: the queue is to be
    /// reset first.
    #[error("buffers were detached from the queue; reset it to go on")]
    Detached,
    /// No segment at all: a buffer has at least one (virtio 1.4 §2.7.4).
    #[error("a buffer needs at least one segment")]
    NoSegments,
    /// A segment of no bytes, or together more than virtio 1.4 §2.7.5.2 allows: 2³²
    /// bytes there, one less here, so that every length fits 32 bits.
    #[error("a buffer's segments hold from 1 byte each to 2^32 - 1 bytes together")]
    BadLength,
    /// A segment that lies in the ring itself.
    #[error("a segment at guest address {address:#x} lies in the ring")]
    SegmentInRing {
        /// Where it begins.
        address: u64,
    },
    /// The queue is broken (Linux `EIO`).
    #[error(transparent)]
    Broken(#[from] QueueError),
}

impl AddErrorKind {
    /// Whether the same buffer can be added once others were used.
    pub const fn is_temporary(&self) -> bool {
        matches!(self, Self::NoSpace { .. } | Self::NoMemory)
    }

    /// The errno Linux uses for it.
    pub fn errno(&self) -> u16 {
        let errno = match self {
            Self::NoSpace { .. } => rustix::io::Errno::NOSPC,
            Self::NoMemory => rustix::io::Errno::NOMEM,
            Self::TooManySegments { .. }
            | Self::NoSegments
            | Self::BadLength
            | Self::SegmentInRing { .. } => rustix::io::Errno::INVAL,
            Self::Detached | Self::Broken(_) => rustix::io::Errno::IO,
        };
        errno.raw_os_error() as u16
    }
}

/// A buffer that was not added, and why. The driver's data comes back with it.
#[derive(Debug, thiserror::Error)]
#[error("buffer {token} was not added: {kind}")]
pub struct AddError<T> {
    /// Why.
    #[source]
    pub kind: AddErrorKind,
    /// The token given.
    pub token: Token,
    /// The data given.
    pub data: T,
}

/// A notification that did not reach the device, because it is gone, or that was not
/// sent, because it broke the queue (Linux: `virtqueue_notify` returned false).
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the device was not notified: it is gone, or has broken the queue")]
pub struct NotifyError;

impl NotifyError {
    /// As records have it: Linux says `EIO` of a queue whose device could not be
    /// notified, because it then takes it for broken (`virtqueue_notify`).
    pub fn errno(self) -> u16 {
        rustix::io::Errno::IO.raw_os_error() as u16
    }
}
