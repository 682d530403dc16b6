//! The ring as the other side reads it: bytes of memory, and what the tables of
//! virtio 1.4 §2.7 and §2.8 say they are. Nothing here is taken from the code
//! under test, but where the areas begin.

use std::ops::Range;

use virtscope_driver::memory::{GuestAddress, GuestMemory, Segment};
use virtscope_record::Layout;

use super::common::Rig;

/// `VIRTQ_DESC_F_NEXT` and the other flags of a descriptor (virtio 1.4 §2.7.5,
/// §2.8.1).
pub(crate) const NEXT: u16 = 1;
pub(crate) const WRITE: u16 = 2;
pub(crate) const INDIRECT: u16 = 4;
pub(crate) const AVAIL: u16 = 1 << 7;
pub(crate) const USED: u16 = 1 << 15;

/// Bytes of a descriptor, in a ring or a table.
pub(crate) const DESCRIPTOR: usize = 16;

/// A place in the ring, by its name in the specification.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Field {
    /// Either layout: a descriptor.
    Descriptor(usize),
    /// Packed: the `flags` of a descriptor.
    DescriptorFlags(usize),
    AvailFlags,
    AvailIdx,
    AvailRing(usize),
    UsedEvent,
    UsedFlags,
    UsedIdx,
    UsedRing(usize),
    AvailEvent,
    /// Packed: the driver event suppression.
    DriverEvent,
    /// Packed: the device event suppression.
    DeviceEvent,
    /// A whole table of indirect descriptors.
    Table(usize),
}

/// A descriptor of either layout; `id` is `next` in a split one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Descriptor {
    pub(crate) segment: Segment,
    pub(crate) id: u16,
    pub(crate) flags: u16,
}

impl Descriptor {
    /// Whether `flag` is set.
    pub(crate) fn has(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }
}

/// A buffer as it stands in the ring.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct List {
    /// Split: the head; packed: the Buffer ID in the last descriptor.
    pub(crate) id: u16,
    /// Its descriptors in the ring.
    pub(crate) entries: Vec<usize>,
    /// Its elements, and whether they are device-writable.
    pub(crate) elements: Vec<(Segment, bool)>,
    /// The table of indirect descriptors that it stands in.
    pub(crate) table: Option<usize>,
}

/// What a used entry says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct UsedEntry {
    pub(crate) id: u32,
    pub(crate) written: u32,
}

/// All bytes of a ring at one moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Picture {
    layout: Layout,
    size: usize,
    /// Where the descriptor, driver and device areas begin.
    areas: [usize; 3],
    /// Where the tables begin, how many there are and how many bytes each has.
    tables: (usize, usize, usize),
    bytes: Vec<u8>,
}

impl Picture {
    /// The ring of `rig` as it stands in memory now.
    pub(crate) fn of<I, T>(layout: Layout, size: u16, rig: &Rig<I, T>) -> Self {
        let at = |address: GuestAddress| usize::try_from(address.0).expect("an address in memory");
        let areas = [
            at(rig.addresses.descriptor),
            at(rig.addresses.driver),
            at(rig.addresses.device),
        ];
        let table_bytes = usize::from(rig.tables.capacity) * DESCRIPTOR;
        let mut picture = Self {
            layout,
            size: usize::from(size),
            areas,
            tables: (at(rig.tables.base), rig.tables.count.into(), table_bytes),
            bytes: Vec::new(),
        };
        let tables_end = picture.tables.0 + picture.tables.1 * table_bytes;
        let end = picture
            .areas()
            .iter()
            .map(|area| area.end)
            .fold(tables_end, usize::max);
        picture.bytes = vec![0; end];
        picture.take(&rig.memory);
        picture
    }

    /// The same ring a moment later.
    pub(crate) fn take(&mut self, memory: &GuestMemory) {
        memory
            .read(GuestAddress(0), &mut self.bytes)
            .expect("the ring is in memory");
    }

    /// The three areas (the tables of virtio 1.4 §2.7 and §2.8.10.1).
    pub(crate) fn areas(&self) -> [Range<usize>; 3] {
        let n = self.size;
        let lengths = match self.layout {
            Layout::Split => [16 * n, 6 + 2 * n, 6 + 8 * n],
            Layout::Packed => [16 * n, 4, 4],
        };
        std::array::from_fn(|i| self.areas[i]..self.areas[i] + lengths[i])
    }

