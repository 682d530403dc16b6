//! `virtscope trace`.

mod beginning;
mod overhead;
mod screens;
mod session;
mod source;

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use virtscope_analyzer::{Filter, Options, Snapshot, format_bytes};
use virtscope_captures::WIRESHARK_SNAPLEN;
use virtscope_tracer::trace::{drop_privileges, missing_privileges};

use super::demo::open_output;
use super::{OUTPUT_FAILED, Outcome, complain, report};
use crate::cli::{Payload, TraceArgs};
use crate::input::{is_standard, name};
use crate::recorder::{Limits, Recorded, Recorder, Shared};
use crate::rotate::Rotate;
use crate::screen::{self, Control, Feed, FeedStatus, Mode};
use beginning::Listener;
use overhead::Overhead;
pub(in crate::commands) use overhead::not_followed;
use source::Told;

pub(super) use beginning::OnStderr;
pub(super) use session::{Session, Wanted};

/// How often is looked whether to end.
const LOOK: Duration = Duration::from_millis(20);
/// How long after a command's or a process's end its last completions may take.
const LINGER: Duration = Duration::from_millis(100);

/// Traces virtqueues until it is told to end, and prints the report.
pub(crate) fn trace(args: &TraceArgs, stop: &Arc<AtomicBool>) -> anyhow::Result<Outcome> {
    let rotate = rotation(args)?;
    let to_stdout = args.write.as_deref().is_some_and(is_standard);
    let watched = !to_stdout && args.command.is_empty() && io::stdout().is_terminal();
    if watched {
        screen::check_size()?;
    }
    // Who may not trace is told so without a screen that goes away at once.
    if watched && !args.target.is_process() && missing_privileges().0.is_empty() {
        return screens::trace(args, rotate, stop);
    }
    let Some(begun) = begin(args, rotate, watched, stop, &OnStderr)? else {
        return Ok(Outcome::Clean);
    };
    let (recorder, title) = (begun.recorder, begun.title);
    let mut run = begun.run;
    let mut screen = Ok(());
    if watched {
        screen = watch(args, &run, &title);
    } else {
        // Nobody wants it any more where it would be told to end at once.
        if !stop.load(Ordering::Acquire) {
            run.command = command(args)?;
        }
        run.wait();
    }
    run.end_command();
    let recorded = recorder.finish();
    let afterwards = analysed_afterwards(args, watched);
    let outcome = conclude(&recorded, afterwards, &run.told.get(), to_stdout)?;
    screen.context("the terminal failed")?;
    if run.told.get().process_ended {
        complain(&format!("{title}: the process has ended"));
    }
    Ok(outcome)
}

/// What has begun: all is attached, and the records are taken.
struct Begun {
    recorder: Recorder,
    run: Run,
    title: String,
}

/// Attaches, gives up this thread's privileges, and begins to take the records; nothing, if
/// `stop` says meanwhile that it is to end.
fn begin(
    args: &TraceArgs,
    rotate: Option<Rotate>,
    watched: bool,
    stop: &Arc<AtomicBool>,
    listener: &dyn Listener,
) -> anyhow::Result<Option<Begun>> {
    let wanted = Wanted {
        snaplen: args.snaplen,
        payload: args.payload,
        sample: args.sample,
        task: args.task,
        count_cost: !args.no_cost,
        kprobes_only: args.kprobes,
    };
    let Some(session) = Session::begin(&args.target, &wanted, stop, listener)? else {
        return Ok(None);
    };
    let told = session.told();
    let title = session.title();
    let output = args.write.as_deref().map(open_output).transpose()?;
    let any = args.payload != Some(Payload::None);
    if output.is_some() && any && args.snaplen > WIRESHARK_SNAPLEN {
        listener.say(&format!(
            "Wireshark stops at a packet of more than 262144 bytes, and there may be some; with \
             --snaplen {WIRESHARK_SNAPLEN} there are none"
        ));
    }
    // More files are made where this user may make the first one.
    drop_privileges(rotate.is_some()).context("cannot give up privileges")?;
    // Threads that begin from here on have none, and those before have none either: the one
    // that waits for signals, and where the screens are shown already those of theirs.
    let limits = Limits {
        bytes: args.max_size,
        requests: args.count,
        rotate,
    };
    let afterwards = analysed_afterwards(args, watched);
    let analysis = match (watched, afterwards) {
        (true, _) => Some(Options::default()),
        (false, None) => Some(report::options(None)),
        (false, Some(_)) => None,
    };
    let recorder = session.record(output, limits, analysis)?;
    let run = Run {
        shared: Arc::clone(recorder.shared()),
        until: args
            .duration
            .and_then(|duration| Instant::now().checked_add(duration)),
        command: None,
        stop: Arc::clone(stop),
        told,
    };
    Ok(Some(Begun {
        recorder,
        run,
        title,
    }))
}

