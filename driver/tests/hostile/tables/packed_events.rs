//! Packed: event suppression that lies. The wish is read as one word, and nonsense
//! in it costs a notification, or that one is not sent.

use super::not_in_flight;
use crate::case::Op::{Enable, EnableDelayed, Get, Interrupt, Kick, Poll, Return};
use crate::case::Seen::{Breaks, Done, No, Nothing, Used, Yes};
use crate::case::{Row, row};
use crate::harness::Plan;
use crate::harness::words::{DEVICE_EVENT, DRIVER_EVENT, set_event, set_tail};
use crate::moment::Moment::{
    Delayed, Edge, Fresh, Full, Hidden, Idle, Quiet, Renewed, Taken, Two, Unkicked,
};
use crate::moment::PACKED;

const FLAGS: &[Plan] = &[PACKED, PACKED.in_order(), PACKED.sized(7)];
const EVENTS: &[Plan] = &[PACKED.event_idx(), PACKED.event_idx().in_order()];
const BOTH: &[Plan] = &[PACKED, PACKED.event_idx()];
/// A wrap counter of 1.
const WRAP: u16 = 0x8000;

pub(super) const ROWS: &[Row] = &[
    row(
        "an event offset that was not negotiated",
        FLAGS,
        &[Unkicked],
        &[set_event(DEVICE_EVENT, WRAP | 5, 2)],
        "device/2.8.10/1",
        &[(Kick, Yes), (Kick, No), (Return, Done), (Get, Used(1, 10))],
    ),
    row(
        "the reserved value of the flags",
        FLAGS,
        &[Unkicked],
        &[set_event(DEVICE_EVENT, 0, 3)],
        "device/2.8.10/2",
        &[(Kick, Yes), (Return, Done), (Get, Used(1, 10))],
    ),
    row(
        "the reserved value of the flags, with event offsets",
        EVENTS,
        &[Unkicked],
        &[set_event(DEVICE_EVENT, WRAP | 5, 3)],
        "device/2.8.10/2",
        &[(Kick, Yes), (Kick, No)],
    ),
    row(
        "reserved bits beside a wish for every event",
        FLAGS,
        &[Unkicked],
        &[set_event(DEVICE_EVENT, 0xffff, 0xfffc)],
        "device/2.8.14/1",
        &[(Kick, Yes), (Kick, No)],
    ),
    row(
        "reserved bits beside a wish for none",
        FLAGS,
        &[Unkicked],
        &[set_event(DEVICE_EVENT, 0xffff, 0xfffd)],
        "device/2.8.14/1",
        &[(Kick, No), (Kick, No)],
    ),
    row(
        "reserved bits beside a wish for one event",
        EVENTS,
        &[Unkicked],
        &[set_event(DEVICE_EVENT, WRAP | 1, 0xfffe)],
        "device/2.8.14/1",
        &[(Kick, Yes), (Kick, No)],
    ),
    row(
        "no kicks wanted, with nothing to kick for",
        BOTH,
        &[Two, Idle, Hidden],
        &[set_event(DEVICE_EVENT, 0, 1)],
        "device/2.8.14/1",
        &[(Kick, No), (Get, Nothing)],
    ),
    row(
        "all kicks wanted, with nothing to kick for",
        BOTH,
        &[Two, Idle, Fresh],
        &[set_event(DEVICE_EVENT, 0, 0)],
        "device/2.8.10/1",
        &[(Kick, No)],
    ),
    row(
        "the last descriptor made available",
        EVENTS,
        &[Unkicked],
        &[set_event(DEVICE_EVENT, WRAP | 3, 2)],
        "device/2.8.10/3",
        &[(Kick, Yes), (Kick, No)],
    ),
    row(
        "the second of a list",
        EVENTS,
        &[Unkicked],
        &[set_event(DEVICE_EVENT, WRAP | 1, 2)],
        "device/2.8.10/3",
        &[(Kick, Yes), (Kick, No)],
    ),
    row(
        "the first descriptor still to come",
        EVENTS,
        &[Unkicked],
        &[set_event(DEVICE_EVENT, WRAP | 4, 2)],
        "device/2.8.10/3",
        &[(Kick, No), (Kick, No)],
    ),
    row(
        "the first descriptor, in another round",
        EVENTS,
        &[Unkicked],
        &[set_event(DEVICE_EVENT, 0, 2)],
        "device/2.8.10/3",
        &[(Kick, No)],
    ),
    row(
        "an offset just beyond the ring",
        EVENTS,
        &[Unkicked, Edge],
        &[set_event(DEVICE_EVENT, WRAP | 8, 2)],
        "device/2.8.10/3",
        &[(Kick, No)],
    ),
    row(
        "an offset just beyond the ring, in the next round",
        EVENTS,
        &[Unkicked, Edge],
        &[set_event(DEVICE_EVENT, 8, 2)],
        "device/2.8.10/3",
        &[(Kick, No)],
    ),
    row(
        "the largest offset",
        EVENTS,
        &[Unkicked, Edge],
        &[set_event(DEVICE_EVENT, 0xffff, 2)],
        "device/2.8.10/3",
        &[(Kick, No)],
    ),
    row(
        "the largest offset, in the next round",
        EVENTS,
        &[Unkicked, Edge],
        &[set_event(DEVICE_EVENT, 0x7fff, 2)],
        "device/2.8.10/3",
        &[(Kick, No)],
    ),
    row(
        "the ring's last descriptor",
        EVENTS,
        &[Edge],
        &[set_event(DEVICE_EVENT, WRAP | 7, 2)],
        "device/2.8.10/3",
        &[(Kick, Yes)],
    ),
    row(
        "the first behind the ring's end",
        EVENTS,
        &[Edge],
        &[set_event(DEVICE_EVENT, 0, 2)],
        "device/2.8.10/3",
        &[(Kick, Yes)],
    ),
    row(
        "the first of the ring, with the wrap counter not changed",
        EVENTS,
        &[Edge],
        &[set_event(DEVICE_EVENT, WRAP, 2)],
        "device/2.8.10/3",
        &[(Kick, No)],
    ),
    row(
        "the ring's last descriptor, with the wrap counter changed",
        EVENTS,
        &[Edge],
        &[set_event(DEVICE_EVENT, 7, 2)],
        "device/2.8.10/3",
        &[(Kick, No)],
    ),
    row(
        "behind the last of the round's beginning",
        EVENTS,
        &[Edge],
        &[set_event(DEVICE_EVENT, 4, 2)],
        "device/2.8.10/3",
        &[(Kick, No)],
    ),
    row(
        "an interrupt for nothing",
        BOTH,
        &[Two, Fresh, Idle, Renewed],
        &[],
        "device/2.8/2",
        &[(Interrupt, No), (Get, Nothing)],
    ),
    row(
        "an interrupt though none is wanted",
        BOTH,
        &[Quiet],
        &[],
        "device/2.8/3",
        &[
            (Interrupt, No),
            (Return, Done),
            (Interrupt, Yes),
            (Get, Used(1, 10)),
        ],
    ),
    row(
        "no interrupt though one is wanted",
        BOTH,
        &[Two, Full, Taken],
        &[set_event(DRIVER_EVENT, 7, 1)],
        "device/2.8/2",
        &[(Return, Done), (Enable, No), (Poll, Yes), (Interrupt, Yes)],
    ),
    row(
        "used without a buffer, seen by those who only look",
        BOTH,
        &[Fresh],
        &[set_tail(0, 0, 0, 0x8080)],
        "device/2.1.2/1",
        &[
            (Poll, Yes),
            (Interrupt, Yes),
            (Enable, No),
            (EnableDelayed, No),
            (Get, Breaks(not_in_flight(0))),
        ],
    ),
    row(
        "most of a full ring used, and no interrupt",
        BOTH,
        &[Full, Delayed],
        &[],
        "device/2.8/2",
        &[
            (Return, Done),
            (Return, Done),
            (Return, Done),
            (Return, Done),
            (EnableDelayed, No),
            (Get, Used(1, 10)),
        ],
    ),
];
