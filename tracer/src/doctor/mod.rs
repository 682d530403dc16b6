//! What this kernel lets us trace, what would be missed, and what to do about it.
//!
//! Everything is looked at, and what can be tried is tried: programs are attached to a
//! function that hardly ever runs, and detached again. What takes privileges that are not
//! there is said to be untried, not to be missing.

mod attempts;
mod checks;
mod functions;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use serde::Serialize;

pub use attempts::{Attempts, Kernel, Refusal};
pub use functions::{FunctionCheck, How};

use crate::btf::KernelBtf;

/// How one thing stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// As it should be.
    Fine,
    /// Tracing works without it, and sees less or costs more.
    Degraded,
    /// Tracing does not work without it.
    Missing,
    /// It could not be tried.
    Unknown,
}

/// One thing that tracing depends on.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Check {
    /// What.
    pub name: &'static str,
    /// How it stands.
    pub state: State,
    /// What was found.
    pub found: String,
    /// What to do about it.
    pub advice: Option<String>,
}

/// All of it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Diagnosis {
    /// The kernel, as `uname -r` has it.
    pub kernel: String,
    /// What tracing depends on.
    pub checks: Vec<Check>,
    /// The kernel's functions that tell of a ring's operations.
    pub functions: Vec<FunctionCheck>,
}

/// What can be said in the end.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Every operation would be seen.
    Whole,
    /// Tracing works, and not all is as it should be.
    Partly,
    /// Tracing does not work.
    NotAtAll,
    /// Without privileges it cannot be told.
    Unknown,
}

impl Diagnosis {
    /// What it amounts to.
    pub fn verdict(&self) -> Verdict {
        let any = |state| self.checks.iter().any(|check| check.state == state);
        if any(State::Missing) {
            Verdict::NotAtAll
        } else if any(State::Unknown) {
            Verdict::Unknown
        } else if any(State::Degraded) {
            Verdict::Partly
        } else {
            Verdict::Whole
        }
    }
}

/// Looks at the machine whose `/proc` and `/sys` are under `root` (`/`, but for tests)
/// and which is called `release`, and tries what `attempts` can.
pub fn diagnose(root: &Path, release: &str, attempts: &dyn Attempts) -> Diagnosis {
    let host = Host {
        root: root.to_owned(),
    };
    let btf = KernelBtf::open(&host.path("sys/kernel/btf"), release.to_owned());
    let mut functions = functions::look(&host, btf.as_ref().ok());
    let quiet = checks::quiet_function(btf.as_ref().ok());
    let tried = Tried {
        fentry: attempts.fentry(quiet),
        kprobe: attempts.kprobe(quiet),
    };
    let counted = counts_kprobes(release);
    let checks = checks::all(&host, &btf, &functions, &tried, attempts, counted);
    for function in &mut functions {
        function.settle(&tried);
    }
    Diagnosis {
        kernel: release.to_owned(),
        checks,
        functions,
    }
}

/// Whether the kernel of that release tells how often it skips a kprobe, or a program at one:
/// Linux does from 6.7 on.
fn counts_kprobes(release: &str) -> bool {
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map_while(|number| number.parse::<u32>().ok());
    let version = (numbers.next(), numbers.next());
    version >= (Some(6), Some(7))
}

/// Looks at this machine.
pub fn diagnose_running() -> Diagnosis {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy().into_owned();
    diagnose(Path::new("/"), &release, &Kernel)
}

/// What came of attaching.
struct Tried {
    fentry: Result<(), Refusal>,
    kprobe: Result<(), Refusal>,
}

/// Where the files of a machine are.
struct Host {
    root: PathBuf,
}

impl Host {
    fn path(&self, below: &str) -> PathBuf {
        self.root.join(below)
    }

    /// A file's text, without the line's end.
    fn text(&self, below: &str) -> Option<String> {
        let text = std::fs::read_to_string(self.path(below)).ok()?;
        Some(text.trim().to_owned())
    }
}
