//! Takes the records that a process with the reference driver shows at its own probes
//! (USDT, provider `virtscope`).
//!
//! [`Target`] finds the probes in the notes of a program or of what a process has mapped
//! ([`notes`]); [`UsdtTracer::start`] attaches to them with the place of their semaphore,
//! so that the kernel counts us there and takes us back however we end;
//! [`UsdtTracer::drain`] hands out the records.

mod attach;
mod error;
pub mod notes;
mod streams;
mod target;
mod tracer;

pub use error::UsdtError;
pub use streams::{QueueTold, StreamBegin};
pub use target::{Probes, Target};
pub use tracer::{UsdtOptions, UsdtTracer};
pub use virtscope_tracer_shared::PROBE_PAYLOAD_LIMIT;
