//! The program as its users start it, and a capture it made.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, LazyLock, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// How long anything may take before it counts as hanging. No test waits for it
/// unless it fails.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often is looked meanwhile.
const LOOK: Duration = Duration::from_millis(20);

/// The program's file.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_virtscope");

/// Waits until `is_so`.
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "waited in vain until {what}");
        std::thread::sleep(LOOK);
    }
}

/// `virtscope` with these arguments, nothing on standard input, and a fixed
/// width for its texts.
pub(crate) fn virtscope<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Command {
    let mut command = Command::new(PROGRAM);
    command
        .args(arguments)
        .env("COLUMNS", "100")
        .env_remove("RUST_BACKTRACE");
    piped(&mut command);
    command
}

/// Gives a command nothing on standard input, and has what it prints collected.
pub(crate) fn piped(command: &mut Command) -> &mut Command {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
}

/// Whether `program` of Debian's `package` is installed. Where it is not, that
/// must be allowed.
pub(crate) fn is_there(program: &str, package: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    if std::env::split_paths(&path).any(|directory| directory.join(program).is_file()) {
        return true;
    }
    assert!(
        std::env::var("VIRTSCOPE_ALLOW_MISSING").as_deref() == Ok("1"),
        "{program} not found: install Debian's {package}, or run `cargo xtask test`"
    );
    println!("SKIPPED: {program} is not installed");
    false
}

/// `virtscope demo` on `directory` for minutes, at a pace that leaves the machine
/// to other tests.
pub(crate) fn demo(directory: &Path) -> Command {
    let mut command = virtscope(["demo", "--rate", "2000", "--duration", "5m"]);
    command.arg(directory);
    command
}

/// Runs a demo until its capture at `path` has grown to `size` bytes, and ends it
/// as Ctrl-C does. What it has done by then does not hang on the machine's speed.
pub(crate) fn record(demo: &mut Command, path: &Path, size: u64) -> Ended {
    let running = Running::start(demo.arg("-w").arg(path));
    wait_until("the capture has grown", || {
        fs::metadata(path).is_ok_and(|metadata| metadata.len() >= size)
    });
    running.signal(Signal::INT);
    running.end()
}

/// Runs a command to its end.
pub(crate) fn run(command: &mut Command) -> Ended {
    Running::start(command).end()
}

/// Runs a command to its end with `input` on its standard input.
pub(crate) fn run_on(command: &mut Command, input: &[u8]) -> Ended {
    let mut running = Running::start(command.stdin(Stdio::piped()));
    let mut stdin = running.child.stdin.take().unwrap();
    let input = input.to_vec();
    // On a thread of its own, or a program that neither reads nor ends would not be
    // found out. One that stops reading has its reasons; what they are is in
    // `Ended`.
    std::thread::spawn(move || stdin.write_all(&input));
    running.end()
}

/// A started program. If a test fails it does not outlive it.
pub(crate) struct Running {
    pub(crate) child: Child,
    stdout: Collected,
    stderr: Collected,
}

impl Running {
    /// Starts `command`; what it prints is collected if it is piped.
    pub(crate) fn start(command: &mut Command) -> Self {
        Self::over(Self::spawn(command))
    }

    /// Starts `command`, whose standard output is for somebody else.
    pub(crate) fn start_for(command: &mut Command) -> (Self, ChildStdout) {
        let mut child = Self::spawn(command.stdout(Stdio::piped()));
        let stdout = child.stdout.take().unwrap();
        (Self::over(child), stdout)
    }

    fn spawn(command: &mut Command) -> Child {
        let mut child = None;
        // A program that was copied just now counts as being written as long as
        // another test's child has not let go of what it inherited.
        wait_until("the program can be started", || match command.spawn() {
            Ok(started) => {
                child = Some(started);
                true
            }
            Err(error) if error.kind() == ErrorKind::ExecutableFileBusy => false,
            Err(error) => panic!("{command:?}: {error}"),
        });
        child.unwrap()
    }

    fn over(mut child: Child) -> Self {
        let stdout = Collected::from(child.stdout.take());
        let stderr = Collected::from(child.stderr.take());
        Self {
            child,
            stdout,
            stderr,
        }
    }

    /// What it has printed so far.
    pub(crate) fn printed(&self) -> String {
        String::from_utf8_lossy(&self.stdout.bytes.lock().unwrap()).into_owned()
    }

