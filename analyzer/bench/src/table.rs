//! The table of a comparison.

use virtscope_bench::harness::Samples;

/// Prints what each took, beside the `peer` among them.
pub fn print_table(samples: &[Samples], peer: &str) {
    println!("| | fastest, ns a record | median | / {peer} | of processors, median | / {peer} |");
    println!("|---|---|---|---|---|---|");
    let peer = samples.iter().find(|samples| samples.name == peer);
    for row in samples {
        let ratio = peer.map_or(f64::NAN, |peer| row.ratio_to(peer));
        let of_processors = peer.map_or(f64::NAN, |peer| row.processor_ratio_to(peer));
        println!(
            "| {} | {:.1} | {:.1} | {ratio:.2} | {:.1} | {of_processors:.2} |",
            row.name,
            row.min(),
            row.median(),
            row.processor_median(),
        );
    }
}
