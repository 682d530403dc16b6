//! A conversation between the two halves of a ring, made of any bytes: the driver
//! does what drivers do, one device half keeps the rules, and somebody writes into
//! the ring at any moment, or between any two accesses of the driver.
//!
//! The fuzz target of this name (`driver/device/fuzz`) runs it as well.

use virtscope_driver::ring::Features;
use virtscope_record::Layout;

use crate::harness::words::{self, set};
use crate::harness::{Plan, Ring, Shape, When, Word};

/// Steps of a conversation, at most.
const STEPS: usize = 400;

/// A ring, and what happens on it.
#[derive(Clone, Debug)]
pub(crate) struct Conversation {
    plan: Plan,
    steps: Vec<Step>,
}

/// What happens next.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// The driver adds a buffer of so many segments of so many bytes.
    Add {
        readable: u8,
        writable: u8,
        len: u8,
        publish: bool,
    },
    Publish,
    Kick,
    Get,
    Disable,
    Enable,
    EnableDelayed,
    Poll,
    Interrupt,
    /// The device takes a buffer.
    Take,
    /// It stages one of those it took, with so many sixteenths written.
    Stage {
        which: u8,
        sixteenths: u8,
    },
    /// It makes visible what it staged.
    PublishUsed,
    /// It decides about an interrupt, or asks for kicks or for none.
    Wish(u8),
    /// Somebody writes into the ring: at once, or before a later access.
    Lie {
        word: u8,
        how: How,
        later: Option<u8>,
    },
    /// The driver gives up so many buffers, looks for used ones, and then gives up
    /// the rest and begins afresh.
    GiveUp(u8),
    Reset,
}

/// What is written, given what stands there.
#[derive(Clone, Copy, Debug)]
enum How {
    Small(u8),
    Ones,
    Flip(u8),
    Move(i8),
    /// What stands in another word.
    CopyOf(u8),
    /// What a used descriptor or entry might say.
    Used {
        id: u8,
        len: u8,
        wrap: bool,
    },
    Any(u64),
}

/// Bytes that never end: behind the last come zeros.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        *first
    }

    fn how(&mut self) -> How {
        match self.byte() % 8 {
            0 | 1 => How::Small(self.byte()),
            2 => How::Ones,
            3 => How::Flip(self.byte()),
            4 => How::Move(self.byte() as i8),
            5 => How::CopyOf(self.byte()),
            6 => How::Any(u64::from_le_bytes([0; 8].map(|_: u8| self.byte()))),
            _ => How::Used {
                id: self.byte(),
                len: self.byte(),
                wrap: self.byte().is_multiple_of(2),
            },
        }
    }

    fn step(&mut self) -> Step {
        match self.byte() % 24 {
            kind @ 0..=3 => Step::Add {
                readable: self.byte() % 4,
                writable: self.byte() % 4,
                len: self.byte() % 32,
                publish: kind > 0,
            },
            4 => Step::Publish,
            5 => Step::Kick,
            6 | 7 => Step::Get,
            8 => Step::Disable,
            9 => Step::Enable,
            10 => Step::EnableDelayed,
            11 => Step::Poll,
            12 => Step::Interrupt,
            13 | 14 => Step::Take,
            15 | 16 => Step::Stage {
                which: self.byte(),
                sixteenths: self.byte() % 17,
            },
            17 => Step::PublishUsed,
            18 => Step::Wish(self.byte()),
            19 | 20 => Step::Lie {
                word: self.byte(),
                how: self.how(),
                later: None,
            },
            21 => Step::Lie {
                word: self.byte(),
                how: self.how(),
                later: Some(self.byte() % 32),
            },
            22 => Step::GiveUp(self.byte()),
            _ => Step::Reset,
        }
    }
}

impl Conversation {
    /// The conversation that these bytes are.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Self {
        let mut bytes = Bytes(bytes);
        let (kind, size, tables) = (bytes.byte(), bytes.byte(), bytes.byte());
        let layout = match kind & 1 {
            0 => Layout::Split,
            _ => Layout::Packed,
        };
        let plan = Plan {
            layout,
            entries: match layout {
                Layout::Split => 1 << (size % 5),
                Layout::Packed => 1 + u16::from(size % 16),
            },
            features: Features {
                event_idx: kind & 2 != 0,
                indirect: kind & 4 != 0,
                in_order: kind & 8 != 0,
            },
            tables: (tables % 5).into(),
        };
        let mut steps = Vec::new();
        while !bytes.0.is_empty() && steps.len() < STEPS {
            steps.push(bytes.step());
        }
        Self { plan, steps }
    }

    /// Holds it. Every step is judged by the ring; here is judged that nobody is
    /// accused as long as all keep the rules.
    ///
    /// # Panics
    /// The driver or the device half broke a promise.
    pub(crate) fn hold(&self) {
        let mut talk = Talk {
            ring: Ring::new(self.plan),
            words: words::all(self.plan),
            next_token: 0,
            lied: false,
        };
        for step in &self.steps {
            talk.step(*step);
        }
        talk.ring.finish();
    }
}

