//! Our 9P decoder against Wireshark's: the messages of a real run, one by one.

#[path = "common/program.rs"]
mod program;
#[path = "common/tree.rs"]
mod tree;

use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use pcap_file::pcap::{PcapHeader, PcapPacket, PcapWriter};
use pcap_file::{DataLink, Endianness};
use program::{is_there, piped};
use tree::{Comparison, assert_sound, generate, options, until};
use virtscope::demo::run;
use virtscope_analyzer::p9::{Message, MessageType};
use virtscope_captures::{CaptureReader, Item, create_file};
use virtscope_driver::p9::message::Type;
use virtscope_record::Kind;

/// `LINKTYPE_WIRESHARK_UPPER_PDU`.
const UPPER_PDU: u32 = 252;
/// 9P's TCP port, by which Wireshark finds its dissector.
const PORT_9P: u32 = 564;

/// Messages compared: some of every kind come long before.
const MESSAGES: usize = 20_000;

/// A tag of an exported PDU: type, length, value padded to four bytes.
fn tlv(tag: u16, value: &[u8]) -> Vec<u8> {
    let padded = value.len().next_multiple_of(4);
    let mut bytes = tag.to_be_bytes().to_vec();
    bytes.extend_from_slice(&(padded as u16).to_be_bytes());
    bytes.extend_from_slice(value);
    bytes.resize(4 + padded, 0);
    bytes
}

/// The message as an exported PDU between a client and a server on port 564.
fn exported(message: &[u8], is_request: bool) -> Vec<u8> {
    const TABLE: u16 = 14;
    const IPV4_SOURCE: u16 = 20;
    const IPV4_DESTINATION: u16 = 21;
    const PORT_TYPE: u16 = 24;
    const SOURCE_PORT: u16 = 25;
    const DESTINATION_PORT: u16 = 26;
    const TABLE_VALUE: u16 = 32;
    let client = ([10, 0, 0, 1], 40_000u32);
    let server = ([10, 0, 0, 2], PORT_9P);
    let (from, to) = if is_request {
        (client, server)
    } else {
        (server, client)
    };
    let mut bytes = [
        tlv(TABLE, b"tcp.port"),
        tlv(TABLE_VALUE, &PORT_9P.to_be_bytes()),
        tlv(IPV4_SOURCE, &from.0),
        tlv(IPV4_DESTINATION, &to.0),
        tlv(PORT_TYPE, &2u32.to_be_bytes()),
        tlv(SOURCE_PORT, &from.1.to_be_bytes()),
        tlv(DESTINATION_PORT, &to.1.to_be_bytes()),
        vec![0; 4],
    ]
    .concat();
    bytes.extend_from_slice(message);
    bytes
}

/// Type, tag and fid; the fid only where the message has one and nothing else
/// by which Wireshark would call it.
type Seen = (u8, u16, Option<u32>);

/// The messages of a run on a small ring, whole, in the order they were
/// recorded.
fn record(directory: &Path, comparison: &Comparison<'_>, capture: &Path) -> Vec<(bool, Vec<u8>)> {
    let mut options = options(directory);
    // Replies whole, but for the longest.
    options.snaplen = 8192;
    options.rate = 4000;
    let file = create_file(capture).unwrap();
    let summary = run(&options, Some(Box::new(file)), comparison, |running| {
        until(running, Duration::from_secs(4), || comparison.is_complete());
    })
    .unwrap();
    assert_sound(&summary);
    let mut reader = CaptureReader::new(File::open(capture).unwrap()).unwrap();
    let mut messages = Vec::new();
    loop {
        match reader.next_item().unwrap() {
            Item::Record(packet) => {
                let is_request = match packet.record.kind() {
                    Ok(Kind::Add) => true,
                    Ok(Kind::Used) => false,
                    _ => continue,
                };
                // A cut message is no PDU that Wireshark could dissect whole.
                if packet.cut() == 0 && messages.len() < MESSAGES {
                    messages.push((is_request, packet.payload.to_vec()));
                }
            }
            Item::End(_) => return messages,
            _ => {}
        }
    }
}

