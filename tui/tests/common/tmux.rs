//! A terminal to look at: a tmux server of the test's own with one shell in it.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::program::{PROGRAM, wait_until};

/// How long the screen may take to show something.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often is looked meanwhile.
const LOOK: Duration = Duration::from_millis(50);

/// A terminal with a shell that knows the program as `$V`, in a directory of its
/// own. It goes when the test does.
pub(crate) struct Terminal {
    socket: String,
    directory: TempDir,
}

impl Terminal {
    /// A terminal of this size; `None` if tmux is missing and that is allowed.
    pub(crate) fn open(columns: u16, rows: u16) -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let terminal = Self {
            socket: format!("virtscope-test-{}-{number}", std::process::id()),
            directory: tempfile::tempdir().unwrap(),
        };
        // Else tmux would tell a server elsewhere, and a shell its start-up file.
        let size = [columns.to_string(), rows.to_string()];
        let new = ["-u", "-f", "/dev/null", "new-session", "-d"];
        let mut command = terminal.command();
        command
            .args(new)
            .args(["-x", &size[0], "-y", &size[1], "sh"])
            .current_dir(terminal.directory.path())
            .envs([("V", PROGRAM), ("LC_ALL", "C.UTF-8")]);
        for variable in ["TMUX", "ENV", "COLUMNS", "LINES", "RUST_BACKTRACE"] {
            command.env_remove(variable);
        }
        match command.output() {
            Ok(output) => succeeded("new-session", output),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                assert!(
                    std::env::var("VIRTSCOPE_ALLOW_MISSING").as_deref() == Ok("1"),
                    "tmux not found: install Debian's tmux, or run `cargo xtask test`"
                );
                println!("SKIPPED: tmux is not installed");
                return None;
            }
            Err(error) => panic!("tmux: {error}"),
        };
        terminal.wait("there is a prompt", |screen| !screen.trim().is_empty());
        Some(terminal)
    }

    fn command(&self) -> Command {
        let mut command = Command::new("tmux");
        command
            .env("TMUX_TMPDIR", self.directory.path())
            .args(["-L", &self.socket]);
        command
    }

    fn tmux(&self, arguments: &[&str]) -> String {
        let output = self.command().args(arguments).output().unwrap();
        succeeded(arguments[0], output)
    }

    /// A path in the shell's directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Types a command line. What it leaves is looked at by [`Self::ended`].
    pub(crate) fn start(&self, line: &str) {
        let line = format!(
            "clear; stty -a >before; {line}; echo \"ended with $?\"; stty -a >after; mv after over"
        );
        self.tmux(&["send-keys", "-l", "--", &line]);
        self.tmux(&["send-keys", "Enter"]);
    }

    /// Presses a key, by tmux's name for it.
    pub(crate) fn press(&self, key: &str) {
        self.tmux(&["send-keys", "--", key]);
    }

    pub(crate) fn resize(&self, columns: u16, rows: u16) {
        let size = [columns.to_string(), rows.to_string()];
        self.tmux(&["resize-window", "-x", &size[0], "-y", &size[1]]);
    }

    /// What it shows.
    pub(crate) fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    /// What it shows and what has scrolled away, wrapped lines in one piece.
    pub(crate) fn history(&self) -> String {
        self.tmux(&["capture-pane", "-p", "-J", "-S", "-"])
    }

    /// Waits until what is shown `is_so`, and returns it.
    #[track_caller]
    pub(crate) fn wait(&self, what: &str, mut is_so: impl FnMut(&str) -> bool) -> String {
        let began = Instant::now();
        loop {
            let screen = self.screen();
            if is_so(&screen) {
                return screen;
            }
            assert!(
                began.elapsed() < PATIENCE,
                "waited in vain until {what}; the screen:\n{screen}"
            );
            std::thread::sleep(LOOK);
        }
    }

    /// Waits until `text` is shown.
    #[track_caller]
    pub(crate) fn wait_for(&self, text: &str) -> String {
        self.wait_for_all(&[text])
    }

    /// Waits until all `texts` are shown together. One after the other would not
    /// do: a picture is drawn from the top down.
    #[track_caller]
    pub(crate) fn wait_for_all(&self, texts: &[&str]) -> String {
        self.wait(&format!("{texts:?} are shown"), |screen| {
            texts.iter().all(|text| screen.contains(text))
        })
    }

    /// Waits until what is shown stands still, and returns it.
    #[track_caller]
    pub(crate) fn wait_still(&self) -> String {
        let mut before = String::new();
        self.wait("it stands still", |screen| {
            let is_still = before == screen;
            screen.clone_into(&mut before);
            is_still
        })
    }

    /// Waits until the command line has ended with `code`, and returns what is on
    /// the terminal then, which must be as the command found it.
    #[track_caller]
    pub(crate) fn ended(&self, code: u8) -> String {
        let over = self.path("over");
        self.wait("the command has ended", |_| over.exists());
        self.wait_for("ended with ");
        let history = self.history();
        assert!(
            history.contains(&format!("ended with {code}\n")),
            "{history}"
        );
        assert!(!history.contains("panicked"), "{history}");
        let settings = |path: &Path| fs::read_to_string(path).unwrap();
        assert_eq!(settings(&over), settings(&self.path("before")));
        let modes = "cursor #{cursor_flag} wrap #{wrap_flag} alternate #{alternate_on} \
                     mouse #{mouse_any_flag} keypad #{keypad_flag} cursor keys #{keypad_cursor_flag}";
        assert_eq!(
            self.tmux(&["display-message", "-p", modes]).trim_end(),
            "cursor 1 wrap 1 alternate 0 mouse 0 keypad 0 cursor keys 0"
        );
        fs::remove_file(over).unwrap();
        history
    }

    /// Takes the terminal away from whatever runs on it.
    pub(crate) fn close(&self) {
        self.tmux(&["kill-session"]);
        wait_until("the terminal is gone", || {
            let output = self.command().arg("list-sessions").output().unwrap();
            !output.status.success()
        });
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may have been closed already.
        let _ = self.command().arg("kill-server").output();
    }
}

#[track_caller]
fn succeeded(what: &str, output: Output) -> String {
    assert!(output.status.success(), "tmux {what}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}
