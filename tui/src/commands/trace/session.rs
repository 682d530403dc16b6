//! Tracing as the command line asks for it: of this kernel, or of a process.

use std::sync::atomic::{AtomicBool, Ordering};

use virtscope_analyzer::Options;
use virtscope_captures::Selection;
use virtscope_tracer::trace::{PayloadMode, Start, TraceOptions};
use virtscope_tracer::usdt::{Target, UsdtOptions, UsdtTracer};

use super::beginning::Listener;
use super::source::{Told, Traced, TracedProcess};
use crate::cli::{Payload, TargetArgs};
use crate::input::name;
use crate::recorder::{Limits, Output, RecordError, Recorder};

/// What is wanted of each request.
#[derive(Clone, Copy, Debug)]
pub(in crate::commands) struct Wanted {
    pub(in crate::commands) snaplen: u32,
    pub(in crate::commands) payload: Option<Payload>,
    pub(in crate::commands) sample: u32,
    pub(in crate::commands) task: Option<u32>,
    pub(in crate::commands) count_cost: bool,
    pub(in crate::commands) kprobes_only: bool,
}

/// A tracer that is attached, whose records nobody takes yet.
pub(in crate::commands) struct Session {
    source: Attached,
    told: Told,
    title: String,
}

enum Attached {
    Kernel(Box<Traced>),
    Process(Box<TracedProcess>),
}

impl Session {
    /// Attaches, and tells `listener` how that goes; nothing, if `stop` says meanwhile that it
    /// is to end.
    pub(in crate::commands) fn begin(
        target: &TargetArgs,
        wanted: &Wanted,
        stop: &AtomicBool,
        listener: &dyn Listener,
    ) -> anyhow::Result<Option<Self>> {
        match Self::attach(target, wanted, stop, listener) {
            // Whatever failed: it may have failed for the signal. Linux' verifier gives up
            // for one, and says no more than to try again.
            _ if stop.load(Ordering::Acquire) => {
                listener.say("told to end before all was attached: nothing is traced");
                Ok(None)
            }
            Ok(session) => Ok(Some(session)),
            Err(error) => Err(error),
        }
    }

    fn attach(
        target: &TargetArgs,
        wanted: &Wanted,
        stop: &AtomicBool,
        listener: &dyn Listener,
    ) -> anyhow::Result<Self> {
        let told = Told::default();
        let (source, title) = match (&target.pid, &target.program) {
            (Some(pid), _) => {
                let title = format!("trace --pid {pid}");
                (
                    process(&Target::Process(*pid), target, wanted, &told)?,
                    title,
                )
            }
            (None, Some(program)) => {
                let title = format!("trace --program {}", name(program));
                let program = Target::Program(program.clone());
                (process(&program, target, wanted, &told)?, title)
            }
            (None, None) => {
                let source = kernel(target, wanted, &told, stop, listener)?;
                (source, "trace".to_owned())
            }
        };
        Ok(Self {
            source,
            told,
            title,
        })
    }

    /// What it tells of itself meanwhile.
    pub(super) fn told(&self) -> Told {
        self.told.clone()
    }

    /// What is traced, as the command line says it.
    pub(super) fn title(&self) -> String {
        self.title.clone()
    }

    /// Whether the process that is traced has ended, for whoever waits elsewhere.
    pub(in crate::commands) fn ended(&self) -> impl Fn() -> bool + use<> {
        let told = self.told.clone();
        move || told.process_ended()
    }

    /// How often the kernel has skipped a program, for whoever waits elsewhere.
    pub(in crate::commands) fn skipped(&self) -> impl Fn() -> u64 + use<> {
        let told = self.told.clone();
        move || told.get().skipped()
    }

    /// How many queues are not followed, for whoever waits elsewhere.
    pub(in crate::commands) fn refused(&self) -> impl Fn() -> u64 + use<> {
        let told = self.told.clone();
        move || told.get().refused
    }

    /// Begins to take the records; `analysis` as for [`Recorder::start`].
    pub(in crate::commands) fn record(
        self,
        output: Option<Output>,
        limits: Limits,
        analysis: Option<Options>,
    ) -> Result<Recorder, RecordError> {
        match self.source {
            Attached::Kernel(source) => Recorder::start(*source, &[], output, limits, analysis),
            Attached::Process(source) => Recorder::start(*source, &[], output, limits, analysis),
        }
    }
}

fn kernel(
    target: &TargetArgs,
    wanted: &Wanted,
    told: &Told,
    stop: &AtomicBool,
    listener: &dyn Listener,
) -> anyhow::Result<Attached> {
    let options = TraceOptions {
        snaplen: wanted.snaplen,
        payload: match wanted.payload.unwrap_or(Payload::Headers) {
            Payload::None => PayloadMode::None,
            Payload::Headers => PayloadMode::Headers,
            Payload::Full => PayloadMode::Full,
        },
        sample: wanted.sample,
        task: wanted.task,
        devices: target.devices.clone(),
        queues: target.by_index(),
        names: target.by_name(),
        driver: target.driver.clone(),
        buffer_bytes: target.buffer_size,
        count_cost: wanted.count_cost,
        kprobes_only: wanted.kprobes_only,
    };
    if let Some(task) = options.task
        && !std::path::Path::new("/proc")
            .join(task.to_string())
            .exists()
    {
        listener.say(&format!(
            "there is no process or thread {task} now: `pgrep -a NAME` shows which there are"
        ));
    }
    let stopped = || stop.load(Ordering::Acquire);
    let start = Start::find(&options, &stopped)?;
    listener.found(start.found().unwrap_or_default());
    let tracer = start.attach(&stopped, &|progress| listener.progress(progress))?;
    listener.attached(tracer.found());
    if let Some(why) = tracer.walk_failed() {
        listener.say(&format!("queues without events are not shown: {why}"));
    } else if tracer.found().is_empty() {
        listener.say(
            "there is no queue now of those to be traced; what comes is traced. `virtscope list` \
             shows which there are",
        );
    }
    if let Some(why) = tracer.fell_back() {
        listener.say(&format!(
            "kprobes are used, which cost more and of which the kernel skips some (counted as \
             missed): {why}"
        ));
    }
    let selection = Selection {
        filtered: options.task.is_some(),
        sampled: options.sample > 1,
        cut: false,
    };
    let source = Traced::new(tracer, options.snaplen, selection, told);
    Ok(Attached::Kernel(Box::new(source)))
}

fn process(
    process: &Target,
    target: &TargetArgs,
    wanted: &Wanted,
    told: &Told,
) -> anyhow::Result<Attached> {
    let options = UsdtOptions {
        snaplen: match wanted.payload {
            Some(Payload::None) => 0,
            _ => wanted.snaplen,
        },
        devices: target.devices.clone(),
        queues: target.by_index(),
        buffer_bytes: target.buffer_size,
        count_cost: wanted.count_cost,
    };
    let tracer = UsdtTracer::start(process, &options)?;
    let source = TracedProcess::new(tracer, options.snaplen, told);
    Ok(Attached::Process(Box::new(source)))
}
