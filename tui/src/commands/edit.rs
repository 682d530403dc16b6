//! What the commands share that make captures of captures.

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, anyhow, bail};
use virtscope_captures::edit::{Done, EditError, Source};
use virtscope_captures::{NewFile, WriteError};

use super::complain;
use crate::cli::OutputArgs;
use crate::input::{Input, is_standard, is_stopped, name, open_metered};
use crate::meter::Meter;

/// The capture at `path`, to go into another.
pub(super) fn source(
    path: &Path,
    meter: &Meter,
    stop: &Arc<AtomicBool>,
) -> anyhow::Result<Source<Input>> {
    Ok(Source::new(open_metered(path, meter, stop)?))
}

/// How far it has come with reading `paths`.
pub(super) fn meter(args: &OutputArgs, paths: &[&Path]) -> Meter {
    if is_standard(&args.output) {
        Meter::beside_output(paths)
    } else {
        Meter::of(paths)
    }
}

/// Where a capture goes: a file that is there when it is whole, or a pipe.
pub(super) enum Target {
    File(NewFile),
    Pipe(io::Stdout),
}

impl Target {
    /// The output that was asked for.
    ///
    /// # Errors
    /// One that can't be written to, or that would replace something.
    pub(super) fn open(args: &OutputArgs) -> anyhow::Result<Self> {
        if !is_standard(&args.output) {
            return Ok(Self::File(NewFile::create(&args.output, args.force)?));
        }
        if io::stdout().is_terminal() {
            bail!("a capture is no text: pipe it on, or name a file with -o");
        }
        Ok(Self::Pipe(io::stdout()))
    }

    /// The capture is whole: the file gets its name.
    pub(super) fn keep(self) -> anyhow::Result<()> {
        match self {
            Self::File(file) => Ok(file.keep()?),
            Self::Pipe(mut out) => Ok(out.flush()?),
        }
    }
}

impl Write for Target {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.write(buf),
            Self::Pipe(out) => out.write(buf),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::File(file) => file.flush(),
            Self::Pipe(out) => out.flush(),
        }
    }
}

/// Says what went wrong in the words of the command: a file that is not whole is
/// not there.
pub(super) fn explain(error: EditError, args: &OutputArgs, inputs: &[&Path]) -> anyhow::Error {
    let output = name(&args.output);
    match error {
        EditError::Write(WriteError::ReaderGone { source, .. }) => source.into(),
        EditError::Write(WriteError::DiskFull { .. }) if !is_standard(&args.output) => anyhow!(
            "the disk is full: {output} was not written; free some space or write elsewhere"
        ),
        EditError::Write(error) => {
            anyhow::Error::new(error).context(format!("cannot write {output}"))
        }
        EditError::Read { source, .. } if is_stopped(&source) => EditError::Interrupted.into(),
        EditError::Read { input, source } => {
            let input = inputs
                .get(input)
                .map_or_else(String::new, |path| name(path));
            anyhow::Error::new(source).context(input)
        }
        other => other.into(),
    }
}

/// Whether someone asked to stop.
pub(super) fn stopper(stop: &AtomicBool) -> impl Fn() -> bool {
    move || stop.load(Ordering::Relaxed)
}

/// Says on standard error what was written: standard output may be the capture.
pub(super) fn tell(args: &OutputArgs, done: &Done, more: &[String]) -> anyhow::Result<()> {
    if args.quiet {
        return Ok(());
    }
    let totals = &done.totals;
    let mut text = format!(
        "{}: {} records; {} emitted = {} stored + {} lost + {} filtered\n",
        if is_standard(&args.output) {
            "standard output".to_owned()
        } else {
            name(&args.output)
        },
        totals.stored,
        totals.emitted,
        totals.stored,
        totals.lost,
        totals.filtered,
    );
    for line in more {
        text.push_str(&format!("  {line}\n"));
    }
    io::stderr()
        .write_all(text.as_bytes())
        .context("cannot write to standard error")
}

/// Complains of captures that were not read as they were meant to be.
pub(super) fn complain_of(path: &Path, trouble: &str) {
    complain(&format!("{}: {trouble}", name(path)));
}

/// Refuses to read and write the same pipe twice.
pub(super) fn check_inputs(paths: &[&Path]) -> anyhow::Result<()> {
    if paths.iter().filter(|path| is_standard(path)).count() > 1 {
        bail!("standard input can be read once only: name a file for all captures but one");
    }
    Ok(())
}
