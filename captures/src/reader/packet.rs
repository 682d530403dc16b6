//! Enhanced Packet Blocks, which are nearly all of a capture: read where they stand.
//!
//! What a packet needs is a few numbers and a slice, so nothing is allocated for
//! one. Options that only other programs write, and times that do not count
//! nanoseconds, are left to the library that reads all other blocks.

use pcap_file::pcapng::blocks::ENHANCED_PACKET_BLOCK;
use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketOption;
use pcap_file::pcapng::{Block, PcapNgParser};
use virtscope_record::{FRAME_LEN, PseudoHeader, Record};

use super::MAX_BLOCK;
use super::block::{self, ByteOrder};
use super::step::Known;

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

/// A packet of ours as nearly all are: its block and the place of its payload.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plain {
    /// Bytes of the block.
    pub(super) len: usize,
    pub(super) record: Record,
    pub(super) payload_len: usize,
    pub(super) original_len: u32,
    pub(super) dropcount: Option<u64>,
    pub(super) unix_ns: u64,
}

/// Bytes of a block up to the end of its record.
const PLAIN_HEAD: usize = PACKET_DATA + FRAME_LEN;

/// The packet that `unread` begin with, if it is sound and one of ours in a little-endian
/// section, and if all of it is there: one look for all that is asked of it elsewhere,
/// step by step. Whatever is odd about a packet is found there, not here.
#[inline(always)]
pub(super) fn plain(unread: &[u8], interfaces: &[Known]) -> Option<Plain> {
    let head: &[u8; PLAIN_HEAD] = unread.first_chunk()?;
    let word = |at| ByteOrder::Little.u32_at(head, at);
    let (len, captured) = (word(4), word(20));
    let block = unread.get(..len as usize)?;
    let known = interfaces.get(word(8) as usize)?;
    let header = PseudoHeader::parse(&head[PACKET_DATA..]).ok()?;
    let record = Record::from_bytes(&head[PACKET_DATA + PseudoHeader::LEN..]).ok()?;
    let payload_len = header.payload_len() as usize;
    let padded = (captured as usize).checked_next_multiple_of(4)?;
    let options = block.get(PACKET_DATA + padded..)?;
    let (options, end) = options.split_last_chunk::<4>()?;
    let is_sound = word(0) == ENHANCED_PACKET_BLOCK
        && len.is_multiple_of(4)
        && len <= MAX_BLOCK
        && *end == len.to_le_bytes()
        && known.is_ours
        && known.counts_nanos
        && known.queue.is_none_or(|queue| queue == record.queue())
        && captured as usize == FRAME_LEN + payload_len
        && word(24) >= captured;
    if !is_sound {
        return None;
    }
    let Options::Ours { dropcount } = self::options(options, ByteOrder::Little) else {
        return None;
    };
    Some(Plain {
        len: len as usize,
        record,
        payload_len,
        original_len: word(24),
        dropcount,
        unix_ns: u64::from(word(12)) << 32 | u64::from(word(16)),
    })
}

enum Options {
    /// Nothing but flags and drop counts.
    Ours { dropcount: Option<u64> },
    /// Something else, or broken.
    Foreign,
}

#[inline]
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
        /// What is taken for plain is what a look at each thing finds.
        #[test]
        fn what_is_plain_is_sound(block in block(), queue in any::<Option<u16>>(), flip in any::<Option<prop::sample::Index>>()) {
            let mut block = block;
            // A record of ours, where there is room for one.
            let at = PACKET_DATA;
            if block.len() > at + FRAME_LEN + 4 {
                let captured = u32::from_le_bytes(block[20..24].try_into().unwrap());
                let header = PseudoHeader::new(captured.saturating_sub(FRAME_LEN as u32));
                block[at..at + 8].copy_from_slice(header.as_bytes());
            }
            if let Some(flip) = flip {
                let at = flip.index(block.len());
                block[at] ^= 4;
            }
            let queue = queue.map(|index| virtscope_record::QueueId::new(0, index % 2));
            let known = [Known { is_ours: true, queue, is_finished: false, counts_nanos: true }];
            if let Some(plain) = plain(&block, &known) {
                let (len, order) = block::frame_start(&block, ByteOrder::Little).unwrap();
                prop_assert_eq!((len as usize, order), (plain.len, ByteOrder::Little));
                block::frame_end(&block, len, order).unwrap();
                let whole = &block[..plain.len];
                let packet = packet(whole, order, true, &mut parser()).unwrap();
                let (record, payload) = block::record(packet.data, queue).unwrap();
                prop_assert_eq!(record, plain.record);
                prop_assert_eq!(payload.len(), plain.payload_len);
                prop_assert_eq!(
                    (packet.original_len, packet.dropcount, packet.unix_ns),
                    (plain.original_len, plain.dropcount, plain.unix_ns)
                );
            }
        }

        /// What is read in place is what the library reads.
        #[test]
        fn reads_what_the_library_reads(block in block()) {
            let ours = packet(&block, ByteOrder::Little, true, &mut parser());
            prop_assert_eq!(ours, by_library(&block, &mut parser()));
        }
    }
}
