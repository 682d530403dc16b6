//! An interrupt that was sent and called nobody back.

use std::sync::Arc;

use virtscope_record::Timestamp;

use super::case::{Case, Ended, is_cut, is_request};
use super::finding::{Evidence, Found, Verdict};
use super::signs::Signs;
use super::stuck_request::STUCK_NS;
use super::{About, Detector, FindingCode, Severity, Tally, count};
use crate::format_duration;
use crate::life::{Life, Outcome};

/// How long a returned buffer must have lain there between the interrupt that was
/// lost and what made the driver look. A busy machine may well keep a guest's
/// interrupt handling waiting for tens of milliseconds.
pub(super) const LOST_INTERRUPT_NS: u64 = 1_000_000_000;
/// The next interrupt must have been followed by its callback at once: within this
/// part of the time the buffer lay there.
const PROMPT_PART: u64 = 10;
/// Among more interrupts than these, that the last was answered at once says nothing.
const MOST_BETWEEN: usize = 4;

pub(super) const ABOUT: About = About {
    severity: Severity::Error,
    sentence: "The device returned a buffer and interrupted, and no callback ran.",
    spec: "virtio 1.4 §2.7.7, §2.7.14, §2.8.10",
    advice: "Look at what carries the interrupt (irqfd, MSI-X routing and masking, the vector's \
             CPU affinity), and in the driver at the order of: enable callbacks, full barrier, \
             look at the used ring once more.",
};

/// Interrupts that only the next one made up for, or the driver's own look, or
/// nothing yet.
#[derive(Default, Debug)]
pub(super) struct LostInterrupt {
    over: Tally,
    /// Those that lay there until a reset.
    cut: Tally,
}

impl Detector for LostInterrupt {
    const CODE: FindingCode = FindingCode::LostInterrupt;

    #[inline]
    fn life(&mut self, ended: &Ended<'_>) {
        let (life, moments) = (ended.life, &ended.life.moments);
        if let Some(sent) = moments.interrupt_sent
            && let Some(found) = moments.callback.or(moments.used)
            && found.nanos_since(sent) >= LOST_INTERRUPT_NS
        {
            self.late(life, sent, found, ended.signs);
        } else if let Some(sent) = moments.interrupt_sent
            && is_cut(life)
        {
            self.cut(life, sent, ended.signs);
        }
    }

    fn judge(&self, case: &Case<'_>) -> Verdict {
        let mut found = Found {
            count: self.over.count,
            first: self.over.first,
            last: self.over.last,
            evidence: self.over.evidence.clone(),
            ..Found::default()
        };
        if self.cut.count > 0 {
            if let Some(doubt) = case.doubt {
                return Verdict::Undecided(format!(
                    "An interrupt was sent and no callback was seen until a reset, but {doubt}"
                ));
            }
            found.count += self.cut.count;
            found.first = found.first.or(self.cut.first);
            found.last = self.cut.last;
            found
                .evidence
                .splice(0..0, self.cut.evidence.iter().cloned());
        }
        let (mut waiting, mut oldest) = (0, 0);
        for life in case.stuck_requests() {
            let Some(sent) = life.moments.interrupt_sent else {
                continue;
            };
            let age = case.since(sent);
            let answered = case
                .signs
                .callbacks
                .between(sent, case.now)
                .next()
                .is_some();
            if age < STUCK_NS || answered {
                continue;
            }
            if let Some(doubt) = case.doubt {
                return Verdict::Undecided(format!(
                    "An interrupt was sent {} ago and no callback was seen, but {doubt}",
                    format_duration(age)
                ));
            }
            waiting += 1;
            oldest = oldest.max(age);
            let text = format!(
                "returned, the interrupt sent, and {} later neither called back nor taken back",
                format_duration(age)
            );
            found.count += 1;
            found.first = found.first.or(Some(sent));
            found.last = Some(sent);
            let piece = Evidence::at(sent, text).of(&Arc::new(life));
            found.evidence.insert(0, piece);
        }
        found.evidence.truncate(super::MOST_EVIDENCE);
        if found.count == 0 {
            return self.without_the_device_half(case);
        }
        found.summary = match waiting {
            0 if self.cut.count > 0 => format!(
                "{} lay in the ring until it was reset or taken down, for the interrupt was lost.",
                count(self.cut.count, "returned buffer", "returned buffers")
            ),
            0 => format!(
                "{} found late, for the interrupt that announced them was lost.",
                count(found.count, "returned buffer was", "returned buffers were")
            ),
            many => format!(
                "An interrupt was lost: {} for {}, and no callback has run.",
                count(many, "buffer has been back", "buffers have been back"),
                format_duration(oldest)
            ),
        };
        Verdict::Found(found)
    }
}

impl LostInterrupt {
    #[cold]
    fn cut(&mut self, life: &Life, sent: Timestamp, signs: &Signs) {
        let waited = signs.now.nanos_since(sent);
        let answered = signs.callbacks.between(sent, signs.now).next().is_some();
        if waited < STUCK_NS || answered {
            return;
        }
        self.cut.add(sent, || {
            let text = format!(
                "returned, the interrupt sent, and {} later neither called back nor taken back",
                format_duration(waited)
            );
            Evidence::at(sent, text).of(&Arc::new(life.clone()))
        });
    }

    #[cold]
    fn late(&mut self, life: &Life, sent: Timestamp, found: Timestamp, signs: &Signs) {
        let Outcome::Complete(_) = life.outcome else {
            return;
        };
        let waited = found.nanos_since(sent);
        let how = if life.moments.callback.is_none() {
            "found by looking"
        } else {
            // Called back in the end: by an interrupt sent later, or late by this one?
            let between: Vec<_> = signs.interrupts.between(sent, found).collect();
            let Some(last) = between.last() else { return };
            let prompt = found.nanos_since(*last) <= waited / PROMPT_PART;
            if between.len() > MOST_BETWEEN || !prompt {
                return;
            }
            "announced only by the next interrupt"
        };
        self.over.add(sent, || {
            let text = format!(
                "returned, the interrupt sent, and {} later {how}",
                format_duration(waited)
            );
            Evidence::at(sent, text).of(&Arc::new(life.clone()))
        });
    }

    /// What a guest alone can say: that a request does not come back.
    fn without_the_device_half(&self, case: &Case<'_>) -> Verdict {
        let stuck = case.first_untaken().filter(is_request);
        match stuck {
            Some(life) if !case.device_half_known() && life.moments.kicked.is_some() => {
                Verdict::Undecided(
                    "A request does not come back, but the device's half left no records: it may \
                     have returned it"
                        .to_owned(),
                )
            }
            _ => Verdict::Nothing,
        }
    }
}
