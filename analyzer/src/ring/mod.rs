//! A ring rebuilt from records alone, slot by slot.

mod packed;
mod split;
mod tracker;

use virtscope_record::{Add, Layout, NotificationReason, Record, RingIndex, Timestamp, Token};

pub(crate) use tracker::RingTracker;

/// The ring of one queue at one moment, as far as the records tell it.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct RingModel {
    /// Whether there is something to draw.
    pub drawing: Drawing,
    /// Entries of the ring; 0 if not known.
    pub size: u16,
    /// The available ring: one entry a slot, `size` of them. Of a packed ring: what
    /// the driver wrote into each descriptor last.
    pub available: Vec<Slot>,
    /// The used ring: one entry a slot, `size` of them. `None` where nothing was
    /// seen yet. Of a packed ring, whose descriptors both sides write: what the
    /// device wrote there last. With `VIRTIO_F_IN_ORDER` it may have skipped that
    /// (virtio 1.4 §2.8.8), which records do not tell.
    pub used: Vec<Option<UsedSlot>>,
    /// The indices and events.
    pub pointers: Pointers,
}

/// Whether a ring can be drawn.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Drawing {
    /// No facts of the queue were seen: its size is not known. Also where the
    /// facts claim a size that no ring has, or all queues together claim more than
    /// 2²⁰ slots, or nobody wants rings drawn.
    #[default]
    SizeUnknown,
    /// It is drawn: an available ring and a used ring.
    Split,
    /// It is drawn: one ring of descriptors.
    Packed,
}

impl Drawing {
    pub(crate) fn of(size: u16, layout: Layout) -> Self {
        match (size, layout) {
            // "The maximum Queue Size value is 32768" (virtio 1.4 §2.7, §2.8.10.1).
            (1..=0x8000, Layout::Split) => Self::Split,
            (1..=0x8000, Layout::Packed) => Self::Packed,
            _ => Self::SizeUnknown,
        }
    }
}

/// One slot of the available ring, or one available descriptor of a packed ring.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Slot {
    /// Where the buffer that stands here is on its way. After its end the slot
    /// still holds the old head: then [`SlotState::Free`].
    pub state: SlotState,
    /// The free-running index that put a buffer here last; `None` if none was
    /// seen. Packed: this descriptor's offset and wrap counter.
    pub index: Option<RingIndex>,
    /// Which head the slot holds; packed: which buffer id.
    pub head: u16,
    /// Which descriptor of its list this is, from 0; always 0 in an available ring.
    pub place: u16,
    /// Its token.
    pub token: Token,
    /// When it was added.
    pub added: Timestamp,
    /// Device-readable and device-writable segments.
    pub segments: (u16, u16),
    /// Device-readable and device-writable bytes.
    pub bytes: (u32, u32),
    /// Ring descriptors taken.
    pub descriptors: u16,
}

impl Slot {
    /// What an add puts there; `place` counts the descriptors of its list.
    fn added(record: &Record, add: &Add, index: RingIndex, place: u16) -> Self {
        Self {
            state: SlotState::Added,
            index: Some(index),
            head: add.head,
            place,
            token: record.token(),
            added: record.time(),
            segments: (add.readable_segments, add.writable_segments),
            bytes: (add.readable_bytes, add.writable_bytes),
            descriptors: add.descriptors,
        }
    }
}

/// Where a buffer is on its way.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum SlotState {
    /// None in flight here.
    #[default]
    Free,
    /// Added; no kick decision covers it yet.
    Added,
    /// A kick decision covers it.
    Published,
    /// The device half took it.
    Taken,
    /// The device half put it into the used ring.
    Returned,
    /// In the used ring and announced by a callback; the driver has not taken it
    /// back yet.
    Announced,
}

/// One slot of the used ring, or one used descriptor of a packed ring.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UsedSlot {
    /// The free-running used index of the entry; packed: its offset and wrap
    /// counter.
    pub index: RingIndex,
    /// The head it returns; packed: the buffer id.
    pub head: u16,
    /// The length written, as the device says.
    pub length: u32,
    /// Whether the driver has taken it back.
    pub harvested: bool,
    /// Whether the driver has made a descriptor available over it since: only on a
    /// packed ring.
    pub overwritten: bool,
}

/// The indices of a ring, each as last seen; `None` until then. Of a packed ring:
/// offset and wrap counter (virtio 1.4 §2.8.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Pointers {
    /// The driver's available index: one past the last add.
    pub avail_idx: Option<RingIndex>,
    /// Up to where the last kick decision reached.
    pub kicked: Option<RingIndex>,
    /// The device's `avail_event`, as sampled at the last kick decision; only
    /// where event indices are in use.
    pub avail_event: Option<RingIndex>,
    /// Whether the last kick was sent, and why or why not.
    pub last_kick: Option<(bool, NotificationReason)>,
    /// One past the last buffer the device half took.
    pub taken: Option<RingIndex>,
    /// The used index: the furthest that either half said.
    pub used_idx: Option<RingIndex>,
    /// The next used entry the driver will take (Linux `last_used_idx`).
    pub last_used: Option<RingIndex>,
    /// The driver's `used_event`; only where event indices are in use.
    pub used_event: Option<RingIndex>,
    /// Whether the driver wants callbacks.
    pub callbacks_enabled: Option<bool>,
    /// Free descriptors, as the driver said last.
    pub free: Option<u16>,
}

#[cfg(test)]
mod packed_tests;
#[cfg(test)]
mod tests;
