//! Split: words that change while the driver works: between two reads, or right before or
//! after the one that counts. Whatever was read is what was said; it is not read
//! again.

use super::{jumped, not_in_flight, out_of_order, out_of_range, too_long};
use crate::case::Op::{Enable, EnableDelayed, Get, Interrupt, Kick, Poll, Write};
use crate::case::Seen::{Breaks, Done, No, Nothing, Used, Yes};
use crate::case::{Row, row};
use crate::harness::Plan;
use crate::harness::When::{Access, Load, Loaded};
use crate::harness::words::{USED_FLAGS, USED_IDX, avail_event, set, used_id, used_len};
use crate::moment::Moment::{Between, Fresh, Full, InBatch, Quiet, Renewed, Taken, Two, Unkicked};
use crate::moment::{Moment, SPLIT};

const SPLITS: &[Plan] = &[SPLIT, SPLIT.event_idx()];
const SOME: &[Moment] = &[Two, Quiet, Renewed];

pub(super) const ROWS: &[Row] = &[
    row(
        "the index moves right before it is read",
        SPLITS,
        SOME,
        &[set(USED_IDX, 1)],
        "device/2.7.8.2/1",
        &[(Get, Used(1, 0)), (Get, Nothing)],
    )
    .when(Load(USED_IDX, 0)),
    row(
        "the index moves right after it was read",
        SPLITS,
        SOME,
        &[set(USED_IDX, 1)],
        "device/2.7.8.2/1",
        &[(Get, Nothing), (Get, Used(1, 0)), (Get, Nothing)],
    )
    .when(Loaded(USED_IDX)),
    row(
        "the index jumps right after it was read",
        SPLITS,
        SOME,
        &[set(USED_IDX, 9)],
        "device/2.7.8/2",
        &[(Get, Nothing), (Get, Breaks(jumped(0, 9, 2)))],
    )
    .when(Loaded(USED_IDX)),
    row(
        "the index jumps at the second look",
        SPLITS,
        SOME,
        &[set(USED_IDX, 9)],
        "device/2.7.8/2",
        &[(Get, Nothing), (Poll, Yes), (Get, Breaks(jumped(0, 9, 2)))],
    )
    .when(Load(USED_IDX, 1)),
    row(
        "the index jumps between looking and taking",
        SPLITS,
        SOME,
        &[set(USED_IDX, 0x8000)],
        "device/2.7.8/2",
        &[(Interrupt, No), (Get, Breaks(jumped(0, 0x8000, 2)))],
    )
    .when(Load(USED_IDX, 1)),
    row(
        "used, and taken back once it was seen",
        SPLITS,
        &[Taken],
        &[set(USED_IDX, 1)],
        "device/2.7.8/3",
        &[
            (Write(set(used_id(1), 2)), Done),
            (Write(set(USED_IDX, 2)), Done),
            (Get, Used(2, 0)),
            (Get, Breaks(jumped(2, 1, 1))),
        ],
    )
    .when(Loaded(USED_IDX)),
    row(
        "the index is not looked at while one waits",
        SPLITS,
        &[Between],
        &[set(USED_IDX, 0)],
        "device/2.7.8/3",
        &[(Get, Used(2, 10)), (Get, Breaks(jumped(2, 0, 1)))],
    )
    .when(Load(USED_IDX, 0)),
    row(
        "the id changes right before it is read",
        SPLITS,
        SOME,
        &[set(used_id(0), 8)],
        "device/2.7.8.2/1",
        &[
            (Write(set(USED_IDX, 1)), Done),
            (Get, Breaks(out_of_range(8))),
        ],
    )
    .when(Load(used_id(0), 0)),
    row(
        "the id changes right after it was read",
        SPLITS,
        SOME,
        &[set(used_id(0), 8)],
        "device/2.7.8.2/1",
        &[
            (Write(set(USED_IDX, 1)), Done),
            (Get, Used(1, 0)),
            (Get, Nothing),
        ],
    )
    .when(Loaded(used_id(0))),
    row(
        "the id changes to another in flight after it was read",
        SPLITS,
        SOME,
        &[set(used_id(0), 2)],
        "device/2.7.8.2/1",
        &[
            (Write(set(USED_IDX, 1)), Done),
            (Get, Used(1, 0)),
            (Get, Nothing),
        ],
    )
    .when(Loaded(used_id(0))),
    row(
        "the length changes right before it is read",
        SPLITS,
        SOME,
        &[set(used_len(0), 11)],
        "device/2.7.8.2/1",
        &[(Write(set(USED_IDX, 1)), Done), (Get, Breaks(too_long(11)))],
    )
    .when(Load(used_len(0), 0)),
    row(
        "the length changes right after it was read",
        SPLITS,
        SOME,
        &[set(used_len(0), 11)],
        "device/2.7.8.2/1",
        &[
            (Write(set(USED_IDX, 1)), Done),
            (Get, Used(1, 0)),
            (Get, Nothing),
        ],
    )
    .when(Loaded(used_len(0))),
    row(
        "the second entry's id changes with the first one's length",
        SPLITS,
        SOME,
        &[set(used_id(1), 0)],
        "device/2.7.8.2/1",
        &[
            (Write(set(used_id(1), 2)), Done),
            (Write(set(USED_IDX, 2)), Done),
            (Get, Used(1, 0)),
            (Get, Breaks(not_in_flight(0))),
        ],
    )
    .when(Loaded(used_len(0))),
    row(
        "the second entry's id changes after it was read",
        SPLITS,
        SOME,
        &[set(used_id(1), 7)],
        "device/2.7.8.2/1",
        &[
            (Write(set(used_id(1), 2)), Done),
            (Write(set(USED_IDX, 2)), Done),
            (Get, Used(1, 0)),
            (Get, Used(2, 0)),
            (Get, Nothing),
        ],
    )
    .when(Loaded(used_id(1))),
    row(
        "the index covers the batch only once its entry is read",
        &[SPLIT.in_order()],
        SOME,
        &[set(USED_IDX, 2)],
        "device/2.7.9/2",
        &[
            (Write(set(used_id(0), 2)), Done),
            (Write(set(USED_IDX, 1)), Done),
            (Get, Breaks(out_of_order(2, 1))),
        ],
    )
    .when(Load(used_id(0), 0)),
    row(
        "the index covers the batch as soon as it is read",
        &[SPLIT.in_order()],
        SOME,
        &[set(USED_IDX, 2)],
        "device/2.7.9/2",
        &[
            (Write(set(used_id(0), 2)), Done),
            (Write(set(USED_IDX, 1)), Done),
            (Get, Used(1, 10)),
            (Get, Used(2, 0)),
        ],
    )
    .when(Load(USED_IDX, 0)),
    row(
        "the entry of a batch changes after it was read",
        &[SPLIT.in_order()],
        &[Full],
        &[set(used_id(0), 99)],
        "device/2.7.8.2/1",
        &[
            (Write(set(used_id(0), 4)), Done),
            (Write(set(USED_IDX, 3)), Done),
            (Get, Used(1, 10)),
            (Get, Used(2, 10)),
            (Get, Used(3, 0)),
            (Get, Nothing),
        ],
    )
    .when(Loaded(used_id(0))),
    row(
        "the index runs back within a batch, at the look behind it",
        &[SPLIT.in_order()],
        &[InBatch],
        &[set(USED_IDX, 2)],
        "device/2.7.8/3",
        &[
            (Get, Used(2, 10)),
            (Get, Used(3, 10)),
            (Get, Breaks(jumped(3, 2, 1))),
        ],
    )
    .when(Load(USED_IDX, 0)),
    row(
        "no kick is wanted, said before the driver looks",
        &[SPLIT],
        &[Unkicked],
        &[set(USED_FLAGS, 1)],
        "device/2.7.10.2/1",
        &[(Kick, No)],
    )
    .when(Load(USED_FLAGS, 0)),
    row(
        "no kick is wanted, said when the driver has looked",
        &[SPLIT],
        &[Unkicked],
        &[set(USED_FLAGS, 1)],
        "device/2.7.10.2/1",
        &[(Kick, Yes), (Kick, No)],
    )
    .when(Loaded(USED_FLAGS)),
    row(
        "the event index is moved before the driver looks",
        &[SPLIT.event_idx()],
        &[Unkicked],
        &[set(avail_event(8), 2)],
        "device/2.7.10.2/4",
        &[(Kick, No)],
    )
    .when(Load(avail_event(8), 0)),
    row(
        "the event index is moved when the driver has looked",
        &[SPLIT.event_idx()],
        &[Unkicked],
        &[set(avail_event(8), 2)],
        "device/2.7.10.2/4",
        &[(Kick, Yes), (Kick, No)],
    )
    .when(Loaded(avail_event(8))),
    row(
        "used while callbacks are asked for again",
        SPLITS,
        SOME,
        &[set(USED_IDX, 1)],
        "device/2.7.7.2/5",
        &[(Enable, No), (Get, Used(1, 0))],
    )
    .when(Access(1)),
    row(
        "more than all used while callbacks are asked for again",
        SPLITS,
        SOME,
        &[set(USED_IDX, 3)],
        "device/2.7.8/2",
        &[(EnableDelayed, No), (Get, Breaks(jumped(0, 3, 2)))],
    )
    .when(Access(1)),
    row(
        "used before a buffer is given, while someone looks",
        SPLITS,
        &[Fresh],
        &[set(USED_IDX, 1)],
        "device/2.1.2/1",
        &[(Interrupt, Yes), (Get, Breaks(jumped(0, 1, 0)))],
    )
    .when(Load(USED_IDX, 0)),
];
