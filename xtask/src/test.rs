//! `cargo xtask test`: everything that must hold before a change is taken.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use clap::Args;

use crate::demo::demo;
use crate::steps::{Failure, Steps, run};
use crate::tools::{DebianTool, NIGHTLY, cargo_fuzz, debian, is_there, miri};

/// Set for tests that need a program: without it they fail when it is missing.
const ALLOW_MISSING: &str = "VIRTSCOPE_ALLOW_MISSING";

/// The programs that tests run beside ours.
const PEERS: [DebianTool; 3] = [
    DebianTool {
        program: "tshark",
        package: "tshark",
    },
    DebianTool {
        program: "capinfos",
        package: "tshark",
    },
    DebianTool {
        program: "tmux",
        package: "tmux",
    },
];

/// The step that runs beside them.
const TESTS: &str = "tests";

/// Where fuzz targets live, and their names.
const FUZZ_TARGETS: [(&str, &str); 5] = [
    ("captures", "read_capture"),
    ("analyzer", "p9_decode"),
    ("analyzer", "analyze"),
    ("driver/device", "p9_serve"),
    ("driver/device", "p9_reply"),
];

#[derive(Args, Debug)]
pub(crate) struct TestArgs {
    /// What can't be fetched or run is listed, and is no failure.
    #[arg(long)]
    allow_missing: bool,

    /// Only the steps whose names contain this.
    #[arg(long, value_name = "WORD")]
    only: Option<String>,

    /// Seconds for each fuzz target.
    #[arg(long, value_name = "SECONDS", default_value_t = 20)]
    fuzz_time: u32,
}

/// Runs all steps; whether all is well.
pub(crate) fn test(args: &TestArgs) -> anyhow::Result<bool> {
    let root = root()?;
    let mut steps = Steps::new(args.only.clone());
    let cargo = |arguments: &[&str]| {
        let mut command = Command::new("cargo");
        command.args(arguments).current_dir(&root);
        if args.allow_missing {
            command.env(ALLOW_MISSING, "1");
        }
        command
    };

    steps.step("peer programs", || debian(&PEERS));
    steps.step("formatting", || {
        Ok(run(&mut cargo(&["fmt", "--all", "--check"]))?)
    });
    steps.step("clippy", || {
        Ok(run(&mut cargo(&[
            "clippy",
            "--workspace",
            "--all-targets",
            "--locked",
            "--",
            "-D",
            "warnings",
        ]))?)
    });
    steps.step("documentation", || {
        let mut doc = cargo(&["doc", "--workspace", "--no-deps", "--locked"]);
        Ok(run(doc.env("RUSTDOCFLAGS", "-D warnings"))?)
    });
    steps.step(TESTS, || {
        let mut test = cargo(&["test", "--workspace", "--locked", "--no-fail-fast"]);
        // A snapshot that differs is a failure, never an update.
        Ok(run(test.env("INSTA_UPDATE", "no"))?)
    });
    // What a test says when it skips itself is swallowed by the harness.
    if args.allow_missing && steps.has_run(TESTS) {
        for peer in PEERS.iter().filter(|peer| !is_there(peer.program)) {
            steps.note(format!(
                "{} is missing: tests that need it were SKIPPED",
                peer.program
            ));
        }
    }
    steps.step("switched-off instrumentation leaves no code", || {
        Ok(run(&mut cargo(&[
            "build",
            "--release",
            "--locked",
            "-p",
            "virtscope-driver",
            "--example",
            "instrumentation_off",
        ]))?)
    });
    steps.step("loom: the byte ring", || {
        let mut test = cargo(&[
            "test",
            "--release",
            "--locked",
            "-p",
            "virtscope-driver",
            "--test",
            "loom_byte_ring",
        ]);
        // Another cfg is another build; a folder of its own keeps both.
        test.env("RUSTFLAGS", "--cfg loom")
            .env("CARGO_TARGET_DIR", root.join("target/loom"));
        Ok(run(&mut test)?)
    });
    steps.step("Miri: memory, byte ring and virtqueue", || {
        miri()?;
        let mut test = cargo(&[&format!("+{NIGHTLY}"), "miri", "test", "--locked"]);
        test.args([
            "-p",
            "virtscope-driver",
            "--lib",
            "--test",
            "split_model",
            "--test",
            "live_path",
        ])
        .env("MIRIFLAGS", "-Zmiri-disable-isolation")
        .env("CARGO_TARGET_DIR", root.join("target/miri"));
        Ok(run(&mut test)?)
    });
    for (krate, target) in FUZZ_TARGETS {
        steps.step(&format!("fuzz: {krate} {target}"), || {
            fuzz(&root, krate, target, args.fuzz_time)
        });
    }
    steps.step("the demo, its capture and its report", || demo(&root));
    Ok(steps.conclude(args.allow_missing))
}

/// Runs one fuzz target for some seconds, from an empty corpus or what earlier
/// runs have left.
fn fuzz(root: &Path, krate: &str, target: &str, seconds: u32) -> Result<(), Failure> {
    let program = cargo_fuzz(root)?;
    let mut fuzz = Command::new(program);
    // libFuzzer needs coverage instrumentation, which the stable compiler has
    // behind this variable; the sanitizer is left out because the code under
    // test has no unsafe in it.
    fuzz.args(["run", "--sanitizer", "none", target, "--"])
        .arg(format!("-max_total_time={seconds}"))
        .env("RUSTC_BOOTSTRAP", "1")
        .current_dir(root.join(krate).join("fuzz"));
    Ok(run(&mut fuzz)?)
}

/// The workspace's folder.
pub(crate) fn root() -> anyhow::Result<PathBuf> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = manifest
        .parent()
        .context("xtask lies in the workspace's folder")?;
    Ok(root.to_owned())
}
