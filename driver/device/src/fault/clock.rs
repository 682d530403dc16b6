//! What time it is, for faults that take some.

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Tells how much time has passed since some fixed moment. Never goes back.
pub trait Clock: Debug + Send {
    /// The time since that moment.
    fn now(&self) -> Duration;
}

/// The time that really passes.
#[derive(Clone, Copy, Debug)]
pub struct RealClock(Instant);

impl RealClock {
    /// A clock that begins now.
    pub fn new() -> Self {
        Self(Instant::now())
    }
}

impl Default for RealClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for RealClock {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

/// Time that passes only when somebody says so. Clones show the same time.
#[derive(Clone, Default, Debug)]
pub struct SteppedClock(Arc<AtomicU64>);

impl SteppedClock {
    /// A clock that shows zero.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets time pass, in whole microseconds.
    pub fn advance(&self, by: Duration) {
        let micros = u64::try_from(by.as_micros()).unwrap_or(u64::MAX);
        let add = |now: u64| Some(now.saturating_add(micros));
        // The closure never refuses.
        let _ = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }
}

impl Clock for SteppedClock {
    fn now(&self) -> Duration {
        Duration::from_micros(self.0.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stepped_clock_moves_by_hand_and_for_all_its_clones() {
        let clock = SteppedClock::new();
        let shown = clock.clone();
        assert_eq!(shown.now(), Duration::ZERO);
        clock.advance(Duration::from_millis(3));
        assert_eq!(shown.now(), Duration::from_millis(3));
        clock.advance(Duration::MAX);
        assert_eq!(shown.now(), Duration::from_micros(u64::MAX));
    }

    #[test]
    fn a_real_clock_does_not_go_back() {
        let clock = RealClock::new();
        let first = clock.now();
        assert!(clock.now() >= first);
    }
}
