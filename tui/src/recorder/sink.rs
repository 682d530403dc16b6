//! Where records end up: the analyzer and the capture.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use foldhash::fast::RandomState;
use smallvec::SmallVec;
use virtscope_analyzer::{Analyzer, CaptureEnd};
use virtscope_captures::{CaptureWriter, WriteError};
use virtscope_record::{Common, Kind, Producer, ProducerId, QueueId, Record, Sequence, Timestamp};

use super::{Limits, Output, Recorded, Shared};
use crate::rotate::Files;

/// A record on its way, with its payload.
pub(super) struct Entry {
    pub(super) record: Record,
    pub(super) payload: Payload,
}

/// Headers, which are all the payload that most records have, are kept where the record
/// is: asking for memory and giving it back costs more than to write a packet.
pub(super) type Payload = SmallVec<[u8; 32]>;

/// With what the merge stage keeps beside it, 128 bytes: more are not moved by the
/// registers that the compiler has, but by a call.
const _: () = assert!(size_of::<Entry>() <= 104);

/// Records of a queue that was not declared yet, and the bytes that they take.
#[derive(Default)]
pub(super) struct Held {
    entries: Vec<Entry>,
    bytes: usize,
}

impl Held {
    fn push(&mut self, entry: Entry) {
        let elsewhere = if entry.payload.spilled() {
            entry.payload.len()
        } else {
            0
        };
        self.bytes += size_of::<Entry>() + elsewhere;
        self.entries.push(entry);
    }
}

/// Where records end up, in order.
pub(super) struct Sink {
    pub(super) declared: HashSet<QueueId, RandomState>,
    /// By queue that was not declared yet: its records.
    pub(super) held: HashMap<QueueId, Held>,
    /// By queue: the next sequence number of our own records. They get it here, because
    /// some come by the merge and some past it.
    pub(super) own: HashMap<QueueId, u64>,
    /// If somebody wants to know what it all means.
    pub(super) analyzer: Option<Analyzer>,
    pub(super) writer: Option<CaptureWriter<Output>>,
    /// If the capture goes on in other files.
    pub(super) files: Option<Files>,
    pub(super) failure: Option<WriteError>,
    /// Times that the kernel has skipped a program of the source.
    pub(super) programs_skipped: u64,
    pub(super) shared: Arc<Shared>,
    pub(super) limits: Limits,
    /// By queue and producer: records that came when a limit had been reached. They are no
    /// part of the recording, so whatever is in flight then is in flight at its end.
    pub(super) withheld: HashMap<(QueueId, ProducerId), u64>,
    /// When a limit was reached, by the record that did it.
    pub(super) reached: Option<Timestamp>,
}

impl Sink {
    /// Takes a record; of a queue that nobody knows yet, it is held until somebody tells.
    pub(super) fn take(&mut self, mut entry: Entry) {
        let queue = entry.record.queue();
        if entry.record.kind() == Ok(Kind::QueueFacts) {
            self.put(&mut entry);
            self.declared.insert(queue);
            for mut held in self.held.remove(&queue).unwrap_or_default().entries {
                self.put(&mut held);
            }
        } else if self.declared.contains(&queue) {
            self.put(&mut entry);
        } else {
            self.held.entry(queue).or_default().push(entry);
        }
    }

    /// A queue of which so many bytes of records are held, and still no facts.
    pub(super) fn undeclared(&self, enough: usize) -> Option<QueueId> {
        let mut held = self.held.iter();
        held.find_map(|(queue, held)| (held.bytes >= enough).then_some(*queue))
    }

    fn put(&mut self, entry: &mut Entry) {
        if self.is_too_late(&entry.record) {
            let producer = entry.record.producer().id();
            let stream = (entry.record.queue(), producer);
            *self.withheld.entry(stream).or_default() += 1;
            return;
        }
        self.number(&mut entry.record);
        let Entry { record, payload } = entry;
        if let Some(analyzer) = &mut self.analyzer {
            analyzer.push(record, payload);
        }
        if let Some(writer) = &mut self.writer {
            match writer.write(record, payload) {
                Ok(()) => self.go_on(record, payload),
                Err(error) => self.fail(error),
            }
        }
        self.check_limits(record.time());
    }

    /// Goes on in another file, if this record has filled the one there is.
    fn go_on(&mut self, record: &Record, payload: &[u8]) {
        let (Some(files), Some(writer)) = (&mut self.files, &self.writer) else {
            return;
        };
        if files.note(record, payload, writer)
            && let Some(writer) = self.writer.take()
        {
            match files.next(writer) {
                Ok(mut writer) => {
                    writer.tell_programs_skipped(self.programs_skipped);
                    self.writer = Some(writer);
                }
                Err(error) => self.fail(error),
            }
        }
    }

