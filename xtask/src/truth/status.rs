//! Where QEMU itself says that its queues stand.

use anyhow::{Context, ensure};
use serde_json::json;

use super::host::Devices;
use crate::guest::Guest;

/// Where QEMU itself says that its split queues stand: the log must lead there, or it
/// was misread.
pub(super) struct Status(Vec<(usize, u16, u64, u64)>);

/// Names of QEMU's devices, in the order in which the guest has them.
const DEVICES: [&str; 3] = ["virtio-9p", "virtio-blk", "virtio-net"];

impl Status {
    pub(super) fn ask(guest: &mut Guest) -> anyhow::Result<Self> {
        let mut queues = Vec::new();
        let list = guest.qmp("x-query-virtio", &json!({}))?;
        let list = list
            .as_array()
            .context("no list of virtio devices")?
            .clone();
        ensure!(
            list.len() == DEVICES.len(),
            "QEMU has {} devices",
            list.len()
        );
        for about in list {
            let place = DEVICES.iter().position(|name| about["name"] == *name);
            let place = place.with_context(|| format!("a device that is not known: {about}"))?;
            // What the guest uses of the three: requests; requests of either CPU; both
            // directions and control.
            for index in 0..[1, 2, 3][place] {
                let which = json!({ "path": about["path"], "queue": index });
                let status = guest.qmp("x-query-virtio-queue-status", &which)?;
                let number = |key: &str| {
                    let number = status[key].as_u64();
                    number.with_context(|| format!("no {key} in {status}"))
                };
                queues.push((place, index, number("last-avail-idx")?, number("used-idx")?));
            }
        }
        Ok(Self(queues))
    }

    pub(super) fn agrees(&self, devices: &Devices) -> anyhow::Result<()> {
        for (device, index, popped, filled) in &self.0 {
            let lives = devices.get(*device).context("a device without a log")?;
            let (pops, fills) = lives
                .last()
                .and_then(|queues| queues.get(index))
                .map_or((0, 0), |queue| (queue.pops.len(), queue.fills.len()));
            let counted = ((pops % 65_536) as u64, (fills % 65_536) as u64);
            ensure!(
                counted == (*popped, *filled),
                "virtio{device}.{index}: QEMU stands at {popped} and {filled}, and its log leads \
                 to {counted:?}"
            );
        }
        Ok(())
    }
}
