//! Every operation once or more, in an order that one can read.

use rstest::rstest;
use virtscope_driver::ring::Features;
use virtscope_record::Layout;

use super::case::{Case, Operation as Op, Pick, Piece, Written};
use super::common::Plan;
use super::{play, play_recorded};

/// A round trip with everything said aloud, a batch, a full ring, and a reset with
/// buffers in flight behind which all goes on.
fn tour() -> Vec<Op> {
    let unpublished = Op::Add {
        readable: vec![Piece::Bytes(3)],
        writable: vec![Piece::Bytes(5)],
        publish: false,
    };
    let stage = |written| Op::Finish {
        which: Pick::LAST,
        written,
        publish: false,
    };
    let round_trip = [
        Op::EnableKicks,
        Op::EnableCallbacksPrepare,
        Op::Poll,
        Op::add(1, 2),
        Op::KickPrepare,
        Op::Notify,
        Op::DisableKicks,
        Op::Take,
        Op::FINISH,
        Op::ShouldInterrupt,
        Op::Interrupt,
        Op::DisableCallbacks,
        Op::GetBuf,
        Op::GetBuf,
        Op::EnableCallbacks,
    ];
    let batch = [
        unpublished.clone(),
        unpublished.clone(),
        Op::Publish,
        Op::AskForKickAfter(1),
        Op::Noise(0x5a5b),
        Op::Kick,
        Op::EnableCallbacksDelayed,
        Op::Take,
        Op::Take,
        stage(Written::Everything),
        stage(Written::Everything),
        Op::PublishUsed,
        Op::ShouldInterrupt,
        Op::GetBuf,
        Op::Interrupt,
        Op::GetBuf,
    ];
    let refused = [
        Op::add(0, 2),
        Op::add(4, 4),
        Op::add(0, 0),
        Op::Add {
            readable: vec![Piece::Bytes(3)],
            writable: vec![Piece::Bytes(5), Piece::InRing(20)],
            publish: true,
        },
        Op::Take,
        stage(Written::Part(2)),
        Op::PublishUsed,
        Op::GetBuf,
        Op::add(0, 1),
        Op::Take,
        stage(Written::Nothing),
        unpublished,
        Op::Reset,
    ];
    let mut operations = Vec::new();
    operations.extend_from_slice(&round_trip);
    operations.extend_from_slice(&batch);
    operations.extend_from_slice(&refused);
    operations.extend_from_slice(&batch);
    operations
}

fn case(layout: Layout, features: Features) -> Case {
    let entries = match layout {
        Layout::Split => 4,
        Layout::Packed => 5,
    };
    Case {
        plan: Plan {
            features,
            tables: (1, 3),
            ..Plan::new(layout, entries)
        },
        // So that the end of the ring comes soon.
        rounds: 2,
        operations: tour(),
    }
}

#[rstest]
fn a_tour(
    #[values(Layout::Split, Layout::Packed)] layout: Layout,
    #[values(false, true)] event_idx: bool,
    #[values(false, true)] indirect: bool,
    #[values(false, true)] in_order: bool,
) {
    if cfg!(miri) && indirect != in_order {
        return; // Half of them are enough for what Miri looks for.
    }
    let features = Features {
        event_idx,
        indirect,
        in_order,
    };
    let batches = play(&case(layout, features));
    // The device returns both buffers of a batch by one entry, before the reset and
    // behind it.
    assert_eq!(batches, if in_order { 2 } else { 0 });
}

/// The same with a record of each step.
#[rstest]
fn a_recorded_tour(
    #[values(Layout::Split, Layout::Packed)] layout: Layout,
    #[values(false, true)] event_idx: bool,
) {
    let features = Features {
        event_idx,
        indirect: true,
        in_order: event_idx,
    };
    play_recorded(&case(layout, features), 4);
}
