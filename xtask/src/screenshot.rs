//! `cargo xtask screenshot`: the picture in the README, made from the running
//! program, so that it shows what there is.

use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anstyle_svg::{Term, WIN10_CONSOLE};
use anyhow::{Context, ensure};
use clap::Args;

use crate::steps::run;
use crate::test::root;

/// Where the picture goes, below the workspace's folder.
const PICTURE: &str = "docs/screenshot.svg";
/// Columns and rows of the terminal.
const SIZE: (u16, u16) = (110, 32);
/// How long the program may take to show something, and to end.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks whether it has.
const LOOK: Duration = Duration::from_millis(50);

#[derive(Args, Debug)]
pub(crate) struct ScreenshotArgs {
    /// Keys to press before the picture is taken, in tmux's names.
    #[arg(default_value = "1")]
    keys: Vec<String>,

    /// Seconds to run before that, once the screens are there.
    #[arg(long, value_name = "SECONDS", default_value_t = 4)]
    after: u64,
}

/// Runs the demo in a terminal nobody sees, and draws what it shows.
pub(crate) fn screenshot(args: &ScreenshotArgs) -> anyhow::Result<()> {
    let root = root()?;
    // Built first, so that the seconds are the demo's own.
    run(Command::new("cargo")
        .args(["build", "--release", "--locked"])
        .current_dir(&root))?;
    let terminal = Terminal::start(&root)?;
    terminal.wait_for("virtscope")?;
    sleep(Duration::from_secs(args.after));
    for key in &args.keys {
        terminal.press(key)?;
    }
    // Time for a frame that shows what the keys have done.
    sleep(Duration::from_millis(500));
    let shown = terminal.shows()?;
    terminal.end()?;
    let svg = Term::new()
        .palette(WIN10_CONSOLE)
        .render_svg(shown.trim_end());
    let path = root.join(PICTURE);
    std::fs::write(&path, svg).with_context(|| format!("cannot write {}", path.display()))?;
    println!("{PICTURE} is new; look at it before you commit it");
    Ok(())
}

/// A tmux server of our own, with one session in which the demo runs.
struct Terminal {
    socket: String,
}

impl Terminal {
    fn start(root: &Path) -> anyhow::Result<Self> {
        let terminal = Self {
            socket: format!("virtscope-screenshot-{}", std::process::id()),
        };
        let (columns, rows) = SIZE;
        // No configuration: the picture must not depend on whose machine it is.
        run(terminal
            .tmux()
            .args(["-f", "/dev/null", "new-session", "-d"])
            .args(["-x", &columns.to_string(), "-y", &rows.to_string()])
            .args(["cargo", "run", "--release", "--locked", "--quiet"])
            .env("TERM", "xterm-256color")
            .env_remove("NO_COLOR")
            .current_dir(root))
        .context("install tmux (Debian: apt-get install tmux)")?;
        Ok(terminal)
    }

    fn tmux(&self) -> Command {
        let mut command = Command::new("tmux");
        command.args(["-L", &self.socket]);
        command
    }

    fn press(&self, key: &str) -> anyhow::Result<()> {
        run(self.tmux().args(["send-keys", key]))
    }

    /// Until `text` stands on it: cargo itself takes a moment.
    fn wait_for(&self, text: &str) -> anyhow::Result<()> {
        let began = Instant::now();
        loop {
            let shown = self.shows()?;
            if shown.contains(text) {
                return Ok(());
            }
            ensure!(
                began.elapsed() < PATIENCE,
                "the demo shows no screen, but:\n{shown}"
            );
            sleep(LOOK);
        }
    }

    /// What stands on it, with its colours.
    fn shows(&self) -> anyhow::Result<String> {
        let output = self
            .tmux()
            .args(["capture-pane", "-e", "-p"])
            .output()
            .context("tmux")?;
        ensure!(
            output.status.success(),
            "the demo ended by itself: run `cargo run --release` to see why"
        );
        String::from_utf8(output.stdout).context("what tmux says is no text")
    }

    /// Ends the demo as a user would. The server ends with its only session.
    fn end(&self) -> anyhow::Result<()> {
        self.press("q")?;
        let asked = Instant::now();
        while self.is_running() {
            ensure!(
                asked.elapsed() < PATIENCE,
                "the demo does not end when `q` is pressed"
            );
            sleep(LOOK);
        }
        Ok(())
    }

    fn is_running(&self) -> bool {
        self.tmux()
            .arg("has-session")
            .output()
            .is_ok_and(|output| output.status.success())
    }
}

impl Drop for Terminal {
    /// Whatever went wrong: this server is nobody else's.
    fn drop(&mut self) {
        if self.is_running() {
            let _ = self.tmux().arg("kill-server").output();
        }
    }
}
