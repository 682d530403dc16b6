//! The command line.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use virtscope_analyzer::{Filter, FilterError, FindingCode};
use virtscope_captures::MAX_SNAPLEN;
use virtscope_driver::ring::QueueSize;

use crate::demo::scenario::Scenario;
use virtscope_record::QueueId;
use virtscope_tracer::trace::{QueueFilter, SNAPLEN_LIMIT};

/// Bytes of payload a record carries unless told otherwise: enough for every 9P
/// message's fields, little of a file's content.
const DEFAULT_SNAPLEN: u32 = 256;

/// Shows what happens inside virtqueues.
///
/// Without a command it runs the demo: the reference guest driver mounts a
/// directory through an in-process virtio-9p device, works on it, and you watch.
#[derive(Debug, Parser)]
#[command(name = "virtscope", version, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Demo(DemoArgs),
    Trace(TraceArgs),
    View(ViewArgs),
    Report(ReportArgs),
    Print(PrintArgs),
    Diff(DiffArgs),
    Merge(MergeArgs),
    Slice(SliceArgs),
    Redact(RedactArgs),
    Export(ExportArgs),
    List(ListArgs),
    Inspect(InspectArgs),
    Stat(StatArgs),
    Doctor(DoctorArgs),
}

/// Mount a directory through a real virtqueue and watch the requests cross it.
///
/// The directory is mounted read-only; what the demo writes goes to a scratch
/// directory of its own, which is removed in the end. On a terminal it shows the
/// screens until you quit, then a report; else it runs for its duration and
/// prints the report.
#[derive(Args, Debug, Clone)]
pub(crate) struct DemoArgs {
    /// The directory to mount.
    #[arg(default_value = ".")]
    pub(crate) directory: PathBuf,

    /// Write a capture: to a file, or to standard output with `-`.
    #[arg(short, long, value_name = "FILE|-")]
    pub(crate) write: Option<PathBuf>,

    /// Bytes of each buffer to keep. Captures may hold file contents: keep it
    /// small if you mean to share them.
    #[arg(long, value_name = "BYTES", default_value_t = DEFAULT_SNAPLEN, value_parser = snaplen)]
    pub(crate) snaplen: u32,

    /// How long to run: `10s`, `500ms`, `2m`. [default: until you quit; 10s when
    /// standard output is no terminal]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) duration: Option<Duration>,

    /// Requests per second, on average over bursts and pauses.
    #[arg(long, value_name = "N", default_value_t = 16_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) rate: u64,

    /// Descriptors of each ring: 16, 32, 64 or 128, with a packed one any number
    /// between.
    #[arg(long, value_name = "N", default_value = "128", value_parser = queue_size)]
    pub(crate) queue_size: QueueSize,

    /// How notifications are suppressed.
    #[arg(long, value_enum, default_value_t = Suppression::EventIdx)]
    pub(crate) suppression: Suppression,

    /// How each ring is laid out in memory.
    #[arg(long, value_enum, default_value_t = RingLayout::Split)]
    pub(crate) layout: RingLayout,

    /// Describe each buffer in a table of its own, so that it takes one entry of the
    /// ring (`VIRTIO_F_INDIRECT_DESC`).
    #[arg(long)]
    pub(crate) indirect: bool,

    /// Have the device use buffers in the order they were made available
    /// (`VIRTIO_F_IN_ORDER`).
    #[arg(long)]
    pub(crate) in_order: bool,

    /// Play a scenario instead: trouble made on purpose, which raises the finding of
    /// that name, or comes near. `list` prints them all.
    #[arg(long, value_name = "NAME", value_parser = scenario, conflicts_with_all = [
        "directory", "rate", "queue_size", "suppression", "layout", "indirect", "in_order",
    ])]
    pub(crate) scenario: Option<ScenarioChoice>,
}

/// A scenario, or the list of them.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ScenarioChoice {
    List,
    One(&'static Scenario),
}

/// The layouts of a virtqueue.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum RingLayout {
    /// Descriptor table, available ring and used ring (virtio 1.4 §2.7).
    Split,
    /// One ring of descriptors for both sides (virtio 1.4 §2.8).
    Packed,
}

/// How the two halves tell each other that no notification is needed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Suppression {
    /// By flags (virtio 1.4 §2.7.7, §2.7.10, §2.8.10).
    Flags,
    /// By event indices (`VIRTIO_F_EVENT_IDX`, virtio 1.4 §2.7.7, §2.7.10, §2.8.10).
    EventIdx,
}

