//! A kernel that is made up: one device, whose rings say what each test wants.

use std::cell::Cell;

use proptest::prelude::*;

use super::*;
use crate::btf::KernelBtf;
use crate::memory::MemoryImage;

const BASE: u64 = 0xffff_8880_0000_0000;
const BUS: u64 = BASE + 0x100;
const KSET: u64 = BASE + 0x1000;
const PRIVATE: u64 = BASE + 0x2000;
const OTHER: u64 = BASE + 0x3000;
const DEVICE: u64 = BASE + 0x4000;
const DEVICE_PRIVATE: u64 = BASE + 0x5000;
const VRING: u64 = BASE + 0x6000;
const NAMES: u64 = BASE + 0x7000;
const AREAS: u64 = BASE + 0x1_0000;
const STATES: u64 = BASE + 0x2_0000;
const EXTRAS: u64 = BASE + 0x3_0000;
const TABLE: u64 = BASE + 0x4_0000;
const SIZE: u16 = 8;

fn offsets(version: &str) -> Offsets {
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/btf")
        .join(version);
    Offsets::of(&KernelBtf::open(&directory, version.to_owned()).unwrap()).unwrap()
}

fn symbols() -> Symbols {
    Symbols::of([(BUSSES.to_owned(), BASE), (VIRTIO_BUS.to_owned(), BUS)])
}

/// A kernel with one device and one ring, which is empty.
struct Kernel {
    offsets: Offsets,
    memory: MemoryImage,
    is_packed: bool,
}

impl Kernel {
    fn new(version: &str, is_packed: bool) -> Self {
        let mut kernel = Self {
            offsets: offsets(version),
            memory: MemoryImage::default(),
            is_packed,
        };
        kernel.lay_out();
        kernel
    }

    fn put(&mut self, address: u64, bytes: &[u8]) {
        self.memory.write(address, bytes);
    }

    fn pointer(&mut self, at: u64, offset: u32, to: u64) {
        self.put(at + u64::from(offset), &to.to_ne_bytes());
    }

    fn lay_out(&mut self) {
        let at = self.offsets.clone();
        for (start, length) in [(KSET, 256), (PRIVATE, 1024), (OTHER, 1024)] {
            self.put(start, &vec![0; length]);
        }
        self.put(DEVICE, &vec![0; at.device.size as usize]);
        self.put(DEVICE_PRIVATE, &[0; 1024]);
        self.put(VRING, &vec![0; at.queue.size as usize]);
        self.put(AREAS, &[0; 0x1000]);
        self.put(STATES, &[0; 0x1000]);
        self.put(EXTRAS, &[0; 0x1000]);
        self.pointer(BASE, 0, KSET);
        // Two busses, the other one first.
        let entry = |private: u64| private + u64::from(at.bus.entry);
        self.list(
            KSET + u64::from(at.bus.busses),
            &[entry(OTHER), entry(PRIVATE)],
        );
        self.pointer(PRIVATE, at.bus.bus, BUS);
        self.pointer(OTHER, at.bus.bus, BUS + 8);
        self.list(
            PRIVATE + u64::from(at.bus.devices),
            &[DEVICE_PRIVATE + u64::from(at.bus.node)],
        );
        let dev = DEVICE + u64::from(at.device.dev);
        self.pointer(DEVICE_PRIVATE, at.bus.device, dev);
        self.put(NAMES, &[0; 64]);
        self.put(NAMES, b"virtio3\0requests\0");
        self.put(DEVICE + u64::from(at.device.index), &3u32.to_ne_bytes());
        self.pointer(DEVICE, at.device.name, NAMES);
        self.put(DEVICE + u64::from(at.device.id), &9u32.to_ne_bytes());
        let features = 1u64 << 32 | 1;
        self.put(
            DEVICE + u64::from(at.device.features),
            &features.to_ne_bytes(),
        );
        let link = VRING + u64::from(at.queue.list);
        self.list(DEVICE + u64::from(at.device.vqs), &[link]);
        self.pointer(VRING, at.queue.vdev, DEVICE);
        self.pointer(VRING, at.queue.name, NAMES + 8);
        self.ring(at.queue.free, &u32::from(SIZE).to_ne_bytes());
        match at.queue.layout {
            LayoutOffset::PackedRing(at) => self.ring(at, &[u8::from(self.is_packed)]),
            LayoutOffset::Layout {
                at, split, packed, ..
            } => {
                let layout = if self.is_packed { packed } else { split };
                self.ring(at, &layout.to_ne_bytes());
            }
        }
        let size = u32::from(SIZE).to_ne_bytes();
        let areas = [AREAS, AREAS + 0x400, AREAS + 0x800];
        let (num, pointers, state, extra) = match self.is_packed {
            true => (
                at.packed.num,
                [at.packed.desc, at.packed.driver, at.packed.device],
                at.packed.state,
                at.packed.extra,
            ),
            false => (
                at.split.num,
                [at.split.desc, at.split.avail, at.split.used],
                at.split.state,
                at.split.extra,
            ),
        };
        self.ring(num, &size);
        for (offset, area) in pointers.into_iter().zip(areas) {
            self.pointer(VRING, offset, area);
        }
        self.pointer(VRING, state, STATES);
        self.pointer(VRING, extra, EXTRAS);
        if self.is_packed {
            self.ring(at.packed.wrap, &[1]);
            self.last_used(1 << 15);
        }
    }

