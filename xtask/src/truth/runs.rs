//! What is run in a guest, and what of it is compared.

use std::fs::{self, File};
use std::io::BufReader;
use std::ops::Range;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::json;

use super::capture::Capture;
use super::compare::{Comparison, Use};
use super::disk::DiskCounts;
use super::host::{self, Devices};
use super::log::{self, Logged};
use super::{Asked, p9, tracepoints};
use crate::guest::Guest;

/// What one run may take. Only what hangs takes longer.
const RUN: Duration = Duration::from_secs(900);
const COMMON: &str = include_str!("work/common.sh");

/// Workloads that are traced in one capture, and what must be true of it. One
/// capture for all of them, because an emulated CPU takes long to verify programs.
struct Run {
    name: &'static str,
    options: &'static str,
    scripts: &'static [&'static str],
    /// Whether the buffer is too small on purpose.
    loses: bool,
}

const P9: &str = include_str!("work/9p.sh");
const BLK: &str = include_str!("work/blk.sh");
const NET: &str = include_str!("work/net.sh");
const MIXED: &str = include_str!("work/mixed.sh");

const RUNS: [Run; 2] = [
    Run {
        name: "default",
        options: "",
        scripts: &[P9, BLK, NET, MIXED],
        loses: false,
    },
    Run {
        name: "one-page",
        options: "--buffer-size 4096",
        scripts: &[MIXED],
        loses: true,
    },
];

