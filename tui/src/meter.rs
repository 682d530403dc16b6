//! How far a long run has come, for whoever waits at a terminal.

use std::io::{self, IsTerminal, Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use virtscope_analyzer::format_bytes;

use crate::input::{Input, is_standard};

/// Runs shorter than this say nothing.
const PATIENCE: Duration = Duration::from_secs(1);
/// Between two lines.
const INTERVAL: Duration = Duration::from_millis(200);
/// Items between two looks at the clock.
const STRIDE: u32 = 1 << 14;

/// Shows on standard error, if that is a terminal, how much of a capture was read.
#[derive(Debug)]
pub(crate) struct Meter {
    read: Arc<AtomicU64>,
    /// Bytes there are to read, if that is known.
    total: Option<u64>,
    items: u64,
    until_look: u32,
    began: Instant,
    next: Instant,
    enabled: bool,
    shown: bool,
}

impl Meter {
    /// For reading the capture at `path`.
    pub(crate) fn of(path: &Path) -> Self {
        let file = (!is_standard(path))
            .then(|| std::fs::metadata(path).ok())
            .flatten();
        let now = Instant::now();
        Self {
            read: Arc::default(),
            total: file
                .filter(std::fs::Metadata::is_file)
                .map(|file| file.len()),
            items: 0,
            until_look: STRIDE,
            began: now,
            next: now + PATIENCE,
            enabled: io::stderr().is_terminal(),
            shown: false,
        }
    }

    /// Whether the capture is a file, all of which is there.
    pub(crate) fn is_of_file(&self) -> bool {
        self.total.is_some()
    }

    /// The same input, whose bytes are counted.
    pub(crate) fn over(&self, input: Input) -> Input {
        Box::new(Counted {
            input,
            read: Arc::clone(&self.read),
        })
    }

    /// One item more was read.
    #[inline]
    pub(crate) fn step(&mut self) {
        self.until_look -= 1;
        if self.until_look == 0 {
            self.until_look = STRIDE;
            self.items += u64::from(STRIDE);
            if self.enabled && Instant::now() >= self.next {
                self.show();
            }
        }
    }

    fn show(&mut self) {
        self.next = Instant::now() + INTERVAL;
        self.shown = true;
        let line = line(
            self.read.load(Ordering::Relaxed),
            self.total,
            self.items,
            self.began.elapsed(),
        );
        // Whoever waits can do without it.
        let _ = write!(io::stderr(), "\r{line}\x1b[K");
    }
}

impl Drop for Meter {
    /// Nothing of it stays on the terminal.
    fn drop(&mut self) {
        if self.shown {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

/// Of 80 columns at most.
fn line(read: u64, total: Option<u64>, items: u64, took: Duration) -> String {
    let seconds = took.as_secs_f64().max(0.001);
    let speed = format!(
        "{:.1} million records a second",
        items as f64 / seconds / 1e6
    );
    match total.filter(|total| *total > 0) {
        Some(total) => {
            let part = (read as f64 / total as f64).clamp(0.0, 1.0);
            let left = match part {
                0.0 => 0.0,
                part => seconds * (1.0 - part) / part,
            };
            format!(
                "{:3.0} % of {}, {speed}, {left:.0} s left",
                100.0 * part,
                format_bytes(total)
            )
        }
        None => format!("{} read, {speed}", format_bytes(read)),
    }
}

struct Counted {
    input: Input,
    read: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buf)?;
        self.read.fetch_add(count as u64, Ordering::Relaxed);
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
            line(1 << 30, Some(4 << 30), 7_700_000, second),
            " 25 % of 4.00 GiB, 7.7 million records a second, 3 s left"
        );
        assert_eq!(
            line(1 << 30, None, 7_700_000, second),
            "1.00 GiB read, 7.7 million records a second"
        );
        // A file that grew meanwhile is never more than whole.
        assert!(line(9, Some(3), 1, second).starts_with("100 % of 3 B"));
        assert!(line(0, Some(u64::MAX), u64::MAX, second).len() <= 80);
    }

    #[test]
    fn counts_what_is_read() {
        let meter = Meter::of(Path::new("-"));
        let mut input = meter.over(Box::new(&b"123456"[..]));
        io::copy(&mut input, &mut io::sink()).unwrap();
        assert_eq!(meter.read.load(Ordering::Relaxed), 6);
    }
}
