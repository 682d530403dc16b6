//! What a capture says of each queue, in the order of the capture.

use std::collections::BTreeMap;
use std::io::Read;

use anyhow::{Context, bail, ensure};
use virtscope_captures::{CaptureReader, Inconsistencies, Item, Ledger, Selection, Totals};
use virtscope_record::{Body, Flags, Kind, Layout, QueueFacts, QueueId, Record};

/// A buffer's way into the ring, or several of which no record was made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Added {
    Seen(AddSeen),
    /// So many, before a position, were missed.
    Missed {
        position: u16,
        count: u32,
    },
}

/// An add with its record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct AddSeen {
    /// Which record of the capture it is.
    pub(crate) at: u64,
    pub(crate) position: u16,
    pub(crate) token: u64,
    pub(crate) head: u16,
    pub(crate) readable_segments: u32,
    pub(crate) writable_segments: u32,
    pub(crate) readable_bytes: u32,
    pub(crate) writable_bytes: u32,
    pub(crate) descriptors: u16,
    /// The beginning of its device-readable bytes.
    pub(crate) payload: Vec<u8>,
}

/// A buffer's way out of the ring, or several of which no record was made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Returned {
    Seen(UsedSeen),
    /// So many, before a position, were missed.
    Missed {
        position: u16,
        count: u32,
    },
}

/// A completion with its record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct UsedSeen {
    /// Which record of the capture it is.
    pub(crate) at: u64,
    pub(crate) position: u16,
    pub(crate) token: u64,
    pub(crate) head: u16,
    pub(crate) used_length: u32,
    /// The beginning of its device-written bytes.
    pub(crate) payload: Vec<u8>,
}

/// One queue, from when it was set up until it was reset.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct GuestQueue {
    pub(crate) name: String,
    pub(crate) properties: Vec<(String, String)>,
    pub(crate) facts: Option<QueueFacts>,
    pub(crate) adds: Vec<Added>,
    pub(crate) used: Vec<Returned>,
    /// How many buffers were added, with those that were missed.
    pub(crate) added: usize,
    /// For each notification, how many adds stand before it.
    pub(crate) notified: Vec<usize>,
    /// Kicks whose verdict was that a notification is needed.
    pub(crate) kicks_needed: usize,
    /// Buffers that were in flight at the start.
    pub(crate) in_flight: usize,
    /// Whether it was reset.
    pub(crate) is_reset: bool,
    /// Missed operations of other kinds, by kind.
    pub(crate) missed_else: BTreeMap<Option<Kind>, u64>,
    /// Notifications that never came, as the tracer found out in the end.
    pub(crate) unkept: u64,
}

impl GuestQueue {
    /// The device's driver, as the capture has it.
    pub(crate) fn driver(&self) -> &str {
        self.properties
            .iter()
            .find(|(key, _)| key == "driver")
            .map_or("", |(_, value)| value)
    }

    /// Completions without a record of their own.
    pub(crate) fn missed_used(&self) -> u64 {
        self.used
            .iter()
            .map(|used| match used {
                Returned::Seen(_) => 0,
                Returned::Missed { count, .. } => u64::from(*count),
            })
            .sum()
    }

    /// Adds without a record.
    pub(crate) fn missed_adds(&self) -> u64 {
        self.adds
            .iter()
            .map(|add| match add {
                Added::Seen(_) => 0,
                Added::Missed { count, .. } => u64::from(*count),
            })
            .sum()
    }

    /// Missed operations of another kind.
    pub(crate) fn missed_of(&self, kind: Kind) -> u64 {
        let told = self.missed_else.get(&Some(kind)).copied().unwrap_or(0);
        match kind {
            Kind::Notify => told + self.unkept,
            _ => told,
        }
    }

    /// All of which a record says that they were missed.
    fn missed_told(&self) -> u64 {
        self.missed_used() + self.missed_adds() + self.missed_else.values().sum::<u64>()
    }

    pub(crate) fn adds_seen(&self) -> impl Iterator<Item = &AddSeen> {
        self.adds.iter().filter_map(|add| match add {
            Added::Seen(seen) => Some(seen),
            Added::Missed { .. } => None,
        })
    }

