//! Why a process cannot be traced, for whoever has to act on it.

use std::io;
use std::path::PathBuf;

/// Tracing of a process that could not begin.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UsdtError {
    /// The user may not.
    #[error(
        "tracing a process's probes needs the capabilities {missing}: run it with sudo, or \
         grant them with `sudo setcap cap_bpf,cap_perfmon,cap_sys_ptrace=ep $(command -v virtscope)`"
    )]
    Privileges {
        /// Which ones are missing.
        missing: String,
    },
    /// No such process.
    #[error(
        "there is no process {pid}: `pgrep -a NAME` shows which there are; to trace a program \
         whenever it runs, use --program"
    )]
    NoProcess {
        /// Its number.
        pid: u32,
    },
    /// The number of a thread.
    #[error("{pid} is a thread of process {process}: trace that with --pid {process}")]
    Thread {
        /// Its number.
        pid: u32,
        /// The process it belongs to.
        process: u32,
    },
    /// What the process has mapped may not be looked at.
    #[error(
        "not allowed to look at process {pid}: run it with sudo, or as the user whose process it is \
         with CAP_SYS_PTRACE"
    )]
    NotAllowed {
        /// Its number.
        pid: u32,
    },
    /// A file that cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file that is no program.
    #[error("{} is no 64-bit ELF program: {reason}", path.display())]
    NotElf {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A program without section headers: nothing says whether it has probes.
    #[error(
        "{} has been stripped of its section headers, and with them of the notes that say where \
         its probes are: use one that was stripped by `strip`, which keeps them", path.display()
    )]
    Stripped {
        /// Which.
        path: PathBuf,
    },
    /// No probe of ours.
    #[error(
        "{what} has no probes of provider `virtscope`: they are in x86-64 programs that use the \
         reference driver with `Probe` or `Usdt`, like `virtscope demo`, and that kept their \
         section .note.stapsdt. For the virtqueues of this kernel leave --pid and --program out"
    )]
    NoProbes {
        /// What was looked through.
        what: String,
    },
    /// The probes are of another version.
    #[error(
        "the probes of {} pass `{arguments}`, which this version of virtscope doesn't know: trace \
         it with the virtscope it was built with", path.display()
    )]
    Version {
        /// Which file.
        path: PathBuf,
        /// What its note says.
        arguments: String,
    },
    /// The kernel cannot do it.
    #[error(
        "this kernel cannot count who watches a probe ({problem}): it takes Linux 4.20 or later \
         with CONFIG_UPROBE_EVENTS"
    )]
    NoUprobes {
        /// What is not there.
        problem: String,
    },
    /// The kernel refuses the maps.
    #[error(
        "the kernel refuses the eBPF maps: {source}; is memory short, or CONFIG_BPF_SYSCALL off?"
    )]
    Load {
        /// What aya said.
        #[source]
        source: Box<aya::EbpfError>,
    },
    /// The kernel refuses the program.
    #[error("the kernel refuses the eBPF program: {message}")]
    Program {
        /// Why, with what the verifier said last.
        message: String,
    },
    /// The kernel does not let us attach.
    #[error("cannot attach to {probe} in {}: {source}{}", path.display(), hint(source))]
    Attach {
        /// The probe.
        probe: String,
        /// The file it is in.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The object lacks what it should have.
    #[error("the eBPF object is damaged: {0}")]
    Object(String),
}

/// What to do about a refusal.
fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "; the kernel or its lockdown mode allows no uprobes: `virtscope doctor` and \
             /sys/kernel/security/lockdown say more"
        }
        io::ErrorKind::NotFound => "; the process has just ended",
        io::ErrorKind::InvalidInput => {
            "; its file system does not support uprobes: run the program from a disk or tmpfs"
        }
        _ => "",
    }
}
