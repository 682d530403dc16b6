//! Writes a capture of so many records to standard output:
//! `cargo run --release -p virtscope-analysis-bench -- 10000000 > big.pcapng`.

use std::io::{BufWriter, Write};

use anyhow::Context;
use clap::Parser;
use virtscope_analysis_bench::write_capture;

#[derive(Parser)]
#[command(about = "Writes a capture of so many records to standard output")]
struct Args {
    /// Records, at least.
    records: u64,
    /// Queues, each of a device of its own.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=1024))]
    queues: u16,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let mut out = BufWriter::with_capacity(1 << 20, std::io::stdout().lock());
    write_capture(&mut out, args.records, args.queues).context("cannot write the capture")?;
    out.flush().context("cannot write the capture")
}
