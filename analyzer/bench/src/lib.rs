//! Captures of any length, and everybody who reads or writes them.
//!
//! `cargo bench -p virtscope-analysis-bench` compares; the program `make-capture`
//! writes a capture for those who are no library.

mod compare;
mod readers;
mod source;
mod writers;

pub use compare::Comparison;
pub use readers::{analyse, analyse_without_findings, pcap_file_blocks, pcap_file_raw, read};
pub use source::write_capture;
pub use writers::Records;
