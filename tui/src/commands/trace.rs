//! `virtscope trace`.

use std::io::{self, IsTerminal, Write};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use virtscope_analyzer::{Filter, Snapshot, format_bytes, format_duration};
use virtscope_captures::Selection;
use virtscope_record::{Body, QueueId, Record};
use virtscope_tracer::trace::{Cost, PayloadMode, TraceOptions, Tracer, drop_privileges};

use super::demo::open_output;
use super::{OUTPUT_FAILED, Outcome, complain};
use crate::cli::{Payload, TraceArgs};
use crate::input::{is_standard, name};
use crate::recorder::{Counters, Limits, QueueNotice, Recorded, Recorder, Shared, Source};
use crate::screen::{self, Control, Feed, FeedStatus, Mode};
use crate::signals;

/// How often is looked whether to end.
const LOOK: Duration = Duration::from_millis(20);
/// How long after a command's end its last completions may take.
const LINGER: Duration = Duration::from_millis(100);
/// How often the cost is asked for.
const COST_INTERVAL: Duration = Duration::from_millis(500);

/// Traces this kernel's virtqueues until it is told to end, and prints the report.
pub(crate) fn trace(args: &TraceArgs) -> anyhow::Result<Outcome> {
    let to_stdout = args.write.as_deref().is_some_and(is_standard);
    let watched = !to_stdout && args.command.is_empty() && io::stdout().is_terminal();
    if watched {
        screen::check_size()?;
    }
    let options = options(args);
    let tracer = Tracer::start(&options)?;
    if let Some(why) = tracer.walk_failed() {
        complain(&format!("queues without events are not shown: {why}"));
    }
    let output = args.write.as_deref().map(open_output).transpose()?;
    drop_privileges(false).context("cannot give up privileges")?;
    // Threads that begin from here on have none.
    let stop = signals::stop_flag()?;
    let cost = Arc::new(Mutex::new(Cost::default()));
    let source = Traced {
        tracer,
        snaplen: options.snaplen,
        selection: Selection {
            filtered: options.task.is_some(),
            sampled: options.sample > 1,
            cut: false,
        },
        cost: Arc::clone(&cost),
        asked: None,
    };
    let limits = Limits {
        bytes: args.max_size,
        requests: args.count,
    };
    let recorder = Recorder::start(source, &[], output, limits)?;
    let mut run = Run {
        shared: Arc::clone(recorder.shared()),
        until: args
            .duration
            .and_then(|duration| Instant::now().checked_add(duration)),
        command: command(args)?,
        stop: Arc::clone(&stop),
    };
    let mut screen = Ok(());
    if watched {
        screen = watch(args, &run, &cost);
    } else {
        run.wait();
    }
    run.end_command();
    let recorded = recorder.finish();
    let cost = cost.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let outcome = conclude(&recorded, &cost, to_stdout)?;
    screen.context("the terminal failed")?;
    Ok(outcome)
}

fn options(args: &TraceArgs) -> TraceOptions {
    TraceOptions {
        snaplen: args.snaplen,
        payload: match args.payload {
            Payload::None => PayloadMode::None,
            Payload::Headers => PayloadMode::Headers,
            Payload::Full => PayloadMode::Full,
        },
        sample: args.sample,
        task: args.task,
        devices: args.devices.clone(),
        queues: args.queues.clone(),
        driver: args.driver.clone(),
        buffer_bytes: args.buffer_size,
        kprobes_only: false,
    }
}

/// Starts the command to trace for, if there is one.
fn command(args: &TraceArgs) -> anyhow::Result<Option<Child>> {
    let Some((program, arguments)) = args.command.split_first() else {
        return Ok(None);
    };
    let child = Command::new(program)
        .args(arguments)
        .spawn()
        .with_context(|| format!("cannot start {}", name(program.as_ref())))?;
    Ok(Some(child))
}

/// What decides when it is over.
struct Run {
    shared: Arc<Shared>,
    until: Option<Instant>,
    command: Option<Child>,
    stop: Arc<AtomicBool>,
}

impl Run {
    fn is_over(&self) -> bool {
        self.stop.load(Ordering::Acquire)
            || self.shared.capture_failed()
            || self.shared.limit_reached()
            || self.until.is_some_and(|until| Instant::now() >= until)
    }

    fn wait(&mut self) {
        while !self.is_over() {
            if let Some(child) = &mut self.command
                && !matches!(child.try_wait(), Ok(None))
            {
                std::thread::sleep(LINGER);
                return;
            }
            std::thread::sleep(LOOK);
        }
    }

    /// A command that still runs is left to go on: it is the user's, not ours.
    fn end_command(&mut self) {
        if let Some(child) = &mut self.command
            && matches!(child.try_wait(), Ok(None))
        {
            complain("the command goes on running; tracing has ended");
        }
    }
}

/// A tracer as a source of records.
struct Traced {
    tracer: Tracer,
    snaplen: u32,
    selection: Selection,
    cost: Arc<Mutex<Cost>>,
    asked: Option<Instant>,
}

impl Source for Traced {
    fn snaplen(&self) -> u32 {
        self.snaplen
    }

    fn selection(&self) -> Selection {
        self.selection
    }