/// Take a record of every operation on virtqueues, by eBPF: on this guest's own, or with
/// `--pid` on those of a process that uses the reference driver.
///
/// On a terminal it shows the screens until you quit, then a report; else it runs until
/// it is told to end, and prints the report. It needs root, or the capabilities
/// CAP_BPF, CAP_PERFMON and CAP_SYSLOG, and gives them up once it is attached.
#[derive(Args, Debug, Clone)]
pub(crate) struct TraceArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,

    /// Only requests that this process or thread adds. What a kernel thread adds for it
    /// is not seen.
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) task: Option<u32>,

    /// Bytes of each buffer to keep, up to 16384.
    #[arg(long, value_name = "BYTES", default_value_t = DEFAULT_SNAPLEN, value_parser = trace_snaplen)]
    pub(crate) snaplen: u32,

    /// Don't have the kernel count what tracing costs: it reads its clock twice for that,
    /// each time a program runs.
    #[arg(long)]
    pub(crate) no_cost: bool,

    /// Which bytes of each buffer to keep. [default: headers; with --pid and --program:
    /// full, as far as the process shows them]
    #[arg(long, value_enum)]
    pub(crate) payload: Option<Payload>,

    /// Keep one request of every N, whole.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) sample: u32,

    /// Write a capture: to a file, or to standard output with `-`.
    #[arg(short, long, value_name = "FILE|-")]
    pub(crate) write: Option<PathBuf>,

    /// End after this many requests.
    #[arg(short = 'c', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,

    /// How long to run: `10s`, `500ms`, `2m`.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) duration: Option<Duration>,

    /// End when the capture has this many bytes: `10M`, `1G`.
    #[arg(long, value_name = "SIZE", value_parser = size, requires = "write")]
    pub(crate) max_size: Option<u64>,

    /// Go on in another file when one has this many bytes, and keep the newest COUNT files:
    /// `100M`, `10M,5`. The first is FILE, then come FILE.1, FILE.2 and so on; each can be
    /// read by itself, and `virtscope merge` makes one of them.
    #[arg(long, value_name = "SIZE[,COUNT]", value_parser = rotation, requires = "write")]
    pub(crate) rotate: Option<Rotation>,

    /// Trace for the life of this command.
    #[arg(last = true, value_name = "CMD")]
    pub(crate) command: Vec<std::ffi::OsString>,
}

/// Whose queues are traced, and which of them.
#[derive(Args, Debug, Clone)]
pub(crate) struct TargetArgs {
    /// Trace the process of this number, at the probes of the reference driver in it,
    /// until it ends.
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(u32).range(1..), conflicts_with = "program")]
    pub(crate) pid: Option<u32>,

    /// The same for every process that runs this program, now or later.
    #[arg(long, value_name = "FILE")]
    pub(crate) program: Option<PathBuf>,

    /// Only this device, like virtio0; may be given several times.
    #[arg(short, long = "device", value_name = "DEVICE", value_parser = device)]
    pub(crate) devices: Vec<u16>,

    /// Only this queue: its index, like 0, or device and index, like virtio0.1; may be
    /// given several times.
    #[arg(short, long = "queue", value_name = "QUEUE")]
    pub(crate) queues: Vec<QueueFilter>,

    /// Only devices of this driver, like virtio_blk or 9pnet_virtio.
    #[arg(long, value_name = "NAME", value_parser = driver_name)]
    pub(crate) driver: Option<String>,

    /// Bytes of the buffer between kernel and user space: a power of two, at least one
    /// page.
    #[arg(long, value_name = "SIZE", default_value = "16M", value_parser = buffer_size)]
    pub(crate) buffer_size: u32,
}

impl TargetArgs {
    /// Whether it is a process that is traced, and not the kernel.
    pub(crate) const fn is_process(&self) -> bool {
        self.pid.is_some() || self.program.is_some()
    }

    fn check(&self) -> Result<(), String> {
        if self.is_process() && self.driver.is_some() {
            return Err(
                "--driver names a driver of this kernel, and a process has the reference driver \
                 alone: choose with -d or -q"
                    .to_owned(),
            );
        }
        Ok(())
    }
}

