//! What ends the command ends what it runs.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Half of what the stand-in for cargo sleeps.
const SOON: Duration = Duration::from_secs(60);

/// Killed at the latest when the test is over, also by an assertion.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn ends_with(signal: Signal, name: &str) {
    let began = Instant::now();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(&folder).unwrap();
    let cargo = folder.join("cargo");
    fs::write(&cargo, "#!/bin/sh\necho it has begun\nsleep 120\n").unwrap();
    fs::set_permissions(&cargo, fs::Permissions::from_mode(0o755)).unwrap();

    let path = std::env::var("PATH").unwrap();
    let mut xtask = Running(
        Command::new(env!("CARGO_BIN_EXE_xtask"))
            .args(["test", "--only", "formatting"])
            .env("PATH", format!("{}:{path}", folder.display()))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let mut output = BufReader::new(xtask.0.stdout.take().unwrap());
    let mut line = String::new();
    while line != "it has begun\n" {
        line.clear();
        assert_ne!(output.read_line(&mut line).unwrap(), 0, "it never began");
    }
    kill_process(Pid::from_child(&xtask.0), signal).unwrap();
    // Its output ends when nobody is left to write to it: the stand-in is dead,
    // and so is its child.
    let mut rest = String::new();
    output.read_to_string(&mut rest).unwrap();
    assert!(began.elapsed() < SOON, "what it ran was left alone");
    let status = xtask.0.wait().unwrap();
    assert_eq!(status.signal(), Some(signal.as_raw()), "{rest}");
    fs::remove_dir_all(&folder).unwrap();
}

/// One after the other: a program that is being written while another thread
/// forks can't be run for a moment.
#[test]
fn an_interrupt_or_a_request_to_end_ends_what_is_run() {
    ends_with(Signal::INT, "interrupted");
    ends_with(Signal::TERM, "terminated");
}
