//! What happened over the last second.

use virtscope_record::Timestamp;

use crate::snapshot::Rates;

/// Length of a slot; a second has [`SLOTS`] of them.
const SLOT_NS: u64 = 100_000_000;
const SLOTS: u64 = 10;
/// One more than a second's, so that the one being filled can be left out.
const KEPT: usize = SLOTS as usize + 1;

/// Counts of one slot of time.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct RateCounts {
    pub(crate) adds: u64,
    pub(crate) completions: u64,
    pub(crate) kicks_sent: u64,
    pub(crate) kicks_suppressed: u64,
    pub(crate) callbacks: u64,
    pub(crate) bytes: u64,
}

/// Counts of the last second, slot by slot.
#[derive(Clone, Default, Debug)]
pub(crate) struct RateWindow {
    slots: [RateCounts; KEPT],
    /// The number of the latest slot, counted from the clock's zero.
    latest: u64,
    /// When that slot begins, ns.
    latest_from: u64,
    first: Option<Timestamp>,
}

impl RateWindow {
    /// The counts of the slot that `time` is in. What is late counts where it
    /// belongs if that is still kept, else in the oldest slot.
    #[inline]
    pub(crate) fn at(&mut self, time: Timestamp) -> &mut RateCounts {
        // Nearly every moment is in the slot of the one before.
        if time.as_nanos().wrapping_sub(self.latest_from) < SLOT_NS && self.first.is_some() {
            return &mut self.slots[place(self.latest)];
        }
        self.at_another(time)
    }

    fn at_another(&mut self, time: Timestamp) -> &mut RateCounts {
        self.first.get_or_insert(time);
        let mut number = time.as_nanos() / SLOT_NS;
        if number > self.latest {
            let passed = (number - self.latest).min(KEPT as u64);
            for back in 0..passed {
                self.slots[place(number - back)] = RateCounts::default();
            }
            self.latest = number;
            self.latest_from = number * SLOT_NS;
        }
        number = number.max((self.latest + 1).saturating_sub(KEPT as u64));
        &mut self.slots[place(number)]
    }

    /// Per second, over the ten slots before the one that `now` is in; over what
    /// there is, if the run is younger.
    pub(crate) fn rates(&self, now: Timestamp) -> Rates {
        let Some(first) = self.first else {
            return Rates::default();
        };
        let current = now.as_nanos() / SLOT_NS;
        let young = now.nanos_since(first) < SLOTS * SLOT_NS;
        let mut sum = RateCounts::default();
        let oldest_kept = (self.latest + 1).saturating_sub(KEPT as u64);
        for number in current.saturating_sub(SLOTS).max(oldest_kept)..=self.latest.min(current) {
            if number == current && !young {
                continue;
            }
            let slot = &self.slots[place(number)];
            sum.adds += slot.adds;
            sum.completions += slot.completions;
            sum.kicks_sent += slot.kicks_sent;
            sum.kicks_suppressed += slot.kicks_suppressed;
            sum.callbacks += slot.callbacks;
            sum.bytes += slot.bytes;
        }
        let ns = if young {
            now.nanos_since(first).max(SLOT_NS)
        } else {
            SLOTS * SLOT_NS
        };
        let per_second = |count: u64| count as f64 * 1e9 / ns as f64;
        Rates {
            adds: per_second(sum.adds),
            completions: per_second(sum.completions),
            kicks_sent: per_second(sum.kicks_sent),
            kicks_suppressed: per_second(sum.kicks_suppressed),
            callbacks: per_second(sum.callbacks),
            bytes: per_second(sum.bytes),
        }
    }
}

fn place(number: u64) -> usize {
    (number % KEPT as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn at(ms: u64) -> Timestamp {
        Timestamp::from_nanos(1_000_000 * MS + ms * MS)
    }

    #[test]
    fn a_steady_stream_has_its_rate() {
        let mut window = RateWindow::default();
        for ms in 0..5000 {
            window.at(at(ms)).adds += 1;
            window.at(at(ms)).bytes += 10;
        }
        let rates = window.rates(at(5000));
        assert_eq!((rates.adds, rates.bytes), (1000.0, 10_000.0));
    }

    /// The slot being filled would make a rate flicker.
    #[test]
    fn the_present_slot_is_left_out() {
        let mut window = RateWindow::default();
        for ms in 0..5000 {
            window.at(at(ms)).adds += 1;
        }
        window.at(at(5001)).adds += 700;
        assert_eq!(window.rates(at(5050)).adds, 1000.0);
    }

    #[test]
    fn silence_ends_it() {
        let mut window = RateWindow::default();
        for ms in 0..3000 {
            window.at(at(ms)).adds += 1;
        }
        assert_eq!(window.rates(at(3500)).adds, 500.0);
        assert_eq!(window.rates(at(4100)).adds, 0.0);
        assert_eq!(window.rates(at(400_000)).adds, 0.0);
    }

    #[test]
    fn a_young_run_counts_the_time_there_is() {
        let mut window = RateWindow::default();
        for ms in 0..=200 {
            window.at(at(ms)).adds += 1;
        }
        assert_eq!(window.rates(at(200)).adds, 1005.0);
    }

    #[test]
    fn late_and_forged_times_do_no_harm() {
        let mut window = RateWindow::default();
        window.at(Timestamp::from_nanos(u64::MAX)).adds += 1;
        window.at(Timestamp::from_nanos(0)).adds += 1;
        assert_eq!(window.rates(Timestamp::from_nanos(0)).adds, 0.0);
        assert!(window.rates(Timestamp::from_nanos(u64::MAX)).adds > 0.0);
    }
}
