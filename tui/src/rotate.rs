//! A capture in several files: each can be read by itself, and together they are the
//! capture that one file would have been.
//!
//! Every file begins with what those before it have said: the queues' facts, where every
//! producer stands, and the buffers in flight; and all but the last one end with where
//! every producer stands then. Those records are marked
//! [`REPEATED`](Flags::REPEATED) and count nowhere.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use virtscope_captures::{CaptureInfo, CaptureWriter, CreateError, WriteError, create_file};
use virtscope_record::{
    Body, Common, Context, Flags, InFlight, Kind, Producer, QueueFacts, QueueId, Record, Sequence,
    Statistics, Timestamp,
};

use crate::recorder::Output;

/// How much more than its size a file may get while records are out of order: one that
/// comes late belongs into the file in which it is missing. A gap is believed, and waited
/// for no longer, when 256 records of its producer have come behind it; this is for those
/// that make no more. It is more where records may be long.
const OVERDRAFT: u64 = 64 << 10;

/// Records this much behind the latest are those of a queue that became known late, which
/// were held until then, or those that a busy machine has kept waiting. A file that ended
/// among them would tell of a silence that there was not. It is more than the recorder's
/// window in which records are put in order.
const BEHIND_NS: u64 = 100_000_000;

/// How much more than its size a file may get while such records come.
const OVERDRAFT_BEHIND: u64 = 16 << 20;

/// How a capture is spread over files.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rotate {
    /// The first file; those behind it have `.1`, `.2` … appended.
    pub path: PathBuf,
    /// Bytes from which on another file is begun.
    pub size: u64,
    /// How many files are kept; `None`: all.
    pub count: Option<usize>,
}

/// What the files behind the first one have to say.
#[derive(Debug)]
pub(crate) struct Files {
    rotate: Rotate,
    info: CaptureInfo,
    number: u64,
    /// Those that are there, the oldest first.
    there: VecDeque<PathBuf>,
    /// Bytes of the files before this one.
    before: u64,
    /// Bytes with which this one begins.
    beginning: u64,
    /// The latest moment of any record. What a file ends with and the next one begins
    /// with is of this moment, so that it stands behind all of this file by its time too;
    /// and later than those of the file before, whose records may all be of earlier ones.
    latest: Timestamp,
    /// Whether the record before was much behind it; the recorder's own never are.
    is_behind: bool,
    queues: BTreeMap<QueueId, Queue>,
}

/// What has been said of one queue.
#[derive(Debug)]
struct Queue {
    facts: Record,
    body: QueueFacts,
    text: Box<[u8]>,
    /// By head: the buffers in flight, and how often something had been lost when each
    /// was added.
    in_flight: HashMap<u16, (Flight, u64)>,
}

#[derive(Clone, Copy, Debug)]
struct Flight {
    common: Common,
    body: InFlight,
}

impl Files {
    /// `info` is what all files say of themselves.
    pub(crate) fn new(rotate: Rotate, info: CaptureInfo) -> Self {
        Self {
            there: VecDeque::from([rotate.path.clone()]),
            rotate,
            info,
            number: 0,
            before: 0,
            beginning: 0,
            latest: Timestamp::default(),
            is_behind: false,
            queues: BTreeMap::new(),
        }
    }

    /// No more can be written. A file into which nothing came is no capture, and who merges
    /// all of them would stumble over it.
    pub(crate) fn give_up(&self) {
        if self.number > 0
            && let Some(newest) = self.there.back()
            && fs::metadata(newest).is_ok_and(|file| file.is_file() && file.len() == 0)
        {
            // Where it can't be deleted it is as it was.
            let _ = remove(newest);
        }
    }

    /// Bytes of the files before this one.
    pub(crate) const fn before(&self) -> u64 {
        self.before
    }

    /// Takes note of a record that was written, and says whether to go on in another file.
    pub(crate) fn note(
        &mut self,
        record: &Record,
        payload: &[u8],
        writer: &CaptureWriter<Output>,
    ) -> bool {
        self.latest = self.latest.max(record.time());
        let losses = writer.ledger().loss_epoch(record.queue());
        self.follow(record, payload, losses);
        if record.producer() != Producer::Recorder {
            self.is_behind = self.latest.nanos_since(record.time()) > BEHIND_NS;
        }
        let size = writer.size();
        // What files begin with shall not be most of what they have.
        let limit = self.rotate.size.max(2 * self.beginning);
        let Some(more) = size.checked_sub(limit) else {
            return false;
        };
        if self.is_behind {
            return more >= OVERDRAFT_BEHIND;
        }
        // The recorder tells of the present, and records of what was before may be on
        // their way.
        if record.producer() == Producer::Recorder {
            return more >= self.overdraft();
        }
        writer.ledger().is_settled() || more >= self.overdraft()
    }

    /// See [`OVERDRAFT`]: room for a few of the longest records in any case.
    fn overdraft(&self) -> u64 {
        OVERDRAFT.max(4 * u64::from(self.info.snaplen))
    }

