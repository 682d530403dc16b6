//! How a ring is laid out, and what around it must stay as it is.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use virtscope_device::queue::DeviceQueue;
use virtscope_driver::instrument::NoInstrument;
use virtscope_driver::memory::{
    GuestAddress, GuestMemory, IndirectTables, QueueAddresses, SharedQueueMemory,
};
use virtscope_driver::ring::{QueueSize, Virtqueue, packed_layout, split_layout};
use virtscope_record::{Generation, Layout};

use super::{Doorbell, Plan, Ring, Tally, UNTOUCHED, WatchedMemory};

/// Where the ring stands: behind a page that nobody has any business in.
const BASE: GuestAddress = GuestAddress(4096);

impl Ring {
    /// A ring that has done nothing yet.
    pub(crate) fn new(plan: Plan) -> Self {
        let size = QueueSize::new(plan.entries).unwrap();
        let (addresses, bytes) = match plan.layout {
            Layout::Split => split_layout::contiguous(BASE, size),
            Layout::Packed => packed_layout::contiguous(BASE, size),
        };
        let tables = IndirectTables {
            base: GuestAddress((BASE.0 + bytes).next_multiple_of(16)),
            count: plan.tables,
            capacity: 4,
        };
        // A page of nobody's, the ring, buffers for sixteen tokens, nobody's again.
        let end = tables.base.0 + tables.bytes() as u64;
        let buffers = GuestAddress(end.next_multiple_of(4096));
        let memory = Arc::new(GuestMemory::new(buffers.0 as usize / 4096 + 2));
        let raw = Arc::clone(&memory);
        let raw = match plan.layout {
            Layout::Split => SharedQueueMemory::split(raw, addresses, size),
            Layout::Packed => SharedQueueMemory::packed(raw, addresses, size),
        };
        let raw = raw.unwrap();
        let with_tables = raw.clone().with_indirect_tables(tables).unwrap();
        let areas = ranges(plan.layout, size, addresses, tables);
        let watched = WatchedMemory::new(with_tables, plan.layout);
        let (watch, doorbell, tally) = (watched.watch(), Doorbell::default(), Tally::default());
        let driver = Virtqueue::new(
            plan.layout,
            watched,
            size,
            plan.features,
            tally.clone(),
            Box::new(doorbell.clone()),
        );
        let ring = Self {
            plan,
            driver: driver.unwrap(),
            device: device(plan, &raw),
            watch,
            doorbell,
            taken: VecDeque::new(),
            tally,
            raw,
            memory,
            areas,
            buffers,
            tables: tables.base,
            generation: Generation(0),
            held: BTreeMap::new(),
            back: BTreeSet::new(),
            broken: None,
            detached: false,
            last: Vec::new(),
        };
        ring.each_outside(|memory, address, len| {
            memory.write(address, &vec![UNTOUCHED; len]).unwrap();
        });
        ring
    }

    /// Calls `each` with every stretch of memory that is not the ring's.
    fn each_outside(&self, mut each: impl FnMut(&GuestMemory, GuestAddress, usize)) {
        // Miri, which is slow with atomics, looks at the edges only.
        const EDGE: u64 = if cfg!(miri) { 16 } else { u64::MAX };
        let mut from = 0u64;
        let end = self.memory.size() as u64;
        for (start, stop) in self.areas.iter().copied().chain([(end, end)]) {
            let first = from.saturating_add(EDGE).min(start);
            let last = start.saturating_sub(EDGE).max(first);
            for (from, to) in [(from, first), (last, start)] {
                if from < to {
                    each(&self.memory, GuestAddress(from), (to - from) as usize);
                }
            }
            from = stop;
        }
    }

    /// Fails if anybody wrote outside the ring. (Nobody here writes into buffers.)
    pub(crate) fn assert_untouched(&self) {
        self.each_outside(|memory, address, len| {
            let mut bytes = vec![0; len];
            memory.read(address, &mut bytes).unwrap();
            let touched = bytes.iter().position(|byte| *byte != UNTOUCHED);
            assert_eq!(touched, None, "memory at {address:?} was written");
        });
    }
}

/// A device half that has done nothing yet.
pub(super) fn device(
    plan: Plan,
    raw: &SharedQueueMemory,
) -> DeviceQueue<SharedQueueMemory, NoInstrument> {
    let size = QueueSize::new(plan.entries).unwrap();
    DeviceQueue::new(plan.layout, raw.clone(), size, plan.features, NoInstrument).unwrap()
}

/// Where the areas begin and end, the lowest first: as whole words of 8 bytes, by
/// which everything else is read and written.
fn ranges(
    layout: Layout,
    size: QueueSize,
    addresses: QueueAddresses,
    tables: IndirectTables,
) -> Vec<(u64, u64)> {
    let lengths = match layout {
        Layout::Split => [
            split_layout::descriptor_area_len(size),
            split_layout::driver_area_len(size),
            split_layout::device_area_len(size),
        ],
        Layout::Packed => [
            packed_layout::descriptor_area_len(size),
            packed_layout::EVENT_AREA_LEN,
            packed_layout::EVENT_AREA_LEN,
        ],
    };
    let bases = [addresses.descriptor, addresses.driver, addresses.device];
    let areas = bases
        .into_iter()
        .zip(lengths)
        .chain([(tables.base, tables.bytes())]);
    areas
        .map(|(base, len)| (base.0, (base.0 + len as u64).next_multiple_of(8)))
        .collect()
}
