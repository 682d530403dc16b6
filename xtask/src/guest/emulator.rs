//! The emulator that runs a guest: this system's, or a newer one where a guest takes a
//! device's property that this system's does not have.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

use super::apt::Suite;
use super::kernel::cache;
use super::userland::unpack;
use crate::limit::Deadline;
use crate::steps::Failure;
use crate::tools::{DebianTool, debian};

/// The emulator's program.
pub(crate) const QEMU: &str = "qemu-system-x86_64";
/// Where a newer one comes from, as [`Fetched`](Emulator::Fetched).
const SUITE: &str = "trixie";
const PACKAGE: &str = "qemu-system-x86";
/// What unpacking it takes.
const TOOLS: [DebianTool; 1] = [DebianTool {
    program: "dpkg",
    package: "dpkg",
}];
/// What of an unpacked system it needs to run.
const KEPT: [&str; 5] = [
    "usr/bin/qemu-system-x86_64",
    "usr/lib",
    "usr/lib64",
    "usr/share/qemu",
    "usr/share/seabios",
];

/// An emulator on this machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Emulator {
    /// The one that is installed.
    System,
    /// One of another Debian suite, in this folder with all that it needs.
    Fetched(PathBuf),
}

impl Emulator {
    /// One whose virtio devices have the property `in_order`, as QEMU has from 9.2 on: the
    /// installed one if it is new enough, else one that is fetched unless the cache has it.
    ///
    /// # Errors
    /// [`Failure::Missing`] if it can't be fetched here.
    pub(crate) fn with_in_order(deadline: Deadline) -> Result<Self, Failure> {
        if Self::System.has_in_order(deadline) {
            return Ok(Self::System);
        }
        debian(&TOOLS, deadline)?;
        let cache = cache()?;
        let folder = cache.join(format!("{SUITE}-qemu"));
        // One at a time, of all that run on this machine.
        let lock = File::create(cache.join("lock")).context("making the cache's lock")?;
        lock.lock().context("waiting for the cache's lock")?;
        if !folder.exists() {
            println!("fetching {PACKAGE} of Debian's {SUITE}, and all it needs");
            fetch(&cache, &folder, deadline)
                .map_err(|error| Failure::Missing(format!("{PACKAGE} of {SUITE}: {error:#}")))?;
        }
        let fetched = Self::Fetched(folder);
        if !fetched.has_in_order(deadline) {
            return Err(Failure::Missing(format!(
                "a {PACKAGE} with the property in_order, which {SUITE}'s should have"
            )));
        }
        Ok(fetched)
    }

    fn has_in_order(&self, deadline: Deadline) -> bool {
        let mut help = self.command();
        deadline
            .text_of(help.args(["-device", "virtio-rng-pci,help"]))
            .is_ok_and(|help| help.contains("in_order="))
    }

    /// The beginning of its command line.
    pub(crate) fn command(&self) -> Command {
        let Self::Fetched(folder) = self else {
            return Command::new(QEMU);
        };
        // By the loader and with the libraries that it was built for, of which this system
        // has other versions.
        let mut command = Command::new(folder.join("usr/lib64/ld-linux-x86-64.so.2"));
        let libraries = folder.join("usr/lib/x86_64-linux-gnu");
        command.arg("--library-path").arg(&libraries);
        command.arg(folder.join("usr/bin").join(QEMU));
        for firmware in ["qemu", "seabios"] {
            command
                .arg("-L")
                .arg(folder.join("usr/share").join(firmware));
        }
        // It would look for them beside the loader, or in this system.
        command.env("QEMU_MODULE_DIR", libraries.join("qemu"));
        command
    }
}

fn fetch(cache: &Path, folder: &Path, deadline: Deadline) -> anyhow::Result<()> {
    let work = tempfile::Builder::new()
        .prefix("fetch-")
        .tempdir_in(cache)
        .context("making a folder in the cache")?;
    let suite = Suite::open(SUITE, &work.path().join("apt"), deadline)?;
    let debs = suite.fetch_all(&[PACKAGE], &work.path().join("debs"), deadline)?;
    let tree = work.path().join("tree");
    unpack(&debs, &tree, deadline)?;
    let done = work.path().join("done");
    for part in KEPT {
        let (from, to) = (tree.join(part), done.join(part));
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::rename(&from, &to).with_context(|| format!("{part} of {PACKAGE}"))?;
    }
    fs::rename(&done, folder).context("putting the emulator into the cache")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fetched_one_runs_by_its_own_loader_with_its_own_firmware() {
        let command = Emulator::Fetched(PathBuf::from("/cache")).command();
        assert_eq!(
            command.get_program(),
            "/cache/usr/lib64/ld-linux-x86-64.so.2"
        );
        let arguments: Vec<_> = command.get_args().collect();
        assert_eq!(
            arguments,
            [
                "--library-path",
                "/cache/usr/lib/x86_64-linux-gnu",
                "/cache/usr/bin/qemu-system-x86_64",
                "-L",
                "/cache/usr/share/qemu",
                "-L",
                "/cache/usr/share/seabios",
            ]
        );
        assert_eq!(Emulator::System.command().get_program(), QEMU);
    }
}
