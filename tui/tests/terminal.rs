//! The screens on a real terminal: alive, readable at two sizes, and gone without
//! a trace, whatever ends them.

#[path = "common/program.rs"]
mod program;
#[path = "common/tmux.rs"]
mod tmux;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use program::{number, sample, tree, wait_until, whole};
use rstest::rstest;
use rustix::process::{Pid, Signal, kill_process};
use tmux::Terminal;

/// A demo that leaves the machine to other tests.
const DEMO: &str = "$V demo --rate 2000";

/// The number before `word` in the line that begins with `label`, thousands
/// separated or not.
fn number_in(text: &str, label: &str, word: &str) -> Option<u64> {
    let mut lines = text.lines().map(str::trim_start);
    let line = lines.find_map(|line| line.strip_prefix(label))?;
    let (before, _) = line.split_once(word)?;
    let number = before.trim_end().rsplit(' ').next()?;
    number.replace(',', "").parse().ok()
}

/// Requests completed, by the overview.
fn completed(screen: &str) -> Option<u64> {
    number_in(screen, "requests ", "completed")
}

/// Records seen, by the overview.
fn records(screen: &str) -> Option<u64> {
    number_in(screen, "records ", "emitted")
}

/// Waits until the overview counts, and then counts on.
#[track_caller]
fn assert_alive(terminal: &Terminal) {
    let screen = terminal.wait("requests are completed", |screen| {
        completed(screen).is_some_and(|completed| completed > 0)
    });
    terminal.wait("more are", |later| completed(later) > completed(&screen));
}

/// Sorts the operations by name and goes to the row of `walk`, wherever it is.
#[track_caller]
fn walk_by_name(terminal: &Terminal) {
    terminal.wait_for("of time▼");
    terminal.press("o");
    terminal.wait_for("operation▲");
    // From the end on, it is among the first.
    terminal.press("O");
    terminal.wait_for("operation▼");
    terminal.press("Home");
    // What is known of the chosen one stands below the table.
    let chosen = |screen: &str| {
        let mut lines = screen.lines();
        let line = lines.find(|line| line.contains("  incomplete ") && line.starts_with(' '))?;
        Some(line.split_whitespace().next()?.to_owned())
    };
    let mut now = None;
    while now.as_deref() != Some("walk") {
        let before = now.clone();
        let screen = terminal.wait("another row is chosen", |screen| {
            let here = chosen(screen);
            here.is_some() && here != before
        });
        now = chosen(&screen);
        terminal.press("Down");
    }
}

#[rstest]
#[case(80, 24)]
#[case(200, 50)]
fn every_screen_is_readable_and_alive(#[case] columns: u16, #[case] rows: u16) {
    let Some(terminal) = Terminal::open(columns, rows) else {
        return;
    };
    let tree = tree();
    terminal.start(&format!("{DEMO} {}", tree.path().display()));
    terminal.wait_for("LIVE");
    assert_alive(&terminal);

    let screens: [(&str, &[&str]); 4] = [
        ("2", &["service", "number", "request (", "latency", "life"]),
        ("3", &["available ring", "used ring", "slot", "avail_idx"]),
        ("4", &["operation", "p50", "p99", "of time▼", "errors"]),
        (
            "1",
            &[
                "virtio0/requests",
                "virtio1/requests",
                "in use",
                "kicks sent",
                "p99",
            ],
        ),
    ];
    for (key, expected) in screens {
        terminal.press(key);
        let is_readable = |screen: &str| {
            let lines: Vec<_> = screen.lines().collect();
            expected.iter().all(|text| screen.contains(text))
                && lines.len() == usize::from(rows)
                && ["1 Over", "2 Req", "3 Ring", "4 Op", "5 Find"]
                    .iter()
                    .all(|tab| lines[0].contains(tab))
                && lines[usize::from(rows) - 1].contains("q quit")
        };
        let screen = terminal.wait(&format!("{expected:?} are shown"), is_readable);
        terminal.wait("it changes", |later| is_readable(later) && later != screen);
    }

    terminal.press("4");
    walk_by_name(&terminal);

    terminal.press("2");
    terminal.wait_for("latency");
    terminal.press("Enter");
    // One in flight is looked at until it has ended.
    terminal.wait_for_all(&[
        "complete in",
        "queued",
        "device",
        "harvest",
        "moment",
        "added",
        "head",
    ]);
    terminal.press("Escape");
    terminal.wait_for("latency");

    terminal.press("?");
    terminal.wait_for_all(&["choose a screen", "this help", "quit (also Ctrl-C)"]);
    terminal.press("?");
    terminal.wait("the help is closed", |screen| !screen.contains("this help"));

    terminal.press("1");
    terminal.wait_for("kicks sent");
    terminal.press("Space");
    terminal.wait_for("PAUSED");
    let paused = terminal.wait_still();
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(500) {
        assert_eq!(completed(&terminal.screen()), completed(&paused));
    }
    terminal.press("Space");
    assert_alive(&terminal);

    terminal.press("q");
    let after = terminal.ended(0);
    assert!(number_in(&after, "Requests", "completed") > completed(&paused));
    assert!(after.contains(" 0 incomplete, 0 in flight"), "{after}");
    assert!(after.contains("Lost      nothing"), "{after}");
    assert!(
        !after.contains("LIVE"),
        "the screens leave nothing\n{after}"
    );
}

