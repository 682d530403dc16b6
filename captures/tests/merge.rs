//! The merge stage against sorting.

use std::collections::HashMap;

use proptest::prelude::*;
use virtscope_captures::{Merge, MergeConfig, StreamKey};
use virtscope_record::{Producer, ProducerId, QueueId, Sequence, Timestamp};

const WINDOW: u64 = 100;

fn key(stream: u16) -> StreamKey {
    StreamKey {
        producer: Producer::Cpu(stream % 3).id(),
        queue: QueueId::new(0, stream / 3),
    }
}

/// What an item is known by: the order in which items leave.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
struct Mark {
    time: u64,
    producer: ProducerId,
    sequence: u32,
    queue: QueueId,
}

fn mark(stream: u16, sequence: u32, time: u64) -> Mark {
    let key = key(stream);
    Mark {
        time,
        producer: key.producer,
        sequence,
        queue: key.queue,
    }
}

fn push(merge: &mut Merge<Mark>, stream: u16, item: Mark) -> Option<Mark> {
    let time = Timestamp::from_nanos(item.time);
    merge.push(key(stream), Sequence(item.sequence), time, item)
}

/// Items of several streams, each in order of time, with when each arrives.
fn streams(max_delay: u64) -> impl Strategy<Value = Vec<(u64, u16, Mark)>> {
    let steps = proptest::collection::vec((0..40u64, 0..=max_delay), 0..40);
    proptest::collection::vec(steps, 1..7).prop_map(|streams| {
        let mut arrivals = Vec::new();
        for (stream, steps) in streams.into_iter().enumerate() {
            let stream = stream as u16;
            let mut time = 1000;
            for (sequence, (step, delay)) in steps.into_iter().enumerate() {
                time += step;
                arrivals.push((time + delay, stream, mark(stream, sequence as u32, time)));
            }
        }
        arrivals.sort();
        arrivals
    })
}

/// Runs `arrivals` through a merge stage and checks the promises that hold
/// whatever arrives; returns what left, and how many were late.
fn run(config: MergeConfig, arrivals: &[(u64, u16, Mark)]) -> (Vec<Mark>, u64) {
    let mut merge = Merge::new(config);
    let mut left = Vec::new();
    let mut inside: HashMap<StreamKey, Vec<u32>> = HashMap::new();
    let leave = |item: Mark, inside: &mut HashMap<StreamKey, Vec<u32>>, left: &mut Vec<Mark>| {
        let key = StreamKey {
            producer: item.producer,
            queue: item.queue,
        };
        let held = inside.get_mut(&key).unwrap();
        let lowest = held.iter().copied().min().unwrap();
        assert_eq!(item.sequence, lowest, "overtook one of its own stream");
        held.remove(held.iter().position(|s| *s == lowest).unwrap());
        left.push(item);
    };
    for (now, stream, item) in arrivals {
        inside.entry(key(*stream)).or_default().push(item.sequence);
        if let Some(item) = push(&mut merge, *stream, *item) {
            leave(item, &mut inside, &mut left);
        }
        assert!(merge.len() <= config.capacity);
        while let Some(item) = merge.pop_due(Timestamp::from_nanos(*now)) {
            leave(item, &mut inside, &mut left);
        }
    }
    while let Some(item) = merge.pop() {
        leave(item, &mut inside, &mut left);
    }
    assert!(merge.is_empty());
    let late = merge.late();
    let mut went_in: Vec<_> = arrivals.iter().map(|(.., item)| *item).collect();
    let mut came_out = left.clone();
    went_in.sort();
    came_out.sort();
    assert_eq!(went_in, came_out, "something was lost or made up");
    (left, late)
}

