//! Enhanced Packet Blocks, which are nearly all of a capture: written where they stand.
//!
//! Whoever traces writes them on the machine that is watched, often on the very CPU whose
//! work is timed. The library puts a packet's options into a list of their own, measures
//! the block by writing it to nowhere, and hands it on in pieces of four bytes. It still
//! writes all other blocks, and the tests compare its packets with these.

use pcap_file::pcapng::blocks::ENHANCED_PACKET_BLOCK;
use virtscope_record::{FRAME_LEN, PseudoHeader, Record};

/// Bytes of a block before its data (pcapng §4.3).
const HEAD: usize = 28;
/// Bytes behind the data at most: padding, flags, drop count, end of options, length.
const TAIL: usize = 3 + 8 + 12 + 4 + LENGTH;
/// Bytes of a block's length, which stands at its end once more.
const LENGTH: usize = 4;

/// `opt_endofopt` and the options that our packets have (pcapng §3.5, §4.3.1).
const END_OF_OPTIONS: u16 = 0;
const FLAGS: u16 = 2;
const DROP_COUNT: u16 = 4;

/// A packet of a little-endian section whose interface counts nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packet<'a> {
    pub(super) interface: u32,
    /// Nanoseconds since 1970-01-01 UTC.
    pub(super) unix_ns: u64,
    /// Bytes that it had before its payload was cut.
    pub(super) original_len: u32,
    pub(super) record: &'a Record,
    pub(super) payload: &'a [u8],
    /// `epb_flags`.
    pub(super) flags: Option<u32>,
    /// `epb_dropcount`.
    pub(super) dropcount: Option<u64>,
}

impl Packet<'_> {
    /// Appends the block to `out`.
    pub(super) fn append(&self, out: &mut Vec<u8>) {
        let payload_len = self.payload.len() as u32;
        let data_len = FRAME_LEN as u32 + payload_len;
        let mut tail = Tail::of(self, data_len);
        let total = (HEAD + FRAME_LEN + self.payload.len() + tail.len + LENGTH) as u32;
        tail.put(&total.to_le_bytes());

        let mut head = [0; HEAD + FRAME_LEN];
        let words = [
            ENHANCED_PACKET_BLOCK,
            total,
            self.interface,
            (self.unix_ns >> 32) as u32,
            self.unix_ns as u32,
            data_len,
            self.original_len,
        ];
        let (block, frame) = head.split_at_mut(HEAD);
        for (place, word) in block.chunks_exact_mut(4).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        let (header, record) = frame.split_at_mut(PseudoHeader::LEN);
        header.copy_from_slice(PseudoHeader::new(payload_len).as_bytes());
        record.copy_from_slice(self.record.as_bytes());

        out.reserve(total as usize);
        out.extend_from_slice(&head);
        out.extend_from_slice(self.payload);
        out.extend_from_slice(tail.bytes());
    }
}

/// What stands behind a block's data: padding, options, and the block's length at last.
struct Tail {
    bytes: [u8; TAIL],
    len: usize,
}

impl Tail {
    fn of(packet: &Packet<'_>, data_len: u32) -> Self {
        let mut tail = Self {
            bytes: [0; TAIL],
            // Behind the padding, which is zero.
            len: (data_len.wrapping_neg() % 4) as usize,
        };
        if let Some(flags) = packet.flags {
            tail.option(FLAGS, &flags.to_le_bytes());
        }
        if let Some(dropcount) = packet.dropcount {
            tail.option(DROP_COUNT, &dropcount.to_le_bytes());
        }
        if packet.flags.is_some() || packet.dropcount.is_some() {
            tail.option(END_OF_OPTIONS, &[]);
        }
        tail
    }

    /// An option whose value needs no padding.
    fn option(&mut self, code: u16, value: &[u8]) {
        self.put(&code.to_le_bytes());
        self.put(&(value.len() as u16).to_le_bytes());
        self.put(value);
    }

    fn put(&mut self, bytes: &[u8]) {
        let end = self.len + bytes.len();
        if let Some(place) = self.bytes.get_mut(self.len..end) {
            place.copy_from_slice(bytes);
        }
        self.len = end;
    }

    fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;
    use std::time::Duration;

    use pcap_file::pcapng::PcapNgWriter;
    use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
    use pcap_file::pcapng::blocks::interface_description::{
        InterfaceDescriptionBlock, InterfaceDescriptionOption, InterfaceTsResolution,
    };
    use pcap_file::pcapng::blocks::section_header::SectionHeaderBlock;
    use pcap_file::{DataLink, Endianness};
    use proptest::prelude::*;
    use virtscope_record::{Body, Common, Notify};

    use super::*;

    /// The same packet as the library writes it.
    fn by_library(packet: &Packet<'_>) -> Vec<u8> {
        let section = SectionHeaderBlock {
            endianness: Endianness::Little,
            ..SectionHeaderBlock::default()
        };
        let mut writer = PcapNgWriter::with_section_header(Vec::new(), section).unwrap();
        for _ in 0..=packet.interface {
            let interface = InterfaceDescriptionBlock {
                linktype: DataLink::USER0,
                snaplen: 0,
                options: vec![InterfaceDescriptionOption::IfTsResol(
                    InterfaceTsResolution::NANO,
                )],
            };
            writer.write_pcapng_block(interface).unwrap();
        }
        let start = writer.get_ref().len();
        let mut data = PseudoHeader::new(packet.payload.len() as u32)
            .as_bytes()
            .to_vec();
        data.extend_from_slice(packet.record.as_bytes());
        data.extend_from_slice(packet.payload);
        let flags = packet.flags.map(EnhancedPacketOption::Flags);
        let dropcount = packet.dropcount.map(EnhancedPacketOption::DropCount);
        let block = EnhancedPacketBlock {
            interface_id: packet.interface,
            timestamp: Duration::from_nanos(packet.unix_ns),
            original_len: packet.original_len,
            data: Cow::Owned(data),
            options: flags.into_iter().chain(dropcount).collect(),
        };
        writer.write_pcapng_block(block).unwrap();
        writer.get_ref().get(start..).unwrap().to_vec()
    }

    proptest! {
        /// Byte for byte what the library writes, whatever the packet has.
        #[test]
        fn a_packet_is_written_as_the_library_does(
            interface in 0u32..4,
            unix_ns: u64,
            cut in 0u32..1000,
            payload in proptest::collection::vec(any::<u8>(), 0..300),
            flags: Option<u32>,
            dropcount: Option<u64>,
        ) {
            let record = Record::new(Common::default(), Body::Notify(Notify::default()));
            let packet = Packet {
                interface,
                unix_ns,
                original_len: (FRAME_LEN + payload.len()) as u32 + cut,
                record: &record,
                payload: &payload,
                flags,
                dropcount,
            };
            let mut ours = b"before".to_vec();
            packet.append(&mut ours);
            prop_assert_eq!(ours.strip_prefix(b"before").unwrap(), by_library(&packet));
        }
    }
}
