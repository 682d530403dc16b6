//! What is run in a guest, and what of it is compared.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};

use super::check::{Room, Skips, Witnesses};
use super::hooked::{self, Paired};
use super::status::Status;
use super::{Asked, Rings, held, host, log, whole};
use crate::guest::{Guest, Kernel, SPARE};

/// What one script may take. Only what hangs takes longer.
pub(super) const RUN: Duration = Duration::from_secs(600);

/// What the scripts share.
pub(super) const COMMON: &str = include_str!("work/common.sh");
/// The load, in the order in which it is run.
const LOAD: [&str; 4] = [
    include_str!("work/9p.sh"),
    include_str!("work/blk.sh"),
    include_str!("work/net.sh"),
    include_str!("work/mixed.sh"),
];

/// How a tracer ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    /// By this signal, as by Ctrl-C.
    Signal(&'static str),
    /// With the command that it traces for.
    Command,
    /// By SIGKILL, in the middle of the load.
    Killed,
    /// Because nobody reads what it writes.
    ClosedPipe,
}

/// A tracer that runs in a guest, beside others.
#[derive(Clone, Copy, Debug)]
struct Tracer {
    name: &'static str,
    end: End,
    /// Whether its capture is compared, and how.
    compared: Option<Room>,
    /// Whether it has to do with kprobes, whatever the kernel offers.
    by_kprobes: bool,
}

/// The tracers that run at once in one guest: one whose capture is compared with
/// everybody's, one whose buffer is too small, and one more.
fn tracers(kernel: Kernel, packed: bool) -> [Tracer; 3] {
    let (signal, third) = match (kernel, packed) {
        (Kernel::V6_1, false) => ("INT", End::Signal("TERM")),
        (Kernel::V6_1, true) => ("TERM", End::Killed),
        (Kernel::V6_12, false) => ("HUP", End::Signal("INT")),
        (Kernel::V6_12, true) => ("INT", End::ClosedPipe),
        (Kernel::V7_2, false) => ("TERM", End::Killed),
        (Kernel::V7_2, true) => ("HUP", End::Signal("HUP")),
    };
    let name = match third {
        End::Killed => "killed",
        End::ClosedPipe => "pipe",
        _ => "second",
    };
    [
        Tracer {
            name: "first",
            end: End::Signal(signal),
            compared: Some(Room::Enough),
            by_kprobes: false,
        },
        Tracer {
            name: "one-page",
            end: End::Command,
            compared: Some(Room::TooLittle),
            by_kprobes: false,
        },
        Tracer {
            name,
            end: third,
            compared: (name == "second").then_some(Room::Enough),
            by_kprobes: kernel == Kernel::V6_12 && !packed,
        },
    ]
}

impl Tracer {
    /// The command that starts it.
    fn command(&self) -> String {
        let name = self.name;
        let kprobes = if self.by_kprobes { " --kprobes" } else { "" };
        match self.end {
            End::Signal(_) | End::Killed => {
                format!("begin {name} virtscope trace{kprobes} -w /tmp/{name}.pcapng\n")
            }
            End::Command => format!(
                "begin {name} virtscope trace --buffer-size 4096 -w /tmp/{name}.pcapng -- \
                 sh -c 'until [ -e /tmp/over ]; do usleep 50000; done'\n"
            ),
            End::ClosedPipe => format!(
                "begin {name} sh -c 'set -o pipefail; virtscope trace -w - | \
                 (head -c 8 > /tmp/{name}.pcapng; head -c 50000 > /dev/null)'\n"
            ),
        }
    }

    /// What ends it, if anything has to be done for that at the end.
    fn stop(&self) -> String {
        let name = self.name;
        match self.end {
            End::Signal(signal) => format!("kill -{signal} $(cat /tmp/{name}.pid)\n"),
            End::Command => "touch /tmp/over\n".to_owned(),
            End::Killed | End::ClosedPipe => String::new(),
        }
    }

    /// What its shell says of its end.
    const fn status(&self) -> i32 {
        match self.end {
            End::Killed => 128 + 9,
            _ => 0,
        }
    }