    /// What it has complained of so far.
    pub(crate) fn complained(&self) -> String {
        String::from_utf8_lossy(&self.stderr.bytes.lock().unwrap()).into_owned()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Bytes it has read so far, from wherever, by what the kernel says of it.
    pub(crate) fn bytes_read(&self) -> u64 {
        let io = fs::read_to_string(format!("/proc/{}/io", self.child.id())).unwrap();
        let read = io.lines().find_map(|line| line.strip_prefix("rchar: "));
        read.expect("rchar in the process's io").parse().unwrap()
    }

    /// Waits for its end.
    pub(crate) fn end(mut self) -> Ended {
        let mut status = None;
        wait_until("the program ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        Ended {
            code: status.and_then(|status| status.code()),
            stdout: self.stdout.all(),
            stderr: String::from_utf8(self.stderr.all()).expect("UTF-8 on standard error"),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended already, unless the test has failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a thread reads from a pipe.
#[derive(Default)]
struct Collected {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

impl Collected {
    fn from(pipe: Option<impl Read + Send + 'static>) -> Self {
        let bytes = Arc::<Mutex<Vec<u8>>>::default();
        let reader = pipe.map(|mut pipe| {
            let bytes = Arc::clone(&bytes);
            std::thread::spawn(move || {
                let mut piece = vec![0; 1 << 16];
                while let Ok(len @ 1..) = pipe.read(&mut piece) {
                    bytes.lock().unwrap().extend_from_slice(&piece[..len]);
                }
            })
        });
        Self { bytes, reader }
    }

    fn all(&mut self) -> Vec<u8> {
        if let Some(reader) = self.reader.take() {
            // A child of the program's could still hold the pipe.
            wait_until("the pipe is closed", || reader.is_finished());
            reader.join().unwrap();
        }
        std::mem::take(&mut *self.bytes.lock().unwrap())
    }
}

/// A program that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// The exit code; `None` if a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Ended {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).expect("UTF-8 on standard output")
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// All is well and nothing is to be said about it.
    #[track_caller]
    pub(crate) fn assert_clean(&self) -> &Self {
        assert_eq!(self.stderr, "");
        assert_eq!(self.code, Some(0));
        self
    }

    /// It says what is wrong in one line that holds `hints`, and ends with 2.
    #[track_caller]
    pub(crate) fn assert_refused(&self, hints: &[&str]) -> &Self {
        let line = self.stderr.strip_suffix('\n').unwrap_or(&self.stderr);
        assert!(line.starts_with("virtscope: "), "{:?}", self.stderr);
        assert_eq!(line.lines().count(), 1, "{:?}", self.stderr);
        assert!(!line.contains("panicked"), "{line}");
        for hint in hints {
            assert!(line.contains(hint), "no {hint:?} in {line:?}");
        }
        assert_eq!(self.code, Some(2), "{line}");
        self
    }
}

/// A number in a report.
#[track_caller]
pub(crate) fn number(report: &Value, pointer: &str) -> u64 {
    report
        .pointer(pointer)
        .and_then(Value::as_u64)
        .unwrap_or_else(|| panic!("no number {pointer} in {report:#}"))
}

/// The report on the capture at `path`, which must be whole: nothing wrong, nothing
/// missing, nothing under way, every record accounted for.
#[track_caller]
pub(crate) fn whole(path: &Path) -> Value {
    whole_but_for(path, &[])
}

/// The same, where these findings may be told, and no others.
#[track_caller]
pub(crate) fn whole_but_for(path: &Path, may_be: &[&str]) -> Value {
    let ended = run(virtscope(["report", "--json"]).arg(path));
    assert_eq!(ended.stderr, "");
    let report = ended.json();
    let found = report["findings"].as_array().unwrap();
    for finding in found {
        let code = finding["code"].as_str().unwrap();
        assert!(may_be.contains(&code), "{finding:#}");
    }
    assert_eq!(ended.code, Some(i32::from(!found.is_empty())));
    assert_whole(&report);
    report
}

/// Nothing is missing or under way, and every record is accounted for.
#[track_caller]
pub(crate) fn assert_whole(report: &Value) {
    let record = |key| number(report, &format!("/records/{key}"));
    assert_eq!(
        record("emitted"),
        record("stored") + record("lost") + record("filtered")
    );
    assert_eq!(number(report, "/capture/packets"), record("stored"));
    assert_eq!(report["capture"]["tail_known"], true);
    assert_eq!(report["capture"]["truncated"], false);
    assert_eq!(number(report, "/requests/incomplete"), 0);
    assert_eq!(number(report, "/requests/in_flight"), 0);
    assert!(number(report, "/requests/completed") > 0, "{report:#}");
}

/// A small tree to mount: some directories, some files, one of them of many
/// messages.
pub(crate) fn tree() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for directory in ["src", "src/deep", "docs"] {
        let directory = dir.path().join(directory);
        fs::create_dir_all(&directory).unwrap();
        for (name, len) in [("empty", 0), ("short", 100), ("long", 600_000)] {
            let content: Vec<u8> = (0..len).map(|i: u32| (i % 251) as u8).collect();
            fs::write(directory.join(name), content).unwrap();
        }
    }
    dir
}

/// A whole capture of some thousand records, the same for all tests of a file.
pub(crate) fn sample() -> &'static [u8] {
    static SAMPLE: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let tree = tree();
        let elsewhere = tempfile::tempdir().unwrap();
        let path = elsewhere.path().join("sample.pcapng");
        record(&mut demo(tree.path()), &path, 500_000).assert_clean();
        fs::read(path).unwrap()
    });
    &SAMPLE
}

/// A directory with `bytes` in a file of that name, and its path.
pub(crate) fn file(name: &str, bytes: &[u8]) -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    File::create(&path).unwrap().write_all(bytes).unwrap();
    (dir, path)
}
