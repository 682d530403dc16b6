//! Both halves of either ring against one model queue.
//!
//! Random operations of either half, in any order that the interface allows, on
//! rings of all kinds and many sizes. Behind each the model says what must have
//! come of it: what is free and in flight, which buffer goes where, what its bytes
//! are, who must be notified (counted out one position at a time, from the text of
//! virtio 1.4 §2.7.7, §2.7.10 and §2.8.10), which bytes of the ring may have
//! changed and what they must say to whoever reads them by the specification, and,
//! where records are on, every field of every record.

#[path = "../common/mod.rs"]
mod common;

mod callbacks;
mod case;
mod edges;
mod examples;
mod model;
mod picture;
mod records;
mod run;

use std::sync::Arc;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use rstest::rstest;
use virtscope_driver::instrument::NoInstrument;
use virtscope_driver::instrument::live::Hub;
use virtscope_driver::ring::Features;
use virtscope_record::{Layout, Producer, QueueId};

use case::{Case, case, sizes};
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

/// Runs `test` with `cases` of what `strategy` makes, and shrinks one that fails.
fn check<S: Strategy>(cases: u32, strategy: &S, test: impl Fn(S::Value)) {
    let config = ProptestConfig {
        failure_persistence: None,
        cases: if cfg!(miri) { 1 } else { cases },
        max_shrink_iters: 4096,
        ..ProptestConfig::default()
    };
    let checked = TestRunner::new(config).run(strategy, |case| {
        test(case);
        Ok(())
    });
    if let Err(failure) = checked {
        panic!("{failure}");
    }
}

/// Operations in a run: under Miri few.
const OPERATIONS: usize = if cfg!(miri) { 40 } else { 300 };

#[rstest]
fn behaves_like_the_model(
    #[values(Layout::Split, Layout::Packed)] layout: Layout,
    #[values(false, true)] event_idx: bool,
    #[values(false, true)] indirect: bool,
    #[values(false, true)] in_order: bool,
) {
    let features = Features {
        event_idx,
        indirect,
        in_order,
    };
    for size in sizes(layout) {
        let case = case(layout, *size, features, 0..40u32, OPERATIONS);
        check(8, &case, |case| {
            play(&case);
        });
    }
}

#[rstest]
fn every_operation_has_its_record(
    #[values(Layout::Split, Layout::Packed)] layout: Layout,
    #[values(false, true)] event_idx: bool,
    #[values(false, true)] indirect: bool,
    #[values(false, true)] in_order: bool,
) {
    let features = Features {
        event_idx,
        indirect,
        in_order,
    };
    let snaplen = prop_oneof![Just(0u32), 1..64u32, Just(4096u32)];
    for size in sizes(layout) {
        let case = case(layout, *size, features, 0..40u32, OPERATIONS);
        check(8, &(case, snaplen.clone()), |(case, snaplen)| {
            play_recorded(&case, snaplen);
        });
    }
}
