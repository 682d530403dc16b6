//! What a user must be allowed to do, and giving it up again.

use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};

/// Capabilities that tracing needs, and what for.
const NEEDED: [(CapabilitySet, &str); 3] = [
    (CapabilitySet::BPF, "CAP_BPF"),
    (CapabilitySet::PERFMON, "CAP_PERFMON"),
    (CapabilitySet::SYSLOG, "CAP_SYSLOG"),
];

/// The names of what is missing.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Missing(pub Vec<&'static str>);

impl std::fmt::Display for Missing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.join(", "))
    }
}

/// Which of the capabilities that tracing needs this thread lacks: CAP_BPF to load
/// programs, CAP_PERFMON to read the kernel's memory and attach to it, CAP_SYSLOG to
/// see where its variables are.
pub fn missing_privileges() -> Missing {
    missing_of(&NEEDED.map(|(_, name)| name))
}

/// Which of the capabilities of these names this thread lacks.
pub(crate) fn missing_of(names: &[&str]) -> Missing {
    let Ok(sets) = capabilities(None) else {
        return Missing::default();
    };
    // CAP_SYS_ADMIN comprises the first two.
    let admin = sets.effective.contains(CapabilitySet::SYS_ADMIN);
    Missing(
        NEEDED
            .into_iter()
            .filter(|(_, name)| names.contains(name))
            .filter(|(capability, _)| {
                let by_admin = admin && *capability != CapabilitySet::SYSLOG;
                !by_admin && !sets.effective.contains(*capability)
            })
            .map(|(_, name)| name)
            .collect(),
    )
}

/// Gives up all capabilities of this thread, and of the threads that it starts from now
/// on, but those of the files it may open where `keep_files` asks for it. What is
/// attached stays attached.
///
/// # Errors
/// What the kernel says.
pub fn drop_privileges(keep_files: bool) -> std::io::Result<()> {
    let kept = if keep_files {
        capabilities(None)?.permitted & (CapabilitySet::DAC_OVERRIDE | CapabilitySet::CHOWN)
    } else {
        CapabilitySet::empty()
    };
    set_capabilities(
        None,
        CapabilitySets {
            effective: kept,
            permitted: kept,
            inheritable: CapabilitySet::empty(),
        },
    )?;
    Ok(())
}

/// Whether tests may load programs; says so where they are skipped.
#[cfg(test)]
pub(crate) fn may_load() -> bool {
    let may = missing_privileges().0.is_empty();
    if !may {
        eprintln!("SKIPPED: loading programs needs root");
    }
    may
}
