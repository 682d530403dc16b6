//! Packed: used descriptors that name the wrong buffer, or too many bytes of it.

use super::{not_in_flight, out_of_range, too_long};
use crate::case::Op::{Afresh, Get, Interrupt, Poll, Publish, Return, Round, Write};
use crate::case::Seen::{Breaks, Done, No, Nothing, Used, Yes};
use crate::case::{Row, row};
use crate::harness::Plan;
use crate::harness::words::set_tail;
use crate::moment::Moment::{
    Between, Beyond, Detached, Edge, Fresh, Full, Hidden, Idle, Outbound, Quiet, Renewed, Reset,
    Taken, Two, Unkicked, Unseen,
};
use crate::moment::{Moment, PACKED};
use virtscope_driver::ring::Violation::UsedLengthTooLong;

/// Ids 0, 1, 2, 3, each with two descriptors.
const LISTS: &[Plan] = &[PACKED, PACKED.event_idx()];
/// Ids 0, 1, 2, …, each with a table.
const TABLES: &[Plan] = &[PACKED.indirect(), PACKED.indirect().event_idx()];
/// The driver looks at descriptor 0 in the first time round.
const FIRST: &[Moment] = &[Two, Unkicked, Full, Hidden, Quiet, Renewed];
/// Used in the first time round, with something written; in the second.
const USED: u16 = 0x8082;
const USED_2: u16 = 0x0002;

