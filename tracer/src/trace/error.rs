//! Why tracing cannot begin, for whoever has to act on it.

use crate::btf::BtfError;

/// Tracing that could not begin.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TraceError {
    /// The kernel's type information cannot be had or lacks something.
    #[error(transparent)]
    Btf(#[from] BtfError),
    /// The user may not.
    #[error(
        "tracing this kernel needs the capabilities {missing}: run it with sudo, or grant them \
         with `sudo setcap cap_bpf,cap_perfmon,cap_syslog=ep $(command -v virtscope)`"
    )]
    Privileges {
        /// Which ones are missing.
        missing: String,
    },
    /// A struct is laid out in a way that the programs do not know.
    #[error(
        "this kernel's `{name}` {problem}: this version of virtscope doesn't know it; look for a newer one"
    )]
    Layout {
        /// The struct.
        name: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// Nothing can be attached for an operation without which nothing can be told.
    #[error(
        "this kernel has none of the functions {functions} that tell of {operation}: \
         `virtscope doctor` shows what can be traced here"
    )]
    NoFunction {
        /// The operation.
        operation: &'static str,
        /// The functions looked for.
        functions: String,
    },
    /// The object cannot be loaded.
    #[error(
        "the kernel refuses the eBPF maps: {source}; is memory short, or CONFIG_BPF_SYSCALL off?"
    )]
    Load {
        /// What aya said.
        #[source]
        source: Box<aya::EbpfError>,
    },
    /// A program cannot be loaded or attached.
    #[error("cannot attach to {function}: {message}")]
    Attach {
        /// The kernel's function.
        function: String,
        /// Why, with what the verifier said last.
        message: String,
    },
    /// A map that the object should have is not there, or is not what it should be.
    #[error("the eBPF object is damaged: {0}")]
    Object(String),
}
