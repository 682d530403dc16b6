//! How full a ring is and was.

use virtscope_record::Timestamp;

/// Occupancy of one queue, over all its generations.
#[derive(Clone, Default, Debug)]
pub struct OccupancyView {
    /// Entries of the ring, if known.
    pub size: Option<u16>,
    /// Buffers in flight.
    pub in_flight: Level,
    /// Descriptors in use; stays at zero if the ring's size is not known.
    pub descriptors: Level,
    /// Time observed, ns: what the means are over.
    pub observed_ns: u64,
    /// Time without a free descriptor, ns.
    pub full_ns: u64,
    /// Adds refused, whatever the reason.
    pub refused: u64,
    /// Adds refused for want of descriptors (ENOSPC).
    pub refused_no_space: u64,
    /// Over the whole run, coarser as it gets longer.
    pub history: History,
}

/// A level over time.
#[derive(Clone, Copy, PartialEq, Default, Debug)]
pub struct Level {
    /// At this moment.
    pub now: u32,
    /// Weighted by time.
    pub mean: f64,
    /// The highest.
    pub peak: u32,
}

/// Equal stretches of time from the start of the run to now.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct History {
    /// When the first bucket begins.
    pub start: Timestamp,
    /// Length of each bucket, ns. Doubles when the run outgrows the buckets.
    pub bucket_ns: u64,
    /// Oldest first; the last one is still filling. At most
    /// [`History::MAX_BUCKETS`].
    pub buckets: Vec<HistoryBucket>,
}

impl History {
    /// Most buckets there ever are.
    pub const MAX_BUCKETS: usize = 600;
}

/// One stretch of time.
#[derive(Clone, Copy, PartialEq, Default, Debug)]
pub struct HistoryBucket {
    /// Mean buffers in flight, weighted by time.
    pub mean_in_flight: f64,
    /// Most buffers in flight.
    pub peak_in_flight: u32,
    /// Mean descriptors in use, weighted by time.
    pub mean_descriptors: f64,
    /// Most descriptors in use.
    pub peak_descriptors: u32,
    /// Time without a free descriptor, ns.
    pub full_ns: u64,
}

/// Follows the occupancy of one queue.
#[derive(Clone, Debug, Default)]
pub(crate) struct Occupancy {
    size: Option<u16>,
    /// The moment up to which everything below is added up.
    at: Option<Timestamp>,
    /// The moment that time has come to: what lies between is added up once a level
    /// changes.
    now: Timestamp,
    observed_ns: u64,
    full_ns: u64,
    in_flight: Gauge,
    descriptors: Gauge,
    /// Nothing can be added: no descriptor is free.
    full: bool,
    refused: u64,
    refused_no_space: u64,
    bins: Bins,
}

#[derive(Clone, Copy, Debug, Default)]
struct Gauge {
    now: u32,
    peak: u32,
    /// Level times nanoseconds.
    area: u128,
}

impl Gauge {
    fn set(&mut self, level: u32) {
        self.now = level;
        self.peak = self.peak.max(level);
    }

    fn hold(&mut self, ns: u64) {
        self.area += u128::from(self.now) * u128::from(ns);
    }

    fn level(&self, observed_ns: u64) -> Level {
        Level {
            now: self.now,
            mean: mean(self.area, observed_ns),
            peak: self.peak,
        }
    }
}

fn mean(area: u128, ns: u64) -> f64 {
    if ns == 0 {
        return 0.0;
    }
    area as f64 / ns as f64
}

impl Occupancy {
    pub(crate) fn set_size(&mut self, size: u16) {
        self.size = (size > 0).then_some(size);
    }

    /// Lets time pass at the present levels. Time that goes back is not counted
    /// twice.
    #[inline]
    pub(crate) fn advance(&mut self, now: Timestamp) {
        if self.at.is_none() {
            self.at = Some(now);
            self.bins.begin(now);
        }
        self.now = self.now.max(now);
    }

