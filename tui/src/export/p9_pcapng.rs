//! 9P messages as exported PDUs in pcapng, which a stock Wireshark dissects.
//!
//! Each message is a packet of link type 252 (`LINKTYPE_WIRESHARK_UPPER_PDU`): tags
//! that say which dissector it is for, then the message. Wireshark finds its 9P
//! dissector by the TCP port 564, and joins the messages of one queue by the addresses,
//! which are made up: the client is `10.DEVICE.DEVICE.1`, and so on.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;

use anyhow::Context;
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption, InterfaceTsResolution,
};
use pcap_file::pcapng::blocks::section_header::{SectionHeaderBlock, SectionHeaderOption};
use pcap_file::{DataLink, Endianness};
use virtscope_captures::{ClockOffset, Item, Packet};
use virtscope_record::{Body, QueueId};

use super::Exporter;
use crate::commands::OUTPUT_FAILED;

/// `LINKTYPE_WIRESHARK_UPPER_PDU`.
const UPPER_PDU: u32 = 252;
/// 9P's TCP port.
const PORT_9P: u32 = 564;
/// The port that stands for the guest.
const CLIENT_PORT: u32 = 40_000;
/// The device type of the 9P transport (Linux `VIRTIO_ID_9P`).
const DEVICE_TYPE_9P: u16 = 9;
/// `epb_flags`, direction (pcapng §4.3.1).
const INBOUND: u32 = 1;
const OUTBOUND: u32 = 2;
/// Bytes of size, type and tag: less is no message.
const HEADER_LEN: usize = 7;
/// The most that Wireshark reads of a packet: it stops at one that is longer.
const LONGEST: usize = 262_144;

/// Writes 9P messages.
pub(super) struct P9Pcapng<W: Write> {
    out: PcapNgWriter<W>,
    clock: ClockOffset,
    /// The interface of each queue that is known to carry 9P.
    interfaces: HashMap<QueueId, u32>,
    names: BTreeMap<QueueId, String>,
    requests: u64,
    replies: u64,
    cut: u64,
    too_long: u64,
    headless: u64,
    other_queues: u64,
}

impl<W: Write> P9Pcapng<W> {
    pub(super) fn new(out: W) -> anyhow::Result<Self> {
        let section = SectionHeaderBlock {
            endianness: Endianness::Little,
            options: vec![SectionHeaderOption::UserApplication(
                concat!("virtscope ", env!("CARGO_PKG_VERSION")).into(),
            )],
            ..SectionHeaderBlock::default()
        };
        let out = PcapNgWriter::with_section_header(out, section).context(OUTPUT_FAILED)?;
        Ok(Self {
            out,
            clock: ClockOffset::new(0, 0),
            interfaces: HashMap::new(),
            names: BTreeMap::new(),
            requests: 0,
            replies: 0,
            cut: 0,
            too_long: 0,
            headless: 0,
            other_queues: 0,
        })
    }

    fn packet(&mut self, packet: &Packet<'_>) -> anyhow::Result<()> {
        let record = &packet.record;
        let queue = record.queue();
        let (is_request, length) = match record.body() {
            Ok(Body::QueueFacts(facts)) => {
                if facts.device_type == DEVICE_TYPE_9P {
                    self.declare(queue)?;
                }
                return Ok(());
            }
            Ok(Body::Add(add)) => (true, add.readable_bytes),
            Ok(Body::Used(used)) if used.error == 0 => {
                (false, used.used_length.min(used.writable_bytes))
            }
            _ => return Ok(()),
        };
        let Some(interface) = self.interfaces.get(&queue).copied() else {
            self.other_queues += 1;
            return Ok(());
        };
        if packet.payload.len() < HEADER_LEN {
            // The buffer of a request that was given up comes back empty.
            self.headless += u64::from(length > 0);
            return Ok(());
        }
        let message = message(packet.payload);
        let whole = whole_length(message, length);
        let mut data = tags(queue, is_request);
        let original = data.len() as u64 + u64::from(whole);
        data.extend_from_slice(message);
        self.cut += u64::from((message.len() as u64) < u64::from(whole));
        self.too_long += u64::from(data.len() > LONGEST);
        data.truncate(LONGEST);
        *(if is_request {
            &mut self.requests
        } else {
            &mut self.replies
        }) += 1;
        let direction = if is_request { OUTBOUND } else { INBOUND };
        self.out
            .write_pcapng_block(EnhancedPacketBlock {
                interface_id: interface,
                timestamp: std::time::Duration::from_nanos(self.clock.to_unix_ns(record.time())),
                original_len: u32::try_from(original).unwrap_or(u32::MAX),
                data: data.into(),
                options: vec![EnhancedPacketOption::Flags(direction)],
            })
            .context(OUTPUT_FAILED)?;
        Ok(())
    }

    fn declare(&mut self, queue: QueueId) -> anyhow::Result<()> {
        if self.interfaces.contains_key(&queue) {
            return Ok(());
        }
        let name = self
            .names
            .get(&queue)
            .filter(|name| !name.is_empty())
            .cloned()
            .unwrap_or_else(|| queue.to_string());
        let interface = InterfaceDescriptionBlock {
            linktype: DataLink::from(UPPER_PDU),
            snaplen: 0,
            options: vec![
                InterfaceDescriptionOption::IfName(name.into()),
                InterfaceDescriptionOption::IfTsResol(InterfaceTsResolution::NANO),
            ],
        };
        self.out
            .write_pcapng_block(interface)
            .context(OUTPUT_FAILED)?;
        let number = u32::try_from(self.interfaces.len()).unwrap_or(u32::MAX);
        self.interfaces.insert(queue, number);
        Ok(())
    }
}