pub(super) const ROWS: &[Row] = &[
    row(
        "the first id behind the ring",
        LISTS,
        FIRST,
        &[set_tail(0, 8, 10, USED)],
        "device/2.8/2",
        &[(Get, Breaks(out_of_range(8)))],
    ),
    row(
        "an id as large as the largest ring",
        LISTS,
        FIRST,
        &[set_tail(0, 0x8000, 10, USED)],
        "device/2.8/1",
        &[(Get, Breaks(out_of_range(0x8000)))],
    ),
    row(
        "the largest id of 15 bits",
        LISTS,
        FIRST,
        &[set_tail(0, 0x7fff, 10, USED)],
        "device/2.8/2",
        &[(Get, Breaks(out_of_range(0x7fff)))],
    ),
    row(
        "an id of all ones",
        LISTS,
        FIRST,
        &[set_tail(0, 0xffff, 10, USED)],
        "device/2.8/2",
        &[(Get, Breaks(out_of_range(0xffff)))],
    ),
    row(
        "an id that is free",
        LISTS,
        &[Two, Unkicked, Hidden, Quiet],
        &[set_tail(0, 2, 10, USED)],
        "device/2.8/2",
        &[(Get, Breaks(not_in_flight(2)))],
    ),
    row(
        "the last id that the ring has",
        LISTS,
        FIRST,
        &[set_tail(0, 7, 10, USED)],
        "device/2.8/2",
        &[(Get, Breaks(not_in_flight(7)))],
    ),
    row(
        "the id of a buffer not made available",
        LISTS,
        &[Hidden],
        &[set_tail(0, 1, 10, USED)],
        "device/2.8.15/2",
        &[(Get, Breaks(not_in_flight(1)))],
    ),
    row(
        "the only buffer, not made available",
        LISTS,
        &[Unseen],
        &[set_tail(0, 0, 10, USED)],
        "device/2.8.15/2",
        &[(Get, Breaks(not_in_flight(0)))],
    ),
    row(
        "used before it was made available, and overwritten by that",
        LISTS,
        &[Unseen],
        &[set_tail(0, 0, 9, USED)],
        "device/2.1.2/1",
        &[
            (Interrupt, Yes),
            (Publish, Done),
            (Get, Nothing),
            (Poll, No),
        ],
    ),
    row(
        "a used descriptor in a ring that never had any",
        LISTS,
        &[Fresh, Reset],
        &[set_tail(0, 0, 0, USED)],
        "device/2.8.15/2",
        &[(Get, Breaks(not_in_flight(0)))],
    ),
    row(
        "a used descriptor while nothing is in flight",
        LISTS,
        &[Idle],
        &[set_tail(4, 1, 0, USED)],
        "device/2.8.15/2",
        &[(Get, Breaks(not_in_flight(1)))],
    ),
    row(
        "the id of a buffer that was detached",
        LISTS,
        &[Detached],
        &[set_tail(0, 0, 10, USED)],
        "device/2.8/2",
        &[(Get, Breaks(not_in_flight(0)))],
    ),
    row(
        "returned twice, before it is taken",
        LISTS,
        &[Two, Full, Renewed],
        &[set_tail(0, 1, 10, USED), set_tail(2, 1, 10, USED)],
        "device/2.8/2",
        &[(Get, Used(2, 10)), (Get, Breaks(not_in_flight(1)))],
    ),
    row(
        "returned twice, after it was taken",
        LISTS,
        &[Taken],
        &[set_tail(2, 0, 10, USED)],
        "device/2.8/2",
        &[(Get, Breaks(not_in_flight(0)))],
    ),
    row(
        "a descriptor rewritten to one already taken",
        LISTS,
        &[Between],
        &[set_tail(2, 0, 10, USED)],
        "device/2.8.15/3",
        &[(Get, Breaks(not_in_flight(0)))],
    ),
    row(
        "a descriptor rewritten to another in flight",
        LISTS,
        &[Between],
        &[set_tail(2, 2, 3, USED)],
        "device/2.8.15/3",
        &[(Get, Used(3, 3)), (Get, Nothing)],
    ),
    row(
        "a used descriptor taken back before it is seen",
        LISTS,
        &[Between],
        &[set_tail(2, 1, 4, 0x0081)],
        "device/2.8.15/3",
        &[
            (Get, Nothing),
            (Poll, No),
            (Write(set_tail(2, 1, 10, USED)), Done),
            (Get, Used(2, 10)),
        ],
    ),
    row(
        "a descriptor changed after the buffer was taken",
        LISTS,
        &[Taken],
        &[set_tail(0, 5, 77, 0xffff)],
        "device/2.8.15/3",
        &[(Get, Nothing), (Return, Done), (Get, Used(2, 10))],
    ),
    row(
        "the same descriptor used again",
        LISTS,
        &[Idle],
        &[set_tail(0, 1, 10, USED), set_tail(2, 0, 10, USED)],
        "device/2.8.15/3",
        &[
            (Get, Nothing),
            (Round(3), Done),
            (Round(4), Done),
            (Round(5), Done),
        ],
    ),
    row(
        "an indirect buffer returned twice",
        TABLES,
        &[Two, Full],
        &[set_tail(0, 1, 10, USED), set_tail(1, 1, 10, USED)],
        "device/2.8/2",
        &[(Get, Used(2, 10)), (Get, Breaks(not_in_flight(1)))],
    ),
    row(
        "the bytes of an indirect buffer's table",
        TABLES,
        FIRST,
        &[set_tail(0, 0, 32, USED)],
        "device/2.8.4/1",
        &[(Get, Breaks(too_long(32)))],
    ),
    row(
        "one byte too many",
        LISTS,
        FIRST,
        &[set_tail(0, 0, 11, USED)],
        "device/2.8.4/1",
        &[(Get, Breaks(too_long(11)))],
    ),
    row(
        "the readable bytes counted as well",
        LISTS,
        FIRST,
        &[set_tail(0, 0, 14, USED)],
        "device/2.8.4/1",
        &[(Get, Breaks(too_long(14)))],
    ),
    row(
        "a length that is right in its low half",
        LISTS,
        FIRST,
        &[set_tail(0, 0, 0x1_000a, USED)],
        "device/2.8.4/1",
        &[(Get, Breaks(too_long(0x1_000a)))],
    ),
    row(
        "a length without end",
        LISTS,
        FIRST,
        &[set_tail(0, 0, u32::MAX, USED)],
        "device/2.8.4/1",
        &[(Get, Breaks(too_long(u32::MAX)))],
    ),
    row(
        "written bytes where none may be",
        LISTS,
        &[Outbound],
        &[set_tail(0, 0, 1, USED)],
        "device/2.8.15/1",
        &[(
            Get,
            Breaks(UsedLengthTooLong {
                used_length: 1,
                writable: 0,
            }),
        )],
    ),
    row(
        "nothing written, where nothing may be, says the flag",
        LISTS,
        &[Outbound],
        &[set_tail(0, 0, 4, USED & !2)],
        "device/2.8.3/1",
        &[(Get, Used(1, 0)), (Get, Nothing)],
    ),
    row(
        "too long at the ring's end",
        LISTS,
        &[Edge],
        &[set_tail(6, 0, 11, USED)],
        "device/2.8.4/1",
        &[(Get, Breaks(too_long(11)))],
    ),
    row(
        "too long behind the ring's end",
        LISTS,
        &[Edge],
        &[set_tail(6, 0, 10, USED), set_tail(0, 1, 11, USED_2)],
        "device/2.8.4/1",
        &[(Get, Used(1, 10)), (Get, Breaks(too_long(11)))],
    ),
    row(
        "too long in the second time round",
        LISTS,
        &[Beyond],
        &[set_tail(0, 1, 11, USED_2)],
        "device/2.8.4/1",
        &[(Get, Breaks(too_long(11)))],
    ),
    row(
        "still live after the reset",
        LISTS,
        &[Two, Full],
        &[set_tail(0, 0, 10, USED)],
        "device/3.3/1",
        &[
            (Get, Used(1, 10)),
            (Afresh, Done),
            (Write(set_tail(0, 1, 10, USED)), Done),
            (Get, Breaks(not_in_flight(1))),
        ],
    ),
    row(
        "the third id of the ring before the reset",
        LISTS,
        &[Renewed],
        &[set_tail(0, 2, 10, USED)],
        "device/2.6.1.1.1/1",
        &[(Get, Breaks(not_in_flight(2)))],
    ),
    row(
        "ids of the ring of 16 that it was before",
        LISTS,
        &[Renewed],
        &[set_tail(0, 15, 10, USED)],
        "device/2.6.1.2.1/1",
        &[(Get, Breaks(out_of_range(15)))],
    ),
];
