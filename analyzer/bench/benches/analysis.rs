//! How fast captures are read and analysed:
//! `cargo bench -p virtscope-analysis-bench`.
//!
//! Everybody reads the same capture from memory, in turn, in one program. The peer is
//! `pcap-file`, the library that finds pcapng's blocks: what it takes for the blocks
//! alone is the measure for a whole analysis.

use std::hint::black_box;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use clap::Parser;
use virtscope_analysis_bench::{
    analyse, analyse_without_findings, pcap_file_blocks, pcap_file_raw, print_table, read,
    write_capture,
};
use virtscope_bench::harness::{Contender, interleave};

#[derive(Parser, Debug)]
#[command(about = "How fast captures are read and analysed")]
struct Args {
    /// Read this capture instead of one that is made up.
    #[arg(long)]
    capture: Option<PathBuf>,

    /// Records of the capture that is made up.
    #[arg(long, default_value_t = 500_000)]
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

const PEER: &str = "pcap-file, every block";

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let bytes: Arc<[u8]> = match &args.capture {
        Some(path) => std::fs::read(path)
            .with_context(|| format!("cannot read {}", path.display()))?
            .into(),
        None => {
            let mut bytes = Vec::new();
            write_capture(&mut bytes, args.records, 2)?;
            bytes.into()
        }
    };
    let records = read(&bytes);
    println!("{records} records in {} MB", bytes.len() / 1_000_000);

    let on = |name, run: fn(&[u8]) -> u64| {
        let bytes = Arc::clone(&bytes);
        Contender::new(name, move || {
            black_box(run(black_box(&bytes)));
        })
    };
    let mut contenders = vec![
        on(PEER, pcap_file_blocks),
        on("pcap-file, raw blocks", pcap_file_raw),
        on("virtscope, every record", read),
        on("virtscope, whole analysis", analyse),
        on(
            "virtscope, whole analysis but findings",
            analyse_without_findings,
        ),
    ];
    contenders.retain(|who| who.name == PEER || who.name.contains(&args.only));
    if args.once {
        contenders.iter_mut().for_each(|who| (who.round)());
        return Ok(());
    }
    let each = u32::try_from(records).context("a capture of fewer than 2³² records")?;
    let samples = interleave(&mut contenders, args.rounds, each);
    print_table(&samples, PEER);
    Ok(())
}