/// Which bytes of a buffer are kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Payload {
    /// None.
    None,
    /// What a protocol says about its data, and none of the data.
    Headers,
    /// The first bytes, whatever they are: file contents, too.
    Full,
}

/// Look at a capture on the screens: a file, or a pipe with `-`.
///
/// A file is played at the speed it was recorded; a pipe as it comes, so that
/// `ssh guest virtscope demo -w - | virtscope view -` is a live view.
#[derive(Args, Debug)]
pub(crate) struct ViewArgs {
    /// The capture.
    #[arg(value_name = "FILE|-")]
    pub(crate) capture: PathBuf,

    /// How many times faster than recorded.
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, value_parser = speed)]
    pub(crate) speed: f64,

    /// Go on waiting at the end of a file that is still being written.
    #[arg(short, long)]
    pub(crate) follow: bool,

    #[command(flatten)]
    pub(crate) filter: FilterArgs,
}

/// Report on a capture: what was seen and lost, where the time went.
///
/// The exit code is 0 if nothing was found, 1 if there are findings, and 2 if the
/// capture could not be read or not be read wholly.
#[derive(Args, Debug)]
pub(crate) struct ReportArgs {
    /// The capture.
    #[arg(value_name = "FILE|-")]
    pub(crate) capture: PathBuf,

    /// As JSON. The schema stands in docs/report.schema.json.
    #[arg(long)]
    pub(crate) json: bool,

    /// End with 1 for these findings alone, whatever else is found.
    #[arg(long, value_name = "FINDING,…", value_delimiter = ',', value_parser = finding)]
    pub(crate) fail_on: Vec<FindingCode>,

    #[command(flatten)]
    pub(crate) filter: FilterArgs,
}

/// Compare two captures: what got slower, by operation and by phase.
///
/// Differences that chance explains are no news, and small ones neither. The exit
/// code is 0 if nothing got slower, 1 if something did, 2 if a capture could not be
/// read.
#[derive(Args, Debug)]
pub(crate) struct DiffArgs {
    /// The capture of how it was.
    #[arg(value_name = "A")]
    pub(crate) before: PathBuf,

    /// The capture of how it is.
    #[arg(value_name = "B")]
    pub(crate) after: PathBuf,

    /// As JSON. The schema stands in docs/diff.schema.json.
    #[arg(long)]
    pub(crate) json: bool,

    /// In how many of 100 pairs of runs of which nothing differs something may be
    /// raised.
    #[arg(long, value_name = "PERCENT", default_value_t = 1.0, value_parser = percent)]
    pub(crate) error_rate: f64,

    /// By how many percent a median must move to be news.
    #[arg(long, value_name = "PERCENT", default_value_t = 5.0, value_parser = percent)]
    pub(crate) smallest_shift: f64,

    #[command(flatten)]
    pub(crate) filter: FilterArgs,
}

/// Which requests are wanted.
#[derive(Args, Debug)]
pub(crate) struct FilterArgs {
    /// Only requests for which this expression is true, like
    /// `op == "read" && latency > duration("1ms")`; `--filter help` lists the fields.
    #[arg(long, value_name = "EXPR", value_parser = filter)]
    pub(crate) filter: Option<Arc<Filter>>,
}

fn filter(text: &str) -> Result<Arc<Filter>, FilterError> {
    Filter::compile(text).map(Arc::new)
}

fn percent(text: &str) -> Result<f64, String> {
    match text.trim_end_matches('%').parse::<f64>() {
        Ok(percent) if percent > 0.0 && percent < 100.0 => Ok(percent),
        _ => Err(format!(
            "`{text}` is no percentage: write a number between 0 and 100"
        )),
    }
}

/// Print a capture: one line a request, in the order they ended.
///
/// A line has the request's number, when it began, its queue, how long it took in
/// all and in its phases (queued + device + harvest), what it was and how it ended.
#[derive(Args, Debug)]
pub(crate) struct PrintArgs {
    /// The capture.
    #[arg(value_name = "FILE|-")]
    pub(crate) capture: PathBuf,

    /// One line a record instead.
    #[arg(long, conflicts_with = "filter")]
    pub(crate) records: bool,

    /// Go on waiting at the end of a file that is still being written.
    #[arg(short, long)]
    pub(crate) follow: bool,

    /// Columns of a line, which is cut with `…`; 0 cuts none. The terminal's, or 100
    /// where there is none, unless told otherwise. From 120 on each phase has a column.
    #[arg(long, value_name = "COLUMNS")]
    pub(crate) width: Option<usize>,

