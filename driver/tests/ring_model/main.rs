//! Both halves of either ring against one model queue.
//!
//! Operations of either half, in any order that the interface allows, on rings of
//! all kinds and many sizes: by chance ([`random`]), by scripts that go to every edge
//! ([`edges`]), and one tour that can be read ([`tour`]). Behind each operation the
//! model says what must have come of it: what is free and in flight, which buffer
//! goes where, what its bytes are, who must be notified (counted out one position at
//! a time, from the text of virtio 1.4 §2.7.7, §2.7.10 and §2.8.10), which bytes of
//! the ring may have changed and what they must say to whoever reads them by the
//! specification, and, where records are on, every field of every record.
//!
//! Beside it stand plain examples of what each operation answers ([`examples`],
//! [`callbacks`], [`layout`], [`order`]).

#[path = "../common/mod.rs"]
mod common;

mod callbacks;
mod case;
mod examples;
mod layout;
mod model;
mod order;
mod picture;
mod records;
mod run;
mod tour;

// Thousands of runs, which Miri has no time for.
#[cfg(not(miri))]
mod edges;
#[cfg(not(miri))]
mod largest;
#[cfg(not(miri))]
mod random;

use std::sync::Arc;

use virtscope_driver::instrument::NoInstrument;
use virtscope_driver::instrument::live::Hub;
use virtscope_record::{Producer, QueueId};

use case::Case;
use records::Records;
use run::Run;

const QUEUE: QueueId = QueueId::new(7, 3);

/// Plays a case without records; returns how many used entries stood for several
/// buffers.
fn play(case: &Case) -> usize {
    Run::new(case, NoInstrument, NoInstrument, None).play(case)
}

/// Plays a case and looks at its records, which carry up to `snaplen` bytes.
fn play_recorded(case: &Case, snaplen: u32) {
    // Miri looks at a whole ring for each record: the smaller, the faster.
    let (ring_bytes, snaplen) = if cfg!(miri) {
        (1024, snaplen.min(64))
    } else {
        (64 << 10, snaplen)
    };
    let hub = Hub::new(ring_bytes, snaplen);
    let driver = hub.probe(QUEUE, Producer::DriverHalf);
    let device = hub.probe(QUEUE, Producer::DeviceHalf);
    let records = Records::new(Arc::clone(&hub), QUEUE);
    Run::new(case, driver, device, Some(records)).play(case);
    for counters in hub.counters() {
        assert_eq!(counters.lost, 0, "the hub was drained all the time");
    }
}
