//! Any requests and replies on a 9P queue, through the analyzer: no panic, paths that
//! are safe to print, and memory that comes back.
//!
//! The input is a list of pieces: a byte that says what it is (even: a request, odd: the
//! reply to the oldest or the newest), a byte of length, and the 9P message without its
//! size, which is set to fit.
#![no_main]

use std::collections::VecDeque;

use libfuzzer_sys::fuzz_target;
use virtscope_analyzer::{Analyzer, Options};
use virtscope_record::{
    Add, Body, Common, Layout, Producer, QueueFacts, Record, RingIndex, Sequence, Timestamp, Used,
};

fuzz_target!(|input: &[u8]| {
    let mut analyzer = Analyzer::new(Options {
        collect_ended: true,
        ..Options::default()
    });
    let mut sequence = 0;
    let mut push = |analyzer: &mut Analyzer, body: Body, payload: &[u8], lost: bool| {
        sequence += 1 + u32::from(lost);
        let common = Common {
            time: Timestamp::from_nanos(u64::from(sequence) * 100),
            producer: Producer::DriverHalf.id(),
            sequence: Sequence(sequence),
            ..Common::default()
        };
        analyzer.push(&Record::new(common, body), payload);
    };
    let facts = QueueFacts {
        size: 256,
        device_type: 9,
        layout: Layout::Split,
        ..QueueFacts::default()
    };
    push(&mut analyzer, Body::QueueFacts(facts), b"virtio0/requests", false);
    let (mut available, mut used) = (0_u16, 0_u16);
    let mut heads = VecDeque::new();
    let mut rest = input;
    while let [what, length, behind @ ..] = rest {
        let length = usize::from(*length).min(behind.len());
        let (message, next) = behind.split_at(length);
        rest = next;
        let mut bytes = (message.len() as u32 + 4).to_le_bytes().to_vec();
        bytes.extend_from_slice(message);
        let full = bytes.len() as u32;
        // Now and then the capture cut it, or a record before it is missing.
        let kept = &bytes[..bytes.len() - usize::from(what >> 4 == 1).min(bytes.len())];
        let lost = what >> 4 == 2;
        if what & 1 == 0 {
            let head = available % 256;
            available = available.wrapping_add(1 + u16::from(lost));
            heads.push_back(head);
            let add = Add {
                head,
                position: RingIndex(available.wrapping_sub(1)),
                readable_bytes: full,
                writable_bytes: 8192,
                ..Add::default()
            };
            push(&mut analyzer, Body::Add(add), kept, lost);
        } else {
            let head = match what & 2 {
                0 => heads.pop_front(),
                _ => heads.pop_back(),
            };
            let empty = what & 4 != 0;
            let body = Body::Used(Used {
                head: head.unwrap_or(255),
                position: RingIndex(used),
                used_length: if empty { 0 } else { full },
                writable_bytes: 8192,
                ..Used::default()
            });
            used = used.wrapping_add(1);
            push(&mut analyzer, body, if empty { &[] } else { kept }, false);
        }
    }
    analyzer.finish();
    let in_flight = analyzer.in_flight();
    let ended: Vec<_> = analyzer.take_ended().collect();
    for life in ended.iter().chain(&in_flight) {
        for text in [life.describe_request(), life.describe_reply()] {
            assert!(!text.unwrap_or_default().chars().any(char::is_control));
        }
    }
});
