//! The two clocks of a capture, and what lies between them.
//!
//! Records carry `CLOCK_MONOTONIC`, which every producer can read; packets
//! carry Unix time, which every other tool can show. One offset, measured when
//! the capture begins, leads from one to the other, so that a clock that is set
//! while the capture runs cannot bend its time line.

use rustix::time::{ClockId, clock_gettime};
use virtscope_record::Timestamp;

/// Rounds of measuring; the narrowest counts.
const ROUNDS: usize = 16;

/// `CLOCK_MONOTONIC` as it reads now, the clock that records carry.
pub fn monotonic_now() -> Timestamp {
    Timestamp::from_nanos(u64::try_from(read_ns(ClockId::Monotonic)).unwrap_or(0))
}

fn read_ns(clock: ClockId) -> i64 {
    let now = clock_gettime(clock);
    now.tv_sec
        .saturating_mul(1_000_000_000)
        .saturating_add(now.tv_nsec)
}

/// Unix time less `CLOCK_MONOTONIC`, in nanoseconds, with the bound of its
/// error.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ClockOffset {
    offset_ns: i64,
    error_ns: u64,
}

impl ClockOffset {
    /// An offset known from elsewhere: Unix time is monotonic time plus
    /// `offset_ns`, give or take `error_ns`.
    pub const fn new(offset_ns: i64, error_ns: u64) -> Self {
        Self {
            offset_ns,
            error_ns,
        }
    }

    /// Reads both clocks several times, the monotonic one before and after the
    /// other, and keeps the round in which they stood closest together.
    pub fn measure() -> Self {
        let mut best: Option<Self> = None;
        for _ in 0..ROUNDS {
            let before = read_ns(ClockId::Monotonic);
            let unix = read_ns(ClockId::Realtime);
            let after = read_ns(ClockId::Monotonic);
            let gap = after.saturating_sub(before).max(0);
            let round = Self {
                offset_ns: unix.saturating_sub(before.saturating_add(gap / 2)),
                error_ns: gap.unsigned_abs().div_ceil(2),
            };
            if best.is_none_or(|best| round.error_ns < best.error_ns) {
                best = Some(round);
            }
        }
        best.unwrap_or_default()
    }

    /// Nanoseconds to add to monotonic time.
    pub const fn offset_ns(self) -> i64 {
        self.offset_ns
    }

    /// By how much the offset may be wrong, in nanoseconds.
    pub const fn error_ns(self) -> u64 {
        self.error_ns
    }

    /// Nanoseconds since 1970-01-01 UTC at monotonic `time`; the nearest that a
    /// packet can hold, if it can't hold that one.
    pub const fn to_unix_ns(self, time: Timestamp) -> u64 {
        time.as_nanos().saturating_add_signed(self.offset_ns)
    }

    /// The way back from [`to_unix_ns`](Self::to_unix_ns).
    pub const fn to_monotonic(self, unix_ns: u64) -> Timestamp {
        Timestamp::from_nanos(unix_ns.saturating_sub_signed(self.offset_ns))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::{Duration, SystemTime};

    #[test]
    fn leads_to_the_present() {
        let clock = ClockOffset::measure();
        // However long this thread is kept from running, the one reading lies
        // between the others.
        let before = SystemTime::UNIX_EPOCH.elapsed().unwrap();
        let unix = Duration::from_nanos(clock.to_unix_ns(monotonic_now()));
        let after = SystemTime::UNIX_EPOCH.elapsed().unwrap();
        let second = Duration::from_secs(1);
        assert!((before - second..after + second).contains(&unix));
        assert!(clock.error_ns() < 1_000_000_000);
    }

    #[test]
    fn extremes_saturate() {
        let ahead = ClockOffset::new(i64::MAX, 0);
        assert_eq!(ahead.to_unix_ns(Timestamp::from_nanos(u64::MAX)), u64::MAX);
        let behind = ClockOffset::new(i64::MIN, 0);
        assert_eq!(behind.to_unix_ns(Timestamp::from_nanos(1)), 0);
    }

    proptest! {
        #[test]
        fn there_and_back(time in 0..1u64 << 62, offset in 0..1i64 << 62) {
            let clock = ClockOffset::new(offset, 0);
            let time = Timestamp::from_nanos(time);
            prop_assert_eq!(clock.to_monotonic(clock.to_unix_ns(time)), time);
        }
    }
}
