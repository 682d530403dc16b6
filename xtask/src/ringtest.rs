//! `cargo xtask ringtest`: our rings on two threads beside Linux's
//! `tools/virtio/ringtest`, run in turn.
//!
//! ringtest is built from Debian's linux-source package. Its programs print no
//! times, so whole processes are timed, ours too.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, bail, ensure};
use clap::Args;

use crate::limit::{Deadline, LIMIT};
use crate::steps::Failure;
use crate::test::root;
use crate::tools::{DebianTool, debian};

/// What fetching and building takes.
const TOOLS: [DebianTool; 4] = [
    DebianTool {
        program: "cc",
        package: "gcc",
    },
    DebianTool {
        program: "make",
        package: "make",
    },
    DebianTool {
        program: "xz",
        package: "xz-utils",
    },
    DebianTool {
        program: "timeout",
        package: "coreutils",
    },
];

/// ringtest's programs that are run. `ring` is no virtio ring: it shows what this
/// machine does at best.
const PEERS: [&str; 3] = ["ring", "virtio_ring_0_9", "virtio_ring_inorder"];

/// Our rings, and the program that is the measure of each.
const OURS: [(&str, &str); 4] = [
    ("split", "virtio_ring_0_9"),
    ("packed", "virtio_ring_inorder"),
    ("split-in-order", "virtio_ring_inorder"),
    ("packed-in-order", "virtio_ring_inorder"),
];

/// Seconds after which a program is given up.
const PATIENCE: &str = "120";

#[derive(Args, Debug)]
pub(crate) struct RingtestArgs {
    /// Buffers in each run.
    #[arg(long, value_name = "BUFFERS", default_value_t = 10_000_000)]
    run_cycles: u32,

    /// Runs of each program.
    #[arg(long, value_name = "RUNS", default_value_t = 9)]
    rounds: usize,

    /// Descriptors of the ring.
    #[arg(long, value_name = "DESCRIPTORS", default_value_t = 256)]
    ring_size: u16,

    /// The CPUs of the two threads: the driver half's, the device half's.
    #[arg(long, value_name = "CPU", num_args = 2, default_values_t = [0, 1])]
    cpus: Vec<usize>,

    /// Leave it to the kernel where the threads run.
    #[arg(long, conflicts_with = "cpus")]
    unpinned: bool,
}

/// Fetches, builds and runs everything, and prints the table.
pub(crate) fn ringtest(args: &RingtestArgs) -> anyhow::Result<bool> {
    ensure!(args.rounds > 0, "no rounds, no result");
    let deadline = Deadline::after(LIMIT);
    match debian(&TOOLS, deadline) {
        Ok(()) => {}
        Err(Failure::Missing(what)) => bail!("missing: {what}"),
        Err(Failure::Failed(error)) => return Err(error),
    }
    let root = root()?;
    let folder = root.join("target/ringtest");
    let version = fetch(&folder, deadline)?;
    deadline.run(
        Command::new("make")
            .arg("--directory")
            .arg(folder.join("source"))
            .args(PEERS),
    )?;
    let ours = build_ours(&root, deadline)?;

    let mut programs: Vec<Program> = PEERS
        .iter()
        .map(|name| Program::new(name, None, folder.join("source").join(name)))
        .collect();
    for (layout, measure) in OURS {
        let mut program = Program::new(layout, Some(measure), ours.clone());
        program.arguments = vec!["--layout".to_owned(), layout.to_owned()];
        programs.push(program);
    }
    for round in 0..args.rounds {
        for turn in 0..programs.len() {
            let who = (round + turn) % programs.len();
            programs[who].run(args)?;
        }
        println!("round {} of {}", round + 1, args.rounds);
    }
    print(&programs, args, &version);
    Ok(true)
}

/// One program, and the nanoseconds per buffer of each of its runs.
struct Program {
    name: &'static str,
    /// The program that is its measure.
    measure: Option<&'static str>,
    path: PathBuf,
    arguments: Vec<String>,
    nanos: Vec<f64>,
}

impl Program {
    fn new(name: &'static str, measure: Option<&'static str>, path: PathBuf) -> Self {
        Self {
            name,
            measure,
            path,
            arguments: Vec::new(),
            nanos: Vec::new(),
        }
    }