fn ours(message: &[u8]) -> Seen {
    let message = Message::decode(message, message.len() as u32).unwrap();
    assert!(
        matches!(message.end(), virtscope_analyzer::p9::End::Whole),
        "{message}: {}",
        message.end()
    );
    (
        message.kind.0,
        message.tag.0,
        message.fid().map(|fid| fid.0),
    )
}

fn wiresharks(pcap: &Path) -> Vec<Seen> {
    let mut tshark = Command::new("tshark");
    tshark
        .arg("-r")
        .arg(pcap)
        .args(["-T", "fields", "-E", "occurrence=f"])
        .args(["-e", "9p.msgtype", "-e", "9p.tag"])
        .args(["-e", "9p.fid", "-e", "9p.dfid", "-e", "_ws.malformed"]);
    let ended = program::run(piped(&mut tshark));
    assert_eq!(ended.code, Some(0), "tshark: {}", ended.stderr);
    let lines = ended.text().lines();
    lines
        .map(|line| {
            let fields: Vec<&str> = line.split('\t').collect();
            let [kind, tag, fid, dfid, malformed] = fields[..] else {
                panic!("tshark printed {line:?}");
            };
            // Wireshark 4.0 looks for Tlock's flags in Tgetlock and its reply, which have
            // none, and so misses their ends.
            let getlock = Type::Getlock as u8;
            let misread = [getlock, getlock + 1].map(|kind| kind.to_string());
            let misread = misread.iter().any(|each| each == kind);
            assert!(
                malformed.is_empty() || misread,
                "Wireshark calls {line:?} malformed"
            );
            // The first of the two that the message has; in Tlink that is the directory.
            let (first, second) = match kind == (Type::Link as u8).to_string() {
                true => (dfid, fid),
                false => (fid, dfid),
            };
            let fid = Some(first).filter(|fid| !fid.is_empty()).or(Some(second));
            (
                kind.parse().unwrap(),
                number(tag) as u16,
                fid.filter(|fid| !fid.is_empty()).map(number),
            )
        })
        .collect()
}

/// Wireshark prints some numbers as hexadecimal.
fn number(text: &str) -> u32 {
    match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).unwrap(),
        None => text.parse().unwrap(),
    }
}

#[test]
fn every_message_is_what_wireshark_says() {
    if !is_there("tshark", "tshark") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let tree = dir.path().join("tree");
    let files = generate(&tree);
    let messages = record(
        &tree,
        &Comparison::with(&files),
        &dir.path().join("x.pcapng"),
    );
    assert!(messages.len() > 1000, "only {} messages", messages.len());

    let pcap = dir.path().join("9p.pcap");
    let header = PcapHeader {
        datalink: DataLink::from(UPPER_PDU),
        endianness: Endianness::Little,
        ..PcapHeader::default()
    };
    let mut writer = PcapWriter::with_header(File::create(&pcap).unwrap(), header).unwrap();
    for (number, (is_request, message)) in messages.iter().enumerate() {
        let data = exported(message, *is_request);
        let length = data.len() as u32;
        let packet = PcapPacket::new(Duration::from_micros(number as u64), length, data).unwrap();
        writer.write_packet(&packet).unwrap();
    }
    drop(writer);

    let theirs = wiresharks(&pcap);
    assert_eq!(theirs.len(), messages.len());
    let mut kinds = std::collections::BTreeSet::new();
    for (number, ((_, message), theirs)) in messages.iter().zip(theirs).enumerate() {
        let ours = ours(message);
        kinds.insert(ours.0);
        assert_eq!(ours, theirs, "message {number}, {:?}", MessageType(ours.0));
    }
    // Every request that the client knows, its reply, and an Rlerror.
    for kind in Type::ALL {
        // Nobody is asked who they are, so the demo does not begin to tell.
        if kind == Type::Auth {
            continue;
        }
        assert!(kinds.contains(&(kind as u8)), "no {kind:?} among them");
        assert!(kinds.contains(&(kind as u8 + 1)), "no reply to {kind:?}");
    }
    assert!(kinds.contains(&MessageType::Rlerror.0), "no Rlerror");
}
