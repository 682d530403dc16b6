//! Every other virtio device that can be had here, each with a small load, in one guest:
//! those that QEMU serves against its log, and those that other processes serve against
//! where their rings stand.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use virtscope_record::{Layout, QueueId};

use super::capture::{Capture, GuestQueue};
use super::check::{Skips, Witnesses};
use super::hooked::{self, Paired};
use super::runs::{COMMON, RUN, keep};
use super::{Asked, host, log, vsock};
use crate::guest::{Device, Guest, Kernel, Machine, Place, QUEUE_EVENTS, vsock_program};
use crate::limit::Deadline;
use crate::steps::Failure;
use crate::test::root;

/// Which are there: virtio0, virtio1, … in this order.
const DEVICES: [Device; 8] = [
    Device::P9,
    Device::Console,
    Device::Rng,
    Device::Balloon,
    Device::Scsi,
    Device::Input,
    Device::Fs,
    Device::Vsock,
];

/// What each device's queues are: its driver, and its queues' names. What is used of
/// them must have records; the others are there all the same.
const QUEUES: [(&str, &[(&str, Used)]); 8] = [
    ("9pnet_virtio", &[("requests", Used::Any)]),
    (
        "virtio_console",
        &[
            ("input", Used::Yes),
            ("output", Used::Yes),
            ("control-i", Used::Any),
            ("control-o", Used::Any),
        ],
    ),
    ("virtio_rng", &[("input", Used::Yes)]),
    (
        "virtio_balloon",
        &[
            ("inflate", Used::Yes),
            ("deflate", Used::Yes),
            ("stats", Used::Any),
        ],
    ),
    (
        "virtio_scsi",
        &[
            ("control", Used::Any),
            ("event", Used::Any),
            ("request", Used::Yes),
            ("request", Used::Yes),
        ],
    ),
    (
        "virtio_input",
        &[("events", Used::Yes), ("status", Used::Any)],
    ),
    (
        "virtiofs",
        &[("hiprio", Used::Any), ("requests.0", Used::Yes)],
    ),
    (
        "vmw_vsock_virtio_transport",
        &[("rx", Used::Yes), ("tx", Used::Yes), ("event", Used::Any)],
    ),
];

const CONSOLE: u16 = 1;
/// The devices that no QEMU log tells of.
const ELSEWHERE: [u16; 2] = [6, VSOCK];
const VSOCK: u16 = 7;

/// Whether a queue's load is a part of what is run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Used {
    Yes,
    Any,
}

const LOAD: &str = include_str!("work/devices.sh");
/// Requests to the disk while `stat` runs: twice what `reads` does.
const READS: u64 = 40;
/// One line a queue and second, from a moment on when nothing happens.
const STAT: &str = "\
    begin stat virtscope stat 1 6
    until grep -q /request /tmp/stat.said || [ -e /tmp/stat.status ]; do usleep 50000; done
    reads sda
    reads sda
    ended stat > /dev/null
    grep -qx 0 /tmp/stat.status || { cat /tmp/stat.errors; exit 1; }
    unhooked
    cat /tmp/stat.said";
/// What the host says on the console.
const WORDS: &[u8] = b"a line from the host\n";
/// The guest's memory in MiB, and what of it is left while the balloon is full.
const MEMORY: u64 = 512;
const LESS: u64 = 480;

