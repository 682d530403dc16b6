//! Several captures in one, on one clock.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, HashSet};
use std::io::{Read, Write};

use virtscope_record::{Body, Flags, Producer, QueueId, Record, Timestamp};

use super::seen::{Seen, Verdict, about, is_last};
use super::source::Source;
use super::{Done, EditError, write};
use crate::{CaptureInfo, CaptureWriter, ClockOffset, Origin, Selection};

/// Where a queue of a capture stands in the merged one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Placed {
    /// Which capture, from 0.
    pub input: usize,
    /// What the queue is there.
    pub was: QueueId,
    /// What it is here.
    pub is: QueueId,
}

/// What became of several captures.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Combined {
    /// The capture they are now.
    pub done: Done,
    /// Queues that have another number than before.
    pub renumbered: Vec<Placed>,
    /// Records that stood in more than one of them, written once.
    pub duplicates: u64,
    /// Captures that were not read as they were meant to be: which, from 0, and
    /// why.
    pub troubles: Vec<(usize, String)>,
}

/// Captures about to become one.
#[derive(Debug)]
pub struct Combine<R> {
    inputs: Vec<Input<R>>,
    clock: ClockOffset,
    /// Which of them has the clock that all are brought onto.
    reference: usize,
}

#[derive(Debug)]
struct Input<R> {
    name: String,
    source: Source<R>,
    next: Option<Record>,
    /// The same for all parts of one recording.
    recording: u64,
    shift_ns: u64,
    clock: ClockOffset,
    /// By device number, as it was.
    devices: HashMap<u16, u16>,
}

/// The next record of an input: its time; whether a file of several begins with it, which
/// comes behind all that the file before it has; then which input.
type Head = Reverse<(Timestamp, bool, usize)>;

impl<R: Read> Combine<R> {
    /// The captures, each with the name by which to call it.
    ///
    /// Their records are brought onto the clock that was started first, by Unix
    /// time; captures of one recording share a clock as they are, and so do those
    /// whose clocks differ by less than they may be wrong.
    ///
    /// # Errors
    /// A capture that cannot be read.
    pub fn new(captures: Vec<(String, Source<R>)>) -> Result<Self, EditError> {
        let mut inputs = Vec::with_capacity(captures.len());
        for (input, (name, mut source)) in captures.into_iter().enumerate() {
            let next = source
                .next_record()
                .map_err(|source| EditError::Read { input, source })?;
            let clock = source.info().map(|info| info.clock).unwrap_or_default();
            inputs.push(Input {
                name,
                recording: source.recording().unwrap_or_default(),
                source,
                next,
                shift_ns: 0,
                clock,
                devices: HashMap::new(),
            });
        }
        let with_records = inputs.iter().enumerate().filter(|(_, i)| i.next.is_some());
        let reference = with_records
            .min_by_key(|(_, input)| input.clock.offset_ns())
            .map_or(0, |(at, _)| at);
        let clock = inputs.get(reference).map(|i| i.clock).unwrap_or_default();
        for input in &mut inputs {
            let apart = input.clock.offset_ns().saturating_sub(clock.offset_ns());
            let apart = apart.max(0).cast_unsigned();
            if apart > clock.error_ns().saturating_add(input.clock.error_ns()) {
                input.shift_ns = apart;
            }
        }
        Ok(Self {
            inputs,
            clock,
            reference,
        })
    }

    /// One sentence a capture: on which clock it is now.
    pub fn clock_sentences(&self) -> Vec<String> {
        let reference = match self.inputs.get(self.reference) {
            Some(input) => input.name.as_str(),
            None => return Vec::new(),
        };
        let mut sentences = vec![format!(
            "all times are on the monotonic clock of {reference}"
        )];
        for (at, input) in self.inputs.iter().enumerate() {
            let give_or_take = self.clock.error_ns().saturating_add(input.clock.error_ns());
            let of_one =
                |other: &Input<R>| other.recording == input.recording && other.clock == input.clock;
            if at == self.reference || self.inputs.get(self.reference).is_some_and(of_one) {
            } else if input.shift_ns == 0 {
                sentences.push(format!(
                    "{} has the same clock, give or take {give_or_take} ns",
                    input.name
                ));
            } else {
                sentences.push(format!(
                    "{} was moved by {} ns to the same Unix time, give or take {give_or_take} ns",
                    input.name, input.shift_ns
                ));
            }
        }
        sentences
    }

