//! A device that takes nothing though buffers are available.

use std::sync::Arc;

use virtscope_record::Timestamp;

use super::case::{Case, Ended, is_cut, is_request};
use super::finding::{Evidence, Found, Verdict};
use super::lost_kick::{is_cut_with, is_made_up_for, is_unanswered};
use super::signs::Signs;
use super::stuck_request::STUCK_NS;
use super::{About, Detector, FindingCode, Severity, Tally, count};
use crate::format_duration;
use crate::life::{Life, Outcome};

pub(super) const ABOUT: About = About {
    severity: Severity::Error,
    sentence: "The device took no buffer for two seconds or more though some were available.",
    spec: "virtio 1.4 §2.7.14, §2.6",
    advice: "See whether the device's thread runs at all (stopped, blocked in a request, a vhost \
             worker gone), and whether it gave up the ring after an error in its log.",
};

/// Times in which the device took nothing.
#[derive(Default, Debug)]
pub(super) struct DeviceNotConsuming {
    over: Tally,
    longest_ns: u64,
    /// Those that waited until a reset.
    cut: Tally,
    cut_at: Option<Timestamp>,
}

impl Detector for DeviceNotConsuming {
    const CODE: FindingCode = FindingCode::DeviceNotConsuming;

    #[inline]
    fn life(&mut self, ended: &Ended<'_>) {
        let (life, moments) = (ended.life, &ended.life.moments);
        if let Some(added) = moments.added
            && let Some(end) = moments.taken.or(moments.used)
            && end.nanos_since(added) >= STUCK_NS
            && is_request(life)
        {
            self.late(life, added, end, ended.signs);
        } else if is_cut(life) && is_request(life) {
            self.cut(life, ended.signs);
        }
    }

    fn judge(&self, case: &Case<'_>) -> Verdict {
        let now = self.now(case);
        let cut = self.cut.count;
        if self.over.count + cut == 0 && now.is_none() {
            return Verdict::Nothing;
        }
        if let (Some(doubt), true) = (case.doubt, cut > 0) {
            return Verdict::Undecided(format!(
                "A request was not seen to be taken until a reset, but {doubt}"
            ));
        }
        let mut evidence = self.over.evidence.clone();
        let mut summary = format!(
            "{} before the device took anything, the longest for {}.",
            count(self.over.count, "request waited", "requests waited"),
            format_duration(self.longest_ns)
        );
        if cut > 0 {
            evidence.splice(0..0, self.cut.evidence.iter().cloned());
            summary = "The device took nothing until the queue was reset or taken down.".to_owned();
        }
        let mut waiting = 0;
        if let Some((many, life)) = now {
            if let Some(doubt) = case.doubt {
                return Verdict::Undecided(format!(
                    "{} not seen to be taken, but {doubt}",
                    count(many, "request is", "requests are")
                ));
            }
            waiting = many;
            let added = life.moments.added.unwrap_or_default();
            let kicks = case.signs.kicks.between(added, case.now).count();
            let since = format_duration(case.since(added));
            summary = format!(
                "The device has taken nothing for {since}: {} for it.",
                count(many, "request waits", "requests wait")
            );
            let text = format!(
                "the oldest that waits, for {since}; the device was notified {} since",
                super::times(kicks as u64)
            );
            evidence.insert(0, Evidence::at(added, text).of(&Arc::new(life)));
        }
        let waits = (waiting > 0).then_some(case.now);
        Verdict::Found(Found {
            summary,
            count: self.over.count + cut + waiting,
            first: self.over.first.or(self.cut.first).or_else(|| {
                let ns = evidence.first().and_then(|piece| piece.time_ns)?;
                Some(Timestamp::from_nanos(ns))
            }),
            last: waits.or(self.cut.last).or(self.over.last),
            evidence,
        })
    }
}

impl DeviceNotConsuming {
    #[cold]
    fn late(&mut self, life: &Life, added: Timestamp, end: Timestamp, signs: &Signs) {
        let Outcome::Complete(_) = life.outcome else {
            return;
        };
        let since = match life.moments.taken {
            Some(_) => added,
            // The device may have taken it at once and be slow. That nothing at all
            // came back meanwhile, though it was notified again, speaks against it.
            None => signs
                .used
                .last_before(end)
                .map_or(added, |used| used.max(added)),
        };
        let quiet = end.nanos_since(since);
        let kicks = signs.kicks.between(since, end).count();
        let enough = match (life.moments.taken, life.moments.kicked) {
            (Some(taken), Some(kicked)) => {
                let kicked_for = life.kick.is_some_and(|kick| kick.needed);
                !(kicked_for && is_made_up_for(kicked, taken, signs))
            }
            (None, _) => kicks >= 2,
            (Some(_), None) => false,
        };
        if quiet < STUCK_NS || !enough {
            return;
        }
        self.longest_ns = self.longest_ns.max(quiet);
        self.over.add(added, || {
            let text = format!("waited {} until the device took it", format_duration(quiet));
            Evidence::at(added, text).of(&Arc::new(life.clone()))
        });
    }

    #[cold]
    fn cut(&mut self, life: &Life, signs: &Signs) {
        let now = signs.now;
        let oldest = !is_cut_with(self.cut_at, now);
        let moments = &life.moments;
        let (Some(added), None, None) = (moments.added, moments.taken, moments.returned) else {
            return;
        };
        self.cut_at = Some(now);
        let waited = now.nanos_since(added);
        let told = match moments.kicked {
            _ if !oldest || waited < STUCK_NS => false,
            Some(kicked) if signs.device_half => {
                let kicked_for = life.kick.is_some_and(|kick| kick.needed);
                !(kicked_for && is_unanswered(kicked, now, signs))
            }
            _ => {
                let since = signs.used.last_before(now).unwrap_or(added).max(added);
                now.nanos_since(since) >= STUCK_NS && signs.kicks.between(since, now).count() >= 2
            }
        };
        if told {
            self.cut.add(added, || {
                let text = format!("waited {} and was not taken", format_duration(waited));
                Evidence::at(added, text).of(&Arc::new(life.clone()))
            });
        }
    }

    /// How many requests wait now for a device that takes nothing, and the oldest.
    fn now(&self, case: &Case<'_>) -> Option<(u64, Life)> {
        let life = case.first_untaken()?;
        let added = life.moments.added?;
        let signs = case.signs;
        if case.device_half_known() {
            let kicked = life.moments.kicked?;
            let is_lost_kick =
                life.kick.is_some_and(|kick| kick.needed) && is_unanswered(kicked, case.now, signs);
            if is_lost_kick {
                return None;
            }
        } else {
            let since = signs.used.last_before(case.now).unwrap_or(added).max(added);
            let kicks = signs.kicks.between(since, case.now).count();
            if case.since(since) < STUCK_NS || kicks < 2 {
                return None;
            }
        }
        Some((case.untaken(), life))
    }
}
