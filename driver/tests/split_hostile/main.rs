//! What one half does when the other keeps no rules.
//!
//! The misbehaving side writes into the shared areas directly. The driver must
//! name the rule that was broken, refuse everything from then on, and still give
//! every token back exactly once; the device must name it and stay where it is.

#[path = "../common/mod.rs"]
mod common;
mod device;
mod driver;

use common::{Plan, Rig};
use proptest::prelude::ProptestConfig;
use virtscope_driver::instrument::NoInstrument;
use virtscope_driver::memory::Segment;
use virtscope_record::{Layout, Token};

const SIZE: u16 = 8;

type Ring = Rig<NoInstrument, u64>;

fn ring(event_idx: bool) -> Ring {
    let mut plan = Plan::new(Layout::Split, SIZE);
    plan.features.event_idx = event_idx;
    Rig::new(plan, NoInstrument, NoInstrument)
}

impl Ring {
    fn segment(&self, len: u32) -> Segment {
        Segment {
            address: self.buffers,
            len,
        }
    }

    /// The driver adds a buffer of two descriptors, 10 bytes of it writable.
    fn add(&mut self, number: u64) {
        let (readable, writable) = (self.segment(4), self.segment(10));
        self.driver
            .add(&[readable], &[writable], Token(number), number)
            .unwrap();
    }

    /// Both halves keep the rules for `rounds` buffers.
    fn run(&mut self, rounds: u32) {
        for _ in 0..rounds {
            self.add(0);
            let chain = self.device.take().unwrap().unwrap();
            self.device.put_used(&chain, 10);
            self.driver.get_buf().unwrap().unwrap();
        }
    }
}

fn config() -> ProptestConfig {
    ProptestConfig {
        failure_persistence: None,
        cases: if cfg!(miri) { 10 } else { 1000 },
        ..ProptestConfig::default()
    }
}