    /// Writes them as one capture to `out`, in the order of time.
    ///
    /// Queues of one recording are the same queues, and records that several of
    /// its parts have are written once. Other recordings' devices keep their
    /// numbers where they are free and get the next free ones where not.
    ///
    /// # Errors
    /// A capture that cannot be read, an output that cannot be written;
    /// [`EditError::Interrupted`] when `stop` says so.
    pub fn write<W: Write>(
        mut self,
        out: W,
        mut origin: Origin,
        stop: &dyn Fn() -> bool,
    ) -> Result<Combined, EditError> {
        for input in &self.inputs {
            for line in input.source.origin().lines() {
                origin.add(&format!("{}: {line}", input.name));
            }
        }
        for sentence in self.clock_sentences() {
            origin.add(&sentence);
        }
        let mut writer = CaptureWriter::with_origin(out, self.info(), &origin)?;
        let whole = self.info().selection.is_whole();
        let mut devices = Devices::default();
        let mut heads: BinaryHeap<Head> = self
            .inputs
            .iter()
            .enumerate()
            .filter_map(|(at, input)| input.head(at))
            .collect();
        let mut duplicates = 0;
        // Records of one recording can stand in several of its parts.
        let mut seen = Seen::new(self.inputs.iter().map(|input| input.recording));
        // Where the producers of a recording stood when one of its files ended.
        let mut finals = BTreeMap::new();
        while let Some(Reverse((time, _, at))) = heads.pop() {
            if stop() {
                return Err(EditError::Interrupted);
            }
            let Some(input) = self.inputs.get_mut(at) else {
                continue;
            };
            let Some(record) = input.next.take() else {
                continue;
            };
            let verdict = seen.look(input.recording, at, &record);
            if verdict == Verdict::New {
                let queue = input.place(&record, &mut devices)?;
                let moved = record.at(time).of_queue(queue);
                if !whole {
                    let lost = input.source.ledger().settled_losses(record.queue());
                    writer.tell_lost(queue, lost);
                }
                let name = || renamed(&input.source.name(record.queue()), record.queue(), queue);
                if matches!(record.body(), Ok(Body::QueueFacts(_))) && queue != record.queue() {
                    let payload = input.renamed_facts(&record, queue);
                    write(&mut writer, &moved, &payload, name)?;
                } else {
                    write(&mut writer, &moved, input.source.payload(), name)?;
                }
            } else if verdict == Verdict::Duplicate {
                duplicates += 1;
            } else if verdict == Verdict::Last && about(&record) != Producer::Recorder.id() {
                let queue = input.place(&record, &mut devices)?;
                finals.insert((queue, about(&record)), record.at(time).of_queue(queue));
            }
            input.next = input
                .source
                .next_record()
                .map_err(|source| EditError::Read { input: at, source })?;
            heads.extend(input.head(at));
        }
        for ((queue, producer), last) in finals {
            // The file with the producer's own last word is not among them.
            if !writer.ledger().has_final(queue, producer) {
                write(&mut writer, &last, &[], || queue.to_string())?;
            }
        }
        self.settle(&mut writer, whole);
        writer.tell_programs_skipped(self.programs_skipped());
        let totals = writer.finish()?;
        Ok(Combined {
            done: Done { totals, origin },
            renumbered: self.renumbered(),
            duplicates,
            troubles: self.troubles(),
        })
    }

    /// Each file of a recording tells of all that was before in it.
    fn programs_skipped(&self) -> u64 {
        let mut skipped: BTreeMap<u64, u64> = BTreeMap::new();
        for input in &self.inputs {
            let most = skipped.entry(input.recording).or_default();
            *most = (*most).max(input.source.programs_skipped());
        }
        skipped.into_values().fold(0, u64::saturating_add)
    }

    fn troubles(&self) -> Vec<(usize, String)> {
        let inputs = self.inputs.iter().enumerate();
        inputs
            .filter_map(|(at, input)| Some((at, input.source.trouble()?)))
            .collect()
    }

    fn info(&self) -> CaptureInfo {
        let infos = || self.inputs.iter().filter_map(|input| input.source.info());
        let selection = infos().fold(Selection::WHOLE, |all, info| Selection {
            filtered: all.filtered | info.selection.filtered,
            sampled: all.sampled | info.selection.sampled,
            cut: all.cut | info.selection.cut,
        });
        let snaplen = infos().map(|info| info.snaplen).max().unwrap_or(0);
        let mut recordings = self.inputs.iter().map(|input| input.recording);
        let first = recordings.next();
        let shared = recordings.all(|other| Some(other) == first);
        let named = infos().all(|info| info.recording.is_some());
        CaptureInfo {
            selection,
            recording: first.filter(|_| shared && (named || !selection.is_whole())),
            ..CaptureInfo::new(snaplen, self.clock)
        }
    }

