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
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let mut out = BufWriter::with_capacity(1 << 20, std::io::stdout().lock());
    write_capture(&mut out, args.records).context("cannot write the capture")?;
    out.flush().context("cannot write the capture")
}
