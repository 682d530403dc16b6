//! `virtscope stat`.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context;
use hdrhistogram::Histogram;
use virtscope_analyzer::{Life, Options, QueueView, Snapshot, format_duration};
use virtscope_captures::{CaptureReader, Item};
use virtscope_driver::instrument::live::monotonic_now;
use virtscope_record::{Producer, QueueId, Timestamp};
use virtscope_tracer::trace::drop_privileges;

use super::trace::{OnStderr, Session, Wanted, not_followed};
use super::{OUTPUT_FAILED, Outcome, complain};
use crate::analysis::{Analysis, Progress};
use crate::cli::{Payload, StatArgs};
use crate::input::{is_pipe, is_stopped, name, open_until};
use crate::recorder::{Limits, Output};

/// Rows between two headings.
const ROWS: usize = 20;
/// Intervals in which nothing was recorded that are shown one by one; more become one
/// line.
const QUIET: u64 = 3;

/// How often is looked whether to end.
const LOOK: Duration = Duration::from_millis(20);

/// Latencies are told apart up to an hour; what is longer counts as that.
const LONGEST_NS: u64 = 3_600_000_000_000;

/// Prints one line a queue and interval of a capture.
pub(crate) fn stat(args: &StatArgs, stop: &Arc<AtomicBool>) -> anyhow::Result<Outcome> {
    let Some(path) = &args.read else {
        return stat_live(args, stop);
    };
    let mut reader = open_until(path, args.follow.then(|| Arc::clone(stop)), stop)?;
    let watched = args.follow || is_pipe(path);
    let ends = || !args.follow && stop.load(Ordering::Relaxed);
    let table = Table::new(args.interval, None);
    let trouble =
        count(&mut reader, table, watched, &ends, &|| None).with_context(|| name(path))?;
    if let Some(trouble) = trouble
        && !args.follow
    {
        complain(&format!("{}: {trouble}", name(path)));
        return Ok(Outcome::Failed);
    }
    Ok(Outcome::Clean)
}

/// The same of what is traced meanwhile: the recorder writes its capture into a pipe, and
/// the lines are made of what comes out of it.
pub(crate) fn stat_live(args: &StatArgs, stop: &AtomicBool) -> anyhow::Result<Outcome> {
    let wanted = Wanted {
        snaplen: 0,
        payload: Some(Payload::None),
        sample: 1,
        task: None,
        // Nobody would see it.
        count_cost: false,
        kprobes_only: false,
    };
    let Some(session) = Session::begin(&args.target, &wanted, stop, &OnStderr)? else {
        return Ok(Outcome::Clean);
    };
    let (ended, skipped) = (session.ended(), session.skipped());
    let refused = session.refused();
    drop_privileges(false).context("cannot give up privileges")?;
    let (input, output) = io::pipe().context("no pipe for the records")?;
    let output: Output = Box::new(output);
    let recorder = session.record(Some(output), Limits::default(), None)?;
    let shared = Arc::clone(recorder.shared());
    let stopped = OnceLock::new();
    let (stopping, counted) = std::thread::scope(|scope| {
        // When it ends the capture does, and so do the lines.
        let stopping = scope.spawn(|| {
            while !stop.load(Ordering::Acquire) && !shared.capture_failed() && !ended() {
                std::thread::sleep(LOOK);
            }
            stopped.get_or_init(monotonic_now);
            recorder.finish()
        });
        // When nobody reads the lines any more, nobody reads the capture: it fails.
        let counted = match CaptureReader::new(input) {
            Ok(mut reader) => {
                let table = Table::new(args.interval, args.intervals.map(u64::from));
                count(&mut reader, table, true, &|| false, &|| {
                    stopped.get().copied()
                })
            }
            Err(error) => Err(error.into()),
        };
        // The lines that were asked for have been printed.
        stop.store(true, Ordering::Release);
        (stopping.join(), counted)
    });
    if let Err(panic) = stopping {
        std::panic::resume_unwind(panic);
    }
    counted?;
    if skipped() > 0 {
        complain(&format!(
            "the kernel skipped a program {} times; of what it would have told, only what a \
             ring's positions show is counted as missed",
            skipped()
        ));
    }
    if refused() > 0 {
        complain(&not_followed(refused()));
    }
    Ok(Outcome::Clean)
}

