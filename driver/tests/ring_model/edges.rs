//! The edges, each by a script that goes there: the end of the ring, the wrap of
//! index and counter, events at every place, full rings, batches.

use rstest::rstest;
use virtscope_driver::ring::Features;
use virtscope_record::Layout;

use super::case::{Case, Operation as Op, Pick, Piece, Written};
use super::common::Plan;
use super::play;

/// Sizes whose every offset is tried.
fn small(layout: Layout) -> &'static [u16] {
    match layout {
        Layout::Split => &[1, 2, 4, 8],
        Layout::Packed => &[1, 2, 3, 5, 7, 8, 13],
    }
}

/// All eight sets of features.
fn all_features() -> impl Iterator<Item = Features> {
    (0..8u8).map(|bits| Features {
        event_idx: bits & 1 != 0,
        indirect: bits & 2 != 0,
        in_order: bits & 4 != 0,
    })
}

fn script(layout: Layout, entries: u16, features: Features, rounds: u16, steps: Vec<Op>) -> Case {
    Case {
        plan: Plan {
            features,
            ..Plan::new(layout, entries)
        },
        rounds: rounds.into(),
        operations: steps,
    }
}

fn features(event_idx: bool, in_order: bool) -> Features {
    Features {
        event_idx,
        indirect: false,
        in_order,
    }
}

// Shows: driver/2.7.5/1, driver/2.7.5.2/2, driver/2.8.1/1, driver/2.8.1/2,
//   driver/2.8.1/3, driver/2.8.2/1, driver/2.8.6/3, driver/2.8.6/4
/// From each offset a list of each length, so that it breaks over the end of the
/// ring behind each of its descriptors; the next one goes on where it ended.
#[rstest]
fn lists_straddle_the_end_of_the_ring(
    #[values(Layout::Split, Layout::Packed)] layout: Layout,
    #[values(false, true)] event_idx: bool,
    #[values(false, true)] in_order: bool,
) {
    for &size in small(layout) {
        for offset in 0..size {
            for len in 1..=usize::from(size) {
                let mut steps = vec![Op::EnableCallbacks];
                for writable in [0, len / 2, len] {
                    steps.extend([
                        Op::EnableKicks,
                        Op::add(len - writable, writable),
                        Op::KickPrepare,
                        Op::Take,
                        Op::FINISH,
                        Op::ShouldInterrupt,
                        Op::GetBuf,
                        Op::GetBuf,
                    ]);
                }
                let features = features(event_idx, in_order);
                play(&script(layout, size, features, offset, steps));
            }
        }
    }
}

// Shows: driver/2.7.9/1, driver/2.8.2/1, driver/2.8.8/1
/// Batches of each length from each offset: made available at once and used by one
/// entry, so that both straddle the end; with a buffer among them that is not filled,
/// behind which a second entry must begin.
#[rstest]
fn batches_straddle_the_end_of_the_ring(
    #[values(Layout::Split, Layout::Packed)] layout: Layout,
    #[values(false, true)] event_idx: bool,
    #[values(1, 2)] descriptors: usize,
) {
    for &size in small(layout) {
        for offset in 0..size {
            for count in 1..=usize::from(size) / descriptors {
                for part in 0..=count {
                    let add = Op::Add {
                        readable: vec![Piece::Bytes(3); descriptors - 1],
                        writable: vec![Piece::Bytes(5)],
                        publish: false,
                    };
                    let finish = |index| Op::Finish {
                        which: Pick::FIRST,
                        written: if index == part {
                            Written::Nothing
                        } else {
                            Written::Everything
                        },
                        publish: false,
                    };
                    let mut steps = vec![add; count];
                    steps.extend([Op::Publish, Op::KickPrepare]);
                    steps.extend(vec![Op::Take; count]);
                    steps.extend((0..count).map(finish));
                    steps.extend([Op::ShouldInterrupt, Op::PublishUsed, Op::ShouldInterrupt]);
                    for _ in 0..count {
                        steps.extend([Op::Interrupt, Op::EnableCallbacksPrepare, Op::Poll]);
                        steps.push(Op::GetBuf);
                    }
                    steps.extend([Op::GetBuf, Op::Interrupt, Op::EnableCallbacks]);
                    // The one that is not filled ends a batch.
                    let (first, second) = (count.min(part + 1), count.saturating_sub(part + 1));
                    let expected = usize::from(first > 1) + usize::from(second > 1);
                    let case = script(layout, size, features(event_idx, true), offset, steps);
                    assert_eq!(play(&case), expected, "{case:?}");
                }
            }
        }
    }
}

