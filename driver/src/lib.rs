//! The reference guest driver.
//!
//! Virtqueues over memory shared with a device ([`ring`]), the instrumentation
//! that turns every ring operation into a record ([`instrument`]), the bus on which
//! devices and drivers meet ([`bus`]) over a [`transport`], and a 9P2000.L client on
//! a channel modelled on Linux's `net/9p/trans_virtio.c` ([`p9`]).
//!
//! Words and numbers are those of virtio 1.4; behaviour is that of Linux.

pub mod blk;
pub mod buffer;
pub mod bus;
pub mod event;
pub mod instrument;
pub mod memory;
pub mod net;
pub mod operations;
pub mod p9;
pub mod ring;
mod sync;
pub mod transport;