    fn list(&mut self, head: u64, links: &[u64]) {
        let all: Vec<u64> = [&[head], links].concat();
        for (n, link) in all.iter().enumerate() {
            let next = all[(n + 1) % all.len()];
            self.put(*link, &next.to_ne_bytes());
            self.put(next + 8, &link.to_ne_bytes());
        }
    }

    fn ring(&mut self, offset: u32, bytes: &[u8]) {
        self.put(VRING + u64::from(offset), bytes);
    }

    fn last_used(&mut self, index: u16) {
        self.ring(self.offsets.queue.last_used, &index.to_ne_bytes());
    }

    fn free(&mut self, free: u16) {
        self.ring(self.offsets.queue.free, &u32::from(free).to_ne_bytes());
    }

    fn descriptor(&mut self, index: u16, length: u32, flags: u16, next: u16) {
        let at = AREAS + 16 * u64::from(index);
        self.put(at + 12, &flags.to_le_bytes());
        let extras = self.offsets.split.extras.clone();
        let extra = EXTRAS + u64::from(extras.size) * u64::from(index);
        self.put(extra + u64::from(extras.len), &length.to_ne_bytes());
        self.put(extra + u64::from(extras.next), &next.to_ne_bytes());
    }

    fn split_token(&mut self, head: u16, token: u64) {
        let at = &self.offsets.split;
        let address = STATES + u64::from(at.state_size) * u64::from(head) + u64::from(at.data);
        self.put(address, &token.to_ne_bytes());
    }

    fn packed_token(&mut self, id: u16, token: u64, count: u16) {
        let at = self.offsets.packed.clone();
        let state = STATES + u64::from(at.state_size) * u64::from(id);
        self.put(state + u64::from(at.data), &token.to_ne_bytes());
        self.put(state + u64::from(at.count), &count.to_ne_bytes());
    }

    fn inspect(&self) -> Inspection {
        let symbols = symbols();
        let walk = Walk::new(&self.memory, &self.offsets, &symbols);
        let devices = walk.devices().unwrap();
        walk.inspect(&devices[0].queues[0]).unwrap()
    }
}

#[test]
fn devices_and_queues_are_found() {
    for version in ["6.1", "6.12", "7.2"] {
        for is_packed in [false, true] {
            let kernel = Kernel::new(version, is_packed);
            let symbols = symbols();
            let walk = Walk::new(&kernel.memory, &kernel.offsets, &symbols);
            let devices = walk.devices().unwrap();
            let [device] = devices.as_slice() else {
                panic!("{devices:?}");
            };
            assert_eq!((device.name.as_str(), device.index), ("virtio3", 3));
            assert_eq!((device.driver.as_deref(), device.device_type), (None, 9));
            assert_eq!(device.features, 1 << 32 | 1);
            let queue = &device.queues[0];
            assert_eq!(queue.name.as_deref(), Some("requests"));
            assert_eq!((queue.size, queue.layout.is_packed()), (SIZE, is_packed));
            let inspection = walk.inspect(queue).unwrap();
            assert_eq!(inspection.stability, Stability::Stable);
            assert_eq!(inspection.adds_up, Some(true));
            assert_eq!(inspection.in_flight, []);
        }
    }
}

