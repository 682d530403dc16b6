//! What the eBPF programs and their loader agree on: settings, the state kept of each
//! queue, and the arithmetic of ring positions.
//!
//! `no_std`, because the same source is compiled for BPF; nothing here touches a map or
//! a kernel. Everything is `repr(C)` and made of native integers, since both sides run
//! on one machine.
#![no_std]

mod config;
mod position;
mod probe;
mod state;
mod wake;

pub use config::{
    Config, MAX_DRIVER_NAME, MAX_FILTERED_DEVICES, MAX_FILTERED_QUEUES, MAX_NOTIFY, PayloadMode,
    WINDOW,
};
pub use position::{Step, packed_distance, step};
pub use probe::{LostKey, LostRecords, PROBE_PAYLOAD_LIMIT};
pub use state::{
    COUNTERS_PER_CPU, Counters, LARGE_AT_ONCE, LISTED, PendingAdd, QueueState, SEGMENTS,
    SMALL_SNAPLEN, SNAPLEN_LIMIT, Segment, Segments, Slot, WORKS_PER_CPU, control,
};
pub use wake::wake;
