//! The command line.

mod captures;
mod demo;
mod trace;
mod values;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};

pub(crate) use captures::{
    DiffArgs, ExportArgs, Format, MergeArgs, OutputArgs, PrintArgs, RedactArgs, ReportArgs,
    SliceArgs, ViewArgs,
};
pub(crate) use demo::{DemoArgs, RingLayout, ScenarioChoice, Suppression};
pub(crate) use trace::{
    DoctorArgs, InspectArgs, ListArgs, Payload, StatArgs, TargetArgs, TraceArgs,
};

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

fn conflict(message: String) -> clap::Error {
    Cli::command().error(ErrorKind::ArgumentConflict, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
