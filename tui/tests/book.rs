//! The commands that README and book show do what is written there: each is run as it
//! stands, in the order in which it stands, by a shell that knows the program by its name.

#[path = "common/program.rs"]
mod program;
#[path = "common/tmux.rs"]
mod tmux;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;

use program::{PROGRAM, is_there, piped, run, tree, virtscope};
use rstest::rstest;
use tmux::Terminal;

/// The commands of a page, without what is said behind them.
fn commands(page: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(page);
    let text = fs::read_to_string(path).unwrap();
    let mut is_console = false;
    let mut commands = Vec::new();
    for line in text.lines() {
        match line.strip_prefix("```") {
            Some(language) => is_console = language == "console",
            None if is_console => {
                let command = line.strip_prefix("$ ").map(|line| line.split("  #"));
                commands
                    .extend(command.and_then(|mut parts| Some(parts.next()?.trim().to_owned())));
            }
            None => {}
        }
    }
    commands
}

/// What is run for `command`: this build of the program. Ten seconds of a demo are made
/// one, for what is done with its capture takes as much longer.
fn as_run(command: &str) -> String {
    command
        .replace("cargo run --release", "virtscope")
        .replace("--duration 10s", "--duration 1s")
}

/// A capture that lasts as long as the pages take for given, with few requests.
fn three_seconds() -> &'static [u8] {
    static CAPTURE: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let tree = tree();
        let elsewhere = tempfile::tempdir().unwrap();
        let path = elsewhere.path().join("capture.pcapng");
        let limits = ["demo", "--duration", "3s", "--rate", "500", "-w"];
        let mut demo = virtscope(limits);
        demo.arg(&path).arg(tree.path());
        run(piped(&mut demo)).assert_clean();
        fs::read(path).unwrap()
    });
    &CAPTURE
}

/// Whether it shows the screens until somebody quits them.
fn has_screens(command: &str) -> bool {
    command == "virtscope"
        || command.contains("virtscope view")
        || (command.contains("demo --scenario") && !command.ends_with("list"))
}

#[rstest]
#[case("README.md", &[], 1)]
#[case("docs/quick-start.md", &[], 9)]
#[case("docs/introduction.md", &[], 0)]
#[case("docs/9p.md", &["capture.pcapng"], 2)]
#[case("docs/capture-tools.md", &["x.pcapng", "guest-a.pcapng", "guest-b.pcapng"], 3)]
#[case("docs/diff.md", &["before.pcapng", "after.pcapng"], 1)]
#[case("docs/filter.md", &["x.pcapng"], 3)]
#[case("docs/findings.md", &[], 2)]
#[case("docs/inspecting.md", &[], 1)]
fn commands_do_what_is_written(
    #[case] page: &str,
    // What the page takes for given.
    #[case] captures: &[&str],
    #[case] count: usize,
) {
    // What developers run is run by itself.
    let mut commands = commands(page);
    commands.retain(|line| !line.starts_with("cargo xtask"));
    assert_eq!(commands.len(), count, "{commands:#?}");
    let directory = tree();
    for name in captures {
        fs::write(directory.path().join(name), three_seconds()).unwrap();
    }
    let mut path = Path::new(PROGRAM).parent().unwrap().as_os_str().to_owned();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap());
    for command in commands.iter().map(|command| as_run(command)) {
        if command.contains("tshark") && !is_there("tshark", "tshark") {
            continue;
        }
        if has_screens(&command) {
            let Some(terminal) = Terminal::open(100, 30) else {
                continue;
            };
            let [path, directory] = [path.to_str(), directory.path().to_str()].map(Option::unwrap);
            terminal.start(&format!("(cd {directory}; PATH={path}; {command})"));
            terminal.wait_for_all(&["Overview", "virtio"]);
            terminal.press("q");
            terminal.ended_with_one_of(&[0, 1]);
            continue;
        }
        let mut shell = Command::new("sh");
        shell.args(["-c", &command]).current_dir(directory.path());
        let ended = run(piped(shell.env("PATH", &path)));
        assert!(matches!(ended.code, Some(0 | 1)), "{command}: {ended:?}");
        let is_told = !ended.stdout.is_empty() || !ended.stderr.is_empty();
        assert!(is_told, "{command} says nothing");
    }
}
