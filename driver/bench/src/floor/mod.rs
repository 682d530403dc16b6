//! Rings without any checks: the floor.
//!
//! They do what a driver cannot do without – find free descriptors, remember
//! what was given with each buffer, take buffers back in whatever order they
//! come – and nothing else. What the device writes is believed, what the caller
//! asks for is done, there is no error and no record, and each kick has exactly
//! one full fence. Memory is reached by raw pointers.

mod packed;
pub(crate) mod packed_words;
mod split;

pub use packed::PackedFloor;
pub use split::SplitFloor;