    pub(crate) fn used_seen(&self) -> impl Iterator<Item = &UsedSeen> {
        self.used.iter().filter_map(|used| match used {
            Returned::Seen(seen) => Some(seen),
            Returned::Missed { .. } => None,
        })
    }
}

/// A queue, and how often it had been reset.
pub(crate) type Life = (QueueId, u16);

/// A whole capture.
#[derive(Debug)]
pub(crate) struct Capture {
    pub(crate) queues: BTreeMap<Life, GuestQueue>,
    pub(crate) totals: Totals,
    pub(crate) inconsistencies: Inconsistencies,
    pub(crate) tail_known: bool,
    /// How often the kernel skipped a program, as it counts it itself.
    pub(crate) programs_skipped: u64,
}

impl Capture {
    /// Reads it to its end.
    ///
    /// # Errors
    /// It is cut off, damaged, or holds a packet that is no record.
    pub(crate) fn read(input: impl Read) -> anyhow::Result<Self> {
        let mut reader = CaptureReader::new(input).context("opening the capture")?;
        let mut queues: BTreeMap<Life, GuestQueue> = BTreeMap::new();
        let mut names = BTreeMap::new();
        let mut records = 0;
        let mut ledger = None;
        let mut programs_skipped = 0;
        let mut written: BTreeMap<QueueId, Totals> = BTreeMap::new();
        loop {
            match reader.next_item().context("reading the capture")? {
                Item::Section(section) => {
                    let info = section.info.context("a section without our comment")?;
                    ensure!(ledger.is_none(), "two sections in one capture");
                    ledger = Some(Ledger::new(info.selection));
                }
                Item::Interface(interface) => {
                    let id = interface.queue.context("an interface without a queue")?;
                    names.insert(id, (interface.name, interface.properties));
                }
                Item::Record(packet) => {
                    ledger
                        .as_mut()
                        .context("a record before any section")?
                        .observe(&packet.record);
                    let life = (packet.record.queue(), packet.record.generation().0);
                    let queue = queues.entry(life).or_default();
                    take(queue, records, &packet.record, packet.payload)?;
                    records += 1;
                }
                Item::Corrupt {
                    packet, problem, ..
                } => bail!("packet {packet}: {problem}"),
                Item::Statistics(statistics) => {
                    let id = statistics.queue.context("statistics without a queue")?;
                    programs_skipped = statistics.programs_skipped.max(programs_skipped);
                    let totals = statistics.totals.context("statistics without totals")?;
                    ensure!(statistics.tail_known, "{id}: the tail is not known");
                    written.insert(id, totals);
                }
                Item::End(end) => {
                    ensure!(end.is_complete(), "the capture {end}");
                    break;
                }
            }
        }
        let ledger = ledger.unwrap_or_else(|| Ledger::new(Selection::WHOLE));
        for (id, (name, properties)) in names {
            let lives = (id, 0)..=(id, u16::MAX);
            let told: u64 = queues
                .range(lives.clone())
                .map(|(_, queue)| queue.missed_told())
                .sum();
            let totals = ledger.queue_totals(id);
            if let Some(written) = written.get(&id) {
                ensure!(
                    *written == totals,
                    "{id}: the capture's statistics say {written:?}, its records {totals:?}"
                );
            }
            let unkept = totals.missed.checked_sub(told).with_context(|| {
                format!(
                    "{id}: {told} operations were told to be missed, and {} counted",
                    totals.missed
                )
            })?;
            for (_, queue) in queues.range_mut(lives) {
                queue.name.clone_from(&name);
                queue.properties.clone_from(&properties);
                queue.unkept = if queue.is_reset { 0 } else { unkept };
            }
        }
        Ok(Self {
            queues,
            totals: ledger.totals(),
            inconsistencies: ledger.inconsistencies(),
            tail_known: ledger.tail_known(),
            programs_skipped,
        })
    }

    /// The queues of one device, before anything was reset.
    pub(crate) fn of_device(&self, device: u16) -> impl Iterator<Item = (QueueId, &GuestQueue)> {
        self.queues
            .iter()
            .filter(move |((id, generation), _)| id.device == device && *generation == 0)
            .map(|((id, _), queue)| (*id, queue))
    }
}

