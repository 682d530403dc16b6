//! What is done to the ring, and how it is chosen.

use proptest::prelude::*;
use proptest::sample::{Index, select};

/// One run: a ring and what is done to it.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) size: u16,
    pub(crate) event_idx: bool,
    /// Buffers that go through the ring first, to bring the indices somewhere.
    pub(crate) rounds: u32,
    pub(crate) operations: Vec<Operation>,
}

/// One step of either half.
#[derive(Clone, Debug)]
pub(crate) enum Operation {
    /// Segments' lengths by direction.
    Add {
        readable: Vec<u32>,
        writable: Vec<u32>,
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
    Take,
    /// Which of the buffers the device holds, and how much of it is written.
    PutUsed {
        which: Index,
        written: Index,
    },
    ShouldInterrupt,
    DisableKicks,
    EnableKicks,
}

/// Lengths of the segments of one direction: few in most cases, and all that a
/// ring of `size` could hold, and more, at times. Zero is a length that must be
/// refused.
fn lengths(size: u16) -> impl Strategy<Value = Vec<u32>> {
    let length = prop_oneof![60 => 1..100u32, 1 => Just(0u32)];
    let most = usize::from(size) + 1;
    prop_oneof![
        12 => proptest::collection::vec(length.clone(), 0..=3),
        1 => proptest::collection::vec(length, 0..=most),
    ]
}

fn operation(size: u16) -> impl Strategy<Value = Operation> {
    use Operation as Op;
    let add = (lengths(size), lengths(size), proptest::bool::weighted(0.7)).prop_map(
        |(readable, writable, publish)| Op::Add {
            readable,
            writable,
            publish,
        },
    );
    let put_used = (any::<Index>(), any::<Index>())
        .prop_map(|(which, written)| Op::PutUsed { which, written });
    prop_oneof![
        8 => add,
        2 => Just(Op::Publish),
        3 => Just(Op::KickPrepare),
        1 => Just(Op::Kick),
        1 => Just(Op::Notify),
        6 => Just(Op::GetBuf),
        1 => Just(Op::Interrupt),
        1 => Just(Op::DisableCallbacks),
        2 => Just(Op::EnableCallbacks),
        7 => Just(Op::Take),
        7 => put_used,
        3 => Just(Op::ShouldInterrupt),
        1 => Just(Op::DisableKicks),
        2 => Just(Op::EnableKicks),
    ]
}

/// A ring of any size up to 256 that starts after `rounds` buffers, and up to
/// 300 operations on it.
pub(crate) fn case(rounds: u32) -> impl Strategy<Value = Case> {
    let most = if cfg!(miri) { 60 } else { 300 };
    let ring = (select(vec![1u16, 2, 4, 8, 16, 64, 256]), any::<bool>());
    ring.prop_flat_map(move |(size, event_idx)| {
        proptest::collection::vec(operation(size), 1..most).prop_map(move |operations| Case {
            size,
            event_idx,
            rounds,
            operations,
        })
    })
}
