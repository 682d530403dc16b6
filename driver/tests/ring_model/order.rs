//! The order of the driver's stores: whatever a list consists of is in memory before
//! the one word that shows it to the device.

use std::sync::{Arc, Mutex};

use rstest::rstest;
use virtscope_driver::instrument::NoInstrument;
use virtscope_driver::memory::{
    Barrier, GuestAddress, GuestMemory, IndirectTables, Order, QueueMemory, RingWords, Segment,
    SharedQueueMemory, SharedWords,
};
use virtscope_driver::ring::{
    AvailableNotification, Context, Features, Notifier, NotifyError, QueueSize, Virtqueue,
    packed_layout, split_layout,
};
use virtscope_record::{Layout, Token};

/// Where a word was stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Area {
    Descriptor,
    Driver,
    Device,
    Indirect,
}

/// Area, offset in it, and order of a store.
type Store = (Area, usize, Order);

/// An area that notes every store.
struct WatchedWords {
    area: Area,
    words: SharedWords,
    stores: Arc<Mutex<Vec<Store>>>,
}

impl WatchedWords {
    fn note(&self, offset: usize, order: Order) {
        let mut stores = self.stores.lock().expect("nobody panics with it");
        stores.push((self.area, offset, order));
    }
}

macro_rules! word {
    ($load:ident, $store:ident, $number:ty) => {
        fn $load(&self, offset: usize, order: Order) -> $number {
            self.words.$load(offset, order)
        }
        fn $store(&self, offset: usize, value: $number, order: Order) {
            self.note(offset, order);
            self.words.$store(offset, value, order);
        }
    };
}

impl RingWords for WatchedWords {
    word!(load_u16, store_u16, u16);
    word!(load_u32, store_u32, u32);
    word!(load_u64, store_u64, u64);
}

/// A queue's memory that notes every store.
struct Watched {
    memory: SharedQueueMemory,
    areas: [WatchedWords; 4],
}

impl Watched {
    fn new(memory: SharedQueueMemory, stores: &Arc<Mutex<Vec<Store>>>) -> Self {
        let watched = |area, words: &SharedWords| WatchedWords {
            area,
            words: words.clone(),
            stores: Arc::clone(stores),
        };
        Self {
            areas: [
                watched(Area::Descriptor, memory.descriptor_area()),
                watched(Area::Driver, memory.driver_area()),
                watched(Area::Device, memory.device_area()),
                watched(Area::Indirect, memory.indirect_area()),
            ],
            memory,
        }
    }
}

impl QueueMemory for Watched {
    type Words = WatchedWords;

    fn descriptor_area(&self) -> &WatchedWords {
        &self.areas[0]
    }
    fn driver_area(&self) -> &WatchedWords {
        &self.areas[1]
    }
    fn device_area(&self) -> &WatchedWords {
        &self.areas[2]
    }
    fn fence(&self, barrier: Barrier) {
        self.memory.fence(barrier);
    }
    fn indirect_tables(&self) -> IndirectTables {
        self.memory.indirect_tables()
    }
    fn indirect_area(&self) -> &WatchedWords {
        &self.areas[3]
    }
    fn is_buffer(&self, segment: Segment) -> bool {
        self.memory.is_buffer(segment)
    }
    fn read_buffer(&self, address: GuestAddress, into: &mut [u8]) -> bool {
        self.memory.read_buffer(address, into)
    }
}

struct Silent;

impl Notifier for Silent {
    fn notify(&self, _: AvailableNotification) -> Result<(), NotifyError> {
        Ok(())
    }
}

const ENTRIES: u16 = 16;

/// A queue, and what it stores.
struct Bench {
    queue: Virtqueue<Watched, NoInstrument, ()>,
    stores: Arc<Mutex<Vec<Store>>>,
    buffers: GuestAddress,
}

impl Bench {
    fn new(layout: Layout, features: Features) -> Self {
        let size = QueueSize::new(ENTRIES).unwrap();
        let memory = Arc::new(GuestMemory::new(2));
        let tables = IndirectTables {
            base: GuestAddress(2048),
            count: 4,
            capacity: 4,
        };
        let start = GuestAddress(0);
        let areas = match layout {
            Layout::Split => {
                let (addresses, _) = split_layout::contiguous(start, size);
                SharedQueueMemory::split(memory, addresses, size)
            }
            Layout::Packed => {
                let (addresses, _) = packed_layout::contiguous(start, size);
                SharedQueueMemory::packed(memory, addresses, size)
            }
        };
        let areas = areas.unwrap().with_indirect_tables(tables).unwrap();
        let stores = Arc::default();
        let watched = Watched::new(areas, &stores);
        let silent = Box::new(Silent);
        Self {
            queue: Virtqueue::new(layout, watched, size, features, NoInstrument, silent).unwrap(),
            stores,
            buffers: GuestAddress(4096),
        }
    }

    /// Adds a buffer of three segments; returns the stores of that.
    fn add(&mut self, publish: bool) -> Vec<Store> {
        let segment = Segment {
            address: self.buffers,
            len: 8,
        };
        let (readable, writable) = ([segment; 2], [segment]);
        let added = if publish {
            self.queue.add(&readable, &writable, Token(0), ())
        } else {
            let context = Context::default();
            self.queue
                .add_unpublished(&readable, &writable, Token(0), (), context)
        };
        added.unwrap();
        self.take_stores()
    }

    fn take_stores(&mut self) -> Vec<Store> {
        std::mem::take(&mut self.stores.lock().expect("nobody panics with it"))
    }
}

// Shows: driver/2.8.6/2, driver/2.8.17/6
/// The available index, or the flags of the first list that was not available: the
/// last store of all, once, and a release.
#[rstest]
fn what_shows_a_list_is_stored_last(
    #[values(Layout::Split, Layout::Packed)] layout: Layout,
    #[values(false, true)] indirect: bool,
    #[values(false, true)] in_order: bool,
) {
    let mut bench = Bench::new(
        layout,
        Features {
            event_idx: false,
            indirect,
            in_order,
        },
    );
    // Where the list that begins at this entry of a packed ring is shown.
    let shown = |first: usize| match layout {
        Layout::Split => (Area::Driver, 2, Order::Barrier(Barrier::SplitAvailable)),
        Layout::Packed => {
            let order = Order::Barrier(Barrier::PackedAvailable);
            (Area::Descriptor, 16 * first + 8, order)
        }
    };
    let place = |store: &Store| (store.0, store.1);
    let assert_last = |stores: &[Store], first| {
        let expected = shown(first);
        assert_eq!(stores.last(), Some(&expected));
        let times = stores
            .iter()
            .filter(|s| place(s) == place(&expected))
            .count();
        assert_eq!(times, 1, "{stores:?}");
    };
    let entries = if indirect { 1 } else { 3 };

    // A list of its own.
    let stores = bench.add(true);
    assert_last(&stores, 0);
    // In descriptors of two words each, in the ring or in a table; and one word, or
    // one descriptor, that leads there.
    let area = if indirect {
        Area::Indirect
    } else {
        Area::Descriptor
    };
    assert_eq!(stores.iter().filter(|s| s.0 == area).count(), 6);

    // Two that wait, and a third that shows all of them.
    for _ in 0..2 {
        let stores = bench.add(false);
        assert!(stores.iter().all(|s| place(s) != place(&shown(entries))));
    }
    let stores = bench.add(true);
    assert_last(&stores, entries);

    // One that waits and is shown by itself.
    bench.add(false);
    bench.queue.publish();
    assert_eq!(bench.take_stores(), [shown(4 * entries)]);
}
