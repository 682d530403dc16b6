//! The merge stage against sorting, and against the plainest stage that keeps its promises.

use std::collections::{BTreeMap, HashMap};

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

/// What [`Merge`] promises, with a list for each stream and no thought of cost.
#[derive(Default)]
struct Model {
    streams: BTreeMap<StreamKey, ModelStream>,
    released: u64,
    late: u64,
    early: u64,
}

#[derive(Default)]
struct ModelStream {
    next: u64,
    /// By sequence, equal ones in the order they came.
    held: Vec<Mark>,
}

impl Model {
    fn begin(&mut self, stream: u16, number: u64) {
        let stream = self.streams.entry(key(stream)).or_default();
        stream.next = stream.next.max(number);
    }

    fn push(&mut self, config: MergeConfig, stream: u16, item: Mark) -> Option<Mark> {
        let stream = self.streams.entry(key(stream)).or_default();
        self.late += u64::from(item.time < self.released || u64::from(item.sequence) < stream.next);
        let held = &mut stream.held;
        let place = held.partition_point(|there| there.sequence <= item.sequence);
        held.insert(place, item);
        if self.len() > config.capacity {
            self.early += 1;
            self.pop()
        } else {
            None
        }
    }

    fn pop_due(&mut self, config: MergeConfig, now: u64) -> Option<Mark> {
        let (key, first) = self.first()?;
        let next = self.streams[&key].next;
        let sequence = u64::from(first.sequence);
        let wait = match sequence > next {
            true => config.gap_window_ns,
            false => config.window_ns,
        };
        let is_late = sequence < next || first.time < self.released;
        let is_due = now >= first.time + wait;
        if is_late || is_due { self.pop() } else { None }
    }

    fn pop(&mut self) -> Option<Mark> {
        let (key, first) = self.first()?;
        let stream = self.streams.get_mut(&key)?;
        stream.held.remove(0);
        stream.next = stream.next.max(u64::from(first.sequence) + 1);
        self.released = self.released.max(first.time);
        Some(first)
    }

    fn first(&self) -> Option<(StreamKey, Mark)> {
        let firsts = self
            .streams
            .iter()
            .filter_map(|(key, stream)| Some((*key, *stream.held.first()?)));
        firsts.min_by_key(|(_, first)| *first)
    }

    fn len(&self) -> usize {
        self.streams.values().map(|stream| stream.held.len()).sum()
    }
}

/// What is done with a stage.
#[derive(Clone, Copy, Debug)]
enum Step {
    Push(u16, Mark),
    PopDue(u64),
    Pop,
    Begin(u16, u64),
}

/// How an item differs from the next one in order of its stream and of all.
#[derive(Clone, Copy, Debug)]
enum Stray {
    /// Not at all.
    None,
    /// Its time is so much earlier, with its sequence in order.
    Earlier(u64),
    /// Its sequence is so much lower, with its time in order.
    Lower(u32),
    /// Both: it comes late.
    Behind(u32, u64),
    /// Those before it are missing.
    Gap(u32),
}

impl Stray {
    fn mark(self, stream: u16, next: &mut u32, now: u64) -> Mark {
        let (sequence, time) = match self {
            Self::None => (*next, now),
            Self::Earlier(by) => (*next, now - by),
            Self::Lower(by) => (next.saturating_sub(by), now),
            Self::Behind(by, earlier) => (next.saturating_sub(by), now - earlier),
            Self::Gap(by) => (*next + by, now),
        };
        *next = (*next).max(sequence + 1);
        mark(stream, sequence, time)
    }
}

/// Pushes of items that are in order but for `strays`, with looks in between.
fn steps(strays: impl Strategy<Value = Stray>) -> impl Strategy<Value = Vec<Step>> {
    let other = prop_oneof![
        95 => Just(None),
        3 => Just(Some(Step::Pop)),
        2 => (0u16..6, 0u64..300).prop_map(|(stream, number)| Some(Step::Begin(stream, number))),
    ];
    // Streams, steps of time and looks that favour none, so that a run grows long.
    let looks = prop_oneof![9 => Just(None), 1 => (0u64..400).prop_map(Some)];
    let each = (0u16..6, 0u64..4, strays, looks, other);
    proptest::collection::vec(each, 0..400).prop_map(|each| {
        let mut steps = Vec::new();
        let mut now = 1000;
        let mut next = [0u32; 6];
        for (stream, step, stray, look, other) in each {
            now += step;
            let next = &mut next[usize::from(stream)];
            let item = stray.mark(stream, next, now);
            steps.push(Step::Push(stream, item));
            // The clock that all share lies behind what is looked at, now and then.
            steps.extend(look.map(|behind| Step::PopDue((now + 200).saturating_sub(behind))));
            steps.extend(other);
        }
        steps
    })
}

