//! A stream that goes silent: time passes for whoever waits for it, and a request that
//! hangs is seen to hang.

#[path = "common/program.rs"]
mod program;
#[path = "common/tmux.rs"]
mod tmux;

use std::fs::OpenOptions;
use std::io::Write;
use std::process::Stdio;

use program::{Running, run, sample, virtscope, wait_until};
use rstest::rstest;
use rustix::fs::{CWD, Mode, mkfifoat};
use rustix::process::Signal;
use tmux::Terminal;
use virtscope_captures::{CaptureReader, CaptureWriter, Item};
use virtscope_record::{Flags, Kind};

/// The sample up to a kick after which nothing comes: what was added is neither taken
/// nor answered.
fn beginning() -> Vec<u8> {
    let mut reader = CaptureReader::new(sample()).unwrap();
    let mut bytes = Vec::new();
    let info = match reader.next_item().unwrap() {
        Item::Section(section) => section.info.unwrap(),
        other => panic!("{other:?} comes first"),
    };
    let mut writer = CaptureWriter::new(&mut bytes, info).unwrap();
    let mut records = 0;
    loop {
        match reader.next_item().unwrap() {
            Item::Record(packet) => {
                writer.write(&packet.record, packet.payload).unwrap();
                records += 1;
                let flags = packet.record.flags();
                let is_kicked = packet.record.kind() == Ok(Kind::Kick)
                    && flags.contains(Flags::NOTIFICATION_NEEDED);
                if records > 500 && is_kicked {
                    writer.flush().unwrap();
                    break;
                }
            }
            Item::End(end) => panic!("{end:?} after {records} records"),
            _ => {}
        }
    }
    drop(writer);
    bytes
}

#[test]
fn a_request_that_hangs_is_told_of_while_print_waits() {
    let mut running = Running::start(virtscope(["print", "-"]).stdin(Stdio::piped()));
    let mut stdin = running.child.stdin.take().unwrap();
    stdin.write_all(&beginning()).unwrap();
    let told = "virtscope: stuck-request on virtio";
    wait_until("it is told of", || running.complained().contains(told));
    let printed = running.printed();
    assert!(printed.lines().count() > 10, "{printed}");
    assert!(!printed.contains("in flight"), "it may come back yet");
    drop(stdin);
    let ended = running.end();
    // It says that the capture is not whole, too.
    assert_eq!(ended.code, Some(2), "{ended:?}");
    // Of each queue once; where the sample is cut both may have requests under way.
    for device in 0..2 {
        let of_device = ended.stderr.matches(&format!("{told}{device}/")).count();
        assert!(of_device <= 1, "{}", ended.stderr);
    }
    assert!(ended.text().contains("in flight"), "{}", ended.text());
}

#[test]
fn a_signal_ends_print_also_while_nothing_comes() {
    let mut running = Running::start(virtscope(["print", "-"]).stdin(Stdio::piped()));
    let mut stdin = running.child.stdin.take().unwrap();
    stdin.write_all(&beginning()).unwrap();
    wait_until("lines are printed", || {
        running.printed().lines().count() > 10
    });
    running.signal(Signal::INT);
    let ended = running.end();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.text().contains("in flight"), "{}", ended.text());
}

#[test]
fn a_signal_ends_print_before_anything_has_come() {
    for beginning in [&b""[..], b"\x0a\x0d"] {
        let mut running = Running::start(virtscope(["print", "-"]).stdin(Stdio::piped()));
        let mut stdin = running.child.stdin.take().unwrap();
        stdin.write_all(beginning).unwrap();
        wait_until("signals are waited for", || {
            catches_signals(&running.child.id().to_string())
        });
        running.signal(Signal::INT);
        running.end().assert_clean();
    }
}

#[test]
fn a_signal_ends_print_before_anybody_writes_into_its_pipe() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pipe");
    mkfifoat(CWD, &path, Mode::RUSR | Mode::WUSR).unwrap();
    let running = Running::start(virtscope(["print"]).arg(&path));
    wait_until("signals are waited for", || {
        catches_signals(&running.child.id().to_string())
    });
    running.signal(Signal::INT);
    running.end().assert_clean();
}

