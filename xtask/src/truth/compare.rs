//! A queue as the guest's records have it, held against the same queue as QEMU's
//! log has it.

use std::ops::Range;

use anyhow::Context;
use virtscope_record::{FeatureBits, Kind};

use super::capture::{Added, GuestQueue, Positions, Returned};
use super::host::{Fill, HostQueue};

/// How a driver uses a queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Use {
    /// Requests, each of which is over before the queue is idle.
    Requests,
    /// Buffers that wait in the ring for what the device has to say.
    Receive,
    /// Buffers whose completion is looked at when there is time.
    Transmit,
}

impl Use {
    /// How the queue `index` of a device of this driver is used.
    pub(crate) fn of(driver: &str, index: u16) -> Self {
        match (driver, index) {
            // Events that the device may have to tell.
            ("virtio_scsi", 1) | ("virtio_input", 0) => Self::Receive,
            ("virtio_net" | "virtio_console", index) if index % 2 == 0 => Self::Receive,
            ("virtio_net" | "virtio_console" | "virtio_input", _) => Self::Transmit,
            _ => Self::Requests,
        }
    }
}

/// What is to be compared.
#[derive(Clone, Debug)]
pub(crate) struct Comparison<'a> {
    pub(crate) guest: &'a GuestQueue,
    pub(crate) host: &'a HostQueue,
    /// The part of the log in which the capture was made; at both ends the device
    /// was idle.
    pub(crate) window: Range<u64>,
    pub(crate) usage: Use,
    /// Whether QEMU took each notification by itself.
    pub(crate) notifications: bool,
}

/// What was compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Compared {
    pub(crate) adds: usize,
    pub(crate) used: usize,
    pub(crate) notifications: usize,
    /// Operations that QEMU saw and the capture counts as missed.
    pub(crate) missed: u64,
    /// Buffers that QEMU was done with before their turn, where they are used in order.
    pub(crate) early: usize,
    /// Kick decisions that the capture counts as missed; QEMU sees none.
    pub(crate) kicks_missed: u64,
}

impl Compared {
    pub(crate) fn add(&mut self, other: &Self) {
        self.adds += other.adds;
        self.used += other.used;
        self.notifications += other.notifications;
        self.missed += other.missed;
        self.early += other.early;
        self.kicks_missed += other.kicks_missed;
    }
}

/// What two sides do not agree on: the first few of it.
#[derive(Debug, Default)]
pub(crate) struct Disagreements {
    shown: Vec<String>,
    more: usize,
}

impl Disagreements {
    const SHOWN: usize = 8;

    pub(crate) fn say(&mut self, what: impl FnOnce() -> String) {
        if self.shown.len() < Self::SHOWN {
            self.shown.push(what());
        } else {
            self.more += 1;
        }
    }

    /// # Errors
    /// There is a disagreement.
    pub(crate) fn none(self) -> anyhow::Result<()> {
        if self.shown.is_empty() {
            return Ok(());
        }
        let mut text = self.shown.join("\n");
        if self.more > 0 {
            text.push_str(&format!("\nand {} more", self.more));
        }
        Err(anyhow::anyhow!(text))
    }
}