proptest! {
    /// Arrivals that are late by less than the window leave sorted.
    #[test]
    fn within_the_window_it_sorts(arrivals in streams(WINDOW - 1)) {
        let (left, late) = run(MergeConfig::new(WINDOW, usize::MAX), &arrivals);
        prop_assert!(left.is_sorted(), "{:?}", left);
        prop_assert_eq!(late, 0);
    }

    /// However late, and however little room: nothing is lost, no stream
    /// overtakes itself inside, and whatever leaves out of order was late.
    #[test]
    fn beyond_the_window_nothing_is_lost(
        arrivals in streams(WINDOW * 30),
        capacity in 0usize..50,
    ) {
        let (left, late) = run(MergeConfig::new(WINDOW, capacity), &arrivals);
        let mut latest = 0;
        let mut behind = 0;
        for item in &left {
            behind += u64::from(item.time < latest);
            latest = latest.max(item.time);
        }
        prop_assert!(behind <= late, "{} behind, {} late", behind, late);
    }

    /// Times and sequences that contradict each other, and sequences repeated.
    #[test]
    fn any_times_and_sequences_come_out(
        items in proptest::collection::vec((0u16..5, 0u32..30, 0u64..2000, 0u64..3000), 0..200),
        capacity in 1usize..300,
    ) {
        let arrivals: Vec<_> = items
            .into_iter()
            .map(|(stream, sequence, time, now)| (now, stream, mark(stream, sequence, time)))
            .collect();
        run(MergeConfig::new(WINDOW, capacity), &arrivals);
    }
}

#[test]
fn a_gap_is_waited_for_and_then_believed() {
    let mut merge = Merge::new(MergeConfig::new(WINDOW, 64));
    let at = Timestamp::from_nanos;
    for (stream, sequence, time) in [(0, 0, 10), (0, 2, 30), (1, 0, 40)] {
        assert_eq!(push(&mut merge, stream, mark(stream, sequence, time)), None);
    }
    assert_eq!(merge.pop_due(at(110)), Some(mark(0, 0, 10)));
    assert_eq!(merge.pop_due(at(500)), None, "0's second is waited for");
    assert_eq!(push(&mut merge, 0, mark(0, 1, 20)), None);
    assert_eq!(merge.pop_due(at(500)), Some(mark(0, 1, 20)));
    assert_eq!(merge.pop_due(at(500)), Some(mark(0, 2, 30)));
    assert_eq!(merge.pop_due(at(500)), Some(mark(1, 0, 40)));
    assert_eq!(push(&mut merge, 0, mark(0, 9, 50)), None);
    assert_eq!(merge.pop_due(at(1049)), None);
    assert_eq!(merge.pop_due(at(1050)), Some(mark(0, 9, 50)));
    assert_eq!((merge.late(), merge.early()), (0, 0));
}

#[test]
fn late_ones_leave_at_once() {
    let mut merge = Merge::new(MergeConfig::new(WINDOW, 64));
    assert_eq!(push(&mut merge, 0, mark(0, 0, 1000)), None);
    assert_eq!(merge.pop(), Some(mark(0, 0, 1000)));
    assert_eq!(push(&mut merge, 1, mark(1, 0, 990)), None);
    let now = Timestamp::from_nanos(1000);
    assert_eq!(merge.pop_due(now), Some(mark(1, 0, 990)));
    assert_eq!(merge.late(), 1);
}

#[test]
fn without_room_the_oldest_leaves_early() {
    let mut merge = Merge::new(MergeConfig::new(WINDOW, 2));
    assert_eq!(push(&mut merge, 0, mark(0, 0, 30)), None);
    assert_eq!(push(&mut merge, 1, mark(1, 0, 10)), None);
    let first = push(&mut merge, 2, mark(2, 0, 20));
    assert_eq!(first, Some(mark(1, 0, 10)));
    assert_eq!((merge.len(), merge.early()), (2, 1));
}

#[test]
fn sequences_wrap() {
    let mut merge = Merge::new(MergeConfig::new(WINDOW, 64));
    for (sequence, time) in [(u32::MAX - 1, 10), (u32::MAX, 20), (1, 40), (0, 30)] {
        assert_eq!(push(&mut merge, 0, mark(0, sequence, time)), None);
    }
    let left: Vec<_> = std::iter::from_fn(|| merge.pop()).collect();
    let sequences: Vec<_> = left.iter().map(|item| item.sequence).collect();
    assert_eq!(sequences, [u32::MAX - 1, u32::MAX, 0, 1]);
}
