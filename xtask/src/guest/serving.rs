//! Processes that serve a guest's devices over a socket (vhost-user).

use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::anyhow;

use crate::limit::Background;
use crate::steps::Failure;

/// They listen almost at once.
const READY: Duration = Duration::from_secs(30);

/// Starts one, called `name`, and waits until it listens at `socket`.
///
/// # Errors
/// It ends, or does not listen.
pub(super) fn start(
    command: &mut Command,
    name: &str,
    socket: &Path,
) -> Result<Background, Failure> {
    let server = Background::start(command)?;
    let until = Instant::now() + READY;
    while !socket.exists() {
        if server.is_over() || Instant::now() > until {
            return Err(anyhow!("{name} does not listen: see above").into());
        }
        sleep(Duration::from_millis(10));
    }
    Ok(server)
}
