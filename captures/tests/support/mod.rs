//! What the tests of captures share.
#![allow(dead_code, reason = "each test file uses a part of it")]

use proptest::prelude::*;
use virtscope_captures::{
    CaptureInfo, CaptureReader, CaptureWriter, ClockOffset, End, Item, PacketProblem,
};
use virtscope_record::{
    Add, Body, Callback, CallbackSwitch, Common, Context, Detach, FeatureBits, Flags, Generation,
    Layout, Notification, NotificationReason, Notify, Producer, ProducerId, QueueFacts, QueueId,
    Record, Reset, Returned, RingIndex, Sequence, Statistics, Taken, Timestamp, Token, Used,
};

pub(crate) const QUEUE: QueueId = QueueId::new(0, 0);

/// 2026-01-01 and a bit, so that packet times are plausible.
pub(crate) const CLOCK: ClockOffset = ClockOffset::new(1_767_225_600_000_000_000, 40);

pub(crate) fn info(snaplen: u32) -> CaptureInfo {
    CaptureInfo::new(snaplen, CLOCK)
}

/// A record and its payload.
pub(crate) type Stored = (Record, Vec<u8>);

pub(crate) fn facts(queue: QueueId, generation: u16, sequence: u32, text: &str) -> Stored {
    let common = Common {
        queue,
        generation: Generation(generation),
        producer: Producer::Recorder.id(),
        sequence: Sequence(sequence),
        ..Common::default()
    };
    let body = QueueFacts {
        size: 128,
        device_type: 9,
        features: FeatureBits::VERSION_1,
        ..QueueFacts::default()
    };
    (
        Record::new(common, Body::QueueFacts(body)),
        text.as_bytes().to_vec(),
    )
}

/// The driver half's record number `sequence` on `queue`.
pub(crate) fn add(queue: QueueId, sequence: u32, payload: &[u8]) -> Stored {
    let common = Common {
        time: Timestamp::from_nanos(1_000_000 + u64::from(sequence) * 1_000),
        queue,
        producer: Producer::DriverHalf.id(),
        sequence: Sequence(sequence),
        token: Token(0xdead_beef),
        ..Common::default()
    };
    let body = Add {
        readable_bytes: payload.len() as u32,
        position: RingIndex(sequence as u16),
        ..Add::default()
    };
    (Record::new(common, Body::Add(body)), payload.to_vec())
}

/// The recorder's statistics about `about`, its record number `sequence`.
pub(crate) fn statistics(queue: QueueId, sequence: u32, statistics: Statistics) -> Record {
    let common = Common {
        time: Timestamp::from_nanos(9_000_000_000),
        queue,
        producer: Producer::Recorder.id(),
        sequence: Sequence(sequence),
        ..Common::default()
    };
    Record::new(common, Body::Statistics(statistics))
}

pub(crate) fn write(records: &[Stored], snaplen: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = CaptureWriter::new(&mut bytes, info(snaplen)).unwrap();
    for (record, payload) in records {
        writer.write(record, payload).unwrap();
    }
    writer.finish().unwrap();
    bytes
}

/// Two queues, a few records, final statistics.
pub(crate) fn small_capture() -> (Vec<Stored>, Vec<u8>) {
    let other = QueueId::new(1, 0);
    let last = |queue, sequence, emitted| {
        let about = Producer::DriverHalf.id();
        let told = Statistics {
            about,
            is_final: true,
            emitted,
            ..Statistics::default()
        };
        (statistics(queue, sequence, told), Vec::new())
    };
    let records = vec![
        facts(
            QUEUE,
            0,
            0,
            "virtio0/requests\ndriver=9pnet_virtio\ntag=scratch",
        ),
        add(QUEUE, 0, b"Tversion"),
        facts(other, 0, 0, "virtio1/requests"),
        add(other, 0, b""),
        add(QUEUE, 1, b"Tattach, and so on"),
        last(QUEUE, 1, 2),
        last(other, 1, 1),
    ];
    let bytes = write(&records, 8);
    (records, bytes)
}

/// All that can be read, up to the end.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    pub(crate) records: Vec<Stored>,
    pub(crate) original_lens: Vec<u32>,
    pub(crate) dropcounts: Vec<Option<u64>>,
    pub(crate) unix_ns: Vec<u64>,
    pub(crate) names: Vec<String>,
    pub(crate) interfaces: Vec<virtscope_captures::Interface>,
    pub(crate) statistics: Vec<virtscope_captures::InterfaceStatistics>,
    pub(crate) corrupt: Vec<(u64, PacketProblem)>,
    pub(crate) sections: usize,
    pub(crate) foreign: u64,
    pub(crate) end: Option<End>,
}

