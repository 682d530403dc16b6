//! What the comparisons of captures have in common.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use virtscope_bench::harness::{Contender, Samples, interleave};

use crate::write_capture;

/// What every comparison can be told.
#[derive(Args, Debug)]
pub struct Comparison {
    /// Take this capture instead of one that is made up.
    #[arg(long)]
    capture: Option<PathBuf>,

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

impl Comparison {
    /// The capture that was asked for, or one of so many records that is made up.
    ///
    /// # Errors
    /// It can't be read.
    pub fn capture(&self, records: u64) -> anyhow::Result<Vec<u8>> {
        match &self.capture {
            Some(path) => {
                std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
            }
            None => {
                let mut bytes = Vec::new();
                write_capture(&mut bytes, records, 2)?;
                Ok(bytes)
            }
        }
    }

    /// Compares those who were asked for with the `peer` among them, each about so many
    /// `records`, and prints the table.
    ///
    /// # Errors
    /// More than 2³² records.
    pub fn run(
        &self,
        peer: &str,
        records: u64,
        mut contenders: Vec<Contender>,
    ) -> anyhow::Result<()> {
        contenders.retain(|who| who.name == peer || who.name.contains(&self.only));
        if self.once {
            contenders.iter_mut().for_each(|who| (who.round)());
            return Ok(());
        }
        let each = u32::try_from(records).context("more than 2³² records")?;
        print_table(&interleave(&mut contenders, self.rounds, each), peer);
        Ok(())
    }
}

/// Prints what each took, beside the `peer` among them.
fn print_table(samples: &[Samples], peer: &str) {
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