#[test]
fn chains_of_a_split_ring_are_followed() {
    let mut kernel = Kernel::new("6.1", false);
    // 2 → 5 → 3, and an indirect buffer at 0.
    kernel.descriptor(2, 16, 1, 5);
    kernel.descriptor(5, 100, 1 | 2, 3);
    kernel.descriptor(3, 1, 2, 7);
    kernel.split_token(2, 0xffff_8880_1234_0000);
    kernel.descriptor(0, 32, 4, 1);
    kernel.split_token(0, 0xabc);
    let table = STATES + u64::from(kernel.offsets.split.table);
    kernel.put(table, &TABLE.to_ne_bytes());
    let mut entries = [0; 32];
    entries[8..12].copy_from_slice(&23u32.to_le_bytes());
    entries[12..14].copy_from_slice(&1u16.to_le_bytes());
    entries[24..28].copy_from_slice(&4096u32.to_le_bytes());
    entries[28..30].copy_from_slice(&2u16.to_le_bytes());
    kernel.put(TABLE, &entries);
    kernel.free(SIZE - 4);
    // The device has returned 2, around the end of the indices.
    kernel.last_used(65535);
    kernel.put(AREAS + 0x800 + 2, &0u16.to_le_bytes());
    kernel.put(AREAS + 0x800 + 4 + 8 * 7, &2u32.to_le_bytes());

    let found = kernel.inspect();
    assert_eq!(found.adds_up, Some(true));
    assert_eq!(
        found.in_flight,
        [
            InFlight {
                head: 0,
                token: 0xabc,
                whereabouts: Whereabouts::Device,
                descriptors: Some(1),
                indirect: Some(2),
                readable: Some(23),
                writable: Some(4096),
            },
            InFlight {
                head: 2,
                token: 0xffff_8880_1234_0000,
                whereabouts: Whereabouts::Returned,
                descriptors: Some(3),
                indirect: None,
                readable: Some(16),
                writable: Some(101),
            },
        ]
    );
}

#[test]
fn a_chain_that_leads_nowhere_is_not_counted() {
    let mut kernel = Kernel::new("7.2", false);
    kernel.descriptor(2, 16, 1, 4);
    kernel.descriptor(4, 16, 1, 2);
    kernel.split_token(2, 1);
    kernel.descriptor(6, 16, 1, 60_000);
    kernel.split_token(6, 2);
    let found = kernel.inspect();
    assert_eq!(found.adds_up, None);
    let counts: Vec<_> = found
        .in_flight
        .iter()
        .map(|each| each.descriptors)
        .collect();
    assert_eq!(counts, [None, None]);
}

#[test]
fn a_device_that_lies_about_its_index_returns_nothing() {
    let mut kernel = Kernel::new("6.12", false);
    kernel.split_token(2, 1);
    kernel.put(AREAS + 0x800 + 2, &9u16.to_le_bytes());
    let found = kernel.inspect();
    assert_eq!(found.in_flight[0].whereabouts, Whereabouts::Device);
}

#[test]
fn positions_of_a_packed_ring_wrap() {
    for version in ["6.1", "7.2"] {
        let mut kernel = Kernel::new(version, true);
        // 5 takes the last two entries, 1 the first one, and 6 one more.
        kernel.packed_token(5, 0x50, 2);
        kernel.packed_token(1, 0x10, 1);
        kernel.packed_token(6, 0x60, 1);
        kernel.free(SIZE - 4);
        kernel.last_used(6 | 1 << 15);
        let mut used = |position: u64, id: u16, flags: u16| {
            let at = AREAS + 16 * position;
            kernel.put(at + 12, &id.to_le_bytes());
            kernel.put(at + 14, &flags.to_le_bytes());
        };
        // Used with the counter at 1, then, past the end, with the counter at 0.
        used(6, 5, 1 << 7 | 1 << 15);
        used(0, 1, 0);
        // Made available with the counter at 0 and not used.
        used(1, 6, 1 << 15);
        kernel.put(AREAS + 0x400, &[3, 0x80, 2, 0]);
        kernel.put(AREAS + 0x800, &[0, 0, 1, 0]);

        let found = kernel.inspect();
        let whereabouts: Vec<_> = found
            .in_flight
            .iter()
            .map(|each| (each.head, each.whereabouts))
            .collect();
        assert_eq!(
            whereabouts,
            [
                (1, Whereabouts::Returned),
                (5, Whereabouts::Returned),
                (6, Whereabouts::Device),
            ]
        );
        assert_eq!(found.adds_up, Some(true));
        let Ring::Packed(ring) = found.ring else {
            panic!("{found:?}");
        };
        assert_eq!((ring.next_used, ring.used_wrap), (6, true));
        assert_eq!(
            (
                ring.driver_event.offset,
                ring.driver_event.wrap,
                ring.driver_event.flags
            ),
            (3, true, 2)
        );
        assert_eq!(ring.device_event.flags, 1);
    }
}

