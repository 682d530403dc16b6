//! What a record costs between the tracer's buffer and the file:
//! `cargo bench -p virtscope-analysis-bench --bench writing`.
//!
//! Everybody writes the same records to nowhere, in turn, in one program. The peer is
//! `pcap-file`, the library for pcapng, which writes the packets alone.

use std::hint::black_box;
use std::sync::Arc;

use clap::Parser;
use virtscope_analysis_bench::{Comparison, Records};
use virtscope_bench::harness::Contender;

#[derive(Parser, Debug)]
#[command(about = "What a record costs between the tracer's buffer and the file")]
struct Args {
    /// Records of the capture that is made up.
    #[arg(long, default_value_t = 200_000)]
    records: u64,

    #[command(flatten)]
    comparison: Comparison,
}

const PEER: &str = "pcap-file, a packet each";

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let bytes = args.comparison.capture(args.records)?;
    let records = Arc::new(Records::of(&bytes));
    println!("{} records", records.count());

    let on = |name, run: fn(&Records) -> u64| {
        let records = Arc::clone(&records);
        Contender::new(name, move || {
            black_box(run(black_box(&records)));
        })
    };
    let contenders = vec![
        on(PEER, Records::by_pcap_file),
        on("virtscope, written", Records::by_us),
        on(
            "virtscope, put in order and written",
            Records::in_order_by_us,
        ),
    ];
    args.comparison
        .run(PEER, records.count() as u64, contenders)
}
