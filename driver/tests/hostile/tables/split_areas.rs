//! Split: writes into what the device may only read. The driver does not read it
//! back, so nothing comes of it, and the next buffers are as good as any.

use crate::case::Op::{Get, Return, Round, Scribble};
use crate::case::Seen::{Done, Used};
use crate::case::{Op, Row, Seen, row};
use crate::harness::Plan;
use crate::harness::words::{
    AVAIL_FLAGS, AVAIL_IDX, addr, avail_entry, descriptor, set, table, used_event,
};
use crate::moment::Moment::{Full, Quiet, Renewed, Taken, Two};
use crate::moment::{Moment, SPLIT};

const ANY: &[Plan] = &[SPLIT, SPLIT.event_idx(), SPLIT.indirect(), SPLIT.in_order()];
const SOME: &[Moment] = &[Two, Quiet, Renewed];

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
    (Round(9), Done),
    (Round(10), Done),
    (Round(11), Done),
];

const ONES: u64 = u64::MAX;

pub(super) const ROWS: &[Row] = &[
    row(
        "the address of a buffer in flight",
        ANY,
        SOME,
        &[set(addr(0), 0xdead_beef_0000)],
        "device/2.7.5.1/2",
        AS_EVER,
    ),
    row(
        "the address of a buffer in flight, into the ring itself",
        ANY,
        SOME,
        &[set(addr(0), 4096)],
        "device/2.7.5.1/2",
        AS_EVER,
    ),
    row(
        "length, flags and next of a buffer in flight",
        ANY,
        SOME,
        &[set(descriptor(0), ONES)],
        "device/2.7.5.1/2",
        AS_EVER,
    ),
    row(
        "a chain cut off",
        ANY,
        SOME,
        &[set(descriptor(0), 4)],
        "device/2.7.5.1/2",
        AS_EVER,
    ),
    row(
        "a chain that points to itself",
        ANY,
        SOME,
        &[
            set(descriptor(0), 4 | 1 << 32),
            set(descriptor(1), 10 | 3 << 32),
        ],
        "device/2.7.5.1/2",
        AS_EVER,
    ),
    row(
        "a chain that goes on into its neighbour",
        ANY,
        SOME,
        &[set(descriptor(1), 10 | 3 << 32 | 2 << 48)],
        "device/2.7.5.1/2",
        AS_EVER,
    ),
    row(
        "a next beyond the table",
        ANY,
        SOME,
        &[set(descriptor(1), 10 | 3 << 32 | 8 << 48)],
        "device/2.7.5.1/2",
        AS_EVER,
    ),
    row(
        "the free descriptors' chain",
        ANY,
        SOME,
        &[
            set(descriptor(4), ONES),
            set(descriptor(5), ONES),
            set(descriptor(6), ONES),
            set(descriptor(7), ONES),
        ],
        "device/2.7.5.1/2",
        AS_EVER,
    ),
    row(
        "a descriptor that was free, made an indirect one",
        ANY,
        SOME,
        &[set(addr(7), 4096), set(descriptor(7), 16 | 4 << 32)],
        "device/2.7.5.1/2",
        AS_EVER,
    ),
    row(
        "a table of indirect descriptors",
        &[
            SPLIT.indirect(),
            SPLIT.indirect().event_idx(),
            SPLIT.indirect().in_order(),
        ],
        SOME,
        &[set(table(0), ONES), set(table(1), ONES), set(table(3), 0)],
        "device/2.7/1",
        AS_EVER,
    ),
    row(
        "the table of a buffer still to come",
        &[SPLIT.indirect(), SPLIT.indirect().in_order()],
        SOME,
        &[set(table(16), ONES), set(table(17), ONES)],
        "device/2.7/1",
        AS_EVER,
    ),
    row(
        "the available index, forward",
        ANY,
        SOME,
        &[set(AVAIL_IDX, 7)],
        "device/2.7.6/1",
        AS_EVER,
    ),
    row(
        "the available index, back",
        ANY,
        SOME,
        &[set(AVAIL_IDX, 0xffff)],
        "device/2.7.6/1",
        AS_EVER,
    ),
    row(
        "an available entry that was taken",
        ANY,
        SOME,
        &[set(avail_entry(0), 5)],
        "device/2.7.6/1",
        AS_EVER,
    ),
    row(
        "an available entry still to come",
        ANY,
        SOME,
        &[set(avail_entry(2), 0xffff)],
        "device/2.7.6/1",
        AS_EVER,
    ),
    row(
        "no interrupts, in the driver's name",
        ANY,
        SOME,
        &[set(AVAIL_FLAGS, 1)],
        "device/2.7/1",
        AS_EVER,
    ),
    row(
        "all flags, in the driver's name",
        ANY,
        SOME,
        &[set(AVAIL_FLAGS, 0xffff)],
        "device/2.7/1",
        AS_EVER,
    ),
    row(
        "the driver's event index",
        ANY,
        SOME,
        &[set(used_event(8), 0x7fff)],
        "device/2.7/1",
        AS_EVER,
    ),
    row(
        "everything at once",
        ANY,
        SOME,
        &[
            set(addr(0), ONES),
            set(descriptor(0), ONES),
            set(addr(1), ONES),
            set(descriptor(1), ONES),
            set(AVAIL_FLAGS, 0xffff),
            set(AVAIL_IDX, 0x8000),
            set(avail_entry(0), 0xffff),
            set(avail_entry(1), 0xffff),
            set(used_event(8), 0xffff),
        ],
        "device/2.7/1",
        AS_EVER,
    ),
    row(
        "a buffer to be read only",
        ANY,
        &[Two, Quiet],
        &[],
        "device/2.7.5.1/1",
        &[
            (Scribble(1), Done),
            (Return, Done),
            (Get, Used(1, 10)),
            (Return, Done),
            (Get, Used(2, 10)),
            (Round(3), Done),
        ],
    ),
    row(
        "descriptors of a full ring",
        &[SPLIT, SPLIT.in_order()],
        &[Full],
        &[
            set(descriptor(0), 0),
            set(descriptor(2), 0),
            set(descriptor(6), ONES),
        ],
        "device/2.7.5.1/2",
        &[
            (Return, Done),
            (Get, Used(1, 10)),
            (Return, Done),
            (Get, Used(2, 10)),
        ],
    ),
    row(
        "descriptors given back already",
        &[SPLIT, SPLIT.event_idx()],
        &[Taken],
        &[set(descriptor(0), ONES), set(descriptor(1), ONES)],
        "device/2.7.5.1/2",
        &[
            (Return, Done),
            (Get, Used(2, 10)),
            (Return, Done),
            (Get, Used(3, 10)),
            (Round(1), Done),
        ],
    ),
];
