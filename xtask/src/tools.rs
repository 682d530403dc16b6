//! Getting the programs that tests need, through the system's own package
//! sources, rustup and cargo. Nothing is installed that is there already.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::limit::Deadline;
use crate::steps::Failure;

/// Whether `program` can be started.
pub(crate) fn is_there(program: &str) -> bool {
    Command::new("sh")
        .args(["-c", "command -v \"$0\"", program])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// A Debian package and a program it brings.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DebianTool {
    pub(crate) program: &'static str,
    pub(crate) package: &'static str,
}

/// Installs what is missing of `tools`, if we are root on a Debian-like system.
pub(crate) fn debian(tools: &[DebianTool], deadline: Deadline) -> Result<(), Failure> {
    let missing: Vec<&DebianTool> = tools
        .iter()
        .filter(|tool| !is_there(tool.program))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let packages: Vec<&str> = missing.iter().map(|tool| tool.package).collect();
    let ask = format!(
        "install {} (Debian: apt-get install {})",
        packages.join(", "),
        packages.join(" ")
    );
    if !rustix::process::geteuid().is_root() || !is_there("apt-get") {
        return Err(Failure::Missing(ask));
    }
    let apt = |arguments: &[&str]| {
        deadline.run(
            Command::new("apt-get")
                .args(arguments)
                .env("DEBIAN_FRONTEND", "noninteractive"),
        )
    };
    // An old package list is worth a try: only a failure needs a new one.
    let mut install = vec!["install", "-y", "--no-install-recommends"];
    install.extend(&packages);
    if apt(&install).is_err() {
        let updated = apt(&["update"]).and_then(|()| apt(&install));
        updated.map_err(|error| Failure::Missing(format!("{ask}: {error:#}")))?;
    }
    match tools.iter().find(|tool| !is_there(tool.program)) {
        Some(tool) => Err(Failure::Missing(format!(
            "{} is still not there after installing {}",
            tool.program, tool.package
        ))),
        None => Ok(()),
    }
}

/// The toolchain that Miri runs on.
pub(crate) const NIGHTLY: &str = "nightly";

/// Makes sure that Miri is there.
pub(crate) fn miri(deadline: Deadline) -> Result<(), Failure> {
    let works = || {
        let mut version = Command::new("cargo");
        deadline.succeeds(version.args([&format!("+{NIGHTLY}"), "miri", "--version"]))
    };
    if works() {
        return Ok(());
    }
    let ask = "Miri (rustup toolchain install nightly --component miri --component rust-src)";
    if !is_there("rustup") {
        return Err(Failure::Missing(ask.to_owned()));
    }
    let toolchain = [
        "toolchain",
        "install",
        NIGHTLY,
        "--profile",
        "minimal",
        "--component",
        "miri",
        "--component",
        "rust-src",
    ];
    let component = [
        "component",
        "add",
        "--toolchain",
        NIGHTLY,
        "miri",
        "rust-src",
    ];
    // A nightly that is there is good enough; a newer one may not have Miri.
    let added = deadline
        .run(Command::new("rustup").args(component))
        .or_else(|_| deadline.run(Command::new("rustup").args(toolchain)));
    match added {
        Ok(()) if works() => Ok(()),
        Ok(()) => Err(Failure::Missing(ask.to_owned())),
        Err(error) => Err(Failure::Missing(format!("{ask}: {error:#}"))),
    }
}

/// cargo-fuzz.
pub(crate) fn cargo_fuzz(root: &Path, deadline: Deadline) -> Result<PathBuf, Failure> {
    cargo_installed("cargo-fuzz", "0.13.2", root, deadline)
}

/// rust-vmm's vhost-device-vsock, the other side of a guest's vsock device.
pub(crate) fn vhost_device_vsock(root: &Path, deadline: Deadline) -> Result<PathBuf, Failure> {
    cargo_installed("vhost-device-vsock", "0.3.0", root, deadline)
}

/// The program of a published crate, both of that name, built into the target directory if
/// it is nowhere else. Returns the program.
fn cargo_installed(
    name: &str,
    version: &str,
    root: &Path,
    deadline: Deadline,
) -> Result<PathBuf, Failure> {
    if is_there(name) {
        return Ok(PathBuf::from(name));
    }
    let tools = root.join("target/tools");
    let program = tools.join("bin").join(name);
    if !program.exists() {
        let installed = deadline.run(
            Command::new("cargo")
                .args(["install", name, "--version", version, "--locked", "--root"])
                .arg(&tools),
        );
        if let Err(error) = installed {
            return Err(Failure::Missing(format!(
                "{name} (cargo install {name}): {error:#}"
            )));
        }
    }
    Ok(program)
}