/// Prints the lines of a capture; what is wrong with it. `stopped` is when it was told to
/// end: from then on it says what it has counted, and nothing happens any more.
fn count<R: Read>(
    reader: &mut CaptureReader<R>,
    mut table: Table,
    watched: bool,
    ends: &dyn Fn() -> bool,
    stopped: &dyn Fn() -> Option<Timestamp>,
) -> anyhow::Result<Option<String>> {
    let mut analysis = Analysis::new(Options {
        recent_lives: 0,
        draw_rings: false,
        collect_ended: true,
        ..Options::default()
    });
    let mut out = BufWriter::new(io::stdout().lock());
    while !ends() {
        let item = match reader.next_item() {
            Ok(item) => item,
            Err(error) if is_stopped(&error) => break,
            Err(error) => return Err(error.into()),
        };
        if let Item::Record(packet) = &item {
            let (record, time) = (&packet.record, packet.record.time());
            let is_afterwards = record.producer() == Producer::Recorder
                && stopped().is_some_and(|stopped| time > stopped);
            if !is_afterwards {
                // What ended before this record belongs to the interval before it.
                let lines = table.advance(time, &analysis);
                out.write_all(lines.as_bytes()).context(OUTPUT_FAILED)?;
                if watched && !lines.is_empty() {
                    out.flush().context(OUTPUT_FAILED)?;
                }
                if table.is_full() {
                    return Ok(None);
                }
            }
        }
        let progress = analysis.observe(&item);
        for life in analysis.analyzer.take_ended() {
            table.ended(&life);
        }
        if progress == Progress::End {
            break;
        }
    }
    let lines = table.finish(&analysis);
    out.write_all(lines.as_bytes()).context(OUTPUT_FAILED)?;
    out.flush().context(OUTPUT_FAILED)?;
    Ok(analysis.trouble())
}

/// What is counted on one queue, in all, when an interval ends.
#[derive(Clone, Copy, Default)]
struct Counts {
    adds: u64,
    sent: u64,
    suppressed: u64,
    callbacks: u64,
    used: u64,
    lost: u64,
    missed: u64,
}

impl Counts {
    fn of(view: &QueueView) -> Self {
        Self {
            adds: view.counts.adds,
            sent: view.counts.kicks.sent,
            suppressed: view.counts.kicks.suppressed,
            callbacks: view.counts.callbacks,
            used: view.counts.used,
            lost: view.records.lost,
            missed: view.records.missed,
        }
    }
}

/// The lines, interval by interval.
struct Table {
    interval: Duration,
    /// Intervals that are wanted; all, if none are said.
    wanted: Option<u64>,
    /// The last record's time, but for those in which a recorder sums up.
    last: Timestamp,
    /// When the stream began and how many intervals have ended.
    began: Option<Timestamp>,
    ended: u64,
    before: BTreeMap<QueueId, Counts>,
    latencies: BTreeMap<QueueId, Histogram<u64>>,
    rows: usize,
}

impl Table {
    fn new(interval: Duration, wanted: Option<u64>) -> Self {
        Self {
            interval,
            wanted,
            last: Timestamp::default(),
            began: None,
            ended: 0,
            before: BTreeMap::new(),
            latencies: BTreeMap::new(),
            rows: 0,
        }
    }

    fn interval_ns(&self) -> u64 {
        u64::try_from(self.interval.as_nanos()).unwrap_or(u64::MAX)
    }

    /// A request has ended.
    fn ended(&mut self, life: &Life) {
        if let Some(ns) = life.total_ns() {
            let latencies = self.latencies.entry(life.queue).or_insert_with(|| {
                // Three digits, as the report has them.
                Histogram::new_with_max(LONGEST_NS, 3).expect("these bounds are allowed")
            });
            latencies.saturating_record(ns);
        }
    }

    /// The lines of the intervals that ended before `time`.
    fn advance(&mut self, time: Timestamp, analysis: &Analysis) -> String {
        let began = *self.began.get_or_insert(time);
        self.last = self.last.max(time);
        let passed = time.nanos_since(began) / self.interval_ns();
        let passed = passed.min(self.wanted.unwrap_or(u64::MAX));
        let mut lines = String::new();
        if passed > self.ended {
            let seconds = self.interval.as_secs_f64();
            self.ended += 1;
            lines += &self.lines(self.ended, seconds, analysis);
            let quiet = passed - self.ended;
            if quiet > QUIET {
                let seconds = seconds * quiet as f64;
                lines += &format!("{:>8}  nothing was recorded for {seconds:.1} s\n", "");
                self.ended = passed;
            }
            while self.ended < passed {
                self.ended += 1;
                lines += &self.lines(self.ended, seconds, analysis);
            }
        }
        lines
    }

    /// Whether all lines that are wanted have been made.
    fn is_full(&self) -> bool {
        self.wanted.is_some_and(|wanted| self.ended >= wanted)
    }

    /// The lines of the last interval, which was not a whole one.
    fn finish(&mut self, analysis: &Analysis) -> String {
        let Some(began) = self.began else {
            return "no record\n".to_owned();
        };
        let snapshot = analysis.analyzer.snapshot(None);
        let whole = self.last.nanos_since(began);
        let rest = whole.saturating_sub(self.ended.saturating_mul(self.interval_ns()));
        // What happened at one moment has no rate; a millisecond is short enough.
        let seconds = (rest as f64 / 1e9).max(1e-3);
        self.lines_of(&snapshot, whole as f64 / 1e9, seconds)
    }

    fn lines(&mut self, number: u64, seconds: f64, analysis: &Analysis) -> String {
        let snapshot = analysis.analyzer.snapshot(None);
        self.lines_of(
            &snapshot,
            number as f64 * self.interval.as_secs_f64(),
            seconds,
        )
    }

