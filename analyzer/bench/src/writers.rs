//! Everybody who writes a capture, each the same records. All say how many bytes came out.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{Cursor, Write};
use std::time::Duration;

use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption, InterfaceTsResolution,
};
use pcap_file::pcapng::blocks::section_header::SectionHeaderBlock;
use pcap_file::{DataLink, Endianness};
use smallvec::SmallVec;
use virtscope_captures::{
    CaptureInfo, CaptureReader, CaptureWriter, ClockOffset, Item, Merge, MergeConfig,
};
use virtscope_record::{Flags, Kind, PseudoHeader, QueueId, Record, Timestamp};

/// How long the stage that puts records in order holds each, as a tracer has it.
const WINDOW_NS: u64 = 60_000_000;
/// The most that it holds.
const CAPACITY: usize = 1 << 18;
/// How often a tracer looks.
const LOOK_NS: u64 = 5_000_000;
/// Bytes that are gathered before they are handed on.
const BATCH: usize = 64 * 1024;

/// A record with what was kept of its buffer.
type Owned = (Record, Box<[u8]>);
/// The same as a tracer holds it.
type Held = (Record, SmallVec<[u8; 32]>);

/// The records of a capture, as a tracer would bring them.
#[derive(Debug)]
pub struct Records(Vec<Owned>);

/// Counts what is written, and keeps nothing.
#[derive(Debug, Default)]
struct Sink(u64);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Records {
    /// All of the capture in `bytes` but those that a file repeats for its own sake.
    pub fn of(bytes: &[u8]) -> Self {
        let mut reader = CaptureReader::new(Cursor::new(bytes)).expect("a capture");
        let mut records = Vec::new();
        loop {
            match reader.next_item().expect("a sound capture") {
                Item::Record(packet) if !packet.record.flags().contains(Flags::REPEATED) => {
                    records.push((packet.record, packet.payload.into()));
                }
                Item::End(_) => return Self(records),
                _ => {}
            }
        }
    }

    /// How many they are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// `pcap-file`: a packet each, with the option that says its direction.
    pub fn by_pcap_file(&self) -> u64 {
        let section = SectionHeaderBlock {
            endianness: Endianness::Little,
            ..SectionHeaderBlock::default()
        };
        let out = Vec::with_capacity(2 * BATCH);
        let mut writer = PcapNgWriter::with_section_header(out, section).expect("a section");
        let mut interfaces: BTreeMap<QueueId, u32> = BTreeMap::new();
        let mut sink = Sink::default();
        let mut frame = Vec::new();
        for (record, payload) in &self.0 {
            let next = interfaces.len() as u32;
            let interface = *interfaces.entry(record.queue()).or_insert(next);
            if interface == next {
                writer
                    .write_pcapng_block(InterfaceDescriptionBlock {
                        linktype: DataLink::USER0,
                        snaplen: 0,
                        options: vec![InterfaceDescriptionOption::IfTsResol(
                            InterfaceTsResolution::NANO,
                        )],
                    })
                    .expect("an interface");
            }
            frame.clear();
            frame.extend_from_slice(PseudoHeader::new(payload.len() as u32).as_bytes());
            frame.extend_from_slice(record.as_bytes());
            frame.extend_from_slice(payload);
            let direction = match record.kind().is_ok_and(Kind::is_towards_device) {
                true => 2,
                false => 1,
            };
            writer
                .write_pcapng_block(EnhancedPacketBlock {
                    interface_id: interface,
                    timestamp: Duration::from_nanos(record.time().as_nanos()),
                    original_len: frame.len() as u32,
                    data: Cow::Borrowed(&frame),
                    options: vec![EnhancedPacketOption::Flags(direction)],
                })
                .expect("a packet");
            if writer.get_ref().len() >= BATCH {
                sink.write_all(writer.get_ref()).expect("a sink");
                writer.get_mut().clear();
            }
        }
        sink.write_all(writer.get_ref()).expect("a sink");
        sink.0
    }

    /// Ours: the same, with the accounts that a capture ends with.
    pub fn by_us(&self) -> u64 {
        let mut writer = writer();
        for (record, payload) in &self.0 {
            writer.write(record, payload).expect("a sink");
        }
        written(writer)
    }

    /// Ours: all that a tracer does with a record. It is copied out of the buffer, held
    /// until none that is older can come, and written.
    pub fn in_order_by_us(&self) -> u64 {
        let mut writer = writer();
        let mut merge: Merge<Held> = Merge::new(MergeConfig::new(WINDOW_NS, CAPACITY));
        let mut looked = Timestamp::default();
        for (record, payload) in &self.0 {
            let item = (*record, SmallVec::from_slice(payload));
            if let Some((record, payload)) = merge.push_record(record, item) {
                writer.write(&record, &payload).expect("a sink");
            }
            if record.time().nanos_since(looked) >= LOOK_NS {
                looked = record.time();
                while let Some((record, payload)) = merge.pop_due(looked) {
                    writer.write(&record, &payload).expect("a sink");
                }
            }
        }
        while let Some((record, payload)) = merge.pop() {
            writer.write(&record, &payload).expect("a sink");
        }
        written(writer)
    }
}

fn writer() -> CaptureWriter<Sink> {
    let info = CaptureInfo::new(virtscope_captures::MAX_SNAPLEN, ClockOffset::new(0, 0));
    CaptureWriter::new(Sink::default(), info).expect("a sink")
}

fn written(writer: CaptureWriter<Sink>) -> u64 {
    writer.finish_sized().expect("a sink").1
}
