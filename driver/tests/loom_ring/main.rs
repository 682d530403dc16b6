//! The races of the rings, every interleaving of them.
//!
//! Both halves run the real code over ring memory that loom watches, with every
//! value that a load may see by the memory model. `loom_barriers` runs the same
//! windows once more for each barrier, without it, and must find a loss.
//!
//! Where one buffer is offered or returned, every interleaving is tried. Where more
//! happens, only those in which a thread that could go on is interrupted at most two
//! to four times: all of them would take from minutes to hours. (Each loss that
//! `loom_barriers` provokes shows within two.)
//!
//! Loom runs one access after the other, so no load sees a store that comes later in
//! the run, as it may on some machines. That a side reads a buffer before it gives it
//! away is shown all the same: loom fails a model in which the other then writes it
//! with no order between them.

#[path = "../loom_common/mod.rs"]
mod loom_common;

mod beside;
mod interrupts;
mod kicks;
