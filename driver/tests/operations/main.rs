//! The five operations of Virtio draft IV on both their implementations, and the
//! small drivers that run on them.

mod every_queue;
mod ring;
mod socket;
mod support;
