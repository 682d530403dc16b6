//! A thread that kicks for each buffer though the next is at hand.

use virtscope_record::{Body, Flags, Timestamp};

use super::case::{Case, Seen};
use super::finding::{Evidence, Found, Verdict};
use super::{About, Detector, FindingCode, Severity, Tally};

/// A buffer added so soon after its thread's last kick, and with nothing back in
/// between that it could have waited for, could have shared that kick.
pub(super) const CLOSE_NS: u64 = 50_000;
/// The least number of kicks that could have been saved.
pub(super) const LEAST_KICKS: u64 = 1000;
/// Their share of all kicks that were sent, in percent.
pub(super) const KICKS_PERCENT: u64 = 50;

pub(super) const ABOUT: About = About {
    severity: Severity::Notice,
    sentence: "The driver notifies the device of each buffer by itself, though the next one follows \
               at once.",
    spec: "virtio 1.4 §2.7.13, §2.7.13.4",
    advice: "Add all buffers that are at hand before the kick, as virtqueue_kick after several \
             virtqueue_add_sgs; negotiate VIRTIO_F_EVENT_IDX, so that a device that is awake is \
             not kicked.",
};

/// Kicks that could have been saved.
#[derive(Default, Debug)]
pub(super) struct KicksWithoutBatching {
    /// The thread of the latest kick that was sent, when, and how many buffers had
    /// come back by then.
    kick: Option<(u32, Timestamp, u64)>,
    used: u64,
    saved: Tally,
}

impl Detector for KicksWithoutBatching {
    const CODE: FindingCode = FindingCode::KicksWithoutBatching;

    #[inline(always)]
    fn record(&mut self, seen: &Seen<'_>) {
        match seen.body {
            Body::Kick(_) if seen.record.flags().contains(Flags::NOTIFICATION_NEEDED) => {
                self.kick = Some((seen.record.thread(), seen.time, self.used));
            }
            Body::Used(_) => self.used += 1,
            Body::Add(_) => {
                if let Some((thread, time, used)) = self.kick
                    && used == self.used
                    && seen.time.nanos_since(time) <= CLOSE_NS
                    && thread == seen.record.thread()
                {
                    self.kick = None;
                    self.saved.add(time, || {
                        let ns = seen.time.nanos_since(time);
                        let text =
                            format!("thread {thread} kicked, and added the next {ns} ns later");
                        Evidence::at(time, text)
                    });
                }
            }
            _ => {}
        }
    }

    fn judge(&self, case: &Case<'_>) -> Verdict {
        let (saved, sent) = (self.saved.count, case.queue.counts.kicks.sent);
        let percent = saved.saturating_mul(100).checked_div(sent).unwrap_or(0);
        if saved < LEAST_KICKS || percent < KICKS_PERCENT {
            return Verdict::Nothing;
        }
        Verdict::Found(Found {
            summary: format!(
                "{saved} of {sent} kicks ({percent} %) could have been saved: the same thread added \
                 the next buffer at once."
            ),
            count: saved,
            first: self.saved.first,
            last: self.saved.last,
            evidence: self.saved.evidence.clone(),
        })
    }
}
