//! Ring memory as words: the small abstraction behind which loom can stand in.

use super::{Barrier, GuestAddress, Order, Segment};

/// One area of a ring (descriptor, driver or device area) as atomic words at
/// byte offsets. A word is always reached with the same size; in memory it is
/// little-endian (virtio 1.4 §2.7), here it is a number.
///
/// Offsets come from the ring's layout and the queue's size, never from the
/// other side, so they are in range by construction; an implementation may
/// panic on one that is not.
pub trait RingWords: Send + Sync {
    /// Reads a 16-bit word.
    fn load_u16(&self, offset: usize, order: Order) -> u16;
    /// Writes a 16-bit word.
    fn store_u16(&self, offset: usize, value: u16, order: Order);
    /// Reads a 32-bit word.
    fn load_u32(&self, offset: usize, order: Order) -> u32;
    /// Writes a 32-bit word.
    fn store_u32(&self, offset: usize, value: u32, order: Order);
    /// Reads a 64-bit word.
    fn load_u64(&self, offset: usize, order: Order) -> u64;
    /// Writes a 64-bit word.
    fn store_u64(&self, offset: usize, value: u64, order: Order);

    /// Reads two 32-bit words, one after the other, in no order with anything: a
    /// used entry.
    #[inline]
    fn load_pair_u32(&self, offset: usize) -> [u32; 2] {
        [
            self.load_u32(offset, Order::Relaxed),
            self.load_u32(offset + 4, Order::Relaxed),
        ]
    }

    /// Writes two 64-bit words, one after the other, in no order with anything: a
    /// descriptor.
    #[inline]
    fn store_pair_u64(&self, offset: usize, [first, second]: [u64; 2]) {
        self.store_u64(offset, first, Order::Relaxed);
        self.store_u64(offset + 8, second, Order::Relaxed);
    }
}

/// All memory that one queue needs: its three areas, its indirect tables and
/// the buffers.
pub trait QueueMemory: Send + Sync {
    /// How an area is reached.
    type Words: RingWords;

    /// The descriptor area (split: descriptor table, virtio 1.4 §2.7.5; packed:
    /// descriptor ring, §2.8.13).
    fn descriptor_area(&self) -> &Self::Words;
    /// The driver area (split: available ring, virtio 1.4 §2.7.6; packed: driver
    /// event suppression, §2.8.14).
    fn driver_area(&self) -> &Self::Words;
    /// The device area (split: used ring, virtio 1.4 §2.7.8; packed: device event
    /// suppression, §2.8.14).
    fn device_area(&self) -> &Self::Words;

    /// The full memory barrier of this name: what orders a store before a later
    /// load of something else, as the suppression checks need it.
    fn fence(&self, barrier: Barrier);

    /// The order of an access to a word that is not the ring's, but the queue's own, and
    /// shared with those who act beside it. It is the one asked for; a model may leave
    /// out a barrier.
    #[inline(always)]
    fn own_order(&self, order: Order) -> Order {
        order
    }

    /// Where the driver may build tables of indirect descriptors, if anywhere.
    fn indirect_tables(&self) -> IndirectTables {
        IndirectTables::NONE
    }

    /// The memory of those tables, one behind the other. Called only where
    /// [`indirect_tables`](Self::indirect_tables) says that there are some.
    fn indirect_area(&self) -> &Self::Words {
        self.descriptor_area()
    }

    /// Whether `segment` may be a buffer's: it touches no area of the ring and no
    /// indirect table. Memory in which nobody could tell says yes.
    fn is_buffer(&self, _segment: Segment) -> bool {
        true
    }

    /// Copies buffer bytes at `address` into `into`; `false` if they can't be
    /// reached.
    fn read_buffer(&self, address: GuestAddress, into: &mut [u8]) -> bool;
}

/// Tables of indirect descriptors (virtio 1.4 §2.7.5.3, §2.8.7), all of one
/// length, one behind the other in guest memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IndirectTables {
    /// Where the first begins; aligned to 16.
    pub base: GuestAddress,
    /// How many there are: buffers that can be indirect at a time.
    pub count: u16,
    /// Descriptors of each: the longest list of segments that fits one.
    pub capacity: u16,
}

impl IndirectTables {
    /// No tables.
    pub const NONE: Self = Self {
        base: GuestAddress(0),
        count: 0,
        capacity: 0,
    };

    /// Bytes of one descriptor.
    const DESCRIPTOR_LEN: usize = 16;

    /// Bytes of all tables.
    pub const fn bytes(self) -> usize {
        self.count as usize * self.capacity as usize * Self::DESCRIPTOR_LEN
    }

    /// Offset of `table` from the first one's beginning.
    pub const fn offset(self, table: u16) -> usize {
        table as usize * self.capacity as usize * Self::DESCRIPTOR_LEN
    }

    /// Where `table` begins in guest memory.
    pub const fn address(self, table: u16) -> GuestAddress {
        GuestAddress(self.base.0 + self.offset(table) as u64)
    }
}

/// Where the three areas of a queue stand, as a transport is told (virtio 1.4
/// §4.1.4.3, `queue_desc`, `queue_driver`, `queue_device`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QueueAddresses {
    /// The descriptor area.
    pub descriptor: GuestAddress,
    /// The driver area.
    pub driver: GuestAddress,
    /// The device area.
    pub device: GuestAddress,
}
