//! What the commands that read captures can be told.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, ValueEnum};
use virtscope_analyzer::{Filter, FilterError, FindingCode};
use virtscope_record::QueueId;

use super::Cli;
use super::values::duration;

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

impl SliceArgs {
    pub(super) fn check(&self) -> Result<(), clap::Error> {
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

fn finding(text: &str) -> Result<FindingCode, String> {
    FindingCode::from_name(text).ok_or_else(|| {
        let names: Vec<_> = FindingCode::ALL.iter().map(|code| code.name()).collect();
        format!("there is no such finding; there are {}", names.join(", "))
    })
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

    #[test]
    fn parts_and_speeds_are_checked() {
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
