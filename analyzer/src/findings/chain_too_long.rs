//! Buffers of so many segments that the ring holds one of them at a time, or none.

use virtscope_record::{Add, Body, FeatureBits, Flags};

use super::case::{Case, Seen};
use super::finding::{Evidence, Found, Verdict};
use super::{About, Detector, FindingCode, Severity, Tally, count, times};

/// How many buffers of more than half the ring there must be; a few large ones among
/// many small do no harm.
pub(super) const LEAST_LONG: u64 = 100;
/// Their share of all buffers, in percent.
pub(super) const LONG_PERCENT: u64 = 10;

pub(super) const ABOUT: About = About {
    severity: Severity::Warning,
    sentence: "Buffers have so many segments that without indirect descriptors the ring holds one at \
               a time, or none.",
    spec: "virtio 1.4 §2.7.5.3, §2.7.5.3.1, §2.8.19",
    advice: "Negotiate VIRTIO_F_INDIRECT_DESC, give the queue more entries, or use fewer and larger \
             segments; a buffer of more segments than the ring has entries can never be added.",
};

/// Buffers that are long for their ring.
#[derive(Default, Debug)]
pub(super) struct ChainTooLong {
    /// More segments than the ring has entries.
    never: Tally,
    /// More than half of the ring each.
    long: Tally,
}

impl Detector for ChainTooLong {
    const CODE: FindingCode = FindingCode::ChainTooLong;

    #[inline(always)]
    fn record(&mut self, seen: &Seen<'_>) {
        match seen.body {
            Body::Add(add) if u32::from(add.descriptors) * 2 > u32::from(seen.size) => {
                self.long(seen, add);
            }
            Body::AddFailed(add) if segments(add) > u32::from(seen.size) => self.never(seen, add),
            _ => {}
        }
    }

    fn judge(&self, case: &Case<'_>) -> Verdict {
        let facts = case.queue.facts.as_ref();
        let indirect =
            facts.is_some_and(|facts| facts.features.contains(FeatureBits::INDIRECT_DESC));
        let hint = if indirect {
            ""
        } else {
            " without VIRTIO_F_INDIRECT_DESC"
        };
        if self.never.count > 0 {
            return Verdict::Found(Found {
                summary: format!(
                    "A buffer with more segments than the ring has entries was refused {}{hint}.",
                    times(self.never.count)
                ),
                count: self.never.count,
                first: self.never.first,
                last: self.never.last,
                evidence: self.never.evidence.clone(),
            });
        }
        let (long, adds) = (self.long.count, case.queue.counts.adds);
        let percent = long.saturating_mul(100).checked_div(adds).unwrap_or(0);
        if long < LEAST_LONG || percent < LONG_PERCENT {
            return Verdict::Nothing;
        }
        Verdict::Found(Found {
            summary: format!(
                "{} more than half of the ring{hint}, so that it holds one of them at a time.",
                count(long, "buffer takes", "buffers take")
            ),
            count: long,
            first: self.long.first,
            last: self.long.last,
            evidence: self.long.evidence.clone(),
        })
    }
}

fn segments(add: &Add) -> u32 {
    u32::from(add.readable_segments) + u32::from(add.writable_segments)
}

impl ChainTooLong {
    #[cold]
    fn long(&mut self, seen: &Seen<'_>, add: &Add) {
        if seen.size == 0 || seen.record.flags().contains(Flags::INDIRECT) || add.descriptors < 2 {
            return;
        }
        self.long.add(seen.time, || {
            let text = format!(
                "id {} takes {} of {} descriptors",
                add.head, add.descriptors, seen.size
            );
            Evidence::at(seen.time, text)
        });
    }

    #[cold]
    fn never(&mut self, seen: &Seen<'_>, add: &Add) {
        if seen.size == 0 {
            return;
        }
        self.never.add(seen.time, || {
            let text = format!(
                "{} segments refused with error {}; the ring has {} entries",
                segments(add),
                add.error,
                seen.size
            );
            Evidence::at(seen.time, text)
        });
    }
}
