//! Packed: lists and tables that are none.

use rstest::rstest;
use virtscope_device::queue::DriverFault::{self, *};

use super::{INDIRECT, NEXT, WRITE};
use crate::harness::words::{set, table};
use crate::harness::{Plan, Ring, Shape};
use crate::moment::PACKED;

const WRITE_NEXT: u16 = WRITE | NEXT;
/// Available in the first time round, and in the second.
const AVAIL: u16 = 0x80;
const AVAIL_2: u16 = 0x8000;

fn word(len: u32, id: u16, flags: u16) -> u64 {
    u64::from(len) | u64::from(id) << 32 | u64::from(flags) << 48
}

/// The ring begins with descriptors of these flags.
#[rstest]
#[case::goes_on_into_nothing(&[AVAIL | NEXT, 0], ListBrokenOff { head: 0 })]
#[case::goes_on_into_used(&[AVAIL | NEXT, 0x8080], ListBrokenOff { head: 0 })]
#[case::goes_on_into_the_next_round(&[AVAIL | NEXT, AVAIL_2], ListBrokenOff { head: 0 })]
#[case::endless(&[AVAIL | NEXT; 8], ChainTooLong { head: 0 })]
#[case::readable_behind_writable(&[AVAIL | WRITE_NEXT, AVAIL], ReadableAfterWritable { head: 0 })]
#[case::indirect(&[AVAIL | INDIRECT], IndirectNotNegotiated { head: 0 })]
#[case::indirect_in_a_list(&[AVAIL | NEXT, AVAIL | INDIRECT], IndirectNotNegotiated { head: 0 })]
fn bad_lists_are_refused(#[case] flags: &[u16], #[case] fault: DriverFault) {
    let mut ring = Ring::new(PACKED);
    for (slot, flags) in flags.iter().enumerate() {
        ring.describe(slot as u16, ring.buffers.0, word(4, 0, *flags));
    }
    ring.assert_refused(fault);
}

/// A list over the ring's end needs the other wrap counter there.
#[test]
fn a_list_without_the_wrap_counter_is_refused() {
    for entries in [7, 8] {
        let mut ring = Ring::new(PACKED.sized(entries));
        let rounds = (entries - 1) / 2;
        ring.rounds(rounds.into(), Shape::PAIR);
        for slot in 2 * rounds..entries {
            ring.describe(slot, ring.buffers.0, word(4, 0, AVAIL | NEXT));
        }
        ring.describe(0, ring.buffers.0, word(4, 0, AVAIL));
        ring.assert_refused(ListBrokenOff { head: 2 * rounds });
        ring.describe(0, ring.buffers.0, word(4, 5, AVAIL_2));
        let chain = ring.device.take().unwrap().unwrap();
        assert_eq!((chain.id, chain.descriptors), (5, entries - 2 * rounds + 1));
    }
}

/// A descriptor in the ring that names a table, and the table's as (length, flags).
#[rstest]
#[case::empty(0, INDIRECT, &[], IndirectTable { head: 0, len: 0 })]
#[case::part_of_one(15, INDIRECT, &[], IndirectTable { head: 0, len: 15 })]
#[case::one_and_a_bit(17, INDIRECT, &[], IndirectTable { head: 0, len: 17 })]
#[case::endless(u32::MAX, INDIRECT, &[], IndirectTable { head: 0, len: u32::MAX })]
#[case::longer_than_any(16 * 65_536, INDIRECT, &[], ChainTooLong { head: 0 })]
#[case::longer_than_the_ring(16 * 9, INDIRECT, &[], ChainTooLong { head: 0 })]
#[case::goes_on_behind_it(16, INDIRECT | NEXT, &[], IndirectMisplaced { head: 0 })]
#[case::readable_behind_writable(32, INDIRECT, &[(4, WRITE), (4, 0)], ReadableAfterWritable { head: 0 })]
fn bad_tables_are_refused(
    #[case] len: u32,
    #[case] flags: u16,
    #[case] descriptors: &[(u32, u16)],
    #[case] fault: DriverFault,
) {
    let mut ring = Ring::new(PACKED.indirect());
    for index in 0..9 {
        let (len, flags) = descriptors
            .get(usize::from(index))
            .copied()
            .unwrap_or((4, 0));
        ring.watch.write(set(table(2 * index), ring.buffers.0));
        ring.watch
            .write(set(table(2 * index + 1), word(len, 0, flags)));
    }
    ring.describe(0, ring.tables.0, word(len, 0, flags | AVAIL));
    ring.assert_refused(fault);
}

/// Flags that are reserved in a table are ignored there (virtio 1.4 §2.8.7).
#[test]
fn reserved_flags_in_a_table_are_ignored() {
    let mut ring = Ring::new(PACKED.indirect());
    ring.watch.write(set(table(0), ring.buffers.0));
    ring.watch.write(set(table(1), word(4, 9, !WRITE)));
    ring.describe(0, ring.tables.0, word(16, 3, INDIRECT | AVAIL));
    let chain = ring.device.take().unwrap().unwrap();
    assert_eq!(
        (chain.id, chain.readable.len(), chain.writable.len()),
        (3, 1, 0)
    );
}

/// An indirect descriptor stands alone (virtio 1.4 §2.8.19).
#[test]
fn a_table_at_the_end_of_a_list_is_refused() {
    let mut ring = Ring::new(PACKED.indirect());
    ring.describe(0, ring.buffers.0, word(4, 0, AVAIL | NEXT));
    ring.describe(1, ring.tables.0, word(16, 0, AVAIL | INDIRECT));
    ring.assert_refused(IndirectMisplaced { head: 0 });
}

#[rstest]
#[case::table_in_the_ring(0x1000, INDIRECT, SegmentInRing { head: 0 })]
#[case::table_nowhere(u64::MAX - 15, INDIRECT, IndirectTable { head: 0, len: 16 })]
#[case::table_behind_memory(1 << 40, INDIRECT, IndirectTable { head: 0, len: 16 })]
#[case::segment_in_the_ring(0x1000, 0, SegmentInRing { head: 0 })]
#[case::segment_before_the_ring(0xff8, WRITE, SegmentInRing { head: 0 })]
fn tables_and_segments_elsewhere_are_refused(
    #[case] address: u64,
    #[case] flags: u16,
    #[case] fault: DriverFault,
    #[values(PACKED.indirect(), PACKED.indirect().in_order())] plan: Plan,
) {
    let mut ring = Ring::new(plan);
    ring.describe(0, address, word(16, 0, flags | AVAIL));
    ring.assert_refused(fault);
}
