//! The process that serves a guest's virtio-vsock device: it takes each of the guest's
//! connections to a Unix socket of the host.

use std::path::PathBuf;
use std::process::Command;

use super::machine::Files;
use super::serving;
use crate::limit::{Background, Deadline};
use crate::steps::Failure;
use crate::test::root;
use crate::tools::vhost_device_vsock;

/// The guest's address, which is any but those of the two that every host has.
pub(crate) const GUEST: u64 = 3;

/// Starts it, and waits until it listens.
///
/// # Errors
/// It is missing here, or ends.
pub(crate) fn start(files: &Files<'_>, deadline: Deadline) -> Result<Background, Failure> {
    let program: PathBuf = vhost_device_vsock(&root()?, deadline)?;
    let mut command = Command::new(program);
    command
        .arg(format!("--guest-cid={GUEST}"))
        .arg(format!("--socket={}", files.vsock().display()))
        .arg(format!("--uds-path={}", files.ports().display()));
    serving::start(&mut command, "vhost-device-vsock", &files.vsock())
}
