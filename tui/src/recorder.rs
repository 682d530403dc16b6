//! The drainer: takes records out of the byte rings, puts them in order, and
//! hands each to the capture and to the analyzer.
//!
//! It never blocks a producer. What a full byte ring refused is counted by the
//! ring; what the capture can't take ends the capture, not the analysis.

use std::collections::{HashMap, HashSet};
use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use virtscope_analyzer::{Analyzer, CaptureEnd, Filter, Options, Report, Snapshot};
use virtscope_captures::{
    CaptureInfo, CaptureWriter, ClockOffset, Merge, MergeConfig, Selection, StreamKey, Totals,
    WriteError,
};
use virtscope_driver::instrument::live::{Hub, monotonic_now};
use virtscope_record::{
    Body, Common, Context, Flags, Generation, InFlight, Kind, Producer, ProducerId, QueueFacts,
    QueueId, Record, Sequence, Statistics, Timestamp, Token,
};

use crate::rotate::{Files, Rotate};

/// How long the drainer rests between two looks.
const INTERVAL: Duration = Duration::from_millis(5);
/// How old a record must be before it is believed that none earlier will come: a
/// thread may be preempted between taking the time and writing the record.
const REORDER_WINDOW: Duration = Duration::from_millis(60);
/// Records held back at most.
const REORDER_CAPACITY: usize = 1 << 18;
/// How often a new snapshot is made.
const SNAPSHOT_INTERVAL: Duration = Duration::from_millis(100);
/// How often statistics are written, so that the capture's clock goes on while
/// nothing happens.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// Where records come from.
pub trait Source: Send {
    /// Bytes of payload a record carries at most.
    fn snaplen(&self) -> u32;

    /// What is left out of the stream on purpose.
    fn selection(&self) -> Selection {
        Selection::WHOLE
    }

    /// Hands every record made up to now to `take`, each producer's in the order of
    /// their numbers.
    fn drain(&mut self, take: &mut dyn FnMut(&Record, &[u8]));

    /// What is said of the queues from the start.
    fn describe(&mut self, _: &[QueueNotice]) {}

    /// Producers that were at work before somebody looked, and the number with which
    /// their records begin: none has been handed out yet.
    fn begun(&mut self) -> Vec<Begun> {
        Vec::new()
    }

    /// Queues that have become known by other means than their own records.
    fn notices(&mut self) -> Vec<QueueNotice> {
        Vec::new()
    }

    /// Has records made of what only looking shows; once for each heartbeat.
    fn look(&mut self) {}

    /// The counters of every producer of every queue.
    fn counters(&self) -> Vec<Counters>;

    /// Makes no more records; those made before are still drained.
    fn stop(&mut self) {}
}

/// A producer whose records begin with another number than 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Begun {
    /// Whose queue.
    pub queue: QueueId,
    /// Who.
    pub producer: ProducerId,
    /// The number of its first record.
    pub number: u64,
}

/// One producer's counters of one queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Counters {
    /// Whose queue.
    pub queue: QueueId,
    /// Whose they are.
    pub producer: ProducerId,
    /// Records made, lost and filtered ones included.
    pub emitted: u64,
    /// Records that could not be handed on.
    pub lost: u64,
    /// Records that a filter left out.
    pub filtered: u64,
    /// Operations that left no record.
    pub missed: u64,
}

impl Source for Arc<Hub> {
    fn snaplen(&self) -> u32 {
        Hub::snaplen(self)
    }

    fn describe(&mut self, notices: &[QueueNotice]) {
        for QueueNotice {
            queue, facts, text, ..
        } in notices
        {
            Hub::describe(self, *queue, *facts, text);
        }
    }

    fn drain(&mut self, take: &mut dyn FnMut(&Record, &[u8])) {
        Hub::drain(self, take);
    }

    fn counters(&self) -> Vec<Counters> {
        Hub::counters(self)
            .into_iter()
            .map(|stream| Counters {
                queue: stream.queue,
                producer: stream.producer,
                emitted: stream.emitted,
                lost: stream.lost,
                filtered: 0,
                missed: 0,
            })
            .collect()
    }
}