    /// Adds up what was held until now.
    fn add_up(&mut self) {
        let Some(at) = self.at else {
            return;
        };
        let ns = self.now.nanos_since(at);
        if ns == 0 {
            return;
        }
        self.at = Some(self.now);
        // Saturating, here and below: a clock that is set back lets as much time pass as it
        // likes.
        self.observed_ns = self.observed_ns.saturating_add(ns);
        if self.full {
            self.full_ns = self.full_ns.saturating_add(ns);
        }
        self.in_flight.hold(ns);
        self.descriptors.hold(ns);
        let levels = Levels {
            in_flight: self.in_flight.now,
            descriptors: self.descriptors.now,
            full: self.full,
        };
        self.bins.hold(at, ns, levels);
    }

    /// The clock was set back to `now`: what comes is added up from there on, and
    /// the history goes on where it was.
    pub(crate) fn set_back(&mut self, now: Timestamp) {
        self.add_up();
        self.now = now;
        if let Some(at) = self.at.replace(now) {
            self.bins.set_back(at.nanos_since(now));
        }
    }

    #[inline]
    pub(crate) fn set_in_flight(&mut self, count: u32) {
        if count != self.in_flight.now {
            self.add_up();
            self.in_flight.set(count);
            self.note_peaks();
        }
    }

    /// The driver says how many descriptors are free.
    pub(crate) fn set_free(&mut self, free: u16) {
        if let Some(size) = self.size {
            let used = size.saturating_sub(free).into();
            if used != self.descriptors.now || self.full != (free == 0) {
                self.add_up();
                self.full = free == 0;
                self.descriptors.set(used);
                self.note_peaks();
            }
        }
    }

    pub(crate) fn refused(&mut self, no_space: bool) {
        self.refused += 1;
        self.refused_no_space += u64::from(no_space);
    }

    /// A reset empties the ring.
    pub(crate) fn empty(&mut self) {
        self.add_up();
        self.in_flight.set(0);
        self.descriptors.set(0);
        self.full = false;
    }

    pub(crate) fn view(&self, now: Option<Timestamp>) -> OccupancyView {
        let mut to_now = self.clone();
        if let (Some(now), Some(_)) = (now, self.at) {
            to_now.advance(now);
        }
        to_now.add_up();
        OccupancyView {
            size: to_now.size,
            in_flight: to_now.in_flight.level(to_now.observed_ns),
            descriptors: to_now.descriptors.level(to_now.observed_ns),
            observed_ns: to_now.observed_ns,
            full_ns: to_now.full_ns,
            refused: to_now.refused,
            refused_no_space: to_now.refused_no_space,
            history: to_now.bins.view(),
        }
    }

    fn note_peaks(&mut self) {
        if let Some(at) = self.at {
            self.bins.peak(at, self.in_flight.now, self.descriptors.now);
        }
    }
}

/// The history in the making: bins of equal length that are merged in pairs when
/// there would be too many.
#[derive(Clone, Debug)]
struct Bins {
    start: Timestamp,
    bin_ns: u64,
    bins: Vec<Bin>,
    /// The bin that was written to last, and where it begins.
    filling: usize,
    filling_from: u64,
}

/// What is held for a while.
#[derive(Clone, Copy, Debug)]
struct Levels {
    in_flight: u32,
    descriptors: u32,
    full: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Bin {
    ns: u64,
    full_ns: u64,
    in_flight_area: u128,
    descriptors_area: u128,
    in_flight_peak: u32,
    descriptors_peak: u32,
}

impl Bin {
    #[inline]
    fn hold(&mut self, ns: u64, levels: Levels) {
        self.ns = self.ns.saturating_add(ns);
        if levels.full {
            self.full_ns = self.full_ns.saturating_add(ns);
        }
        self.in_flight_area += u128::from(levels.in_flight) * u128::from(ns);
        self.descriptors_area += u128::from(levels.descriptors) * u128::from(ns);
        self.peak(levels.in_flight, levels.descriptors);
    }