    /// The kernel has skipped a program so many times by now.
    pub(super) fn tell_programs_skipped(&mut self, times: u64) {
        self.programs_skipped = times;
        if let Some(writer) = &mut self.writer {
            writer.tell_programs_skipped(times);
        }
    }

    /// Bytes that the outputs have taken.
    fn written(&self) -> Option<u64> {
        let before = self.files.as_ref().map_or(0, Files::before);
        Some(before + self.writer.as_ref()?.written())
    }

    /// Bytes of the capture, with those that no output has taken yet.
    fn length(&self) -> Option<u64> {
        let before = self.files.as_ref().map_or(0, Files::before);
        Some(before + self.writer.as_ref()?.size())
    }

    /// Gives the record, if it is our own, the number that it has now.
    fn number(&mut self, record: &mut Record) {
        if record.producer() != Producer::Recorder {
            return;
        }
        let Ok(body) = record.body() else {
            return;
        };
        let next = self.own.entry(record.queue()).or_default();
        let sequence = Sequence(*next as u32);
        *next += 1;
        let common = Common {
            sequence,
            ..record.common()
        };
        *record = Record::new(common, body);
    }

    /// Whether a limit has been reached before this record. What is still said then is how
    /// much there was of what.
    fn is_too_late(&self, record: &Record) -> bool {
        self.reached.is_some()
            && record.producer() != Producer::Recorder
            && record.kind() != Ok(Kind::QueueFacts)
    }

    fn check_limits(&mut self, now: Timestamp) {
        let is_full = self.limits.bytes.zip(self.length());
        let is_full = is_full.is_some_and(|(limit, length)| length >= limit);
        let enough = self.limits.requests.is_some_and(|limit| {
            let requests = self.analyzer.as_ref().map(Analyzer::request_totals);
            requests.is_some_and(|requests| requests.completed + requests.incomplete >= limit)
        });
        if is_full || enough {
            self.reached.get_or_insert(now);
            self.shared.limit_reached.store(true, Ordering::Release);
        }
    }

    /// The capture ends here; what was written of it stands.
    fn fail(&mut self, error: WriteError) {
        self.writer = None;
        if let Some(files) = &self.files {
            files.give_up();
        }
        let error = error.after(self.files.as_ref().map_or(0, Files::before));
        let mut failed = self
            .shared
            .failed
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *failed = Some(error.to_string());
        self.failure = Some(error);
        self.shared.capture_failed.store(true, Ordering::Release);
    }

    pub(super) fn publish(&mut self, now: Option<Timestamp>) {
        if let Some(writer) = &mut self.writer {
            match writer.flush() {
                Ok(()) => {
                    let written = self.written().unwrap_or_default();
                    self.shared.written.store(written, Ordering::Relaxed);
                }
                Err(error) => self.fail(error),
            }
        }
        let Some(analyzer) = &mut self.analyzer else {
            return;
        };
        let wanted = self.shared.wanted.lock();
        if let Some(filter) = wanted.unwrap_or_else(PoisonError::into_inner).take() {
            analyzer.show_only(filter);
        }
        // The last one is for whoever comes later.
        let is_last = now.is_none();
        if self.shared.is_looked_at.swap(false, Ordering::Relaxed) || is_last {
            let snapshot = analyzer.snapshot(now);
            self.shared.snapshot.store(Arc::new(snapshot));
        }
    }

    pub(super) fn end(mut self, snaplen: u32) -> Recorded {
        if let Some(analyzer) = &mut self.analyzer {
            analyzer.finish();
        }
        self.publish(None);
        if let Some(analyzer) = &mut self.analyzer
            && analyzer.filter().is_some()
        {
            analyzer.show_only(None);
        }
        let capture = match self.writer.take().map(CaptureWriter::finish) {
            Some(Ok(totals)) => Some(totals),
            Some(Err(error)) => {
                self.fail(error);
                None
            }
            None => None,
        };
        let end = CaptureEnd {
            snaplen: Some(snaplen),
            programs_skipped: self.programs_skipped,
            ..CaptureEnd::default()
        };
        Recorded {
            report: self.analyzer.map(|analyzer| analyzer.report(&end)),
            capture,
            failure: self.failure,
        }
    }
}
