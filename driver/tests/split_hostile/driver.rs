//! A driver that keeps no rules, against the device's half.

use virtscope_driver::memory::Order::Relaxed;

use proptest::prelude::*;
use rstest::rstest;
use virtscope_device::queue::DriverFault;
use virtscope_driver::memory::RingWords;
use virtscope_driver::ring::QueueSize;
use virtscope_driver::ring::split_layout::{
    DESC_F_INDIRECT, DESC_F_NEXT, DESC_F_WRITE, DESCRIPTOR_LEN, Descriptor, FLAGS, IDX,
    avail_entry, used_event,
};
use virtscope_record::RingIndex;

use super::{Ring, SIZE, config, ring};

/// A driver that lies: one descriptor of the table.
fn write_descriptor(ring: &Ring, index: u16, flags: u16, next: u16) {
    let descriptor = Descriptor {
        segment: ring.segment(4),
        flags,
        next,
    };
    let at = usize::from(index) * DESCRIPTOR_LEN;
    let table = ring.raw.descriptor_area();
    table.store_u64(at, descriptor.segment.address.0, Relaxed);
    table.store_u64(at + 8, descriptor.tail_word(), Relaxed);
}

const NEXT: u16 = DESC_F_NEXT;
const WRITE_NEXT: u16 = DESC_F_NEXT | DESC_F_WRITE;

/// The available ring names `head`, and the table holds these descriptors as
/// (index, flags, next).
#[rstest]
#[case::head_behind_the_table(8, &[], DriverFault::DescriptorOutOfRange { index: 8, size: 8 })]
#[case::head_all_ones(65_535, &[], DriverFault::DescriptorOutOfRange { index: 65_535, size: 8 })]
#[case::next_behind_the_table(3, &[(3, NEXT, 8)], DriverFault::DescriptorOutOfRange { index: 8, size: 8 })]
#[case::next_all_ones(0, &[(0, NEXT, 1), (1, NEXT, 65_535)], DriverFault::DescriptorOutOfRange { index: 65_535, size: 8 })]
#[case::points_to_itself(5, &[(5, NEXT, 5)], DriverFault::ChainTooLong { head: 5 })]
#[case::circle(0, &[(0, NEXT, 1), (1, WRITE_NEXT, 2), (2, WRITE_NEXT, 1)], DriverFault::ChainTooLong { head: 0 })]
#[case::readable_behind_writable(4, &[(4, WRITE_NEXT, 1), (1, 0, 0)], DriverFault::ReadableAfterWritable { head: 4 })]
#[case::circle_through_readable(0, &[(0, NEXT, 1), (1, WRITE_NEXT, 0)], DriverFault::ReadableAfterWritable { head: 0 })]
#[case::indirect(6, &[(6, DESC_F_INDIRECT, 0)], DriverFault::IndirectNotNegotiated { head: 6 })]
#[case::indirect_in_a_chain(0, &[(0, NEXT, 1), (1, DESC_F_INDIRECT, 0)], DriverFault::IndirectNotNegotiated { head: 0 })]
fn bad_chains_are_refused(
    #[case] head: u16,
    #[case] table: &[(u16, u16, u16)],
    #[case] fault: DriverFault,
) {
    let mut ring = ring(false);
    for (index, flags, next) in table {
        write_descriptor(&ring, *index, *flags, *next);
    }
    let area = ring.raw.driver_area();
    area.store_u16(avail_entry(0), head, Relaxed);
    area.store_u16(IDX, 1, Relaxed);
    assert_eq!(ring.device.take(), Err(fault));
    assert_eq!(ring.device.take(), Err(fault), "the entry stays");
    assert!(!ring.device.should_interrupt(), "nothing was returned");
}

#[test]
fn the_longest_chain_is_allowed() {
    let mut ring = ring(false);
    for index in 0..SIZE {
        let flags = if index + 1 < SIZE { NEXT } else { 0 };
        write_descriptor(&ring, index, flags, index + 1);
    }
    ring.raw.driver_area().store_u16(IDX, 1, Relaxed);
    let chain = ring.device.take().unwrap().unwrap();
    assert_eq!(chain.readable.len(), usize::from(SIZE));
    assert_eq!(chain.readable_bytes(), 4 * u32::from(SIZE));
}

#[rstest]
fn an_available_index_that_jumps_is_refused(
    #[values(9, 32_768, 65_535)] moved: u16,
    #[values(0, 65_530, 65_535)] rounds: u32,
) {
    if cfg!(miri) && rounds > 0 {
        return; // Minutes of turning the ring; nothing else is different.
    }
    let mut ring = ring(false);
    ring.run(rounds);
    let taken = RingIndex(rounds as u16);
    let avail_index = taken.advance(moved);
    ring.raw
        .driver_area()
        .store_u16(IDX, avail_index.0, Relaxed);
    let fault = DriverFault::AvailIndexJumped {
        taken,
        avail_index,
        size: SIZE,
    };
    assert_eq!(ring.device.take(), Err(fault));
    assert_eq!(ring.device.take(), Err(fault));
    assert!(
        !ring.device.enable_kicks(),
        "it must look, and see the fault"
    );
}

proptest! {
    #![proptest_config(config())]

    /// Whatever stands in the descriptor table and the driver area: no panic, no
    /// endless loop, and no chain that breaks a rule.
    #[test]
    fn random_driver_areas_are_survived(
        event_idx: bool,
        // Mostly numbers near the table's length, and any at times.
        descriptors in proptest::collection::vec(
            (any::<u64>(), any::<u32>(), prop_oneof![0..4u16, any::<u16>()], prop_oneof![4 => 0..10u16, 1 => any::<u16>()]),
            usize::from(SIZE),
        ),
        heads in proptest::collection::vec(prop_oneof![4 => 0..10u16, 1 => any::<u16>()], usize::from(SIZE)),
        index in prop_oneof![3 => 0..10u16, 1 => any::<u16>()],
        flags: u16,
        event: u16,
    ) {
        let mut ring = ring(event_idx);
        for (i, (addr, len, flags, next)) in descriptors.iter().enumerate() {
            let tail = u64::from(*len) | u64::from(*flags) << 32 | u64::from(*next) << 48;
            let table = ring.raw.descriptor_area();
            table.store_u64(i * DESCRIPTOR_LEN, *addr, Relaxed);
            table.store_u64(i * DESCRIPTOR_LEN + 8, tail, Relaxed);
        }
        let area = ring.raw.driver_area();
        for (slot, head) in heads.iter().enumerate() {
            area.store_u16(avail_entry(slot as u16), *head, Relaxed);
        }
        area.store_u16(FLAGS, flags, Relaxed);
        area.store_u16(used_event(QueueSize::new(SIZE).unwrap()), event, Relaxed);
        area.store_u16(IDX, index, Relaxed);

        let mut taken = 0;
        let end = loop {
            match ring.device.take() {
                Ok(Some(chain)) => {
                    prop_assert_eq!(chain.id, heads[taken]);
                    taken += 1;
                    prop_assert!(taken <= usize::from(index.min(SIZE)));
                    prop_assert!(chain.readable.len() + chain.writable.len() <= usize::from(SIZE));
                    ring.device.put_used(&chain, chain.writable_bytes());
                    ring.device.should_interrupt();
                }
                end => break end,
            }
        };
        match end {
            Ok(_) => prop_assert_eq!(taken, usize::from(index)),
            Err(DriverFault::AvailIndexJumped { .. }) => prop_assert!(index > SIZE),
            Err(fault) => {
                prop_assert!(taken < usize::from(index));
                prop_assert_eq!(ring.device.take(), Err(fault));
            }
        }
    }
}
