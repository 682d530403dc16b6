//! Ring memory that loom watches, with one barrier left out or none.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use loom::sync::atomic::{AtomicBool, AtomicU16, AtomicU32, AtomicU64, fence};
use loom::thread::{self, ThreadId};
use virtscope_driver::memory::{
    Barrier, GuestAddress, IndirectTables, Order, QueueMemory, RingWords,
};
use virtscope_driver::ring::split_layout::{
    DESCRIPTOR_LEN, FLAGS, IDX, avail_entry, avail_event, used_entry, used_event,
};
use virtscope_driver::ring::{QueueSize, packed_layout};
use virtscope_record::Layout;

/// One loom atomic, of the size its word is reached with.
enum Word {
    Bits16(AtomicU16),
    Bits32(AtomicU32),
    Bits64(AtomicU64, Option<Looks>),
}

impl Word {
    fn bits16(offset: usize) -> (usize, Self) {
        (offset, Self::Bits16(AtomicU16::new(0)))
    }
    fn bits32(offset: usize) -> (usize, Self) {
        (offset, Self::Bits32(AtomicU32::new(0)))
    }
    fn bits64(offset: usize) -> (usize, Self) {
        (offset, Self::Bits64(AtomicU64::new(0), None))
    }
    /// A word that both sides read and write.
    fn of_both(offset: usize) -> (usize, Self) {
        (offset, Self::Bits64(AtomicU64::new(0), Some(Looks::new())))
    }
}

/// Tells loom who looks at a word that both sides read and write.
///
/// Loom remembers only the last access to an atomic. A side that reads such a word
/// and then writes it hides by its own read that the other had looked before, and
/// loom would not try the write before that look (tokio-rs/loom#166). So each
/// thread's look also touches a mark of its own, and a write touches the other's.
struct Looks {
    /// By thread: the one that made the ring, and the other.
    marks: [AtomicBool; 2],
    maker: ThreadId,
}

impl Looks {
    fn new() -> Self {
        Self {
            marks: [AtomicBool::new(false), AtomicBool::new(false)],
            maker: thread::current().id(),
        }
    }

    fn look(&self) {
        self.touch(self.is_maker());
    }

    fn write(&self) {
        self.touch(!self.is_maker());
    }

    fn is_maker(&self) -> bool {
        thread::current().id() == self.maker
    }

    /// By a store, because a load would have several values to try.
    fn touch(&self, maker: bool) {
        self.marks[usize::from(maker)].store(true, Ordering::Relaxed);
    }
}

/// One area: its words by offset, in ascending order, and the barrier that
/// accesses to them do without.
pub(crate) struct Area {
    words: Vec<(usize, Word)>,
    without: Option<Barrier>,
}

impl Area {
    fn new(mut words: Vec<(usize, Word)>, without: Option<Barrier>) -> Self {
        words.sort_by_key(|(at, _)| *at);
        Self { words, without }
    }

    fn word(&self, offset: usize) -> &Word {
        match self.words.binary_search_by_key(&offset, |(at, _)| *at) {
            Ok(index) => &self.words[index].1,
            Err(_) => panic!("no word at offset {offset}"),
        }
    }

    /// The order as asked for, unless it is the barrier that is left out.
    fn order(&self, order: Order) -> Order {
        match order {
            Order::Barrier(barrier) if Some(barrier) == self.without => Order::Relaxed,
            order => order,
        }
    }
}

macro_rules! words {
    ($($load:ident, $store:ident, $bits:ident $(($looks:ident))?, $number:ty;)*) => {
        impl RingWords for Area {
            $(
                fn $load(&self, offset: usize, order: Order) -> $number {
                    match self.word(offset) {
                        Word::$bits(word $(, $looks)?) => {
                            $($looks.as_ref().inspect(|looks| looks.look());)?
                            word.load(self.order(order).load())
                        }
                        _ => panic!("no {} at offset {offset}", stringify!($bits)),
                    }
                }
                fn $store(&self, offset: usize, value: $number, order: Order) {
                    match self.word(offset) {
                        Word::$bits(word $(, $looks)?) => {
                            $($looks.as_ref().inspect(|looks| looks.write());)?
                            word.store(value, self.order(order).store());
                        }
                        _ => panic!("no {} at offset {offset}", stringify!($bits)),
                    }
                }
            )*
        }
    };
}

