//! What is written is what is read.

mod support;

use proptest::prelude::*;
use support::*;
use virtscope_captures::{
    CaptureInfo, CaptureReader, CaptureWriter, End, Item, MAX_SNAPLEN, Selection, Totals,
    WriteError,
};
use virtscope_record::{FRAME_LEN, Kind, Producer, QueueId, Statistics};

const OTHER: QueueId = QueueId::new(7, 3);

/// Bytes that facts have room for whatever is kept of buffers (docs/capture-format.md).
const FACTS_ROOM: usize = 1024;

#[test]
fn a_small_capture_reads_back() {
    let (records, bytes) = small_capture();
    let contents = read(&bytes).unwrap();
    let stored: Vec<_> = contents.records.iter().map(|(record, _)| *record).collect();
    let written: Vec<_> = records.iter().map(|(record, _)| *record).collect();
    assert_eq!(stored, written);
    assert_eq!(contents.end, Some(End::Complete));
    assert_eq!(contents.names, ["virtio0/requests", "virtio1/requests"]);
    let first = &contents.interfaces[0];
    assert_eq!(first.queue, Some(QUEUE));
    for property in [
        ("size", "128"),
        ("driver", "9pnet_virtio"),
        ("tag", "scratch"),
    ] {
        let found = |(key, value): &(String, String)| (key.as_str(), value.as_str()) == property;
        assert!(first.properties.iter().any(found), "{property:?}");
    }
    let totals = contents.statistics[0].totals.unwrap();
    assert_eq!((totals.emitted, totals.stored, totals.lost), (4, 4, 0));
    assert!(contents.statistics[0].tail_known);
}

#[test]
fn payload_is_cut_but_facts_are_kept() {
    let (records, bytes) = small_capture();
    let contents = read(&bytes).unwrap();
    assert_eq!(contents.records[0].1, records[0].1, "facts are whole");
    assert_eq!(contents.records[1].1, b"Tversion");
    assert_eq!(contents.records[4].1, b"Tattach,");
    assert_eq!(contents.original_lens[4], 72 + 18);
    for interface in &contents.interfaces {
        assert_eq!(interface.snaplen as usize, FRAME_LEN + FACTS_ROOM);
    }
}

#[test]
fn packets_carry_unix_time() {
    let (records, bytes) = small_capture();
    let contents = read(&bytes).unwrap();
    for ((record, _), unix_ns) in records.iter().zip(&contents.unix_ns) {
        assert_eq!(*unix_ns, CLOCK.to_unix_ns(record.time()));
        assert_eq!(CLOCK.to_monotonic(*unix_ns), record.time());
    }
}

#[test]
fn the_section_says_what_the_capture_is() {
    let written = CaptureInfo {
        selection: Selection {
            filtered: true,
            cut: true,
            ..Selection::WHOLE
        },
        ..info(99)
    };
    let mut bytes = Vec::new();
    CaptureWriter::new(&mut bytes, written)
        .unwrap()
        .finish()
        .unwrap();
    let mut reader = CaptureReader::new(bytes.as_slice()).unwrap();
    let Item::Section(section) = reader.next_item().unwrap() else {
        panic!("a section comes first");
    };
    assert_eq!(section.info, Some(written));
    let application = section.application.unwrap();
    assert!(application.starts_with("virtscope "), "{application}");
    assert_eq!(reader.info(), Some(&written));
}

#[test]
fn a_new_generation_keeps_its_interface() {
    let records = [
        facts(QUEUE, 0, 0, "virtio0/requests"),
        add(QUEUE, 0, b""),
        facts(
            QUEUE,
            1,
            1,
            &format!("virtio0/requests\nand={}", "more".repeat(FACTS_ROOM)),
        ),
        add(QUEUE, 1, b""),
        facts(QUEUE, 2, 2, "virtio0/requests\nand=more than at first"),
    ];
    let contents = read(&write(&records, 0)).unwrap();
    assert_eq!(contents.names, ["virtio0/requests"]);
    assert_eq!(contents.records.len(), 5);
    assert_eq!(
        contents.records[2].1,
        records[2].1[..FACTS_ROOM],
        "cut to the interface's snaplen"
    );
    assert_eq!(contents.records[4].1, records[4].1, "facts are whole");
    assert_eq!(
        contents.original_lens[2] as usize,
        FRAME_LEN + records[2].1.len()
    );
}

