//! Packed: flags that mean something else than the device has done, or nothing.

use super::not_in_flight;
use crate::case::Op::{Get, Interrupt, Poll, Return, Round, Scribble, Write};
use crate::case::Seen::{Breaks, Done, No, Nothing, Used, Yes};
use crate::case::{Op, Row, Seen, row};
use crate::harness::Plan;
use crate::harness::words::{DRIVER_EVENT, addr, set, set_event, set_tail, table, tail};
use crate::moment::Moment::{
    Beyond, Edge, Fresh, Full, Idle, Quiet, Renewed, Taken, Two, Unkicked,
};
use crate::moment::{Moment, PACKED};

const LISTS: &[Plan] = &[PACKED, PACKED.event_idx(), PACKED.in_order()];
const ODD: &[Plan] = &[PACKED.sized(7), PACKED.sized(7).in_order()];
const FIRST: &[Moment] = &[Two, Unkicked, Full, Quiet, Renewed];
const AVAIL: u16 = 0x80;
const USED: u16 = 0x8000;
const WRITE: u16 = 2;

/// Nothing is used yet; when something is, it is taken.
const NOT_YET: &[(Op, Seen)] = &[
    (Get, Nothing),
    (Poll, No),
    (Interrupt, No),
    (Return, Done),
    (Poll, Yes),
    (Get, Used(1, 10)),
];

/// Both buffers come back, and then more go round than the ring has entries.
const AS_EVER: &[(Op, Seen)] = &[
    (Return, Done),
    (Get, Used(1, 10)),
    (Return, Done),
    (Get, Used(2, 10)),
    (Round(3), Done),
    (Round(4), Done),
    (Round(5), Done),
    (Round(6), Done),
    (Round(7), Done),
    (Round(8), Done),
];