/// Boots one guest with all of them, and holds what is traced against the others.
pub(super) fn check(
    place: &Place,
    kernel: Kernel,
    packed: bool,
    asked: &Asked,
    deadline: Deadline,
) -> Result<(), Failure> {
    let share = place.share()?;
    let machine = Machine {
        kernel,
        packed,
        cpus: 2,
        memory: MEMORY as u32,
        // Each notification by itself, so that they can be counted.
        ioeventfd: false,
        devices: DEVICES.to_vec(),
        events: QUEUE_EVENTS.iter().map(ToString::to_string).collect(),
        ..Machine::default()
    };
    let programs = [vsock_program(&root()?, deadline)?];
    let mut guest = place.boot(&machine, share.path(), &programs, deadline)?;
    let layout = if packed { "packed" } else { "split" };
    let about = format!("{}-{layout}, every device", kernel.version());
    let paired = script(&mut guest, hooked::ASK)
        .and_then(|said| Paired::of(kernel, &said))
        .with_context(|| about.clone())?;
    let said = run(&mut guest).with_context(|| about.clone())?;
    let counted = stat(&mut guest);
    let Run {
        window,
        before,
        after,
        listed,
        spoken,
    } = said;
    let log = guest.power_off()?;
    if let Some(folder) = &asked.keep {
        let name = format!("{}-{layout}-devices", kernel.version());
        keep(share.path(), &log.path(), &folder.join(name))?;
    }
    let text = fs::read_to_string(log.path()).context("QEMU's log")?;
    let text = text
        .get(..usize::try_from(window.end).context("a long log")?)
        .context("QEMU's log has shrunk")?;
    let events = log::parse(text)?;
    let devices = host::follow(&events, window.start)?;
    let witnesses = Witnesses {
        share: share.path(),
        events: &events,
        devices: &devices,
        window,
        elsewhere: &ELSEWHERE,
        paired: &paired,
        in_order: false,
        skips: Skips::Counted,
    };
    let capture = witnesses.read("first")?;
    super::check::account(&capture, super::check::Room::Enough)?;
    let mut agreed = vec![witnesses.queues(&capture).context(about.clone())?];
    agreed.push(facts(&listed, &capture).with_context(|| about.clone())?);
    agreed.push(positions(&before, &after, &capture).with_context(|| about.clone())?);
    agreed.push(vsock::headers(&capture, VSOCK, spoken).with_context(|| about.clone())?);
    agreed.push(counted.with_context(|| about.clone())?);
    for said in agreed {
        println!("{about}: {said}");
    }
    Ok(())
}

/// What was seen from the outside of one run.
struct Run {
    /// The part of QEMU's log in which it was traced.
    window: std::ops::Range<u64>,
    /// `inspect --json`, before and after.
    before: Value,
    after: Value,
    /// `list --json`.
    listed: Value,
    /// Bytes over vsock, each way.
    spoken: u64,
}

fn script(guest: &mut Guest, script: &str) -> anyhow::Result<String> {
    guest.succeed(&format!("{COMMON}\n{script}"), RUN)
}

fn json_of(guest: &mut Guest, command: &str) -> anyhow::Result<Value> {
    let text = script(guest, command)?;
    serde_json::from_str(&text).with_context(|| format!("{command} says {text}"))
}

fn run(guest: &mut Guest) -> anyhow::Result<Run> {
    // The kernel reads random numbers whenever it likes, unless nobody has any. A console
    // that nobody has open forgets how it was set.
    script(
        guest,
        "echo none > /sys/class/misc/hw_random/rng_current || exit
         sh -c 'stty raw -echo && : > /tmp/held && exec sleep 99999' \\
             <> /dev/hvc0 > /dev/null 2>&1 &
         until [ -e /tmp/held ]; do usleep 20000; done
         mkdir /tmp/fs && mount -t virtiofs fs /tmp/fs || exit
         cp /init /tmp/fs/init
         sleep 1",
    )?;
    let listed = json_of(guest, "virtscope list --json")?;
    let before = json_of(guest, "virtscope inspect --json")?;
    let start = guest.log_length()?;
    script(
        guest,
        "begin first virtscope trace -w /tmp/first.pcapng
         attached first",
    )?;
    script(guest, LOAD)?;
    let spoken = vsock::talk(guest).context("vsock")?;
    hear(guest).context("the console")?;
    squeeze(guest, LESS).context("the balloon")?;
    squeeze(guest, MEMORY).context("the balloon")?;
    press(guest).context("the keyboard")?;
    script(
        guest,
        "sleep 2
         kill -INT $(cat /tmp/first.pid) && ended first > /dev/null
         grep -qx 0 /tmp/first.status || { cat /tmp/first.errors; exit 1; }
         unhooked",
    )?;
    let after = json_of(guest, "virtscope inspect --json")?;
    let end = guest.log_length()?;
    // Nothing is compared any more, and the devices can carry it out.
    script(guest, "cp /tmp/first.pcapng /share")?;
    Ok(Run {
        window: start..end,
        before,
        after,
        listed,
        spoken,
    })
}

