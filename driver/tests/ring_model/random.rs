//! Cases by chance, for every set of features and every size in turn.

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use rstest::rstest;
use virtscope_driver::ring::Features;
use virtscope_record::Layout;

use super::case::{Case, Operation, Pick, Piece, Written};
use super::common::Plan;
use super::{play, play_recorded};

/// The segments of one direction: few in most cases, and all that a ring of `size`
/// could hold, and more, at times.
fn pieces(size: u16) -> impl Strategy<Value = Vec<Piece>> {
    let piece = prop_oneof![
        120 => (1..100u32).prop_map(Piece::Bytes),
        1 => Just(Piece::Bytes(0)),
        1 => any::<u32>().prop_map(Piece::InRing),
    ];
    // A list as long as the largest ring is a test of its own.
    let most = usize::from(size.min(256)) + 1;
    prop_oneof![
        12 => proptest::collection::vec(piece.clone(), 0..=3),
        1 => proptest::collection::vec(piece, 0..=most),
    ]
}

fn operation(size: u16) -> impl Strategy<Value = Operation> {
    use Operation as Op;
    let often = proptest::bool::weighted(0.7);
    let add =
        (pieces(size), pieces(size), often).prop_map(|(readable, writable, publish)| Op::Add {
            readable,
            writable,
            publish,
        });
    let which = prop_oneof![
        Just(Pick::FIRST),
        Just(Pick::LAST),
        (0..8usize).prop_map(Pick)
    ];
    let written = prop_oneof![
        4 => Just(Written::Everything),
        2 => any::<u32>().prop_map(Written::Part),
        1 => Just(Written::Nothing),
    ];
    let finish = (which, written, any::<bool>()).prop_map(|(which, written, publish)| Op::Finish {
        which,
        written,
        publish,
    });
    prop_oneof![
        32 => add,
        8 => Just(Op::Publish),
        12 => Just(Op::KickPrepare),
        4 => Just(Op::Kick),
        4 => Just(Op::Notify),
        2 => Just(Op::NotifyNobody),
        28 => Just(Op::GetBuf),
        4 => Just(Op::Interrupt),
        4 => Just(Op::DisableCallbacks),
        6 => Just(Op::EnableCallbacks),
        4 => Just(Op::EnableCallbacksPrepare),
        4 => Just(Op::EnableCallbacksDelayed),
        4 => Just(Op::Poll),
        28 => Just(Op::Take),
        28 => finish,
        8 => Just(Op::PublishUsed),
        12 => Just(Op::ShouldInterrupt),
        4 => Just(Op::DisableKicks),
        8 => Just(Op::EnableKicks),
        4 => (0..=2 * size.min(300)).prop_map(Op::AskForKickAfter),
        4 => any::<u16>().prop_map(Op::Noise),
        1 => Just(Op::Detach),
        2 => Just(Op::Reset),
    ]
}

/// Up to `most` operations on a ring with up to four tables of two to nine
/// indirect descriptors, after `rounds` buffers.
fn case(
    layout: Layout,
    entries: u16,
    features: Features,
    rounds: impl Strategy<Value = u32>,
    most: usize,
) -> impl Strategy<Value = Case> {
    let operations = proptest::collection::vec(operation(entries), 1..=most);
    (0..=4u16, 2..=9u16, rounds, operations).prop_map(
        move |(tables, capacity, rounds, operations)| Case {
            plan: Plan {
                features,
                tables: (tables, capacity),
                ..Plan::new(layout, entries)
            },
            rounds,
            operations,
        },
    )
}

/// Sizes worth a look: the smallest, and with packed rings those that no power of
/// two divides.
fn sizes(layout: Layout) -> &'static [u16] {
    match layout {
        Layout::Split => &[1, 2, 4, 8, 16, 64, 256],
        Layout::Packed => &[1, 2, 3, 5, 7, 8, 13, 100],
    }
}

/// Runs `test` with `cases` of what `strategy` makes, and shrinks one that fails.
fn check<S: Strategy>(cases: u32, strategy: &S, test: impl Fn(S::Value)) {
    let config = ProptestConfig {
        failure_persistence: None,
        cases,
        // Ten seconds of it, whatever the machine.
        max_shrink_iters: u32::MAX,
        max_shrink_time: 10_000,
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

/// Operations in a run, at most.
const OPERATIONS: usize = 300;

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