pub(super) const ROWS: &[Row] = &[
    row(
        "the used bit alone",
        LISTS,
        FIRST,
        &[set_tail(0, 0, 10, USED | WRITE)],
        "device/2.8.1/3",
        NOT_YET,
    ),
    row(
        "the available bit alone",
        LISTS,
        FIRST,
        &[set_tail(0, 0, 10, AVAIL | WRITE)],
        "device/2.8.1/2",
        NOT_YET,
    ),
    row(
        "neither bit in the first time round",
        LISTS,
        FIRST,
        &[set_tail(0, 0, 10, WRITE)],
        "device/2.8.1/2",
        NOT_YET,
    ),
    row(
        "all bits of the descriptor zero",
        LISTS,
        FIRST,
        &[set(tail(0), 0)],
        "device/2.8.1/2",
        NOT_YET,
    ),
    row(
        "both bits in the second time round",
        LISTS,
        &[Beyond],
        &[set_tail(0, 0, 10, AVAIL | USED | WRITE)],
        "device/2.8.1/1",
        NOT_YET,
    ),
    row(
        "the available bit alone in the second time round",
        LISTS,
        &[Beyond],
        &[set_tail(0, 0, 10, AVAIL | WRITE)],
        "device/2.8.1/3",
        NOT_YET,
    ),
    row(
        "the used bit alone in the second time round",
        LISTS,
        &[Beyond],
        &[set_tail(0, 0, 10, USED | WRITE)],
        "device/2.8.1/2",
        NOT_YET,
    ),
    row(
        "a wrap counter changed before the ring's end",
        LISTS,
        &[Edge],
        &[set_tail(6, 0, 10, WRITE)],
        "device/2.8.1/1",
        NOT_YET,
    ),
    row(
        "a wrap counter not changed behind the ring's end",
        LISTS,
        &[Edge],
        &[],
        "device/2.8.1/1",
        &[
            (Return, Done),
            (Get, Used(1, 10)),
            (Write(set_tail(0, 1, 10, AVAIL | USED | WRITE)), Done),
            (Get, Nothing),
            (Interrupt, No),
            (Return, Done),
            (Get, Used(2, 10)),
        ],
    ),
    row(
        "a wrap counter not changed behind the end of a ring of 7",
        ODD,
        &[Edge],
        &[],
        "device/2.8.1/1",
        &[
            (Return, Done),
            (Get, Used(1, 10)),
            (Write(set_tail(1, 1, 10, AVAIL | USED | WRITE)), Done),
            (Get, Nothing),
            (Return, Done),
            (Get, Used(2, 10)),
        ],
    ),
    row(
        "a list over the end of a ring of 7, used where it goes on",
        ODD,
        &[Edge],
        &[set_tail(0, 0, 10, WRITE)],
        "device/2.8.6/1",
        NOT_YET,
    ),
    row(
        "a list over the end of a ring of 7, used as in the next round",
        ODD,
        &[Edge],
        &[set_tail(6, 0, 10, WRITE)],
        "device/2.8.1/1",
        NOT_YET,
    ),
    row(
        "the next round's flags on a ring that stands still",
        LISTS,
        &[Idle],
        &[set_tail(4, 0, 10, WRITE), set_tail(0, 0, 10, WRITE)],
        "device/2.8.1/1",
        &[
            (Get, Nothing),
            (Round(3), Done),
            (Round(4), Done),
            (Round(5), Done),
        ],
    ),
    row(
        "a descriptor given back as available",
        LISTS,
        &[Fresh],
        &[set_tail(0, 0, 10, AVAIL | WRITE)],
        "device/2.8.15/2",
        &[(Get, Nothing), (Poll, No), (Interrupt, No)],
    ),
    row(
        "zeros, where zeros mean used",
        &[PACKED, PACKED.event_idx()],
        &[Beyond],
        &[set(tail(0), 0)],
        "device/2.8.15/3",
        &[(Get, Used(1, 0)), (Get, Nothing)],
    ),
    row(
        "zeros, where zeros mean used and id 0 is free",
        &[PACKED.in_order()],
        &[Beyond],
        &[set(tail(0), 0)],
        "device/2.8.15/3",
        &[(Get, Breaks(not_in_flight(0)))],
    ),
    row(
        "a length where nothing was written, says the flag",
        &[PACKED, PACKED.event_idx()],
        FIRST,
        &[set_tail(0, 0, 99, AVAIL | USED)],
        "device/2.8.3/1",
        &[(Get, Used(1, 0)), (Get, Nothing)],
    ),
    row(
        "a length without end where nothing was written",
        LISTS,
        FIRST,
        &[set_tail(0, 0, u32::MAX, AVAIL | USED)],
        "device/2.8.4/1",
        &[(Get, Used(1, 0)), (Get, Nothing)],
    ),
    row(
        "something written, and no length",
        LISTS,
        FIRST,
        &[set_tail(0, 0, 0, AVAIL | USED | WRITE)],
        "device/2.8.3/1",
        &[(Get, Used(1, 0)), (Get, Nothing)],
    ),
    row(
        "a next flag in a used descriptor",
        LISTS,
        FIRST,
        &[set_tail(0, 0, 10, AVAIL | USED | WRITE | 1)],
        "device/2.8.5/1",
        &[(Get, Used(1, 10)), (Get, Nothing)],
    ),
    row(
        "an indirect flag in a used descriptor",
        LISTS,
        FIRST,
        &[set_tail(0, 0, 10, AVAIL | USED | WRITE | 4)],
        "device/2.8/2",
        &[(Get, Used(1, 10)), (Get, Nothing)],
    ),
    row(
        "every flag in a used descriptor",
        LISTS,
        FIRST,
        &[set_tail(0, 0, 10, 0xffff)],
        "device/2.8/2",
        &[(Get, Used(1, 10)), (Get, Nothing)],
    ),
    row(
        "an address in a used descriptor",
        LISTS,
        FIRST,
        &[
            set(addr(0), u64::MAX),
            set_tail(0, 0, 10, AVAIL | USED | WRITE),
        ],
        "device/2.8.4/2",
        &[(Get, Used(1, 10)), (Get, Nothing)],
    ),
    row(
        "an address in the ring itself",
        LISTS,
        FIRST,
        &[set(addr(0), 4096), set_tail(0, 0, 10, AVAIL | USED | WRITE)],
        "device/2.8.4/2",
        &[(Get, Used(1, 10)), (Get, Nothing)],
    ),
    row(
        "the address of a buffer that the device has taken",
        LISTS,
        &[Two, Quiet, Renewed],
        &[set(addr(0), 4096), set(addr(1), u64::MAX)],
        "device/2.8.4/2",
        AS_EVER,
    ),
    row(
        "the rest of a list that the device has taken",
        LISTS,
        &[Two, Quiet, Renewed],
        &[set(tail(1), u64::MAX), set(tail(3), 0)],
        "device/2.8.6/1",
        AS_EVER,
    ),
    row(
        "descriptors that nobody has made available",
        &[PACKED, PACKED.event_idx()],
        &[Two, Quiet, Renewed],
        &[
            set_tail(4, 3, 9, AVAIL | USED),
            set(addr(4), 1),
            set(tail(5), u64::MAX),
        ],
        "device/2.8.15/2",
        &[
            (Return, Done),
            (Get, Used(1, 10)),
            (Return, Done),
            (Get, Used(2, 10)),
            (Get, Breaks(not_in_flight(3))),
        ],
    ),
    row(
        "descriptors that were taken back",
        LISTS,
        &[Taken],
        &[set(tail(0), 0), set(tail(1), u64::MAX)],
        "device/2.8.15/3",
        &[
            (Return, Done),
            (Get, Used(2, 10)),
            (Return, Done),
            (Get, Used(3, 10)),
            (Round(1), Done),
        ],
    ),
    row(
        "a table of indirect descriptors",
        &[
            PACKED.indirect(),
            PACKED.indirect().in_order(),
            PACKED.indirect().event_idx(),
        ],
        &[Two, Quiet, Renewed],
        &[
            set(table(0), u64::MAX),
            set(table(1), u64::MAX),
            set(table(8), 0),
        ],
        "device/2.8.4/2",
        AS_EVER,
    ),
    row(
        "the driver's event suppression, forged to none",
        LISTS,
        &[Two, Quiet, Renewed],
        &[set_event(DRIVER_EVENT, 0, 1)],
        "device/2.8/3",
        AS_EVER,
    ),
    row(
        "the driver's event suppression, every bit",
        LISTS,
        &[Two, Quiet, Renewed],
        &[set_event(DRIVER_EVENT, 0xffff, 0xffff)],
        "device/2.8/3",
        AS_EVER,
    ),
    row(
        "a buffer to be read only",
        LISTS,
        &[Two, Quiet],
        &[],
        "device/2.8.15/1",
        &[
            (Scribble(1), Done),
            (Return, Done),
            (Get, Used(1, 10)),
            (Return, Done),
            (Get, Used(2, 10)),
            (Round(3), Done),
        ],
    ),
];
