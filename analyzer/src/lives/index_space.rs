//! Arithmetic on ring positions, split and packed.

use virtscope_record::{Layout, RingIndex};

/// How the positions of a ring are counted.
#[derive(Clone, Copy, Debug)]
pub(super) struct IndexSpace {
    /// Positions before they repeat.
    modulus: u32,
    packed_size: Option<u16>,
}

impl IndexSpace {
    pub(super) fn new(size: u16, layout: Layout) -> Self {
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
    pub(super) fn linear(self, index: RingIndex) -> u32 {
        match self.packed_size {
            None => index.0.into(),
            Some(size) => {
                let second_lap = if index.0 & 0x8000 == 0 { size } else { 0 };
                (u32::from(index.0 & 0x7fff) + u32::from(second_lap)) % self.modulus
            }
        }
    }

    /// The position after `index`, of an entry that takes one.
    pub(super) fn after(self, index: RingIndex) -> RingIndex {
        match self.packed_size {
            Some(size) if index.0 & 0x7fff == size - 1 => RingIndex(!index.0 & 0x8000),
            _ => index.advance(1),
        }
    }

    /// How far `to` lies ahead of `from`.
    pub(super) fn ahead(self, from: RingIndex, to: RingIndex) -> u32 {
        (self.linear(to) + self.modulus - self.linear(from)) % self.modulus
    }

    /// Whether `index` is one of `old..new`.
    pub(super) fn contains(self, old: RingIndex, new: RingIndex, index: RingIndex) -> bool {
        self.ahead(old, index) < self.ahead(old, new)
    }

    /// Whether `index` lies behind `mark`, by the shorter way round.
    pub(super) fn is_before(self, index: RingIndex, mark: RingIndex) -> bool {
        let behind = self.ahead(index, mark);
        behind > 0 && behind <= self.modulus / 2
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

    /// No position of any ring makes the arithmetic overflow.
    #[test]
    fn forged_positions_do_no_harm() {
        for size in [1, 3, 0x7fff, 0x8000, u16::MAX] {
            let packed = IndexSpace::new(size, Layout::Packed);
            for index in [0, 1, 0x7fff, 0x8000, u16::MAX] {
                let index = RingIndex(index);
                assert!(packed.ahead(index, RingIndex(0)) < 2 * u32::from(size));
                packed.after(index);
            }
        }
    }
}