/// Runs what is asked for in `guest`, turns it off, and compares.
///
/// # Errors
/// A run fails, or something does not agree; every run is looked at before.
pub(super) fn all(
    mut guest: Guest,
    share: &Path,
    about: &str,
    packed: bool,
    asked: &Asked,
) -> anyhow::Result<()> {
    let is_asked = |run: &&Run| {
        asked
            .only
            .as_ref()
            .is_none_or(|only| run.name.contains(only))
    };
    let runs: Vec<&Run> = RUNS.iter().filter(is_asked).collect();
    ensure!(!runs.is_empty(), "no run has that word in its name");
    let mut windows = Vec::new();
    for run in &runs {
        let began = Instant::now();
        let start = guest.log_length()?;
        let script = format!(
            "{COMMON}\ntraced {} '{}' '{}'\n",
            run.name,
            run.options,
            run.scripts.join("\n")
        );
        let said = guest
            .succeed(&script, RUN)
            .with_context(|| format!("{about}, {}", run.name))?;
        windows.push(start..guest.log_length()?);
        let took = began.elapsed().as_secs_f64();
        println!("{about}, {}: {took:.1} s", run.name);
        // The head of its report; what it says of each queue is long.
        for line in said.lines().filter(|line| is_head(line)) {
            println!("  {line}");
        }
    }
    let end = guest.log_length()?;
    let status = Status::ask(&mut guest)?;
    // From here on nothing is compared any more, and the device under test can carry
    // the captures out.
    guest.succeed(
        "cp /tmp/*.pcapng /tmp/*.trace /tmp/*.before /tmp/*.after /share",
        RUN,
    )?;
    let log = guest.power_off()?;
    if let Some(keep) = &asked.keep {
        self::keep(share, &log.path(), &keep.join(about))?;
    }
    let text = fs::read_to_string(log.path()).context("QEMU's log")?;
    // What comes after is how the devices are turned off.
    let text = text
        .get(..usize::try_from(end)?)
        .context("QEMU's log has shrunk")?;
    let events = log::parse(text)?;
    let devices = host::follow(&events)?;
    if !packed {
        // A packed ring's positions are no counts.
        status.agrees(&devices)?;
    }

    let mut wrong = Vec::new();
    for (run, window) in runs.iter().zip(windows) {
        let about = format!("{about}, {}", run.name);
        match run.check(share, &events, &devices, window) {
            Ok(agreed) => println!("{about}: {agreed}"),
            Err(error) => {
                println!("{about}: {error:#}");
                wrong.push(format!("{about}: {error:#}"));
            }
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// Whether a line of a report is about the capture as a whole.
fn is_head(line: &str) -> bool {
    let words = ["Requests ", "Seen ", "Lost ", "Missed ", "Tracing"];
    words.iter().any(|word| line.starts_with(word))
}

/// Where QEMU itself says that its split queues stand: the log must lead there, or it
/// was misread.
struct Status(Vec<(usize, u16, u64, u64)>);

/// Names of QEMU's devices, in the order in which the guest has them.
const DEVICES: [&str; 3] = ["virtio-9p", "virtio-blk", "virtio-net"];

impl Status {
    fn ask(guest: &mut Guest) -> anyhow::Result<Self> {
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

    fn agrees(&self, devices: &Devices) -> anyhow::Result<()> {
        for (device, index, popped, filled) in &self.0 {
            let queues = devices.get(*device).context("a device without a log")?;
            let (pops, fills) = queues
                .get(index)
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

/// Copies captures, and whatever else there is about them, into a folder.
fn keep(share: &Path, log: &Path, into: &Path) -> anyhow::Result<()> {
    let copy = |from: &Path, name: &std::ffi::OsStr| {
        let to = into.join(name);
        fs::copy(from, &to).with_context(|| format!("writing {}", to.display()))
    };
    fs::create_dir_all(into).with_context(|| format!("making {}", into.display()))?;
    for entry in fs::read_dir(share).context("reading the guest's /share")? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            copy(&entry.path(), &entry.file_name())?;
        }
    }
    copy(log, "qemu.log".as_ref())?;
    Ok(())
}

impl Run {
    /// Compares everything; returns what was compared.
    fn check(
        &self,
        share: &Path,
        events: &[Logged],
        devices: &Devices,
        window: Range<u64>,
    ) -> anyhow::Result<String> {
        let file = |kind: &str| share.join(format!("{}.{kind}", self.name));
        let text = |kind: &str| {
            fs::read_to_string(file(kind)).context(format!("{}", file(kind).display()))
        };
        let capture = File::open(file("pcapng")).context("the capture")?;
        let capture = Capture::read(BufReader::new(capture))?;
        self.account(&capture)?;
        if self.loses {
            return Ok(format!("{:?}, all accounted for", capture.totals));
        }

        // Each of them is looked at, whatever the others say.
        let queues = queues(&capture, devices, &window);
        let messages = messages(&capture, &text("trace")?, events, &window);
        let disk = disk(&capture, &text("before")?, &text("after")?);
        let mut agreed = Vec::new();
        let mut wrong = Vec::new();
        for result in [queues, messages, disk] {
            match result {
                Ok(said) => agreed.push(said),
                Err(error) => wrong.push(format!("{error:#}")),
            }
        }
        ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
        Ok(agreed.join("; "))
    }

    /// *emitted = stored + lost + filtered*, from three independent counts.
    fn account(&self, capture: &Capture) -> anyhow::Result<()> {
        let totals = capture.totals;
        ensure!(
            capture.inconsistencies.is_empty(),
            "{}",
            capture.inconsistencies
        );
        ensure!(capture.tail_known, "the tail of a producer is not known");
        ensure!(totals.stored > 0, "nothing was traced");
        ensure!(
            totals.emitted == totals.stored + totals.lost + totals.filtered,
            "{totals:?} do not add up"
        );
        ensure!(
            (totals.lost > 0) == self.loses,
            "{} of {} records were lost",
            totals.lost,
            totals.emitted
        );
        Ok(())
    }
}

/// Compares 9P messages with the kernel's tracepoints and with QEMU's log.
fn messages(
    capture: &Capture,
    trace: &str,
    events: &[Logged],
    window: &Range<u64>,
) -> anyhow::Result<String> {
    let traced = tracepoints::parse(trace)?;
    let (id, queue) = capture
        .of_driver("9pnet_virtio")
        .next()
        .context("no 9P queue in the capture")?;
    let compared = p9::compare(queue, &traced, events, window).context(id)?;
    Ok(format!(
        "{} 9P messages as the kernel traced them, {} as QEMU did",
        compared.traced, compared.logged
    ))
}

/// Compares the disk's requests with the block layer's counts.
fn disk(capture: &Capture, before: &str, after: &str) -> anyhow::Result<String> {
    let counted = DiskCounts::parse(after)? - DiskCounts::parse(before)?;
    let ours = DiskCounts::of(capture.of_driver("virtio_blk").map(|(_, queue)| queue))?;
    ensure!(
        ours == counted,
        "the disk: the block layer counted {counted:?}, the capture has {ours:?}"
    );
    let requests = counted.reads + counted.writes + counted.flushes;
    ensure!(requests > 0, "nothing was asked of the disk");
    Ok(format!(
        "{requests} requests to the disk as the block layer counted them"
    ))
}

/// Compares every queue of every device with QEMU's.
fn queues(capture: &Capture, devices: &Devices, window: &Range<u64>) -> anyhow::Result<String> {
    let nothing = host::HostQueue::default();
    let mut sum = super::compare::Compared::default();
    let mut wrong = Vec::new();
    for (id, guest) in &capture.queues {
        let device = devices
            .get(usize::from(id.device))
            .with_context(|| format!("{id}: QEMU has {} devices", devices.len()))?;
        let comparison = Comparison {
            guest,
            host: device.get(&id.index).unwrap_or(&nothing),
            window: window.clone(),
            usage: Use::of(guest.driver(), id.index),
            notifications: true,
        };
        match comparison.run() {
            Ok(compared) => {
                sum.adds += compared.adds;
                sum.used += compared.used;
                sum.notifications += compared.notifications;
                sum.missed += compared.missed;
            }
            Err(error) => wrong.push(format!("{} ({id}): {error:#}", guest.name)),
        }
    }
    for (device, queues) in devices.iter().enumerate() {
        for (index, queue) in queues {
            let (before, after) = (queue.before(window.start), queue.before(window.end));
            let is_there = capture
                .queues
                .keys()
                .any(|id| usize::from(id.device) == device && id.index == *index);
            if before != after && !is_there {
                wrong.push(format!(
                    "virtio{device}.{index} was used and is in no record"
                ));
            }
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(format!(
        "{} adds, {} used and {} notifications as QEMU saw them, {} counted as missed",
        sum.adds, sum.used, sum.notifications, sum.missed
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workload_can_stand_in_single_quotes() {
        for run in &RUNS {
            for script in run.scripts {
                assert!(!script.contains('\''), "{}", run.name);
            }
        }
    }
}
