//! Fids that are made and not given up.

use crate::findings::case::{Case, Ended};
use crate::findings::finding::{Evidence, Found, Verdict};
use crate::findings::{About, Detector, FindingCode, Severity};
use crate::p9::MessageType;
use virtscope_record::Timestamp;

/// Fids that are there at the same time.
pub(in crate::findings) const MANY_FIDS: u64 = 1000;
/// The share of all that were made, in percent, that is still there. A client that
/// gives its fids up keeps few.
pub(in crate::findings) const KEPT_PERCENT: u64 = 50;

pub(in crate::findings) const ABOUT: About = About {
    severity: Severity::Warning,
    sentence: "The client makes fids and does not give them up, so that the server's open files \
               grow without end.",
    spec: "9P2000.L (Twalk, Tclunk), virtio 1.4 §5 (device type 9)",
    advice: "See which program keeps files open (ls /proc/*/fd in the guest); a client that caches \
             dentries keeps a fid for each, and gives them up under memory pressure.",
};

/// When fids were made; which there are, the conversation knows.
#[derive(Default, Debug)]
pub(in crate::findings) struct FidLeak {
    first: Option<Timestamp>,
    last: Option<Timestamp>,
}

impl Detector for FidLeak {
    const CODE: FindingCode = FindingCode::NineFidLeak;

    #[inline]
    fn life(&mut self, ended: &Ended<'_>) {
        let life = ended.life;
        match super::kind(life) {
            Some(MessageType::Twalk | MessageType::Tattach | MessageType::Txattrwalk) => {
                self.first = self.first.or(life.moments.used);
                self.last = life.moments.used;
            }
            Some(MessageType::Tversion) => *self = Self::default(),
            _ => {}
        }
    }

    fn judge(&self, case: &Case<'_>) -> Verdict {
        let fids = case.queue.fid_account();
        let (kept, made) = (fids.kept, fids.made);
        if kept < MANY_FIDS || kept * 100 < made * KEPT_PERCENT {
            return Verdict::Nothing;
        }
        if let Some(doubt) = case.doubt {
            return Verdict::Undecided(format!("{kept} fids seem not to be given up, but {doubt}"));
        }
        if fids.uncertain * 100 > made {
            return Verdict::Undecided(format!(
                "{kept} fids seem not to be given up, but {} requests about fids were not seen whole",
                fids.uncertain
            ));
        }
        let given_up = made - kept;
        Verdict::Found(Found {
            summary: format!("{kept} of {made} fids were never given up."),
            count: kept,
            first: self.first,
            last: self.last,
            evidence: vec![
                Evidence::text(format!(
                    "{made} made, {given_up} given up, {kept} still there"
                )),
                Evidence::text(format!(
                    "{} at the same time, the most there were",
                    fids.peak
                )),
            ],
        })
    }
}
