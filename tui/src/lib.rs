//! virtscope, the program: command line and screens.
//!
//! The library exists so that tests that cross rooms (a driver, a device and
//! what the analyzer makes of it) can run a demo without a terminal; it promises
//! no interface to anyone else.

mod analysis;
mod cli;
mod commands;
pub mod demo;
mod export;
mod fit;
mod input;
mod json;
mod line;
mod meter;
mod playback;
mod present;
pub mod recorder;
pub mod rotate;
mod screen;
mod signals;
mod virtio;

use std::io;
use std::process::ExitCode;

use clap::Parser;
use virtscope_analyzer::filter_help;

use cli::{Cli, Command, DemoArgs};
use commands::{Outcome, complain};

/// The exit code for what could not be done, or not be done wholly.
const TROUBLE: u8 = 2;
/// The exit code for what was found.
const FINDINGS: u8 = 1;

/// The whole program.
pub fn main() -> ExitCode {
    if asks_for_filter_help() {
        return match io::Write::write_all(&mut io::stdout(), filter_help().as_bytes()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => ExitCode::from(TROUBLE),
            _ => ExitCode::SUCCESS,
        };
    }
    let cli = Cli::parse();
    if let Err(error) = cli.check() {
        error.exit();
    }
    match run(cli) {
        Ok(Outcome::Clean) => ExitCode::SUCCESS,
        Ok(Outcome::Findings) => ExitCode::from(FINDINGS),
        Ok(Outcome::Failed) => ExitCode::from(TROUBLE),
        // Whoever closed the pipe has seen enough.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&reason(&error));
            ExitCode::from(TROUBLE)
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<Outcome> {
    // From here on a signal ends tracing as one that comes later does, also while it begins.
    match &cli.command {
        Some(Command::Trace(args)) => {
            let stop = signals::stop_flag_without_privileges()?;
            return commands::trace::trace(args, &stop);
        }
        Some(Command::Stat(args)) if args.read.is_none() => {
            let stop = signals::stop_flag_without_privileges()?;
            return commands::stat::stat_live(args, &stop);
        }
        // They have nothing to end: a signal ends them as it ends any program, and nothing
        // is left of what they looked with.
        Some(Command::List(args)) => return commands::list::list(args),
        Some(Command::Inspect(args)) => return commands::inspect::inspect(args),
        Some(Command::Doctor(args)) => return commands::doctor::doctor(args),
        _ => {}
    }
    let stop = signals::stop_flag()?;
    match cli.command {
        None => commands::demo::demo(&demo_defaults(), &stop),
        Some(Command::Demo(args)) => commands::demo::demo(&args, &stop),
        Some(Command::View(args)) => commands::view::view(&args, &stop),
        Some(Command::Report(args)) => commands::report::report(&args, &stop),
        Some(Command::Print(args)) => commands::print::print(&args, &stop),
        Some(Command::Diff(args)) => commands::diff::diff(&args, &stop),
        Some(Command::Merge(args)) => commands::merge::merge(&args, &stop),
        Some(Command::Slice(args)) => commands::slice::slice(&args, &stop),
        Some(Command::Redact(args)) => commands::redact::redact(&args, &stop),
        Some(Command::Export(args)) => commands::export::export(&args, &stop),
        Some(Command::Stat(args)) => commands::stat::stat(&args, &stop),
        // See above.
        Some(Command::Trace(_) | Command::List(_) | Command::Inspect(_) | Command::Doctor(_)) => {
            Ok(Outcome::Clean)
        }
    }
}

/// Whether `--filter help` is among the arguments. It needs no capture, and a
/// command that does would ask for one first.
fn asks_for_filter_help() -> bool {
    let arguments: Vec<_> = std::env::args_os().collect();
    let pair = |pair: &[std::ffi::OsString]| pair[0] == "--filter" && pair[1] == "help";
    arguments.windows(2).any(pair) || arguments.iter().any(|one| one == "--filter=help")
}

/// What `virtscope demo` without arguments means.
fn demo_defaults() -> DemoArgs {
    match Cli::parse_from(["virtscope", "demo"]).command {
        Some(Command::Demo(args)) => args,
        _ => unreachable!("`virtscope demo` is the demo"),
    }
}

/// What was attempted, then why it failed; causes that were named already are not
/// named again.
fn reason(error: &anyhow::Error) -> String {
    let mut reason = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !reason.contains(&cause) {
            reason = format!("{reason}: {cause}");
        }
    }
    reason
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    })
}
