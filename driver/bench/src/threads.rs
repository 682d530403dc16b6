//! Driver half against device half on two threads, both polling: the
//! conversation of Linux's `tools/virtio/ringtest`.
//!
//! Both halves are ours, with everything they check. Nobody notifies anybody,
//! as in ringtest when it does not sleep.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The driver's half.
pub trait DriverHalf: Send {
    /// Adds a buffer and makes it available; `false` if the ring is full.
    /// `number` buffers were added before.
    ///
    /// # Errors
    /// The queue is broken.
    fn add(&mut self, number: u32) -> anyhow::Result<bool>;

    /// Takes a used buffer back; `false` if there is none.
    ///
    /// # Errors
    /// The queue is broken.
    fn get_buf(&mut self) -> anyhow::Result<bool>;
}

/// The device's half.
pub trait DeviceHalf: Send {
    /// Takes an available buffer and returns it; `false` if there is none.
    ///
    /// # Errors
    /// The driver broke a rule.
    fn use_buf(&mut self) -> anyhow::Result<bool>;
}

/// How a run goes.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// Buffers to send through the ring.
    pub buffers: u32,
    /// Whether who waits tells the CPU so.
    pub relax: bool,
    /// How long one half waits for the other before it gives up.
    pub patience: Duration,
}

impl Run {
    /// Runs both halves until all buffers came back; how long that took.
    /// `prepare_driver` and `prepare_device` are called first, each on its thread.
    ///
    /// # Errors
    /// A half failed, or gave up waiting for the other.
    ///
    /// # Panics
    /// If a half does.
    pub fn go(
        &self,
        mut driver: impl DriverHalf,
        mut device: impl DeviceHalf,
        prepare_driver: impl FnOnce() -> anyhow::Result<()> + Send,
        prepare_device: impl FnOnce() -> anyhow::Result<()> + Send,
    ) -> anyhow::Result<Duration> {
        let gone = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let device = scope.spawn(|| {
                let _gone = SayGone(&gone);
                prepare_device()?;
                self.device(&mut device, &gone)
            });
            let driver = scope.spawn(|| {
                let _gone = SayGone(&gone);
                prepare_driver()?;
                let began = Instant::now();
                self.driver(&mut driver, &gone)?;
                anyhow::Ok(began.elapsed())
            });
            let driver = driver.join().expect("the driver half does not panic");
            let device = device.join().expect("the device half does not panic");
            // The one that only found the other gone is not the one to hear.
            match (driver, device) {
                (Err(driver), Err(device)) if driver.is::<Gone>() => Err(device),
                (Err(driver), _) => Err(driver),
                (Ok(_), Err(device)) => Err(device),
                (Ok(took), Ok(())) => Ok(took),
            }
        })
    }

    /// Adds a buffer and looks for a used one, in turn, and waits only if neither
    /// worked.
    fn driver(&self, driver: &mut impl DriverHalf, gone: &AtomicBool) -> anyhow::Result<()> {
        let (mut started, mut completed) = (0, 0);
        while completed < self.buffers {
            let added = started < self.buffers && driver.add(started)?;
            started += u32::from(added);
            if driver.get_buf()? {
                completed += 1;
            } else if !added {
                self.wait(gone, || driver.get_buf())?;
                completed += 1;
            }
        }
        Ok(())
    }

    fn device(&self, device: &mut impl DeviceHalf, gone: &AtomicBool) -> anyhow::Result<()> {
        for _ in 0..self.buffers {
            if !device.use_buf()? {
                self.wait(gone, || device.use_buf())?;
            }
        }
        Ok(())
    }

    /// Polls until there is something.
    #[inline(always)]
    fn wait(
        &self,
        gone: &AtomicBool,
        mut poll: impl FnMut() -> anyhow::Result<bool>,
    ) -> anyhow::Result<()> {
        let mut polled = 0u32;
        let mut since = None;
        while !poll()? {
            if self.relax {
                std::hint::spin_loop();
            }
            polled = polled.wrapping_add(1);
            // The clock and the flag are looked at too rarely to be felt.
            if polled.is_multiple_of(1 << 16) {
                let since = since.get_or_insert_with(Instant::now);
                if gone.load(Ordering::Relaxed) {
                    // What it did last may have come after our look.
                    return if poll()? { Ok(()) } else { Err(Gone.into()) };
                }
                anyhow::ensure!(since.elapsed() < self.patience, "nothing comes any more");
            }
        }
        Ok(())
    }
}

/// The other half has ended, and there is nothing left of it.
#[derive(Clone, Copy, Debug)]
struct Gone;

impl std::fmt::Display for Gone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the other half is gone")
    }
}

impl std::error::Error for Gone {}

/// Says so when its thread ends, however it ends.
struct SayGone<'a>(&'a AtomicBool);

impl Drop for SayGone<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};

    /// A ring of the standard library.
    struct Channel {
        send: SyncSender<()>,
        receive: Receiver<()>,
        until: u32,
    }

    fn pair(until: u32) -> (Channel, Channel) {
        let (there, device) = sync_channel(4);
        let (back, driver) = sync_channel(4);
        let half = |send, receive| Channel {
            send,
            receive,
            until,
        };
        (half(there, driver), half(back, device))
    }

    impl Channel {
        fn take(&mut self) -> anyhow::Result<bool> {
            match self.receive.try_recv() {
                Ok(()) => Ok(true),
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => Ok(false),
            }
        }
    }

    impl DriverHalf for Channel {
        fn add(&mut self, _: u32) -> anyhow::Result<bool> {
            Ok(self.send.try_send(()).is_ok())
        }
        fn get_buf(&mut self) -> anyhow::Result<bool> {
            self.take()
        }
    }

    impl DeviceHalf for Channel {
        fn use_buf(&mut self) -> anyhow::Result<bool> {
            if self.until == 0 {
                anyhow::bail!("enough");
            }
            if !self.take()? {
                return Ok(false);
            }
            self.until -= 1;
            self.send.send(())?;
            Ok(true)
        }
    }

    fn run(buffers: u32, until: u32) -> anyhow::Result<Duration> {
        let (driver, device) = pair(until);
        let run = Run {
            buffers,
            relax: true,
            patience: Duration::from_secs(20),
        };
        run.go(driver, device, || Ok(()), || Ok(()))
    }

    #[test]
    fn every_buffer_comes_back() {
        run(1000, u32::MAX).unwrap();
    }

    #[test]
    fn a_half_that_fails_ends_the_run() {
        let error = run(1000, 500).unwrap_err();
        assert_eq!(error.to_string(), "enough");
    }
}
