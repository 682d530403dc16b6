//! The arithmetic of ring positions: what was missed shows as a jump.

/// What a position says, compared with where the last record left it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// The position has not moved: this operation was recorded already, by the other
    /// copy of the program.
    Repeated,
    /// One operation on.
    Next,
    /// Further: so many ring entries (split: operations) lie between.
    Missed(u16),
}

/// Ring entries from `old` up to `new` in a packed ring of `size` entries; positions
/// are an offset in bits 0–14 and the wrap counter in bit 15 (virtio 1.4 §2.8.1).
#[inline(always)]
pub const fn packed_distance(old: u16, new: u16, size: u16) -> u16 {
    let (from, to) = (old & 0x7fff, new & 0x7fff);
    if (old ^ new) & 0x8000 == 0 {
        to.wrapping_sub(from)
    } else {
        to.wrapping_add(size).wrapping_sub(from)
    }
}

/// What it means that an operation which takes `taken` entries (split: 1) has moved a
/// position by `moved` since the last record.
#[inline(always)]
pub const fn step(moved: u16, taken: u16) -> Step {
    if moved == 0 {
        Step::Repeated
    } else if moved > taken {
        Step::Missed(moved - taken)
    } else {
        Step::Next
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A packed ring's position, counted one entry at a time.
    #[derive(Clone, Copy)]
    struct Model {
        offset: u16,
        wrap: bool,
        size: u16,
    }

    impl Model {
        fn go(&mut self, entries: u16) {
            for _ in 0..entries {
                self.offset += 1;
                if self.offset == self.size {
                    self.offset = 0;
                    self.wrap = !self.wrap;
                }
            }
        }

        fn raw(self) -> u16 {
            self.offset | (u16::from(self.wrap) << 15)
        }
    }

    proptest! {
        /// Up to one round of the ring, a packed distance is what was gone.
        #[test]
        fn packed_distances_are_what_was_gone(
            size in 1u16..=32768,
            start: u16,
            wrap: bool,
            gone: u16,
        ) {
            let mut model = Model { offset: start % size, wrap, size };
            let old = model.raw();
            let gone = gone % size;
            model.go(gone);
            prop_assert_eq!(packed_distance(old, model.raw(), size), gone);
        }

        /// Of a stream of operations of which some leave no record, each recorded one
        /// says how many entries those before it took; and recorded twice, it says so.
        #[test]
        fn what_is_missed_is_told_by_the_next_record(
            size in 16u16..=1024,
            operations in proptest::collection::vec((1u16..4, any::<bool>()), 1..200),
        ) {
            let mut ring = Model { offset: 0, wrap: true, size };
            let mut recorded = ring.raw();
            let mut missed = 0;
            for (taken, seen) in operations {
                // More than a round cannot be told from less.
                let seen = seen || missed + taken >= size / 2;
                ring.go(taken);
                if !seen {
                    missed += taken;
                    continue;
                }
                let moved = packed_distance(recorded, ring.raw(), size);
                let expected = if missed == 0 { Step::Next } else { Step::Missed(missed) };
                prop_assert_eq!(step(moved, taken), expected);
                recorded = ring.raw();
                missed = 0;
                let again = packed_distance(recorded, ring.raw(), size);
                prop_assert_eq!(step(again, taken), Step::Repeated);
            }
        }
    }

    #[test]
    fn split_positions_wrap() {
        let moved = 2u16.wrapping_sub(65535);
        assert_eq!(step(moved, 1), Step::Missed(2));
        assert_eq!(step(0u16.wrapping_sub(65535), 1), Step::Next);
    }
}
