//! How far a long run has come, for whoever waits at a terminal.

use std::io::{self, IsTerminal, Read, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::{FileType, fstat};
use virtscope_analyzer::format_bytes;

use crate::input::{Input, is_standard};

/// Runs shorter than this say nothing.
const PATIENCE: Duration = Duration::from_secs(1);
/// Between two lines.
const INTERVAL: Duration = Duration::from_millis(200);

/// Shows on standard error, if that is a terminal, how much of some captures was read.
/// It goes by what is read of them, in whichever threads that is.
#[derive(Debug)]
pub(crate) struct Meter {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    read: u64,
    /// Bytes there are to read, if that is known.
    total: Option<u64>,
    began: Instant,
    next: Instant,
    enabled: bool,
    shown: bool,
}

impl Meter {
    /// For reading the captures at `paths`, once each, by a command that shows nothing
    /// meanwhile.
    pub(crate) fn of(paths: &[&Path]) -> Self {
        let length = |path: &&Path| -> Option<u64> {
            let file = (!is_standard(path)).then(|| std::fs::metadata(path).ok())?;
            let file = file.filter(std::fs::Metadata::is_file)?;
            Some(file.len())
        };
        let now = Instant::now();
        let state = State {
            read: 0,
            total: paths.iter().map(length).sum(),
            began: now,
            next: now + PATIENCE,
            enabled: io::stderr().is_terminal(),
            shown: false,
        };
        Self {
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// The same for a command that writes to standard output as it goes: where that is no
    /// file, it may be what is shown on the same terminal.
    pub(crate) fn beside_output(paths: &[&Path]) -> Self {
        let meter = Self::of(paths);
        let is_file = fstat(io::stdout())
            .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile);
        lock(&meter.state).enabled &= is_file;
        meter
    }

    /// The same input, whose bytes are counted.
    pub(crate) fn over(&self, input: Input) -> Input {
        Box::new(Counted {
            input,
            state: Arc::clone(&self.state),
        })
    }
}

impl Drop for Meter {
    /// Nothing of it stays on the terminal, and nothing more comes.
    fn drop(&mut self) {
        let mut state = lock(&self.state);
        state.enabled = false;
        if state.shown {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    fn advance(&mut self, count: usize) {
        self.read += count as u64;
        if !self.enabled {
            return;
        }
        let now = Instant::now();
        if now >= self.next {
            self.next = now + INTERVAL;
            self.shown = true;
            let line = line(self.read, self.total, now.duration_since(self.began));
            // Whoever waits can do without it.
            let _ = write!(io::stderr(), "\r{line}\x1b[K");
        }
    }
}

/// Of 80 columns at most.
fn line(read: u64, total: Option<u64>, took: Duration) -> String {
    let seconds = took.as_secs_f64().max(0.001);
    let speed = format_bytes((read as f64 / seconds) as u64);
    match total.filter(|total| *total > 0) {
        Some(total) => {
            let part = (read as f64 / total as f64).clamp(0.0, 1.0);
            let left = match part {
                0.0 => 0.0,
                part => seconds * (1.0 - part) / part,
            };
            format!(
                "{:3.0} % of {}, {speed} a second, {left:.0} s left",
                100.0 * part,
                format_bytes(total)
            )
        }
        None => format!("{} read, {speed} a second", format_bytes(read)),
    }
}

struct Counted {
    input: Input,
    state: Arc<Mutex<State>>,
}

impl Read for Counted {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buf)?;
        lock(&self.state).advance(count);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_how_far_it_is_and_how_long_it_will_take() {
        let second = Duration::from_secs(1);
        assert_eq!(
            line(1 << 30, Some(4 << 30), second),
            " 25 % of 4.00 GiB, 1.00 GiB a second, 3 s left"
        );
        assert_eq!(
            line(1 << 30, None, second),
            "1.00 GiB read, 1.00 GiB a second"
        );
        // A file that grew meanwhile is never more than whole.
        assert!(line(9, Some(3), second).starts_with("100 % of 3 B"));
        for read in [0, 1, u64::MAX] {
            assert!(line(read, Some(u64::MAX), second).len() <= 80);
        }
    }

    #[test]
    fn counts_what_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let [one, other] = ["one", "other"].map(|name| dir.path().join(name));
        std::fs::write(&one, b"1234").unwrap();
        std::fs::write(&other, b"12").unwrap();
        let meter = Meter::of(&[&one, &other]);
        assert_eq!(lock(&meter.state).total, Some(6));
        for path in [&one, &other] {
            let mut input = meter.over(Box::new(std::fs::File::open(path).unwrap()));
            io::copy(&mut input, &mut io::sink()).unwrap();
        }
        assert_eq!(lock(&meter.state).read, 6);
        for unknown in [Path::new("-"), dir.path(), &dir.path().join("gone")] {
            assert_eq!(lock(&Meter::of(&[&one, unknown]).state).total, None);
        }
    }
}
