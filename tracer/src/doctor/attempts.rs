//! What is tried in the kernel that runs.

use aya::programs::{FEntry, KProbe, Program, ProgramError};
use aya::{Btf, Ebpf};

use crate::program::OBJECT;

/// Why something does not work.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// It takes privileges that are not there.
    Privileges,
    /// What the kernel said.
    Kernel(String),
}

/// What can be tried.
pub trait Attempts {
    /// Loads a program that reads the kernel's memory.
    ///
    /// # Errors
    /// Why that does not work.
    fn memory(&self) -> Result<(), Refusal>;

    /// Makes a ring buffer.
    ///
    /// # Errors
    /// Why that does not work.
    fn ring_buffer(&self) -> Result<(), Refusal>;

    /// Attaches a program by fentry to `function`, and detaches it.
    ///
    /// # Errors
    /// Why that does not work.
    fn fentry(&self, function: &str) -> Result<(), Refusal>;

    /// Attaches a program by kprobe to `function`, and detaches it.
    ///
    /// # Errors
    /// Why that does not work.
    fn kprobe(&self, function: &str) -> Result<(), Refusal>;
}

/// The kernel that runs.
#[derive(Clone, Copy, Debug)]
pub struct Kernel;

impl Attempts for Kernel {
    fn memory(&self) -> Result<(), Refusal> {
        privileged()?;
        crate::memory::BpfMemory::load()
            .map(drop)
            .map_err(|error| refusal(&error))
    }

    fn ring_buffer(&self) -> Result<(), Refusal> {
        privileged()?;
        match aya::sys::is_map_supported(aya::maps::MapType::RingBuf) {
            Ok(true) => Ok(()),
            Ok(false) => Err(Refusal::Kernel("the kernel has none".to_owned())),
            Err(error) => Err(refusal(&error)),
        }
    }

    fn fentry(&self, function: &str) -> Result<(), Refusal> {
        with(|ebpf| {
            let btf = Btf::from_sys_fs().map_err(|error| refusal(&error))?;
            let program: &mut FEntry = program(ebpf, "touched")?;
            program
                .load(function, &btf)
                .and_then(|()| program.attach())
                .map(drop)
                .map_err(|error| refusal(&error))
        })
    }

    fn kprobe(&self, function: &str) -> Result<(), Refusal> {
        with(|ebpf| {
            let program: &mut KProbe = program(ebpf, "touched_k")?;
            program
                .load()
                .and_then(|()| program.attach(function, 0))
                .map(drop)
                .map_err(|error| refusal(&error))
        })
    }
}

/// Does something with the programs, which are detached and gone afterwards.
fn with(attempt: impl FnOnce(&mut Ebpf) -> Result<(), Refusal>) -> Result<(), Refusal> {
    privileged()?;
    let mut ebpf = Ebpf::load(OBJECT).map_err(|error| refusal(&error))?;
    attempt(&mut ebpf)
}

fn program<'a, P>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut P, Refusal>
where
    &'a mut P: TryFrom<&'a mut Program, Error = ProgramError>,
{
    let found = ebpf.program_mut(name);
    found
        .and_then(|program| program.try_into().ok())
        .ok_or_else(|| Refusal::Kernel(format!("the object has no program {name}")))
}

/// Whether trying makes sense: without CAP_BPF and CAP_PERFMON the kernel refuses
/// everything, whatever it could do.
fn privileged() -> Result<(), Refusal> {
    use rustix::thread::CapabilitySet;
    let held =
        rustix::thread::capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.effective);
    let both = CapabilitySet::BPF | CapabilitySet::PERFMON;
    match held.contains(both) || held.contains(CapabilitySet::SYS_ADMIN) {
        true => Ok(()),
        false => Err(Refusal::Privileges),
    }
}

/// The last cause, which is the kernel's own word.
fn refusal(error: &(dyn std::error::Error + 'static)) -> Refusal {
    let mut last: &dyn std::error::Error = error;
    while let Some(cause) = last.source() {
        last = cause;
    }
    Refusal::Kernel(last.to_string())
}
