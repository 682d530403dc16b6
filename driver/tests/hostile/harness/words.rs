//! The words of a ring by name, as a device reaches them.

use virtscope_driver::ring::packed_layout::{EVENT, EventSuppression, Tail, tail_word};
use virtscope_driver::ring::{QueueSize, split_layout as split};
use virtscope_record::Layout;

use super::{Area, Lie, Plan, Word};

const fn word(area: Area, offset: usize, bytes: usize) -> Word {
    Word {
        area,
        offset,
        bytes,
    }
}

const fn lie(word: Word, value: u64) -> Lie {
    Lie { word, value }
}

/// Split: `used.idx`.
pub(crate) const USED_IDX: Word = word(Area::Device, split::IDX, 2);
/// Split: `used.flags`.
pub(crate) const USED_FLAGS: Word = word(Area::Device, split::FLAGS, 2);
/// Packed: the device event suppression.
pub(crate) const DEVICE_EVENT: Word = word(Area::Device, EVENT, 4);
/// Packed: the driver event suppression.
pub(crate) const DRIVER_EVENT: Word = word(Area::Driver, EVENT, 4);

/// Split: `used.ring[slot].id`.
pub(crate) const fn used_id(slot: u16) -> Word {
    word(Area::Device, split::used_entry(slot), 4)
}

/// Split: `used.ring[slot].len`.
pub(crate) const fn used_len(slot: u16) -> Word {
    word(Area::Device, split::used_entry(slot) + 4, 4)
}

/// Split: `avail_event` of a ring of this many entries.
pub(crate) const fn avail_event(entries: u16) -> Word {
    word(Area::Device, split::used_entry(entries), 2)
}

/// Packed: `len`, `id` and `flags` of a descriptor.
pub(crate) const fn tail(slot: u16) -> Word {
    word(Area::Descriptor, tail_word(slot), 8)
}

/// Either: a descriptor's `addr`.
pub(crate) const fn addr(slot: u16) -> Word {
    word(Area::Descriptor, 16 * slot as usize, 8)
}

/// Split: `len`, `flags` and `next` of a descriptor.
pub(crate) const fn descriptor(slot: u16) -> Word {
    tail(slot)
}

/// Split: `avail.flags`.
pub(crate) const AVAIL_FLAGS: Word = word(Area::Driver, split::FLAGS, 2);
/// Split: `avail.idx`.
pub(crate) const AVAIL_IDX: Word = word(Area::Driver, split::IDX, 2);

/// Split: `avail.ring[slot]`.
pub(crate) const fn avail_entry(slot: u16) -> Word {
    word(Area::Driver, split::avail_entry(slot), 2)
}

/// Split: `used_event` of a ring of this many entries.
pub(crate) const fn used_event(entries: u16) -> Word {
    word(Area::Driver, split::avail_entry(entries), 2)
}

/// The words of a table of indirect descriptors, two a descriptor.
pub(crate) const fn table(index: u16) -> Word {
    word(Area::Tables, 8 * index as usize, 8)
}

/// This word is written.
pub(crate) const fn set(word: Word, value: u64) -> Lie {
    lie(word, value)
}

/// A packed descriptor's second word is written.
pub(crate) const fn set_tail(slot: u16, id: u16, len: u32, flags: u16) -> Lie {
    lie(tail(slot), Tail { len, id, flags }.to_word())
}

/// An event suppression structure is written.
pub(crate) const fn set_event(word: Word, desc: u16, flags: u16) -> Lie {
    lie(word, EventSuppression { desc, flags }.to_word() as u64)
}

/// Every word of a ring.
pub(crate) fn all(plan: Plan) -> Vec<Word> {
    let size = QueueSize::new(plan.entries).unwrap();
    let entries = plan.entries;
    let mut words: Vec<Word> = (0..entries)
        .flat_map(|slot| [addr(slot), tail(slot)])
        .chain((0..plan.tables * 8).map(table))
        .collect();
    match plan.layout {
        Layout::Split => {
            words.extend([USED_IDX, USED_FLAGS, AVAIL_IDX, AVAIL_FLAGS]);
            words.extend([avail_event(entries), used_event(entries)]);
            words.extend((0..entries).flat_map(|slot| [used_id(slot), used_len(slot)]));
            words.extend((0..entries).map(avail_entry));
            debug_assert_eq!(avail_event(entries).offset, split::avail_event(size));
        }
        Layout::Packed => words.extend([DEVICE_EVENT, DRIVER_EVENT]),
    }
    words
}