/// When a recording ends by itself.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Limits {
    /// Bytes the capture may have.
    pub bytes: Option<u64>,
    /// Requests that have ended.
    pub requests: Option<u64>,
    /// How the capture is spread over files; its first one is the output.
    pub rotate: Option<Rotate>,
}

/// What is said of a queue before its first record.
#[derive(Clone, Debug)]
pub struct QueueNotice {
    /// Which queue.
    pub queue: QueueId,
    /// What it is.
    pub facts: QueueFacts,
    /// Its name, then `key=value` lines: the payload of the facts' record.
    pub text: String,
    /// What is in flight already, where that is known.
    pub in_flight: Vec<(Token, InFlight)>,
}

/// Where the capture goes, if there is one.
pub type Output = Box<dyn Write + Send>;

/// Recording that could not begin.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The capture's first bytes can't be written.
    #[error(transparent)]
    Capture(#[from] WriteError),
    /// There is no thread for it.
    #[error("no thread for the recorder: {source}; allow more threads or processes (ulimit -u)")]
    Thread {
        /// What the system said.
        source: std::io::Error,
    },
}

/// A running drainer.
pub struct Recorder {
    shared: Arc<Shared>,
    thread: JoinHandle<Recorded>,
}

/// What others may look at while it runs.
#[derive(Debug)]
pub struct Shared {
    snapshot: ArcSwap<Snapshot>,
    /// Whether somebody has taken it: nobody pays for what nobody looks at.
    is_looked_at: AtomicBool,
    stop: AtomicBool,
    written: AtomicU64,
    failed: Mutex<Option<String>>,
    capture_failed: AtomicBool,
    limit_reached: AtomicBool,
    /// Which requests the screens want, if that has changed.
    wanted: Mutex<Option<Option<Arc<Filter>>>>,
}

/// What came out.
pub struct Recorded {
    /// The report on all records.
    pub report: Report,
    /// The capture's own totals, if one was written whole.
    pub capture: Option<Totals>,
    /// Why the capture ends early, if it does.
    pub failure: Option<WriteError>,
}