pub(crate) fn read(bytes: &[u8]) -> Result<Contents, virtscope_captures::ReadError> {
    let mut contents = Contents::default();
    let mut reader = CaptureReader::new(bytes)?;
    loop {
        match reader.next_item()? {
            Item::Section(_) => contents.sections += 1,
            Item::Interface(interface) => {
                contents.names.push(interface.name.clone());
                contents.interfaces.push(interface);
            }
            Item::Record(packet) => {
                contents
                    .records
                    .push((packet.record, packet.payload.to_vec()));
                contents.original_lens.push(packet.original_len);
                contents.dropcounts.push(packet.dropcount);
                contents.unix_ns.push(packet.unix_ns);
            }
            Item::Corrupt {
                packet, problem, ..
            } => contents.corrupt.push((packet, problem)),
            Item::Statistics(statistics) => contents.statistics.push(statistics),
            Item::End(end) => {
                contents.end = Some(end);
                break;
            }
        }
    }
    assert!(matches!(reader.next_item()?, Item::End(again) if Some(again) == contents.end));
    contents.foreign = reader.foreign_packets();
    Ok(contents)
}

pub(crate) fn any_body() -> impl Strategy<Value = Body> {
    let index = any::<u16>().prop_map(RingIndex);
    let add =
        any::<(u16, u16, u32, u32, u16)>().prop_map(|(free, error, readable, writable, head)| {
            Add {
                free,
                error,
                readable_bytes: readable % 100_000,
                writable_bytes: writable,
                head,
                position: RingIndex(head.wrapping_mul(7)),
                readable_segments: 1,
                writable_segments: 2,
                descriptors: 3,
            }
        });
    let notification =
        (index.clone(), index.clone(), 0u8..6).prop_map(|(old, new, reason)| Notification {
            old,
            new,
            event: old,
            reason: NotificationReason::from_raw(reason),
            ..Notification::default()
        });
    let used = any::<(u32, u32, u16)>().prop_map(|(used_length, writable_bytes, head)| Used {
        used_length: used_length % 100_000,
        writable_bytes: writable_bytes % 100_000,
        head,
        ..Used::default()
    });
    let statistics = any::<(u16, bool, u32, u64, u64, u64)>().prop_map(
        |(about, is_final, missed, emitted, lost, filtered)| Statistics {
            about: ProducerId(about),
            is_final,
            missed,
            emitted,
            lost,
            filtered,
        },
    );
    let switch = index.clone().prop_map(|last_used| CallbackSwitch {
        last_used,
        ..CallbackSwitch::default()
    });
    prop_oneof![
        add.clone().prop_map(Body::Add),
        add.prop_map(Body::AddFailed),
        notification.clone().prop_map(Body::Kick),
        any::<u16>().prop_map(|free| Body::Notify(Notify { free, error: 5 })),
        index
            .clone()
            .prop_map(|used_index| Body::Callback(Callback {
                used_index,
                ..Callback::default()
            })),
        used.prop_map(Body::Used),
        switch.clone().prop_map(Body::CallbacksDisabled),
        switch.prop_map(Body::CallbacksEnabled),
        any::<u16>().prop_map(|head| Body::Detach(Detach {
            head,
            ..Detach::default()
        })),
        any::<u16>().prop_map(|size| Body::QueueFacts(QueueFacts {
            size,
            layout: Layout::Packed,
            ..QueueFacts::default()
        })),
        any::<u16>().prop_map(|in_flight| Body::Reset(Reset {
            in_flight,
            ..Reset::default()
        })),
        statistics.prop_map(Body::Statistics),
        index.clone().prop_map(|position| Body::Taken(Taken {
            position,
            ..Taken::default()
        })),
        index.prop_map(|position| Body::Returned(Returned {
            position,
            ..Returned::default()
        })),
        notification.prop_map(Body::InterruptSent),
    ]
}

/// A record of any kind on `queue`, at any time of a year.
pub(crate) fn any_record(queue: QueueId) -> impl Strategy<Value = Record> {
    let common = (
        0..1u64 << 55,
        any::<(u16, u32, u16, u8)>(),
        any::<(u32, u32, u64)>(),
    );
    (common, any_body()).prop_map(
        move |((time, (producer, sequence, flags, context), (process, thread, token)), body)| {
            let common = Common {
                time: Timestamp::from_nanos(time),
                queue,
                generation: Generation(flags),
                producer: ProducerId(producer),
                sequence: Sequence(sequence),
                context: Context::from_raw(context & 3),
                process,
                thread,
                token: Token(token),
                flags: Flags::from_bits_retain(flags),
            };
            Record::new(common, body)
        },
    )
}