struct Talk {
    ring: Ring,
    words: Vec<Word>,
    next_token: u64,
    /// Nobody need be believed any more.
    lied: bool,
}

impl Talk {
    fn step(&mut self, step: Step) {
        let ring = &mut self.ring;
        match step {
            Step::Add {
                readable,
                writable,
                len,
                publish,
            } => {
                let lengths = [u32::from(len) + 1; 3];
                let shape = Shape(
                    &lengths[..usize::from(readable)],
                    &lengths[..usize::from(writable)],
                );
                // Why a buffer may be refused is the ring model's to say.
                let _ = match publish {
                    true => ring.add(self.next_token, shape),
                    false => ring.add_unpublished(self.next_token, shape),
                };
                self.next_token += 1;
            }
            Step::Publish => ring.publish(),
            Step::Kick => drop(ring.kick()),
            Step::Get => self.get(),
            Step::Disable => ring.ask(|ring| ring.driver.disable_callbacks()),
            Step::Enable => drop(ring.ask(|ring| ring.driver.enable_callbacks())),
            Step::EnableDelayed => drop(ring.ask(|ring| ring.driver.enable_callbacks_delayed())),
            Step::Poll => drop(ring.ask(|ring| {
                let state = ring.driver.enable_callbacks_prepare();
                ring.driver.handle().poll(state)
            })),
            Step::Interrupt => drop(ring.ask(|ring| ring.driver.handle().interrupt())),
            Step::Take => match ring.device.take() {
                Ok(chain) => ring.taken.extend(chain),
                Err(fault) => assert!(self.lied, "the driver is accused: {fault}"),
            },
            Step::Stage { which, sixteenths } => self.stage(which.into(), sixteenths.into()),
            Step::PublishUsed => ring.device.publish_used(),
            Step::Wish(wish) => match wish % 3 {
                0 => drop(ring.device.should_interrupt()),
                1 => drop(ring.device.enable_kicks()),
                _ => ring.device.disable_kicks(),
            },
            Step::Lie { word, how, later } => self.lie(word.into(), how, later),
            Step::GiveUp(count) => {
                for _ in 0..count % 4 {
                    ring.detach();
                }
                // The device may go on; what it says now is not for a driver that
                // has given up.
                self.lied |= count % 4 > 0;
                self.get();
                self.get();
                let token = self.next_token;
                self.next_token += 1;
                // Refused, if anything was given up.
                let _ = self.ring.add(token, Shape::PAIR);
                self.ring.kick();
                while self.ring.detach().is_some() {}
                self.reset();
            }
            Step::Reset => self.reset(),
        }
    }

    fn get(&mut self) {
        if let Err(error) = self.ring.get() {
            assert!(self.lied, "the device is accused: {error}");
        }
    }

    fn stage(&mut self, which: usize, sixteenths: u32) {
        let ring = &mut self.ring;
        if ring.taken.is_empty() {
            return;
        }
        let Some(chain) = ring.taken.remove(which % ring.taken.len()) else {
            return;
        };
        let written = u64::from(chain.writable_bytes()) * u64::from(sixteenths) / 16;
        ring.device.stage_used(&chain, written as u32);
    }

    fn lie(&mut self, word: usize, how: How, later: Option<u8>) {
        self.lied = true;
        let watch = &self.ring.watch;
        let word = self.words[word % self.words.len()];
        let now = watch.read(word);
        let value = match how {
            How::Small(value) => value.into(),
            How::Ones => u64::MAX,
            How::Flip(bit) => now ^ 1 << (bit % 64),
            How::Move(by) => now.wrapping_add_signed(by.into()),
            How::CopyOf(other) => watch.read(self.words[usize::from(other) % self.words.len()]),
            How::Used { id, len, wrap } => {
                let flags = if wrap { 0x8082 } else { 0x0002 };
                u64::from(len) | u64::from(id) << 32 | flags << 48
            }
            How::Any(value) => value,
        };
        match later {
            None => watch.write(set(word, value)),
            Some(accesses) => watch.arm(When::Access(accesses.into()), set(word, value)),
        }
    }

    /// The queue begins afresh, with a device that has heard of it.
    fn reset(&mut self) {
        self.ring.watch.disarm();
        self.ring.reset();
        self.lied = false;
    }
}
