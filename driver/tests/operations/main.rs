//! The five operations of Virtio draft IV on both their implementations, and the
//! small drivers that run on them.

mod blk;
mod every_queue;
mod model;
mod net;
mod ring;
mod socket;
mod support;
