//! Developers' chores: `cargo xtask …`.

mod bpf;
mod conformance;
mod costs;
mod demo;
mod failures;
mod guest;
mod limit;
mod ringtest;
mod screenshot;
mod steps;
mod test;
mod tools;
mod truth;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about = "Developers' chores")]
struct Cli {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Debug, Subcommand)]
enum Chore {
    /// Fetch what the tests need and run everything.
    ///
    /// What can't be fetched or run is listed at the end and fails the command.
    Test(test::TestArgs),
    /// Rebuild the eBPF objects that are committed.
    Bpf(bpf::BpfArgs),
    /// List which test shows which requirement of virtio 1.4.
    ///
    /// Makes the page in the book from the list of requirements and the citations
    /// beside the tests.
    Conformance(conformance::ConformanceArgs),
    /// Measure in a guest what tracing costs, beside bpftrace and virtiostat.
    Costs(costs::CostsArgs),
    /// Boot a real kernel in an emulated machine and run a command in it.
    ///
    /// The guest has busybox, a current `virtscope` and the folder /share.
    Guest(guest::GuestArgs),
    /// Run our rings on two threads beside Linux's tools/virtio/ringtest.
    Ringtest(ringtest::RingtestArgs),
    /// Trace real kernels in guests and hold the captures against what others saw.
    Truth(truth::TruthArgs),
    /// Make the README's picture from the running program.
    Screenshot(screenshot::ScreenshotArgs),
}

fn main() -> ExitCode {
    let done = match Cli::parse().chore {
        Chore::Test(args) => test::test(&args),
        Chore::Bpf(args) => bpf::bpf(&args),
        Chore::Conformance(args) => conformance::conformance(&args),
        Chore::Costs(args) => costs::costs(&args),
        Chore::Guest(args) => guest::guest(&args),
        Chore::Ringtest(args) => ringtest::ringtest(&args),
        Chore::Truth(args) => truth::run(&args),
        Chore::Screenshot(args) => screenshot::screenshot(&args).map(|()| true),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
