//! Arithmetic on ring positions, split and packed.

use virtscope_record::{Layout, RingIndex};

/// How the positions of a ring are counted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IndexSpace {
    /// Positions before they repeat.
    modulus: u32,
    packed_size: Option<u16>,
}

impl Default for IndexSpace {
    /// Of a split ring, whose positions do not depend on its size.
    fn default() -> Self {
        Self::new(0, Layout::Split)
    }
}

impl IndexSpace {
    pub(crate) fn new(size: u16, layout: Layout) -> Self {
        match layout {
            Layout::Packed if size > 0 => Self {
                modulus: 2 * u32::from(size),
                packed_size: Some(size),
            },
            Layout::Packed | Layout::Split => Self {
                modulus: 1 << 16,
                packed_size: None,
            },
        }
    }

    /// Positions of a packed ring are offsets with the wrap counter on top
    /// (virtio 1.4 §2.8.1); those of a split ring run freely.
    pub(crate) fn linear(self, index: RingIndex) -> u32 {
        match self.packed_size {
            None => index.0.into(),
            Some(size) => {
                let second_lap = if index.0 & 0x8000 == 0 { size } else { 0 };
                let linear = u32::from(index.0 & 0x7fff) + u32::from(second_lap);
                // Only a forged offset lies beyond; to divide is dear.
                if linear < self.modulus {
                    linear
                } else {
                    linear % self.modulus
                }
            }
        }
    }

    /// The position after `index`, of an entry that takes one.
    pub(crate) fn after(self, index: RingIndex) -> RingIndex {
        match self.packed_size {
            Some(size) if index.0 & 0x7fff == size - 1 => RingIndex(!index.0 & 0x8000),
            _ => index.advance(1),
        }
    }

    /// The position `count` entries or descriptors after `index`.
    #[inline]
    pub(crate) fn advance(self, index: RingIndex, count: u16) -> RingIndex {
        let Some(size) = self.packed_size else {
            return index.advance(count);
        };
        let linear = (self.linear(index) + u32::from(count)) % self.modulus;
        match linear.checked_sub(size.into()) {
            None => RingIndex(linear as u16 | 0x8000),
            Some(offset) => RingIndex(offset as u16 & 0x7fff),
        }
    }

    /// How many entries or descriptors were jumped over, if `index` comes where
    /// `expected` was to; `None` if it lies behind. Of a packed ring no jump is
    /// longer than the ring.
    #[inline]
    pub(crate) fn jump(self, expected: RingIndex, index: RingIndex) -> Option<u32> {
        let ahead = self.ahead(expected, index);
        let longest = match self.packed_size {
            None => self.modulus / 2 - 1,
            Some(size) => size.into(),
        };
        (ahead <= longest).then_some(ahead)
    }

    /// How far `to` lies ahead of `from`, by the shorter way round: negative if it
    /// lies behind.
    #[inline]
    pub(crate) fn distance(self, from: RingIndex, to: RingIndex) -> i64 {
        let ahead = self.ahead(from, to);
        if ahead <= self.modulus / 2 {
            i64::from(ahead)
        } else {
            i64::from(ahead) - i64::from(self.modulus)
        }
    }

    /// Whether positions count descriptors of a packed ring.
    pub(crate) fn is_packed(self) -> bool {
        self.packed_size.is_some()
    }

    /// How far `to` lies ahead of `from`.
    #[inline]
    pub(crate) fn ahead(self, from: RingIndex, to: RingIndex) -> u32 {
        let (from, to) = (self.linear(from), self.linear(to));
        let laps = if to < from { self.modulus } else { 0 };
        to + laps - from
    }

    /// Whether `index` is one of `old..new`.
    pub(crate) fn contains(self, old: RingIndex, new: RingIndex, index: RingIndex) -> bool {
        self.ahead(old, index) < self.ahead(old, new)
    }

    /// Whether `index` lies behind `mark`, by the shorter way round.
    pub(crate) fn is_before(self, index: RingIndex, mark: RingIndex) -> bool {
        let behind = self.ahead(index, mark);
        // What is a whole packed ring behind is as far ahead.
        let most = match self.packed_size {
            None => self.modulus / 2,
            Some(size) => u32::from(size) - 1,
        };
        behind > 0 && behind <= most
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn split_positions_wrap_at_65535() {
        let split = IndexSpace::new(8, Layout::Split);
        let (last, first) = (RingIndex(65535), RingIndex(0));
        assert_eq!(split.after(last), first);
        assert_eq!(split.ahead(last, first), 1);
        assert!(split.contains(last, RingIndex(1), first));
        assert!(!split.contains(last, first, first));
        assert!(split.is_before(last, first) && !split.is_before(first, last));
        assert!(!split.is_before(first, first));
    }

    #[test]
    fn packed_positions_wrap_with_their_counter() {
        let packed = IndexSpace::new(4, Layout::Packed);
        let (last, next) = (RingIndex(0x8003), RingIndex(0x0000));
        assert_eq!(packed.after(last), next);
        assert_eq!(packed.after(RingIndex(0x0003)), RingIndex(0x8000));
        assert_eq!(packed.ahead(last, next), 1);
        assert_eq!(packed.ahead(RingIndex(3), RingIndex(0x8000)), 1);
        assert!(packed.is_before(last, next));
    }

    #[test]
    fn packed_positions_advance_by_whole_lists() {
        for size in [1, 3, 4, 0x8000] {
            let packed = IndexSpace::new(size, Layout::Packed);
            let mut by_one = RingIndex(0x8000);
            for count in 0..(2 * u32::from(size)).min(500) as u16 {
                assert_eq!(
                    packed.advance(RingIndex(0x8000), count),
                    by_one,
                    "{size} {count}"
                );
                by_one = packed.after(by_one);
            }
        }
        let packed = IndexSpace::new(8, Layout::Packed);
        assert_eq!(packed.jump(RingIndex(0x8006), RingIndex(1)), Some(3));
        assert_eq!(packed.jump(RingIndex(1), RingIndex(0x8006)), None);
    }

    /// No position of any ring makes the arithmetic overflow.
    #[test]
    fn forged_positions_do_no_harm() {
        for size in [1, 3, 0x7fff, 0x8000, u16::MAX] {
            let packed = IndexSpace::new(size, Layout::Packed);
            for index in [0, 1, 0x7fff, 0x8000, u16::MAX] {
                let index = RingIndex(index);
                assert!(packed.ahead(index, RingIndex(0)) < 2 * u32::from(size));
                packed.after(index);
                packed.advance(index, u16::MAX);
            }
        }
    }
}
