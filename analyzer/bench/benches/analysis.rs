//! How fast captures are read and analysed:
//! `cargo bench -p virtscope-analysis-bench`.
//!
//! Everybody reads the same capture from memory, in turn, in one program. The peer is
//! `pcap-file`, the library that finds pcapng's blocks: what it takes for the blocks
//! alone is the measure for a whole analysis.

use std::hint::black_box;
use std::sync::Arc;

use clap::Parser;
use virtscope_analysis_bench::{
    Comparison, analyse, analyse_without_findings, pcap_file_blocks, pcap_file_raw, read,
};
use virtscope_bench::harness::Contender;

#[derive(Parser, Debug)]
#[command(about = "How fast captures are read and analysed")]
struct Args {
    /// Records of the capture that is made up.
    #[arg(long, default_value_t = 500_000)]
    records: u64,

    #[command(flatten)]
    comparison: Comparison,
}

const PEER: &str = "pcap-file, every block";

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let bytes: Arc<[u8]> = args.comparison.capture(args.records)?.into();
    let records = read(&bytes);
    println!("{records} records in {} MB", bytes.len() / 1_000_000);

    let on = |name, run: fn(&[u8]) -> u64| {
        let bytes = Arc::clone(&bytes);
        Contender::new(name, move || {
            black_box(run(black_box(&bytes)));
        })
    };
    let contenders = vec![
        on(PEER, pcap_file_blocks),
        on("pcap-file, raw blocks", pcap_file_raw),
        on("virtscope, every record", read),
        on("virtscope, whole analysis", analyse),
        on(
            "virtscope, whole analysis but findings",
            analyse_without_findings,
        ),
    ];
    args.comparison.run(PEER, records, contenders)
}
