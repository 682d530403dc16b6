//! What the running kernel looks like, read once for all that tracing needs of it: its
//! types are a hundred thousand, and its symbols may have to be looked for among more lines.

use super::error::TraceError;
use super::hooks::Hook;
use crate::btf::KernelBtf;
use crate::kallsyms::{SymbolError, Symbols};
use crate::walk::SYMBOLS;

/// Variables by which buffers' bytes and the context are found.
const VARIABLES: [&str; 5] = [
    "vmemmap_base",
    "page_offset_base",
    "__per_cpu_offset",
    "__preempt_count",
    "pcpu_hot",
];

/// All symbols that are looked up: variables, those by which the queues there are are found,
/// and the functions that may be hooked.
fn wanted() -> Vec<&'static str> {
    let hooks = Hook::ALL.iter().map(|hook| hook.function);
    let variables = VARIABLES.iter().chain(SYMBOLS).copied();
    variables.chain(hooks).collect()
}

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
        let (symbols, unreadable) = match Symbols::running(&btf, &wanted()) {
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
