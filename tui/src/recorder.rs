//! The drainer: takes records out of the byte rings, puts them in order, and
//! hands each to the capture and to the analyzer.
//!
//! It never blocks a producer. What a full byte ring refused is counted by the
//! ring; what the capture can't take ends the capture, not the analysis.

mod sink;
mod source;

use std::collections::{HashMap, HashSet};
use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use virtscope_analyzer::{Analyzer, Filter, Options, Report, Snapshot};
use virtscope_captures::{
    CaptureInfo, CaptureWriter, ClockOffset, Merge, MergeConfig, StreamKey, Totals, WriteError,
};
use virtscope_driver::instrument::live::monotonic_now;
use virtscope_record::{
    Body, Common, Context, Flags, Generation, Producer, ProducerId, QueueFacts, QueueId, Record,
    Sequence, Statistics, Timestamp, Token,
};
use virtscope_tracer::trace::StreamCounters;

use crate::rotate::{Files, Rotate};
use sink::{Entry, Payload, Sink};

pub use source::{Begun, QueueNotice, Source};

/// How old a record must be before it is believed that none earlier will come: a
/// thread may be preempted between taking the time and writing the record.
const REORDER_WINDOW: Duration = Duration::from_millis(60);
/// Records held back at most.
const REORDER_CAPACITY: usize = 1 << 18;
/// How often a new snapshot is made. A source may [rest](Source::rest) half of that.
const SNAPSHOT_INTERVAL: Duration = Duration::from_millis(100);
/// How often statistics are written, so that the capture's clock goes on while
/// nothing happens.
const HEARTBEAT: Duration = Duration::from_secs(1);

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
    /// The report on all records, if they were analysed.
    pub report: Option<Report>,
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
    /// own records tell of. The capture, if any, goes to `output`. Records are analysed
    /// as `analysis` says, but for the selection, which is the source's; without it there
    /// are neither snapshots nor a report, and [`Limits::requests`] is never reached.
    ///
    /// # Errors
    /// The capture's first bytes can't be written, or there is no thread.
    pub fn start(
        mut source: impl Source + 'static,
        notices: &[QueueNotice],
        output: Option<Output>,
        limits: Limits,
        analysis: Option<Options>,
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
        let analyzer = analysis.map(|options| {
            Analyzer::new(Options {
                selection: info.selection,
                ..options
            })
        });
        let nothing = match &analyzer {
            Some(analyzer) => analyzer.snapshot(None),
            None => Snapshot::default(),
        };
        let shared = Arc::new(Shared {
            snapshot: ArcSwap::from_pointee(nothing),
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
                declared: HashSet::default(),
                held: HashMap::new(),
                own: HashMap::new(),
                analyzer,
                writer,
                files,
                failure: None,
                programs_skipped: 0,
                shared: Arc::clone(&shared),
                limits,
                withheld: HashMap::new(),
                reached: None,
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

/// Bytes of a queue's records that are held until its facts have come. On many CPUs the first
/// event of a queue and the facts that the other one tells of it race, and a process
/// tells of its queues four times a second.
const HELD: usize = 16 << 20;

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
                self.sink
                    .tell_programs_skipped(self.source.programs_skipped());
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
            self.source.rest();
        }
        self.finish()
    }

    fn finish(mut self) -> Recorded {
        self.source.stop();
        self.sink
            .tell_programs_skipped(self.source.programs_skipped());
        self.stopped = Some(self.source.ended().unwrap_or_else(monotonic_now));
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
                payload: Payload::from_slice(payload),
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
        let record = self.own_record(
            (queue, Generation(0)),
            Token::default(),
            Body::Statistics(before),
        );
        // At once: its first record comes by the merge.
        self.sink.take(Entry {
            record,
            payload: Payload::new(),
        });
    }

    fn announce(&mut self, notice: &QueueNotice) {
        let life = (notice.queue, notice.generation);
        let facts = Body::QueueFacts(notice.facts);
        let record = self.own_record(life, Token::default(), facts);
        self.sink.take(Entry {
            record,
            payload: Payload::from_slice(notice.text.as_bytes()),
        });
        for (token, found) in &notice.in_flight {
            let record = self.own_record(life, *token, Body::InFlight(*found));
            self.sink.take(Entry {
                record,
                payload: Payload::new(),
            });
        }
    }

    /// Writes each stream's counters, and in the end the recorder's own.
    fn statistics(&mut self, is_final: bool) {
        let mut counters = self.source.counters();
        let written = &self.sink.own;
        let own = |queue: QueueId, still_to_come: usize| StreamCounters {
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
            let stream = (counter.queue, counter.producer);
            let withheld = self.sink.withheld.get(&stream).copied();
            let record = self.own_record(
                (counter.queue, Generation(0)),
                Token::default(),
                Body::Statistics(Statistics {
                    about: counter.producer,
                    is_final,
                    missed: u32::try_from(counter.missed).unwrap_or(u32::MAX),
                    // The recording ended before those.
                    emitted: counter.emitted.saturating_sub(withheld.unwrap_or_default()),
                    lost: counter.lost,
                    filtered: counter.filtered,
                }),
            );
            let entry = Entry {
                record,
                payload: Payload::new(),
            };
            if let Some(early) = self.merge.push_record(&record, entry) {
                self.sink.take(early);
            }
        }
    }

    /// A record of our own of a queue in one of its lives; statistics are about all of them.
    fn own_record(
        &mut self,
        (queue, generation): (QueueId, Generation),
        token: Token,
        body: Body,
    ) -> Record {
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
                time: self
                    .sink
                    .reached
                    .or(self.stopped)
                    .unwrap_or_else(monotonic_now),
                queue,
                generation,
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
        generation: Generation(0),
        facts: QueueFacts::default(),
        text: format!("virtio{}/{}", queue.device, queue.index),
        in_flight: Vec::new(),
    }
}

#[cfg(test)]
mod tests;
