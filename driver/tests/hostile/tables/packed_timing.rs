//! Packed: words that change while the driver works: between two reads, or right before or
//! after the one that counts. Whatever was read is what was said; it is not read
//! again.

use super::{out_of_range, too_long};
use crate::case::Op::{Enable, Get, Interrupt, Kick, Poll, Write};
use crate::case::Seen::{Breaks, Done, No, Nothing, Used, Yes};
use crate::case::{Row, row};
use crate::harness::Plan;
use crate::harness::When::{Access, Load, Loaded};
use crate::harness::words::{DEVICE_EVENT, set_event, set_tail, tail};
use crate::moment::Moment::{Full, InBatch, Quiet, Renewed, Two, Unkicked};
use crate::moment::{Moment, PACKED};

const PACKEDS: &[Plan] = &[PACKED, PACKED.event_idx()];
const SOME: &[Moment] = &[Two, Quiet, Renewed];
/// Used, and available, in the first time round.
const USED: u16 = 0x8082;
const AVAIL: u16 = 0x0083;

pub(super) const ROWS: &[Row] = &[
    row(
        "used right before the flags are read",
        PACKEDS,
        SOME,
        &[set_tail(0, 0, 5, USED)],
        "device/2.8.15/3",
        &[(Get, Used(1, 5)), (Get, Nothing)],
    )
    .when(Load(tail(0), 0)),
    row(
        "used right after the flags were read",
        PACKEDS,
        SOME,
        &[set_tail(0, 0, 5, USED)],
        "device/2.8.15/3",
        &[(Get, Nothing), (Get, Used(1, 5)), (Get, Nothing)],
    )
    .when(Loaded(tail(0))),
    row(
        "used, and available again once the flags were read",
        PACKEDS,
        SOME,
        &[set_tail(0, 0, 5, AVAIL)],
        "device/2.8.15/3",
        &[
            (Write(set_tail(0, 0, 5, USED)), Done),
            (Get, Used(1, 5)),
            (Get, Nothing),
        ],
    )
    .when(Loaded(tail(0))),
    row(
        "used, and available again before the flags are read",
        PACKEDS,
        SOME,
        &[set_tail(0, 0, 5, AVAIL)],
        "device/2.8.15/3",
        &[(Write(set_tail(0, 0, 5, USED)), Done), (Get, Nothing)],
    )
    .when(Load(tail(0), 0)),
    row(
        "seen used, and available again when it is taken",
        PACKEDS,
        SOME,
        &[set_tail(0, 0, 5, AVAIL)],
        "device/2.8.15/3",
        &[
            (Write(set_tail(0, 0, 5, USED)), Done),
            (Interrupt, Yes),
            (Get, Nothing),
        ],
    )
    .when(Load(tail(0), 1)),
    row(
        "the id changes once the flags were read",
        PACKEDS,
        SOME,
        &[set_tail(0, 8, 5, USED)],
        "device/2.8.15/3",
        &[
            (Write(set_tail(0, 1, 5, USED)), Done),
            (Get, Used(2, 5)),
            (Get, Nothing),
        ],
    )
    .when(Loaded(tail(0))),
    row(
        "the id changes before the flags are read",
        PACKEDS,
        SOME,
        &[set_tail(0, 8, 5, USED)],
        "device/2.8/2",
        &[
            (Write(set_tail(0, 1, 5, USED)), Done),
            (Get, Breaks(out_of_range(8))),
        ],
    )
    .when(Load(tail(0), 0)),
    row(
        "the length changes once the flags were read",
        PACKEDS,
        SOME,
        &[set_tail(0, 0, 11, USED)],
        "device/2.8.15/3",
        &[
            (Write(set_tail(0, 0, 5, USED)), Done),
            (Get, Used(1, 5)),
            (Get, Nothing),
        ],
    )
    .when(Loaded(tail(0))),
    row(
        "the length changes between looking and taking",
        PACKEDS,
        SOME,
        &[set_tail(0, 0, 11, USED)],
        "device/2.8.4/1",
        &[
            (Write(set_tail(0, 0, 5, USED)), Done),
            (Poll, Yes),
            (Get, Breaks(too_long(11))),
        ],
    )
    .when(Load(tail(0), 1)),
    row(
        "a batch's end changes once it was read",
        &[PACKED.in_order()],
        &[Full],
        &[set_tail(0, 3, 5, USED)],
        "device/2.8.15/3",
        &[
            (Write(set_tail(0, 1, 5, USED)), Done),
            (Get, Used(1, 10)),
            (Get, Used(2, 5)),
            (Get, Nothing),
        ],
    )
    .when(Loaded(tail(0))),
    row(
        "a batch under way is not looked up again",
        &[PACKED.in_order()],
        &[InBatch],
        &[set_tail(0, 3, 99, USED)],
        "device/2.8.15/3",
        &[(Get, Used(2, 10)), (Get, Used(3, 10)), (Get, Nothing)],
    )
    .when(Load(tail(6), 0)),
    row(
        "no kick is wanted, said before the driver looks",
        PACKEDS,
        &[Unkicked],
        &[set_event(DEVICE_EVENT, 0, 1)],
        "device/2.8.14/1",
        &[(Kick, No)],
    )
    .when(Load(DEVICE_EVENT, 0)),
    row(
        "no kick is wanted, said when the driver has looked",
        PACKEDS,
        &[Unkicked],
        &[set_event(DEVICE_EVENT, 0, 1)],
        "device/2.8.14/1",
        &[(Kick, Yes), (Kick, No)],
    )
    .when(Loaded(DEVICE_EVENT)),
    row(
        "the event offset is moved when the driver has looked",
        &[PACKED.event_idx()],
        &[Unkicked],
        &[set_event(DEVICE_EVENT, 0x8004, 2)],
        "device/2.8.10/3",
        &[(Kick, Yes), (Kick, No)],
    )
    .when(Loaded(DEVICE_EVENT)),
    row(
        "used while callbacks are asked for again",
        PACKEDS,
        SOME,
        &[set_tail(0, 0, 5, USED)],
        "device/2.8/2",
        &[(Enable, No), (Get, Used(1, 5))],
    )
    .when(Access(1)),
];
