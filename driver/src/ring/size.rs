//! A queue size that is one.

/// The Queue Size of a split virtqueue: a power of two from 1 to 32768 (virtio
/// 1.4 §2.7).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct QueueSize(u16);

/// A number that is no size of a split virtqueue.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0} is no size of a split virtqueue: it must be a power of two from 1 to 32768")]
pub struct InvalidQueueSize(pub u16);

impl QueueSize {
    /// A size of `entries`.
    ///
    /// # Errors
    /// Zero, or not a power of two.
    pub const fn new(entries: u16) -> Result<Self, InvalidQueueSize> {
        if entries.is_power_of_two() {
            Ok(Self(entries))
        } else {
            Err(InvalidQueueSize(entries))
        }
    }

    /// How many entries.
    pub const fn get(self) -> u16 {
        self.0
    }

    /// What turns a free-running index into a slot.
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
    fn only_powers_of_two() {
        // Miri is slow: there only every 251st.
        for entries in (0..=u16::MAX).step_by(if cfg!(miri) { 251 } else { 1 }) {
            assert_eq!(
                QueueSize::new(entries).is_ok(),
                entries != 0 && entries & (entries - 1) == 0
            );
        }
    }
}
