//! A kick that was sent and did not wake the device.

use std::sync::Arc;

use virtscope_record::Timestamp;

use super::case::{Case, Ended, is_cut, is_request};
use super::finding::{Evidence, Found, Verdict};
use super::signs::Signs;
use super::stuck_request::STUCK_NS;
use super::{About, Detector, FindingCode, Severity, Tally, count, times};
use crate::format_duration;
use crate::life::{Life, Outcome};

/// How long a buffer must have lain there between the kick that was lost and the one
/// that woke the device. A device's thread may be kept from running for some tens of
/// milliseconds by a busy machine, and then takes the buffer without another kick.
pub(super) const LOST_KICK_NS: u64 = 1_000_000_000;
/// The device must have been woken by the next kick: it took the buffer within this
/// part of the time it lay there.
const PROMPT_PART: u64 = 10;
/// A device that shows a sign of life this long after the buffer was made available
/// was awake, and needed no kick.
const AWAKE_NS: u64 = 1_000_000;
/// Without the device's half, that a request came back right after the next kick may
/// be chance; this often it is not.
const NO_CHANCE: u64 = 3;

pub(super) const ABOUT: About = About {
    severity: Severity::Error,
    sentence: "The driver notified the device of available buffers, and the device slept on.",
    spec: "virtio 1.4 §2.7.10, §2.7.13.4, §2.8.10",
    advice: "Look at what carries the notification (ioeventfd, irqfd, the vhost or VMM thread), \
             and in the device at the order of: ask for notifications, full barrier, look at the \
             ring once more, sleep.",
};

/// Kicks that only the next kick made up for, or nothing yet.
#[derive(Default, Debug)]
pub(super) struct LostKick {
    proved: Tally,
    /// Seen without the device's half.
    suspected: Tally,
    /// Those that nothing made up for until a reset.
    cut: Tally,
    /// When that was: of those cut at once, the oldest alone tells why.
    cut_at: Option<Timestamp>,
}

impl Detector for LostKick {
    const CODE: FindingCode = FindingCode::LostKick;

    #[inline]
    fn life(&mut self, ended: &Ended<'_>) {
        let (life, moments) = (ended.life, &ended.life.moments);
        let Some(kicked) = moments.kicked else { return };
        let Some(woken) = moments.taken.or(moments.used) else {
            if is_cut(life) && is_request(life) {
                self.cut(life, kicked, ended.signs);
            }
            return;
        };
        if woken.nanos_since(kicked) >= LOST_KICK_NS && is_request(life) {
            self.late(life, kicked, woken, ended.signs);
        }
    }

    fn judge(&self, case: &Case<'_>) -> Verdict {
        let mut found = Found {
            count: self.proved.count,
            first: self.proved.first,
            last: self.proved.last,
            evidence: self.proved.evidence.clone(),
            ..Found::default()
        };
        let mut asleep = None;
        if self.cut.count > 0 {
            if let Some(doubt) = case.doubt {
                return Verdict::Undecided(format!(
                    "A request was kicked and not seen to be taken until a reset, but {doubt}"
                ));
            }
            found.count += self.cut.count;
            found.first = found.first.or(self.cut.first);
            found.last = self.cut.last;
            found
                .evidence
                .splice(0..0, self.cut.evidence.iter().cloned());
        }
        if let Some(life) = case.first_untaken()
            && let Some(kicked) = life.moments.kicked
            && life.kick.is_some_and(|kick| kick.needed)
            && case.since(kicked) >= STUCK_NS
        {
            if let Some(doubt) = case.doubt {
                return undecided(case, kicked, doubt);
            }
            if !case.device_half_known() {
                return undecided(
                    case,
                    kicked,
                    "the device's half left no records: it may have taken the request",
                );
            }
            if is_unanswered(kicked, case.now, case.signs) {
                found.count += 1;
                found.first = found.first.or(Some(kicked));
                found.last = Some(kicked);
                let text = format!(
                    "kicked, and {} later not taken, with no sign of the device since",
                    format_duration(case.since(kicked))
                );
                let life = Arc::new(life);
                found
                    .evidence
                    .insert(0, Evidence::at(kicked, text).of(&life));
                asleep = Some(case.since(kicked));
            }
        }
        if found.count > 0 {
            found.summary = match asleep {
                Some(ns) => format!(
                    "A kick was lost: the device has slept on for {} over buffers it was notified of.",
                    format_duration(ns)
                ),
                None if self.cut.count > 0 => format!(
                    "{} lost: the device slept on until the queue was reset or taken down.",
                    count(found.count, "kick was", "kicks were")
                ),
                None => format!(
                    "{} lost: only the next kick woke the device.",
                    count(found.count, "kick was", "kicks were")
                ),
            };
            return Verdict::Found(found);
        }
        match self.suspected.count {
            0 => Verdict::Nothing,
            many if many >= NO_CHANCE && case.doubt.is_none() => Verdict::Found(Found {
                summary: format!("{many} times a request came back only after the next kick."),
                count: many,
                first: self.suspected.first,
                last: self.suspected.last,
                evidence: self.suspected.evidence.clone(),
            }),
            many => Verdict::Undecided(format!(
                "A request came back right after the next kick {}, but the device's half left no \
                 records, and that may be chance",
                times(many)
            )),
        }
    }
}

