//! Our programs as guests run them: statically linked against musl.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

use crate::limit::Deadline;
use crate::steps::Failure;
use crate::tools::is_there;

const TARGET: &str = "x86_64-unknown-linux-musl";

/// How it is built.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Profile {
    /// Optimised, because emulation is slow; without what takes long to build.
    Guest,
    /// As it is for users.
    Release,
}

impl Profile {
    const fn name(self) -> &'static str {
        match self {
            Self::Guest => "guest",
            Self::Release => "release",
        }
    }
}

/// Builds it.
pub(crate) fn build(root: &Path, profile: Profile, deadline: Deadline) -> Result<PathBuf, Failure> {
    target(deadline)?;
    let folder = root.join("target");
    let mut cargo = Command::new("cargo");
    cargo
        .args(["build", "--locked", "--package", "virtscope"])
        .args(["--target", TARGET, "--profile", profile.name()])
        .arg("--target-dir")
        .arg(&folder)
        .current_dir(root);
    deadline.run(&mut cargo)?;
    Ok(folder.join(TARGET).join(profile.name()).join("virtscope"))
}

/// Builds the one that talks over vsock.
///
/// # Errors
/// It can't be built here.
pub(crate) fn vsock(root: &Path, deadline: Deadline) -> Result<PathBuf, Failure> {
    target(deadline)?;
    let folder = root.join("target").join(TARGET);
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let program = folder.join("vsock");
    let mut rustc = Command::new("rustc");
    rustc
        .args(["--edition", "2024", "--target", TARGET])
        .args(["-C", "opt-level=2", "-C", "strip=debuginfo", "-o"])
        .args([&program, &root.join("xtask/examples/vsock.rs")]);
    deadline.run(&mut rustc)?;
    Ok(program)
}

/// Makes sure that there is a standard library for it.
fn target(deadline: Deadline) -> Result<(), Failure> {
    let is_there_now = || {
        let mut rustc = Command::new("rustc");
        rustc.args(["--print", "target-libdir", "--target", TARGET]);
        deadline
            .text_of(&mut rustc)
            .is_ok_and(|folder| Path::new(folder.trim()).exists())
    };
    if is_there_now() {
        return Ok(());
    }
    let ask = format!("the standard library of {TARGET} (rustup target add {TARGET})");
    if !is_there("rustup") {
        return Err(Failure::Missing(ask));
    }
    match deadline.run(Command::new("rustup").args(["target", "add", TARGET])) {
        Ok(()) if is_there_now() => Ok(()),
        Ok(()) => Err(Failure::Missing(ask)),
        Err(error) => Err(Failure::Missing(format!("{ask}: {error:#}"))),
    }
}
