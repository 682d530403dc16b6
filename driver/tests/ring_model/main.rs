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
mod layout;
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

fn snaplens() -> impl Strategy<Value = u32> {
    prop_oneof![Just(0u32), 1..64u32, Just(4096u32)]
}

// Shows: driver/2.7.4.2/1, driver/2.7.4.2/2, driver/2.7.5/1, driver/2.7.5.2/2,
//   driver/2.7.5.3/1, driver/2.7.5.3.1/1, driver/2.7.5.3.1/2, driver/2.7.5.3.1/3,
//   driver/2.7.5.3.1/4, driver/2.7.5.3.1/5, driver/2.7.6.1/1, driver/2.7.7.1/1,
//   driver/2.7.7.1/3, driver/2.7.7.1/5, driver/2.7.9/1, driver/2.7.10.1/1,
//   driver/2.7.10.1/2, driver/2.7.10.1/3, driver/2.7.10.1/4, driver/2.7.10.1/5,
//   driver/2.7.10.1/6, driver/2.7.10.1/7, driver/2.7.13/2, driver/2.7.13.1/1,
//   driver/2.8.1/1, driver/2.8.1/2, driver/2.8.1/3, driver/2.8.2/1, driver/2.8.3/1,
//   driver/2.8.5/1, driver/2.8.6/1, driver/2.8.6/2, driver/2.8.6/3, driver/2.8.6/4,
//   driver/2.8.7/1, driver/2.8.8/1, driver/2.8.10/1, driver/2.8.10/2,
//   driver/2.8.10/3, driver/2.8.13/1, driver/2.8.16/1, driver/2.8.16/2,
//   driver/2.8.16/3, driver/2.8.17/2, driver/2.8.17/3, driver/2.8.17/5,
//   driver/2.8.17/6, driver/2.8.19/1, driver/2.8.19/2, driver/2.8.19/4
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
        check(6, &case, |case| {
            play(&case);
        });
    }
}

// Shows: driver/2.7.8.3/1
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
    for size in sizes(layout) {
        let case = case(layout, *size, features, 0..40u32, OPERATIONS);
        check(3, &(case, snaplens()), |(case, snaplen)| {
            play_recorded(&case, snaplen);
        });
    }
}

// Shows: driver/2.7.6.1/1, driver/2.7.13.3/1
/// Indices of 16 bits pass 65535 → 0 in the middle of it; with up to 65600 rounds
/// before the first decision even the range of one decision wraps.
#[rstest]
fn behaves_like_the_model_where_indices_wrap(
    #[values(false, true)] event_idx: bool,
    #[values(false, true)] in_order: bool,
    #[values(1, 8, 256)] size: u16,
) {
    if cfg!(miri) {
        return; // Minutes of turning the ring; nothing else is different.
    }
    let features = Features {
        event_idx,
        indirect: true,
        in_order,
    };
    let case = case(Layout::Split, size, features, 65_440..65_600u32, OPERATIONS);
    check(2, &case, |case| {
        play(&case);
    });
}

// Shows: driver/2.8.1/1, driver/2.9/4
/// The largest packed ring, where the wrap counter turns for the first and for the
/// second time.
#[rstest]
fn behaves_like_the_model_where_the_largest_ring_wraps(
    #[values(false, true)] event_idx: bool,
    #[values(false, true)] in_order: bool,
    #[values(32_740, 65_510)] rounds: u32,
) {
    if cfg!(miri) {
        return; // As above.
    }
    let features = Features {
        event_idx,
        indirect: true,
        in_order,
    };
    let rounds = rounds..rounds + 40;
    let case = case(Layout::Packed, 32_768, features, rounds, 120);
    check(1, &case, |case| {
        play(&case);
    });
}

#[rstest]
fn every_operation_has_its_record_where_indices_wrap(
    #[values(Layout::Split, Layout::Packed)] layout: Layout,
    #[values(false, true)] event_idx: bool,
    #[values(false, true)] in_order: bool,
) {
    if cfg!(miri) {
        return; // As above.
    }
    let features = Features {
        event_idx,
        indirect: true,
        in_order,
    };
    let case = case(layout, 8, features, 65_440..65_600u32, OPERATIONS);
    check(1, &(case, snaplens()), |(case, snaplen)| {
        play_recorded(&case, snaplen);
    });
}