    /// What the inputs lost, and whether they ended.
    fn settle<W: Write>(&self, writer: &mut CaptureWriter<W>, whole: bool) {
        let mut lost: HashMap<QueueId, u64> = HashMap::new();
        for input in &self.inputs {
            if !input.source.tail_known() {
                writer.tell_tail_unknown();
            }
            for (device, now) in &input.devices {
                let queues: HashSet<QueueId> = input
                    .source
                    .ledger()
                    .per_producer()
                    .map(|(queue, _, _)| queue)
                    .filter(|queue| queue.device == *device)
                    .collect();
                for queue in queues {
                    let ledger = input.source.ledger();
                    let is_part = input
                        .source
                        .info()
                        .is_some_and(|info| !info.selection.is_whole());
                    let told = match is_part {
                        true => ledger.told_lost(queue),
                        false => ledger.queue_totals(queue).lost,
                    };
                    *lost.entry(QueueId::new(*now, queue.index)).or_default() += told;
                }
            }
        }
        if !whole {
            for (queue, lost) in lost {
                writer.tell_lost(queue, lost);
            }
        }
    }

    fn renumbered(&self) -> Vec<Placed> {
        let mut placed = Vec::new();
        for (at, input) in self.inputs.iter().enumerate() {
            let mut queues: Vec<QueueId> = input
                .source
                .ledger()
                .per_producer()
                .map(|(queue, _, _)| queue)
                .collect();
            queues.dedup();
            for was in queues {
                if let Some(now) = input.devices.get(&was.device)
                    && *now != was.device
                {
                    placed.push(Placed {
                        input: at,
                        was,
                        is: QueueId::new(*now, was.index),
                    });
                }
            }
        }
        placed
    }
}

impl<R: Read> Input<R> {
    fn head(&self, at: usize) -> Option<Head> {
        let next = self.next.as_ref()?;
        let time = next.time().as_nanos().saturating_add(self.shift_ns);
        let begins = next.flags().contains(Flags::REPEATED) && !is_last(next);
        Some(Reverse((Timestamp::from_nanos(time), begins, at)))
    }

    fn place(&mut self, record: &Record, devices: &mut Devices) -> Result<QueueId, EditError> {
        let was = record.queue();
        let device = match self.devices.get(&was.device) {
            Some(device) => *device,
            None => {
                let device = devices.place(self.recording, was.device)?;
                self.devices.insert(was.device, device);
                device
            }
        };
        Ok(QueueId::new(device, was.index))
    }

    /// The facts' text, with the new number in the name and where it came from.
    fn renamed_facts(&self, record: &Record, queue: QueueId) -> Vec<u8> {
        let payload = self.source.payload();
        let end = payload.iter().position(|byte| *byte == b'\n');
        let (name, rest) = payload.split_at(end.unwrap_or(payload.len()));
        let name = String::from_utf8_lossy(name);
        let mut text = renamed(&name, record.queue(), queue).into_bytes();
        text.extend_from_slice(rest);
        text.extend_from_slice(
            format!("\nmerged_from={}\nmerged_as={}", self.name, record.queue()).as_bytes(),
        );
        text
    }
}

/// `virtio0/requests` with the number the device has now.
fn renamed(name: &str, was: QueueId, is: QueueId) -> String {
    let old = format!("virtio{}", was.device);
    match name.strip_prefix(&old) {
        Some(rest) if rest.starts_with(['/', '.']) => format!("virtio{}{rest}", is.device),
        _ => name.to_owned(),
    }
}

/// Who has which device number.
#[derive(Debug, Default)]
struct Devices {
    taken: HashMap<u16, u64>,
    /// By recording and the number there.
    placed: HashMap<(u64, u16), u16>,
}

impl Devices {
    fn place(&mut self, recording: u64, was: u16) -> Result<u16, EditError> {
        if let Some(device) = self.placed.get(&(recording, was)) {
            return Ok(*device);
        }
        let free = |device: &u16| !self.taken.contains_key(device);
        let device = std::iter::once(was)
            .chain(0..=u16::MAX)
            .find(free)
            .ok_or(EditError::Devices)?;
        self.taken.insert(device, recording);
        self.placed.insert((recording, was), device);
        Ok(device)
    }
}
