//! What is done to a ring, and how it is chosen.

use proptest::prelude::*;
use proptest::sample::Index;
use virtscope_driver::ring::Features;
use virtscope_record::Layout;

use super::common::Plan;

/// One run: a ring and what is done to it.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) plan: Plan,
    /// Buffers that go through the ring first, to bring the indices somewhere.
    pub(crate) rounds: u32,
    pub(crate) operations: Vec<Operation>,
}

/// One of several, whatever their number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pick(pub(crate) usize);

impl Pick {
    /// The first.
    pub(crate) const FIRST: Self = Self(0);
    /// The last of any.
    pub(crate) const LAST: Self = Self(usize::MAX);

    /// One of `count`, which is not zero.
    pub(crate) fn of(self, count: usize) -> usize {
        self.0.min(count - 1)
    }
}

/// How much of a buffer the device fills.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Written {
    Nothing,
    /// This share of the device-writable bytes.
    Part(Index),
    Everything,
}

/// A segment to add.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Piece {
    /// This many bytes of its own. None must be refused.
    Bytes(u32),
    /// A byte of the ring itself, which must be refused.
    InRing(Index),
}

/// One step of either half.
#[derive(Clone, Debug)]
pub(crate) enum Operation {
    Add {
        readable: Vec<Piece>,
        writable: Vec<Piece>,
        publish: bool,
    },
    Publish,
    KickPrepare,
    Kick,
    Notify,
    GetBuf,
    Interrupt,
    DisableCallbacks,
    EnableCallbacks,
    EnableCallbacksPrepare,
    EnableCallbacksDelayed,
    Poll,
    Take,
    /// One of those that the device holds.
    Finish {
        which: Pick,
        written: Written,
        publish: bool,
    },
    PublishUsed,
    ShouldInterrupt,
    DisableKicks,
    EnableKicks,
    /// The device asks to be kicked once this many more were published.
    AskForKickAfter(u16),
    /// The device writes this into what the driver must ignore.
    Noise(u16),
    Reset,
}

impl Operation {
    /// A published buffer of so many readable and writable segments.
    pub(crate) fn add(readable: usize, writable: usize) -> Self {
        Self::Add {
            readable: vec![Piece::Bytes(7); readable],
            writable: vec![Piece::Bytes(9); writable],
            publish: true,
        }
    }

    /// The device finishes the buffer that it has had longest, wholly, and shows it.
    pub(crate) const FINISH: Self = Self::Finish {
        which: Pick::FIRST,
        written: Written::Everything,
        publish: true,
    };
}

/// The segments of one direction: few in most cases, and all that a ring of `size`
/// could hold, and more, at times.
fn pieces(size: u16) -> impl Strategy<Value = Vec<Piece>> {
    let piece = prop_oneof![
        120 => (1..100u32).prop_map(Piece::Bytes),
        1 => Just(Piece::Bytes(0)),
        1 => any::<Index>().prop_map(Piece::InRing),
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
        2 => any::<Index>().prop_map(Written::Part),
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
        1 => Just(Op::Reset),
    ]
}

/// Up to `most` operations on a ring with up to four tables of two to nine
/// indirect descriptors, after `rounds` buffers.
pub(crate) fn case(
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

/// All eight sets of features.
pub(crate) fn all_features() -> impl Iterator<Item = Features> {
    (0..8u8).map(|bits| Features {
        event_idx: bits & 1 != 0,
        indirect: bits & 2 != 0,
        in_order: bits & 4 != 0,
    })
}

/// Sizes worth a look: the smallest, and with packed rings those that no power of
/// two divides.
pub(crate) fn sizes(layout: Layout) -> &'static [u16] {
    match layout {
        Layout::Split => &[1, 2, 4, 8, 16, 64, 256],
        Layout::Packed => &[1, 2, 3, 5, 7, 8, 13, 100],
    }
}
