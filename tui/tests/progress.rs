//! Whoever waits at a terminal sees how far it has come; nobody else does.

#[path = "common/program.rs"]
mod program;
#[path = "common/tmux.rs"]
mod tmux;

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use program::sample;
use rstest::rstest;
use rustix::fs::{CWD, Mode, mkfifoat};
use tmux::Terminal;

/// What is shown says how fast it goes.
const SHOWN: &str = " a second";

/// Writes the sample into the pipe, so slowly that it takes longer than anybody's
/// patience, until `enough`; then the rest.
fn feed(path: &Path, mut enough: impl FnMut() -> bool) {
    let mut pipe = OpenOptions::new().write(true).open(path).unwrap();
    let mut pieces = sample().chunks(1024);
    while !enough() {
        pipe.write_all(pieces.next().expect("it shows up soon"))
            .unwrap();
        std::thread::sleep(Duration::from_millis(50));
    }
    for piece in pieces {
        pipe.write_all(piece).unwrap();
    }
}

#[rstest]
#[case("$V report pipe >shown", &[0, 1])]
#[case("$V diff pipe sample >shown", &[0])]
#[case("$V merge pipe -q -o out", &[0])]
#[case("$V slice --to 1h pipe -q -o out", &[0])]
#[case("$V redact pipe -q -o out", &[0])]
#[case("$V redact pipe -q -o - >out", &[0])]
#[case("$V export --to 9p-pcapng pipe -q -o out", &[0])]
fn a_long_run_shows_how_far_it_is(#[case] command: &str, #[case] codes: &[u8]) {
    let Some(terminal) = Terminal::open(100, 24) else {
        return;
    };
    let path = terminal.path("pipe");
    mkfifoat(CWD, &path, Mode::RUSR | Mode::WUSR).unwrap();
    fs::write(terminal.path("sample"), sample()).unwrap();
    terminal.start(command);
    feed(&path, || terminal.screen().contains(SHOWN));
    let history = terminal.ended_with_one_of(codes);
    assert!(!history.contains(SHOWN), "it stays: {history}");
    // Not where standard error is something else.
    fs::remove_file(&path).unwrap();
    mkfifoat(CWD, &path, Mode::RUSR | Mode::WUSR).unwrap();
    let command = command.replace("-o out", "--force -o out");
    terminal.start(&format!("{command} 2>errors"));
    let began = Instant::now();
    feed(&path, || began.elapsed() > Duration::from_millis(1500));
    terminal.ended_with_one_of(codes);
    assert_eq!(fs::read_to_string(terminal.path("errors")).unwrap(), "");
}

#[test]
fn a_capture_for_the_next_program_leaves_the_terminal_to_it() {
    let Some(terminal) = Terminal::open(100, 24) else {
        return;
    };
    let path = terminal.path("pipe");
    mkfifoat(CWD, &path, Mode::RUSR | Mode::WUSR).unwrap();
    terminal.start("$V redact pipe -q -o - | cat >out");
    let began = Instant::now();
    feed(&path, || {
        assert!(!terminal.screen().contains(SHOWN));
        began.elapsed() > Duration::from_millis(1800)
    });
    assert!(!terminal.ended(0).contains(SHOWN));
}

#[test]
fn print_into_a_file_shows_how_far_it_is() {
    let Some(terminal) = Terminal::open(100, 24) else {
        return;
    };
    // A section after the other is a capture, too.
    fs::write(terminal.path("long"), sample().repeat(100)).unwrap();
    terminal.start("$V print --records long >out");
    let screen = terminal.wait_for(SHOWN);
    assert!(
        screen.contains(" % of ") && screen.contains(" s left"),
        "{screen}"
    );
    terminal.press("C-c");
    assert!(!terminal.ended(0).contains(SHOWN));
}
