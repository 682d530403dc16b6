//! Packed: used descriptors that stand where none should, because the device skipped
//! too few descriptors or too many, or did not begin with the first.

use crate::case::Op::{Enable, Get, Interrupt, Poll, Return, Write};
use crate::case::Seen::{Done, No, Nothing, Used, Yes};
use crate::case::{Row, row};
use crate::harness::Plan;
use crate::harness::words::{set, set_tail, tail};
use crate::moment::Moment::{Full, Hidden, Quiet, Renewed, Two, Unkicked};
use crate::moment::{Moment, PACKED};

/// Ids 0, 1, 2, 3, each with two descriptors.
const LISTS: &[Plan] = &[PACKED, PACKED.event_idx()];
/// Ids 0, 1, 2, …, each with a table.
const TABLES: &[Plan] = &[PACKED.indirect(), PACKED.indirect().event_idx()];
/// The driver looks at descriptor 0 in the first time round.
const FIRST: &[Moment] = &[Two, Unkicked, Full, Hidden, Quiet, Renewed];
/// Used in the first time round, with something written.
const USED: u16 = 0x8082;

pub(super) const ROWS: &[Row] = &[
    row(
        "the second list first, and the ring goes on behind it",
        LISTS,
        &[Two, Quiet],
        &[set_tail(0, 1, 10, USED)],
        "device/2.8.12/2",
        &[
            (Get, Used(2, 10)),
            (Get, Nothing),
            (Write(set_tail(2, 0, 9, USED)), Done),
            (Get, Used(1, 9)),
        ],
    ),
    row(
        "a used descriptor at the second place, none at the first",
        LISTS,
        &[Two, Quiet],
        &[set_tail(2, 1, 10, USED)],
        "device/2.8.12/2",
        &[
            (Get, Nothing),
            (Enable, Yes),
            (Write(set_tail(0, 0, 9, USED)), Done),
            (Get, Used(1, 9)),
            (Get, Used(2, 10)),
        ],
    ),
    row(
        "a used descriptor for each of a list",
        LISTS,
        FIRST,
        &[set_tail(0, 0, 10, USED), set_tail(1, 0, 10, USED)],
        "device/2.8.6/1",
        &[(Get, Used(1, 10)), (Get, Nothing)],
    ),
    row(
        "a used descriptor for the second of a list only",
        LISTS,
        FIRST,
        &[set_tail(1, 0, 10, USED)],
        "device/2.8.5/1",
        &[(Get, Nothing), (Poll, No)],
    ),
    row(
        "skipping one descriptor where the list had two",
        LISTS,
        &[Two, Full],
        &[set_tail(0, 0, 10, USED), set_tail(1, 1, 10, USED)],
        "device/2.8.6/2",
        &[
            (Get, Used(1, 10)),
            (Get, Nothing),
            (Write(set_tail(2, 1, 10, USED)), Done),
            (Get, Used(2, 10)),
        ],
    ),
    row(
        "skipping three descriptors where the list had two",
        LISTS,
        &[Two, Full],
        &[set_tail(0, 0, 10, USED), set_tail(3, 1, 10, USED)],
        "device/2.8.6/2",
        &[
            (Get, Used(1, 10)),
            (Get, Nothing),
            (Write(set_tail(2, 1, 10, USED)), Done),
            (Get, Used(2, 10)),
        ],
    ),
    row(
        "skipping two descriptors where the list had a table",
        TABLES,
        &[Two, Full],
        &[set_tail(0, 0, 10, USED), set_tail(2, 1, 10, USED)],
        "device/2.8.6/2",
        &[
            (Get, Used(1, 10)),
            (Get, Nothing),
            (Write(set_tail(1, 1, 10, USED)), Done),
            (Get, Used(2, 10)),
        ],
    ),
    row(
        "going on where the ring before the reset stood",
        LISTS,
        &[Renewed],
        &[set_tail(2, 1, 10, USED)],
        "device/2.6.1.1.1/2",
        &[(Get, Nothing), (Poll, No)],
    ),
    row(
        "a descriptor beyond the list, all ones",
        LISTS,
        &[Two, Quiet],
        &[set(tail(7), u64::MAX), set(tail(5), u64::MAX)],
        "device/2.8.15/2",
        &[
            (Return, Done),
            (Get, Used(1, 10)),
            (Return, Done),
            (Get, Used(2, 10)),
            (Get, Nothing),
            (Interrupt, No),
        ],
    ),
];
