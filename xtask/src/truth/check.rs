//! What must be true of a capture, from whoever else was there.

use std::fs::{self, File};
use std::io::BufReader;
use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use virtscope_record::QueueId;

use super::capture::{Capture, GuestQueue};
use super::compare::{Compared, Comparison, Use};
use super::disk::DiskCounts;
use super::hooked::Paired;
use super::host::{Devices, HostQueue};
use super::log::Logged;
use super::{p9, tracepoints};

/// What all captures of one guest are held against.
pub(super) struct Witnesses<'a> {
    pub(super) share: &'a Path,
    pub(super) events: &'a [Logged],
    pub(super) devices: &'a Devices,
    /// The part of QEMU's log in which tracing began and ended.
    pub(super) window: Range<u64>,
    /// The devices that other processes serve: QEMU's log has nothing of them.
    pub(super) elsewhere: &'a [u16],
    /// Operations of which none may be missed.
    pub(super) paired: &'a Paired,
    /// Whether every queue must have `VIRTIO_F_IN_ORDER`, or none.
    pub(super) in_order: bool,
    /// Whether the kernel tells of every program it skips.
    pub(super) skips: Skips,
}

/// What is known of programs that the kernel skipped, beside what the rings show.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Skips {
    /// The kernel counts all of them.
    Counted,
    /// It does not count kprobes: it is older than 6.7.
    Untold,
}

/// Whether a capture's buffer was too small on purpose.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Room {
    /// Nothing may be lost.
    Enough,
    /// Much is lost, and all of it accounted for.
    TooLittle,
}

/// `virtio0` to `virtio2`: the folder, the disk, the network.
const FOLDER: u16 = 0;
const DISK: u16 = 1;