    #[command(flatten)]
    pub(crate) filter: FilterArgs,
}

/// Make one capture of several, on one clock.
///
/// Captures of different machines, or of different boots, are brought together by
/// Unix time; which clock the result is on, and by how much the others were moved,
/// is said on standard error and in the capture. Devices with the same number
/// stay apart: the later capture's get the next free numbers. Parts of one
/// recording (see `virtscope slice`) find together again instead.
#[derive(Args, Debug)]
pub(crate) struct MergeArgs {
    /// The captures.
    #[arg(value_name = "FILE|-", required = true, num_args = 1..)]
    pub(crate) captures: Vec<PathBuf>,

    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// Copy a part of a capture: a stretch of time, some queues, some requests.
///
/// A part is never half a request: those that begin in the stretch of time are
/// copied to their end, the others are left out. What is left out counts as
/// filtered and not as lost, and the part says that it is one.
#[derive(Args, Debug)]
pub(crate) struct SliceArgs {
    /// The capture.
    #[arg(value_name = "FILE|-")]
    pub(crate) capture: PathBuf,

    /// From so long after the first record on: `1.5s`, `200ms`. Times are those
    /// that `virtscope print` shows.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub(crate) from: Option<Duration>,

    /// Up to so long after the first record.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub(crate) to: Option<Duration>,

    /// A queue, like `virtio0.1`; may be given several times.
    #[arg(long, value_name = "QUEUE")]
    pub(crate) queue: Vec<QueueId>,

    /// A request or several, by the numbers that `virtscope print` shows: `17`,
    /// `17-20`; may be given several times.
    #[arg(long, value_name = "N[-M]", value_parser = request_range)]
    pub(crate) request: Vec<RangeInclusive<u64>>,

    /// Keep what is in the stretch of time of requests that begin before it, too.
    #[arg(long)]
    pub(crate) halves: bool,

    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// Copy a capture without names and contents, to share it.
///
/// Names of files become other names of the same length, the same one always the
/// same; what was read or written becomes zeros. Sizes, times, offsets, errors and
/// everything else that a report is made of stay as they are, and so do process
/// numbers and tokens, which may be addresses in a kernel.
#[derive(Args, Debug)]
pub(crate) struct RedactArgs {
    /// The capture.
    #[arg(value_name = "FILE|-")]
    pub(crate) capture: PathBuf,

    /// Choose the pseudonyms by this number, so that several captures have the
    /// same. Keep it to yourself: with it, names can be guessed.
    #[arg(long, value_name = "NUMBER")]
    pub(crate) seed: Option<u64>,

    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// Write a capture in the form of another tool.
#[derive(Args, Debug)]
pub(crate) struct ExportArgs {
    /// The capture.
    #[arg(value_name = "FILE|-")]
    pub(crate) capture: PathBuf,

    /// The form.
    #[arg(long, value_enum, value_name = "FORM")]
    pub(crate) to: Format,

    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// The forms that captures can be written in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Format {
    /// The 9P messages in pcapng, which a stock Wireshark or tshark dissects. Record
    /// with a snaplen that keeps them whole.
    #[value(name = "9p-pcapng")]
    P9Pcapng,
}

/// Where a capture goes that is made of others.
#[derive(Args, Debug)]
pub(crate) struct OutputArgs {
    /// The capture to write; it appears when it is whole, readable by you alone.
    #[arg(short, long, value_name = "FILE|-")]
    pub(crate) output: PathBuf,

    /// Replace the file that is there.
    #[arg(long)]
    pub(crate) force: bool,

    /// Say nothing on standard error of what was written.
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// A moment after the first record, which may be that one.
fn moment(text: &str) -> Result<Duration, String> {
    match text {
        "0" | "0s" => Ok(Duration::ZERO),
        _ => duration(text),
    }
}

fn request_range(text: &str) -> Result<RangeInclusive<u64>, String> {
    let number = |text: &str| {
        text.trim()
            .parse::<u64>()
            .map_err(|_| format!("`{text}` is no number: write 17, or 17-20"))
    };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (number(first)?, number(last)?);
    if first > last {
        return Err(format!("{first} comes after {last}"));
    }
    Ok(first..=last)
}

/// List the virtio devices of this kernel and their virtqueues.
///
/// They are found in the kernel's memory, without waiting for anything to happen, and
/// compared with what /sys/bus/virtio says. Needs root, or CAP_BPF, CAP_PERFMON and
/// CAP_SYSLOG; without them it shows what /sys/bus/virtio has.
#[derive(Args, Debug)]
pub(crate) struct ListArgs {
    /// As JSON.
    #[arg(long)]
    pub(crate) json: bool,

