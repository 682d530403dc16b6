//! Ring memory under watch: every access of the driver is counted and judged, and
//! a device may write between any two of them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use virtscope_driver::memory::{
    Barrier, GuestAddress, IndirectTables, Order, QueueMemory, RingWords, Segment,
    SharedQueueMemory, SharedWords,
};
use virtscope_record::Layout;

/// An area of the ring.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum Area {
    /// The descriptor area.
    Descriptor,
    /// The driver area.
    Driver,
    /// The device area.
    Device,
    /// The tables of indirect descriptors.
    Tables,
}

/// A word of the ring, by the size that everybody reaches it with.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Word {
    pub(crate) area: Area,
    /// In bytes from the area's beginning.
    pub(crate) offset: usize,
    /// 2, 4 or 8 bytes.
    pub(crate) bytes: usize,
}

/// What a device that keeps no rules writes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Lie {
    pub(crate) word: Word,
    pub(crate) value: u64,
}

/// When it writes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum When {
    /// Before the driver's next access but this many.
    Access(u32),
    /// Before the driver reads this word the next time but this many.
    Load(Word, u32),
    /// Right after the driver has read this word.
    Loaded(Word),
}

/// One access of the driver.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Access {
    pub(crate) word: Word,
    pub(crate) is_load: bool,
}

/// The raw areas, and what is to happen to them.
pub(crate) struct Watch {
    raw: SharedQueueMemory,
    layout: Layout,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    log: Vec<Access>,
    armed: Vec<(When, Lie)>,
    /// A reset zeroes every area, also the device's.
    resetting: bool,
}

impl Watch {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes now.
    pub(crate) fn write(&self, lie: Lie) {
        let Lie { word, value } = lie;
        let words = self.words(word.area);
        match word.bytes {
            2 => words.store_u16(word.offset, value as u16, Order::Relaxed),
            4 => words.store_u32(word.offset, value as u32, Order::Relaxed),
            _ => words.store_u64(word.offset, value, Order::Relaxed),
        }
    }

    /// What stands there.
    pub(crate) fn read(&self, word: Word) -> u64 {
        let words = self.words(word.area);
        match word.bytes {
            2 => words.load_u16(word.offset, Order::Relaxed).into(),
            4 => words.load_u32(word.offset, Order::Relaxed).into(),
            _ => words.load_u64(word.offset, Order::Relaxed),
        }
    }

    /// Writes later, once.
    pub(crate) fn arm(&self, when: When, lie: Lie) {
        self.state().armed.push((when, lie));
    }

    /// What was to be written later and was not, is not written any more. Returns
    /// how many there were.
    pub(crate) fn disarm(&self) -> usize {
        std::mem::take(&mut self.state().armed).len()
    }

    /// The driver's accesses since the last call.
    pub(crate) fn take_log(&self) -> Vec<Access> {
        std::mem::take(&mut self.state().log)
    }

    /// Whether the driver may write the device's words.
    pub(crate) fn set_resetting(&self, resetting: bool) {
        self.state().resetting = resetting;
    }

    fn words(&self, area: Area) -> &SharedWords {
        match area {
            Area::Descriptor => self.raw.descriptor_area(),
            Area::Driver => self.raw.driver_area(),
            Area::Device => self.raw.device_area(),
            Area::Tables => self.raw.indirect_area(),
        }
    }

    /// Before an access: what is due is written.
    fn before(&self, word: Word, is_load: bool) {
        let mut state = self.state();
        let allowed = match (word.area, is_load) {
            // A copy of its own tells the driver what it wrote.
            (Area::Driver | Area::Tables, is_load) => !is_load,
            (Area::Device, is_load) => is_load || state.resetting,
            // In a packed ring the device answers in the second half of a descriptor.
            (Area::Descriptor, true) => self.layout == Layout::Packed && word.offset % 16 == 8,
            (Area::Descriptor, false) => true,
        };
        assert!(
            allowed,
            "load: {is_load} of {word:?}, which is not its to trust or to write"
        );
        state.log.push(Access { word, is_load });
        if state.armed.is_empty() {
            return;
        }
        let mut due = Vec::new();
        state.armed.retain_mut(|(when, lie)| {
            let left = match when {
                When::Access(left) => left,
                When::Load(at, left) if is_load && *at == word => left,
                _ => return true,
            };
            if *left > 0 {
                *left -= 1;
                return true;
            }
            due.push(*lie);
            false
        });
        drop(state);
        due.into_iter().for_each(|lie| self.write(lie));
    }

    /// After a load: what follows it is written.
    fn after_load(&self, word: Word) {
        let mut due = Vec::new();
        self.state().armed.retain(|(when, lie)| {
            let is_due = *when == When::Loaded(word);
            if is_due {
                due.push(*lie);
            }
            !is_due
        });
        due.into_iter().for_each(|lie| self.write(lie));
    }
}

/// One area as the driver reaches it.
pub(crate) struct WatchedWords {
    area: Area,
    watch: Arc<Watch>,
}

macro_rules! watched {
    ($load:ident, $store:ident, $number:ty) => {
        fn $load(&self, offset: usize, order: Order) -> $number {
            let word = self.word(offset, size_of::<$number>());
            self.watch.before(word, true);
            let value = self.watch.words(self.area).$load(offset, order);
            self.watch.after_load(word);
            value
        }
        fn $store(&self, offset: usize, value: $number, order: Order) {
            self.watch
                .before(self.word(offset, size_of::<$number>()), false);
            self.watch.words(self.area).$store(offset, value, order);
        }
    };
}

impl WatchedWords {
    fn word(&self, offset: usize, bytes: usize) -> Word {
        let area = self.area;
        Word {
            area,
            offset,
            bytes,
        }
    }
}

impl RingWords for WatchedWords {
    watched!(load_u16, store_u16, u16);
    watched!(load_u32, store_u32, u32);
    watched!(load_u64, store_u64, u64);
}

/// A queue's memory as the driver reaches it.
pub(crate) struct WatchedMemory {
    areas: [WatchedWords; 4],
    watch: Arc<Watch>,
}

impl WatchedMemory {
    pub(crate) fn new(raw: SharedQueueMemory, layout: Layout) -> Self {
        let state = Mutex::default();
        let watch = Arc::new(Watch { raw, layout, state });
        let areas = [Area::Descriptor, Area::Driver, Area::Device, Area::Tables];
        let areas = areas.map(|area| WatchedWords {
            area,
            watch: Arc::clone(&watch),
        });
        Self { areas, watch }
    }

    pub(crate) fn watch(&self) -> Arc<Watch> {
        Arc::clone(&self.watch)
    }
}

impl QueueMemory for WatchedMemory {
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
        self.watch.raw.fence(barrier);
    }
    fn indirect_tables(&self) -> IndirectTables {
        self.watch.raw.indirect_tables()
    }
    fn indirect_area(&self) -> &WatchedWords {
        &self.areas[3]
    }
    fn is_buffer(&self, segment: Segment) -> bool {
        self.watch.raw.is_buffer(segment)
    }
    fn read_buffer(&self, address: GuestAddress, into: &mut [u8]) -> bool {
        self.watch.raw.read_buffer(address, into)
    }
}