    fn run(&mut self, args: &RingtestArgs) -> anyhow::Result<()> {
        // What limits other commands looks every 20 ms whether they are over, which
        // is too coarse for a clock.
        let mut command = Command::new("timeout");
        command.arg(PATIENCE).arg(&self.path).args(&self.arguments);
        command.arg(format!("--run-cycles={}", args.run_cycles));
        command.arg(format!("--ring-size={}", args.ring_size));
        if !args.unpinned {
            command.arg(format!("--guest-affinity={}", args.cpus[0]));
            command.arg(format!("--host-affinity={}", args.cpus[1]));
        }
        let began = Instant::now();
        let status = command.stdout(Stdio::null()).status()?;
        let took = began.elapsed();
        ensure!(status.success(), "{}: {status}", self.name);
        self.nanos
            .push(took.as_nanos() as f64 / f64::from(args.run_cycles));
        Ok(())
    }
}

fn print(programs: &[Program], args: &RingtestArgs, version: &str) {
    println!(
        "\nns a buffer, {} runs of {} buffers, ring of {}, ringtest of {version}",
        args.rounds, args.run_cycles, args.ring_size
    );
    println!("{:24} {:>8} {:>8}  as a multiple of", "", "min", "median");
    for program in programs {
        let min = program.nanos.iter().copied().fold(f64::INFINITY, f64::min);
        let measure = programs
            .iter()
            .find(|other| Some(other.name) == program.measure);
        let ratio = measure.map_or(String::new(), |measure| {
            let pairs = program.nanos.iter().zip(&measure.nanos);
            let ratio = median(pairs.map(|(ours, theirs)| ours / theirs).collect());
            format!("{ratio:.2} {}", measure.name)
        });
        println!(
            "{:24} {min:8.1} {:8.1}  {ratio}",
            program.name,
            median(program.nanos.clone())
        );
    }
}

/// The value in the middle, the upper one of two.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Puts ringtest's source into `folder/source`, if it is not there; the package
/// and version it is from.
fn fetch(folder: &Path, deadline: Deadline) -> anyhow::Result<String> {
    let (source, stamp) = (folder.join("source"), folder.join("version"));
    if let Ok(version) = std::fs::read_to_string(&stamp) {
        return Ok(version);
    }
    std::fs::create_dir_all(&source)?;
    let download = || -> anyhow::Result<PathBuf> {
        // linux-source is an empty package that depends on the one of today.
        let package = dependency("linux-source", deadline)?;
        deadline.run(
            Command::new("apt-get")
                .args(["download", &package])
                .current_dir(folder),
        )?;
        downloaded(folder, &package)
    };
    // An old package list is worth a try: only a failure needs a new one.
    let package = download().or_else(|_| {
        deadline.run(Command::new("apt-get").arg("update"))?;
        download()
    })?;
    let unpack = "set -e; \
        dpkg --fsys-tarfile \"$0\" \
        | tar --extract --to-stdout --wildcards './usr/src/linux-source-*.tar.xz' \
        | tar --extract --xz --directory \"$1\" --strip-components 4 \
            --wildcards '*/tools/virtio/ringtest/*'";
    deadline.run(
        Command::new("sh")
            .args(["-c", unpack])
            .arg(&package)
            .arg(&source),
    )?;
    ensure!(
        source.join("main.c").exists(),
        "{} holds no ringtest",
        package.display()
    );
    let name = package.file_stem().context("a package has a name")?;
    let version = name.to_string_lossy().into_owned();
    std::fs::remove_file(&package)?;
    // Written last: what is there with it is whole.
    std::fs::write(stamp, &version)?;
    Ok(version)
}

/// The first package that `package` depends on.
fn dependency(package: &str, deadline: Deadline) -> anyhow::Result<String> {
    let text =
        deadline.text_of(Command::new("apt-cache").args(["depends", "--important", package]))?;
    text.lines()
        .find_map(|line| line.trim().strip_prefix("Depends: "))
        .map(|name| name.trim().to_owned())
        .with_context(|| format!("the package lists know no {package}"))
}

/// The file that `apt-get download` has left for `package`.
fn downloaded(folder: &Path, package: &str) -> anyhow::Result<PathBuf> {
    let prefix = format!("{package}_");
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().map(|name| name.to_string_lossy());
        if name.is_some_and(|name| name.starts_with(&prefix) && name.ends_with(".deb")) {
            return Ok(path);
        }
    }
    bail!("apt-get has left no {package} in {}", folder.display())
}

/// Builds our side and says which program it is.
fn build_ours(root: &Path, deadline: Deadline) -> anyhow::Result<PathBuf> {
    let messages = deadline.text_of(
        Command::new("cargo")
            .args(["bench", "-p", "virtscope-bench", "--bench", "two_threads"])
            .args(["--locked", "--no-run", "--message-format=json"])
            .current_dir(root),
    )?;
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["target"]["name"] == "two_threads")
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .context("cargo has built no two_threads")
}