    /// Its end, in words, and how it was attached where that is not the usual way.
    fn ended(&self) -> String {
        let ended = match self.end {
            End::Signal(signal) => format!("ended by SIG{signal}"),
            End::Command => "ended with its command".to_owned(),
            End::Killed => "killed".to_owned(),
            End::ClosedPipe => "ended by a closed pipe".to_owned(),
        };
        match self.by_kprobes {
            true => format!("by kprobes, {ended}"),
            false => ended,
        }
    }
}

/// What a tracer says where there are kprobes of which the kernel tells nothing.
const UNTOLD: &str = "without kprobes, of which Linux tells from 6.7 on";

/// Whether all that is attached on this kernel is counted when it is skipped.
fn skips(kernel: Kernel) -> Skips {
    match kernel {
        Kernel::V6_1 => Skips::Untold,
        Kernel::V6_12 | Kernel::V7_2 => Skips::Counted,
    }
}

/// A guest under test.
pub(super) struct Session<'a> {
    pub(super) guest: Guest,
    pub(super) share: &'a Path,
    /// What it is called in what is printed.
    pub(super) about: String,
    pub(super) kernel: Kernel,
    pub(super) rings: Rings,
}

impl Session<'_> {
    fn say(&self, what: &str) {
        println!("{}: {what}", self.about);
    }

    fn script(&mut self, script: &str) -> anyhow::Result<String> {
        self.guest
            .succeed(&format!("{COMMON}\n{script}"), RUN)
            .with_context(|| self.about.clone())
    }

    /// Runs everything, turns the guest off, and compares.
    ///
    /// # Errors
    /// Something fails or does not agree; everything is looked at before.
    pub(super) fn run(mut self, asked: &Asked) -> anyhow::Result<()> {
        self.stranger()?;
        let listed = self.layouts()?;
        self.say(&format!(
            "virtscope list: {} queues, {}",
            listed.len(),
            self.rings
        ));
        self.named()?;
        if self.rings.packed && !self.rings.in_order {
            self.watched(&listed)?;
        }
        if !self.rings.packed && self.kernel != Kernel::V7_2 {
            self.early()?;
        }
        let held = held::check(&mut self.guest, self.rings.packed).context("inspect")?;
        self.say(&held);
        let paired = Paired::of(self.kernel, &self.script(hooked::ASK)?)?;
        self.say(&format!(
            "by pairs of fentry and fexit, so none may be missed: {paired}"
        ));

        let start = self.guest.log_length()?;
        let tracers = tracers(self.kernel, self.rings.packed);
        self.start(&tracers, listed.len())?;
        self.load(&tracers)?;
        self.come_and_go()?;
        self.end(&tracers)?;
        let end = self.guest.log_length()?;
        let status = Status::ask(&mut self.guest)?;
        // Of one layout for each kernel: another tracer takes its time to be attached.
        if self.rings.packed == (self.kernel == Kernel::V6_12) {
            let began = Instant::now();
            let whole = whole::check(&mut self.guest, self.share, &paired);
            let whole = whole.context("whole messages")?;
            self.say(&format!(
                "{whole} ({:.0} s here)",
                began.elapsed().as_secs_f64()
            ));
        }
        // From here on nothing is compared any more, and the device under test can carry
        // the captures out.
        self.script("cp /tmp/*.pcapng /tmp/work.* /share")?;
        let Self {
            guest,
            share,
            about,
            kernel,
            rings,
        } = self;
        let log = guest.power_off()?;
        if let Some(keep) = &asked.keep {
            self::keep(share, &log.path(), &keep.join(&about))?;
        }
        let text = fs::read_to_string(log.path()).context("QEMU's log")?;
        // What comes after is how the devices are turned off.
        let text = text
            .get(..usize::try_from(end)?)
            .context("QEMU's log has shrunk")?;
        let events = log::parse(text)?;
        let devices = host::follow(&events, start)?;
        if !rings.packed {
            // A packed ring's positions are no counts.
            status.agrees(&devices)?;
        }
        let witnesses = Witnesses {
            share,
            events: &events,
            devices: &devices,
            window: start..end,
            elsewhere: &[],
            paired: &paired,
            in_order: rings.in_order,
            skips: skips(kernel),
        };
        let unpaired = Witnesses {
            paired: &Paired::default(),
            window: witnesses.window.clone(),
            ..witnesses
        };
        let mut wrong = Vec::new();
        for tracer in &tracers {
            let Some(room) = tracer.compared else {
                continue;
            };
            let about = format!("{about}, {} ({})", tracer.name, tracer.ended());
            let witnesses = if tracer.by_kprobes {
                &unpaired
            } else {
                &witnesses
            };
            let checked = witnesses
                .read(tracer.name)
                .and_then(|capture| witnesses.check(&capture, room));
            match checked {
                Ok(agreed) => agreed.iter().for_each(|said| println!("{about}: {said}")),
                Err(error) => {
                    println!("{about}: {error:#}");
                    wrong.push(format!("{about}: {error:#}"));
                }
            }
        }
        ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
        Ok(())
    }

    /// How long it takes to see the queues; and that who may not trace is told what to do.
    fn stranger(&mut self) -> anyhow::Result<()> {
        let said = self.script(
            "since list\nvirtscope list > /tmp/list || exit\ntook list\n\
             grep -c ^virtio /tmp/list\n\
             echo nobody:x:65534:65534::/:/bin/sh >> /etc/passwd\n\
             su nobody -s /bin/sh -c 'virtscope trace -w /dev/null > /tmp/told 2>&1; echo $?'\n\
             cat /tmp/told",
        )?;
        let mut lines = said.lines();
        let took = lines.next().unwrap_or_default().to_owned();
        let queues = lines.next().unwrap_or_default().to_owned();
        let refused: Vec<&str> = lines.collect();
        let refused = refused.join("\n");
        let is_told = refused.contains("run it with sudo") && refused.contains("sudo setcap cap_");
        ensure!(
            is_told && refused.starts_with("2\n"),
            "a user who may not trace is told: {refused}"
        );
        self.say(&format!(
            "virtscope list: {queues} devices after {took} s; who may not trace is told what to \
             run"
        ));
        Ok(())
    }

    /// `virtscope list` says of every queue what kind of ring it has. The queues' names.
    fn layouts(&mut self) -> anyhow::Result<Vec<String>> {
        let said = self.script("virtscope list --json")?;
        let listed: Value = serde_json::from_str(&said).context(said)?;
        let expected = self.rings.to_string().replace('-', "_");
        let mut queues = Vec::new();
        for device in listed["devices"].as_array().context("no devices")? {
            for queue in device["queues"].as_array().context("no queues")? {
                ensure!(
                    queue["layout"] == expected.as_str(),
                    "a {expected} queue is listed as {queue}"
                );
                let name = |value: &Value| value["name"].as_str().map(ToOwned::to_owned);
                let device = name(device).context("a device without a name")?;
                let queue = name(queue).context("a queue without a name")?;
                queues.push(format!("{device}/{queue}"));
            }
        }
        ensure!(!queues.is_empty(), "no queue is listed");
        Ok(queues)
    }

    /// On a terminal all queues are shown before anything is attached, and who looks away
    /// then leaves nothing attached; once all is attached no thread has any privilege.
    fn watched(&mut self, listed: &[String]) -> anyhow::Result<()> {
        let said = self.script(include_str!("work/watched.sh"))?;
        let (begins, goes_on) = said
            .split_once("\nthat was begins\n")
            .with_context(|| said.clone())?;
        let (found, _) = goes_on.split_once("LIVE").with_context(|| said.clone())?;
        for (about, screen) in [("that is closed", begins), ("that is left", found)] {
            let missing = listed.iter().find(|queue| !screen.contains(*queue));
            ensure!(
                missing.is_none() && screen.contains("not traced yet"),
                "a screen {about} shows all queues but {missing:?} before all is attached:\n{said}"
            );
        }
        ensure!(
            begins.contains("told to end before all was attached") && !begins.contains("LIVE"),
            "a screen that is closed before all is attached ends it:\n{said}"
        );
        let mut lines = goes_on.lines();
        let live = lines.next().unwrap_or_default();
        let kept: Vec<&str> = lines.take_while(|line| line.starts_with("Cap")).collect();
        ensure!(
            kept == ["CapEff:\t0000000000000000", "CapPrm:\t0000000000000000"],
            "a thread has kept privileges: {kept:?}"
        );
        let shown = begins.lines().next().unwrap_or_default();
        self.say(&format!(
            "virtscope trace on a terminal: {} queues shown after {shown} s, traced after {live} \
             s, without privileges",
            listed.len()
        ));
        Ok(())
    }

    /// A queue is found by its name, and one that is not there is told with those that are.
    fn named(&mut self) -> anyhow::Result<()> {
        let said = self.script(
            "virtscope trace -q nothing > /tmp/told 2>&1; echo $?\ncat /tmp/told\n\
             virtscope stat -q requests 0.2 3 || exit\n",
        )?;
        let (refused, lines) = said.split_once("SECONDS").context(said.clone())?;
        let is_told = refused.contains("no queue `nothing`; there is virtio0/requests, virtio1/");
        ensure!(
            is_told && refused.starts_with("2\n"),
            "of a queue that is not there is told: {refused}"
        );
        let mut queues = lines.lines().filter(|line| line.contains("virtio"));
        let others = queues
            .clone()
            .find(|line| !line.contains("  virtio0/requests "));
        ensure!(
            queues.next().is_some() && others.is_none(),
            "the queue of that name alone is counted:\n{lines}"
        );
        Ok(())
    }

    /// A signal at any moment of its start ends a tracer as a later one does.
    fn early(&mut self) -> anyhow::Result<()> {
        let said = self.script(include_str!("work/early.sh"))?;
        let ended = |how: &str| said.lines().filter(|line| line.ends_with(how)).count();
        let (before, afterwards) = (ended(" none"), ended(" written"));
        ensure!(
            before > 0,
            "none was told to end before all was attached:\n{said}"
        );
        self.say(&format!(
            "a signal while it begins ends a tracer: {before} before all was attached, \
             {afterwards} with a capture"
        ));
        Ok(())
    }

    fn start(&mut self, tracers: &[Tracer], queues: usize) -> anyhow::Result<()> {
        let began = Instant::now();
        let mut script = "before\n".to_owned();
        script.extend(tracers.iter().map(Tracer::command));
        for tracer in tracers {
            script.push_str(&format!("attached {}\n", tracer.name));
        }
        script.push_str("cat /tmp/first.errors\nhooks\n");
        let said = self.script(&script)?;
        let mut lines: Vec<&str> = said.lines().collect();
        let hooks = lines.pop().unwrap_or_default();
        let found = format!("virtscope: {queues} queues of ");
        ensure!(
            lines.iter().any(|line| line.starts_with(&found)),
            "which queues there are is told before they are traced: {said}"
        );
        lines.retain(|line| !line.starts_with("virtscope: "));
        ensure!(
            hooks.parse::<u32>().is_ok_and(|hooks| hooks > 0),
            "nothing is attached, says the kernel: {said}"
        );
        self.say(&format!(
            "{} tracers at once attached to {hooks} functions, each so many seconds after its \
             start: {} ({:.0} s here)",
            tracers.len(),
            lines.join(", "),
            began.elapsed().as_secs_f64()
        ));
        Ok(())
    }

    fn load(&mut self, tracers: &[Tracer]) -> anyhow::Result<()> {
        let began = Instant::now();
        let mut script = "cat > /tmp/load << 'END OF FILE'\n".to_owned();
        let kill = tracers
            .iter()
            .find(|tracer| tracer.end == End::Killed)
            .map(|tracer| format!("kill -KILL $(cat /tmp/{}.pid)\n", tracer.name));
        for (number, part) in LOAD.iter().enumerate() {
            if number + 1 == LOAD.len() {
                script.extend(kill.clone());
            }
            script.push_str(part);
        }
        script.push_str("END OF FILE\nsh /tmp/load || exit\nafter\n");
        self.script(&script)?;
        self.say(&format!(
            "the load took {:.0} s",
            began.elapsed().as_secs_f64()
        ));
        Ok(())
    }

    /// A disk loses its driver and gets it back, and so does the network, in whose queue
    /// buffers wait; another disk is plugged in and out, and a SCSI host, on one of
    /// whose queues nothing comes but interrupts.
    fn come_and_go(&mut self) -> anyhow::Result<()> {
        self.script("rebind virtio1 virtio_blk vda && reads vda")?;
        self.script("again virtio2 virtio_net")?;
        let disk = json!({
            "driver": "null-co", "node-name": "hot", "size": 1 << 20, "read-zeroes": true,
        });
        self.guest.qmp("blockdev-add", &disk)?;
        let plugged = |mut device: Value| {
            device["packed"] = self.rings.packed.into();
            if self.rings.in_order {
                device["in_order"] = true.into();
            }
            device
        };
        let disk = plugged(json!({
            "driver": "virtio-blk-pci", "id": "hot", "bus": SPARE[0], "drive": "hot",
            "ioeventfd": false, "disable-legacy": "on",
        }));
        // One interrupt for all its queues, one of which nobody uses.
        let host = plugged(json!({
            "driver": "virtio-scsi-pci", "id": "scsi", "bus": SPARE[1], "vectors": 0,
            "ioeventfd": false, "disable-legacy": "on",
        }));
        self.guest.qmp("device_add", &disk)?;
        self.script("until [ -b /dev/vdb ]; do usleep 50000; done\nreads vdb\n")?;
        self.guest.qmp("device_add", &host)?;
        // Longer than what is looked for comes to be found.
        self.script(
            "until [ -e /sys/bus/virtio/drivers/virtio_scsi/virtio4 ]; do usleep 50000; done\n\
             sleep 2.5",
        )?;
        self.guest.qmp("device_del", &json!({ "id": "hot" }))?;
        self.guest.qmp("device_del", &json!({ "id": "scsi" }))?;
        self.script(
            "while [ -e /dev/vdb ] || [ -e /sys/bus/virtio/devices/virtio4 ]; do\n\
                 usleep 50000\n\
             done\n\
             sleep 1",
        )?;
        Ok(())
    }

    /// Ends the tracers, and makes sure that nothing is left of them.
    fn end(&mut self, tracers: &[Tracer]) -> anyhow::Result<()> {
        let mut script = String::new();
        for tracer in tracers {
            script.push_str(&tracer.stop());
        }
        for tracer in tracers {
            script.push_str(&format!("ended {}\n", tracer.name));
        }
        script.push_str("unhooked\ntail -n 1 /tmp/first.said\n");
        let said = self.script(&script)?;
        let cost = said.lines().last().unwrap_or_default();
        ensure!(
            cost.contains("programs skipped by the kernel: ")
                && (skips(self.kernel) == Skips::Untold) == cost.contains(UNTOLD),
            "of programs that were skipped it says: {cost}"
        );
        for tracer in tracers {
            let expected = format!("{} {}", tracer.name, tracer.status());
            if !said.lines().any(|line| line == expected) {
                bail!(
                    "{} should have ended with {}:\n{said}",
                    tracer.name,
                    tracer.status()
                );
            }
        }
        let ended: Vec<String> = tracers
            .iter()
            .map(|tracer| format!("{} {}", tracer.name, tracer.ended()))
            .collect();
        self.say(&format!(
            "{}; nothing is attached any more, says the kernel",
            ended.join(", ")
        ));
        Ok(())
    }
}

/// Copies captures, and whatever else there is about them, into a folder.
pub(super) fn keep(share: &Path, log: &Path, into: &Path) -> anyhow::Result<()> {
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
