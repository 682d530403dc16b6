//! That kernels boot, run what they are told and are seen by QEMU's log.

use std::time::Duration;

use anyhow::ensure;
use serde_json::json;

use super::{Kernel, Machine, QUEUE_EVENTS, prepare};
use crate::limit::Deadline;
use crate::steps::Failure;

/// What a script in a guest may take. Only what hangs takes longer.
const SCRIPT: Duration = Duration::from_secs(240);

/// Boots `kernel` with each layout and checks what it does. Returns a note if
/// Debian's suite has moved on to another version.
pub(crate) fn boots(kernel: Kernel, deadline: Deadline) -> Result<Option<String>, Failure> {
    let place = prepare(deadline)?;
    let mut moved = None;
    for packed in [false, true] {
        let share = place.share()?;
        let machine = Machine {
            kernel,
            packed,
            events: QUEUE_EVENTS
                .iter()
                .map(|event| (*event).to_owned())
                .collect(),
            ..Machine::default()
        };
        let mut guest = place.boot(&machine, share.path(), &[], deadline)?;
        if !guest.release.starts_with(&format!("{}.", kernel.version())) {
            moved = Some(format!(
                "Debian's {} has moved on from {} to {}",
                kernel.suite(),
                kernel.version(),
                guest.release
            ));
        }
        let release = guest.succeed("uname -r > /share/release; uname -r", SCRIPT)?;
        let written =
            std::fs::read_to_string(share.path().join("release")).map_err(anyhow::Error::from)?;
        if release != written || release.trim() != guest.release {
            return Err(anyhow::anyhow!("{release:?}, {written:?}: not {}", guest.release).into());
        }
        let before = guest.log_length()?;
        guest.succeed("ping -c 1 10.0.2.2", SCRIPT)?;
        let status = guest.qmp("query-status", &json!({}))?;
        let grown = guest.log_length()? - before;
        guest.power_off()?;
        check(&status, grown)?;
    }
    Ok(moved)
}

fn check(status: &serde_json::Value, grown: u64) -> anyhow::Result<()> {
    ensure!(status["running"] == true, "QEMU says {status}");
    ensure!(grown > 0, "QEMU's log has nothing of a ping");
    Ok(())
}
