//! The tables of cases.

mod families;
mod order;
mod packed_events;
mod packed_flags;
mod packed_places;
mod packed_timing;
mod packed_used;
mod split_areas;
mod split_events;
mod split_index;
mod split_timing;
mod split_used;

use virtscope_driver::ring::Violation;
use virtscope_record::RingIndex;

use crate::case::{Case, Row};

/// The lines of every table.
const TABLES: &[&[Row]] = &[
    split_used::ROWS,
    split_index::ROWS,
    split_areas::ROWS,
    split_events::ROWS,
    packed_used::ROWS,
    packed_places::ROWS,
    packed_flags::ROWS,
    packed_events::ROWS,
    order::ROWS,
    split_timing::ROWS,
    packed_timing::ROWS,
];

/// The cases of the tables, and those of the families, whose ends are computed.
pub(crate) fn cases() -> impl Iterator<Item = Case> {
    let lines = TABLES.iter().copied().flatten().copied();
    // Miri is slow: it sees one case of some lines.
    let [line, case, family] = if cfg!(miri) {
        [17, 100, 0]
    } else {
        [1, 1, usize::MAX]
    };
    let cases = lines
        .step_by(line)
        .flat_map(move |line| line.cases().step_by(case));
    cases.chain(families::cases().take(family))
}

/// An id that a ring of 8 does not have.
const fn out_of_range(id: u32) -> Violation {
    Violation::IdOutOfRange { id, size: 8 }
}

const fn not_in_flight(id: u16) -> Violation {
    Violation::IdNotInFlight { id }
}

/// More than the 10 bytes that a buffer usually has.
const fn too_long(used_length: u32) -> Violation {
    Violation::UsedLengthTooLong {
        used_length,
        writable: 10,
    }
}

const fn jumped(last_used: u16, used_index: u16, in_flight: u16) -> Violation {
    Violation::UsedIndexJumped {
        last_used: RingIndex(last_used),
        used_index: RingIndex(used_index),
        in_flight,
    }
}

const fn out_of_order(id: u16, skipped: u64) -> Violation {
    Violation::OutOfOrder { id, skipped }
}
