//! What a driver can do wrong on a ring.

use virtscope_record::RingIndex;

/// A rule of virtio 1.4 that the driver broke. A device that sees one needs a
/// reset.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DriverFault {
    /// The available index moved further than the ring is long, or back.
    #[error("the driver's available index went from {taken} to {avail_index} in a ring of {size}")]
    AvailIndexJumped {
        /// The next entry the device expected.
        taken: RingIndex,
        /// The index the driver wrote.
        avail_index: RingIndex,
        /// The Queue Size.
        size: u16,
    },
    /// An available entry or a `next` names a descriptor that the table lacks.
    #[error("descriptor {index} of a table of {size} (virtio 1.4 §2.7.5)")]
    DescriptorOutOfRange {
        /// The descriptor.
        index: u16,
        /// Descriptors of the table: the Queue Size, or those of an indirect one.
        size: u16,
    },
    /// A chain longer than the ring: it runs in circles.
    #[error(
        "the chain from descriptor {head} is longer than the ring (virtio 1.4 §2.7.5.2, §2.8.17)"
    )]
    ChainTooLong {
        /// Where it begins.
        head: u16,
    },
    /// More descriptors than the ring has, counting those of buffers that the device
    /// has not returned: the driver used some of them again too early.
    #[error(
        "the chain from descriptor {head} uses descriptors again: of {size}, the device holds {held} (virtio 1.4 §3.3.1, §2.8.16)"
    )]
    DescriptorsHeld {
        /// Where it begins.
        head: u16,
        /// Descriptors that the device holds without it.
        held: u16,
        /// The Queue Size.
        size: u16,
    },
    /// A device-readable descriptor behind a device-writable one.
    #[error(
        "the chain from descriptor {head} has a readable part behind a writable one (virtio 1.4 §2.7.4.2, §2.8.17)"
    )]
    ReadableAfterWritable {
        /// Where it begins.
        head: u16,
    },
    /// A segment that lies in the ring itself.
    #[error("the chain from descriptor {head} has a segment in the ring")]
    SegmentInRing {
        /// Where it begins.
        head: u16,
    },
    /// An indirect descriptor, which was not negotiated.
    #[error(
        "the chain from descriptor {head} is indirect, which was not negotiated (virtio 1.4 §2.7.5.3.1, §2.8.19)"
    )]
    IndirectNotNegotiated {
        /// Where it begins.
        head: u16,
    },
    /// An indirect descriptor inside a table or a list.
    #[error(
        "the chain from descriptor {head} has an indirect descriptor where none may be (virtio 1.4 §2.7.5.3.1, §2.8.19)"
    )]
    IndirectMisplaced {
        /// Where it begins.
        head: u16,
    },
    /// A table of indirect descriptors that is empty, broken off or not in memory.
    #[error("descriptor {head} names an indirect table of {len} bytes that can't be one")]
    IndirectTable {
        /// The descriptor.
        head: u16,
        /// The table's length.
        len: u32,
    },
    /// Packed: a list goes on into descriptors that were not made available.
    #[error(
        "the list from descriptor {head} goes on into one that is not available (virtio 1.4 §2.8.17)"
    )]
    ListBrokenOff {
        /// Where it begins.
        head: u16,
    },
    /// `VIRTIO_F_IN_ORDER`: a chain that does not begin behind the one before it.
    #[error(
        "the chain begins at descriptor {head}, not at {expected} where the ring goes on (virtio 1.4 §2.7.5.2)"
    )]
    NotInOrder {
        /// Where it begins.
        head: u16,
        /// Where it should.
        expected: u16,
    },
    /// `VIRTIO_F_NOTIFICATION_DATA`: a notification of buffers that the ring does not
    /// have.
    #[error(
        "the driver's notification says that buffers were made available up to {next:#x}, which the ring does not show (virtio 1.4 §2.9)"
    )]
    FalseNotification {
        /// `next_off` and `next_wrap`.
        next: u16,
    },
}
