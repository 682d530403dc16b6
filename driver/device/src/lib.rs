//! The other side of the ring.
//!
//! The device's half of a split virtqueue ([`queue`]), a file server that
//! speaks 9P2000.L and knows no ring ([`p9`]), and the two together as an
//! in-process virtio-9p device ([`virtio9p`]) behind a transport of its own
//! ([`in_process`]). It goes wrong on purpose where it is told to ([`fault`]).
//!
//! Everything here is a state machine that is stepped; threads only loop over
//! the steps, so that tests and model checkers can take one step at a time.

pub mod blk;
mod doorbell;
pub mod fault;
pub mod in_process;
pub mod net;
pub mod p9;
pub mod queue;
pub mod requests;
pub mod virtio9p;
