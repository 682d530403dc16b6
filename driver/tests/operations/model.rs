//! Any sequence of operations, against a model that keeps account of every buffer.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use virtscope_device::requests::{Request, Requests};
use virtscope_driver::operations::{AddBufErrorKind, Operations};
use virtscope_record::Token;

use crate::support::{ENTRIES, World, on_every_queue};

/// What either end does next.
#[derive(Clone, Debug)]
enum Step {
    Add {
        readable: u32,
        writable: u32,
    },
    Sync,
    Take,
    /// Answers one of the requests taken, with a part of what has room.
    Answer {
        which: prop::sample::Index,
        written: prop::sample::Index,
    },
    Get,
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let length = prop_oneof![3 => 0..64u32, 1 => 0..9000u32];
    let step = prop_oneof![
        4 => (length.clone(), length).prop_map(|(readable, writable)| Step::Add {
            readable,
            writable,
        }),
        2 => Just(Step::Sync),
        4 => Just(Step::Take),
        4 => any::<(prop::sample::Index, prop::sample::Index)>()
            .prop_map(|(which, written)| Step::Answer { which, written }),
        4 => Just(Step::Get),
        1 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 0..120)
}

/// What became of a buffer.
#[derive(Debug)]
enum State {
    Added,
    Taken,
    Answered(Vec<u8>),
}

/// Bytes that tell whose they are.
fn bytes(token: Token, len: usize) -> Vec<u8> {
    let seed = token.0 as u8;
    (0..len)
        .map(|i| seed.wrapping_mul(29).wrapping_add(i as u8))
        .collect()
}

struct Run<'a, Q, R> {
    world: &'a World<Q, R>,
    queue: Q,
    device: R,
    next: u64,
    /// Synced, in order, and how many more were added behind them.
    visible: usize,
    /// Buffers in the queue.
    buffers: BTreeMap<Token, State>,
    added: Vec<Token>,
    taken: Vec<(Token, Request)>,
}

impl<Q: Operations, R: Requests> Run<'_, Q, R> {
    fn step(&mut self, step: &Step) {
        match step {
            Step::Add { readable, writable } => self.add(*readable, *writable),
            Step::Sync => {
                self.queue.sync();
                self.visible = self.added.len();
            }
            Step::Take => self.take(),
            Step::Answer { which, written } if !self.taken.is_empty() => {
                let (token, request) = self.taken.remove(which.index(self.taken.len()));
                let written = written.index(request.writable as usize + 1);
                let answer = bytes(token, written);
                self.device.give_back(request, &answer).unwrap();
                self.buffers.insert(token, State::Answered(answer));
            }
            Step::Answer { .. } => {}
            Step::Get => {
                self.get();
            }
            Step::Restart => {
                let pending = self.can_get();
                assert_eq!(self.queue.restart(), !pending);
            }
        }
    }

    fn add(&mut self, readable: u32, writable: u32) {
        let token = Token(self.next);
        self.next += 1;
        let mut buffer = self.world.pool.allocate(readable, writable).unwrap();
        buffer.fill(0, &bytes(token, readable as usize)).unwrap();
        match self.queue.add_buf(buffer, token) {
            Ok(()) => {
                self.added.push(token);
                self.buffers.insert(token, State::Added);
            }
            Err(refused) => match refused.kind {
                AddBufErrorKind::Full => assert!(!self.buffers.is_empty()),
                AddBufErrorKind::Unfit(_) => assert_eq!(readable + writable, 0),
                kind => panic!("{kind}"),
            },
        }
    }

    /// The device sees what was synced, in order, and nothing else.
    fn take(&mut self) {
        let Some(request) = self.device.take().unwrap() else {
            // A large request takes more than one turn through a socket.
            return;
        };
        assert!(self.visible > 0, "seen before sync");
        let token = self.added.remove(0);
        self.visible -= 1;
        assert_eq!(request.readable, bytes(token, request.readable.len()));
        self.buffers.insert(token, State::Taken);
        self.taken.push((token, request));
    }

    /// Whether a buffer must come back: in order, only the oldest may.
    fn can_get(&self) -> bool {
        let answered = |state: &State| matches!(state, State::Answered(_));
        match self.world.kind.is_in_order() {
            true => self.buffers.values().next().is_some_and(answered),
            false => self.buffers.values().any(answered),
        }
    }

    /// What comes back was answered, and is what the answer was.
    fn get(&mut self) -> bool {
        let expected = self.can_get();
        let Some((token, returned)) = self.queue.get_buf().unwrap() else {
            assert!(!expected, "an answer was lost");
            return false;
        };
        match self.buffers.remove(&token) {
            Some(State::Answered(answer)) => assert_eq!(returned.to_vec(), answer),
            other => panic!("{token} came back, which was {other:?}"),
        }
        true
    }

    /// Every buffer comes out of the queue once, one way or the other.
    fn shut_down(mut self) {
        while self.get() {}
        // Among them, on a ring that is used in order, may be some that were answered
        // before their turn: the driver can't know.
        for token in self.buffers.keys() {
            drop(self.queue.detach_buf(*token).unwrap());
            assert!(self.queue.detach_buf(*token).is_err());
        }
        assert!(self.queue.get_buf().unwrap().is_none());
    }
}

on_every_queue! {
    fn no_buffer_is_lost_or_seen_twice(world) {
        let cases = 24;
        let config = Config { cases, failure_persistence: None, ..Config::default() };
        let mut runner = TestRunner::new(config);
        let world = std::cell::RefCell::new(world);
        runner.run(&steps(), |steps| {
            let mut world = world.borrow_mut();
            let (queue, device) = world.connect();
            let mut run = Run {
                world: &*world,
                queue,
                device,
                next: 0,
                visible: 0,
                buffers: BTreeMap::new(),
                added: Vec::new(),
                taken: Vec::new(),
            };
            for step in &steps {
                run.step(step);
                prop_assert!(run.buffers.len() <= usize::from(ENTRIES));
            }
            run.shut_down();
            world.assert_nothing_leaked();
            Ok(())
        }).unwrap();
    }
}