/// Takes over what a record, the one of this number, says of its queue.
fn take(queue: &mut GuestQueue, at: u64, record: &Record, payload: &[u8]) -> anyhow::Result<()> {
    let token = record.token().0;
    match record.body().context("a record that is not understood")? {
        Body::Add(add) => {
            queue.added += 1;
            queue.adds.push(Added::Seen(AddSeen {
                at,
                position: add.position.0,
                token,
                head: add.head,
                readable_segments: add.readable_segments.into(),
                writable_segments: add.writable_segments.into(),
                readable_bytes: add.readable_bytes,
                writable_bytes: add.writable_bytes,
                descriptors: add.descriptors,
                payload: payload.to_vec(),
            }));
        }
        Body::Used(used) => queue.used.push(Returned::Seen(UsedSeen {
            at,
            position: used.position.0,
            token,
            head: used.head,
            used_length: used.used_length,
            payload: payload.to_vec(),
        })),
        Body::Missed(missed) => match missed.operation() {
            Some(Kind::Add) => {
                queue.added += missed.count as usize;
                queue.adds.push(Added::Missed {
                    position: missed.old.0,
                    count: missed.count,
                });
            }
            Some(Kind::Used) => queue.used.push(Returned::Missed {
                position: missed.old.0,
                count: missed.count,
            }),
            other => *queue.missed_else.entry(other).or_default() += u64::from(missed.count),
        },
        Body::Kick(_) if record.flags().contains(Flags::NOTIFICATION_NEEDED) => {
            queue.kicks_needed += 1;
        }
        Body::Notify(_) => queue.notified.push(queue.added),
        Body::InFlight(_) => queue.in_flight += 1,
        Body::QueueFacts(facts) => {
            let layout_changed = queue
                .facts
                .is_some_and(|before| before.layout != facts.layout || before.size != facts.size);
            ensure!(!layout_changed, "a queue's layout or size has changed");
            queue.facts = Some(facts);
        }
        Body::Reset(_) => queue.is_reset = true,
        _ => {}
    }
    Ok(())
}

/// How a queue counts its positions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Positions {
    layout: Layout,
    size: u16,
}

impl Positions {
    pub(crate) fn of(facts: &QueueFacts) -> anyhow::Result<Self> {
        ensure!(facts.size > 0, "a queue of size 0");
        Ok(Self {
            layout: facts.layout,
            size: facts.size,
        })
    }

    pub(crate) const fn size(self) -> usize {
        self.size as usize
    }

    /// The position of the buffer of this number since the reset, from 0: an index
    /// that wraps at 65536; or, packed, the entry with the wrap counter above it
    /// (virtio 1.4 §2.8.1), for buffers of one entry each.
    pub(crate) fn at(self, number: usize) -> u16 {
        match self.layout {
            Layout::Split => number as u16,
            Layout::Packed => {
                let round = number / self.size();
                let wrap = u16::from(round.is_multiple_of(2));
                (number % self.size()) as u16 | wrap << 15
            }
        }
    }

    /// The first number from `floor` on that has this position, if any has.
    pub(crate) fn number(self, position: u16, floor: usize) -> Option<usize> {
        let period = match self.layout {
            Layout::Split => 1 << 16,
            Layout::Packed => 2 * self.size(),
        };
        (floor..floor + period).find(|number| self.at(*number) == position)
    }

    /// Whether every buffer takes one entry, so that [`at`](Self::at) holds.
    pub(crate) const fn is_one_each(self, descriptors: u16) -> bool {
        matches!(self.layout, Layout::Split) || descriptors == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_of_a_split_ring_wrap_at_65536() {
        let positions = Positions {
            layout: Layout::Split,
            size: 128,
        };
        assert_eq!(positions.at(65_537), 1);
        assert_eq!(positions.number(3, 65_530), Some(65_539));
    }

    #[test]
    fn positions_of_a_packed_ring_turn_their_wrap_counter() {
        let positions = Positions {
            layout: Layout::Packed,
            size: 128,
        };
        assert_eq!(positions.at(0), 0x8000);
        assert_eq!(positions.at(127), 0x807f);
        assert_eq!(positions.at(128), 0);
        assert_eq!(positions.at(256), 0x8000);
        assert_eq!(positions.number(5, 130), Some(133));
        assert_eq!(positions.number(0x8005, 130), Some(261));
        assert_eq!(positions.number(200, 0), None);
    }
}