impl Shared {
    /// The latest snapshot; a newer one is made when this was looked at.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.is_looked_at.store(true, Ordering::Relaxed);
        self.snapshot.load_full()
    }

    /// Bytes the capture has so far.
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Whether the capture can't be written on.
    pub fn capture_failed(&self) -> bool {
        self.capture_failed.load(Ordering::Acquire)
    }

    /// Whether one of the [`Limits`] is reached.
    pub fn limit_reached(&self) -> bool {
        self.limit_reached.load(Ordering::Acquire)
    }

    /// From the next snapshot on only requests that match are shown, or all again. The
    /// report is of all.
    pub fn show_only(&self, filter: Option<Arc<Filter>>) {
        *self.wanted.lock().unwrap_or_else(PoisonError::into_inner) = Some(filter);
    }

    /// Why, in a sentence.
    pub fn failure(&self) -> Option<String> {
        self.failed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Recorder {
    /// Starts to drain `source`, whose queues are those of `notices` and any that its
    /// own records tell of. The capture, if any, goes to `output`.
    ///
    /// # Errors
    /// The capture's first bytes can't be written, or there is no thread.
    pub fn start(
        mut source: impl Source + 'static,
        notices: &[QueueNotice],
        output: Option<Output>,
        limits: Limits,
    ) -> Result<Self, RecordError> {
        source.describe(notices);
        let clock = ClockOffset::measure();
        let info = CaptureInfo {
            selection: source.selection(),
            // No two recordings of one machine begin at the same moment.
            recording: limits
                .rotate
                .is_some()
                .then(|| monotonic_now().as_nanos() ^ clock.offset_ns().cast_unsigned()),
            ..CaptureInfo::new(source.snaplen(), clock)
        };
        let files = limits.rotate.clone().map(|rotate| Files::new(rotate, info));
        let writer = output
            .map(|output| CaptureWriter::new(output, info))
            .transpose()?;
        let analyzer = Analyzer::new(Options {
            selection: info.selection,
            ..Options::default()
        });
        let shared = Arc::new(Shared {
            snapshot: ArcSwap::from_pointee(analyzer.snapshot(None)),
            is_looked_at: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            written: AtomicU64::new(0),
            failed: Mutex::new(None),
            capture_failed: AtomicBool::new(false),
            limit_reached: AtomicBool::new(false),
            wanted: Mutex::new(None),
        });
        let mut drainer = Drainer {
            merge: Merge::new(MergeConfig::new(
                REORDER_WINDOW.as_nanos() as u64,
                REORDER_CAPACITY,
            )),
            sink: Sink {
                declared: HashSet::new(),
                held: HashMap::new(),
                own: HashMap::new(),
                analyzer,
                writer,
                files,
                failure: None,
                shared: Arc::clone(&shared),
                limits,
            },
            own: notices.iter().map(|notice| (notice.queue, 0)).collect(),
            snaplen: info.snaplen,
            stopped: None,
            source: Box::new(source),
        };
        for notice in notices {
            drainer.announce(notice);
        }
        let thread = std::thread::Builder::new()
            .name("recorder".into())
            .spawn(move || drainer.run())
            .map_err(|source| RecordError::Thread { source })?;
        Ok(Self { shared, thread })
    }

    /// What may be looked at meanwhile.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Drains what is left, writes the final statistics and ends the capture. The
    /// producers must have stopped.
    pub fn finish(self) -> Recorded {
        self.shared.stop.store(true, Ordering::Release);
        match self.thread.join() {
            Ok(recorded) => recorded,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

/// A record on its way, with its payload.
struct Entry {
    record: Record,
    payload: Box<[u8]>,
}

struct Drainer {
    source: Box<dyn Source>,
    merge: Merge<Entry>,
    sink: Sink,
    /// By queue: how many records of our own there were, for their order in the merge.
    own: Vec<(QueueId, u64)>,
    snaplen: u32,
    /// When the source was stopped. However long what it had made takes to be read, the
    /// recording ends here.
    stopped: Option<Timestamp>,
}

/// Records of a queue that are held until its facts have come. On many CPUs the first
/// event of a queue and the facts that the other one tells of it race, and a process
/// tells of its queues four times a second.
const HELD: usize = 1 << 16;

/// Where records end up, in order.
struct Sink {
    declared: HashSet<QueueId>,
    /// By queue that was not declared yet: its records.
    held: HashMap<QueueId, Vec<Entry>>,
    /// By queue: the next sequence number of our own records. They get it here, because
    /// some come by the merge and some past it.
    own: HashMap<QueueId, u64>,
    analyzer: Analyzer,
    writer: Option<CaptureWriter<Output>>,
    /// If the capture goes on in other files.
    files: Option<Files>,
    failure: Option<WriteError>,
    shared: Arc<Shared>,
    limits: Limits,
}

impl Drainer {
    fn run(mut self) -> Recorded {
        let mut last_snapshot = Instant::now();
        let mut last_heartbeat = Instant::now();
        while !self.sink.shared.stop.load(Ordering::Acquire) {
            // Before the drain: what is written to a ring after it was looked at
            // must not be overtaken, however long the looking takes.
            let now = monotonic_now();
            self.drain();
            while let Some(entry) = self.merge.pop_due(now) {
                self.sink.take(entry);
            }
            while let Some(queue) = self.sink.undeclared(HELD) {
                self.announce(&unknown(queue));
            }
            if last_heartbeat.elapsed() >= HEARTBEAT {
                last_heartbeat = Instant::now();
                self.source.look();
                self.statistics(false);
            }
            if last_snapshot.elapsed() >= SNAPSHOT_INTERVAL {
                last_snapshot = Instant::now();
                // Of what is younger the records are held back still: a request that
                // has ended long ago would pass for one in flight.
                let window = REORDER_WINDOW.as_nanos() as u64;
                let known = Timestamp::from_nanos(now.as_nanos().saturating_sub(window));
                self.sink.publish(Some(known));
            }
            std::thread::sleep(INTERVAL);
        }
        self.finish()
    }

    fn finish(mut self) -> Recorded {
        self.source.stop();
        self.stopped = Some(monotonic_now());
        self.drain();
        // Those that began with this look.
        self.drain();
        while let Some(entry) = self.merge.pop() {
            self.sink.take(entry);
        }
        // Queues whose facts were lost, or of which there are counters alone.
        for queue in self.source.counters().iter().map(|each| each.queue) {
            if !self.sink.declared.contains(&queue) {
                self.announce(&unknown(queue));
            }
        }
        while let Some(queue) = self.sink.undeclared(1) {
            self.announce(&unknown(queue));
        }
        self.statistics(true);
        while let Some(entry) = self.merge.pop() {
            self.sink.take(entry);
        }
        self.sink.end(self.snaplen)
    }

    /// Takes over what there is of queues, producers and records.
    fn drain(&mut self) {
        for notice in self.source.notices() {
            self.announce(&notice);
        }
        for begun in self.source.begun() {
            self.begin(begun);
        }
        let Self {
            source,
            merge,
            sink,
            ..
        } = self;
        source.drain(&mut |record, payload| {
            let entry = Entry {
                record: *record,
                payload: payload.into(),
            };
            if let Some(early) = merge.push_record(record, entry) {
                sink.take(early);
            }
        });
    }

    /// Says of a producer that what it made before was left out.
    fn begin(&mut self, begun: Begun) {
        let Begun {
            queue,
            producer,
            number,
        } = begun;
        self.merge.begin(StreamKey { producer, queue }, number);
        if number == 0 {
            return;
        }
        let before = Statistics {
            about: producer,
            is_final: false,
            missed: 0,
            emitted: number,
            lost: 0,
            filtered: number,
        };
        let record = self.own_record(queue, Token::default(), Body::Statistics(before));
        // At once: its first record comes by the merge.
        self.sink.take(Entry {
            record,
            payload: Box::default(),
        });
    }

    fn announce(&mut self, notice: &QueueNotice) {
        let record = self.own_record(
            notice.queue,
            Token::default(),
            Body::QueueFacts(notice.facts),
        );
        self.sink.take(Entry {
            record,
            payload: notice.text.as_bytes().into(),
        });
        for (token, found) in &notice.in_flight {
            let record = self.own_record(notice.queue, *token, Body::InFlight(*found));
            self.sink.take(Entry {
                record,
                payload: Box::default(),
            });
        }
    }

    /// Writes each stream's counters, and in the end the recorder's own.
    fn statistics(&mut self, is_final: bool) {
        let mut counters = self.source.counters();
        let written = &self.sink.own;
        let own = |queue: QueueId, still_to_come: usize| Counters {
            queue,
            producer: Producer::Recorder.id(),
            emitted: written.get(&queue).copied().unwrap_or_default() + still_to_come as u64,
            lost: 0,
            filtered: 0,
            missed: 0,
        };
        if is_final {
            // The recorder's own last record counts itself.
            let mut queues: Vec<_> = counters.iter().map(|each| each.queue).collect();
            queues.extend(self.own.iter().map(|(queue, _)| *queue));
            queues.sort_unstable();
            queues.dedup();
            let own = |queue| {
                let still_to_come = counters.iter().filter(|each| each.queue == queue);
                own(queue, still_to_come.count() + 1)
            };
            let own: Vec<_> = queues.into_iter().map(own).collect();
            counters.extend(own);
        } else if counters.is_empty() {
            // Nothing has happened anywhere yet, and a capture of queues that hang would
            // stand still for whoever reads it.
            let first = self.sink.declared.iter().min();
            counters.extend(first.map(|queue| own(*queue, 0)));
        }
        for counter in counters {
            let record = self.own_record(
                counter.queue,
                Token::default(),
                Body::Statistics(Statistics {
                    about: counter.producer,
                    is_final,
                    missed: u32::try_from(counter.missed).unwrap_or(u32::MAX),
                    emitted: counter.emitted,
                    lost: counter.lost,
                    filtered: counter.filtered,
                }),
            );
            let entry = Entry {
                record,
                payload: Box::default(),
            };
            if let Some(early) = self.merge.push_record(&record, entry) {
                self.sink.take(early);
            }
        }
    }

    fn own_record(&mut self, queue: QueueId, token: Token, body: Body) -> Record {
        let sequence = match self.own.iter_mut().find(|(own, _)| *own == queue) {
            Some((_, next)) => {
                *next += 1;
                *next - 1
            }
            None => {
                self.own.push((queue, 1));
                0
            }
        };
        Record::new(
            Common {
                time: self.stopped.unwrap_or_else(monotonic_now),
                queue,
                generation: Generation(0),
                producer: ProducerId::from(Producer::Recorder),
                sequence: Sequence(sequence as u32),
                context: Context::Task,
                process: std::process::id(),
                thread: 0,
                token,
                flags: Flags::empty(),
            },
            body,
        )
    }
}

/// What is said of a queue of which only its number is known.
fn unknown(queue: QueueId) -> QueueNotice {
    QueueNotice {
        queue,
        facts: QueueFacts::default(),
        text: format!("virtio{}/{}", queue.device, queue.index),
        in_flight: Vec::new(),
    }
}

impl Sink {
    /// Takes a record; of a queue that nobody knows yet, it is held until somebody tells.
    fn take(&mut self, entry: Entry) {
        let queue = entry.record.queue();
        if entry.record.kind() == Ok(Kind::QueueFacts) {
            self.put(&entry);
            self.declared.insert(queue);
            for held in self.held.remove(&queue).unwrap_or_default() {
                self.put(&held);
            }
        } else if self.declared.contains(&queue) {
            self.put(&entry);
        } else {
            self.held.entry(queue).or_default().push(entry);
        }
    }

    /// A queue that has `enough` records held, and still no facts.
    fn undeclared(&self, enough: usize) -> Option<QueueId> {
        let mut held = self.held.iter();
        held.find_map(|(queue, held)| (held.len() >= enough).then_some(*queue))
    }

    fn put(&mut self, entry: &Entry) {
        let record = self.numbered(&entry.record);
        self.analyzer.push(&record, &entry.payload);
        if let Some(writer) = &mut self.writer {
            match writer.write(&record, &entry.payload) {
                Ok(()) => self.go_on(&record, &entry.payload),
                Err(error) => self.fail(error),
            }
        }
        self.check_limits();
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
                Ok(writer) => self.writer = Some(writer),
                Err(error) => self.fail(error),
            }
        }
    }

    /// Bytes that the outputs have taken.
    fn written(&self) -> Option<u64> {
        let before = self.files.as_ref().map_or(0, Files::before);
        Some(before + self.writer.as_ref()?.written())
    }

    /// The record, if it is our own with the number that it has now.
    fn numbered(&mut self, record: &Record) -> Record {
        if record.producer() != Producer::Recorder {
            return *record;
        }
        let Ok(body) = record.body() else {
            return *record;
        };
        let next = self.own.entry(record.queue()).or_default();
        let sequence = Sequence(*next as u32);
        *next += 1;
        let common = Common {
            sequence,
            ..record.common()
        };
        Record::new(common, body)
    }

    fn check_limits(&self) {
        let is_full = self.limits.bytes.zip(self.written());
        let is_full = is_full.is_some_and(|(limit, written)| written >= limit);
        let enough = self.limits.requests.is_some_and(|limit| {
            let requests = self.analyzer.request_totals();
            requests.completed + requests.incomplete >= limit
        });
        if is_full || enough {
            self.shared.limit_reached.store(true, Ordering::Release);
        }
    }

    /// The capture ends here; what was written of it stands.
    fn fail(&mut self, error: WriteError) {
        self.writer = None;
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

    fn publish(&mut self, now: Option<Timestamp>) {
        if let Some(writer) = &mut self.writer {
            match writer.flush() {
                Ok(()) => {
                    let written = self.written().unwrap_or_default();
                    self.shared.written.store(written, Ordering::Relaxed);
                }
                Err(error) => self.fail(error),
            }
        }
        let wanted = self.shared.wanted.lock();
        if let Some(filter) = wanted.unwrap_or_else(PoisonError::into_inner).take() {
            self.analyzer.show_only(filter);
        }
        // The last one is for whoever comes later.
        let is_last = now.is_none();
        if self.shared.is_looked_at.swap(false, Ordering::Relaxed) || is_last {
            let snapshot = self.analyzer.snapshot(now);
            self.shared.snapshot.store(Arc::new(snapshot));
        }
    }

    fn end(mut self, snaplen: u32) -> Recorded {
        self.analyzer.finish();
        self.publish(None);
        if self.analyzer.filter().is_some() {
            self.analyzer.show_only(None);
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
            ..CaptureEnd::default()
        };
        Recorded {
            report: self.analyzer.report(&end),
            capture,
            failure: self.failure,
        }
    }
}

#[cfg(test)]
mod tests;
