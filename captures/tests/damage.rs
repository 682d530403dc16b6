//! Captures that are cut, broken, foreign or of another time.

mod support;

use std::io::{self, ErrorKind, Read};

use proptest::prelude::*;
use rstest::rstest;
use support::*;
use virtscope_captures::{
    CaptureReader, Damage, End, Item, Ledger, PacketProblem, ReadError, Selection,
};
use virtscope_record::{FRAME_LEN, Flags, HeaderError, PseudoHeader};

/// The blocks of a little-endian capture, as (type, start, length).
fn blocks(bytes: &[u8]) -> Vec<(u32, usize, usize)> {
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let len = word(at + 4) as usize;
        found.push((word(at), at, len));
        at += len;
    }
    found
}

/// Where the data of packet `index` begin.
fn packet_data(bytes: &[u8], index: usize) -> usize {
    let mut packets = blocks(bytes).into_iter().filter(|(kind, ..)| *kind == 6);
    packets.nth(index).unwrap().1 + 28
}

fn block(kind: u32, body: &[u8]) -> Vec<u8> {
    let len = (12 + body.len() as u32).to_le_bytes();
    [&kind.to_le_bytes(), &len, body, &len].concat()
}

/// A section header without options.
fn section() -> Vec<u8> {
    let mut body = vec![0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0];
    body.extend([0xff; 8]);
    block(0x0a0d_0d0a, &body)
}

/// A packet block of `interface` with `data`, a multiple of 4 bytes.
fn packet(interface: u32, data: &[u8]) -> Vec<u8> {
    let len = (data.len() as u32).to_le_bytes();
    let head = [interface.to_le_bytes(), [0; 4], [0; 4], len, len].concat();
    block(6, &[&head, data].concat())
}

#[test]
fn cut_anywhere_it_yields_what_came_before() {
    let (records, bytes) = small_capture();
    let ends: Vec<_> = blocks(&bytes)
        .into_iter()
        .filter(|(kind, ..)| *kind == 6)
        .map(|(_, start, len)| start + len)
        .collect();
    for cut in 1..bytes.len() {
        let contents = read(&bytes[..cut]).unwrap();
        let whole = ends.iter().filter(|end| **end <= cut).count();
        assert_eq!(contents.records.len(), whole, "cut at {cut}");
        for ((found, _), (written, _)) in contents.records.iter().zip(&records) {
            assert_eq!(found, written, "cut at {cut}");
        }
        let Some(End::Truncated { offset, leftover }) = contents.end else {
            panic!("cut at {cut}: {:?}", contents.end);
        };
        assert_eq!(offset + leftover, cut as u64);
    }
    assert_eq!(read(&bytes).unwrap().end, Some(End::Complete));
}

#[test]
fn a_cut_capture_knows_no_tail() {
    let (_, bytes) = small_capture();
    let (_, start, _) = blocks(&bytes)[8];
    let mut ledger = Ledger::new(Selection::WHOLE);
    for (record, _) in read(&bytes[..start]).unwrap().records {
        ledger.observe(&record);
    }
    assert!(!ledger.tail_known());
}

#[test]
fn a_capture_reads_however_it_arrives() {
    struct Drip<'a>(&'a [u8]);
    impl Read for Drip<'_> {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            let len = buf.len().min(7);
            self.0.read(&mut buf[..len])
        }
    }
    let (records, bytes) = small_capture();
    let mut reader = CaptureReader::new(Drip(&bytes)).unwrap();
    let mut found = 0;
    loop {
        match reader.next_item().unwrap() {
            Item::Record(packet) => {
                assert_eq!(packet.record, records[found].0);
                found += 1;
            }
            Item::End(end) => break assert_eq!(end, End::Complete),
            _ => {}
        }
    }
    assert_eq!(found, records.len());
}

#[test]
fn trouble_of_the_input_is_told() {
    #[derive(Debug)]
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(ErrorKind::PermissionDenied.into())
        }
    }
    let error = CaptureReader::new(Broken).unwrap_err();
    assert!(matches!(error, ReadError::Input(_)), "{error}");
}

#[rstest]
#[case(b"", "empty")]
#[case(b"\x1f\x8b\x08\0\0\0", "gunzip")]
#[case(b"\xd4\xc3\xb2\xa1\x02\0\x04\0", "classic pcap")]
#[case(b"{\"json\": 1}", "text")]
#[case(b"\x7fELF\x02\x01", "7f 45 4c 46")]
fn other_files_are_named(#[case] bytes: &[u8], #[case] word: &str) {
    let error = CaptureReader::new(bytes).unwrap_err();
    assert!(error.to_string().contains(word), "{error}");
    assert!(matches!(error, ReadError::Empty | ReadError::NotPcapng(_)));
}

#[test]
fn a_newer_capture_asks_for_an_update() {
    let (_, mut bytes) = small_capture();
    let at = bytes
        .windows(8)
        .position(|text| text == b"format=1")
        .unwrap();
    bytes[at + 7] = b'9';
    let error = read(&bytes).unwrap_err();
    assert!(matches!(error, ReadError::NewerFormat { found: 9 }));
    assert!(error.to_string().contains("update virtscope"), "{error}");
}

