//! The packed layout: which byte of which area is what (virtio 1.4 §2.8).
//!
//! Both halves use these offsets; nothing here touches memory.

use virtscope_record::RingIndex;

use super::QueueSize;
use super::split_layout::{DESC_F_WRITE, DESCRIPTOR_LEN};
use crate::memory::{GuestAddress, QueueAddresses};

/// `VIRTQ_DESC_F_AVAIL` (virtio 1.4 §2.8.1).
pub const DESC_F_AVAIL: u16 = 1 << 7;
/// `VIRTQ_DESC_F_USED` (virtio 1.4 §2.8.1).
pub const DESC_F_USED: u16 = 1 << 15;

/// `RING_EVENT_FLAGS_ENABLE`: notify of every buffer (virtio 1.4 §2.8.10).
pub const EVENT_ENABLE: u16 = 0;
/// `RING_EVENT_FLAGS_DISABLE`: notify of none (virtio 1.4 §2.8.10).
pub const EVENT_DISABLE: u16 = 1;
/// `RING_EVENT_FLAGS_DESC`: notify of the descriptor that the event offset and
/// wrap counter name; only with `VIRTIO_F_EVENT_IDX` (virtio 1.4 §2.8.10).
pub const EVENT_DESC: u16 = 2;
/// The bits of `flags` that are not reserved (virtio 1.4 §2.8.14).
pub const EVENT_FLAGS_MASK: u16 = 3;

/// Bytes of an event suppression structure (`struct pvirtq_event_suppress`).
pub const EVENT_AREA_LEN: usize = 4;
/// Its only word: `desc` in the low half, `flags` in the high one. Both are
/// written at once, so that nobody sees one without the other.
pub const EVENT: usize = 0;

/// Bytes of the descriptor ring.
pub const fn descriptor_area_len(size: QueueSize) -> usize {
    DESCRIPTOR_LEN * size.get() as usize
}

/// Offset of the first word of the descriptor at `slot`: `addr`.
pub const fn address_word(slot: u16) -> usize {
    DESCRIPTOR_LEN * slot as usize
}

/// Offset of its second word: `len`, `id`, `flags` (see [`Tail`]).
pub const fn tail_word(slot: u16) -> usize {
    DESCRIPTOR_LEN * slot as usize + 8
}

/// The second half of `struct pvirtq_desc`, which is reached as one word: whoever
/// sees the flags sees the length and id that belong to them.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Tail {
    /// `len`: the element's length; in a used descriptor, what was written.
    pub len: u32,
    /// `id`: the Buffer ID.
    pub id: u16,
    /// `flags`: `VIRTQ_DESC_F_*`.
    pub flags: u16,
}

impl Tail {
    /// As one 64-bit word.
    #[inline(always)]
    pub const fn to_word(self) -> u64 {
        self.len as u64 | (self.id as u64) << 32 | (self.flags as u64) << 48
    }

    /// From one 64-bit word.
    #[inline(always)]
    pub const fn from_word(word: u64) -> Self {
        Self {
            len: word as u32,
            id: (word >> 32) as u16,
            flags: (word >> 48) as u16,
        }
    }

    /// Whether it is available to a device whose wrap counter is `wrap`.
    #[inline(always)]
    pub const fn is_available(self, wrap: bool) -> bool {
        self.flags & (DESC_F_AVAIL | DESC_F_USED) == available_flags(wrap)
    }

    /// Whether it is used for a driver whose used wrap counter is `wrap`.
    #[inline(always)]
    pub const fn is_used(self, wrap: bool) -> bool {
        self.flags & (DESC_F_AVAIL | DESC_F_USED) == used_flags(wrap)
    }

    /// The bytes written, as a used descriptor says: none unless
    /// `VIRTQ_DESC_F_WRITE` is set (virtio 1.4 §2.8.4).
    #[inline(always)]
    pub const fn written(self) -> u32 {
        if self.flags & DESC_F_WRITE != 0 {
            self.len
        } else {
            0
        }
    }
}

/// The flags that make a descriptor available in the round of `wrap`.
#[inline(always)]
pub const fn available_flags(wrap: bool) -> u16 {
    if wrap { DESC_F_AVAIL } else { DESC_F_USED }
}

/// The flags that mark a descriptor used in the round of `wrap`.
#[inline(always)]
pub const fn used_flags(wrap: bool) -> u16 {
    if wrap { DESC_F_AVAIL | DESC_F_USED } else { 0 }
}

/// A place in the ring: the descriptor, and the wrap counter of the round.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Position {
    /// The descriptor's slot, below the Queue Size.
    pub offset: u16,
    /// The wrap counter.
    pub wrap: bool,
}

impl Position {
    /// Where both halves begin.
    pub const START: Self = Self {
        offset: 0,
        wrap: true,
    };

