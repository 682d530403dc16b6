//! Far more interrupts than there is work for.

use virtscope_record::{Body, Timestamp};

use super::case::{Case, Seen};
use super::finding::{Evidence, Verdict};
use super::{About, Detector, FindingCode, Passed, Severity, Tally, Window};
use crate::format_duration;

/// A stretch in which callbacks and returned buffers are counted.
const WINDOW_NS: u64 = 100_000_000;
/// Callbacks in it that may be a storm: a thousand a second.
pub(super) const STORM_CALLBACKS: u64 = 100;
/// Callbacks for each buffer taken back. One for each is no mitigation, but no storm.
pub(super) const STORM_RATIO: u64 = 4;
/// Such stretches that make a finding.
const LEAST_WINDOWS: u64 = 2;

pub(super) const ABOUT: About = About {
    severity: Severity::Warning,
    sentence: "The device interrupts many times more often than it returns buffers.",
    spec: "virtio 1.4 §2.7.7, §2.8.10",
    advice: "Look for a level-triggered interrupt that is not acknowledged (virtio 1.4 §4.1.4.5), a \
             device that ignores used_event or VIRTQ_AVAIL_F_NO_INTERRUPT, or a line that is shared \
             with another device.",
};

/// Stretches of time in which there was a storm.
#[derive(Default, Debug)]
pub(super) struct InterruptStorm {
    window: Window,
    callbacks: u64,
    used: u64,
    storms: Tally,
    worst: u64,
}

impl Detector for InterruptStorm {
    const CODE: FindingCode = FindingCode::InterruptStorm;

    #[inline(always)]
    fn record(&mut self, seen: &Seen<'_>) {
        match seen.body {
            Body::Used(_) => self.used += 1,
            Body::Callback(_) => {
                match self.window.pass(seen.time, WINDOW_NS) {
                    Passed::No => {}
                    Passed::Over(begun, _) => self.close(begun),
                    Passed::SetBack => (self.callbacks, self.used) = (0, 0),
                }
                self.callbacks += 1;
            }
            _ => {}
        }
    }

    fn judge(&self, _: &Case<'_>) -> Verdict {
        if self.storms.count < LEAST_WINDOWS {
            return Verdict::Nothing;
        }
        self.storms.verdict(|many| {
            format!(
                "An interrupt storm of {}: up to {} callbacks a second, nearly all with nothing to do.",
                format_duration(many * WINDOW_NS),
                self.worst * (1_000_000_000 / WINDOW_NS)
            )
        })
    }
}

impl InterruptStorm {
    fn close(&mut self, begun: Timestamp) {
        let (callbacks, used) = (self.callbacks, self.used);
        // A longer stretch than asked for holds no more callbacks than it may.
        if callbacks >= STORM_CALLBACKS && callbacks >= STORM_RATIO * used.max(1) {
            self.worst = self.worst.max(callbacks);
            self.storms.add(begun, || {
                let text = format!("{callbacks} callbacks and {used} buffers taken back in 100 ms");
                Evidence::at(begun, text)
            });
        }
        self.callbacks = 0;
        self.used = 0;
    }
}