impl LostKick {
    #[cold]
    fn cut(&mut self, life: &Life, kicked: Timestamp, signs: &Signs) {
        let now = signs.now;
        let oldest = !is_cut_with(self.cut_at, now);
        self.cut_at = Some(now);
        let waited = now.nanos_since(kicked);
        let hung = waited >= STUCK_NS && life.moments.returned.is_none() && signs.device_half;
        let kicked_for = life.kick.is_some_and(|kick| kick.needed);
        if oldest && hung && kicked_for && is_unanswered(kicked, now, signs) {
            self.cut.add(kicked, || {
                let text = format!(
                    "kicked, and {} later not taken, with no sign of the device since",
                    format_duration(waited)
                );
                Evidence::at(kicked, text).of(&Arc::new(life.clone()))
            });
        }
    }

    #[cold]
    fn late(&mut self, life: &Life, kicked: Timestamp, woken: Timestamp, signs: &Signs) {
        let Outcome::Complete(_) = life.outcome else {
            return;
        };
        if !life.kick.is_some_and(|kick| kick.needed) {
            return;
        }
        if !is_made_up_for(kicked, woken, signs) {
            return;
        }
        let waited = woken.nanos_since(kicked);
        let text = format!(
            "kicked, and taken only {} later, right after the next kick",
            format_duration(waited)
        );
        let tally = match life.moments.taken {
            Some(_) => &mut self.proved,
            None => &mut self.suspected,
        };
        tally.add(kicked, || {
            Evidence::at(kicked, text).of(&Arc::new(life.clone()))
        });
    }
}

fn undecided(case: &Case<'_>, kicked: Timestamp, why: &str) -> Verdict {
    Verdict::Undecided(format!(
        "A request was kicked {} ago and is not known to have been taken, but {why}",
        format_duration(case.since(kicked))
    ))
}

/// Whether a life that was cut at `now` went with the one that was cut at `last`.
pub(super) fn is_cut_with(last: Option<Timestamp>, now: Timestamp) -> bool {
    last.is_some_and(|last| now.nanos_since(last) < STUCK_NS)
}

/// Whether nothing but the kick at `kicked` tried to wake the device by `now`, and it
/// showed no sign of being awake.
pub(super) fn is_unanswered(kicked: Timestamp, now: Timestamp, signs: &Signs) -> bool {
    signs.kicks.between(kicked, now).next().is_none() && is_unanswered_until(kicked, now, signs)
}

/// Whether the device, woken only by the kick after the one at `kicked`, took what that
/// one was about at `woken`.
pub(super) fn is_made_up_for(kicked: Timestamp, woken: Timestamp, signs: &Signs) -> bool {
    let waited = woken.nanos_since(kicked);
    let mut later = signs.kicks.between(kicked, woken);
    let (Some(next), None) = (later.next(), later.next()) else {
        return false;
    };
    woken.nanos_since(next) <= waited / PROMPT_PART && is_unanswered_until(kicked, next, signs)
}

fn is_unanswered_until(kicked: Timestamp, next: Timestamp, signs: &Signs) -> bool {
    let awake = Timestamp::from_nanos(kicked.as_nanos().saturating_add(AWAKE_NS));
    signs.device.between(awake, next).next().is_none()
}
