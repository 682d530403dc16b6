//! Takes a record of every operation on this kernel's virtqueues, by eBPF.
//!
//! [`Start::find`] reads what the running kernel looks like ([`offsets`](Config)) and finds
//! its queues; [`Start::attach`], which takes most of the time, decides what to attach where
//! ([`Plan`]), loads the programs and attaches them. [`Tracer::drain`] then hands out the
//! records they write.

mod attach;
mod cost;
mod counters;
mod error;
mod found;
mod hooks;
mod kernel;
mod layout;
mod links;
mod names;
mod options;
mod privileges;
mod quiet;
mod start;
mod switches;
mod tracer;

pub(crate) use cost::CostWatch;
pub use cost::{Cost, ProgramCost};
pub use counters::StreamCounters;
pub use error::TraceError;
pub(crate) use error::explain;
pub use found::Found;
pub use hooks::{Attachment, Hook, How, Operation, Plan};
pub use options::{ParseQueueError, QueueChoice, QueueFilter, QueueName, TraceOptions};
#[cfg(test)]
pub(crate) use privileges::may_load;
pub(crate) use privileges::missing_of;
pub use privileges::{Missing, drop_privileges, missing_privileges};
pub use start::{OnProgress, Progress, Start, Step};
pub use tracer::Tracer;
pub(crate) use tracer::split;
pub use virtscope_tracer_shared::{Config, PROBE_PAYLOAD_LIMIT, PayloadMode, SNAPLEN_LIMIT};