    /// List what is in a file that `virtscope inspect --save` made, instead.
    #[arg(long, value_name = "FILE")]
    pub(crate) from: Option<PathBuf>,
}

/// Show every ring as it is now, also of a queue that hangs.
///
/// Indices of both sides, event fields, flags, free descriptors and the buffers in
/// flight, read from the kernel's memory until two readings agree. Needs root, or
/// CAP_BPF, CAP_PERFMON and CAP_SYSLOG.
#[derive(Args, Debug)]
pub(crate) struct InspectArgs {
    /// Only this device: `virtio0`, or a driver's name like `virtio_blk`.
    #[arg(short, long, value_name = "DEVICE")]
    pub(crate) device: Option<String>,

    /// Only the queues of this name or number.
    #[arg(short, long, value_name = "QUEUE")]
    pub(crate) queue: Option<String>,

    /// Show every buffer in flight, however many there are.
    #[arg(long)]
    pub(crate) all: bool,

    /// As JSON.
    #[arg(long)]
    pub(crate) json: bool,

    /// Keep what was read in a file, to look at it elsewhere. It holds the rings and
    /// their tables, and nothing of what the buffers hold.
    #[arg(long, value_name = "FILE")]
    pub(crate) save: Option<PathBuf>,

    /// Show what was saved in a file, instead.
    #[arg(long, value_name = "FILE")]
    pub(crate) from: Option<PathBuf>,
}

/// Print one line a queue every second, like vmstat: of this guest's queues, of those of
/// a process, or of a capture.
///
/// Rates are per second; how many buffers are in flight and the latencies are those of
/// the interval's end and of the requests that ended in it. What was lost and missed is
/// counted. Tracing needs what `virtscope trace` needs; a capture (`-r`) needs nothing.
#[derive(Args, Debug)]
pub(crate) struct StatArgs {
    /// Seconds from line to line: `1`, `0.5`, `10s`.
    #[arg(value_name = "SECONDS", default_value = "1", value_parser = duration)]
    pub(crate) interval: Duration,

    /// End after so many intervals. [default: when it is told to]
    #[arg(value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..), conflicts_with = "read")]
    pub(crate) intervals: Option<u32>,

    /// The capture to count instead: a file, or a pipe with `-`.
    #[arg(short, long, value_name = "FILE|-", conflicts_with_all = [
        "pid", "program", "devices", "queues", "driver", "buffer_size",
    ])]
    pub(crate) read: Option<PathBuf>,

    /// Go on waiting at the end of a file that is still being written.
    #[arg(short, long, requires = "read")]
    pub(crate) follow: bool,

    #[command(flatten)]
    pub(crate) target: TargetArgs,
}

/// Say what this kernel lets us trace, what would be missed, and what to do about it.
///
/// Much of it needs no privileges; what does is said to be untried without them. The
/// exit code is 0 where tracing works, 2 where it does not or that can't be told.
#[derive(Args, Debug)]
pub(crate) struct DoctorArgs {
    /// As JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

fn device(text: &str) -> Result<u16, String> {
    text.strip_prefix("virtio")
        .and_then(|number| number.parse().ok())
        .filter(|number| *number != u16::MAX)
        .ok_or_else(|| format!("`{text}` names no device: write it like virtio0"))
}

fn driver_name(text: &str) -> Result<String, String> {
    if (1..32).contains(&text.len()) && !text.contains('\0') {
        Ok(text.to_owned())
    } else {
        Err("a driver's name has 1 to 31 bytes, like virtio_blk".to_owned())
    }
}

fn trace_snaplen(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(bytes) if bytes <= SNAPLEN_LIMIT => Ok(bytes),
        _ => Err(format!("it must be a number up to {SNAPLEN_LIMIT}")),
    }
}

/// A number of bytes like `4096`, `64K`, `10M`, `1G`.
fn size(text: &str) -> Result<u64, String> {
    let help = || format!("`{text}` is no size: write it like 4096, 64K, 10M or 1G");
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match &text[digits.len()..] {
        "" => 0,
        "K" | "k" => 10,
        "M" => 20,
        "G" => 30,
        _ => return Err(help()),
    };
    let number: u64 = digits.parse().map_err(|_| help())?;
    number
        .checked_mul(1 << shift)
        .filter(|size| *size > 0)
        .ok_or_else(help)
}

/// Bytes a file of a capture, and how many files there are at most.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Rotation {
    pub(crate) size: u64,
    pub(crate) count: Option<usize>,
}

