//! Every virtio device and queue of a kernel, found in its memory without waiting for
//! anything to happen.
//!
//! From Linux' list of busses to the virtio bus, from there to its devices and their
//! queues, and from a queue to what stands in its ring. Nothing is locked: the kernel
//! goes on meanwhile, so lists are checked link by link and walked again when they have
//! changed, and rings are read until two readings agree ([`Stability`]).
//!
//! ```no_run
//! # use virtscope_tracer::{btf::KernelBtf, kallsyms::Symbols};
//! # use virtscope_tracer::walk::{Offsets, SYMBOLS, Walk, with_bus};
//! # fn walk(memory: &dyn virtscope_tracer::memory::KernelMemory) -> anyhow::Result<()> {
//! let btf = KernelBtf::running()?;
//! let offsets = Offsets::of(&btf)?;
//! let symbols = Symbols::running(&btf, SYMBOLS)?.shown()?;
//! let symbols = with_bus(memory, &offsets, symbols);
//! let walk = Walk::new(memory, &offsets, &symbols);
//! for device in walk.devices()? {
//!     for queue in &device.queues {
//!         println!("{} {:?}: {:?}", device.name, queue.name, walk.inspect(queue)?);
//!     }
//! }
//! # Ok(())
//! # }
//! ```

mod bus;
mod device;
mod offsets;
mod packed;
mod queue;
mod ring;
mod saved;
mod split;
mod sysfs;
#[cfg(test)]
mod tests;

pub use bus::with_bus;
pub use device::{
    Area, Areas, Device, EventSuppression, InFlight, Inspection, PackedRing, Queue, Ring,
    RingLayout, SplitRing, Stability, Whereabouts,
};
pub use offsets::{
    BusOffsets, DeviceOffsets, ExtraOffsets, LayoutOffset, Offsets, PackedOffsets, QueueOffsets,
    SplitOffsets,
};
pub use saved::{Saved, SavedError};
pub use sysfs::{Difference, SYSFS, compare, shown};

use crate::kallsyms::{SymbolError, Symbols};
use crate::memory::{KernelMemory, MemoryError};

/// The symbols a walk begins with: the list of all busses, and the virtio bus in it.
pub const SYMBOLS: &[&str] = &[BUSSES, VIRTIO_BUS];
pub(crate) const BUSSES: &str = "bus_kset";
pub(crate) const VIRTIO_BUS: &str = "virtio_bus";

/// How often what changes while it is read is read again.
const TRIES: usize = 8;

/// Why devices, queues or a ring could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WalkError {
    /// Where to begin is not known.
    #[error(transparent)]
    Symbol(#[from] SymbolError),
    /// Memory could not be read.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// A list changed each time it was walked.
    #[error("the kernel's list of {0} changed each time it was read: try again")]
    Moving(&'static str),
    /// What stands there cannot be what it should be.
    #[error(
        "what stands at {address:#x} is no {what}: {why}. The device may just have been \
         removed: try again; if it stays, this kernel is not understood"
    )]
    Nonsense {
        /// What it should be.
        what: &'static str,
        /// Where it is.
        address: u64,
        /// What is wrong with it.
        why: String,
    },
    /// The kernel has no bus of virtio devices.
    #[error(
        "this kernel's list of busses does not have the virtio bus: is the module virtio loaded?"
    )]
    NoBus,
}

/// What reads devices and rings out of a kernel's memory.
#[derive(Clone, Copy)]
pub struct Walk<'a> {
    memory: &'a dyn KernelMemory,
    offsets: &'a Offsets,
    symbols: &'a Symbols,
}

impl<'a> Walk<'a> {
    /// Walks `memory`, of a kernel whose structs are as `offsets` says and which has
    /// [`SYMBOLS`] where `symbols` says.
    pub fn new(memory: &'a dyn KernelMemory, offsets: &'a Offsets, symbols: &'a Symbols) -> Self {
        Self {
            memory,
            offsets,
            symbols,
        }
    }
}

/// What `read` finds, which is asked again where what it reads changes meanwhile.
fn settled<T>(mut read: impl FnMut() -> Result<T, WalkError>) -> Result<T, WalkError> {
    let mut outcome = read();
    for _ in 1..TRIES {
        match &outcome {
            Err(WalkError::Memory(_) | WalkError::Moving(_) | WalkError::Nonsense { .. }) => {
                outcome = read();
            }
            _ => break,
        }
    }
    outcome
}