/// The capture that is analysed when tracing has ended: as long as it lasts, the machine
/// that is traced has better things to do. Not where somebody looks or counts meanwhile, and
/// not where the whole capture will not be there to be read.
fn analysed_afterwards(args: &TraceArgs, watched: bool) -> Option<&Path> {
    let path = args.write.as_deref()?;
    let is_file = !is_standard(path) && std::fs::metadata(path).is_ok_and(|file| file.is_file());
    (is_file && !watched && args.count.is_none() && args.rotate.is_none()).then_some(path)
}

/// How the capture is spread over files, if it is.
fn rotation(args: &TraceArgs) -> anyhow::Result<Option<Rotate>> {
    let Some((rotation, path)) = args.rotate.zip(args.write.as_deref()) else {
        return Ok(None);
    };
    let there = std::fs::metadata(path);
    if is_standard(path) || there.is_ok_and(|there| !there.is_file()) {
        let output = match is_standard(path) {
            true => "standard output".to_owned(),
            false => name(path),
        };
        anyhow::bail!(
            "--rotate makes several files of a capture, and {output} is none: name a file with -w"
        );
    }
    Ok(Some(Rotate {
        path: path.to_owned(),
        size: rotation.size,
        count: rotation.count,
    }))
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
    told: Told,
}

impl Run {
    fn is_over(&self) -> bool {
        self.stop.load(Ordering::Acquire)
            || self.shared.capture_failed()
            || self.shared.limit_reached()
            || self.until.is_some_and(|until| Instant::now() >= until)
            || self.told.process_ended()
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
        if self.told.process_ended() {
            std::thread::sleep(LINGER);
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

/// Shows the screens until they are closed or tracing is over.
fn watch(args: &TraceArgs, run: &Run, title: &str) -> io::Result<()> {
    let feed = LiveFeed {
        run,
        title,
        capture: args.write.as_deref().map(name),
    };
    screen::run(&feed, &run.stop)
}

struct LiveFeed<'a> {
    run: &'a Run,
    title: &'a str,
    capture: Option<String>,
}

impl Feed for LiveFeed<'_> {
    fn snapshot(&self) -> Arc<Snapshot> {
        self.run.shared.snapshot()
    }

    fn status(&self) -> FeedStatus {
        let written = format_bytes(self.run.shared.written());
        FeedStatus {
            title: format!("{}: {}", self.title, self.run.told.get().live()),
            mode: Mode::Live,
            capture: self
                .capture
                .as_ref()
                .map(|capture| format!("writing {capture}, {written}")),
            message: self.run.shared.failure(),
            finished: self.run.is_over(),
            found: Arc::default(),
        }
    }

    fn control(&self, _: Control) {}

    fn filter(&self, filter: Option<Arc<Filter>>) {
        self.run.shared.show_only(filter);
    }
}

/// Prints the report and what tracing cost, and what went wrong.
fn conclude(
    recorded: &Recorded,
    afterwards: Option<&Path>,
    overhead: &Overhead,
    to_stdout: bool,
) -> anyhow::Result<Outcome> {
    let failure = recorded.failure.as_ref();
    if failure.is_some_and(virtscope_captures::WriteError::is_reader_gone) {
        return Ok(Outcome::Clean);
    }
    let mut text = match (&recorded.report, afterwards) {
        (Some(report), _) => report.to_string(),
        // Whoever does not want to wait for it sends another signal, which ends it all.
        (None, Some(path)) => match report::read(path, None, &Arc::default()) {
            Ok(read) => read.report.to_string(),
            // There may be nothing in it, and why is said below.
            Err(_) if failure.is_some() => String::new(),
            Err(error) => {
                let about = "the capture is written, and cannot be read for a report";
                return Err(error.context(about));
            }
        },
        (None, None) => String::new(),
    };
    text.push_str(&format!("\nTracing: {}\n", overhead.all()));
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