/// Streams that are looked at in turn: each brings all that it has of a while, and those
/// behind it begin where it began.
fn in_turn(strays: impl Strategy<Value = Stray>) -> impl Strategy<Value = Vec<Step>> {
    let turn = proptest::collection::vec((0u64..6, strays), 0..60);
    let round = proptest::collection::vec(turn, 1..6);
    proptest::collection::vec(round, 1..6).prop_map(|rounds| {
        let mut steps = Vec::new();
        let mut began = 1000;
        let mut next = [0u32; 6];
        for round in rounds {
            let mut ended = began;
            for ((stream, next), turn) in (0u16..).zip(&mut next).zip(round) {
                let mut now = began;
                for (step, stray) in turn {
                    now += step;
                    steps.push(Step::Push(stream, stray.mark(stream, next, now)));
                }
                ended = ended.max(now);
            }
            steps.push(Step::PopDue(ended));
            began = ended;
        }
        steps
    })
}

/// Does `steps` with a stage and with the model, which have to agree at every one.
fn agree(config: MergeConfig, steps: &[Step]) {
    let mut merge = Merge::new(config);
    let mut model = Model::default();
    for step in steps {
        match *step {
            Step::Push(stream, item) => assert_eq!(
                push(&mut merge, stream, item),
                model.push(config, stream, item)
            ),
            Step::PopDue(now) => loop {
                let left = merge.pop_due(Timestamp::from_nanos(now));
                assert_eq!(left, model.pop_due(config, now));
                if left.is_none() {
                    break;
                }
            },
            Step::Pop => assert_eq!(merge.pop(), model.pop()),
            Step::Begin(stream, number) => {
                merge.begin(key(stream), number);
                model.begin(stream, number);
            }
        }
        let counts = (merge.len(), merge.late(), merge.early());
        assert_eq!(counts, (model.len(), model.late, model.early));
    }
    while let Some(left) = merge.pop() {
        assert_eq!(Some(left), model.pop());
    }
    assert_eq!(model.len(), 0);
}

/// Mostly none, and of these kinds.
fn seldom(strays: impl Strategy<Value = Stray>) -> impl Strategy<Value = Stray> {
    prop_oneof![49 => Just(Stray::None), 1 => strays]
}

fn any_stray() -> impl Strategy<Value = Stray> {
    prop_oneof![
        Just(Stray::None),
        (1u64..300).prop_map(Stray::Earlier),
        (1u32..20).prop_map(Stray::Lower),
        (1u32..20, 1u64..300).prop_map(|(by, earlier)| Stray::Behind(by, earlier)),
        (1u32..5).prop_map(Stray::Gap),
    ]
}

fn capacities() -> impl Strategy<Value = usize> {
    prop_oneof![Just(usize::MAX), 0usize..100]
}

proptest! {
    /// What comes a few places too early or too late, but in its stream's order.
    #[test]
    fn nearly_sorted_leaves_as_the_model_says(
        steps in steps(prop_oneof![
            8 => Just(Stray::None),
            2 => (1u64..6).prop_map(Stray::Earlier),
            1 => (1u64..300).prop_map(Stray::Earlier),
        ]),
        capacity in capacities(),
    ) {
        agree(MergeConfig::new(WINDOW, capacity), &steps);
    }

    /// Long runs into whose middle others belong.
    #[test]
    fn looked_at_in_turn_as_the_model_says(
        steps in prop_oneof![in_turn(Just(Stray::None)), in_turn(seldom(any_stray()))],
        capacity in prop_oneof![Just(usize::MAX), 0usize..300],
    ) {
        agree(MergeConfig::new(WINDOW, capacity), &steps);
    }

    /// Long runs with a contradiction now and then.
    #[test]
    fn with_few_contradictions_as_the_model_says(
        steps in steps(seldom(any_stray())),
        capacity in capacities(),
    ) {
        agree(MergeConfig::new(WINDOW, capacity), &steps);
    }

    /// Order and chaos by turns.
    #[test]
    fn between_order_and_chaos_as_the_model_says(
        parts in proptest::collection::vec(
            prop_oneof![steps(seldom(any_stray())), steps(any_stray())],
            1..4,
        ),
        capacity in capacities(),
    ) {
        agree(MergeConfig::new(WINDOW, capacity), &parts.concat());
    }

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
