//! Why tracing cannot begin, for whoever has to act on it.

use super::hooks::How;
use super::options::QueueName;
use crate::btf::BtfError;

/// Tracing that could not begin.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TraceError {
    /// Whoever starts it wants it no more.
    #[error("told to end before all was attached")]
    Stopped,
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
    /// The kernel attaches programs to functions and never runs them.
    #[error(
        "kernel.ftrace_enabled is 0, so this kernel runs nothing that is attached to a function: \
         `sudo sysctl kernel.ftrace_enabled=1` switches it on"
    )]
    FtraceOff,
    /// The same for kprobes.
    #[error(
        "/sys/kernel/debug/kprobes/enabled is 0, so this kernel runs no kprobe: `echo 1 | sudo \
         tee /sys/kernel/debug/kprobes/enabled` switches them on"
    )]
    KprobesOff,
    /// Kprobes are for the administrator alone: a rule of Debian's and Ubuntu's kernels.
    #[error(
        "attaching kprobes, which this kernel needs, takes CAP_SYS_ADMIN while \
         kernel.perf_event_paranoid is {level}: run it with sudo, or allow it with `sudo sysctl \
         kernel.perf_event_paranoid=2`"
    )]
    Paranoid {
        /// What the setting is.
        level: i32,
    },
    /// The buffer has no room for the records that are asked for.
    #[error(
        "two records with --snaplen {snaplen} are more than the buffer's {buffer} bytes, and long ones \
         would be lost: take --buffer-size {needed}, or a smaller --snaplen"
    )]
    Buffer {
        /// What is asked for.
        snaplen: u32,
        /// Bytes of the buffer.
        buffer: u32,
        /// Bytes it should have.
        needed: u64,
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
    /// No queue has a name that was asked for.
    #[error("there is no queue `{name}`; there is {there}")]
    NoQueue {
        /// The name.
        name: QueueName,
        /// The queues there are, of the devices that were asked for.
        there: String,
    },
    /// Names were asked for, and which queues have them can't be seen.
    #[error("which queue `{name}` is cannot be looked up: {why}; by its index it can be chosen")]
    Names {
        /// The name.
        name: QueueName,
        /// Why not.
        why: String,
    },
    /// More was asked for than the programs can look for.
    #[error("these are {count} {what} to choose, and {most} can be: choose fewer, or all")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many were asked for.
        count: usize,
        /// How many can be.
        most: usize,
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
    #[error(
        "cannot attach to {function} by {how}: {message}; `virtscope doctor` shows what can be \
         traced here, and what to do about the rest"
    )]
    Attach {
        /// The kernel's function.
        function: String,
        /// By what.
        how: How,
        /// Why, with what the verifier said last.
        message: String,
    },
    /// A map that the object should have is not there, or is not what it should be.
    #[error("the eBPF object is damaged: {0}")]
    Object(String),
}

impl TraceError {
    /// Whether it is fentry or fexit that was refused.
    pub(super) const fn is_of_fentry(&self) -> bool {
        matches!(
            self,
            Self::Attach {
                how: How::Fentry | How::Fexit,
                ..
            }
        )
    }
}

/// An error with its causes, and of a verifier's log the end.
pub(crate) fn explain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let said = next.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = next.source();
    }
    const MOST: usize = 2000;
    if text.len() > MOST {
        let start = text.ceil_char_boundary(text.len() - MOST / 2);
        let end = text.floor_char_boundary(MOST / 2);
        text = format!("{} … {}", &text[..end], &text[start..]);
    }
    text
}