/// One used descriptor may stand for several buffers where they are used in order, and a
/// driver may be in the midst of taking them back.
#[test]
fn a_packed_ring_in_order_returns_batches() {
    for (next_used, batch, expected) in [
        // 6 (two entries), 0 and 1 are told of by the descriptor of 6, and 2 by its own.
        (6, u32::MAX, vec![6, 0, 1, 2]),
        // Of these 6 has been taken back.
        (8, 1, vec![0, 1, 2]),
        // All but the last of them have been: that one is no part of a batch any more.
        (10, u32::MAX, vec![2]),
    ] {
        let mut kernel = Kernel::new("7.2", true);
        let LayoutOffset::Layout {
            at,
            packed_in_order: Some(in_order),
            ..
        } = kernel.offsets.queue.layout
        else {
            panic!("no such layout");
        };
        kernel.ring(at, &in_order.to_ne_bytes());
        let mut in_flight = vec![(6, 2), (0, 1), (1, 1), (2, 1), (3, 1)];
        in_flight.retain(|(id, _)| *id == 3 || expected.contains(id));
        for (id, count) in &in_flight {
            kernel.packed_token(*id, 0x10 + u64::from(*id), *count);
        }
        let wrap = u16::from(next_used < SIZE) << 15;
        kernel.last_used((next_used % SIZE) | wrap);
        let at = kernel.offsets.queue.batch.unwrap();
        kernel.ring(at, &batch.to_ne_bytes());
        let mut used = |position: u64, id: u16, flags: u16| {
            let at = AREAS + 16 * position;
            kernel.put(at + 12, &id.to_le_bytes());
            kernel.put(at + 14, &flags.to_le_bytes());
        };
        used(6, 1, 1 << 7 | 1 << 15);
        // Made available with the counter at 0, used with it, and made available.
        for position in [0, 1, 3] {
            used(position, position as u16, 1 << 15);
        }
        used(2, 2, 0);
        let found = kernel.inspect();
        let mut returned: Vec<_> = found
            .in_flight
            .iter()
            .filter(|each| each.whereabouts == Whereabouts::Returned)
            .map(|each| each.head)
            .collect();
        returned.sort_by_key(|id| expected.iter().position(|each| each == id));
        assert_eq!(returned, expected, "from {next_used} on");
        assert_eq!(found.in_flight.len(), expected.len() + 1);
    }
}

/// Memory in which one word counts how often it is read, up to a limit.
struct Changing<'a> {
    memory: &'a MemoryImage,
    address: u64,
    reads: Cell<u16>,
    until: u16,
}

impl KernelMemory for Changing<'_> {
    fn read(&self, address: u64, into: &mut [u8]) -> Result<(), MemoryError> {
        self.memory.read(address, into)?;
        if let Some(at) = self.address.checked_sub(address)
            && let Some(word) = into.get_mut(at as usize..at as usize + 2)
        {
            let reads = self.reads.get().saturating_add(1).min(self.until);
            self.reads.set(reads);
            word.copy_from_slice(&reads.to_le_bytes());
        }
        Ok(())
    }
}

#[test]
fn a_ring_that_changes_is_read_again_and_one_that_never_stops_says_so() {
    let kernel = Kernel::new("6.12", false);
    let symbols = symbols();
    for (until, expected) in [(3, Stability::Stable), (u16::MAX, Stability::Moving)] {
        let memory = Changing {
            memory: &kernel.memory,
            address: AREAS + 0x400 + 2,
            reads: Cell::new(0),
            until,
        };
        let walk = Walk::new(&memory, &kernel.offsets, &symbols);
        let devices = walk.devices().unwrap();
        let found = walk.inspect(&devices[0].queues[0]).unwrap();
        assert_eq!(found.stability, expected);
        let Ring::Split(ring) = found.ring else {
            panic!("{found:?}");
        };
        match expected {
            Stability::Stable => assert_eq!(ring.avail_idx, until),
            Stability::Moving => assert_eq!(ring.avail_idx, u16::try_from(TRIES).unwrap()),
        }
    }
}

