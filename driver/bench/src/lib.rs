//! What the rings cost.
//!
//! Everything that is compared runs in one program, in short rounds that take
//! turns, so that whatever slows the machine down slows everybody down
//! ([`harness`]). A round is always the same conversation ([`conversation`]):
//! some buffers are added, the other side is kicked, a device half without any
//! checks returns them ([`device`]), and they are taken back. The driver halves
//! are ours ([`ours`]), those of the `virtio-drivers` crate ([`peer`]), and rings
//! without any checks, which are the floor ([`floor`]).
//!
//! On two threads the device half is ours, too ([`threads`]); there the measure is
//! Linux's `tools/virtio/ringtest`, which `cargo xtask ringtest` fetches and runs.

pub mod arena;
pub mod conversation;
pub mod device;
pub mod floor;
pub mod harness;
pub mod ours;
pub mod peer;
pub mod table;
pub mod threads;
