//! Requests given up one after the other.

use virtscope_record::Timestamp;

use crate::findings::case::{Case, Ended};
use crate::findings::finding::{Evidence, Verdict};
use crate::findings::{About, Detector, FindingCode, Passed, Severity, Tally, Window, count};
use crate::p9::MessageType;

/// A stretch in which requests are counted.
const WINDOW_NS: u64 = 1_000_000_000;
/// `Tflush` in a stretch that make a storm, and their share of its requests.
pub(in crate::findings) const STORM_FLUSHES: u64 = 20;
pub(in crate::findings) const STORM_PERCENT: u64 = 10;

pub(in crate::findings) const ABOUT: About = About {
    severity: Severity::Warning,
    sentence: "The client gives up many requests before they are answered.",
    spec: "9P2000.L (Tflush), virtio 1.4 §5 (device type 9)",
    advice: "A flush follows a signal to the waiting process: see who is interrupted or killed \
             while it waits (timeouts, Ctrl-C, a profiler's timer), and why the answers take that \
             long.",
};

/// Stretches in which many were given up.
#[derive(Default, Debug)]
pub(in crate::findings) struct FlushStorm {
    window: Window,
    flushes: u64,
    requests: u64,
    storms: Tally,
    all: u64,
}

impl Detector for FlushStorm {
    const CODE: FindingCode = FindingCode::NineFlushStorm;

    #[inline]
    fn life(&mut self, ended: &Ended<'_>) {
        let (Some(kind), Some(used)) = (super::kind(ended.life), ended.life.moments.used) else {
            return;
        };
        self.requests += 1;
        self.flushes += u64::from(kind == MessageType::Tflush);
        match self.window.pass(used, WINDOW_NS) {
            Passed::No => {}
            Passed::Over(begun, _) => self.close(begun),
            Passed::SetBack => (self.flushes, self.requests) = (0, 0),
        }
    }

    fn judge(&self, _: &Case<'_>) -> Verdict {
        let mut storms = self.storms.clone();
        let (many, requests) = (self.flushes, self.requests);
        let mut all = self.all;
        if is_storm(many, requests) {
            let begun = self.window.begun();
            storms.add(begun, || piece(begun, many, requests));
            all += many;
        }
        storms.verdict(|seconds| {
            format!(
                "{} flushed within {}.",
                count(all, "request was", "requests were"),
                count(seconds, "second", "seconds")
            )
        })
    }
}

fn is_storm(flushes: u64, requests: u64) -> bool {
    flushes >= STORM_FLUSHES && flushes * 100 >= requests * STORM_PERCENT
}

fn piece(begun: Timestamp, flushes: u64, requests: u64) -> Evidence {
    Evidence::at(
        begun,
        format!("{flushes} flushes among {requests} requests in a second"),
    )
}

impl FlushStorm {
    fn close(&mut self, begun: Timestamp) {
        let (flushes, requests) = (self.flushes, self.requests);
        if is_storm(flushes, requests) {
            self.all += flushes;
            self.storms.add(begun, || piece(begun, flushes, requests));
        }
        self.flushes = 0;
        self.requests = 0;
    }
}