impl Witnesses<'_> {
    fn file(&self, name: &str) -> PathBuf {
        self.share.join(name)
    }

    fn text(&self, name: &str) -> anyhow::Result<String> {
        let file = self.file(name);
        fs::read_to_string(&file).with_context(|| file.display().to_string())
    }

    pub(super) fn read(&self, name: &str) -> anyhow::Result<Capture> {
        let file = File::open(self.file(&format!("{name}.pcapng"))).context("the capture")?;
        Capture::read(BufReader::new(file))
    }

    /// Compares everything; returns what was compared.
    pub(super) fn check(&self, capture: &Capture, room: Room) -> anyhow::Result<Vec<String>> {
        account(capture, room)?;
        let totals = capture.totals;
        let mut agreed = vec![format!(
            "{} records emitted = {} stored + {} lost + {} filtered",
            totals.emitted, totals.stored, totals.lost, totals.filtered
        )];
        agreed.push(skipped(capture, self.skips)?);
        if room == Room::TooLittle {
            return Ok(agreed);
        }
        // Each of them is looked at, whatever the others say.
        let results = [
            self.queues(capture),
            self.messages(capture),
            self.disk(capture),
        ];
        let mut wrong = Vec::new();
        for result in results {
            match result {
                Ok(said) => agreed.push(said),
                Err(error) => wrong.push(format!("{error:#}")),
            }
        }
        ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
        Ok(agreed)
    }

    /// Compares 9P messages with the kernel's tracepoints and with QEMU's log.
    fn messages(&self, capture: &Capture) -> anyhow::Result<String> {
        let traced = tracepoints::parse(&self.text("work.trace")?)?;
        let (id, queue) = capture
            .of_device(FOLDER)
            .next()
            .context("no 9P queue in the capture")?;
        let compared = p9::compare(queue, &traced, self.events, &self.window)
            .with_context(|| id.to_string())?;
        Ok(format!(
            "{} 9P messages as the kernel traced them, {} as QEMU did",
            compared.traced, compared.logged
        ))
    }

    /// Compares the disk's requests with the block layer's counts.
    fn disk(&self, capture: &Capture) -> anyhow::Result<String> {
        let before = DiskCounts::parse(&self.text("work.before")?)?;
        let counted = DiskCounts::parse(&self.text("work.after")?)? - before;
        let queues = || capture.of_device(DISK).map(|(_, queue)| queue);
        let missed: u64 = queues().map(GuestQueue::missed_adds).sum();
        let ours = DiskCounts::of(queues())?;
        let requests = counted.requests();
        ensure!(requests > 0, "nothing was asked of the disk");
        if missed > 0 {
            // Which ones were missed is not known.
            ensure!(
                ours.requests() + missed >= requests && ours.requests() <= requests,
                "the disk: the block layer counted {counted:?}, the capture has {ours:?} and \
                 {missed} missed"
            );
            return Ok(format!(
                "{requests} requests to the disk as the block layer counted them, {missed} of \
                 them missed"
            ));
        }
        ensure!(
            ours == counted,
            "the disk: the block layer counted {counted:?}, the capture has {ours:?}"
        );
        Ok(format!(
            "{requests} requests to the disk as the block layer counted them"
        ))
    }

    /// Compares every queue of every device with QEMU's.
    pub(super) fn queues(&self, capture: &Capture) -> anyhow::Result<String> {
        let nothing = HostQueue::default();
        let mut sum = Compared::default();
        let mut wrong = Vec::new();
        let logged = |(id, _): &super::capture::Life| !self.elsewhere.contains(&id.device);
        let queues = capture.queues.iter().filter(|(life, _)| logged(life));
        let number = queues.clone().count();
        for ((id, generation), guest) in queues {
            let host = self
                .host(*id, *generation)
                .with_context(|| format!("{id}, reset {generation} times, is not in QEMU's log"))?;
            let comparison = Comparison {
                guest,
                host: host.unwrap_or(&nothing),
                window: self.window.clone(),
                usage: Use::of(guest.driver(), id.index),
                notifications: true,
            };
            let compared = facts(guest, *generation)
                .and_then(|()| comparison.run())
                .and_then(|compared| {
                    ensure!(
                        comparison.is_in_order() == self.in_order,
                        "that its buffers are used in order should be {}",
                        self.in_order
                    );
                    self.paired.none_missed(guest).map(|()| compared)
                });
            match compared {
                Ok(compared) => sum.add(&compared),
                Err(error) => wrong.push(format!(
                    "{} ({id}, reset {generation} times): {error:#}",
                    guest.name
                )),
            }
        }
        for (device, lives) in (0..).zip(self.devices) {
            for (generation, queues) in (0..).zip(lives) {
                for (index, queue) in queues {
                    let before = queue.before(self.window.start);
                    let after = queue.before(self.window.end);
                    let id = QueueId::new(device, *index);
                    if before != after && !capture.queues.contains_key(&(id, generation)) {
                        wrong.push(format!(
                            "{id}, reset {generation} times, was used and is in no record"
                        ));
                    }
                }
            }
        }
        ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
        let mut said = format!(
            "{} adds, {} used and {} notifications on {} queues as QEMU saw them, {} more \
             counted as missed",
            sum.adds, sum.used, sum.notifications, number, sum.missed
        );
        if sum.early > 0 {
            said.push_str(&format!(
                "; {} of them QEMU had done before their turn, and used in order",
                sum.early
            ));
        }
        if sum.kicks_missed > 0 {
            said.push_str(&format!(", and {} kick decisions", sum.kicks_missed));
        }
        Ok(said)
    }

    /// QEMU's side of a queue in one of its lives; nothing if it was not used in it.
    fn host(&self, id: QueueId, generation: u16) -> Option<Option<&HostQueue>> {
        let lives = self.devices.get(usize::from(id.device))?;
        let life = lives.get(usize::from(generation))?;
        Some(life.get(&id.index))
    }
}

/// An operation is missed because a program was skipped, one or both of the two that it
/// takes: so there are at least as many of these, if the kernel counts them.
pub(super) fn skipped(capture: &Capture, skips: Skips) -> anyhow::Result<String> {
    let (missed, skipped) = (capture.totals.missed, capture.programs_skipped);
    ensure!(
        skips == Skips::Untold || missed <= skipped,
        "{missed} operations were missed, and the kernel skipped programs {skipped} times"
    );
    Ok(match skips {
        Skips::Counted => {
            format!("programs skipped {skipped} times, as the kernel counts, for {missed} missed")
        }
        Skips::Untold => format!("{missed} missed, and this kernel does not count kprobes"),
    })
}

/// Whatever came of a queue, what it is has been told; a later life may be over before
/// anything does.
fn facts(guest: &GuestQueue, generation: u16) -> anyhow::Result<()> {
    let told = guest.facts.is_some_and(|facts| facts.size > 0);
    ensure!(told || generation > 0, "what it is was never told");
    Ok(())
}

/// *emitted = stored + lost + filtered*, from three independent counts.
pub(super) fn account(capture: &Capture, room: Room) -> anyhow::Result<()> {
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
        (totals.lost > 0) == (room == Room::TooLittle),
        "{} of {} records were lost",
        totals.lost,
        totals.emitted
    );
    Ok(())
}
