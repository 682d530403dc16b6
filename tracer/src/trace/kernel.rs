//! What the running kernel looks like, read once for all that tracing needs of it: its
//! symbols are hundreds of thousands of lines.

use super::error::TraceError;
use crate::btf::KernelBtf;
use crate::kallsyms::{SymbolError, Symbols, Wanted};
use crate::walk::{BUSSES, VIRTIO_BUS};

/// Variables by which buffers' bytes, the context and the queues there are are found, and
/// the beginnings of the functions that are hooked.
const WANTED: Wanted<'static> = Wanted {
    names: &[
        "vmemmap_base",
        "page_offset_base",
        "__per_cpu_offset",
        "__preempt_count",
        "pcpu_hot",
        BUSSES,
        VIRTIO_BUS,
    ],
    beginnings: &[
        "virtqueue_",
        "vring_",
        "detach_buf_",
        "vp_notify",
        "vm_notify",
    ],
};

/// Whether what begins is to end again; it takes seconds where CPUs are emulated.
#[derive(Clone, Copy)]
pub(super) struct Stopped<'a>(pub(super) &'a dyn Fn() -> bool);

impl Stopped<'_> {
    /// # Errors
    /// It is to end.
    pub(super) fn check(self) -> Result<(), TraceError> {
        if (self.0)() {
            return Err(TraceError::Stopped);
        }
        Ok(())
    }

    /// What an error means: what is to end may have failed for that alone. Linux' verifier
    /// gives up where a signal waits, and says no more than to try again.
    pub(super) fn explain(self, error: TraceError) -> TraceError {
        self.check().err().unwrap_or(error)
    }
}

/// The running kernel.
pub(super) struct Kernel {
    pub(super) btf: KernelBtf,
    pub(super) symbols: Symbols,
    /// Why there are none, if they can't be read: what does not take them goes on.
    pub(super) unreadable: Option<SymbolError>,
}

impl Kernel {
    /// Reads its type information and its symbols.
    ///
    /// # Errors
    /// It has no type information, or it has been `stopped` meanwhile.
    pub(super) fn running(stopped: Stopped<'_>) -> Result<Self, TraceError> {
        let btf = KernelBtf::running()?;
        stopped.check()?;
        let (symbols, unreadable) = match Symbols::running(&WANTED) {
            Ok(symbols) => (symbols, None),
            Err(error) => (Symbols::default(), Some(error)),
        };
        stopped.check()?;
        Ok(Self {
            btf,
            symbols,
            unreadable,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::Hook;
    use crate::walk::SYMBOLS;

    #[test]
    fn one_pass_finds_all_that_is_looked_up() {
        for name in SYMBOLS.names {
            assert!(WANTED.names.contains(name), "{name}");
        }
        for hook in Hook::ALL {
            let is_wanted = |beginning: &&str| hook.function.starts_with(beginning);
            assert!(WANTED.beginnings.iter().any(is_wanted), "{}", hook.function);
        }
    }
}
