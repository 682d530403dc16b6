//! What the program at the driver's probes counts, for whoever reads it.

/// Bytes of payload that a record of the driver's probes keeps at most.
pub const PROBE_PAYLOAD_LIMIT: u32 = 16384;

/// Whose records were lost: one producer of one queue of one process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
#[repr(C)]
pub struct LostKey {
    /// The queue, as a record has it.
    pub queue: u32,
    /// The process, as a record has it.
    pub process: u32,
    /// The producer, as a record has it.
    pub producer: u32,
}

/// What was lost of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct LostRecords {
    /// How many records the buffer had no room for.
    pub count: u64,
    /// The lowest number among them.
    pub first: u32,
    /// The highest number among them.
    pub last: u32,
}
