//! A terminal to look at: a tmux server of the test's own with one shell in it.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::program::{Ended, PROGRAM, is_there, piped, run, wait_until};

/// How long the screen may take to show something.
const PATIENCE: Duration = Duration::from_secs(60);
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
        if !is_there("tmux", "tmux") {
            return None;
        }
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
        succeeded("new-session", &run(piped(&mut command)));
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
        let ended = run(piped(self.command().args(arguments)));
        succeeded(arguments[0], &ended)
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

    /// Types `text` as it is.
    pub(crate) fn write(&self, text: &str) {
        self.tmux(&["send-keys", "-l", "--", text]);
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

    /// Waits until what is shown has stood still for some looks, and returns it. A
    /// program that is kept from running draws nothing for one or two, too.
    #[track_caller]
    pub(crate) fn wait_still(&self) -> String {
        let (mut before, mut looks) = (String::new(), 0);
        self.wait("it stands still", |screen| {
            looks = if before == screen { looks + 1 } else { 0 };
            screen.clone_into(&mut before);
            looks >= 8
        })
    }

    /// Waits until the command line has ended with `code`, and returns what is on
    /// the terminal then, which must be as the command found it.
    #[track_caller]
    pub(crate) fn ended(&self, code: u8) -> String {
        self.ended_with_one_of(&[code])
    }

    /// The same, where it is one of these.
    #[track_caller]
    pub(crate) fn ended_with_one_of(&self, codes: &[u8]) -> String {
        let over = self.path("over");
        self.wait("the command has ended", |_| over.exists());
        self.wait_for("ended with ");
        let history = self.history();
        let mut ended = codes.iter().map(|code| format!("ended with {code}\n"));
        assert!(ended.any(|ended| history.contains(&ended)), "{history}");
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
            run(piped(self.command().arg("list-sessions"))).code != Some(0)
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
fn succeeded(what: &str, ended: &Ended) -> String {
    assert_eq!(ended.code, Some(0), "tmux {what}: {ended:?}");
    ended.text().to_owned()
}
