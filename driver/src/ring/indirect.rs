//! Tables of indirect descriptors, and which of them are free (virtio 1.4
//! §2.7.5.3, §2.8.7).

use virtscope_record::Layout;

use super::packed_layout::Tail;
use super::split_layout::{DESC_F_NEXT, DESC_F_WRITE, DESCRIPTOR_LEN, Descriptor};
use crate::memory::{IndirectTables, QueueMemory, RingWords, Segment};

/// One of the tables, by its number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Table(pub(super) u16);

#[derive(Debug)]
pub(super) struct Tables {
    place: IndirectTables,
    free: Vec<Table>,
    /// The longest list that a table holds; 0 without tables.
    longest: usize,
}

impl Tables {
    /// All tables that `place` has, free; none if indirect descriptors were not
    /// negotiated.
    pub(super) fn new(negotiated: bool, place: IndirectTables) -> Self {
        let place = if negotiated {
            place
        } else {
            IndirectTables::NONE
        };
        Self {
            place,
            // The first comes out first.
            free: (0..place.count).rev().map(Table).collect(),
            longest: if place.count > 0 {
                usize::from(place.capacity)
            } else {
                0
            },
        }
    }

    /// Whether some table would hold a list of this many segments, free or not.
    #[inline(always)]
    pub(super) const fn fit(&self, segments: usize) -> bool {
        segments > 1 && segments <= self.longest
    }

    /// A free table, if a list of this many segments is worth one and fits it.
    #[inline(always)]
    pub(super) fn take_for(&mut self, segments: usize) -> Option<Table> {
        if self.fit(segments) {
            self.free.pop()
        } else {
            None
        }
    }

    #[inline(always)]
    pub(super) fn give_back(&mut self, table: Option<Table>) {
        if let Some(table) = table {
            self.free.push(table);
        }
    }

    /// Fills `table`; returns the segment that it is then. A split ring chains its descriptors one behind the other,
    /// which is also the order that `VIRTIO_F_IN_ORDER` wants (virtio 1.4
    /// §2.7.5.3); in a packed one they just follow each other, and no flag but
    /// `VIRTQ_DESC_F_WRITE` may be set (§2.8.7, §2.8.19).
    #[inline(never)]
    pub(super) fn fill(
        &self,
        table: Table,
        memory: &impl QueueMemory,
        layout: Layout,
        readable: &[Segment],
        writable: &[Segment],
    ) -> Segment {
        let words = memory.indirect_area();
        let count = readable.len() + writable.len();
        for (i, (segment, write)) in directed(readable, writable).enumerate() {
            let second = match layout {
                Layout::Split => {
                    let more = i + 1 < count;
                    let descriptor = Descriptor {
                        segment: *segment,
                        flags: write | if more { DESC_F_NEXT } else { 0 },
                        next: if more { i as u16 + 1 } else { 0 },
                    };
                    descriptor.tail_word()
                }
                Layout::Packed => {
                    let tail = Tail {
                        len: segment.len,
                        id: 0,
                        flags: write,
                    };
                    tail.to_word()
                }
            };
            let at = self.place.offset(table.0) + i * DESCRIPTOR_LEN;
            words.store_pair_u64(at, [segment.address.0, second]);
        }
        Segment {
            address: self.place.address(table.0),
            len: (count * DESCRIPTOR_LEN) as u32,
        }
    }
}

/// The segments in the order of their descriptors, each with `VIRTQ_DESC_F_WRITE`
/// if it is device-writable (virtio 1.4 §2.7.4.2).
#[inline(always)]
pub(super) fn directed<'a>(
    readable: &'a [Segment],
    writable: &'a [Segment],
) -> impl Iterator<Item = (&'a Segment, u16)> {
    let readable = readable.iter().map(|segment| (segment, 0));
    let writable = writable.iter().map(|segment| (segment, DESC_F_WRITE));
    readable.chain(writable)
}