/// `stat` counts the SCSI disk's requests, line by line, as its rings do.
fn stat(guest: &mut Guest) -> anyhow::Result<String> {
    let before = json_of(guest, "virtscope inspect --json")?;
    let said = script(guest, STAT).context("stat")?;
    let after = json_of(guest, "virtscope inspect --json")?;
    let disk = DEVICES.iter().position(|device| *device == Device::Scsi);
    let disk = disk.context("no SCSI disk")? as u16;
    let (mut lines, mut adds, mut used) = (0, 0, 0);
    for line in said.lines() {
        let words: Vec<_> = line.split_whitespace().collect();
        let [_, queue, added, _, _, _, back, ..] = words.as_slice() else {
            continue;
        };
        if queue.starts_with(&format!("virtio{disk}/")) {
            let count = |word: &str| word.parse::<u64>().with_context(|| line.to_owned());
            (lines, adds, used) = (lines + 1, adds + count(added)?, used + count(back)?);
        }
    }
    let (before, after) = (rings(&before)?, rings(&after)?);
    let mut moved = 0;
    for (id, after) in after.iter().filter(|(id, _)| id.device == disk) {
        let before = before.get(id).context("a new queue")?;
        // Of a packed ring no index says how many buffers there were.
        let index = |all: &Value| all["ring"]["avail_idx"].as_u64();
        if let (Some(after), Some(before)) = (index(after), index(before)) {
            moved += after.wrapping_sub(before) & 0xffff;
        }
    }
    ensure!(
        (adds, used) == (READS, READS) && [0, READS].contains(&moved),
        "stat counts {adds} adds and {used} used of {READS}, and the rings {moved}:\n{said}"
    );
    Ok(format!(
        "stat's {lines} lines of the SCSI disk add up to its {READS} requests"
    ))
}

