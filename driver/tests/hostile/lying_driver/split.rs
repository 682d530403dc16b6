//! Split: chains and tables that are none.

use rstest::rstest;
use virtscope_device::queue::DriverFault::{self, *};
use virtscope_record::RingIndex;

use super::{INDIRECT, NEXT, WRITE, word};
use crate::harness::words::{AVAIL_IDX, avail_entry, set, table};
use crate::harness::{Plan, Ring};
use crate::moment::SPLIT;

const WRITE_NEXT: u16 = WRITE | NEXT;

impl Ring {
    /// The available ring names `head`.
    fn offer(&self, head: u16) {
        self.watch.write(set(avail_entry(0), head.into()));
        self.watch.write(set(AVAIL_IDX, 1));
    }
}

/// The table holds these descriptors as (index, flags, next).
#[rstest]
#[case::head_behind_the_table(8, &[], DescriptorOutOfRange { index: 8, size: 8 })]
#[case::head_all_ones(65_535, &[], DescriptorOutOfRange { index: 65_535, size: 8 })]
#[case::next_behind_the_table(3, &[(3, NEXT, 8)], DescriptorOutOfRange { index: 8, size: 8 })]
#[case::next_all_ones(0, &[(0, NEXT, 1), (1, NEXT, 65_535)], DescriptorOutOfRange { index: 65_535, size: 8 })]
#[case::points_to_itself(5, &[(5, NEXT, 5)], ChainTooLong { head: 5 })]
#[case::circle(0, &[(0, NEXT, 1), (1, WRITE_NEXT, 2), (2, WRITE_NEXT, 1)], ChainTooLong { head: 0 })]
#[case::readable_behind_writable(4, &[(4, WRITE_NEXT, 1), (1, 0, 0)], ReadableAfterWritable { head: 4 })]
#[case::circle_through_readable(0, &[(0, NEXT, 1), (1, WRITE_NEXT, 0)], ReadableAfterWritable { head: 0 })]
#[case::indirect(6, &[(6, INDIRECT, 0)], IndirectNotNegotiated { head: 6 })]
#[case::indirect_in_a_chain(0, &[(0, NEXT, 1), (1, INDIRECT, 0)], IndirectNotNegotiated { head: 0 })]
fn bad_chains_are_refused(
    #[case] head: u16,
    #[case] descriptors: &[(u16, u16, u16)],
    #[case] fault: DriverFault,
) {
    let mut ring = Ring::new(SPLIT);
    for (index, flags, next) in descriptors {
        ring.describe(*index, ring.buffers.0, word(4, *flags, *next));
    }
    ring.offer(head);
    ring.assert_refused(fault);
}

/// A descriptor in the ring that names a table, and the table's descriptors as
/// (length, flags, next).
#[rstest]
#[case::empty(0, INDIRECT, &[], IndirectTable { head: 0, len: 0 })]
#[case::part_of_one(15, INDIRECT, &[], IndirectTable { head: 0, len: 15 })]
#[case::one_and_a_bit(17, INDIRECT, &[(4, 0, 0)], IndirectTable { head: 0, len: 17 })]
#[case::endless(u32::MAX, INDIRECT, &[(4, 0, 0)], IndirectTable { head: 0, len: u32::MAX })]
#[case::longer_than_any(16 * 65_536, INDIRECT, &[(4, 0, 0)], ChainTooLong { head: 0 })]
#[case::goes_on_behind_it(16, INDIRECT | NEXT, &[(4, 0, 0)], IndirectMisplaced { head: 0 })]
#[case::table_in_a_table(16, INDIRECT, &[(16, INDIRECT, 0)], IndirectMisplaced { head: 0 })]
#[case::next_behind_the_table(32, INDIRECT, &[(4, NEXT, 2)], DescriptorOutOfRange { index: 2, size: 2 })]
#[case::next_all_ones(32, INDIRECT, &[(4, NEXT, 65_535)], DescriptorOutOfRange { index: 65_535, size: 2 })]
#[case::circle(32, INDIRECT, &[(4, NEXT, 1), (4, NEXT, 0)], ChainTooLong { head: 0 })]
#[case::readable_behind_writable(32, INDIRECT, &[(4, WRITE_NEXT, 1), (4, 0, 0)], ReadableAfterWritable { head: 0 })]
fn bad_tables_are_refused(
    #[case] len: u32,
    #[case] flags: u16,
    #[case] descriptors: &[(u32, u16, u16)],
    #[case] fault: DriverFault,
) {
    let mut ring = Ring::new(SPLIT.indirect());
    for (index, (len, flags, next)) in descriptors.iter().enumerate() {
        let at = 2 * index as u16;
        ring.watch.write(set(table(at), ring.buffers.0));
        ring.watch
            .write(set(table(at + 1), word(*len, *flags, *next)));
    }
    ring.describe(0, ring.tables.0, word(len, flags, 0));
    ring.offer(0);
    ring.assert_refused(fault);
}

