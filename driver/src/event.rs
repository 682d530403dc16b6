//! A signal that is remembered until somebody waits for it: the shape of a
//! doorbell, and of an interrupt line.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Set by anyone, any number of times; one wait takes them all.
#[derive(Debug, Default)]
pub struct Signal {
    set: Mutex<bool>,
    changed: Condvar,
}

impl Signal {
    /// A signal that is not set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the signal and wakes whoever waits.
    pub fn set(&self) {
        let mut set = self.set.lock().unwrap_or_else(PoisonError::into_inner);
        if !*set {
            *set = true;
            self.changed.notify_one();
        }
    }

    /// Waits until the signal is set, and takes it.
    pub fn wait(&self) {
        let mut set = self.set.lock().unwrap_or_else(PoisonError::into_inner);
        while !*set {
            set = self
                .changed
                .wait(set)
                .unwrap_or_else(PoisonError::into_inner);
        }
        *set = false;
    }

    /// Takes the signal if it is set within `timeout`; says whether it was.
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        let set = self.set.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut set, _) = self
            .changed
            .wait_timeout_while(set, timeout, |set| !*set)
            .unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *set)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[timeout(Duration::from_secs(60))]
    fn a_signal_set_before_the_wait_is_not_lost() {
        let signal = Signal::new();
        signal.set();
        signal.set();
        signal.wait();
        assert!(!signal.wait_timeout(Duration::from_millis(1)));
        std::thread::scope(|scope| {
            scope.spawn(|| signal.set());
            signal.wait();
        });
    }
}