/// The console, both ways: what the host says the guest hears, and the other way round.
fn hear(guest: &mut Guest) -> anyhow::Result<()> {
    let mut host = guest.hvc0()?;
    host.set_read_timeout(Some(RUN))?;
    script(guest, "(head -c 21 /dev/hvc0 > /tmp/heard) &")?;
    host.write_all(WORDS)?;
    let said = script(
        guest,
        "for _ in $(seq 200); do
             [ \"$(wc -c < /tmp/heard)\" = 21 ] && break
             usleep 50000
         done
         cat /tmp/heard
         echo 'and back' > /dev/hvc0",
    )?;
    ensure!(
        said.as_bytes() == WORDS,
        "the guest heard {said:?} of what the host said"
    );
    let mut heard = [0; 9];
    host.read_exact(&mut heard).context("hearing the guest")?;
    ensure!(&heard == b"and back\n", "the host heard {heard:?}");
    Ok(())
}

/// Has the balloon leave so many MiB to the guest, and waits until it does.
fn squeeze(guest: &mut Guest, left: u64) -> anyhow::Result<()> {
    guest.qmp("balloon", &json!({ "value": left << 20 }))?;
    let until = Instant::now() + RUN;
    loop {
        let now = guest.qmp("query-balloon", &json!({}))?;
        if now["actual"].as_u64() == Some(left << 20) {
            return Ok(());
        }
        ensure!(Instant::now() < until, "it stands at {now}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Presses some keys, and waits until the guest has seen them all.
fn press(guest: &mut Guest) -> anyhow::Result<()> {
    const KEYS: [&str; 3] = ["v", "i", "o"];
    for key in KEYS {
        for down in [true, false] {
            let event = json!({ "events": [{
                "type": "key",
                "data": { "down": down, "key": { "type": "qcode", "data": key } },
            }]});
            guest.qmp("input-send-event", &event)?;
        }
    }
    Ok(())
}

/// The queues of `list` and `inspect`, by id, with what they are in JSON.
fn queues(all: &Value) -> anyhow::Result<BTreeMap<QueueId, (&Value, &Value)>> {
    let mut found = BTreeMap::new();
    for device in all["devices"].as_array().context("no devices")? {
        let number = device["index"].as_u64().context("a device's number")?;
        for queue in device["queues"].as_array().context("no queues")? {
            let index = queue["index"].as_u64().context("a queue's number")?;
            found.insert(QueueId::new(number as u16, index as u16), (device, queue));
        }
    }
    Ok(found)
}

/// `list` shows every queue as it is meant to be, and the capture says the same of each.
fn facts(listed: &Value, capture: &Capture) -> anyhow::Result<String> {
    let listed = queues(listed)?;
    let mut used = 0;
    let mut expected = 0;
    for (device, (driver, names)) in (0_u16..).zip(QUEUES) {
        for (index, (name, usage)) in (0_u16..).zip(names) {
            expected += 1;
            let id = QueueId::new(device, index);
            let (device, queue) = listed.get(&id).with_context(|| format!("no {id}"))?;
            let said = queue["name"].as_str().unwrap_or_default();
            // Their driver numbers some of them.
            ensure!(
                device["driver"] == driver && said.starts_with(name),
                "{id} should be {driver}'s {name}, and is {} of {}",
                queue["name"],
                device["driver"]
            );
            let traced = capture.queues.get(&(id, 0));
            let Some(traced) = traced else {
                ensure!(
                    *usage == Used::Any,
                    "{id}, {name} of {driver}, is in no record"
                );
                continue;
            };
            let facts = traced.facts.context("no facts")?;
            let packed = matches!(facts.layout, Layout::Packed);
            ensure!(
                traced.driver() == driver
                    && traced.name.ends_with(said)
                    && Some(u64::from(facts.size)) == queue["size"].as_u64()
                    && packed
                        == queue["layout"]
                            .as_str()
                            .is_some_and(|layout| layout == "packed"),
                "{id} is {queue} in the list, and in the capture {} of {}, {facts:?}",
                traced.name,
                traced.driver()
            );
            let seen = (traced.adds_seen().count(), traced.used_seen().count());
            ensure!(
                *usage == Used::Any || (seen.0 > 0 && seen.1 > 0),
                "{id}, {name} of {driver}: {} adds and {} used",
                seen.0,
                seen.1
            );
            used += usize::from(seen.0 + seen.1 > 0);
        }
    }
    // A console has queues for 31 ports, of which one is there.
    let more = listed.keys().filter(|id| id.device != CONSOLE).count();
    let named = expected - QUEUES[usize::from(CONSOLE)].1.len();
    ensure!(
        more == named,
        "{more} queues are listed beside the console's, and there are {named}"
    );
    Ok(format!(
        "{expected} queues of {} drivers listed with name and size, and the same in the capture; \
         {used} of them used",
        QUEUES.len()
    ))
}

/// Each queue's ring has gone on by as much as the capture says, with what it counts as
/// missed.
fn positions(before: &Value, after: &Value, capture: &Capture) -> anyhow::Result<String> {
    let (before, after) = (rings(before)?, rings(after)?);
    let nothing = GuestQueue::default();
    let mut elsewhere = (0, 0);
    for (id, after) in &after {
        let before = before.get(id).context("a new queue")?;
        let traced = capture.queues.get(&(*id, 0)).unwrap_or(&nothing);
        let adds = traced.adds_seen().count() as u64 + traced.missed_adds();
        let used = traced.used_seen().count() as u64 + traced.missed_used();
        if ELSEWHERE.contains(&id.device) {
            elsewhere = (elsewhere.0 + adds, elsewhere.1 + used);
        }
        moved_with(before, after, traced, (adds, used)).with_context(|| {
            format!("{id}, of which the capture has {adds} adds and {used} used")
        })?;
    }
    Ok(format!(
        "{} queues whose rings have moved by as much as the capture says, {} adds and {} used \
         of virtiofsd's and vhost-device-vsock's among them",
        after.len(),
        elsewhere.0,
        elsewhere.1
    ))
}

/// The rings that `inspect` shows, by queue.
fn rings(all: &Value) -> anyhow::Result<BTreeMap<QueueId, &Value>> {
    let mut found = BTreeMap::new();
    for ring in all["queues"].as_array().context("no rings")? {
        let name = ring["device"]["name"].as_str().unwrap_or_default();
        let number = name
            .strip_prefix("virtio")
            .and_then(|number| number.parse().ok());
        let index = ring["queue"]["index"].as_u64();
        let (number, index) = number
            .zip(index)
            .with_context(|| format!("whose ring is {ring}?"))?;
        found.insert(QueueId::new(number, index as u16), ring);
    }
    Ok(found)
}

/// Whether one ring has moved by these adds and used buffers.
fn moved_with(
    before: &Value,
    after: &Value,
    traced: &GuestQueue,
    (adds, used): (u64, u64),
) -> anyhow::Result<()> {
    let number = |value: &Value, what: &str| {
        let number = value.as_u64();
        number.with_context(|| format!("no {what} in {after}"))
    };
    let in_flight = |all: &Value| {
        let buffers = all["in_flight"].as_array().map(Vec::len);
        buffers
            .map(|many| many as u64)
            .context("nothing in flight is listed")
    };
    let (held, holds) = (in_flight(before)?, in_flight(after)?);
    ensure!(
        held + adds == holds + used,
        "{held} buffers were in flight before, and {holds} after"
    );
    if after["ring"]["avail_idx"].is_u64() {
        // A split ring counts buffers.
        for (key, many) in [("avail_idx", adds), ("last_used_idx", used)] {
            let [from, to] = [before, after].map(|all| number(&all["ring"][key], key));
            let moved = to?.wrapping_sub(from?) & 0xffff;
            ensure!(moved == many & 0xffff, "{key} has moved by {moved}");
        }
        return Ok(());
    }
    // A packed one counts descriptors, which are known of adds that have a record.
    if traced.missed_adds() > 0 {
        return Ok(());
    }
    let size = number(&after["queue"]["size"], "size")?;
    // A place comes again after two laps, of which the wrap counter tells one from the other.
    let place = |all: &Value, wrap: &str, next: &str| -> anyhow::Result<u64> {
        let wrap = all["ring"][wrap].as_bool().context("no wrap counter")?;
        Ok(if wrap { 0 } else { size } + number(&all["ring"][next], next)?)
    };
    let moved = |wrap: &str, next: &str| -> anyhow::Result<u64> {
        Ok((place(after, wrap, next)? + 2 * size - place(before, wrap, next)?) % (2 * size))
    };
    let added = moved("avail_wrap", "next_avail")?;
    let descriptors: u64 = traced
        .adds_seen()
        .map(|add| u64::from(add.descriptors))
        .sum();
    ensure!(
        added == descriptors % (2 * size),
        "the next descriptor has moved by {added}, and the adds have {descriptors}"
    );
    let free = |all: &Value| number(&all["free"], "free");
    let taken_back = (descriptors + free(after)?)
        .checked_sub(free(before)?)
        .context("fewer descriptors are free than can be")?;
    let used = moved("used_wrap", "next_used")?;
    ensure!(
        used == taken_back % (2 * size),
        "{taken_back} descriptors came back, and the next used one has moved by {used}"
    );
    Ok(())
}