words! {
    load_u16, store_u16, Bits16, u16;
    load_u32, store_u32, Bits32, u32;
    load_u64, store_u64, Bits64(looks), u64;
}

struct Areas {
    descriptor: Area,
    driver: Area,
    device: Area,
    indirect: Area,
    tables: IndirectTables,
    /// Touched by every fence, see [`LoomMemory::fence`].
    turn: AtomicBool,
    without: Option<Barrier>,
}

/// A queue's memory as both halves reach it.
#[derive(Clone)]
pub(crate) struct LoomMemory(Arc<Areas>);

impl LoomMemory {
    /// The zeroed areas of a ring. Must be called inside a loom model.
    pub(crate) fn new(
        layout: Layout,
        size: QueueSize,
        tables: IndirectTables,
        without: Option<Barrier>,
    ) -> Self {
        let entries = 0..size.get();
        let used_entries = entries.clone().map(used_entry);
        // The words of descriptors, from one table's beginning.
        let words = |descriptors| (0..descriptors * DESCRIPTOR_LEN).step_by(8);
        let table = words(usize::from(size.get()));
        let descriptor: Vec<_> = match layout {
            Layout::Split => table.map(Word::bits64).collect(),
            Layout::Packed => table.map(Word::of_both).collect(),
        };
        let (driver, device) = match layout {
            Layout::Split => (
                [FLAGS, IDX, used_event(size)]
                    .into_iter()
                    .chain(entries.map(avail_entry))
                    .map(Word::bits16)
                    .collect(),
                [FLAGS, IDX, avail_event(size)]
                    .map(Word::bits16)
                    .into_iter()
                    .chain(used_entries.clone().map(Word::bits32))
                    .chain(used_entries.map(|at| Word::bits32(at + 4)))
                    .collect(),
            ),
            Layout::Packed => (
                vec![Word::bits32(packed_layout::EVENT)],
                vec![Word::bits32(packed_layout::EVENT)],
            ),
        };
        let indirect = words(tables.bytes() / DESCRIPTOR_LEN);
        let area = |words| Area::new(words, without);
        Self(Arc::new(Areas {
            descriptor: area(descriptor),
            driver: area(driver),
            device: area(device),
            indirect: area(indirect.map(Word::bits64).collect()),
            tables,
            turn: AtomicBool::new(false),
            without,
        }))
    }
}

impl QueueMemory for LoomMemory {
    type Words = Area;

    fn descriptor_area(&self) -> &Area {
        &self.0.descriptor
    }
    fn driver_area(&self) -> &Area {
        &self.0.driver
    }
    fn device_area(&self) -> &Area {
        &self.0.device
    }
    /// Loom switches threads at accesses only, and would never let the other side see
    /// a store before the fence behind it. An access to one word that all fences share
    /// makes it try them in every order.
    fn fence(&self, barrier: Barrier) {
        if Some(barrier) != self.0.without {
            self.0.turn.store(true, Ordering::Relaxed);
            fence(Ordering::SeqCst);
        }
    }
    fn own_order(&self, order: Order) -> Order {
        self.0.driver.order(order)
    }
    fn indirect_tables(&self) -> IndirectTables {
        self.0.tables
    }
    fn indirect_area(&self) -> &Area {
        &self.0.indirect
    }
    /// Only the indirect tables can be read, each word as it was written.
    fn read_buffer(&self, address: GuestAddress, into: &mut [u8]) -> bool {
        let Some(start) = address.0.checked_sub(self.0.tables.base.0) else {
            return false;
        };
        if start + into.len() as u64 > self.0.tables.bytes() as u64 {
            return false;
        }
        for (at, bytes) in (start as usize..).step_by(8).zip(into.chunks_exact_mut(8)) {
            let word = self.0.indirect.load_u64(at, Order::Relaxed);
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        true
    }
}
