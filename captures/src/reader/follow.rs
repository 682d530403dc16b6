//! Reading a file while it grows.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// An input whose end is not the end: there it waits until more was written, or
/// until it is told to stop.
///
/// Half a block at the end thus waits for its other half. Between two looks the
/// thread sleeps.
///
/// ```no_run
/// use std::sync::Arc;
/// use std::sync::atomic::AtomicBool;
/// use virtscope_captures::{CaptureReader, Follow};
///
/// let stop = Arc::new(AtomicBool::new(false));
/// let file = std::fs::File::open("growing.pcapng")?;
/// let reader = CaptureReader::new(Follow::new(file, Arc::clone(&stop)))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Follow<R> {
    input: R,
    stop: Arc<AtomicBool>,
    interval: Duration,
}

impl<R> Follow<R> {
    /// Follows `input` until `stop` is set and all that was written is read.
    pub const fn new(input: R, stop: Arc<AtomicBool>) -> Self {
        Self {
            input,
            stop,
            interval: Duration::from_millis(20),
        }
    }

    /// Looks for more every `interval`, instead of every 20 ms.
    #[must_use]
    pub const fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }
}

impl<R: Read> Read for Follow<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            // Read before the look at the input, so that what was written before
            // the stop is still found.
            let stopped = self.stop.load(Ordering::Acquire);
            let count = self.input.read(buf)?;
            if count > 0 || stopped || buf.is_empty() {
                return Ok(count);
            }
            thread::sleep(self.interval);
        }
    }
}
