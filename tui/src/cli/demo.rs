//! What a demo can be told.

use std::path::PathBuf;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, ValueEnum};
use virtscope_driver::ring::QueueSize;

use super::Cli;
use super::values::{DEFAULT_SNAPLEN, duration, snaplen};
use crate::demo::scenario::Scenario;

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

impl DemoArgs {
    pub(super) fn check(&self) -> Result<(), clap::Error> {
        let size = self.queue_size;
        if self.layout == RingLayout::Packed || size.for_split().is_ok() {
            return Ok(());
        }
        let message = format!("invalid value '{size}' for '--queue-size <N>': {QUEUE_SIZES}");
        Err(Cli::command().error(ErrorKind::ValueValidation, message))
    }
}

fn scenario(text: &str) -> Result<ScenarioChoice, String> {
    if text == "list" {
        return Ok(ScenarioChoice::List);
    }
    Scenario::of_name(text)
        .map(ScenarioChoice::One)
        .ok_or_else(|| "there is no such scenario; `--scenario list` prints them".to_owned())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_of_queues_are_checked() {
        assert!(queue_size("64").is_ok());
        for bad in ["0", "8", "256", "x"] {
            assert!(queue_size(bad).is_err(), "{bad}");
        }
    }
}