    /// The bytes of `field`.
    pub(crate) fn range(&self, field: Field) -> Range<usize> {
        let [descriptor, driver, device] = self.areas;
        let n = self.size;
        let (at, len) = match field {
            Field::Descriptor(i) => (descriptor + 16 * i, 16),
            Field::DescriptorFlags(i) => (descriptor + 16 * i + 14, 2),
            Field::AvailFlags => (driver, 2),
            Field::AvailIdx => (driver + 2, 2),
            Field::AvailRing(i) => (driver + 4 + 2 * i, 2),
            Field::UsedEvent => (driver + 4 + 2 * n, 2),
            Field::UsedFlags => (device, 2),
            Field::UsedIdx => (device + 2, 2),
            Field::UsedRing(i) => (device + 4 + 8 * i, 8),
            Field::AvailEvent => (device + 4 + 8 * n, 2),
            Field::DriverEvent => (driver, 4),
            Field::DeviceEvent => (device, 4),
            Field::Table(i) => (self.tables.0 + i * self.tables.2, self.tables.2),
        };
        at..at + len
    }

    /// Little-endian.
    fn number(&self, range: Range<usize>) -> u64 {
        let mut bytes = [0; 8];
        bytes[..range.len()].copy_from_slice(&self.bytes[range]);
        u64::from_le_bytes(bytes)
    }

    /// A field of 16 bits.
    pub(crate) fn u16(&self, field: Field) -> u16 {
        u16::try_from(self.number(self.range(field))).expect("a field of 16 bits")
    }

    /// A packed event suppression structure: `desc` and `flags`.
    pub(crate) fn event(&self, field: Field) -> (u16, u16) {
        let word = self.number(self.range(field));
        (word as u16, (word >> 16) as u16)
    }

    /// Whether all three areas are zero.
    pub(crate) fn is_zeroed(&self) -> bool {
        self.areas()
            .into_iter()
            .all(|area| self.bytes[area].iter().all(|byte| *byte == 0))
    }

    fn descriptor_at(&self, at: usize) -> Descriptor {
        let (third, fourth) = (self.number(at + 12..at + 14), self.number(at + 14..at + 16));
        let (id, flags) = match self.layout {
            Layout::Split => (fourth, third),
            Layout::Packed => (third, fourth),
        };
        Descriptor {
            segment: Segment {
                address: GuestAddress(self.number(at..at + 8)),
                len: self.number(at + 8..at + 12) as u32,
            },
            id: id as u16,
            flags: flags as u16,
        }
    }

    /// A descriptor of the ring.
    pub(crate) fn descriptor(&self, index: usize) -> Descriptor {
        assert!(index < self.size, "the ring has no descriptor {index}");
        self.descriptor_at(self.range(Field::Descriptor(index)).start)
    }

    /// The chain from `head` on, as virtio 1.4 §2.7.5 has it.
    pub(crate) fn split_list(&self, head: u16) -> List {
        let mut list = List::of(head);
        let mut index = usize::from(head);
        loop {
            assert!(list.entries.len() < self.size, "a chain that is a loop");
            list.entries.push(index);
            let descriptor = self.descriptor(index);
            if descriptor.has(INDIRECT) {
                // Neither NEXT (§2.7.5.3.1) nor WRITE, which says nothing here.
                assert_eq!(descriptor.flags, INDIRECT);
                self.read_table(descriptor.segment, &mut list);
                return list;
            }
            assert_eq!(descriptor.flags & !(NEXT | WRITE), 0);
            list.push(descriptor);
            if !descriptor.has(NEXT) {
                return list;
            }
            index = usize::from(descriptor.id);
        }
    }

    /// The list at `position` descriptors from the ring's beginning, as virtio 1.4
    /// §2.8.6 has it: every one of its descriptors is available.
    pub(crate) fn packed_list(&self, position: u64) -> List {
        let mut list = List::of(0);
        loop {
            assert!(
                list.entries.len() < self.size,
                "a list longer than the ring"
            );
            let at = position + list.entries.len() as u64;
            assert!(self.is_available(at), "a list that breaks off");
            list.entries.push(self.slot(at));
            let descriptor = self.descriptor(self.slot(at));
            list.id = descriptor.id;
            let flags = descriptor.flags & !(AVAIL | USED);
            if descriptor.has(INDIRECT) {
                // Not in a list of others (§2.8.19).
                assert_eq!((flags, list.entries.len()), (INDIRECT, 1));
                self.read_table(descriptor.segment, &mut list);
                return list;
            }
            assert_eq!(flags & !(NEXT | WRITE), 0);
            list.push(descriptor);
            if !descriptor.has(NEXT) {
                return list;
            }
        }
    }

