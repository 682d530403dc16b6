//! Virtqueues: the driver's half, and the layouts that both halves share.

mod error;
mod size;
mod split;
pub mod split_layout;

pub use error::{AddError, AddErrorKind, NotifyError, QueueError, Violation};
pub use size::{InvalidQueueSize, QueueSize};
pub use split::{Features, Notifier, QueueHandle, SplitQueue, UsedBuffer};
