//! The other way round: a driver that keeps no rules, against the device's half.

mod packed;
mod random;
mod split;

use rstest::rstest;
use virtscope_device::queue::{Chain, DriverFault};
use virtscope_record::Layout;

use crate::harness::words::{
    AVAIL_FLAGS, AVAIL_IDX, DRIVER_EVENT, addr, avail_entry, set, set_event, tail, used_event,
};
use crate::harness::{Plan, Ring};
use crate::moment::{PACKED, SPLIT};

const NEXT: u16 = 1;
const WRITE: u16 = 2;
const INDIRECT: u16 = 4;

impl Ring {
    /// The driver writes a descriptor, or a table's: address, and the word behind it.
    fn describe(&self, at: u16, address: u64, second: u64) {
        self.watch.write(set(addr(at), address));
        self.watch.write(set(tail(at), second));
    }

    /// What is refused is refused again, nothing was taken, and the device neither
    /// interrupts nor sleeps.
    fn assert_refused(&mut self, fault: DriverFault) {
        // What was returned before is told now.
        self.device.should_interrupt();
        assert_eq!(self.device.take(), Err(fault));
        assert_eq!(self.device.take(), Err(fault), "the entry stays");
        assert!(!self.device.should_interrupt(), "nothing was returned");
        assert!(
            !self.device.enable_kicks(),
            "it must look, and see the fault"
        );
    }
}

/// The second word of a split descriptor.
const fn word(len: u32, flags: u16, next: u16) -> u64 {
    len as u64 | (flags as u64) << 32 | (next as u64) << 48
}

/// The driver makes buffers of two descriptors available and does not wait for any
/// to be used: it uses descriptors again that the device holds.
fn use_descriptors_again(ring: &mut Ring, round: u16) {
    let entries = ring.plan.entries;
    let buffer = ring.buffers.0;
    for slot in (0..entries).step_by(2) {
        match ring.plan.layout {
            Layout::Split => {
                ring.describe(slot, buffer, word(4, NEXT, slot + 1));
                ring.describe(slot + 1, buffer, word(10, WRITE, 0));
                let entry = round.wrapping_mul(entries / 2).wrapping_add(slot / 2) % entries;
                ring.watch.write(set(avail_entry(entry), slot.into()));
            }
            Layout::Packed => {
                let available = if round.is_multiple_of(2) {
                    0x80
                } else {
                    0x8000
                };
                let tail = |len: u64, flags: u16| {
                    len | u64::from(slot / 2) << 32 | u64::from(flags | available) << 48
                };
                ring.describe(slot, buffer, tail(4, NEXT));
                ring.describe(slot + 1, buffer, tail(10, WRITE));
            }
        }
    }
    if ring.plan.layout == Layout::Split {
        let index = round.wrapping_add(1).wrapping_mul(entries / 2);
        ring.watch.write(set(AVAIL_IDX, index.into()));
    }
}

// Shows: driver/2.8.17/5, driver/3.3.1/1
#[rstest]
fn descriptors_that_the_device_holds_are_refused(
    #[values(SPLIT, PACKED)] plan: Plan,
    #[values(false, true)] in_order: bool,
    #[values(0, 1, 3)] returned: u16,
) {
    let mut ring = Ring::new(if in_order { plan.in_order() } else { plan });
    use_descriptors_again(&mut ring, 0);
    let mut chains: Vec<Chain> = Vec::new();
    while let Some(chain) = ring.device.take().unwrap() {
        chains.push(chain);
    }
    assert_eq!(chains.len(), 4);
    // Staged is not returned: the driver can't know yet.
    for chain in &chains[..usize::from(returned)] {
        ring.device.stage_used(chain, 10);
    }
    use_descriptors_again(&mut ring, 1);
    let held = 8;
    let fault = DriverFault::DescriptorsHeld {
        head: 0,
        held,
        size: 8,
    };
    assert_eq!(ring.device.take(), Err(fault));
    assert_eq!(ring.device.take(), Err(fault));
    ring.device.publish_used();
    // Packed: what was returned stands where the next round's buffers were.
    use_descriptors_again(&mut ring, 1);
    for slot in 0..returned {
        let again = ring.device.take().unwrap().unwrap();
        assert_eq!(again.descriptors, 2, "at {slot}");
        chains.push(again);
    }
    let fault = DriverFault::DescriptorsHeld {
        head: 2 * returned,
        held,
        size: 8,
    };
    ring.assert_refused(fault);
    for chain in &chains[usize::from(returned)..] {
        ring.device.stage_used(chain, 10);
    }
    ring.device.publish_used();
    assert!(ring.device.should_interrupt());
}

/// Wishes are not facts: nonsense costs an interrupt too many or too few.
#[rstest]
#[case::all_flags(&[set(AVAIL_FLAGS, 0xffff)], SPLIT, false)]
#[case::reserved_flags(&[set(AVAIL_FLAGS, 0xfffe)], SPLIT, true)]
#[case::flag_where_events_rule(&[set(AVAIL_FLAGS, 1)], SPLIT.event_idx(), true)]
#[case::event_of_the_buffer(&[set(used_event(8), 0)], SPLIT.event_idx(), true)]
#[case::event_behind(&[set(used_event(8), 1)], SPLIT.event_idx(), false)]
#[case::event_half_way_round(&[set(used_event(8), 0x8000)], SPLIT.event_idx(), false)]
#[case::event_all_ones(&[set(used_event(8), 0xffff)], SPLIT.event_idx(), false)]
#[case::event_not_negotiated(&[set(used_event(8), 0x8000)], SPLIT, true)]
#[case::packed_none(&[set_event(DRIVER_EVENT, 0, 1)], PACKED, false)]
#[case::packed_reserved(&[set_event(DRIVER_EVENT, 0, 3)], PACKED, true)]
#[case::packed_reserved_bits(&[set_event(DRIVER_EVENT, 0, 0xfffc)], PACKED, true)]
#[case::packed_not_negotiated(&[set_event(DRIVER_EVENT, 0x8005, 2)], PACKED, true)]
#[case::packed_of_the_buffer(&[set_event(DRIVER_EVENT, 0x8000, 2)], PACKED.event_idx(), true)]
#[case::packed_behind(&[set_event(DRIVER_EVENT, 0x8002, 2)], PACKED.event_idx(), false)]
#[case::packed_other_round(&[set_event(DRIVER_EVENT, 0, 2)], PACKED.event_idx(), false)]
#[case::packed_beyond(&[set_event(DRIVER_EVENT, 0x8008, 2)], PACKED.event_idx(), false)]
#[case::packed_all_ones(&[set_event(DRIVER_EVENT, 0xffff, 0xffff)], PACKED.event_idx(), true)]
fn nonsense_in_the_drivers_wishes_is_harmless(
    #[case] lies: &[crate::harness::Lie],
    #[case] plan: Plan,
    #[case] interrupts: bool,
) {
    let mut ring = Ring::new(plan);
    ring.add(1, crate::harness::Shape::PAIR).unwrap();
    let chain = ring.device.take().unwrap().unwrap();
    ring.device.put_used(&chain, 10);
    lies.iter().for_each(|lie| ring.watch.write(*lie));
    assert_eq!(ring.device.should_interrupt(), interrupts);
    assert!(!ring.device.should_interrupt(), "nothing more was returned");
    assert_eq!(ring.get(), Ok(Some((1, 10))));
    ring.finish();
}