    #[inline]
    fn peak(&mut self, in_flight: u32, descriptors: u32) {
        self.in_flight_peak = self.in_flight_peak.max(in_flight);
        self.descriptors_peak = self.descriptors_peak.max(descriptors);
    }
}

impl Default for Bins {
    fn default() -> Self {
        Self {
            start: Timestamp::default(),
            bin_ns: 1_000_000,
            bins: Vec::new(),
            filling: 0,
            filling_from: 0,
        }
    }
}

impl Bins {
    fn begin(&mut self, start: Timestamp) {
        self.start = start;
    }

    /// The clock was set back by so much: so was the start, as far as that goes.
    fn set_back(&mut self, ns: u64) {
        self.start = Timestamp::from_nanos(self.start.as_nanos().saturating_sub(ns));
    }

    #[inline]
    fn hold(&mut self, from: Timestamp, ns: u64, levels: Levels) {
        let offset = from.nanos_since(self.start);
        // Nearly every stretch lies in the bin that is being filled.
        if let Some(into) = offset.checked_sub(self.filling_from)
            && into < self.bin_ns
            && ns <= self.bin_ns - into
            && let Some(bin) = self.bins.get_mut(self.filling)
        {
            bin.hold(ns, levels);
            return;
        }
        self.hold_over_bins(offset, ns, levels);
    }

    #[cold]
    fn hold_over_bins(&mut self, mut offset: u64, ns: u64, levels: Levels) {
        let end = offset.saturating_add(ns);
        // Make room first, so that no bin moves meanwhile.
        self.bin_at(end);
        while offset < end {
            let (bin_ns, bin) = (self.bin_ns, self.bin_at(offset));
            let ns = (bin_ns - offset % bin_ns).min(end - offset);
            bin.hold(ns, levels);
            offset += ns;
        }
        // What comes next begins where this ended.
        self.bin_at(end);
    }

    #[inline]
    fn peak(&mut self, at: Timestamp, in_flight: u32, descriptors: u32) {
        let offset = at.nanos_since(self.start);
        let into = offset.checked_sub(self.filling_from);
        let is_filling = into.is_some_and(|into| into < self.bin_ns);
        let bin = if is_filling && self.filling < self.bins.len() {
            &mut self.bins[self.filling]
        } else {
            self.bin_at(offset)
        };
        bin.peak(in_flight, descriptors);
    }

    fn bin_at(&mut self, offset: u64) -> &mut Bin {
        while offset / self.bin_ns >= History::MAX_BUCKETS as u64 {
            self.halve();
        }
        let number = (offset / self.bin_ns) as usize;
        if number >= self.bins.len() {
            self.bins.resize(number + 1, Bin::default());
        }
        self.filling = number;
        self.filling_from = number as u64 * self.bin_ns;
        &mut self.bins[number]
    }

    fn halve(&mut self) {
        // No bin is where it was.
        (self.filling, self.filling_from) = (usize::MAX, 0);
        self.bin_ns *= 2;
        self.bins = self
            .bins
            .chunks(2)
            .map(|pair| {
                pair.iter().fold(Bin::default(), |sum, bin| Bin {
                    ns: sum.ns.saturating_add(bin.ns),
                    full_ns: sum.full_ns.saturating_add(bin.full_ns),
                    in_flight_area: sum.in_flight_area + bin.in_flight_area,
                    descriptors_area: sum.descriptors_area + bin.descriptors_area,
                    in_flight_peak: sum.in_flight_peak.max(bin.in_flight_peak),
                    descriptors_peak: sum.descriptors_peak.max(bin.descriptors_peak),
                })
            })
            .collect();
    }

