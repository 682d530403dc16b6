//! A part of a capture: by time, by queue, by request.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::ops::RangeInclusive;

use virtscope_record::{Body, QueueId, Record, Timestamp};

use super::requests::{Belongs, Requests, contains};
use super::source::Source;
use super::{Done, EditError, write};
use crate::{CaptureInfo, CaptureWriter, Origin, Selection};

/// How far records of different producers may be out of the order of time: a
/// slice reads on for so long behind its end.
const DISORDER_NS: u64 = 1_000_000_000;

/// Which part.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SliceSpec {
    /// From so many nanoseconds after the first record on.
    pub from_ns: Option<u64>,
    /// Up to so many nanoseconds after the first record, that moment not
    /// included.
    pub to_ns: Option<u64>,
    /// These queues; all of them, if empty.
    pub queues: Vec<QueueId>,
    /// Requests with these numbers (counted from 0, in the order in which they
    /// begin); all of them, if empty.
    pub requests: Vec<RangeInclusive<u64>>,
    /// Keep what is there of requests that are not chosen as a whole.
    pub halves: bool,
}

impl SliceSpec {
    fn has_queue(&self, queue: QueueId) -> bool {
        self.queues.is_empty() || self.queues.contains(&queue)
    }
}

impl std::fmt::Display for SliceSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let seconds = |ns: u64| ns as f64 / 1e9;
        let mut parts = Vec::new();
        match (self.from_ns, self.to_ns) {
            (Some(from), Some(to)) => {
                parts.push(format!("from {} s to {} s", seconds(from), seconds(to)));
            }
            (Some(from), None) => parts.push(format!("from {} s on", seconds(from))),
            (None, Some(to)) => parts.push(format!("up to {} s", seconds(to))),
            (None, None) => {}
        }
        let list = |words: Vec<String>| words.join(", ");
        if !self.queues.is_empty() {
            let queues = self.queues.iter().map(ToString::to_string);
            parts.push(format!("queues {}", list(queues.collect())));
        }
        if !self.requests.is_empty() {
            let ranges = self.requests.iter().map(|range| {
                let (first, last) = (range.start(), range.end());
                match first == last {
                    true => first.to_string(),
                    false => format!("{first}..{last}"),
                }
            });
            parts.push(format!("requests {}", list(ranges.collect())));
        }
        if self.halves {
            parts.push("halves of requests included".to_owned());
        }
        f.write_str(&parts.join(", "))
    }
}

/// What became of a slice.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sliced {
    /// The part.
    pub done: Done,
    /// Records that were left out.
    pub left_out: u64,
}

/// Decides record by record.
#[derive(Debug)]
struct Slicer<'a> {
    spec: &'a SliceSpec,
    requests: Requests,
    first: Option<Timestamp>,
    now: Timestamp,
}

impl Slicer<'_> {
    fn ns(&self, time: Timestamp) -> u64 {
        time.nanos_since(self.first.unwrap_or(time))
    }

    fn is_in_time(&self, time: Timestamp) -> bool {
        let ns = self.ns(time);
        self.spec.from_ns.is_none_or(|from| ns >= from) && self.spec.to_ns.is_none_or(|to| ns < to)
    }

    fn keeps(&mut self, record: &Record) -> bool {
        let (spec, queue, time) = (self.spec, record.queue(), record.time());
        self.first.get_or_insert(time);
        self.now = self.now.max(time);
        let in_time = self.is_in_time(time);
        let in_queue = spec.has_queue(queue);
        let number = self.requests.next();
        let by_number = !spec.requests.is_empty();
        let belongs = self.requests.follow(record, |number| {
            in_queue && in_time && (!by_number || contains(&spec.requests, number))
        });
        if !in_queue {
            return false;
        }
        match belongs {
            Belongs::Chosen => true,
            Belongs::NotChosen => spec.halves && in_time && !by_number,
            // Where all is wanted, what began before the capture is, too.
            Belongs::Unknown if by_number => contains(&spec.requests, number),
            Belongs::Unknown => in_time && (spec.halves || spec.from_ns.is_none()),
            Belongs::Queue => {
                if matches!(record.body(), Ok(Body::Statistics(_))) {
                    return in_time && !by_number;
                }
                (in_time && !by_number) || self.requests.waits(queue)
            }
        }
    }

    /// Whether nothing more can be wanted.
    fn is_over(&self) -> bool {
        if self.requests.any_waits() {
            return false;
        }
        let spec = self.spec;
        let late = spec
            .to_ns
            .is_some_and(|to| self.ns(self.now) >= to.saturating_add(DISORDER_NS));
        let last = spec.requests.iter().map(|range| *range.end()).max();
        late || last.is_some_and(|last| self.requests.next() > last)
    }
}

