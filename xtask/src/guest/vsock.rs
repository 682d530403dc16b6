//! The process that serves a guest's virtio-vsock device: it takes each of the guest's
//! connections to a Unix socket of the host.

use std::path::PathBuf;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::machine::Files;
use crate::limit::{Background, Deadline};
use crate::steps::Failure;
use crate::test::root;
use crate::tools::vhost_device_vsock;

/// It listens almost at once.
const READY: Duration = Duration::from_secs(30);
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
    let server = Background::start(&mut command)?;
    let until = Instant::now() + READY;
    while !files.vsock().exists() {
        if server.is_over() || Instant::now() > until {
            return Err(anyhow::anyhow!("vhost-device-vsock does not listen: see above").into());
        }
        sleep(Duration::from_millis(10));
    }
    Ok(server)
}