#[test]
fn it_follows_the_terminals_size() {
    let Some(terminal) = Terminal::open(80, 24) else {
        return;
    };
    let tree = tree();
    terminal.start(&format!("{DEMO} {}", tree.path().display()));
    assert_alive(&terminal);
    let fills = |columns: usize, rows: usize| {
        move |screen: &str| {
            let lines: Vec<_> = screen.lines().collect();
            // The title stands at the right end of the first line.
            lines.len() == rows
                && (columns - 3..=columns).contains(&lines[0].chars().count())
                && lines[rows - 1].contains("q quit")
        }
    };
    for (columns, rows) in [(200, 50), (80, 24)] {
        terminal.resize(columns, rows);
        terminal.wait("the screen is filled", fills(columns.into(), rows.into()));
        assert_alive(&terminal);
    }
    terminal.resize(20, 5);
    terminal.wait_for("60x15 needed");
    terminal.resize(80, 24);
    terminal.wait("the screen is filled again", fills(80, 24));
    assert_alive(&terminal);
    terminal.press("q");
    terminal.ended(0);
}

/// Starts a demo with a capture and waits until it is under way. Returns its
/// process.
fn capturing(terminal: &Terminal, tree: &Path) -> Pid {
    // The shell becomes the program, so that its process is known.
    terminal.start(&format!(
        "sh -c 'echo $$ >pid; exec {DEMO} -w x.pcapng {}'",
        tree.display()
    ));
    terminal.wait_for("writing x.pcapng");
    wait_until("the capture has something in it", || {
        fs::metadata(terminal.path("x.pcapng")).is_ok_and(|file| file.len() > 50_000)
    });
    let pid = fs::read_to_string(terminal.path("pid")).unwrap();
    Pid::from_raw(pid.trim().parse().unwrap()).unwrap()
}

#[rstest]
#[case::q(Some("q"), None)]
#[case::control_c(Some("C-c"), None)]
#[case::interrupt(None, Some(Signal::INT))]
#[case::terminate(None, Some(Signal::TERM))]
#[case::hang_up(None, Some(Signal::HUP))]
fn whatever_ends_it_the_capture_is_complete(
    #[case] key: Option<&str>,
    #[case] signal: Option<Signal>,
) {
    let Some(terminal) = Terminal::open(100, 30) else {
        return;
    };
    let tree = tree();
    let pid = capturing(&terminal, tree.path());
    if let Some(key) = key {
        terminal.press(key);
    }
    if let Some(signal) = signal {
        kill_process(pid, signal).unwrap();
    }
    let after = terminal.ended(0);
    let report = whole(&terminal.path("x.pcapng"));
    assert_eq!(
        number_in(&after, "Requests", "completed"),
        Some(number(&report, "/requests/completed")),
        "the report follows on the terminal, and is of all that the capture has"
    );
}

#[test]
fn a_terminal_that_goes_away_takes_no_record_with_it() {
    let Some(terminal) = Terminal::open(80, 24) else {
        return;
    };
    let tree = tree();
    let pid = capturing(&terminal, tree.path());
    terminal.close();
    wait_until("the program has ended", || {
        rustix::process::test_kill_process(pid).is_err()
    });
    whole(&terminal.path("x.pcapng"));
}

#[test]
fn when_the_time_is_up_the_report_follows() {
    let Some(terminal) = Terminal::open(100, 50) else {
        return;
    };
    let tree = tree();
    terminal.start(&format!("{DEMO} --duration 2s {}", tree.path().display()));
    terminal.wait_for("LIVE");
    let after = terminal.ended(0);
    assert!(
        number_in(&after, "Requests", "completed") > Some(0),
        "{after}"
    );
}

