//! Messages too short for the reads and writes that are made.

use std::sync::Arc;

use crate::findings::case::{Case, Ended};
use crate::findings::finding::{Evidence, Found, Verdict};
use crate::findings::{About, Detector, FindingCode, Severity, Tally};
use crate::life::Life;
use crate::p9::MessageType;

/// An msize from which on each message moves enough that its way through the ring is
/// a small part of its cost: eight pages.
pub(in crate::findings) const ENOUGH: u32 = 32 * 1024;
/// The least that a client takes: reads that are shorter still are short by themselves.
const LEAST: u32 = 4096;
/// Bytes of a message that are no data (Linux `P9_IOHDRSZ`).
const OVERHEAD: u32 = 24;
/// The least number of reads and writes that filled their message.
pub(in crate::findings) const LEAST_FULL: u64 = 100;
/// Their share of all reads and writes, in percent.
pub(in crate::findings) const FULL_PERCENT: u64 = 50;

pub(in crate::findings) const ABOUT: About = About {
    severity: Severity::Warning,
    sentence: "Most reads and writes fill the longest message agreed on, and that is short.",
    spec: "9P2000.L (Tversion), virtio 1.4 §5 (device type 9)",
    advice: "Mount with a larger msize, like -o msize=131072; the server may offer less than is \
             asked for.",
};

/// Reads and writes that wanted longer messages.
#[derive(Default, Debug)]
pub(in crate::findings) struct Msize {
    /// Of the latest that filled its message.
    agreed: u32,
    all: u64,
    full: Tally,
    /// Those of which it is not known what was agreed on.
    unknown: Unknown,
}

#[derive(Default, Debug)]
struct Unknown {
    /// The most bytes that one read or write moved, and how often that was.
    most: u32,
    most_times: u64,
    all: u64,
}

impl Detector for Msize {
    const CODE: FindingCode = FindingCode::NineMsize;

    #[inline]
    fn life(&mut self, ended: &Ended<'_>) {
        if let Some(MessageType::Tread | MessageType::Twrite) = super::kind(ended.life) {
            self.moved(ended.life);
        }
    }

    fn judge(&self, _: &Case<'_>) -> Verdict {
        let enough = |many: u64, all: u64| many >= LEAST_FULL && many * 100 >= all * FULL_PERCENT;
        if !enough(self.full.count, self.all) {
            let Unknown {
                most,
                most_times,
                all,
            } = self.unknown;
            let short = (LEAST - OVERHEAD..ENOUGH - OVERHEAD).contains(&most);
            return if short && enough(most_times, all) {
                Verdict::Undecided(format!(
                    "{most_times} of {all} reads and writes move {most} bytes and none more, but the \
                     agreement on msize was not seen"
                ))
            } else {
                Verdict::Nothing
            };
        }
        Verdict::Found(Found {
            summary: format!(
                "{} of {} reads and writes fill a message of {} bytes: msize is too small.",
                self.full.count, self.all, self.agreed
            ),
            count: self.full.count,
            first: self.full.first,
            last: self.full.last,
            evidence: self.full.evidence.clone(),
        })
    }
}

impl Msize {
    #[inline]
    fn moved(&mut self, life: &Life) {
        let moved = u32::try_from(life.data_bytes).unwrap_or(u32::MAX);
        let Some(agreed) = life.subject.msize else {
            self.unknown.count(moved);
            return;
        };
        self.all += 1;
        if agreed < ENOUGH && moved.saturating_add(OVERHEAD) >= agreed {
            self.agreed = agreed;
            self.full(life, moved);
        }
    }

    fn full(&mut self, life: &Life, moved: u32) {
        let ended = life.moments.used.unwrap_or_default();
        self.full.add(ended, || {
            let text = format!(
                "{} moved {moved} bytes, all that a message holds",
                life.operation.name()
            );
            Evidence::at(ended, text).of(&Arc::new(life.clone()))
        });
    }
}

impl Unknown {
    fn count(&mut self, moved: u32) {
        self.all += 1;
        if moved > self.most {
            (self.most, self.most_times) = (moved, 0);
        }
        self.most_times += u64::from(moved == self.most);
    }
}