    fn view(&self) -> History {
        History {
            start: self.start,
            bucket_ns: self.bin_ns,
            buckets: self
                .bins
                .iter()
                .map(|bin| HistoryBucket {
                    mean_in_flight: mean(bin.in_flight_area, bin.ns),
                    peak_in_flight: bin.in_flight_peak,
                    mean_descriptors: mean(bin.descriptors_area, bin.ns),
                    peak_descriptors: bin.descriptors_peak,
                    full_ns: bin.full_ns,
                })
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(ns: u64) -> Timestamp {
        Timestamp::from_nanos(ns)
    }

    /// A hostile clock: all the time there is, and then once more.
    #[test]
    fn more_time_than_can_be_counted_does_no_harm() {
        let mut occupancy = Occupancy::default();
        occupancy.set_size(4);
        occupancy.advance(at(0));
        occupancy.set_in_flight(4);
        occupancy.set_free(0);
        for _ in 0..2 {
            occupancy.advance(at(u64::MAX));
            occupancy.set_back(at(0));
        }
        occupancy.advance(at(u64::MAX));
        let view = occupancy.view(None);
        assert_eq!((view.observed_ns, view.full_ns), (u64::MAX, u64::MAX));
    }

    #[test]
    fn means_are_weighted_by_time() {
        let mut occupancy = Occupancy::default();
        occupancy.set_size(4);
        occupancy.advance(at(1000));
        occupancy.set_in_flight(1);
        occupancy.set_free(0);
        occupancy.advance(at(1300));
        occupancy.set_in_flight(0);
        occupancy.set_free(4);
        occupancy.advance(at(1400));
        let view = occupancy.view(None);
        assert_eq!(view.observed_ns, 400);
        assert_eq!(view.full_ns, 300);
        assert_eq!(view.in_flight.mean, 0.75);
        assert_eq!(view.descriptors.mean, 3.0);
        assert_eq!((view.descriptors.peak, view.descriptors.now), (4, 0));
        assert_eq!(occupancy.view(Some(at(1800))).observed_ns, 800);
    }

    #[test]
    fn time_that_goes_back_is_not_counted_twice() {
        let mut occupancy = Occupancy::default();
        occupancy.advance(at(100));
        occupancy.set_in_flight(2);
        occupancy.advance(at(200));
        occupancy.advance(at(150));
        occupancy.advance(at(300));
        assert_eq!(occupancy.view(None).observed_ns, 200);
        assert_eq!(occupancy.view(None).in_flight.mean, 2.0);
    }

    #[test]
    fn the_longest_time_there_is_has_a_history() {
        let mut occupancy = Occupancy::default();
        occupancy.advance(at(0));
        occupancy.set_in_flight(3);
        occupancy.advance(at(u64::MAX));
        let view = occupancy.view(None);
        assert!(view.history.buckets.len() <= History::MAX_BUCKETS);
        assert_eq!(view.in_flight.mean, 3.0);
    }

    proptest! {
        /// However it is merged, the history holds the whole area.
        #[test]
        fn bins_keep_the_area(
            steps in prop::collection::vec((0_u64..2_000_000_000, 0_u32..100, 0_u16..3), 1..60),
            start in 0_u64..1 << 60,
        ) {
            let mut occupancy = Occupancy::default();
            occupancy.set_size(100);
            let mut now = start;
            let (mut area, mut full_ns) = (0_u128, 0);
            let (mut level, mut free) = (0, 100);
            occupancy.advance(at(now));
            for (ns, next, free_next) in steps {
                now += ns;
                area += u128::from(level) * u128::from(ns);
                full_ns += if free == 0 { ns } else { 0 };
                occupancy.advance(at(now));
                occupancy.set_in_flight(next);
                occupancy.set_free(free_next);
                (level, free) = (next, free_next);
            }
            // The last step may have changed no level.
            occupancy.add_up();
            prop_assert_eq!(occupancy.full_ns, full_ns);
            prop_assert_eq!(occupancy.in_flight.area, area);
            let bins = &occupancy.bins.bins;
            prop_assert_eq!(bins.iter().map(|bin| bin.in_flight_area).sum::<u128>(), area);
            prop_assert_eq!(bins.iter().map(|bin| bin.ns).sum::<u64>(), now - start);
            prop_assert_eq!(bins.iter().map(|bin| bin.full_ns).sum::<u64>(), full_ns);
            prop_assert_eq!(
                bins.iter().map(|bin| bin.in_flight_peak).max().unwrap_or(0),
                occupancy.in_flight.peak
            );
            prop_assert!(bins.len() <= History::MAX_BUCKETS);
        }
    }
}
