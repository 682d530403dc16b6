//! The process that serves a guest's virtio-fs device.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

use super::machine::Files;
use super::serving;
use crate::limit::{Background, Deadline};
use crate::steps::Failure;
use crate::tools::{DebianTool, debian};

/// Where Debian's packages have it: first as a package of its own, then QEMU's.
const PLACES: [&str; 2] = ["/usr/libexec/virtiofsd", "/usr/lib/qemu/virtiofsd"];

/// Starts it for the folder that `files` has for it, and waits until it listens.
///
/// # Errors
/// It is missing here, or ends.
pub(crate) fn start(files: &Files<'_>, deadline: Deadline) -> Result<Background, Failure> {
    let program = program(deadline)?;
    let served = files.served();
    fs::create_dir_all(&served).with_context(|| format!("making {}", served.display()))?;
    let mut command = Command::new(&program);
    command.arg(format!("--socket-path={}", files.fs().display()));
    if program == Path::new(PLACES[0]) {
        command
            .args(["--sandbox", "chroot", "--shared-dir"])
            .arg(&served);
    } else {
        let source = format!("source={}", served.display());
        command.args(["-f", "-o", "sandbox=chroot,log_level=warn", "-o", &source]);
    }
    serving::start(&mut command, "virtiofsd", &files.fs())
}

fn program(deadline: Deadline) -> Result<PathBuf, Failure> {
    let there = || {
        PLACES
            .map(PathBuf::from)
            .into_iter()
            .find(|path| path.exists())
    };
    if let Some(program) = there() {
        return Ok(program);
    }
    // Of one suite it is a part of QEMU, of the next a package of its own.
    debian(
        &[DebianTool {
            program: PLACES[0],
            package: "virtiofsd",
        }],
        deadline,
    )?;
    there().ok_or_else(|| Failure::Missing("virtiofsd".to_owned()))
}
