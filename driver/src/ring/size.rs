//! A queue size that is one.

/// The Queue Size: 1 to 32768 entries (virtio 1.4 §2.7, §2.8). A packed
/// virtqueue may have any of them, a split one only powers of two.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct QueueSize(u16);

/// A number that is no size of such a virtqueue.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "{0} is no size of this virtqueue: a packed one has 1 to 32768 entries, a split one a power of two of them"
)]
pub struct InvalidQueueSize(pub u16);

impl QueueSize {
    /// The largest (virtio 1.4 §2.7, §2.8).
    pub const MAX: Self = Self(32768);

    /// A size of `entries`.
    ///
    /// # Errors
    /// Zero, or more than 32768.
    pub const fn new(entries: u16) -> Result<Self, InvalidQueueSize> {
        if entries >= 1 && entries <= Self::MAX.0 {
            Ok(Self(entries))
        } else {
            Err(InvalidQueueSize(entries))
        }
    }

    /// How many entries.
    pub const fn get(self) -> u16 {
        self.0
    }

    /// This very size for a split virtqueue.
    ///
    /// # Errors
    /// It is not a power of two (virtio 1.4 §2.7).
    pub const fn for_split(self) -> Result<Self, InvalidQueueSize> {
        if self.0.is_power_of_two() {
            Ok(self)
        } else {
            Err(InvalidQueueSize(self.0))
        }
    }

    /// The largest power of two that is not larger.
    #[must_use]
    pub const fn power_of_two_below(self) -> Self {
        Self(1 << self.0.ilog2())
    }

    /// What turns a free-running index into a slot, where the size is a power of
    /// two.
    pub(crate) const fn mask(self) -> u16 {
        self.0 - 1
    }
}

impl std::fmt::Display for QueueSize {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn split_sizes_are_powers_of_two() {
        // Miri is slow: there only every 251st.
        for entries in (0..=u16::MAX).step_by(if cfg!(miri) { 251 } else { 1 }) {
            let size = QueueSize::new(entries);
            assert_eq!(size.is_ok(), (1..=32768).contains(&entries));
            let Ok(size) = size else { continue };
            let power = entries & (entries - 1) == 0;
            assert_eq!(size.for_split().is_ok(), power);
            let below = size.power_of_two_below().get();
            assert!(below.is_power_of_two() && below <= entries && entries / 2 < below);
        }
    }
}