/// A size, and a number of files behind a comma.
fn rotation(text: &str) -> Result<Rotation, String> {
    let (bytes, count) = match text.split_once(',') {
        Some((bytes, count)) => (bytes, Some(count)),
        None => (text, None),
    };
    let size = size(bytes)?;
    // What a file begins with has to have room in it.
    if size < SMALLEST_FILE {
        return Err(format!("a file must have at least {SMALLEST_FILE} bytes"));
    }
    let number = |count: &str| {
        count
            .parse()
            .ok()
            .filter(|count| *count > 0)
            .ok_or_else(|| format!("`{count}` is no number of files: write it like 100M,5"))
    };
    let count = count.map(number).transpose()?;
    Ok(Rotation { size, count })
}

/// The least that a file of several has room for.
const SMALLEST_FILE: u64 = 16 << 10;

fn buffer_size(text: &str) -> Result<u32, String> {
    let bytes = u32::try_from(size(text)?).map_err(|_| "at most 2G".to_owned())?;
    if bytes.is_power_of_two() && (4096..=1 << 30).contains(&bytes) {
        Ok(bytes)
    } else {
        Err("it must be a power of two from 4K to 1G".to_owned())
    }
}

/// A time like `10s`, `500ms`, `1m30s`, or bare seconds like `10` or `2.5`.
fn duration(text: &str) -> Result<Duration, String> {
    let help = || format!("`{text}` is no time: write it like 10s, 500ms or 2m");
    let time = match text.parse::<f64>() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).map_err(|_| help())?,
        Err(_) => humantime::parse_duration(text).map_err(|_| help())?,
    };
    if time.is_zero() {
        return Err("it must be longer than nothing".to_owned());
    }
    Ok(time)
}

fn scenario(text: &str) -> Result<ScenarioChoice, String> {
    if text == "list" {
        return Ok(ScenarioChoice::List);
    }
    Scenario::of_name(text)
        .map(ScenarioChoice::One)
        .ok_or_else(|| "there is no such scenario; `--scenario list` prints them".to_owned())
}

fn finding(text: &str) -> Result<FindingCode, String> {
    FindingCode::from_name(text).ok_or_else(|| {
        let names: Vec<_> = FindingCode::ALL.iter().map(|code| code.name()).collect();
        format!("there is no such finding; there are {}", names.join(", "))
    })
}

fn queue_size(text: &str) -> Result<QueueSize, String> {
    let entries: u16 = text.parse().map_err(|_| format!("`{text}` is no number"))?;
    // A reply of 32 KiB alone takes nine descriptors and its request one.
    if !(16..=128).contains(&entries) {
        return Err(QUEUE_SIZES.to_owned());
    }
    QueueSize::new(entries).map_err(|error| error.to_string())
}

const QUEUE_SIZES: &str = "it must be 16, 32, 64 or 128, with a packed ring any number between";

impl Cli {
    /// Checks what no option can check by itself.
    ///
    /// # Errors
    /// What is wrong, for whoever typed it.
    pub(crate) fn check(&self) -> Result<(), clap::Error> {
        match &self.command {
            Some(Command::Demo(demo)) => demo.check(),
            Some(Command::Slice(slice)) => slice.check(),
            Some(Command::Trace(trace)) => trace.check(),
            Some(Command::Stat(stat)) => stat.check(),
            _ => Ok(()),
        }
    }
}

impl DemoArgs {
    fn check(&self) -> Result<(), clap::Error> {
        let size = self.queue_size;
        if self.layout == RingLayout::Packed || size.for_split().is_ok() {
            return Ok(());
        }
        let message = format!("invalid value '{size}' for '--queue-size <N>': {QUEUE_SIZES}");
        Err(Cli::command().error(ErrorKind::ValueValidation, message))
    }
}

