//! Takes ring-event records from a Linux guest's own virtio drivers.
//!
//! The tracer reads and never interprets: what it finds becomes records, the same
//! ones the reference driver writes, and what they mean is the analyzer's business.

pub mod btf;
pub mod doctor;
pub mod kallsyms;
pub mod memory;
pub mod trace;
pub mod walk;
