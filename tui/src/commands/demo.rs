//! `virtscope demo`.

use std::io::{self, ErrorKind, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use virtscope_analyzer::{Filter, Snapshot};
use virtscope_captures::create_file;
use virtscope_device::fault::Faults;
use virtscope_device::p9::Delay;
use virtscope_driver::instrument::live::DEFAULT_RING_BYTES;
use virtscope_record::FeatureBits;

use super::{OUTPUT_FAILED, Outcome, complain};
use crate::cli::{DemoArgs, RingLayout, ScenarioChoice, Suppression};
use crate::demo::scenario::{self, Scenario};
use crate::demo::{DemoOptions, MSIZE, MountOptions, NoWitness, Running, Summary, run};
use crate::input::{is_standard, name};
use crate::recorder::{Output, Shared};
use crate::screen::{self, Control, Feed, FeedStatus, Mode};

/// How long it runs when nobody watches and nothing was said.
const UNWATCHED: Duration = Duration::from_secs(10);
/// Threads of the workload.
const READERS: u64 = 6;
const WRITERS: u64 = 2;
/// How often is looked whether to end.
const LOOK: Duration = Duration::from_millis(20);

/// Runs the demo and prints its report.
pub(crate) fn demo(args: &DemoArgs, stop: &Arc<AtomicBool>) -> anyhow::Result<Outcome> {
    let scenario = match args.scenario {
        Some(ScenarioChoice::List) => return list_scenarios(),
        Some(ScenarioChoice::One(scenario)) => Some(scenario),
        None => None,
    };
    let capture = args.write.as_deref();
    let to_stdout = capture.is_some_and(is_standard);
    // The directory first: a mistake there must not leave an empty capture.
    let directory = directory(&args.directory)?;
    let watched = !to_stdout && io::stdout().is_terminal();
    if watched {
        screen::check_size()?;
    }
    let output = capture.map(open_output).transpose()?;
    let options = options(args, directory);
    // A scenario ends by itself.
    let ends = watched || scenario.is_some();
    let duration = args.duration.or((!ends).then_some(UNWATCHED));
    let until = duration.and_then(|duration| Instant::now().checked_add(duration));

    let mut screen = Ok(());
    let look = |running: &Running<'_>| {
        if watched {
            screen = watch(running, args, stop, until);
        } else {
            wait(running, stop, until);
        }
    };
    let summary = match scenario {
        Some(scenario) => {
            scenario::play(scenario, options.snaplen, options.ring_bytes, output, look)?
        }
        None => run(&options, output, &NoWitness, look)?,
    };
    let outcome = conclude(&summary, to_stdout)?;
    screen.context("the terminal failed")?;
    Ok(outcome)
}

/// Prints what scenarios there are.
fn list_scenarios() -> anyhow::Result<Outcome> {
    let mut text = String::new();
    for Scenario { name, about, .. } in Scenario::all() {
        text.push_str(&format!("{name}\n    {about}\n"));
    }
    io::stdout()
        .write_all(text.as_bytes())
        .context(OUTPUT_FAILED)?;
    Ok(Outcome::Clean)
}

fn options(args: &DemoArgs, directory: PathBuf) -> DemoOptions {
    DemoOptions {
        directory,
        mount: MountOptions {
            queue_size: args.queue_size,
            features: features(args),
            delay: Delay::none(),
            faults: Faults::none(),
            msize: MSIZE,
        },
        snaplen: args.snaplen,
        ring_bytes: DEFAULT_RING_BYTES,
        rate: args.rate,
        readers: READERS,
        writers: WRITERS,
    }
}

/// The features that the devices offer.
fn features(args: &DemoArgs) -> FeatureBits {
    let choices = [
        (
            args.suppression == Suppression::EventIdx,
            FeatureBits::EVENT_IDX,
        ),
        (args.layout == RingLayout::Packed, FeatureBits::RING_PACKED),
        (args.indirect, FeatureBits::INDIRECT_DESC),
        (args.in_order, FeatureBits::IN_ORDER),
    ];
    let chosen = choices.into_iter().filter(|(chosen, _)| *chosen);
    chosen.fold(FeatureBits::default(), |all, (_, feature)| {
        all.union(feature)
    })
}

