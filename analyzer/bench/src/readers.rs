//! Everybody who reads a capture, each over the same bytes. All say how many
//! records they came across, so that nobody can leave some out.

use std::io::Cursor;

use pcap_file::pcapng::{Block, PcapNgParser, PcapNgReader};
use virtscope_analyzer::{Analyzer, CaptureEnd, Options};
use virtscope_captures::{CaptureReader, Item};

/// What a report needs and no more: no life is kept, no ring is drawn.
fn options() -> Options {
    Options {
        recent_lives: 0,
        keep_bytes: 0,
        draw_rings: false,
        ..Options::default()
    }
}

/// `pcap-file`: every block through its reader.
pub fn pcap_file_blocks(bytes: &[u8]) -> u64 {
    let mut reader = PcapNgReader::new(Cursor::new(bytes)).expect("a capture");
    let mut packets = 0;
    while let Some(block) = reader.next_block() {
        let (block, _) = block.expect("a sound block");
        packets += u64::from(matches!(block, Block::EnhancedPacket(_)));
    }
    packets
}

/// `pcap-file`: every block as raw bytes, straight from memory.
pub fn pcap_file_raw(mut bytes: &[u8]) -> u64 {
    const ENHANCED_PACKET: u32 = 6;
    let (rest, mut parser) = PcapNgParser::new(bytes).expect("a capture");
    bytes = rest;
    let mut packets = 0;
    while !bytes.is_empty() {
        let (rest, block) = parser.next_raw_block(bytes).expect("a sound block");
        packets += u64::from(block.type_ == ENHANCED_PACKET);
        bytes = rest;
    }
    packets
}

/// Ours: every record and what came with it.
pub fn read(bytes: &[u8]) -> u64 {
    let mut reader = CaptureReader::new(Cursor::new(bytes)).expect("a capture");
    let mut records = 0;
    loop {
        match reader.next_item().expect("a sound capture") {
            Item::Record(_) => records += 1,
            Item::End(_) => return records,
            _ => {}
        }
    }
}

/// Ours: the whole analysis and its report.
pub fn analyse(bytes: &[u8]) -> u64 {
    analyse_with(options(), bytes)
}

/// The same, but what is wrong is not looked for.
pub fn analyse_without_findings(bytes: &[u8]) -> u64 {
    let options = Options {
        look_for_findings: false,
        ..options()
    };
    analyse_with(options, bytes)
}

fn analyse_with(options: Options, bytes: &[u8]) -> u64 {
    let mut reader = CaptureReader::new(Cursor::new(bytes)).expect("a capture");
    let mut analyzer = Analyzer::new(options);
    loop {
        match &reader.next_item() {
            Ok(Item::Record(packet)) => analyzer.push(&packet.record, packet.payload),
            Ok(Item::End(_)) => return stored(analyzer),
            Ok(_) => {}
            Err(error) => panic!("no sound capture: {error}"),
        }
    }
}

fn stored(mut analyzer: Analyzer) -> u64 {
    analyzer.finish();
    let report = analyzer.report(&CaptureEnd::default());
    assert_eq!(report.records.lost, 0, "{report}");
    report.records.stored
}
