//! A ring rebuilt from records alone, slot by slot.

mod tracker;

use virtscope_record::{Layout, NotificationReason, RingIndex, Timestamp, Token};

pub(crate) use tracker::RingTracker;

/// The ring of one queue at one moment, as far as the records tell it.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct RingModel {
    /// Whether there is something to draw.
    pub drawing: Drawing,
    /// Entries of the ring; 0 if not known.
    pub size: u16,
    /// The available ring: one entry a slot, `size` of them.
    pub available: Vec<Slot>,
    /// The used ring: one entry a slot, `size` of them. `None` where nothing was
    /// seen yet.
    pub used: Vec<Option<UsedSlot>>,
    /// The indices and events.
    pub pointers: Pointers,
}

/// Whether a ring can be drawn.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Drawing {
    /// No facts of the queue were seen: its size is not known. Also where the
    /// facts claim a size that no split ring has, or all queues together claim
    /// more than 2²⁰ slots.
    #[default]
    SizeUnknown,
    /// The ring is packed, which this version does not draw.
    PackedNotDrawn,
    /// It is drawn.
    Split,
}

impl Drawing {
    pub(crate) fn of(size: u16, layout: Layout) -> Self {
        match (size, layout) {
            (0, _) => Self::SizeUnknown,
            (_, Layout::Packed) => Self::PackedNotDrawn,
            // "The maximum Queue Size value is 32768" (virtio 1.4 §2.7).
            (1..=0x8000, Layout::Split) => Self::Split,
            (_, Layout::Split) => Self::SizeUnknown,
        }
    }
}

/// One slot of the available ring.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Slot {
    /// Where the buffer that stands here is on its way. After its end the slot
    /// still holds the old head: then [`SlotState::Free`].
    pub state: SlotState,
    /// The free-running index that put a buffer here last; `None` if none was
    /// seen.
    pub index: Option<RingIndex>,
    /// Which head the slot holds.
    pub head: u16,
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

/// One slot of the used ring.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UsedSlot {
    /// The free-running used index of the entry.
    pub index: RingIndex,
    /// The head it returns.
    pub head: u16,
    /// The length written, as the device says.
    pub length: u32,
    /// Whether the driver has taken it back.
    pub harvested: bool,
}

/// The indices of a ring, each as last seen; `None` until then.
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
mod tests;