/// The directory as an absolute path, so that the screen can name it. It is opened
/// to see that it can be.
fn directory(path: &Path) -> anyhow::Result<PathBuf> {
    let readable = || {
        std::fs::read_dir(path)?;
        std::fs::canonicalize(path)
    };
    readable().map_err(|error| {
        let hint = match error.kind() {
            ErrorKind::NotFound => "name a directory that exists",
            ErrorKind::NotADirectory => "it is not a directory; name the directory that holds it",
            ErrorKind::PermissionDenied => {
                "it cannot be read; make it readable, or name another directory"
            }
            _ => "name another directory",
        };
        let message = format!("cannot mount {}: {hint}", name(path));
        anyhow::Error::new(error).context(message)
    })
}

pub(super) fn open_output(path: &Path) -> anyhow::Result<Output> {
    if is_standard(path) {
        if io::stdout().is_terminal() {
            anyhow::bail!("a capture is no text: pipe it on, or name a file with -w");
        }
        return Ok(Box::new(io::stdout()));
    }
    Ok(Box::new(create_file(path)?))
}

fn over(running: &Running<'_>, stop: &AtomicBool, until: Option<Instant>) -> bool {
    stop.load(Ordering::Acquire)
        || running.stop.load(Ordering::Acquire)
        || running.recorder.capture_failed()
        || until.is_some_and(|until| Instant::now() >= until)
}

fn wait(running: &Running<'_>, stop: &AtomicBool, until: Option<Instant>) {
    while !over(running, stop, until) {
        std::thread::sleep(LOOK);
    }
}

/// Shows the screens until they are closed or the demo is over.
fn watch(
    running: &Running<'_>,
    args: &DemoArgs,
    stop: &AtomicBool,
    until: Option<Instant>,
) -> io::Result<()> {
    let feed = LiveFeed {
        recorder: running.recorder,
        title: match args.scenario {
            Some(ScenarioChoice::One(scenario)) => format!("scenario {}", scenario.name),
            _ => format!("demo {}", name(&args.directory)),
        },
        capture: args.write.as_deref().map(name),
        over: &|| over(running, stop, until),
    };
    screen::run(&feed, stop)
}

/// The demo as the screens see it.
struct LiveFeed<'a> {
    recorder: &'a Shared,
    title: String,
    capture: Option<String>,
    over: &'a dyn Fn() -> bool,
}

impl Feed for LiveFeed<'_> {
    fn snapshot(&self) -> Arc<Snapshot> {
        self.recorder.snapshot()
    }

    fn status(&self) -> FeedStatus {
        let written = virtscope_analyzer::format_bytes(self.recorder.written());
        FeedStatus {
            title: self.title.clone(),
            mode: Mode::Live,
            capture: self
                .capture
                .as_ref()
                .map(|capture| format!("writing {capture}, {written}")),
            message: self.recorder.failure(),
            finished: (self.over)(),
            found: Arc::default(),
        }
    }

    fn control(&self, _: Control) {}

    fn filter(&self, filter: Option<Arc<Filter>>) {
        self.recorder.show_only(filter);
    }
}

/// Prints the report, and what went wrong.
fn conclude(summary: &Summary, to_stdout: bool) -> anyhow::Result<Outcome> {
    let failure = summary.recorded.failure.as_ref();
    if failure.is_some_and(virtscope_captures::WriteError::is_reader_gone) {
        // Whoever closed the pipe has seen enough.
        return Ok(Outcome::Clean);
    }
    let report = summary.recorded.report.as_ref();
    let text = report.map(ToString::to_string).unwrap_or_default();
    if to_stdout {
        io::stderr().write_all(text.as_bytes())?;
    } else {
        io::stdout()
            .write_all(text.as_bytes())
            .context(OUTPUT_FAILED)?;
    }
    let mut outcome = Outcome::Clean;
    if let Some(failure) = failure {
        complain(&failure.to_string());
        outcome = Outcome::Failed;
    }
    if let Some(trouble) = &summary.trouble {
        let hint = if trouble.is_disk_full() {
            "; free some space, or set TMPDIR to a directory with room"
        } else {
            ""
        };
        complain(&format!("{trouble}{hint}"));
        outcome = Outcome::Failed;
    }
    Ok(outcome)
}
