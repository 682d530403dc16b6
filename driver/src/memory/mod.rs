//! Guest memory: the one region that the driver and the device both reach.
//!
//! Rings and buffers live in [`GuestMemory`] and are named by [`GuestAddress`].
//! Every access is atomic, because the other side may touch the same bytes at
//! any moment whether it should or not: a device that misbehaves can make the
//! driver read nonsense, never make the program undefined.

mod barrier;
mod pages;
mod region;
mod shared;
mod words;

pub use barrier::{Barrier, BarrierKind, Half, Order};
pub use pages::{NoPages, PAGE_SIZE, PageArea, PageBuffer, PagePool};
pub use region::{GuestMemory, OutOfRange};
pub use shared::{SharedQueueMemory, SharedWords};
pub use words::{IndirectTables, QueueAddresses, QueueMemory, RingWords};

/// An address in guest memory, in bytes from its start: what a driver writes
/// into a descriptor's `addr`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct GuestAddress(pub u64);

impl GuestAddress {
    /// The address `bytes` further on, or `None` past the end of 64 bits.
    pub const fn checked_add(self, bytes: u64) -> Option<Self> {
        match self.0.checked_add(bytes) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }
}

/// A piece of a buffer: what one descriptor describes, and what Linux calls a
/// scatterlist entry.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Segment {
    /// Where it begins.
    pub address: GuestAddress,
    /// Its bytes.
    pub len: u32,
}