    fn follow(&mut self, record: &Record, payload: &[u8], losses: u64) {
        let Ok(body) = record.body() else {
            return;
        };
        if let Body::QueueFacts(facts) = body {
            let in_flight = match self.queues.remove(&record.queue()) {
                Some(before) if before.facts.generation() == record.generation() => {
                    before.in_flight
                }
                _ => HashMap::new(),
            };
            let queue = Queue {
                facts: *record,
                body: facts,
                text: payload.into(),
                in_flight,
            };
            self.queues.insert(record.queue(), queue);
            return;
        }
        let Some(queue) = self.queues.get_mut(&record.queue()) else {
            return;
        };
        let common = record.common();
        let in_flight = &mut queue.in_flight;
        match body {
            Body::Add(add) => {
                let body = InFlight {
                    free: add.free,
                    error: 0,
                    readable_bytes: add.readable_bytes,
                    writable_bytes: add.writable_bytes,
                    head: add.head,
                    readable_segments: add.readable_segments,
                    writable_segments: add.writable_segments,
                    descriptors: add.descriptors,
                };
                in_flight.insert(add.head, (Flight { common, body }, losses));
            }
            Body::InFlight(body) => {
                in_flight.insert(body.head, (Flight { common, body }, losses));
            }
            Body::Used(used) => {
                in_flight.remove(&used.head);
            }
            Body::Detach(detach) => {
                in_flight.remove(&detach.head);
            }
            Body::Missed(missed) if missed.operation() == Some(Kind::Used) => {
                match missed.head() {
                    Some(head) => drop(in_flight.remove(&head)),
                    // It may have been any of them.
                    None => in_flight.clear(),
                }
            }
            Body::Reset(_) => in_flight.clear(),
            _ => {}
        }
    }

    /// Ends the file that `writer` writes and begins the next one.
    ///
    /// # Errors
    /// The one can't be written on, the other can't be made. What was written stands.
    pub(crate) fn next(
        &mut self,
        mut writer: CaptureWriter<Output>,
    ) -> Result<CaptureWriter<Output>, WriteError> {
        let at = self.latest;
        self.latest = Timestamp::from_nanos(at.as_nanos().saturating_add(1));
        let standings: Vec<(QueueId, Statistics)> = writer.ledger().standings().collect();
        for (queue, standing) in &standings {
            let last = Statistics {
                is_final: true,
                ..*standing
            };
            writer.write(&repeated(at, *queue, Body::Statistics(last)), &[])?;
        }
        let losses: HashMap<QueueId, u64> = self
            .queues
            .keys()
            .map(|queue| (*queue, writer.ledger().loss_epoch(*queue)))
            .collect();
        self.before += writer.finish_sized()?.1;
        self.number += 1;
        let mut path = self.rotate.path.clone().into_os_string();
        path.push(format!(".{}", self.number));
        let path = PathBuf::from(path);
        let file = create_file(&path).map_err(not_made)?;
        self.there.push_back(path);
        self.forget()?;
        let mut writer = CaptureWriter::new(Box::new(file) as Output, self.info)?;
        for (id, queue) in &mut self.queues {
            let now = losses.get(id).copied().unwrap_or_default();
            // A buffer may have come back by a record that was lost.
            queue.in_flight.retain(|_, (_, then)| *then == now);
            let facts = QueueFacts {
                in_flight: u16::try_from(queue.in_flight.len()).unwrap_or(u16::MAX),
                ..queue.body
            };
            let common = queue.facts.common();
            writer.write(&again(at, common, Body::QueueFacts(facts)), &queue.text)?;
        }
        for (queue, standing) in standings {
            writer.write(&repeated(at, queue, Body::Statistics(standing)), &[])?;
        }
        for queue in self.queues.values_mut() {
            for (flight, losses) in queue.in_flight.values_mut() {
                *losses = 0;
                writer.write(&again(at, flight.common, Body::InFlight(flight.body)), &[])?;
            }
        }
        self.beginning = writer.size();
        Ok(writer)
    }

    /// Deletes the oldest files, if there are more than are wanted.
    fn forget(&mut self) -> Result<(), WriteError> {
        let Some(count) = self.rotate.count else {
            return Ok(());
        };
        while self.there.len() > count.max(1)
            && let Some(oldest) = self.there.pop_front()
        {
            remove(&oldest).map_err(|source| WriteError::Output { written: 0, source })?;
        }
        Ok(())
    }
}

/// Deletes a file; somebody else may have been quicker.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io::Error::new(
            error.kind(),
            format!("{} cannot be deleted: {error}", path.display()),
        )),
        _ => Ok(()),
    }
}

/// Of the new file nothing is written; what stands in those before is added by who tells.
fn not_made(error: CreateError) -> WriteError {
    match error {
        CreateError::Other { source, .. }
            if matches!(
                source.kind(),
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
            ) =>
        {
            WriteError::DiskFull { written: 0, source }
        }
        error => WriteError::Output {
            written: 0,
            source: io::Error::other(error),
        },
    }
}

/// The recorder's word on a queue, at a file's end or beginning.
fn repeated(at: Timestamp, queue: QueueId, body: Body) -> Record {
    let common = Common {
        queue,
        context: Context::Task,
        process: std::process::id(),
        ..Common::default()
    };
    again(at, common, body)
}

/// What was said before, at this moment, without a number.
fn again(at: Timestamp, common: Common, body: Body) -> Record {
    let common = Common {
        time: at,
        producer: Producer::Recorder.id(),
        sequence: Sequence(0),
        flags: common.flags | Flags::REPEATED,
        ..common
    };
    Record::new(common, body)
}

#[cfg(test)]
mod tests;
