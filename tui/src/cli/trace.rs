//! What the commands that look at a kernel or a process can be told.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use virtscope_tracer::trace::{
    PROBE_PAYLOAD_LIMIT, QueueChoice, QueueFilter, QueueName, SNAPLEN_LIMIT,
};

use super::conflict;
use super::values::{DEFAULT_SNAPLEN, duration, size};

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

    /// Bytes of each buffer to keep, up to 524288; with --pid and --program up to 16384.
    /// 9P messages of Linux' own size are whole from 131072 on.
    #[arg(long, value_name = "BYTES", default_value_t = DEFAULT_SNAPLEN, value_parser = trace_snaplen)]
    pub(crate) snaplen: u32,

    /// Don't have the kernel count what tracing costs: it reads its clock twice for that,
    /// each time a program runs.
    #[arg(long)]
    pub(crate) no_cost: bool,

    /// Use kprobes and kretprobes alone, as for virtio in modules, also where the kernel has
    /// fentry and fexit: they cost more, and the kernel skips some of them.
    #[arg(long, conflicts_with_all = ["pid", "program"])]
    pub(crate) kprobes: bool,

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

    /// Only this queue: its index, like 0 or virtio0.1; of this kernel's also its name,
    /// like requests or virtio0/requests, by which it is looked up when tracing begins. May
    /// be given several times.
    #[arg(short, long = "queue", value_name = "QUEUE")]
    pub(crate) queues: Vec<QueueChoice>,

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

    /// The queues that are chosen by their index.
    pub(crate) fn by_index(&self) -> Vec<QueueFilter> {
        let indices = self.queues.iter().filter_map(|queue| match queue {
            QueueChoice::Index(filter) => Some(*filter),
            QueueChoice::Name(_) => None,
        });
        indices.collect()
    }

    /// The queues that are chosen by their name.
    pub(crate) fn by_name(&self) -> Vec<QueueName> {
        let names = self.queues.iter().filter_map(|queue| match queue {
            QueueChoice::Index(_) => None,
            QueueChoice::Name(name) => Some(name.clone()),
        });
        names.collect()
    }

    fn check(&self) -> Result<(), String> {
        if self.is_process()
            && let Some(name) = self.by_name().first()
        {
            return Err(format!(
                "-q {name} names a queue of this kernel; a process tells its queues' names with \
                 their first records: choose by index, like 0 or virtio0.1"
            ));
        }
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

    /// Only the queues of this name or number: requests, 0, virtio0/requests, virtio0.0.
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

impl TraceArgs {
    pub(super) fn check(&self) -> Result<(), clap::Error> {
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
            true if self.snaplen > PROBE_PAYLOAD_LIMIT => Some(
                "--snaplen is at most 16384 for a process: its probes show no more of a buffer",
            ),
            true => None,
        };
        refused.map_or(Ok(()), |reason| Err(conflict(reason.to_owned())))
    }
}

impl StatArgs {
    pub(super) fn check(&self) -> Result<(), clap::Error> {
        self.target.check().map_err(conflict)
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_and_devices_are_checked() {
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
}
