//! 9P2000.L over virtio: the client's half.
//!
//! [`driver`] takes on the 9P devices of a bus; its [`channel`]s carry messages
//! through a virtqueue, as Linux's `net/9p/trans_virtio.c` does; [`client`] is the
//! protocol on top of it; [`message`] is its wire format, written apart from the
//! analyzer's decoder so that each checks the other.

pub mod channel;
pub mod client;
mod completion;
pub mod driver;
pub mod interrupt;
pub mod message;
mod numbers;
