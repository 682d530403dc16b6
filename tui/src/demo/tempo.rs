//! Bursts and pauses: all threads draw on one budget a cycle.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a burst and the pause behind it take together.
const CYCLE: Duration = Duration::from_millis(400);
/// The least of a cycle that is pause, however slow the machine: without it
/// occupancy would never fall.
const LEAST_PAUSE: Duration = Duration::from_millis(40);
/// How long a thread sleeps before it looks whether to stop.
const NAP: Duration = Duration::from_millis(20);

/// Lets the workload run at full speed until a cycle's budget of requests is
/// spent, then rests until the next cycle.
#[derive(Debug)]
pub(super) struct Tempo {
    budget: u64,
    cycle: Mutex<Cycle>,
}

#[derive(Debug)]
struct Cycle {
    began: Instant,
    /// Requests that had been sent when it began.
    issued: u64,
}

impl Tempo {
    /// About `requests_per_second` on average, in bursts.
    pub(super) fn new(requests_per_second: u64) -> Self {
        Self {
            budget: (requests_per_second.saturating_mul(CYCLE.as_millis() as u64) / 1000).max(1),
            cycle: Mutex::new(Cycle {
                began: Instant::now(),
                issued: 0,
            }),
        }
    }

    /// Returns at once during a burst, else when the next one begins or `stop`
    /// is set. `issued` tells the requests sent so far.
    pub(super) fn wait(&self, issued: impl Fn() -> u64, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            let rest = {
                let mut cycle = self.cycle.lock().unwrap_or_else(PoisonError::into_inner);
                let age = cycle.began.elapsed();
                let issued = issued();
                if age >= CYCLE {
                    cycle.began = Instant::now();
                    cycle.issued = issued;
                    return;
                }
                let spent = issued.saturating_sub(cycle.issued);
                if spent < self.budget && age + LEAST_PAUSE < CYCLE {
                    return;
                }
                CYCLE.saturating_sub(age)
            };
            std::thread::sleep(rest.min(NAP));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spent_budget_means_a_pause_and_a_stop_ends_it() {
        let began = Instant::now();
        let tempo = Tempo::new(100);
        let stop = AtomicBool::new(false);
        for issued in 0..=40 {
            tempo.wait(|| issued, &stop);
        }
        assert!(
            began.elapsed() >= CYCLE,
            "the 41st of 40 waits for the next cycle"
        );
        stop.store(true, Ordering::Relaxed);
        tempo.wait(|| u64::MAX, &stop);
    }
}