impl TraceArgs {
    fn check(&self) -> Result<(), clap::Error> {
        self.target.check().map_err(conflict)?;
        let refused = match self.target.is_process() {
            false => None,
            true if self.task.is_some() => Some(
                "--task chooses among those who use this kernel's queues; --pid and --program \
                 say already whose records are wanted",
            ),
            true if self.sample > 1 => Some(
                "--sample is for this kernel's queues: a process shows every record at its probes",
            ),
            true if self.payload == Some(Payload::Headers) => Some(
                "--payload headers is for this kernel's queues: a process shows the first bytes of \
                 a buffer, whatever they are; take fewer with --snaplen, or --payload none",
            ),
            true => None,
        };
        refused.map_or(Ok(()), |reason| Err(conflict(reason.to_owned())))
    }
}

impl StatArgs {
    fn check(&self) -> Result<(), clap::Error> {
        self.target.check().map_err(conflict)
    }
}

fn conflict(message: String) -> clap::Error {
    Cli::command().error(ErrorKind::ArgumentConflict, message)
}

impl SliceArgs {
    fn check(&self) -> Result<(), clap::Error> {
        let message = match (self.from, self.to) {
            (Some(from), Some(to)) if from >= to => {
                format!("--from {from:?} is not before --to {to:?}")
            }
            (None, None) if self.queue.is_empty() && self.request.is_empty() => {
                "say which part: --from, --to, --queue or --request".to_owned()
            }
            _ => return Ok(()),
        };
        Err(Cli::command().error(ErrorKind::ValueValidation, message))
    }
}

fn snaplen(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(bytes) if bytes <= MAX_SNAPLEN => Ok(bytes),
        _ => Err(format!("it must be a number up to {MAX_SNAPLEN}")),
    }
}

fn speed(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(speed) if speed.is_finite() && speed > 0.0 => Ok(speed),
        _ => Err(format!(
            "`{text}` is no speed: write a number above 0, like 0.1 or 10"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn times_are_read_as_people_write_them() {
        assert_eq!(duration("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(duration("2.5"), Ok(Duration::from_millis(2500)));
        assert_eq!(duration("1m 30s"), Ok(Duration::from_secs(90)));
        for bad in ["", "0", "0s", "-1", "ten", "1e400"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_of_files_and_buffers_are_read_as_people_write_them() {
        assert_eq!(size("4096"), Ok(4096));
        assert_eq!(size("64K"), Ok(65536));
        assert_eq!(size("2G"), Ok(2 << 30));
        for bad in ["", "K", "0", "-1", "1.5M", "10MiB", "99999999999G"] {
            assert!(size(bad).is_err(), "{bad}");
        }
        assert_eq!(buffer_size("4K"), Ok(4096));
        for bad in ["2K", "3M", "4G"] {
            assert!(buffer_size(bad).is_err(), "{bad}");
        }
        assert_eq!(device("virtio3"), Ok(3));
        assert!(device("eth0").is_err());
    }

    #[test]
    fn rotations_are_read_and_checked() {
        let size = 10 << 20;
        assert_eq!(rotation("10M"), Ok(Rotation { size, count: None }));
        let count = Some(5);
        assert_eq!(rotation("10M,5"), Ok(Rotation { size, count }));
        for bad in [
            "", ",5", "10M,", "10M,0", "10M,-1", "10M,x", "1K", "10M,5,6",
        ] {
            assert!(rotation(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_and_speeds_are_checked() {
        assert!(queue_size("64").is_ok());
        for bad in ["0", "8", "256", "x"] {
            assert!(queue_size(bad).is_err(), "{bad}");
        }
        assert_eq!(snaplen("0"), Ok(0));
        assert_eq!(snaplen("262072"), Ok(MAX_SNAPLEN));
        for bad in ["262073", "-1", "99999999999", "x"] {
            assert!(snaplen(bad).is_err(), "{bad}");
        }
        assert_eq!(request_range("7"), Ok(7..=7));
        assert_eq!(request_range("7-9"), Ok(7..=9));
        for bad in ["", "-", "9-7", "x", "1-2-3"] {
            assert!(request_range(bad).is_err(), "{bad}");
        }
        assert_eq!(moment("0"), Ok(Duration::ZERO));
        assert_eq!(speed("0.5"), Ok(0.5));
        for bad in ["0", "-1", "inf", "nan", "x"] {
            assert!(speed(bad).is_err(), "{bad}");
        }
    }
}
