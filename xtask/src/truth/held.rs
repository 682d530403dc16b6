//! `virtscope inspect` of a disk whose requests the device holds, against what QEMU
//! says of the same queues.

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use super::runs::RUN;
use crate::guest::Guest;

/// Requests that are made at once; the first goes through.
const REQUESTS: usize = 9;
/// The disk's place among QEMU's devices, and how many queues it has: one a CPU.
const DISK: &str = "virtio-blk";
const QUEUES: usize = 2;

/// What of a queue both sides know.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Seen {
    size: u64,
    /// The areas, as the device was told them.
    descriptors: u64,
    driver: u64,
    device: u64,
    /// Split: the used index. Packed: where the next used buffer goes.
    used: u64,
    in_flight: u64,
}

/// Has the disk hold requests, compares, and lets them go. Returns what was compared.
pub(super) fn check(guest: &mut Guest, packed: bool) -> anyhow::Result<String> {
    throttle(guest, 1)?;
    // Spread over the CPUs, so that either queue has some.
    guest.succeed(
        &format!(
            "for at in $(seq {REQUESTS}); do\n\
                 taskset $((1 + at % 2)) dd if=/dev/vda of=/dev/null bs=4k count=1 skip=$at \
                     iflag=direct 2> /dev/null &\n\
             done\n\
             for _ in $(seq 200); do\n\
                 [ \"$(awk '{{ print $9 }}' /sys/block/vda/stat)\" -ge {} ] && exit\n\
                 usleep 50000\n\
             done\n\
             echo 'the disk holds nothing'; cat /sys/block/vda/stat; exit 1",
            REQUESTS - 1
        ),
        RUN,
    )?;
    let said = guest.succeed("sleep 1; virtscope inspect -d virtio1 --json", RUN)?;
    let ours = ours(&said, packed)?;
    let theirs = theirs(guest)?;
    throttle(guest, 0)?;
    guest.succeed(
        "while [ \"$(awk '{ print $9 }' /sys/block/vda/stat)\" != 0 ]; do usleep 50000; done",
        RUN,
    )?;
    ensure!(
        ours == theirs,
        "of queues whose requests the device holds it says\n{ours:x?}, and QEMU\n{theirs:x?}"
    );
    let held: Vec<u64> = ours.iter().map(|queue| queue.in_flight).collect();
    ensure!(
        held.iter().sum::<u64>() >= REQUESTS as u64 - 1,
        "{held:?} requests are held"
    );
    Ok(format!(
        "virtscope inspect of a disk that holds {held:?} requests: size, addresses, used index \
         and number in flight as QEMU says"
    ))
}

/// Limits the disk to so many bytes a second; 0: no limit.
fn throttle(guest: &mut Guest, bytes: u64) -> anyhow::Result<()> {
    let limit = json!({
        "device": "vda", "bps": bytes, "bps_rd": 0, "bps_wr": 0,
        "iops": 0, "iops_rd": 0, "iops_wr": 0,
    });
    guest.qmp("block_set_io_throttle", &limit)?;
    Ok(())
}

fn number(value: &Value, path: &str) -> anyhow::Result<u64> {
    value
        .pointer(path)
        .and_then(Value::as_u64)
        .with_context(|| format!("no {path} in {value}"))
}

/// What `inspect --json` says.
fn ours(text: &str, packed: bool) -> anyhow::Result<Vec<Seen>> {
    let all: Value = serde_json::from_str(text).with_context(|| format!("inspect says {text}"))?;
    let queues = all["queues"].as_array().context("no queues")?;
    ensure!(queues.len() == QUEUES, "{} queues", queues.len());
    queues
        .iter()
        .map(|ring| {
            let used = if packed {
                "/ring/next_used"
            } else {
                "/ring/used_idx"
            };
            Ok(Seen {
                size: number(ring, "/queue/size")?,
                descriptors: number(ring, "/queue/areas/descriptors/device")?,
                driver: number(ring, "/queue/areas/driver/device")?,
                device: number(ring, "/queue/areas/device/device")?,
                used: number(ring, used)?,
                in_flight: ring["in_flight"].as_array().context("no buffers")?.len() as u64,
            })
        })
        .collect()
}

/// What QEMU says.
fn theirs(guest: &mut Guest) -> anyhow::Result<Vec<Seen>> {
    let devices = guest.qmp("x-query-virtio", &json!({}))?;
    let disk = devices
        .as_array()
        .and_then(|devices| devices.iter().find(|device| device["name"] == DISK))
        .context("QEMU has no such disk")?;
    let path = disk["path"].clone();
    let mut queues = Vec::new();
    for index in 0..QUEUES {
        let which = json!({ "path": path, "queue": index });
        let status = guest.qmp("x-query-virtio-queue-status", &which)?;
        queues.push(Seen {
            size: number(&status, "/vring-num")?,
            descriptors: number(&status, "/vring-desc")?,
            driver: number(&status, "/vring-avail")?,
            device: number(&status, "/vring-used")?,
            used: number(&status, "/used-idx")?,
            in_flight: number(&status, "/inuse")?,
        });
    }
    Ok(queues)
}