impl Comparison<'_> {
    /// # Errors
    /// What the two do not agree on.
    pub(crate) fn run(&self) -> anyhow::Result<Compared> {
        let facts = self.guest.facts.as_ref().context("no facts of the queue")?;
        let positions = Positions::of(facts)?;
        let mut wrong = Disagreements::default();
        let first_add = self.adds(positions, &mut wrong);
        let used = self.used(positions, first_add, &mut wrong);
        let mut notifications = 0;
        if self.notifications {
            notifications = self.notified(first_add, &mut wrong);
        }
        wrong.none()?;
        Ok(Compared {
            adds: self.guest.adds_seen().count(),
            used,
            notifications,
            missed: self.guest.missed_used()
                + self.guest.missed_adds()
                + self.guest.missed_of(Kind::Notify),
            early: self.early(),
            kicks_missed: self.guest.missed_of(Kind::Kick),
        })
    }

    /// Whether the device uses buffers in the order in which they were made available.
    pub(crate) fn is_in_order(&self) -> bool {
        let facts = self.guest.facts.as_ref();
        facts.is_some_and(|facts| facts.features.contains(FeatureBits::IN_ORDER))
    }

    /// Every pop has its add, in order, with the same segments. Returns the number,
    /// since the reset, of the first add.
    fn adds(&self, positions: Positions, wrong: &mut Disagreements) -> usize {
        let (before, _) = self.host.before(self.window.start);
        let (after, _) = self.host.before(self.window.end);
        let Some(first) = self.guest.adds.first() else {
            // What is popped now was there before.
            if after - before > self.in_flight_allowed() {
                wrong.say(|| format!("{} pops, and no add", after - before));
            }
            return after;
        };
        let position = match first {
            Added::Seen(add) => add.position,
            Added::Missed { position, .. } => *position,
        };
        let Some(first) = positions.number(position, before) else {
            wrong.say(|| format!("no add can have the position {position:#x}"));
            return before;
        };
        if first - before > self.in_flight_allowed() {
            wrong.say(|| {
                format!("the first add is number {first}, and {before} pops were before it")
            });
        }
        let mut number = first;
        for add in &self.guest.adds {
            let add = match add {
                Added::Missed { count, .. } => {
                    number += *count as usize;
                    continue;
                }
                Added::Seen(add) => add,
            };
            if add.position != positions.at(number) {
                wrong.say(|| {
                    format!(
                        "add {number} should have the position {:#x}, and says {:#x}",
                        positions.at(number),
                        add.position
                    )
                });
            }
            if !positions.is_one_each(add.descriptors) {
                wrong.say(|| {
                    format!(
                        "add {number} takes {} entries of a packed ring",
                        add.descriptors
                    )
                });
            }
            if let Some(pop) = self.host.pops.get(number).filter(|_| number < after)
                && (pop.readable, pop.writable) != (add.readable_segments, add.writable_segments)
            {
                wrong.say(|| {
                    format!(
                        "add {number}: {} readable and {} writable segments, and QEMU popped \
                         {} and {}",
                        add.readable_segments, add.writable_segments, pop.readable, pop.writable
                    )
                });
            }
            number += 1;
        }
        if number < after {
            wrong.say(|| format!("QEMU popped {after} buffers, and {number} were added"));
        }
        if number > after && self.usage != Use::Receive {
            wrong.say(|| format!("{number} buffers were added, and QEMU popped {after} of them"));
        }
        if number > after + positions.size() {
            wrong.say(|| format!("{number} adds and {after} pops: more than the ring holds"));
        }
        first
    }

    /// How many buffers may have been in the ring at the start.
    fn in_flight_allowed(&self) -> usize {
        match self.usage {
            Use::Receive => self.guest.in_flight,
            Use::Requests | Use::Transmit => 0,
        }
    }

    /// The fills in the order in which the guest sees them: QEMU lets those of a queue whose
    /// buffers are used in order wait for the ones before them.
    fn fills(&self) -> Vec<Fill> {
        let mut fills = self.host.fills.clone();
        if self.is_in_order() {
            fills.sort_by_key(|fill| fill.pop);
        }
        fills
    }

    /// How many fills in the log stand before one of a buffer that was popped before theirs.
    fn early(&self) -> usize {
        let (_, before) = self.host.before(self.window.start);
        let (_, after) = self.host.before(self.window.end);
        let fills = self.host.fills.iter().enumerate();
        let early = fills.filter(|(number, fill)| self.is_in_order() && fill.pop > *number);
        early
            .filter(|(number, _)| (before..after).contains(number))
            .count()
    }

    /// Every fill has its used buffer, in order, with the same length, and it is the
    /// buffer that was popped. Returns how many.
    fn used(&self, positions: Positions, first_add: usize, wrong: &mut Disagreements) -> usize {
        let (_, before) = self.host.before(self.window.start);
        let (_, after) = self.host.before(self.window.end);
        let Some(first) = self.guest.used.first() else {
            if after > before && self.usage != Use::Transmit {
                wrong.say(|| format!("{} fills, and nothing used", after - before));
            }
            return 0;
        };
        let position = match first {
            Returned::Seen(used) => used.position,
            Returned::Missed { position, .. } => *position,
        };
        // What was filled before may be looked at only now.
        let floor = match self.usage {
            Use::Transmit => before.saturating_sub(positions.size()),
            Use::Requests | Use::Receive => before,
        };
        let Some(first) = positions.number(position, floor) else {
            wrong.say(|| format!("nothing used can have the position {position:#x}"));
            return 0;
        };
        if first > before {
            wrong.say(|| {
                format!("the first used is number {first}, and {before} fills were before it")
            });
        }
        let mut number = first;
        let mut seen = 0;
        // Numbers of the adds whose records there are, in order.
        let adds = self.add_numbers(first_add);
        let fills = self.fills();
        for used in &self.guest.used {
            let used = match used {
                Returned::Missed { count, .. } => {
                    number += *count as usize;
                    continue;
                }
                Returned::Seen(used) => used,
            };
            seen += 1;
            if used.position != positions.at(number) {
                wrong.say(|| {
                    format!(
                        "used {number} should have the position {:#x}, and says {:#x}",
                        positions.at(number),
                        used.position
                    )
                });
            }
            let Some(fill) = fills.get(number).filter(|_| number < after) else {
                wrong.say(|| format!("used {number}, and QEMU filled only {after}"));
                number += 1;
                continue;
            };
            if self.is_in_order() && fill.pop != number {
                wrong.say(|| format!("used {number} in order, and QEMU filled pop {}", fill.pop));
            }
            if fill.length != used.used_length {
                wrong.say(|| {
                    format!(
                        "used {number} has the length {}, and QEMU wrote {}",
                        used.used_length, fill.length
                    )
                });
            }
            if let Ok(at) = adds.binary_search_by_key(&fill.pop, |(number, _)| *number) {
                let add = adds[at].1;
                if (add.token, add.head) != (used.token, used.head) {
                    wrong.say(|| {
                        format!(
                            "used {number} is the buffer {:#x} under {}, and QEMU filled \
                             {:#x} under {}",
                            used.token, used.head, add.token, add.head
                        )
                    });
                }
            }
            number += 1;
        }
        if number < after && self.usage != Use::Transmit {
            wrong.say(|| format!("QEMU filled {after} buffers, and {number} were used"));
        }
        if number > after {
            wrong.say(|| format!("{number} buffers were used, and QEMU filled {after}"));
        }
        seen
    }

    fn add_numbers(&self, first: usize) -> Vec<(usize, &super::capture::AddSeen)> {
        let mut number = first;
        let mut numbers = Vec::new();
        for add in &self.guest.adds {
            match add {
                Added::Seen(add) => {
                    numbers.push((number, add));
                    number += 1;
                }
                Added::Missed { count, .. } => number += *count as usize,
            }
        }
        numbers
    }

    /// Every notification that QEMU took is one that the guest sent or counts as missed,
    /// and what QEMU had popped before it had been added before it. Returns how many.
    fn notified(&self, first_add: usize, wrong: &mut Disagreements) -> usize {
        let taken = self.host.notified_in(&self.window);
        let sent = &self.guest.notified;
        let missed = self.guest.missed_of(Kind::Notify) as usize;
        // The verdict of a decision that was missed is not known.
        let unknown = self.guest.missed_of(Kind::Kick) as usize;
        let known = sent.len() + missed;
        if !(known..=known + unknown).contains(&taken.len()) {
            wrong.say(|| {
                format!(
                    "{} notifications were sent, {missed} were missed, and QEMU took {}",
                    sent.len(),
                    taken.len()
                )
            });
        }
        let needed = self.guest.kicks_needed;
        if !(needed..=needed + unknown).contains(&known) {
            wrong.say(|| {
                format!(
                    "{needed} kicks needed a notification, {unknown} decisions were missed, {} \
                     notifications were sent and {missed} missed",
                    sent.len()
                )
            });
        }
        for (number, (taken, sent)) in taken.iter().zip(sent).enumerate() {
            // Which of them were missed is not known.
            if missed + unknown == 0 && taken.pops > first_add + sent {
                wrong.say(|| {
                    format!(
                        "before notification {number}, QEMU had popped {}, and {} were added",
                        taken.pops,
                        first_add + sent
                    )
                });
            }
        }
        sent.len()
    }
}