/// What reads a pipe to its end, and says what was made of what had come by then, or that
/// nothing was.
#[rstest]
#[case::report(&["report", "-"], "interrupted: the report is of what was read until then")]
#[case::stat(&["stat", "-r", "-"], "")]
#[case::diff(&["diff", "FILE", "-"], "interrupted: nothing was compared")]
#[case::slice(&["slice", "-", "-o", "OUT", "--from", "0s"], "interrupted: nothing was written")]
#[case::redact(&["redact", "-", "-o", "OUT"], "interrupted: nothing was written")]
#[case::merge(&["merge", "FILE", "-", "-o", "OUT"], "interrupted: nothing was written")]
#[case::export(&["export", "-", "-o", "OUT", "--to", "9p-pcapng"], "interrupted: nothing was written")]
fn one_signal_ends_what_reads_a_silent_pipe(
    #[case] arguments: &[&str],
    #[case] says: &str,
    #[values(true, false)] begun: bool,
) {
    let dir = tempfile::tempdir().unwrap();
    let [file, out] = ["file", "out"].map(|name| dir.path().join(name));
    std::fs::write(&file, sample()).unwrap();
    let arguments = arguments.iter().map(|argument| match *argument {
        "FILE" => file.clone().into_os_string(),
        "OUT" => out.clone().into_os_string(),
        other => other.into(),
    });
    let mut running = Running::start(virtscope(arguments).stdin(Stdio::piped()));
    let mut stdin = running.child.stdin.take().unwrap();
    let beginning = if begun { beginning() } else { Vec::new() };
    stdin.write_all(&beginning).unwrap();
    let process = running.child.id().to_string();
    wait_until("signals are waited for", || catches_signals(&process));
    wait_until("all of it is read", || {
        running.bytes_read() >= beginning.len() as u64
    });
    // Once: the second would end anything. Before it has come to the pipe is as well.
    running.signal(Signal::INT);
    let ended = running.end();
    match (begun, says) {
        (true, "") => ended.assert_clean(),
        (true, says) => ended.assert_refused(&[says]),
        (false, _) => ended.assert_refused(&["interrupted"]),
    };
    assert!(!out.exists());
    drop(stdin);
}

/// Whether SIGINT would no longer end the process by itself.
fn catches_signals(process: &str) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let caught = u64::from_str_radix(caught.unwrap().trim(), 16).unwrap();
    let bit = Signal::INT.as_raw() - 1;
    caught >> bit & 1 == 1
}

#[test]
fn a_key_ends_the_screens_before_anything_has_come() {
    let Some(terminal) = Terminal::open(80, 24) else {
        return;
    };
    let path = terminal.path("pipe");
    mkfifoat(CWD, &path, Mode::RUSR | Mode::WUSR).unwrap();
    terminal.start("sh -c 'echo $$ >new; mv new process; exec $V view pipe'");
    let process = terminal.path("process");
    wait_until("it is started", || process.exists());
    let process = std::fs::read_to_string(process).unwrap();
    wait_until("signals are waited for", || catches_signals(process.trim()));
    // No screen is there yet, so Ctrl-C is the terminal's.
    terminal.press("C-c");
    terminal.ended(0);
}

/// The same in a file that was read to its end: no time passes in it.
#[test]
fn no_time_passes_in_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.pcapng");
    std::fs::write(&path, beginning()).unwrap();
    let ended = run(virtscope(["print"]).arg(&path));
    ended.assert_refused(&["ends unfinished"]);
    assert!(ended.text().contains("in flight"), "{}", ended.text());
}

#[test]
fn a_request_that_hangs_shows_on_the_screens_while_they_wait() {
    let Some(terminal) = Terminal::open(80, 24) else {
        return;
    };
    let path = terminal.path("pipe");
    mkfifoat(CWD, &path, Mode::RUSR | Mode::WUSR).unwrap();
    terminal.start("$V view pipe");
    let mut pipe = OpenOptions::new().write(true).open(&path).unwrap();
    pipe.write_all(&beginning()).unwrap();
    let screen = terminal.wait_for_all(&["PIPE", "stuck-request"]);
    assert!(!screen.contains("REPLAY"), "{screen}");
    terminal.wait_for("nothing has come for");
    terminal.press("5");
    terminal.wait_for_all(&["error    stuck-request", "stuck in fl"]);
    // The screens stand still, and the stream goes on behind them.
    terminal.press("Space");
    terminal.wait_for("PAUSED");
    terminal.press("Space");
    drop(pipe);
    terminal.wait_for(" END after");
    terminal.press("q");
    // The capture is not whole.
    terminal.ended(2);
}
