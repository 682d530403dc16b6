//! Nothing but looking up and asking for attributes.

use virtscope_record::Timestamp;

use crate::errno::Errno;
use crate::findings::case::{Case, Ended};
use crate::findings::finding::{Evidence, Verdict};
use crate::findings::{About, Detector, FindingCode, Passed, Severity, Tally, Window, count};
use crate::p9::{Asked, MessageType};

/// A stretch in which requests are counted.
const WINDOW_NS: u64 = 1_000_000_000;
/// Walks and getattrs in a stretch that make a storm.
pub(in crate::findings) const STORM_LOOKUPS: u64 = 1000;
/// Their share of its requests, in percent; clunks apart, for each walk has one, and
/// walks without names, which look nothing up: who opens a file makes a second fid first.
pub(in crate::findings) const STORM_PERCENT: u64 = 90;

pub(in crate::findings) const ABOUT: About = About {
    severity: Severity::Notice,
    sentence: "Nearly all requests look files up or ask for their attributes, again and again.",
    spec: "9P2000.L (Twalk, Tgetattr), virtio 1.4 §5 (device type 9)",
    advice: "Mount with a cache (cache=mmap or cache=loose, where nobody else changes the files), \
             and see which program looks: build tools, search paths and file watchers do.",
};

/// Stretches in which little else was asked for.
#[derive(Default, Debug)]
pub(in crate::findings) struct MetadataStorm {
    window: Window,
    now: Counts,
    storms: Tally,
    all: Counts,
}

#[derive(Clone, Copy, Default, Debug)]
struct Counts {
    walks: u64,
    getattrs: u64,
    in_vain: u64,
    others: u64,
}

impl Detector for MetadataStorm {
    const CODE: FindingCode = FindingCode::NineMetadataStorm;

    #[inline]
    fn life(&mut self, ended: &Ended<'_>) {
        let (Some(kind), Some(used)) = (super::kind(ended.life), ended.life.moments.used) else {
            return;
        };
        match kind {
            MessageType::Twalk if ended.life.subject.asked == Asked::Clone => {}
            MessageType::Twalk => self.now.walks += 1,
            MessageType::Tgetattr => self.now.getattrs += 1,
            MessageType::Tclunk => {}
            _ => self.now.others += 1,
        }
        self.now.in_vain += u64::from(ended.life.error == Some(Errno::ENOENT));
        match self.window.pass(used, WINDOW_NS) {
            Passed::No => {}
            // A longer stretch in which little happened is no storm.
            Passed::Over(begun, ns) if ns < 2 * WINDOW_NS => self.close(begun),
            Passed::Over(..) | Passed::SetBack => self.now = Counts::default(),
        }
    }

    fn judge(&self, _: &Case<'_>) -> Verdict {
        self.storms.verdict(|seconds| {
            format!(
                "{} walks and {} getattrs in {}, {} of them in vain, and hardly anything else.",
                self.all.walks,
                self.all.getattrs,
                count(seconds, "second", "seconds"),
                self.all.in_vain
            )
        })
    }
}

impl MetadataStorm {
    fn close(&mut self, begun: Timestamp) {
        let counts = std::mem::take(&mut self.now);
        let lookups = counts.walks + counts.getattrs;
        if lookups >= STORM_LOOKUPS && lookups * 100 >= (lookups + counts.others) * STORM_PERCENT {
            self.all.walks += counts.walks;
            self.all.getattrs += counts.getattrs;
            self.all.in_vain += counts.in_vain;
            self.storms.add(begun, || {
                let text = format!(
                    "{} walks, {} getattrs and {} others in a second",
                    counts.walks, counts.getattrs, counts.others
                );
                Evidence::at(begun, text)
            });
        }
    }
}
