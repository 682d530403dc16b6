//! The README's first command and what can be made of its capture, as a
//! newcomer would type them, checked against each other.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};
use serde_json::Value;

use crate::limit::Deadline;
use crate::steps::Failure;
use crate::tools::is_there;

/// How long the demo runs.
const DURATION: &str = "10s";

/// Requests that these ten seconds of a release build are to complete. The demo's
/// own pace makes it 160,000 (docs/performance/demo.md), but a machine that is busy
/// with other things may stay below, so this is said and not demanded.
const EXPECTED: u64 = 100_000;

/// No load explains fewer: then requests wait for something.
const LEAST: u64 = 20_000;

/// Builds the program, runs the demo with a capture, and holds its report
/// against the capture's and against `capinfos`.
pub(crate) fn demo(root: &Path, deadline: Deadline) -> Result<(), Failure> {
    if !is_there("capinfos") {
        return Err(Failure::Missing("capinfos (Debian: tshark)".to_owned()));
    }
    Ok(check(root, deadline)?)
}

/// Runs the demo for so many minutes and has its capture reported as it is made: the
/// report ends with 1 if anything is found.
pub(crate) fn quiet(root: &Path, minutes: u32, deadline: Deadline) -> Result<(), Failure> {
    let run = "cargo run --release --locked --quiet --";
    // The demo's own report is on standard error, and says the same.
    let mut shell = Command::new("bash");
    shell.current_dir(root).args([
        "-c",
        &format!(
            "set -o pipefail; {run} demo --duration {minutes}m -w - 2>/dev/null | {run} report -"
        ),
    ]);
    println!("{}", deadline.text_of(&mut shell)?);
    Ok(())
}

fn check(root: &Path, deadline: Deadline) -> anyhow::Result<()> {
    let program = || {
        let mut cargo = Command::new("cargo");
        cargo
            .args(["run", "--release", "--locked", "--quiet", "--"])
            .current_dir(root);
        cargo
    };
    // Cargo may have been told to build elsewhere.
    let target = root.join("target");
    std::fs::create_dir_all(&target).context("making the target directory")?;
    let capture = target.join("xtask-demo.pcapng");
    let live = deadline.text_of(
        program()
            .args(["demo", "--duration", DURATION, "-w"])
            .arg(&capture),
    )?;
    println!("{live}");
    let read_back = deadline.text_of(program().arg("report").arg(&capture))?;
    ensure!(
        live == read_back,
        "the capture's report is not the demo's:\n{read_back}"
    );

    let json = deadline.text_of(program().args(["report", "--json"]).arg(&capture))?;
    let report: Value = serde_json::from_str(&json).context("the report's JSON")?;
    let number = |pointer: &str| {
        report
            .pointer(pointer)
            .and_then(Value::as_u64)
            .with_context(|| format!("no {pointer} in the report"))
    };
    let completed = number("/requests/completed")?;
    println!("{completed} requests completed in {DURATION}");
    ensure!(
        completed >= LEAST,
        "only {completed} requests completed in {DURATION}; it should be {EXPECTED}, and no \
         load explains fewer than {LEAST}"
    );
    if completed < EXPECTED {
        println!("FEWER THAN THE {EXPECTED} EXPECTED: is the machine busy?");
    }
    ensure!(number("/requests/incomplete")? == 0, "incomplete requests");
    ensure!(number("/requests/in_flight")? == 0, "requests in flight");
    let emitted = number("/records/emitted")?;
    let stored = number("/records/stored")?;
    let lost = number("/records/lost")?;
    let filtered = number("/records/filtered")?;
    ensure!(
        emitted == stored + lost + filtered,
        "{emitted} emitted, but {stored} + {lost} + {filtered} accounted for"
    );

    let text = deadline.text_of(Command::new("capinfos").arg("-M").arg(&capture))?;
    let queues = report["queues"]
        .as_array()
        .context("no queues in the report")?;
    for queue in queues {
        let name = queue["name"].as_str().context("a queue without a name")?;
        ensure!(
            text.lines()
                .any(|line| line.trim().strip_prefix("Name = ") == Some(name)),
            "capinfos does not name {name}"
        );
    }
    let packets = text
        .lines()
        .find_map(|line| line.strip_prefix("Number of packets:"))
        .context("no packet count from capinfos")?;
    ensure!(
        packets.trim() == stored.to_string(),
        "capinfos counts {packets} packets, we stored {stored}"
    );
    std::fs::remove_file(&capture).context("removing the capture")?;
    Ok(())
}