#[test]
fn a_newer_record_without_a_section_of_ours_asks_for_an_update() {
    let (_, bytes) = small_capture();
    let (_, interface, len) = blocks(&bytes)[1];
    let mut data = PseudoHeader::new(0).as_bytes().to_vec();
    data.resize(FRAME_LEN, 0);
    data[2] = 7;
    let foreign = [
        section(),
        bytes[interface..interface + len].to_vec(),
        packet(0, &data),
    ]
    .concat();
    let error = read(&foreign).unwrap_err();
    assert!(matches!(error, ReadError::NewerFormat { found: 7 }));
}

#[test]
fn broken_records_are_counted_and_skipped() {
    let (records, bytes) = small_capture();
    let broken = |index: usize, at: usize, byte: u8| {
        let mut bytes = bytes.clone();
        let data = packet_data(&bytes, index);
        bytes[data + at] = byte;
        let contents = read(&bytes).unwrap();
        assert_eq!(contents.records.len(), records.len() - 1);
        assert_eq!(contents.end, Some(End::Complete));
        assert_eq!(contents.corrupt.len(), 1);
        contents.corrupt[0]
    };
    let magic = HeaderError::Magic { found: *b"!Q" };
    assert_eq!(broken(0, 0, b'!'), (1, PacketProblem::Header(magic)));
    let version = HeaderError::Version { found: 5 };
    assert_eq!(broken(1, 2, 5), (2, PacketProblem::Header(version)));
    let length = PacketProblem::Length {
        expected: 72 + 9,
        found: 72 + 8,
    };
    assert_eq!(broken(1, 4, 9), (2, length));
    let (number, problem) = broken(3, 8 + 22, 9);
    assert!(matches!(problem, PacketProblem::Queue { .. }), "{problem}");
    assert_eq!(number, 4);
}

#[test]
fn broken_blocks_inside_sound_frames_are_skipped() {
    let (records, bytes) = small_capture();
    let (_, start, _) = blocks(&bytes)
        .into_iter()
        .find(|(kind, ..)| *kind == 6)
        .unwrap();
    let mut undeclared = bytes.clone();
    undeclared[start + 8] = 77;
    let contents = read(&undeclared).unwrap();
    let problem = PacketProblem::Interface { interface: 77 };
    assert_eq!(contents.corrupt, [(1, problem)]);

    let mut longer_than_it_was = bytes.clone();
    longer_than_it_was[start + 20] = 0xff;
    longer_than_it_was[start + 21] = 0xff;
    let contents = read(&longer_than_it_was).unwrap();
    assert_eq!(contents.corrupt, [(1, PacketProblem::Block)]);
    assert_eq!(contents.records.len(), records.len() - 1);
}

#[test]
fn a_broken_interface_keeps_its_number() {
    let (_, bytes) = small_capture();
    let (_, start, _) = blocks(&bytes)[1];
    let mut broken = bytes.clone();
    broken[start + 10] = 1; // reserved, and no longer zero
    let contents = read(&broken).unwrap();
    assert_eq!(contents.names, ["", "virtio1/requests"]);
    assert_eq!(contents.foreign, 4);
    assert_eq!(contents.records.len(), 3);
}

#[test]
fn without_frames_there_is_no_going_on() {
    let (_, bytes) = small_capture();
    let (_, start, len) = blocks(&bytes)[3];
    let damage = |at: usize, byte: u8| {
        let mut bytes = bytes.clone();
        bytes[at] = byte;
        let contents = read(&bytes).unwrap();
        assert_eq!(contents.records.len(), 1, "what came before stays");
        match contents.end {
            Some(End::Damaged { offset, damage }) if offset == start as u64 => damage,
            other => panic!("{other:?}"),
        }
    };
    let first = len as u32;
    assert_eq!(damage(start + 4, 3), Damage::Length { len: 3 });
    let last = first & !0xff | 1;
    assert_eq!(
        damage(start + len - 4, 1),
        Damage::LengthMismatch { first, last }
    );
    let huge = u32::from(0xf0u8) << 24 | first;
    assert_eq!(damage(start + 7, 0xf0), Damage::Length { len: huge });
}

#[test]
fn statistics_that_do_not_add_up_are_not_believed() {
    let (_, mut bytes) = small_capture();
    let (_, start, _) = blocks(&bytes)
        .into_iter()
        .find(|(kind, ..)| *kind == 5)
        .unwrap();
    // Behind the fixed part and three options of 12 bytes: isb_ifdrop.
    bytes[start + 8 + 12 + 36 + 4] ^= 1;
    let contents = read(&bytes).unwrap();
    assert_eq!(contents.statistics[0].totals, None);
    assert!(contents.statistics[1].totals.is_some());
}

#[test]
fn interfaces_without_end_are_told() {
    let ethernet = block(1, &[1, 0, 0, 0, 0, 0, 0, 0]);
    let many = [section(), ethernet.repeat((1 << 16) + 1)].concat();
    let damage = Damage::Interfaces { max: 1 << 16 };
    match read(&many).unwrap().end {
        Some(End::Damaged { damage: found, .. }) => assert_eq!(found, damage),
        other => panic!("{other:?}"),
    }
}

