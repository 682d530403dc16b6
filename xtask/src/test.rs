//! `cargo xtask test`: everything that must hold before a change is taken.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use clap::Args;

use crate::bpf;
use crate::conformance::check;
use crate::demo::{demo, quiet};
use crate::guest::{Kernel, Profile, prepare};
use crate::limit::{Deadline, LIMIT};
use crate::steps::{Failure, Steps};
use crate::tools::{DebianTool, NIGHTLY, cargo_fuzz, debian, is_there, miri};
use crate::truth::{Asked, truth};

/// Set for tests that need a program: without it they fail when it is missing.
const ALLOW_MISSING: &str = "VIRTSCOPE_ALLOW_MISSING";
/// Has the stable compiler take options that are not stable.
const UNSTABLE: (&str, &str) = ("RUSTC_BOOTSTRAP", "1");

/// The programs that tests run beside ours.
const PEERS: [DebianTool; 4] = [
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
    DebianTool {
        program: "bpftrace",
        package: "bpftrace",
    },
];

/// The step that runs beside them.
const TESTS: &str = "tests";

/// A test target of the driver that tries every interleaving.
struct Loom {
    about: &'static str,
    target: &'static str,
}

const LOOM: [Loom; 3] = [
    Loom {
        about: "the byte ring",
        target: "loom_byte_ring",
    },
    Loom {
        about: "notifications and their suppression",
        target: "loom_ring",
    },
    Loom {
        about: "each barrier is missed when it is taken out",
        target: "loom_barriers",
    },
];
/// All integration tests but those.
const NOT_LOOM: [&str; 4] = ["--test", "[!l]*", "--test", "l[!o]*"];

const MIRI_STEP: &str = "Miri: memory, byte ring and virtqueue";
const FUZZ_STEP: &str = "fuzz:";
/// What runs beside the other steps, each step of it, and the longest of the others may
/// take more: they have less of the machine.
const LIMIT_BESIDE: Duration = Duration::from_secs(60 * 60);
/// Where that prints meanwhile.
const BESIDE: &str = "target/beside.log";

/// Test targets of the driver that Miri runs, beside the unit tests.
const MIRI: [&str; 3] = ["hostile", "live_path", "ring_model"];

/// Packages whose tests run with AddressSanitizer: the one that has unsafe code, and the
/// one that does with it what another machine would. The others have none that could
/// damage memory.
const ASAN: [&str; 2] = ["virtscope-driver", "virtscope-device"];
const SANITIZER: &str = "-Zsanitizer=address";

/// Fuzz targets of one package.
struct Fuzz {
    package: &'static str,
    /// cargo-fuzz's name for what watches over memory meanwhile.
    sanitizer: &'static str,
    targets: &'static [&'static str],
}

/// Where there is no unsafe code, the sanitizer would only take time.
const FUZZ: [Fuzz; 4] = [
    Fuzz {
        package: "captures",
        sanitizer: "none",
        targets: &["read_capture"],
    },
    Fuzz {
        package: "analyzer",
        sanitizer: "none",
        targets: &["p9_decode", "p9_conversation", "analyze", "filter"],
    },
    Fuzz {
        package: "tracer",
        sanitizer: "none",
        targets: &["btf", "notes"],
    },
    Fuzz {
        package: "driver/device",
        sanitizer: "address",
        targets: &["p9_serve", "p9_reply", "conversation"],
    },
];

#[derive(Args, Debug)]
pub(crate) struct TestArgs {
    /// What can't be fetched or run is listed, and is no failure.
    #[arg(long)]
    allow_missing: bool,

    /// Only the steps whose names contain this, or one of several; one after the other.
    #[arg(long, value_name = "WORD")]
    only: Vec<String>,

    /// Seconds for each fuzz target.
    #[arg(long, value_name = "SECONDS", default_value_t = 20)]
    fuzz_time: u32,

    /// The demo that must raise no finding runs for ten minutes rather than one.
    #[arg(long)]
    long: bool,
}

