//! What stands in a block: its frame, and our reading of its options.

use std::ops::Range;
use std::time::Duration;

use pcap_file::Endianness;
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::pcapng::blocks::interface_statistics::{
    InterfaceStatisticsBlock, InterfaceStatisticsOption,
};
use pcap_file::pcapng::blocks::opt_common::CommonOption;
use pcap_file::pcapng::blocks::section_header::{SectionHeaderBlock, SectionHeaderOption};
use pcap_file::pcapng::blocks::{INTERFACE_DESCRIPTION_BLOCK, SECTION_HEADER_BLOCK};
use virtscope_record::{FRAME_LEN, PseudoHeader, QueueId, Record};

use super::{Damage, Interface, InterfaceStatistics, PacketProblem, SectionStart};
use crate::info::pairs;
use crate::{CaptureInfo, LINK_TYPE, Origin, QueueDescription, Totals};

/// The shortest block: type and the two lengths.
pub(super) const SHORTEST: usize = 12;

/// How the numbers of a section are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ByteOrder {
    Little,
    Big,
}

impl From<Endianness> for ByteOrder {
    fn from(endianness: Endianness) -> Self {
        match endianness {
            Endianness::Little => Self::Little,
            Endianness::Big => Self::Big,
        }
    }
}

impl ByteOrder {
    /// The number at `at`; zero behind the end.
    #[inline]
    pub(super) fn u32_at(self, bytes: &[u8], at: usize) -> u32 {
        let number = bytes.get(at..).and_then(|rest| rest.first_chunk());
        match self {
            Self::Little => number.map_or(0, |bytes| u32::from_le_bytes(*bytes)),
            Self::Big => number.map_or(0, |bytes| u32::from_be_bytes(*bytes)),
        }
    }

    /// The two 16-bit numbers in `bytes`.
    pub(super) fn u16_pair(self, bytes: [u8; 4]) -> (u32, u32) {
        let [a, b, c, d] = bytes;
        let read = match self {
            Self::Little => u16::from_le_bytes,
            Self::Big => u16::from_be_bytes,
        };
        (read([a, b]).into(), read([c, d]).into())
    }

    /// The 64-bit number at the start; zero if there is none.
    pub(super) fn u64_at(self, bytes: &[u8]) -> u64 {
        let number = bytes.first_chunk();
        match self {
            Self::Little => number.map_or(0, |bytes| u64::from_le_bytes(*bytes)),
            Self::Big => number.map_or(0, |bytes| u64::from_be_bytes(*bytes)),
        }
    }

    fn u32_bytes(self, number: u32) -> [u8; 4] {
        match self {
            Self::Little => number.to_le_bytes(),
            Self::Big => number.to_be_bytes(),
        }
    }
}

/// The length of the block that begins with `bytes`, at least [`SHORTEST`] of
/// them, and its byte order: a section header says its own, the blocks behind
/// it are of the section's.
pub(super) fn frame_start(bytes: &[u8], section: ByteOrder) -> Result<(u32, ByteOrder), Damage> {
    const MAGIC: u32 = 0x1a2b_3c4d;
    // The type of a section header reads the same in either order.
    let order = if section.u32_at(bytes, 0) == SECTION_HEADER_BLOCK {
        [ByteOrder::Little, ByteOrder::Big]
            .into_iter()
            .find(|order| order.u32_at(bytes, 8) == MAGIC)
            .ok_or(Damage::SectionHeader)?
    } else {
        section
    };
    let len = order.u32_at(bytes, 4);
    if len as usize >= SHORTEST && len.is_multiple_of(4) {
        Ok((len, order))
    } else {
        Err(Damage::Length { len })
    }
}

/// Whether the block of `len` bytes that `bytes` begin with ends as it began.
pub(super) fn frame_end(bytes: &[u8], len: u32, order: ByteOrder) -> Result<(), Damage> {
    let last = order.u32_at(bytes, (len as usize).saturating_sub(4));
    if last == len {
        Ok(())
    } else {
        Err(Damage::LengthMismatch { first: len, last })
    }
}

/// An interface block without options, of a link type that nobody has.
pub(super) fn empty_interface(order: ByteOrder) -> [u8; 20] {
    let mut block = [0; 20];
    let words = [INTERFACE_DESCRIPTION_BLOCK, 20, 0, 0, 20];
    for (place, word) in block.chunks_exact_mut(4).zip(words) {
        place.copy_from_slice(&order.u32_bytes(word));
    }
    block
}