#[test]
fn a_capture_is_played_paused_stepped_and_sought_in() {
    let Some(terminal) = Terminal::open(80, 24) else {
        return;
    };
    let capture = terminal.path("x.pcapng");
    fs::write(&capture, sample()).unwrap();
    let all = number(&whole(&capture), "/requests/completed");
    // So slowly that it would take minutes.
    terminal.start("$V view --speed 0.001 x.pcapng");
    terminal.wait_for("REPLAY");
    let began = terminal.wait("it is played", |screen| records(screen) > Some(2));
    terminal.wait("it is played on", |screen| {
        records(screen) > records(&began)
    });

    terminal.press("Space");
    terminal.wait_for("PAUSED");
    let paused = terminal.wait_still();
    terminal.press("s");
    terminal.wait("it has moved", |screen| records(screen) > records(&paused));
    let stepped = terminal.wait_still();
    assert!(stepped.contains("PAUSED"), "{stepped}");
    assert_eq!(
        records(&stepped),
        records(&paused).map(|records| records + 1)
    );
    terminal.press("Space");
    terminal.wait("it goes on", |screen| {
        screen.contains("REPLAY") && records(screen) > records(&stepped)
    });

    terminal.press("+");
    terminal.wait_for("×0.002");
    terminal.press("-");
    terminal.wait_for("×0.001");

    // One stretch may not reach the end.
    let seek = |key: &str, until: &str| {
        terminal.wait(&format!("{key} leads to {until}"), |screen| {
            let is_there = screen.contains(until);
            if !is_there {
                terminal.press(key);
            }
            is_there
        });
    };
    seek("]", " END ");
    let end = terminal.wait_still();
    assert_eq!(completed(&end), Some(all), "{end}");
    assert!(end.contains("0 incomplete, 0 in flight"), "{end}");
    // A filter on a capture is one on all of it, not only on what comes.
    terminal.press("/");
    terminal.wait_for("Enter applies it");
    terminal.write("op == 'attach' || op == 'walk'");
    terminal.press("Enter");
    terminal.wait_for(" FILTER ");
    terminal.wait("all were asked", |screen| {
        number_in(screen, "END", "match").is_some_and(|asked| asked == all)
    });
    terminal.press("4");
    terminal.wait("only these are there", |screen| {
        screen.contains(" attach ") && screen.contains(" walk ") && !screen.contains(" read ")
    });
    terminal.press("1");
    terminal.press("Escape");
    terminal.wait("it is off", |screen| !screen.contains(" FILTER "));
    seek("[", "REPLAY");
    terminal.wait("it is earlier", |screen| completed(screen) < Some(all));
    seek("]", " END ");
    terminal.press("r");
    terminal.wait("it is at the beginning", |screen| {
        screen.contains("REPLAY") && records(screen) < records(&began).max(Some(100))
    });

    terminal.press("q");
    let after = terminal.ended(0);
    assert!(!after.contains("REPLAY"), "{after}");
}

#[test]
fn a_growing_file_is_followed() {
    let Some(terminal) = Terminal::open(80, 24) else {
        return;
    };
    let capture = sample();
    let (first, rest) = capture.split_at(capture.len() / 2);
    let path = terminal.path("x.pcapng");
    fs::write(&path, first).unwrap();
    terminal.start("$V view --follow x.pcapng");
    let half = terminal.wait("the first half is shown", |screen| {
        completed(screen) > Some(10)
    });
    let mut growing = fs::OpenOptions::new().append(true).open(&path).unwrap();
    growing.write_all(rest).unwrap();
    let all = Some(number(&whole(&path), "/requests/completed"));
    assert!(completed(&half) < all);
    terminal.wait("all of it is shown", |screen| completed(screen) == all);
    terminal.press("q");
    terminal.ended(0);
}

#[rstest]
#[case("q")]
#[case("C-c")]
fn a_pipe_is_a_live_view(#[case] key: &str) {
    let Some(terminal) = Terminal::open(80, 24) else {
        return;
    };
    let tree = tree();
    terminal.start(&format!(
        "{DEMO} -w - --duration 5m {} 2>demo.txt | $V view -",
        tree.path().display()
    ));
    assert_alive(&terminal);
    terminal.press("2");
    terminal.wait_for("latency");
    terminal.press("4");
    walk_by_name(&terminal);
    terminal.press("1");
    assert_alive(&terminal);
    terminal.press(key);
    terminal.ended(0);
    let said = fs::read_to_string(terminal.path("demo.txt")).unwrap();
    assert_eq!(said, "", "the demo ends quietly with its reader");
}

