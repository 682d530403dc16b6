//! The ring-event record: the one thing every part of virtscope speaks.
//!
//! A record says that one operation happened on one virtqueue. Producers (the
//! reference driver, its device half, the eBPF programs) write it, captures and
//! pipes carry it, the analyzer reads it. On the wire it is an 8-byte
//! [`PseudoHeader`], the 64-byte [`Record`], and up to *snaplen* bytes of the
//! buffer the operation was about.
//!
//! ```text
//! 0        8                                            72        72+n
//! | pseudo |  record (64 bytes, little-endian)          | payload |
//! ```
//!
//! The crate is `no_std` and free of allocation, because the same source is
//! compiled into the eBPF programs. It never interprets: what an operation
//! *means* is the analyzer's business.
//!
//! Words are those of virtio 1.4 and of Linux's `drivers/virtio`.
#![no_std]

mod body;
mod header;
mod kind;
mod record;
mod types;

pub use body::{
    Add, Body, Callback, CallbackSwitch, Detach, InFlight, Missed, Notification, Notify,
    QueueFacts, Reset, Returned, Statistics, Taken, Used,
};
pub use header::{FORMAT_VERSION, HeaderError, PseudoHeader};
pub use kind::{Context, Flags, Kind, Layout, NotificationReason};
pub use record::{BadRecord, Common, Record};
pub use types::{
    FeatureBits, Generation, ParseQueueIdError, Producer, ProducerId, QueueId, RingIndex, Sequence,
    Timestamp, Token,
};

/// Bytes of [`PseudoHeader`] and [`Record`] together: what stands in front of
/// the payload in a packet.
pub const FRAME_LEN: usize = PseudoHeader::LEN + Record::LEN;
