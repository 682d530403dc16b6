//! Takes ring-event records from a Linux guest's own virtio drivers ([`trace`]), and from
//! a process that uses the reference driver ([`usdt`]).
//!
//! The tracer reads and never interprets: what it finds becomes records, the same
//! ones the reference driver writes, and what they mean is the analyzer's business.

mod bell;
pub mod btf;
pub mod doctor;
pub mod kallsyms;
pub mod memory;
mod program;
mod ring;
pub mod trace;
pub mod usdt;
pub mod walk;