/// Tables and segments where none can be.
#[rstest]
#[case::table_in_the_ring(0x1000, INDIRECT, SegmentInRing { head: 0 })]
#[case::table_nowhere(u64::MAX - 15, INDIRECT, IndirectTable { head: 0, len: 16 })]
#[case::table_at_the_end_of_all(u64::MAX, INDIRECT, IndirectTable { head: 0, len: 16 })]
#[case::table_behind_memory(1 << 40, INDIRECT, IndirectTable { head: 0, len: 16 })]
#[case::segment_in_the_ring(0x1000, 0, SegmentInRing { head: 0 })]
#[case::segment_before_the_ring(0xff8, WRITE, SegmentInRing { head: 0 })]
fn tables_and_segments_elsewhere_are_refused(
    #[case] address: u64,
    #[case] flags: u16,
    #[case] fault: DriverFault,
) {
    let mut ring = Ring::new(SPLIT.indirect());
    ring.describe(0, address, word(16, flags, 0));
    ring.offer(0);
    ring.assert_refused(fault);
}

#[test]
fn the_longest_chain_is_allowed() {
    let mut ring = Ring::new(SPLIT);
    for index in 0..8 {
        let flags = if index < 7 { NEXT } else { 0 };
        ring.describe(index, ring.buffers.0, word(4, flags, index + 1));
    }
    ring.offer(0);
    let chain = ring.device.take().unwrap().unwrap();
    assert_eq!(chain.readable.len(), 8);
    assert_eq!(chain.readable_bytes(), 32);
}

/// With `VIRTIO_F_IN_ORDER` chains go round the table.
#[test]
fn a_chain_that_begins_elsewhere_is_refused() {
    let mut ring = Ring::new(SPLIT.in_order());
    ring.rounds(3, crate::harness::Shape::PAIR);
    for head in [0, 4, 5, 7, 8, 0xffff] {
        ring.describe(head % 8, ring.buffers.0, word(4, 0, 0));
        ring.watch.write(set(avail_entry(3), head.into()));
        ring.watch.write(set(AVAIL_IDX, 4));
        ring.assert_refused(NotInOrder { head, expected: 6 });
    }
}

#[rstest]
fn an_available_index_that_jumps_is_refused(
    #[values(9, 32_768, 65_535)] moved: u16,
    #[values(0, 8, 65_530, 65_535)] rounds: u32,
    #[values(SPLIT, SPLIT.event_idx())] plan: Plan,
) {
    if cfg!(miri) && rounds > 0 {
        return; // Minutes of turning the ring; nothing else is different.
    }
    let mut ring = Ring::new(plan);
    ring.rounds(rounds, crate::harness::Shape::PAIR);
    let taken = RingIndex(rounds as u16);
    let avail_index = taken.advance(moved);
    ring.watch.write(set(AVAIL_IDX, avail_index.0.into()));
    ring.assert_refused(AvailIndexJumped {
        taken,
        avail_index,
        size: 8,
    });
}
