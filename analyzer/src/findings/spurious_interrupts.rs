//! Interrupts that find nothing used.

use virtscope_record::{Body, Flags};

use super::case::{Case, Seen};
use super::finding::{Evidence, Found, Verdict};
use super::{About, Detector, FindingCode, Severity, Tally};

/// The least number of callbacks that found nothing.
pub(super) const LEAST_SPURIOUS: u64 = 100;
/// The share of all callbacks, in percent. Some are to be expected: while the driver
/// takes buffers back, the device may return more and interrupt for them, and the
/// driver takes those too before it hears of it.
pub(super) const SPURIOUS_PERCENT: u64 = 30;

pub(super) const ABOUT: About = About {
    severity: Severity::Notice,
    sentence: "Many interrupts find nothing used.",
    spec: "virtio 1.4 §2.7.7, §2.8.10",
    advice: "Negotiate VIRTIO_F_EVENT_IDX, or see whether the device interrupts before it has \
             published its used index, whether the interrupt is shared, and whether the driver \
             polls although its callbacks are on.",
};

/// Callbacks that found nothing.
#[derive(Default, Debug)]
pub(super) struct SpuriousInterrupts {
    spurious: Tally,
}

impl Detector for SpuriousInterrupts {
    const CODE: FindingCode = FindingCode::SpuriousInterrupts;

    #[inline(always)]
    fn record(&mut self, seen: &Seen<'_>) {
        if let Body::Callback(callback) = seen.body
            && seen.record.flags().contains(Flags::SPURIOUS)
        {
            self.spurious.add(seen.time, || {
                let text = format!("a callback found nothing used at {}", callback.last_used);
                Evidence::at(seen.time, text)
            });
        }
    }

    fn judge(&self, case: &Case<'_>) -> Verdict {
        let (spurious, all) = (self.spurious.count, case.queue.counts.callbacks);
        let percent = spurious.saturating_mul(100).checked_div(all).unwrap_or(0);
        if spurious < LEAST_SPURIOUS || percent < SPURIOUS_PERCENT {
            return Verdict::Nothing;
        }
        Verdict::Found(Found {
            summary: format!("{spurious} of {all} interrupts ({percent} %) found nothing used."),
            count: spurious,
            first: self.spurious.first,
            last: self.spurious.last,
            evidence: self.spurious.evidence.clone(),
        })
    }
}