/// What a section header says.
pub(super) fn section(header: &SectionHeaderBlock<'_>) -> SectionStart {
    let mut start = SectionStart {
        info: None,
        origin: Origin::default(),
        application: None,
    };
    for option in &header.options {
        match option {
            SectionHeaderOption::Common(CommonOption::Comment(text)) => {
                start.info = start.info.or_else(|| CaptureInfo::from_comment(text));
                if let Some(origin) = Origin::from_comment(text) {
                    start.origin = origin;
                }
            }
            SectionHeaderOption::UserApplication(name) => {
                start.application = Some(name.as_ref().to_owned());
            }
            _ => {}
        }
    }
    start
}

/// What an interface block says. It is ours if it is of our link type and says
/// so itself, or stands in a section of ours.
pub(super) fn interface(
    block: &InterfaceDescriptionBlock<'_>,
    id: usize,
    in_our_section: bool,
) -> Interface {
    let link_type = u32::from(block.linktype);
    let mut interface = Interface {
        id: u32::try_from(id).unwrap_or(u32::MAX),
        name: String::new(),
        queue: None,
        is_ours: false,
        link_type,
        snaplen: block.snaplen,
        properties: Vec::new(),
    };
    for option in &block.options {
        match option {
            InterfaceDescriptionOption::IfName(name) => {
                name.as_ref().clone_into(&mut interface.name);
            }
            InterfaceDescriptionOption::Common(CommonOption::Comment(text)) => {
                if let Some((queue, properties)) = QueueDescription::from_comment(text) {
                    interface.queue = Some(queue);
                    interface.properties = properties;
                }
            }
            _ => {}
        }
    }
    interface.is_ours =
        link_type == u32::from(LINK_TYPE) && (interface.queue.is_some() || in_our_section);
    if !interface.is_ours {
        interface.queue = None;
    }
    interface
}

/// What an interface statistics block says.
pub(super) fn statistics(
    block: &InterfaceStatisticsBlock<'_>,
    queue: Option<QueueId>,
) -> InterfaceStatistics {
    let mut found = InterfaceStatistics {
        interface: block.interface_id,
        queue,
        totals: None,
        tail_known: false,
        programs_skipped: 0,
        start_unix_ns: None,
        end_unix_ns: None,
    };
    let (mut emitted, mut accepted, mut lost, mut stored) = (None, None, None, None);
    let mut missed = 0;
    for option in &block.options {
        match option {
            InterfaceStatisticsOption::IsbStartTime(time) => {
                found.start_unix_ns = Some(nanos(*time));
            }
            InterfaceStatisticsOption::IsbEndTime(time) => found.end_unix_ns = Some(nanos(*time)),
            InterfaceStatisticsOption::IsbIfRecv(count) => emitted = Some(*count),
            InterfaceStatisticsOption::IsbIfDrop(count) => lost = Some(*count),
            InterfaceStatisticsOption::IsbFilterAccept(count) => accepted = Some(*count),
            InterfaceStatisticsOption::IsbUsrDeliv(count) => stored = Some(*count),
            InterfaceStatisticsOption::Common(CommonOption::Comment(text)) => {
                for (key, value) in pairs(text) {
                    match key {
                        "missed" => missed = value.parse().unwrap_or(0),
                        "tail" => found.tail_known = value == "known",
                        "programs_skipped" => {
                            found.programs_skipped = value.parse().unwrap_or(0);
                        }
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    found.totals = emitted.and_then(|emitted| {
        let totals = Totals {
            emitted,
            stored: stored?,
            lost: lost?,
            filtered: emitted.checked_sub(accepted?)?,
            missed,
        };
        let accounted = totals
            .stored
            .checked_add(totals.lost)?
            .checked_add(totals.filtered)?;
        (accounted == emitted).then_some(totals)
    });
    found
}

/// The record in `data`, and where in them its payload stands.
pub(super) fn record(
    data: &[u8],
    queue: Option<QueueId>,
) -> Result<(Record, Range<usize>), PacketProblem> {
    let header = PseudoHeader::parse(data)?;
    let expected = FRAME_LEN as u64 + u64::from(header.payload_len());
    let length = PacketProblem::Length {
        expected,
        found: data.len() as u64,
    };
    if expected != data.len() as u64 {
        return Err(length);
    }
    let bytes = data.get(PseudoHeader::LEN..FRAME_LEN).ok_or(length)?;
    let record = Record::from_bytes(bytes).map_err(|_| length)?;
    match queue {
        Some(interface) if interface != record.queue() => Err(PacketProblem::Queue {
            record: record.queue(),
            interface,
        }),
        _ => Ok((record, FRAME_LEN..data.len())),
    }
}

/// `time` in nanoseconds.
pub(super) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