impl<W: Write> Exporter for P9Pcapng<W> {
    fn item(&mut self, item: &Item<'_>) -> anyhow::Result<()> {
        match item {
            Item::Section(section) => {
                if let Some(info) = &section.info {
                    self.clock = info.clock;
                }
            }
            Item::Interface(interface) => {
                if let Some(queue) = interface.queue {
                    self.names.insert(queue, interface.name.clone());
                }
            }
            Item::Record(packet) => self.packet(packet)?,
            Item::Corrupt { .. } | Item::Statistics(_) | Item::End(_) => {}
        }
        Ok(())
    }

    fn finish(&mut self) -> anyhow::Result<Vec<String>> {
        self.out.get_mut().flush().context(OUTPUT_FAILED)?;
        let mut lines = vec![format!(
            "{} requests and {} replies of {} 9P queues",
            self.requests,
            self.replies,
            self.interfaces.len()
        )];
        let remarks = [
            (
                self.cut,
                "messages are cut: record with a larger --snaplen to have them whole",
            ),
            (
                self.too_long,
                "messages are cut: Wireshark reads no packet of more than 262144 bytes",
            ),
            (
                self.headless,
                "messages were left out: not even their header was captured",
            ),
            (
                self.other_queues,
                "buffers were left out: their queue carries no 9P, or its facts are missing",
            ),
        ];
        for (count, remark) in remarks {
            if count > 0 {
                lines.push(format!("{count} {remark}"));
            }
        }
        Ok(lines)
    }
}

/// The message in a buffer: bytes behind it are no part of it.
fn message(payload: &[u8]) -> &[u8] {
    let size = size_of_message(payload);
    payload.get(..size as usize).unwrap_or(payload)
}

/// How long the message is, by itself and by its buffer. One that says it is longer
/// than its buffer is as long as that.
fn whole_length(message: &[u8], buffer: u32) -> u32 {
    let captured = u32::try_from(message.len()).unwrap_or(u32::MAX);
    size_of_message(message).min(buffer).max(captured)
}

fn size_of_message(payload: &[u8]) -> u32 {
    let size = payload.first_chunk().map(|size| u32::from_le_bytes(*size));
    // A size that leaves no room for the header is none: Wireshark shall see it.
    size.filter(|size| *size as usize >= HEADER_LEN)
        .unwrap_or(u32::MAX)
}

/// A tag of an exported PDU: type, length, value padded to four bytes.
fn tag(number: u16, value: &[u8], into: &mut Vec<u8>) {
    let padded = value.len().next_multiple_of(4);
    into.extend_from_slice(&number.to_be_bytes());
    into.extend_from_slice(&u16::try_from(padded).unwrap_or(u16::MAX).to_be_bytes());
    let end = into.len() + padded;
    into.extend_from_slice(value);
    into.resize(end, 0);
}

/// What stands in front of a message (Wireshark `exported_pdu_tlvs.h`).
fn tags(queue: QueueId, is_request: bool) -> Vec<u8> {
    const END: u16 = 0;
    const DISSECTOR_TABLE: u16 = 14;
    const IPV4_SOURCE: u16 = 20;
    const IPV4_DESTINATION: u16 = 21;
    const PORT_TYPE: u16 = 24;
    const SOURCE_PORT: u16 = 25;
    const DESTINATION_PORT: u16 = 26;
    const DISSECTOR_TABLE_VALUE: u16 = 32;
    const PORT_TYPE_TCP: u32 = 2;
    let [high, low] = queue.device.to_be_bytes();
    let client = ([10, high, low, 1], CLIENT_PORT + u32::from(queue.index));
    let server = ([10, high, low, 2], PORT_9P);
    let (from, to) = if is_request {
        (client, server)
    } else {
        (server, client)
    };
    let mut bytes = Vec::with_capacity(80);
    tag(DISSECTOR_TABLE, b"tcp.port", &mut bytes);
    tag(DISSECTOR_TABLE_VALUE, &PORT_9P.to_be_bytes(), &mut bytes);
    tag(IPV4_SOURCE, &from.0, &mut bytes);
    tag(IPV4_DESTINATION, &to.0, &mut bytes);
    tag(PORT_TYPE, &PORT_TYPE_TCP.to_be_bytes(), &mut bytes);
    tag(SOURCE_PORT, &from.1.to_be_bytes(), &mut bytes);
    tag(DESTINATION_PORT, &to.1.to_be_bytes(), &mut bytes);
    tag(END, &[], &mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_ends_where_it_says() {
        assert_eq!(
            message(b"\x08\0\0\0\x78\x01\0XYZ"),
            b"\x08\0\0\0\x78\x01\0X"
        );
        assert_eq!(
            message(b"\x09\0\0\0\x78\x01\0X").len(),
            8,
            "cut by the capture"
        );
        assert_eq!(message(b"\x03\0\0\0\x78\x01\0X").len(), 8, "no size at all");
        assert_eq!(whole_length(b"\x09\0\0\0\x78\x01\0X", 100), 9);
        assert_eq!(whole_length(b"\x09\0\0\0\x78\x01\0X", 8), 8);
    }

    #[test]
    fn tags_are_padded() {
        let mut bytes = Vec::new();
        tag(14, b"tcp.port", &mut bytes);
        tag(99, b"abcde", &mut bytes);
        assert_eq!(bytes, b"\0\x0e\0\x08tcp.port\0\x63\0\x08abcde\0\0\0");
    }
}