#[test]
fn another_pcapng_version_is_told() {
    let (_, mut bytes) = small_capture();
    bytes[12] = 2;
    let contents = read(&bytes).unwrap();
    let damage = Damage::PcapngVersion { major: 2 };
    assert_eq!(contents.end, Some(End::Damaged { offset: 0, damage }));
}

#[test]
fn a_capture_of_others_is_told() {
    let ethernet = block(1, &[1, 0, 0, 0, 0, 0, 0, 0]);
    let foreign = [
        section(),
        ethernet.clone(),
        packet(0, &[0; 60]),
        packet(0, &[0; 8]),
    ]
    .concat();
    let error = read(&foreign).unwrap_err();
    assert!(matches!(
        error,
        ReadError::NoInterface {
            interfaces: 1,
            packets: 2
        }
    ));
    // Beside ours, they are merely skipped.
    let (records, bytes) = small_capture();
    let mixed = [bytes.clone(), ethernet, packet(2, &[0; 60])].concat();
    let contents = read(&mixed).unwrap();
    assert_eq!(
        (contents.records.len(), contents.foreign),
        (records.len(), 1)
    );
    assert_eq!(contents.end, Some(End::Complete));
}

#[test]
fn a_comment_is_enough_to_know_our_interfaces() {
    let (records, bytes) = small_capture();
    let rest = &bytes[blocks(&bytes)[0].2..];
    let contents = read(&[section().as_slice(), rest].concat()).unwrap();
    assert_eq!(contents.records.len(), records.len());
    assert_eq!(contents.end, Some(End::Complete));
}

/// The capture as a big-endian machine's pcapng would hold it; the packets'
/// data, being ours, stay as they are.
fn big_endian(bytes: &[u8]) -> Vec<u8> {
    let mut out = bytes.to_vec();
    for (kind, start, len) in blocks(bytes) {
        let end = start + len;
        let mut words = vec![start, start + 4, end - 4];
        let fixed = match kind {
            0x0a0d_0d0a => {
                words.push(start + 8);
                out[start + 12..start + 14].reverse();
                16
            }
            1 => {
                out[start + 8..start + 10].reverse();
                words.push(start + 12);
                8
            }
            5 => {
                words.extend([start + 8, start + 12, start + 16]);
                12
            }
            6 => {
                words.extend((0..5).map(|n| start + 8 + 4 * n));
                let at = start + 20;
                let len = u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
                20 + (len as usize).next_multiple_of(4)
            }
            other => panic!("block type {other}"),
        };
        for at in words {
            out[at..at + 4].reverse();
        }
        let mut at = start + 8 + fixed;
        while at < end - 4 {
            let half = |at: usize| usize::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]));
            let (code, len) = (half(at), half(at + 2));
            out[at..at + 2].reverse();
            out[at + 2..at + 4].reverse();
            let value = at + 4..at + 4 + len;
            match (kind, code) {
                (5, 2 | 3) => {
                    out[value.start..value.start + 4].reverse();
                    out[value.start + 4..value.end].reverse();
                }
                (5, 4..=8) | (6, 2 | 4) => out[value].reverse(),
                _ => {}
            }
            at += 4 + len.next_multiple_of(4);
        }
    }
    out
}

#[test]
fn big_endian_sections_read_too() {
    let (_, bytes) = small_capture();
    let little = read(&bytes).unwrap();
    let big = read(&big_endian(&bytes)).unwrap();
    assert_eq!(big.end, Some(End::Complete));
    assert_eq!(big.records, little.records);
    assert_eq!(big.interfaces, little.interfaces);
    assert_eq!(big.statistics, little.statistics);
    assert_eq!(big.unix_ns, little.unix_ns);
    let both = read(&[bytes.clone(), big_endian(&bytes), bytes].concat()).unwrap();
    assert_eq!(both.records.len(), 3 * little.records.len());
}

/// Reads to the end or an error and accounts for all of it.
fn survive(bytes: &[u8]) {
    let mut ledger = Ledger::new(Selection::WHOLE);
    if let Ok(contents) = read(bytes) {
        for (record, _) in &contents.records {
            ledger.observe(record);
        }
        let totals = ledger.totals();
        assert_eq!(
            totals.emitted,
            totals.stored + totals.lost + totals.filtered
        );
        let stored = totals.stored + ledger.inconsistencies().duplicates;
        let numbered = contents.records.iter();
        let numbered = numbered.filter(|(record, _)| !record.flags().contains(Flags::REPEATED));
        assert_eq!(stored, numbered.count() as u64);
    }
}

#[test]
fn any_bit_may_flip() {
    let (_, bytes) = small_capture();
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << bit;
            survive(&flipped);
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_may_change(changes in proptest::collection::vec((any::<usize>(), any::<u8>()), 1..20)) {
        let (_, mut bytes) = small_capture();
        for (at, byte) in changes {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        survive(&bytes);
    }

    #[test]
    fn any_bytes_may_come(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        survive(&bytes);
        survive(&[section(), bytes].concat());
    }
}
