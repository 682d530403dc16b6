//! Enhanced Packet Blocks, which are nearly all of a capture: read where they stand.
//!
//! What a packet needs is a few numbers and a slice, so nothing is allocated for
//! one. Options that only other programs write, and times that do not count
//! nanoseconds, are left to the library that reads all other blocks.

use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketOption;
use pcap_file::pcapng::{Block, PcapNgParser};

use super::block::{self, ByteOrder};

/// Where in the block its data begin.
pub(super) const PACKET_DATA: usize = 28;

/// What stands in a packet's block.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PacketBlock<'a> {
    pub(super) data: &'a [u8],
    pub(super) original_len: u32,
    /// `epb_dropcount`.
    pub(super) dropcount: Option<u64>,
    /// Nanoseconds since 1970-01-01 UTC.
    pub(super) unix_ns: u64,
}

/// The packet in `bytes`, which are one whole block; `None` if it is broken
/// inside. `parser` stands in the section of the block.
#[inline]
pub(super) fn packet<'a>(
    bytes: &'a [u8],
    order: ByteOrder,
    counts_nanos: bool,
    parser: &mut PcapNgParser,
) -> Option<PacketBlock<'a>> {
    if !counts_nanos {
        return by_library(bytes, parser);
    }
    let head: &[u8; PACKET_DATA] = bytes.first_chunk()?;
    let captured = order.u32_at(head, 20);
    let original_len = order.u32_at(head, 24);
    if original_len < captured {
        return None;
    }
    let behind = bytes.get(PACKET_DATA..bytes.len().checked_sub(4)?)?;
    let padded = (captured as usize).checked_next_multiple_of(4)?;
    let data = behind.get(..captured as usize)?;
    let dropcount = match options(behind.get(padded..)?, order) {
        Options::Ours { dropcount } => dropcount,
        Options::Foreign => return by_library(bytes, parser),
    };
    Some(PacketBlock {
        data,
        original_len,
        dropcount,
        unix_ns: u64::from(order.u32_at(head, 12)) << 32 | u64::from(order.u32_at(head, 16)),
    })
}

enum Options {
    /// Nothing but flags and drop counts.
    Ours { dropcount: Option<u64> },
    /// Something else, or broken.
    Foreign,
}

fn options(mut rest: &[u8], order: ByteOrder) -> Options {
    const END: u32 = 0;
    const FLAGS: u32 = 2;
    const DROPCOUNT: u32 = 4;
    let mut dropcount = None;
    while let Some((head, behind)) = rest.split_first_chunk::<4>() {
        let (code, length) = order.u16_pair(*head);
        rest = match (code, length) {
            (END, _) => return Options::Ours { dropcount },
            (FLAGS, 4) if behind.len() >= 4 => &behind[4..],
            (DROPCOUNT, 8) if behind.len() >= 8 => {
                dropcount = dropcount.or(Some(order.u64_at(behind)));
                &behind[8..]
            }
            _ => return Options::Foreign,
        };
    }
    if rest.is_empty() {
        Options::Ours { dropcount }
    } else {
        Options::Foreign
    }
}

#[cold]
fn by_library<'a>(bytes: &'a [u8], parser: &mut PcapNgParser) -> Option<PacketBlock<'a>> {
    let (_, raw) = parser.next_raw_block(bytes).ok()?;
    let Ok(Block::EnhancedPacket(packet)) = raw.try_into_block(parser.state()) else {
        return None;
    };
    Some(PacketBlock {
        data: bytes.get(PACKET_DATA..PACKET_DATA + packet.data.len())?,
        original_len: packet.original_len,
        dropcount: packet.options.iter().find_map(|option| match option {
            EnhancedPacketOption::DropCount(count) => Some(*count),
            _ => None,
        }),
        unix_ns: block::nanos(packet.timestamp),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use virtscope_record::{FRAME_LEN, Record};

    /// A parser of a section with one interface that counts nanoseconds.
    fn parser() -> PcapNgParser {
        let section: &[u8] = &[
            0x0a, 0x0d, 0x0d, 0x0a, 28, 0, 0, 0, 0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0, 255, 255, 255,
            255, 255, 255, 255, 255, 28, 0, 0, 0,
        ];
        let interface: &[u8] = &[
            1, 0, 0, 0, 32, 0, 0, 0, 147, 0, 0, 0, 0, 0, 0, 0, 9, 0, 1, 0, 9, 0, 0, 0, 0, 0, 0, 0,
            32, 0, 0, 0,
        ];
        let (_, mut parser) = PcapNgParser::new(section).unwrap();
        parser.next_raw_block(interface).unwrap();
        assert_eq!(parser.interfaces().len(), 1);
        parser
    }

    /// A block, sound or nearly so.
    fn block() -> impl Strategy<Value = Vec<u8>> {
        let option = prop_oneof![
            4 => Just((2_u16, vec![1, 0, 0, 0])),
            2 => any::<[u8; 8]>().prop_map(|count| (4, count.to_vec())),
            1 => (0_u16..6, prop::collection::vec(any::<u8>(), 0..9)),
            1 => Just((1, b"comment".to_vec())),
            1 => Just((0, Vec::new())),
        ];
        (
            any::<u64>(),
            0_u32..200,
            -2_i64..100,
            prop::collection::vec(any::<u8>(), 0..2 * (FRAME_LEN + Record::LEN)),
            prop::collection::vec(option, 0..4),
            prop::collection::vec(any::<u8>(), 0..3),
        )
            .prop_map(|(time, odd, longer, data, options, tail)| {
                let captured = if odd < 190 { data.len() as u32 } else { odd };
                let mut body = 0_u32.to_le_bytes().to_vec();
                body.extend(((time >> 32) as u32).to_le_bytes());
                body.extend((time as u32).to_le_bytes());
                body.extend(captured.to_le_bytes());
                body.extend((i64::from(captured) + longer).max(0).to_le_bytes()[..4].iter());
                body.extend(&data);
                body.resize(body.len().next_multiple_of(4), 0);
                for (code, value) in options {
                    body.extend(code.to_le_bytes());
                    body.extend((value.len() as u16).to_le_bytes());
                    body.extend(&value);
                    body.resize(body.len().next_multiple_of(4), 0);
                }
                body.extend(tail);
                body.resize(body.len().next_multiple_of(4), 0);
                let len = (body.len() as u32 + 12).to_le_bytes();
                [&6_u32.to_le_bytes()[..], &len, &body, &len].concat()
            })
    }

    proptest! {
        /// What is read in place is what the library reads.
        #[test]
        fn reads_what_the_library_reads(block in block()) {
            let ours = packet(&block, ByteOrder::Little, true, &mut parser());
            prop_assert_eq!(ours, by_library(&block, &mut parser()));
        }
    }
}