/// Copies the part of `source` that `spec` says to `out`. It is never half a
/// request, unless that is asked for: what belongs to a request that begins in the
/// part is copied to its end, and what belongs to another is left out.
///
/// # Errors
/// A capture that cannot be read, an output that cannot be written, a part in
/// which nothing is; [`EditError::Interrupted`] when `stop` says so.
pub fn slice<R: Read, W: Write>(
    source: &mut Source<R>,
    out: W,
    spec: &SliceSpec,
    origin: Origin,
    stop: &dyn Fn() -> bool,
) -> Result<Sliced, EditError> {
    let read = |source| EditError::Read { input: 0, source };
    let mut slicer = Slicer {
        spec,
        requests: Requests::default(),
        first: None,
        now: Timestamp::default(),
    };
    let mut out = Some(out);
    let mut writer: Option<CaptureWriter<W>> = None;
    // The facts that hold, until something of their queue is wanted.
    let mut facts: HashMap<QueueId, (Record, Vec<u8>)> = HashMap::new();
    // Losses up to the last record of a queue, and those in the part.
    let mut lost_so_far: HashMap<QueueId, u64> = HashMap::new();
    let mut lost_before: HashMap<QueueId, u64> = HashMap::new();
    let mut lost_within: HashMap<QueueId, u64> = HashMap::new();
    let mut left_out = 0;
    while let Some(record) = source.next_record().map_err(read)? {
        if stop() {
            return Err(EditError::Interrupted);
        }
        let queue = record.queue();
        let lost = source.ledger().queue_totals(queue).lost;
        let lost_till_now = lost_so_far.insert(queue, lost).unwrap_or(0);
        let keeps = slicer.keeps(&record);
        let is_facts = matches!(record.body(), Ok(Body::QueueFacts(_)));
        if is_facts && spec.has_queue(queue) {
            if lost_before.contains_key(&queue) && !keeps && !slicer.is_in_time(record.time()) {
                left_out += 1;
            } else if !keeps {
                let old = facts.insert(queue, (record, source.payload().to_vec()));
                left_out += u64::from(old.is_some());
            }
        } else if !keeps {
            left_out += 1;
        }
        if keeps {
            if let (None, Some(out), Some(info)) = (&writer, out.take(), source.info()) {
                let info = CaptureInfo {
                    selection: Selection {
                        cut: true,
                        ..info.selection
                    },
                    recording: source.recording(),
                    ..*info
                };
                writer = Some(CaptureWriter::with_origin(out, info, &origin)?);
            }
            if let Some(writer) = &mut writer {
                let held = facts.remove(&queue).filter(|_| !is_facts);
                if let Some((held, payload)) = held {
                    let in_flight = match spec.halves {
                        true => Some(slicer.requests.in_flight(queue)),
                        false => None,
                    };
                    writer.write(&at_the_cut(held, &record, in_flight), &payload)?;
                }
                let before = *lost_before.entry(queue).or_insert(lost_till_now);
                lost_within.insert(queue, lost.saturating_sub(before));
                let settled = source.ledger().settled_losses(queue);
                writer.tell_lost(queue, settled.saturating_sub(before));
                write(writer, &record, source.payload(), || source.name(queue))?;
            }
        }
        if slicer.is_over() {
            break;
        }
    }
    let Some(mut writer) = writer else {
        return Err(EditError::Nothing);
    };
    left_out += facts.len() as u64;
    for (queue, lost) in lost_within {
        writer.tell_lost(queue, lost);
    }
    let totals = writer.finish()?;
    Ok(Sliced {
        done: Done { totals, origin },
        left_out,
    })
}

/// Facts from before a part, as they are when it begins with `first`.
fn at_the_cut(facts: Record, first: &Record, in_flight: Option<u16>) -> Record {
    let facts = facts.at(first.time());
    match (facts.body(), in_flight) {
        (Ok(Body::QueueFacts(body)), Some(in_flight)) => Record::new(
            facts.common(),
            Body::QueueFacts(virtscope_record::QueueFacts { in_flight, ..body }),
        ),
        _ => facts,
    }
}