// Shows: driver/2.8.10/1, driver/2.8.10/2, driver/2.8.10/3
/// A device that asks to be kicked at each place of two rounds, from each place of
/// two rounds, and buffers of all sizes that come there or don't.
#[rstest]
fn every_event_of_a_packed_ring(#[values(false, true)] in_order: bool) {
    for &size in &small(Layout::Packed)[..4] {
        for offset in 0..2 * size {
            for more in 0..2 * size {
                for len in 1..=usize::from(size) {
                    let mut steps = vec![Op::AskForKickAfter(more)];
                    for _ in 0..3 {
                        steps.extend([Op::add(len, 0), Op::KickPrepare]);
                        steps.extend([Op::Take, Op::FINISH, Op::GetBuf]);
                    }
                    let features = features(true, in_order);
                    play(&script(Layout::Packed, size, features, offset, steps));
                }
            }
        }
    }
}

// Shows: driver/2.7.10.1/6, driver/2.7.10.1/7, driver/2.7.13.3/1
/// The indices go from 65535 to 0 while events stand just before, at and behind the
/// wrap, on either side.
#[rstest]
fn indices_wrap(#[values(1, 2, 8)] size: u16, #[values(false, true)] in_order: bool) {
    let mut steps = Vec::new();
    for more in [0, 1, 2, 0, 1, 0, 3] {
        steps.extend([Op::AskForKickAfter(more), Op::EnableCallbacksDelayed]);
        for _ in 0..size.min(2) {
            steps.extend([Op::add(0, 1), Op::KickPrepare]);
        }
        for _ in 0..size.min(2) {
            steps.extend([Op::Take, Op::FINISH, Op::ShouldInterrupt]);
        }
        steps.extend([Op::GetBuf, Op::DisableCallbacks, Op::GetBuf]);
        steps.extend([Op::Interrupt, Op::EnableCallbacks, Op::Notify]);
    }
    for rounds in [65_530, 65_535] {
        let features = features(true, in_order);
        play(&script(
            Layout::Split,
            size,
            features,
            rounds,
            steps.clone(),
        ));
    }
}

// Shows: driver/2.8.17/5
/// A ring filled to the last entry, emptied and filled again, whatever the device's
/// order; what finds no room is refused and changes nothing.
#[rstest]
fn full_rings(
    #[values(Layout::Split, Layout::Packed)] layout: Layout,
    #[values(Pick::FIRST, Pick::LAST)] which: Pick,
) {
    for &size in small(layout) {
        for features in all_features() {
            let count = usize::from(size);
            let mut steps = Vec::new();
            for _ in 0..3 {
                steps.extend(vec![Op::add(0, 1); count]);
                steps.extend([Op::add(1, 0), Op::add(1, 1), Op::Kick]);
                steps.extend(vec![Op::Take; count + 1]);
                for _ in 0..count {
                    steps.push(Op::Finish {
                        which,
                        written: Written::Everything,
                        publish: true,
                    });
                }
                steps.push(Op::ShouldInterrupt);
                steps.extend(vec![Op::GetBuf; count + 1]);
            }
            play(&script(layout, size, features, size / 2, steps));
        }
    }
}

// Shows: driver/2.7.5.3.1/3, driver/2.8.17/1, driver/2.8.17/2, driver/2.8.19/3
/// A list longer than the ring is refused, also where a table would hold it. (A device
/// with no limit of its own allows as many, virtio 1.4 §2.8.5.)
#[rstest]
fn no_list_is_longer_than_the_ring(
    #[values(Layout::Split, Layout::Packed)] layout: Layout,
    #[values(false, true)] in_order: bool,
) {
    for &size in small(layout) {
        let features = Features {
            event_idx: false,
            indirect: true,
            in_order,
        };
        let count = usize::from(size);
        let mut steps = vec![Op::add(count, 1), Op::add(0, count)];
        // The first takes a table, the second the ring, the third finds neither.
        steps.extend([
            Op::add(count, 0),
            Op::add(1, count - 1),
            Op::Take,
            Op::FINISH,
        ]);
        steps.extend([Op::GetBuf, Op::add(count, 0)]);
        let mut case = script(layout, size, features, 1, steps);
        case.plan.tables = (1, size + 1);
        play(&case);
    }
}

/// The largest ring that there is, where its index and wrap counter turn.
#[rstest]
#[case::half_of_the_indices(32_765)]
#[case::all_of_them(65_533)]
fn the_largest_rings(
    #[values(Layout::Split, Layout::Packed)] layout: Layout,
    #[values(false, true)] in_order: bool,
    #[case] rounds: u16,
) {
    let mut steps = vec![Op::EnableKicks, Op::EnableCallbacks];
    for len in 1..=3 {
        steps.extend([Op::add(1, len), Op::Kick, Op::add(len, 0), Op::Kick]);
        steps.extend([Op::EnableCallbacksDelayed, Op::Take, Op::FINISH]);
        steps.extend([Op::ShouldInterrupt, Op::GetBuf, Op::Take, Op::FINISH]);
        steps.extend([Op::ShouldInterrupt, Op::GetBuf, Op::EnableCallbacks]);
    }
    steps.push(Op::Reset);
    steps.push(Op::add(2, 2));
    play(&script(
        layout,
        32_768,
        features(true, in_order),
        rounds,
        steps,
    ));
}
