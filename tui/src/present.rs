//! What time it is in a stream that goes on while nothing comes.
//!
//! A stream has the clock of whoever wrote it, and tells its time by its records
//! alone. Where none comes, as much time passes there as passes here: so a request
//! that hangs is seen to hang. What is said is never later than the writer's own
//! present, because a record is read after it was made.

use std::time::{Duration, Instant};

use virtscope_record::{Body, Record, Timestamp};

/// How long a record may be under way: a recorder holds it back until none earlier
/// can come, and hands on what it has ten times a second.
const UNDER_WAY: Duration = Duration::from_millis(250);

/// A recorder writes statistics every second, whatever happens. If they stay away for
/// so long, it is the recorder that stands still, or the way from it, and of the
/// requests nothing is known.
const HEARTBEATS_MISSED: Duration = Duration::from_secs(3);

/// The present of a stream.
#[derive(Debug, Default)]
pub(crate) struct Present {
    /// The time of the latest record.
    last: Option<Timestamp>,
    /// When it was seen that nothing came after it.
    since: Option<Instant>,
    /// The writer says regularly that it is there.
    has_heartbeats: bool,
    /// The writer has said that it is done.
    is_over: bool,
}

impl Present {
    /// A record has come.
    pub(crate) fn observe(&mut self, record: &Record) {
        self.last = Some(record.time());
        self.since = None;
        self.is_over = false;
        if let Ok(Body::Statistics(statistics)) = record.body() {
            self.is_over = statistics.is_final;
            self.has_heartbeats |= !statistics.is_final;
        }
    }

    /// What time it is in the stream, of which nothing more is there at `here`.
    pub(crate) fn at(&mut self, here: Instant) -> Option<Timestamp> {
        let last = self.last?;
        let silence = here.saturating_duration_since(*self.since.get_or_insert(here));
        let passed = match (self.is_over, self.has_heartbeats) {
            (true, _) => Duration::ZERO,
            (false, true) => silence.min(HEARTBEATS_MISSED),
            (false, false) => silence,
        };
        let ns = u64::try_from(passed.saturating_sub(UNDER_WAY).as_nanos()).unwrap_or(u64::MAX);
        Some(Timestamp::from_nanos(last.as_nanos().saturating_add(ns)))
    }

    /// For how long nothing has come, if something should have.
    pub(crate) fn silence(&self, here: Instant) -> Option<Duration> {
        let silence = here.saturating_duration_since(self.since?);
        (!self.is_over && silence >= HEARTBEATS_MISSED).then_some(silence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use virtscope_record::{Add, Common, Statistics};

    const SECOND: Duration = Duration::from_secs(1);

    fn add(ms: u64) -> Record {
        record(ms, Body::Add(Add::default()))
    }

    fn statistics(ms: u64, is_final: bool) -> Record {
        let statistics = Statistics {
            is_final,
            ..Statistics::default()
        };
        record(ms, Body::Statistics(statistics))
    }

    fn record(ms: u64, body: Body) -> Record {
        let common = Common {
            time: Timestamp::from_nanos(ms * 1_000_000),
            ..Common::default()
        };
        Record::new(common, body)
    }

    fn ms(present: &mut Present, here: Instant) -> Option<u64> {
        present.at(here).map(|now| now.as_nanos() / 1_000_000)
    }

    #[test]
    fn as_much_time_passes_there_as_here() {
        let here = Instant::now();
        let mut present = Present::default();
        assert_eq!(ms(&mut present, here), None, "no record, no clock");
        present.observe(&add(5_000));
        assert_eq!(ms(&mut present, here), Some(5_000));
        assert_eq!(present.silence(here + SECOND), None);
        assert_eq!(ms(&mut present, here + 10 * SECOND), Some(14_750));
        assert_eq!(present.silence(here + 10 * SECOND), Some(10 * SECOND));
        // What has come since begins anew, however late it is.
        present.observe(&add(6_000));
        assert_eq!(ms(&mut present, here + 10 * SECOND), Some(6_000));
        assert_eq!(ms(&mut present, here + 12 * SECOND), Some(7_750));
    }

    #[test]
    fn a_recorder_that_stands_still_lets_no_request_hang() {
        let here = Instant::now();
        let mut present = Present::default();
        present.observe(&statistics(5_000, false));
        present.observe(&add(5_100));
        assert_eq!(ms(&mut present, here), Some(5_100));
        assert_eq!(ms(&mut present, here + 60 * SECOND), Some(7_850));
        assert_eq!(present.silence(here + 60 * SECOND), Some(60 * SECOND));
    }

    #[test]
    fn what_is_over_has_no_present() {
        let here = Instant::now();
        let mut present = Present::default();
        present.observe(&add(5_000));
        present.observe(&statistics(5_100, true));
        assert_eq!(ms(&mut present, here), Some(5_100));
        assert_eq!(ms(&mut present, here + 60 * SECOND), Some(5_100));
        assert_eq!(present.silence(here + 60 * SECOND), None);
    }
}