    /// The place `count` descriptors on, at most a whole round.
    #[must_use]
    #[inline(always)]
    pub const fn advance(self, count: u16, size: QueueSize) -> Self {
        // In the raw form, where the wrap counter is what the offset carries into.
        let raw = self.to_raw();
        let next = raw.wrapping_add(count);
        if self.offset as u32 + count as u32 >= size.get() as u32 {
            Self::from_raw(next.wrapping_add(0x8000 - size.get()))
        } else {
            Self::from_raw(next)
        }
    }

    /// Descriptors from `earlier` up to here, if they lie less than two rounds
    /// apart.
    pub const fn distance_from(self, earlier: Self, size: QueueSize) -> u32 {
        let (here, there) = (self.offset as u32, earlier.offset as u32);
        let size = size.get() as u32;
        if self.wrap == earlier.wrap {
            (here + 2 * size - there) % (2 * size)
        } else {
            (here + size - there) % (2 * size)
        }
    }

    /// Offset in bits 0 to 14, wrap counter in bit 15, as in an event suppression
    /// structure and in records.
    #[inline(always)]
    pub const fn to_raw(self) -> u16 {
        self.offset | (self.wrap as u16) << 15
    }

    /// From offset and wrap counter in one word.
    #[inline(always)]
    pub const fn from_raw(raw: u16) -> Self {
        Self {
            offset: raw & 0x7fff,
            wrap: raw >> 15 != 0,
        }
    }

    /// As records have it.
    pub const fn to_index(self) -> RingIndex {
        RingIndex(self.to_raw())
    }

    /// Whether an event at `self` is crossed when the ring moved from `old` to
    /// `new` (virtio 1.4 §2.8.10; Linux `vring_need_event` with wrap counters).
    /// An event beyond the ring is never crossed.
    pub const fn is_crossed_by(self, old: Self, new: Self, size: QueueSize) -> bool {
        if self.offset >= size.get() {
            return false;
        }
        let moved = new.distance_from(old, size);
        self.distance_from(old, size) < moved
    }
}

/// An event suppression structure (`struct pvirtq_event_suppress`, virtio 1.4
/// §2.8.14).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EventSuppression {
    /// `desc`: event offset and wrap counter.
    pub desc: u16,
    /// `flags`: `RING_EVENT_FLAGS_*`.
    pub flags: u16,
}

impl EventSuppression {
    /// As one 32-bit word.
    pub const fn to_word(self) -> u32 {
        self.desc as u32 | (self.flags as u32) << 16
    }

    /// From one 32-bit word.
    pub const fn from_word(word: u32) -> Self {
        Self {
            desc: word as u16,
            flags: (word >> 16) as u16,
        }
    }
}

/// Where the three areas stand when they are laid out one behind the other from
/// `base` (aligned to 4096), and the bytes they take.
pub const fn contiguous(base: GuestAddress, size: QueueSize) -> (QueueAddresses, u64) {
    let driver = base.0 + descriptor_area_len(size) as u64;
    let device = driver + 8;
    let addresses = QueueAddresses {
        descriptor: base,
        driver: GuestAddress(driver),
        device: GuestAddress(device),
    };
    (addresses, device + 8 - base.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_tail_stands_in_one_word() {
        let tail = Tail {
            len: 0x0102_0304,
            id: 0x0506,
            flags: DESC_F_USED | DESC_F_WRITE,
        };
        assert_eq!(tail.to_word().to_le_bytes(), [4, 3, 2, 1, 6, 5, 2, 0x80]);
        assert_eq!(Tail::from_word(tail.to_word()), tail);
    }

    #[test]
    fn zeroed_descriptors_are_neither() {
        let tail = Tail::default();
        assert!(!tail.is_available(true));
        assert!(!tail.is_used(true));
    }

    /// A free-running count of descriptors as a place in the ring.
    fn place(count: u32, size: u16) -> Position {
        let (round, offset) = (count / u32::from(size), count % u32::from(size));
        Position {
            offset: offset as u16,
            wrap: round.is_multiple_of(2),
        }
    }

    proptest! {
        #[test]
        fn positions_are_counts_modulo_two_rounds(
            size in 1u16..=32768, from in 0u32..200_000, steps in 0u16..=32768
        ) {
            let steps = steps % (size + 1);
            let queue_size = QueueSize::new(size).unwrap();
            let here = place(from, size);
            let there = here.advance(steps, queue_size);
            prop_assert_eq!(there, place(from + u32::from(steps), size));
            prop_assert_eq!(there.distance_from(here, queue_size), u32::from(steps));
            prop_assert_eq!(Position::from_raw(there.to_raw()), there);
        }

        #[test]
        fn crossing_is_membership(
            size in 1u16..=64, old in 0u32..500, moved in 0u32..=64, event in 0u32..500
        ) {
            let moved = moved % (u32::from(size) + 1);
            let queue_size = QueueSize::new(size).unwrap();
            let crossed = place(event, size)
                .is_crossed_by(place(old, size), place(old + moved, size), queue_size);
            let expected = (old..old + moved).any(|n| place(n, size) == place(event, size));
            prop_assert_eq!(crossed, expected);
        }
    }
}
