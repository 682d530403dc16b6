//! What a reader finds in a capture.

use std::io;

use virtscope_record::{FORMAT_VERSION, FRAME_LEN, HeaderError, QueueId, Record};

use super::LooksLike;
use crate::{CaptureInfo, Origin, Totals};

/// One thing found, in the order of the capture.
#[derive(Debug)]
pub enum Item<'a> {
    /// A section begins.
    Section(SectionStart),
    /// An interface was declared; its number is the next one of the section.
    Interface(Interface),
    /// A record.
    Record(Packet<'a>),
    /// A packet of one of our interfaces that holds no sound record. It was
    /// counted and skipped.
    Corrupt {
        /// The packet's number in the file, from 1, as Wireshark counts.
        packet: u64,
        /// Where its block begins, in bytes.
        offset: u64,
        /// What is wrong with it.
        problem: PacketProblem,
    },
    /// The statistics of an interface.
    Statistics(InterfaceStatistics),
    /// The end; from then on always this.
    End(End),
}

/// What a section says about itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SectionStart {
    /// What is said in our own comment; `None` if another program wrote the
    /// section and kept none.
    pub info: Option<CaptureInfo>,
    /// What it was made of, if it was made of other captures.
    pub origin: Origin,
    /// The program that wrote it (`shb_userappl`).
    pub application: Option<String>,
}

/// An interface of the capture.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Interface {
    /// Its number in the section.
    pub id: u32,
    /// Its `if_name`, like `virtio0/requests`; empty if it has none.
    pub name: String,
    /// The queue whose records it carries; `None` if it is none of ours, or not
    /// said.
    pub queue: Option<QueueId>,
    /// Whether its packets are read as records. Those of others are counted as
    /// foreign and skipped.
    pub is_ours: bool,
    /// Its link type.
    pub link_type: u32,
    /// The most bytes a packet of it has; 0 is no limit.
    pub snaplen: u32,
    /// The queue's facts, like `size` = `128`, `driver` = `9pnet_virtio`.
    pub properties: Vec<(String, String)>,
}

/// A record and what came with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Packet<'a> {
    /// The record.
    pub record: Record,
    /// As much of the buffer as was kept.
    pub payload: &'a [u8],
    /// Bytes the packet had before it was cut to snaplen: pseudo-header, record
    /// and the whole buffer.
    pub original_len: u32,
    /// Records of this interface that were lost since its last packet, where it
    /// is said.
    pub dropcount: Option<u64>,
    /// The packet's time, in nanoseconds since 1970-01-01 UTC.
    pub unix_ns: u64,
    /// The packet's number in the file, from 1, as Wireshark counts.
    pub number: u64,
}

impl Packet<'_> {
    /// Bytes of the buffer that were not kept.
    pub fn cut(&self) -> u32 {
        let kept = FRAME_LEN + self.payload.len();
        self.original_len
            .saturating_sub(u32::try_from(kept).unwrap_or(u32::MAX))
    }
}

/// What the writer counted for an interface when it finished.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InterfaceStatistics {
    /// The interface's number in the section.
    pub interface: u32,
    /// Its queue, if it is one of ours.
    pub queue: Option<QueueId>,
    /// The counts; `None` if one of them is missing or they don't add up.
    pub totals: Option<Totals>,
    /// Whether the writer knew the tail of every producer.
    pub tail_known: bool,
    /// Times that the kernel had skipped a program of the tracer by then, in the whole
    /// recording: the same on each of its interfaces.
    pub programs_skipped: u64,
    /// When the first record was made, in nanoseconds since 1970-01-01 UTC.
    pub start_unix_ns: Option<u64>,
    /// When the last record was made.
    pub end_unix_ns: Option<u64>,
}

/// How a capture ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// The writer finished it.
    Complete,
    /// It was cut off, or is still being written: everything up to here was
    /// read, and nobody knows what came after.
    Truncated {
        /// Where the first byte stands that is of no use; the input's length, if
        /// it ends between two blocks.
        offset: u64,
        /// Bytes of a block whose rest is missing.
        leftover: u64,
    },
    /// From here on it cannot be read, because no block can be told from the
    /// next.
    Damaged {
        /// Where the block begins that is broken.
        offset: u64,
        /// What is wrong with it.
        damage: Damage,
    },
}

impl End {
    /// Whether everything the writer wrote was read.
    pub const fn is_complete(self) -> bool {
        matches!(self, Self::Complete)
    }
}

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Complete => f.write_str("complete"),
            Self::Truncated {
                offset,
                leftover: 0,
            } => write!(f, "ends unfinished after {offset} bytes"),
            Self::Truncated { offset, leftover } => write!(
                f,
                "cut off in a block at byte {offset}, of which {leftover} bytes are there"
            ),
            Self::Damaged { offset, damage } => {
                write!(f, "cannot be read from byte {offset} on: {damage}")
            }
        }
    }
}

/// Why no further block can be found.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Damage {
    /// A length that no block has.
    #[error("a block claims to be {len} bytes long")]
    Length {
        /// The length.
        len: u32,
    },
    /// A block says two different lengths.
    #[error("a block says {first} bytes at its start and {last} at its end")]
    LengthMismatch {
        /// At its start.
        first: u32,
        /// At its end.
        last: u32,
    },
    /// A section header that cannot be understood.
    #[error("a section header is broken")]
    SectionHeader,
    /// A section of another major version of pcapng.
    #[error("a section is of pcapng version {major}, and only version 1 is known")]
    PcapngVersion {
        /// The version.
        major: u16,
    },
    /// More interfaces in a section than any machine has queues.
    #[error("a section has more than {max} interfaces")]
    Interfaces {
        /// The most that are read.
        max: usize,
    },
}

/// What is wrong with a packet of ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PacketProblem {
    /// The block is broken inside.
    #[error("its block is broken")]
    Block,
    /// Its interface was never declared.
    #[error("interface {interface} was never declared")]
    Interface {
        /// The interface's number.
        interface: u32,
    },
    /// There is no pseudo-header.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// The packet is not as long as it says.
    #[error("it should have {expected} bytes and has {found}")]
    Length {
        /// By its pseudo-header.
        expected: u64,
        /// What there is.
        found: u64,
    },
    /// The record is of another queue than the interface.
    #[error("a record of queue {record} on the interface of {interface}")]
    Queue {
        /// The record's.
        record: QueueId,
        /// The interface's.
        interface: QueueId,
    },
}

/// Input that is not a capture this version can read, or trouble in reading it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The input could not be read.
    #[error("cannot read the capture: {0}")]
    Input(#[from] io::Error),
    /// There is nothing in it.
    #[error("the capture is empty, without even a header: was it ever written?")]
    Empty,
    /// It is something else.
    #[error("not a pcapng capture: {0}")]
    NotPcapng(LooksLike),
    /// A newer virtscope wrote it.
    #[error(
        "the capture is of format version {found} and this virtscope reads up to {FORMAT_VERSION}: update virtscope"
    )]
    NewerFormat {
        /// The capture's version.
        found: u16,
    },
    /// It is pcapng, but nothing in it is ours.
    #[error(
        "no virtqueue in this capture: none of its {interfaces} interfaces is virtscope's ({packets} packets of others); name a capture made by `virtscope … -w`"
    )]
    NoInterface {
        /// Interfaces of others.
        interfaces: u64,
        /// Packets of others.
        packets: u64,
    },
}
