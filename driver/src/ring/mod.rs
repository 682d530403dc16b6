//! Virtqueues: the driver's half, and the layouts that both halves share.
//!
//! [`SplitQueue`] and [`PackedQueue`] have the same operations;
//! [`Virtqueue`] is whichever of them was negotiated.
//! Operations that Linux wants serialised take `&mut self`; those that may run
//! beside others are on [`QueueHandle`].

mod checks;
mod error;
mod features;
mod handle;
mod indirect;
mod packed;
pub mod packed_layout;
mod records;
mod size;
mod slots;
mod split;
pub mod split_layout;
mod virtqueue;

pub use error::{AddError, AddErrorKind, NotifyError, QueueError, Violation};
pub use features::Features;
pub use handle::{AvailableNotification, CallbackState, Notifier, QueueHandle};
pub use packed::PackedQueue;
pub use size::{InvalidQueueSize, QueueSize};
pub use slots::{Context, UsedBuffer};
pub use split::SplitQueue;
pub use virtqueue::Virtqueue;