    /// A table of indirect descriptors (virtio 1.4 §2.7.5.3, §2.8.7).
    fn read_table(&self, table: Segment, list: &mut List) {
        let (base, count, bytes) = self.tables;
        let at = table.address.0 as usize;
        let number = (at - base) / bytes;
        assert!(number < count && at == base + number * bytes, "no table");
        list.table = Some(number);
        let len = table.len as usize;
        assert!(len.is_multiple_of(DESCRIPTOR) && len <= bytes);
        for index in 0..len / DESCRIPTOR {
            let descriptor = self.descriptor_at(at + index * DESCRIPTOR);
            match self.layout {
                Layout::Split => {
                    // One behind the other, also where nothing but `next` would
                    // have to say so (§2.7.5.3.1).
                    let last = (index + 1) * DESCRIPTOR == len;
                    assert_eq!(descriptor.flags & !(NEXT | WRITE), 0);
                    assert_eq!(descriptor.has(NEXT), !last);
                    assert!(last || usize::from(descriptor.id) == index + 1);
                }
                // Any other flag is reserved (§2.8.7).
                Layout::Packed => assert_eq!(descriptor.flags & !WRITE, 0),
            }
            list.push(descriptor);
        }
    }

    /// The slot of a place that is counted from the ring's beginning.
    pub(crate) fn slot(&self, position: u64) -> usize {
        (position % self.size as u64) as usize
    }

    /// Packed: the wrap counter of the round that `position` is in.
    fn wrap(&self, position: u64) -> bool {
        (position / self.size as u64).is_multiple_of(2)
    }

    /// Packed: whether the descriptor at `position` is available.
    pub(crate) fn is_available(&self, position: u64) -> bool {
        let descriptor = self.descriptor(self.slot(position));
        let wrap = self.wrap(position);
        descriptor.has(AVAIL) == wrap && descriptor.has(USED) != wrap
    }

    /// What the device says of the used entry at `position`, if it is visible to
    /// a driver that looks there.
    pub(crate) fn used_entry(&self, position: u64) -> Option<UsedEntry> {
        match self.layout {
            Layout::Split => {
                // Visible is what the used index says, which the caller checks.
                let at = self.range(Field::UsedRing(self.slot(position))).start;
                Some(UsedEntry {
                    id: self.number(at..at + 4) as u32,
                    written: self.number(at + 4..at + 8) as u32,
                })
            }
            Layout::Packed => {
                let descriptor = self.descriptor(self.slot(position));
                let wrap = self.wrap(position);
                if descriptor.has(AVAIL) != wrap || descriptor.has(USED) != wrap {
                    return None;
                }
                let written = descriptor.has(WRITE);
                Some(UsedEntry {
                    id: descriptor.id.into(),
                    written: if written { descriptor.segment.len } else { 0 },
                })
            }
        }
    }

    /// Fails unless all bytes but those in `allowed` are as they were in `before`.
    pub(crate) fn assert_only_changed(&self, before: &Self, allowed: &[Range<usize>]) {
        let mut expected = before.bytes.clone();
        for range in allowed {
            expected[range.clone()].copy_from_slice(&self.bytes[range.clone()]);
        }
        if expected != self.bytes {
            let changed: Vec<usize> = (0..expected.len())
                .filter(|at| expected[*at] != self.bytes[*at])
                .collect();
            panic!("bytes at {changed:#x?} changed, though only {allowed:#x?} might");
        }
    }
}

impl List {
    fn of(id: u16) -> Self {
        Self {
            id,
            entries: Vec::new(),
            elements: Vec::new(),
            table: None,
        }
    }

    fn push(&mut self, descriptor: Descriptor) {
        let write = descriptor.has(WRITE);
        self.elements.push((descriptor.segment, write));
    }
}