/// Runs all steps; whether all is well.
pub(crate) fn test(args: &TestArgs) -> anyhow::Result<bool> {
    let root = root()?;
    let mut steps = Steps::new(args.only.clone());
    let cargo = |arguments: &[&str]| {
        let mut command = Command::new("cargo");
        command.args(arguments).current_dir(&root);
        // A snapshot that differs is a failure, never an update.
        command.env("INSTA_UPDATE", "no");
        if args.allow_missing {
            command.env(ALLOW_MISSING, "1");
        }
        command
    };

    steps.step("peer programs", |deadline| debian(&PEERS, deadline));
    steps.step("formatting", |deadline| {
        Ok(deadline.run(&mut cargo(&["fmt", "--all", "--check"]))?)
    });
    // What keeps one core busy goes beside what does not keep two.
    let beside = args.only.is_empty().then(|| {
        steps.step("Miri can be had", miri);
        Steps::beside("Miri and fuzzing", &mut args.beside(), &root.join(BESIDE))
    });
    steps.step("clippy", |deadline| {
        Ok(deadline.run(&mut cargo(&[
            "clippy",
            "--workspace",
            "--all-targets",
            "--locked",
            "--",
            "-D",
            "warnings",
        ]))?)
    });
    steps.step("eBPF: what is committed is what is built", |deadline| {
        bpf::check(&root, deadline)
    });
    steps.step("documentation", |deadline| {
        let mut doc = cargo(&["doc", "--workspace", "--no-deps", "--locked"]);
        Ok(deadline.run(doc.env("RUSTDOCFLAGS", "-D warnings"))?)
    });
    steps.step_within(LIMIT_BESIDE, TESTS, |deadline| {
        let test = || cargo(&["test", "--workspace", "--locked", "--no-fail-fast"]);
        let tests = deadline.run_tests(test().args(["--lib", "--bins"]).args(NOT_LOOM));
        let documentation = deadline.run_tests(test().arg("--doc"));
        Ok(tests.and(documentation)?)
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
    steps.step("switched-off instrumentation leaves no code", |deadline| {
        Ok(deadline.run(&mut cargo(&[
            "build",
            "--release",
            "--locked",
            "-p",
            "virtscope-driver",
            "--example",
            "instrumentation_off",
        ]))?)
    });
    for loom in &LOOM {
        steps.step(&format!("loom: {}", loom.about), |deadline| {
            let mut test = cargo(&["test", "--locked", "-p", "virtscope-driver"]);
            // With this cfg the driver's own atomics are loom's too. It is another
            // build; a folder of its own keeps both.
            test.args(["--test", loom.target])
                .env("RUSTFLAGS", "--cfg loom")
                .env("CARGO_TARGET_DIR", root.join("target/loom"));
            Ok(deadline.run_tests(&mut test)?)
        });
    }
    steps.step("AddressSanitizer: unit and integration tests", |deadline| {
        let mut test = with_sanitizer(cargo(&["test", "--no-fail-fast"]), &root, deadline)?;
        // Not loom's: its threads have stacks of its own making, of which the
        // sanitizer reports false damage.
        Ok(deadline.run_tests(test.arg("--lib").args(NOT_LOOM))?)
    });
    steps.step(
        "AddressSanitizer: examples in the documentation",
        |deadline| {
            let mut test = with_sanitizer(cargo(&["test", "--no-fail-fast"]), &root, deadline)?;
            Ok(deadline.run_tests(test.arg("--doc"))?)
        },
    );
    match beside {
        Some(beside) => steps.wait(beside, LIMIT_BESIDE),
        None => miri_and_fuzzing(&mut steps, args, &root),
    }
    steps.step("the demo, its capture and its report", |deadline| {
        demo(&root, deadline)
    });
    let minutes = if args.long { 10 } else { 1 };
    steps.step(
        "a demo in which nothing is wrong raises no finding",
        |deadline| quiet(&root, minutes, deadline),
    );
    for kernel in Kernel::ALL {
        let version = kernel.version();
        let name = format!("guests: Linux {version} traced, split and packed, against witnesses");
        let mut moved = None;
        steps.step(&name, |deadline| {
            moved = truth(
                &prepare(Profile::Guest, deadline)?,
                kernel,
                &Asked::default(),
                deadline,
            )?;
            Ok(())
        });
        if let Some(moved) = moved {
            steps.note(moved);
        }
    }
    steps.step("conformance: what virtio 1.4 requires is shown", |_| {
        Ok(check(&root)?)
    });
    Ok(steps.conclude(args.allow_missing))
}

impl TestArgs {
    /// The command that runs [`miri_and_fuzzing`] and nothing else, with what the others
    /// leave of the processors: some of them are demos, which go by the clock.
    fn beside(&self) -> Command {
        let mut command = Command::new("nice");
        command
            .args(["-n", "10"])
            .arg(std::env::current_exe().unwrap_or_else(|_| "xtask".into()))
            .args(["test", "--only", MIRI_STEP, "--only", FUZZ_STEP])
            .arg(format!("--fuzz-time={}", self.fuzz_time))
            .args(self.allow_missing.then_some("--allow-missing"));
        command
    }
}

/// What keeps one core busy for long, in folders of its own.
fn miri_and_fuzzing(steps: &mut Steps, args: &TestArgs, root: &Path) {
    steps.step_within(LIMIT_BESIDE, MIRI_STEP, |deadline| {
        miri(deadline)?;
        let mut test = Command::new("cargo");
        test.arg(format!("+{NIGHTLY}"))
            .args(["miri", "test", "--locked"])
            .current_dir(root)
            .args(["-p", "virtscope-driver", "--lib"])
            .args(MIRI.iter().flat_map(|target| ["--test", target]))
            .env("MIRIFLAGS", "-Zmiri-disable-isolation")
            .env("CARGO_TARGET_DIR", root.join("target/miri"));
        Ok(deadline.run_tests(&mut test)?)
    });
    for fuzz in &FUZZ {
        for target in fuzz.targets {
            let limit = LIMIT + Duration::from_secs(args.fuzz_time.into());
            steps.step_within(
                limit,
                &format!("{FUZZ_STEP} {} {target}", fuzz.package),
                |deadline| fuzz.run(root, target, args.fuzz_time, deadline),
            );
        }
    }
}

/// Has `cargo test` build our packages and all they use with AddressSanitizer.
fn with_sanitizer(mut test: Command, root: &Path, deadline: Deadline) -> anyhow::Result<Command> {
    // A target that is named, though it is this machine's: what runs in the
    // compiler, as build scripts and macros do, is then left as it is.
    let target = deadline.text_of(Command::new("rustc").args(["--print", "host-tuple"]))?;
    test.args(["--locked", "--target", target.trim()])
        .args(ASAN.iter().flat_map(|package| ["-p", package]))
        .env(UNSTABLE.0, UNSTABLE.1)
        .env("RUSTFLAGS", SANITIZER)
        .env("RUSTDOCFLAGS", SANITIZER)
        .env("CARGO_TARGET_DIR", root.join("target/asan"));
    Ok(test)
}

impl Fuzz {
    /// Runs one target for some seconds, from an empty corpus or what earlier runs
    /// have left.
    fn run(
        &self,
        root: &Path,
        target: &str,
        seconds: u32,
        deadline: Deadline,
    ) -> Result<(), Failure> {
        let program = cargo_fuzz(root, deadline)?;
        let fuzz = |what: &str| {
            let mut command = Command::new(&program);
            command
                .args([what, "--sanitizer", self.sanitizer, "--target-dir"])
                .arg(root.join("target/fuzz"))
                // The stable compiler has coverage instrumentation behind this.
                .env(UNSTABLE.0, UNSTABLE.1)
                .current_dir(root.join(self.package).join("fuzz"));
            command
        };
        // All targets of the package in one go: the second finds itself built.
        deadline.run(&mut fuzz("build"))?;
        deadline.run(
            fuzz("run")
                .args([target, "--"])
                .arg(format!("-max_total_time={seconds}")),
        )?;
        Ok(())
    }
}

/// The workspace's folder.
pub(crate) fn root() -> anyhow::Result<PathBuf> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = manifest
        .parent()
        .context("xtask lies in the workspace's folder")?;
    Ok(root.to_owned())
}
