//! What the programs keep of each queue and of each buffer in flight.

/// Segments of either direction whose addresses are kept, for the payload.
pub const SEGMENTS: usize = 8;
/// Bytes of payload a record can carry at most: the largest 9P message of Linux has
/// 512000, which is 125 pages.
pub const SNAPLEN_LIMIT: u32 = 1 << 19;
/// The largest snaplen that takes no memory beyond what is there for each CPU.
pub const SMALL_SNAPLEN: u32 = 16384;
/// Segments that a list has room for, where a record may carry more than that: as many as
/// [`SNAPLEN_LIMIT`] has pages, and as many again.
pub const LISTED: usize = 256;
/// Records of more than [`SMALL_SNAPLEN`] that can be made at once, at most.
pub const LARGE_AT_ONCE: u32 = 16;
/// Programs that can be at work at once on a CPU: in a task, softirq and hardirq, and others
/// while that task is preempted.
pub const WORKS_PER_CPU: u32 = 8;
/// Queues that can be followed at once.
pub const COUNTERS_PER_CPU: u32 = 1024;

/// One queue, found by the address of its `struct virtqueue`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct QueueState {
    /// Device number times 65536 and queue index.
    pub id: u32,
    /// Its place among the counters.
    pub number: u32,
    /// Where its slots begin.
    pub slots: u32,
    /// Entries of its ring.
    pub size: u32,
    /// Adds seen, for sampling.
    pub adds: u32,
    /// Where the enable-callbacks call now under way began: its depth.
    pub enabling: u32,
    /// The notification that was decided on and has not come yet; 0: none. Where several
    /// are under way at once, the others are in a map.
    pub promise: u64,
    /// How many are in that map.
    pub other_promises: u64,
    /// Which life of the queue.
    pub generation: u16,
    /// The device's type.
    pub device_type: u16,
    /// The available position after the last recorded add.
    pub avail_next: u16,
    /// The used position after the last recorded completion.
    pub used_next: u16,
    /// The available position at the last kick decision.
    pub kicked: u16,
    /// Free descriptors after the last recorded operation.
    pub free: u16,
    /// The free list's head after the last recorded operation.
    pub free_head: u16,
    /// Positions of the driver and those above, as they were when they were last looked at
    /// without an event.
    pub looked: [u16; 6],
    /// A filter leaves it out.
    pub ignored: u8,
    /// The positions above are known.
    pub synced: u8,
    /// Its notifications become records, so that one which was decided on and never came
    /// was missed.
    pub promises: u8,
    /// Every buffer takes one entry of the ring.
    pub one_each: u8,
    /// The last recorded completion was one of several that the device told of in one
    /// entry, and not the last of them.
    pub in_batch: u8,
}

impl QueueState {
    /// Set in [`promise`](Self::promise), which may be anything else: no thread's number is
    /// so large that it takes this bit.
    pub const PROMISED: u64 = 1 << 63;
}

/// Where a segment of a buffer is in the kernel's address space.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct Segment {
    /// Its address, 0 if it cannot be reached.
    pub address: u64,
    /// Its bytes.
    pub len: u32,
    /// Nothing.
    pub reserved: u32,
}

/// The first segments of one direction of a buffer; an empty one ends them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct Segments(pub [Segment; SEGMENTS]);

/// A buffer in flight.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct Slot {
    /// The driver's token; 0: nothing is in flight here.
    pub token: u64,
    /// Device-writable bytes.
    pub writable_bytes: u32,
    /// Device-readable bytes.
    pub readable_bytes: u32,
    /// Device-writable segments.
    pub writable_segments: u16,
    /// Device-readable segments.
    pub readable_segments: u16,
    /// Ring descriptors it takes.
    pub descriptors: u16,
    /// Whether its records are wanted.
    pub selected: u16,
    /// The first segments: first device-readable ones, then device-writable ones.
    pub segments: [Segments; 2],
}

/// What is known at the entry of an add and needed at its return, where a program
/// cannot see the arguments there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct PendingAdd {
    /// The queue.
    pub vq: u64,
    /// The scatter lists: an array of them, or the only one.
    pub lists: u64,
    /// The driver's token.
    pub token: u64,
    /// Lists of device-readable segments.
    pub readable: u32,
    /// Lists of device-writable segments.
    pub writable: u32,
    /// Whether `lists` is an array.
    pub is_array: u32,
    /// Nothing.
    pub reserved: u32,
}

/// One CPU's counters of one queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct Counters {
    /// Records made: the next sequence number.
    pub emitted: u64,
    /// Records for which the buffer had no room.
    pub lost: u64,
    /// Records that a filter left out.
    pub filtered: u64,
    /// Operations found to have left no record.
    pub missed: u64,
    /// Device number times 65536 and queue index, plus 2³².
    pub queue: u64,
}

/// Places in the map of single numbers.
pub mod control {
    /// Queues that have been given counters.
    pub const QUEUES: u32 = 0;
    /// Slots that have been given away.
    pub const SLOTS: u32 = 1;
    /// Queues that could not be followed for want of room.
    pub const REFUSED: u32 = 2;
    /// `vmemmap_base` as read.
    pub const VMEMMAP: u32 = 3;
    /// `page_offset_base` as read.
    pub const PAGE_OFFSET: u32 = 4;
    /// Not 0: tracing is about to end.
    pub const CLOSING: u32 = 5;
    /// Not 0: everything is attached, and queues are taken up.
    pub const OPEN: u32 = 6;
    /// Up to where the buffer must have been read before its reader is woken again, bytes.
    pub const WAKE_AGAIN: u32 = 7;
    /// How many there are.
    pub const COUNT: u32 = 8;
}