#[test]
fn lists_that_are_torn_are_told() {
    let mut kernel = Kernel::new("6.1", false);
    let link = VRING + u64::from(kernel.offsets.queue.list);
    kernel.put(link + 8, &[0; 8]);
    let symbols = symbols();
    let walk = Walk::new(&kernel.memory, &kernel.offsets, &symbols);
    let error = walk.devices().unwrap_err();
    assert!(matches!(error, WalkError::Moving("virtqueues")), "{error}");
}

#[test]
fn what_is_no_queue_is_refused() {
    let mut kernel = Kernel::new("7.2", false);
    kernel.ring(kernel.offsets.split.num, &70_000u32.to_ne_bytes());
    let symbols = symbols();
    let walk = Walk::new(&kernel.memory, &kernel.offsets, &symbols);
    let error = walk.devices().unwrap_err().to_string();
    assert!(
        error.contains("is no virtqueue: its size is 70000"),
        "{error}"
    );

    let none = Symbols::of([(BUSSES.to_owned(), BASE)]);
    let walk = Walk::new(&kernel.memory, &kernel.offsets, &none);
    assert!(matches!(walk.devices(), Err(WalkError::Symbol(_))));
}

#[test]
fn a_walk_is_kept_and_walked_again() {
    let kernel = Kernel::new("7.2", true);
    let saved = Saved::new(kernel.offsets.clone(), symbols(), kernel.memory.clone());
    let mut text = Vec::new();
    saved.write(&mut text).unwrap();
    let again = Saved::read(text.as_slice()).unwrap();
    assert_eq!(again, saved);
    assert_eq!(again.walk().devices().unwrap().len(), 1);

    let foreign = Saved::read(&b"\x0a\x0d\x0d\x0a\xff\xff"[..]).unwrap_err();
    assert!(matches!(foreign, SavedError::Foreign), "{foreign}");
    text.extend_from_slice(b"nonsense\n");
    let error = Saved::read(text.as_slice()).unwrap_err().to_string();
    assert!(error.contains("is damaged"), "{error}");
}

#[test]
fn sysfs_is_compared() {
    let kernel = Kernel::new("6.1", false);
    let symbols = symbols();
    let walk = Walk::new(&kernel.memory, &kernel.offsets, &symbols);
    let devices = walk.devices().unwrap();
    let sysfs = tempfile::tempdir().unwrap();
    let device = sysfs.path().join("virtio3");
    std::fs::create_dir(&device).unwrap();
    std::fs::write(device.join("device"), "0x0009\n").unwrap();
    let bits: String = (0..64)
        .map(|bit| if bit == 0 || bit == 32 { '1' } else { '0' })
        .collect();
    std::fs::write(device.join("features"), &bits).unwrap();
    assert_eq!(compare(&devices, sysfs.path()).unwrap(), []);

    std::fs::write(device.join("device"), "0x0002\n").unwrap();
    std::os::unix::fs::symlink("../drivers/virtio_blk", device.join("driver")).unwrap();
    std::fs::create_dir(sysfs.path().join("virtio4")).unwrap();
    let differences = compare(&devices, sysfs.path()).unwrap();
    let words: Vec<_> = differences.iter().map(|each| each.what.as_str()).collect();
    assert_eq!(
        words,
        [
            "driver none, in sysfs virtio_blk",
            "type 9, in sysfs 2",
            "only sysfs has it"
        ]
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever stands in a kernel's memory: an answer or an error, no panic and no walk
    /// without an end.
    #[test]
    fn any_memory_is_walked_to_an_end(
        is_packed: bool,
        changes in proptest::collection::vec((0u64..0x3_1000, any::<u64>()), 0..200),
        links in proptest::collection::vec((0u64..0x8000, 0u64..0x3_1000), 0..4),
    ) {
        let mut kernel = Kernel::new("6.12", is_packed);
        let image = kernel.memory.clone();
        let mut word = [0; 8];
        for (at, value) in changes {
            if image.read(BASE + at, &mut word).is_ok() {
                kernel.put(BASE + at, &value.to_ne_bytes());
            }
        }
        for (at, to) in links {
            if image.read(BASE + at, &mut word).is_ok() {
                kernel.put(BASE + at, &(BASE + to).to_ne_bytes());
            }
        }
        let symbols = symbols();
        let walk = Walk::new(&kernel.memory, &kernel.offsets, &symbols);
        for device in walk.devices().unwrap_or_default() {
            for queue in &device.queues {
                let _ = walk.inspect(queue);
            }
        }
    }
}