    fn drain(&mut self, take: &mut dyn FnMut(&Record, &[u8])) {
        if self
            .asked
            .is_none_or(|asked| asked.elapsed() >= COST_INTERVAL)
        {
            self.ask_cost();
        }
        self.tracer.drain(|record, payload| {
            if let Ok(Body::QueueFacts(_)) = record.body() {
                take(record, describe(record.queue(), payload).as_bytes());
            } else {
                take(record, payload);
            }
        });
    }

    fn notices(&mut self) -> Vec<QueueNotice> {
        let quiet = self.tracer.quiet_queues().into_iter();
        quiet
            .map(|found| QueueNotice {
                queue: found.id,
                facts: found.facts,
                text: describe(found.id, found.name.unwrap_or_default().as_bytes()),
                in_flight: found.in_flight,
            })
            .collect()
    }

    fn counters(&self) -> Vec<Counters> {
        self.tracer
            .counters()
            .into_iter()
            .map(|stream| Counters {
                queue: stream.queue,
                producer: stream.producer,
                emitted: stream.emitted,
                lost: stream.lost,
                filtered: stream.filtered,
                missed: stream.missed,
            })
            .collect()
    }

    fn stop(&mut self) {
        self.ask_cost();
        self.tracer.detach();
    }
}

impl Traced {
    fn ask_cost(&mut self) {
        self.asked = Some(Instant::now());
        *self.cost.lock().unwrap_or_else(PoisonError::into_inner) = self.tracer.cost();
    }
}

/// A queue's facts in words: the driver's own name for it, and what the kernel says of
/// its device.
fn describe(queue: QueueId, payload: &[u8]) -> String {
    let end = payload.iter().position(|byte| *byte == 0);
    let own_name = String::from_utf8_lossy(&payload[..end.unwrap_or(payload.len())]);
    let device = format!("virtio{}", queue.device);
    let mut text = if own_name.is_empty() {
        format!("{device}/{}", queue.index)
    } else {
        format!("{device}/{own_name}")
    };
    let directory = std::path::Path::new("/sys/bus/virtio/devices").join(&device);
    if let Ok(driver) = std::fs::read_link(directory.join("driver"))
        && let Some(driver) = driver.file_name()
    {
        text.push_str(&format!("\ndriver={}", driver.to_string_lossy()));
    }
    // The 9P transport shows its mount tag; it ends with a zero byte.
    if let Ok(tag) = std::fs::read(directory.join("mount_tag")) {
        let tag = String::from_utf8_lossy(&tag);
        text.push_str(&format!("\ntag={}", tag.trim_end_matches(['\0', '\n'])));
    }
    text
}

/// Shows the screens until they are closed or tracing is over.
fn watch(args: &TraceArgs, run: &Run, cost: &Mutex<Cost>) -> io::Result<()> {
    let feed = LiveFeed {
        run,
        cost,
        capture: args.write.as_deref().map(name),
    };
    screen::run(&feed, &run.stop)
}

struct LiveFeed<'a> {
    run: &'a Run,
    cost: &'a Mutex<Cost>,
    capture: Option<String>,
}

impl Feed for LiveFeed<'_> {
    fn snapshot(&self) -> Arc<Snapshot> {
        self.run.shared.snapshot()
    }

    fn status(&self) -> FeedStatus {
        let written = format_bytes(self.run.shared.written());
        let cost = self.cost.lock().unwrap_or_else(PoisonError::into_inner);
        FeedStatus {
            title: format!("trace {}", summary(&cost)),
            mode: Mode::Live,
            capture: self
                .capture
                .as_ref()
                .map(|capture| format!("writing {capture}, {written}")),
            message: self.run.shared.failure(),
            finished: self.run.is_over(),
        }
    }

    fn control(&self, _: Control) {}

    fn filter(&self, filter: Option<Arc<Filter>>) {
        self.run.shared.show_only(filter);
    }
}

/// What tracing itself costs, in a few words.
fn summary(cost: &Cost) -> String {
    if !cost.is_counted || cost.runs() == 0 {
        return "cost not counted".to_owned();
    }
    format!(
        "{} runs, {} each",
        cost.runs(),
        format_duration(cost.nanos() / cost.runs())
    )
}

/// Prints the report and what tracing cost, and what went wrong.
fn conclude(recorded: &Recorded, cost: &Cost, to_stdout: bool) -> anyhow::Result<Outcome> {
    let failure = recorded.failure.as_ref();
    if failure.is_some_and(virtscope_captures::WriteError::is_reader_gone) {
        return Ok(Outcome::Clean);
    }
    let mut text = recorded.report.to_string();
    text.push_str(&format!(
        "\nTracing: {}; programs skipped by the kernel: {}\n",
        summary(cost),
        cost.skipped()
    ));
    if to_stdout {
        io::stderr().write_all(text.as_bytes())?;
    } else {
        io::stdout()
            .write_all(text.as_bytes())
            .context(OUTPUT_FAILED)?;
    }
    if let Some(failure) = failure {
        complain(&failure.to_string());
        return Ok(Outcome::Failed);
    }
    Ok(Outcome::Clean)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_is_described_by_its_name_or_its_number() {
        let queue = QueueId::new(65000, 2);
        assert_eq!(
            describe(queue, b"requests\0\xff\xff"),
            "virtio65000/requests"
        );
        assert_eq!(describe(queue, b"\0"), "virtio65000/2");
        assert_eq!(describe(queue, b""), "virtio65000/2");
    }
}
