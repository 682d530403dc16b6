//! What a block amounts to for the reader.

use std::ops::Range;

use virtscope_record::{FORMAT_VERSION, HeaderError, QueueId, Record};

use super::block;
use super::packet::{PACKET_DATA, PacketBlock};
use super::{Damage, Interface, InterfaceStatistics, PacketProblem, ReadError, SectionStart};
use crate::CaptureInfo;

/// What has to be known of an interface to read its packets.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    pub(super) is_ours: bool,
    pub(super) queue: Option<QueueId>,
    pub(super) is_finished: bool,
    /// Its packets' times count nanoseconds since 1970, as ours do.
    pub(super) counts_nanos: bool,
}

#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) packets: u64,
    pub(super) foreign_packets: u64,
    pub(super) corrupt: u64,
    pub(super) our_sections: u64,
    pub(super) our_interfaces: u64,
    pub(super) foreign_interfaces: u64,
    /// Our interfaces of earlier sections that have no statistics.
    pub(super) unfinished: u64,
}

/// What a block amounts to.
pub(super) enum Step {
    Nothing,
    Section(SectionStart),
    Interface(Interface),
    Record(Found),
    Corrupt(PacketProblem),
    Statistics(InterfaceStatistics),
    Damaged(Damage),
}

/// A record, and where in its block the payload stands.
pub(super) struct Found {
    pub(super) record: Record,
    pub(super) payload: Range<usize>,
    pub(super) original_len: u32,
    pub(super) dropcount: Option<u64>,
    pub(super) unix_ns: u64,
}

/// The record in a packet of ours.
pub(super) fn found(
    packet: &PacketBlock<'_>,
    queue: Option<QueueId>,
    info: Option<&CaptureInfo>,
) -> Result<Step, ReadError> {
    match block::record(packet.data, queue) {
        Ok((record, payload)) => Ok(Step::Record(Found {
            record,
            payload: PACKET_DATA + payload.start..PACKET_DATA + payload.end,
            original_len: packet.original_len,
            dropcount: packet.dropcount,
            unix_ns: packet.unix_ns,
        })),
        // Where the section says which format it is, a record that claims
        // another is broken rather than new.
        Err(PacketProblem::Header(HeaderError::Version { found }))
            if info.is_none() && found > FORMAT_VERSION =>
        {
            Err(ReadError::NewerFormat { found })
        }
        Err(problem) => Ok(Step::Corrupt(problem)),
    }
}
