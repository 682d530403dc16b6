//! The thread that stands in for a guest's interrupt handling.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use super::InitError;
use crate::event::Signal;

/// A thread that calls a handler each time a signal is set. Dropping it ends the
/// thread and waits for a handler that runs.
#[derive(Debug)]
pub struct InterruptThread {
    signal: Arc<Signal>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl InterruptThread {
    /// Starts the thread `name`, which calls `handler` for `signal`.
    ///
    /// # Errors
    /// There is no thread.
    pub fn start(
        name: String,
        signal: Arc<Signal>,
        mut handler: impl FnMut() + Send + 'static,
    ) -> Result<Self, InitError> {
        let stop = Arc::new(AtomicBool::new(false));
        let thread = std::thread::Builder::new().name(name).spawn({
            let (signal, stop) = (Arc::clone(&signal), Arc::clone(&stop));
            move || {
                loop {
                    signal.wait();
                    if stop.load(Ordering::Acquire) {
                        return;
                    }
                    handler();
                }
            }
        });
        Ok(Self {
            signal,
            stop,
            thread: Some(thread.map_err(|_| InitError::NoThread)?),
        })
    }
}

impl Drop for InterruptThread {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.signal.set();
        let Some(thread) = self.thread.take() else {
            return;
        };
        // A handler that drops the last owner of its own thread can't wait for itself.
        if thread.thread().id() != std::thread::current().id() {
            // It ends on its own; a panic in it was reported by its hook.
            let _ = thread.join();
        }
    }
}