#[test]
fn an_undeclared_queue_is_refused() {
    let mut bytes = Vec::new();
    let mut writer = CaptureWriter::new(&mut bytes, info(0)).unwrap();
    let (record, _) = add(OTHER, 0, b"");
    let error = writer.write(&record, b"").unwrap_err();
    assert!(matches!(error, WriteError::Undeclared { queue: OTHER }));
    assert!(error.to_string().contains("virtio7.3"), "{error}");
    // It is no end: the queue can be declared and the record written.
    let (declared, text) = facts(OTHER, 0, 0, "virtio7/x");
    writer.write(&declared, &text).unwrap();
    writer.write(&record, b"").unwrap();
    writer.finish().unwrap();
    assert_eq!(read(&bytes).unwrap().records.len(), 2);
}

#[test]
fn too_long_a_snaplen_is_refused() {
    let error = CaptureWriter::new(Vec::new(), info(MAX_SNAPLEN + 1)).unwrap_err();
    assert!(error.to_string().contains("524288 at most"), "{error}");
    let huge = vec![0x55; 2 * MAX_SNAPLEN as usize];
    let records = [facts(QUEUE, 0, 0, "q"), add(QUEUE, 0, &huge)];
    let contents = read(&write(&records, MAX_SNAPLEN)).unwrap();
    assert_eq!(contents.records[1].1.len(), MAX_SNAPLEN as usize);
    assert_eq!(contents.original_lens[1] as usize, FRAME_LEN + huge.len());
}

#[test]
fn losses_stand_where_they_were_learnt() {
    let mut records = vec![facts(QUEUE, 0, 0, "q")];
    records.extend(
        (0..1000)
            .filter(|n| !(300..310).contains(n))
            .map(|n| add(QUEUE, n, b"")),
    );
    let told = Statistics {
        about: Producer::DriverHalf.id(),
        is_final: true,
        emitted: 1005,
        lost: 15,
        ..Statistics::default()
    };
    records.push((statistics(QUEUE, 1, told), Vec::new()));
    let contents = read(&write(&records, 0)).unwrap();
    let told: u64 = contents.dropcounts.iter().flatten().sum();
    assert_eq!(told, 15);
    assert_eq!(contents.dropcounts.iter().flatten().count(), 2);
    let expected = Totals {
        emitted: 1007,
        stored: 992,
        lost: 15,
        ..Totals::default()
    };
    assert_eq!(contents.statistics[0].totals, Some(expected));
}

#[test]
fn sections_can_follow_each_other() {
    let (records, bytes) = small_capture();
    let contents = read(&[bytes.as_slice(), bytes.as_slice()].concat()).unwrap();
    assert_eq!(contents.sections, 2);
    assert_eq!(contents.records.len(), 2 * records.len());
    assert_eq!(contents.end, Some(End::Complete));
}

#[test]
fn an_unfinished_writer_leaves_what_it_was_given() {
    let mut bytes = Vec::new();
    let mut writer = CaptureWriter::new(&mut bytes, info(0)).unwrap();
    let (record, text) = facts(QUEUE, 0, 0, "q");
    writer.write(&record, &text).unwrap();
    drop(writer);
    let contents = read(&bytes).unwrap();
    assert_eq!(contents.records.len(), 1);
    let offset = bytes.len() as u64;
    assert_eq!(
        contents.end,
        Some(End::Truncated {
            offset,
            leftover: 0
        })
    );
}

proptest! {
    /// Any records of any kinds with any payload.
    #[test]
    fn any_records_round_trip(
        records in proptest::collection::vec(
            (
                prop_oneof![any_record(QUEUE), any_record(OTHER)],
                proptest::collection::vec(any::<u8>(), 0..200),
            ),
            0..60,
        ),
        snaplen in 0u32..150,
    ) {
        let mut all = vec![facts(QUEUE, 0, 0, "a"), facts(OTHER, 0, 0, "b")];
        all.extend(records);
        let bytes = write(&all, snaplen);
        let contents = read(&bytes).unwrap();
        prop_assert_eq!(contents.end, Some(End::Complete));
        prop_assert_eq!(contents.records.len(), all.len());
        let read = contents.records.iter().zip(&contents.original_lens);
        for ((record, payload), ((found, kept), original)) in all.iter().zip(read) {
            prop_assert_eq!(found, record);
            let limit = match record.kind() {
                Ok(Kind::QueueFacts) => snaplen.max(FACTS_ROOM as u32),
                _ => snaplen,
            };
            prop_assert_eq!(kept, &payload[..payload.len().min(limit as usize)]);
            let full = record.full_payload_len().unwrap_or(0).max(payload.len() as u32);
            prop_assert_eq!(*original, FRAME_LEN as u32 + full);
        }
    }
}
