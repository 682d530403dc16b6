//! What a record costs between the tracer's buffer and the file:
//! `cargo bench -p virtscope-analysis-bench --bench writing`.
//!
//! Everybody writes the same records to nowhere, in turn, in one program. The peer is
//! `pcap-file`, the library for pcapng, which writes the packets alone.

use std::hint::black_box;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use clap::Parser;
use virtscope_analysis_bench::{Records, print_table, write_capture};
use virtscope_bench::harness::{Contender, interleave};

#[derive(Parser, Debug)]
#[command(about = "What a record costs between the tracer's buffer and the file")]
struct Args {
    /// Write the records of this capture instead of those of one that is made up.
    #[arg(long)]
    capture: Option<PathBuf>,

    /// Records of the capture that is made up.
    #[arg(long, default_value_t = 200_000)]
    records: u64,

    /// Only those whose names contain this, beside the peer.
    #[arg(long, default_value = "")]
    only: String,

    /// Run each once and measure nothing: for those who count instructions.
    #[arg(long)]
    once: bool,

    /// Rounds of everybody.
    #[arg(long, default_value_t = 15)]
    rounds: usize,

    /// What cargo says to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

const PEER: &str = "pcap-file, a packet each";

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let bytes = match &args.capture {
        Some(path) => {
            std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?
        }
        None => {
            let mut bytes = Vec::new();
            write_capture(&mut bytes, args.records, 2)?;
            bytes
        }
    };
    let records = Arc::new(Records::of(&bytes));
    println!("{} records", records.count());

    let on = |name, run: fn(&Records) -> u64| {
        let records = Arc::clone(&records);
        Contender::new(name, move || {
            black_box(run(black_box(&records)));
        })
    };
    let mut contenders = vec![
        on(PEER, Records::by_pcap_file),
        on("virtscope, written", Records::by_us),
        on(
            "virtscope, put in order and written",
            Records::in_order_by_us,
        ),
    ];
    contenders.retain(|who| who.name == PEER || who.name.contains(&args.only));
    if args.once {
        contenders.iter_mut().for_each(|who| (who.round)());
        return Ok(());
    }
    let each = u32::try_from(records.count()).context("more than 2³² records")?;
    let samples = interleave(&mut contenders, args.rounds, each);
    print_table(&samples, PEER);
    Ok(())
}