    fn lines_of(&mut self, snapshot: &Snapshot, at: f64, seconds: f64) -> String {
        let mut text = String::new();
        for view in &snapshot.queues {
            if self.rows.is_multiple_of(ROWS) {
                text += HEADING;
            }
            self.rows += 1;
            let now = Counts::of(view);
            let before = self.before.insert(view.id, now).unwrap_or_default();
            let rate = |now: u64, before: u64| {
                format!("{:.0}", now.saturating_sub(before) as f64 / seconds)
            };
            let latencies = self.latencies.get(&view.id);
            let percentile = |quantile: f64| match latencies {
                Some(all) if !all.is_empty() => format_duration(all.value_at_quantile(quantile)),
                _ => "-".to_owned(),
            };
            text += &format!(
                "{at:>8.1}  {:<22} {:>7} {:>7} {:>7} {:>7} {:>7} {:>7} {:>8} {:>8} {:>6} {:>6}\n",
                view.name,
                rate(now.adds, before.adds),
                rate(now.sent, before.sent),
                rate(now.suppressed, before.suppressed),
                rate(now.callbacks, before.callbacks),
                rate(now.used, before.used),
                view.requests.in_flight,
                percentile(0.5),
                percentile(0.99),
                now.lost.saturating_sub(before.lost),
                now.missed.saturating_sub(before.missed),
            );
        }
        for latencies in self.latencies.values_mut() {
            latencies.reset();
        }
        text
    }
}

/// Adds to used are per second; lost records and missed operations are those of the
/// interval, which the rest of the line lacks.
const HEADING: &str = "\
 SECONDS  QUEUE                     ADDS   KICKS  SUPPR.    INTR    USED  FLIGHT      P50      P99   LOST MISSED
";

#[cfg(test)]
mod tests {
    use super::*;
    use virtscope_captures::Packet;
    use virtscope_record::{
        Add, Body, Callback, Common, FeatureBits, Flags, Layout, Notification, Producer,
        QueueFacts, Record, RingIndex, Sequence, Token, Used,
    };

    const MS: u64 = 1_000_000;

    /// Requests that end one after the other, and what `stat` prints of them.
    struct Run {
        table: Table,
        analysis: Analysis,
        sequence: u32,
        printed: String,
    }

    impl Run {
        fn new() -> Self {
            let mut run = Self {
                table: Table::new(Duration::from_secs(1), None),
                analysis: Analysis::new(Options {
                    collect_ended: true,
                    ..Options::default()
                }),
                sequence: 0,
                printed: String::new(),
            };
            let facts = QueueFacts {
                size: 8,
                device_type: 9,
                layout: Layout::Split,
                features: FeatureBits::VERSION_1,
                ..QueueFacts::default()
            };
            run.push(
                0,
                Flags::empty(),
                Body::QueueFacts(facts),
                b"virtio0/requests",
            );
            run
        }

        fn push(&mut self, at: u64, flags: Flags, body: Body, payload: &[u8]) {
            let common = Common {
                time: Timestamp::from_nanos(at),
                producer: Producer::DriverHalf.id(),
                sequence: Sequence(self.sequence),
                token: Token(1),
                flags,
                ..Common::default()
            };
            self.sequence += 1;
            let record = Record::new(common, body);
            self.printed += &self.table.advance(record.time(), &self.analysis);
            self.analysis.observe(&Item::Record(Packet {
                record,
                payload,
                original_len: 0,
                dropcount: None,
                unix_ns: at,
                number: u64::from(self.sequence),
            }));
            for life in self.analysis.analyzer.take_ended() {
                self.table.ended(&life);
            }
        }

        /// A request that takes `took` and begins at `at`.
        fn request(&mut self, index: u16, at: u64, took: u64) {
            let (old, new) = (RingIndex(index), RingIndex(index).advance(1));
            let add = Add {
                free: 7,
                position: old,
                descriptors: 1,
                ..Add::default()
            };
            let kick = Notification {
                free: 7,
                old,
                new,
                ..Notification::default()
            };
            let callback = Callback {
                free: 7,
                used_index: new,
                last_used: old,
                ..Callback::default()
            };
            let used = Used {
                free: 8,
                position: old,
                used_index: new,
                descriptors: 1,
                ..Used::default()
            };
            self.push(at, Flags::empty(), Body::Add(add), b"");
            self.push(at, Flags::NOTIFICATION_NEEDED, Body::Kick(kick), b"");
            self.push(at + took, Flags::empty(), Body::Callback(callback), b"");
            self.push(at + took, Flags::empty(), Body::Used(used), b"");
        }
    }

    #[test]
    fn each_interval_has_its_own_counts_and_latencies() {
        let mut run = Run::new();
        run.request(0, 100 * MS, 2 * MS);
        run.request(1, 200 * MS, 4 * MS);
        run.request(2, 1200 * MS, 10 * MS);
        // Longer than any quiet that is shown second by second.
        run.request(3, 20_000 * MS, 500 * MS);
        let rest = run.table.finish(&run.analysis);
        insta::assert_snapshot!(run.printed + &rest);
    }

    #[test]
    fn a_stream_without_records_says_so() {
        let mut table = Table::new(Duration::from_secs(1), None);
        let analysis = Analysis::new(Options::default());
        assert_eq!(table.finish(&analysis), "no record\n");
    }
}