#[test]
fn a_cut_capture_is_shown_and_complained_about() {
    let Some(terminal) = Terminal::open(100, 30) else {
        return;
    };
    let cut = &sample()[..sample().len() / 2];
    fs::write(terminal.path("cut.pcapng"), cut).unwrap();
    terminal.start("$V view --speed 1000 cut.pcapng");
    terminal.wait_for(" END ");
    let screen = terminal.wait_still();
    assert!(completed(&screen) > Some(0), "{screen}");
    assert!(screen.contains("cut off"), "{screen}");
    terminal.press("q");
    let after = terminal.ended(2);
    assert!(after.contains("virtscope: cut.pcapng: cut off"), "{after}");
}

#[rstest]
#[case("$V report -", "standard input is a terminal: pipe a capture into it")]
#[case("$V print -", "standard input is a terminal: pipe a capture into it")]
#[case("$V view -", "standard input is a terminal: pipe a capture into it")]
#[case("$V demo -w -", "a capture is no text: pipe it on, or name a file")]
#[case("$V view none.pcapng", "name a capture that exists")]
#[case("$V view text.txt", "not a pcapng capture")]
#[case("$V demo none", "name a directory that exists")]
fn mistakes_are_told_without_a_screen(#[case] command: &str, #[case] hint: &str) {
    let Some(terminal) = Terminal::open(80, 24) else {
        return;
    };
    fs::write(terminal.path("text.txt"), "no capture\n").unwrap();
    terminal.start(command);
    let after = terminal.ended(2);
    assert!(after.contains(hint), "{after}");
}

/// Whether it lacks privileges, type information or that queue: of the screens that were
/// shown while it began nothing is left, and the reason stands below the command.
#[test]
fn tracing_that_cannot_begin_leaves_its_reason_and_no_screen() {
    let Some(terminal) = Terminal::open(80, 24) else {
        return;
    };
    terminal.start("$V trace -q nothing -w new.pcapng");
    let after = terminal.ended(2);
    let told = after.lines().filter(|line| line.starts_with("virtscope: "));
    assert_eq!(told.count(), 1, "{after}");
    assert!(!after.contains("STARTING"), "{after}");
    assert!(!terminal.path("new.pcapng").exists(), "nothing is begun");
}

#[rstest]
#[case(59, 24)]
#[case(80, 14)]
fn too_small_a_terminal_to_begin_with(#[case] columns: u16, #[case] rows: u16) {
    let Some(terminal) = Terminal::open(columns, rows) else {
        return;
    };
    fs::write(terminal.path("x.pcapng"), sample()).unwrap();
    for command in [
        "$V demo -w new.pcapng .",
        "$V view x.pcapng",
        "$V trace -w new.pcapng",
    ] {
        terminal.start(command);
        let after = terminal.ended(2);
        let told: Vec<_> = after
            .lines()
            .filter(|line| line.starts_with("virtscope: "))
            .collect();
        assert_eq!(told.len(), 1, "{after}");
        for expected in [&format!("{columns}x{rows}")[..], "too small", "60x15"] {
            assert!(told[0].contains(expected), "no {expected:?} in {told:?}");
        }
    }
    assert!(!terminal.path("new.pcapng").exists(), "nothing is begun");
    // Off the screen its size does not matter.
    terminal.start("$V report x.pcapng | cat");
    terminal.ended(0);
}

#[test]
fn print_is_as_wide_as_its_terminal() {
    let Some(terminal) = Terminal::open(72, 24) else {
        return;
    };
    fs::write(terminal.path("x.pcapng"), sample()).unwrap();
    terminal.start("$V print x.pcapng --records");
    let history = terminal.ended(0);
    let lines: Vec<_> = history
        .lines()
        .filter(|line| line.contains(" virtio"))
        .collect();
    assert!(lines.len() > 100, "{history}");
    assert!(
        lines.iter().all(|line| line.chars().count() <= 72),
        "{history}"
    );
    assert!(
        lines.iter().any(|line| line.chars().count() == 72),
        "{history}"
    );
    terminal.resize(130, 24);
    terminal.start("$V print x.pcapng");
    let history = terminal.ended(0);
    let phases = |line: &str| line.contains(" = ") && line.matches(" + ").count() == 2;
    assert!(history.lines().any(phases), "{history}");
}
