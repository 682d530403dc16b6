//! Fids that are made and not given up.

use crate::findings::case::{Case, Ended};
use crate::findings::finding::{Evidence, Found, Verdict};
use crate::findings::{About, Detector, FindingCode, Severity};
use crate::life::{Life, Outcome};
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

/// Fids made and given up.
#[derive(Default, Debug)]
pub(in crate::findings) struct FidLeak {
    made: u64,
    given_up: u64,
    /// Requests of which it is not known what they did.
    unknown: u64,
    most: u64,
    most_at: Timestamp,
    first: Option<Timestamp>,
}

impl Detector for FidLeak {
    const CODE: FindingCode = FindingCode::NineFidLeak;

    #[inline]
    fn life(&mut self, ended: &Ended<'_>) {
        let life = ended.life;
        let Some(kind) = super::kind(life) else {
            return;
        };
        match kind {
            MessageType::Twalk | MessageType::Tattach | MessageType::Txattrwalk => self.makes(life),
            // The fid is gone whatever the answer.
            MessageType::Tclunk | MessageType::Tremove => self.given_up += 1,
            MessageType::Tversion => *self = Self::default(),
            _ => {}
        }
    }

    fn judge(&self, case: &Case<'_>) -> Verdict {
        let kept = self.made.saturating_sub(self.given_up);
        if kept < MANY_FIDS || kept * 100 < self.made * KEPT_PERCENT {
            return Verdict::Nothing;
        }
        if let Some(doubt) = case.doubt {
            return Verdict::Undecided(format!("{kept} fids seem not to be given up, but {doubt}"));
        }
        if self.unknown * 100 > self.made {
            return Verdict::Undecided(format!(
                "{kept} fids seem not to be given up, but {} requests about fids were not seen whole",
                self.unknown
            ));
        }
        let text = format!(
            "{} made, {} given up, {kept} still there",
            self.made, self.given_up
        );
        Verdict::Found(Found {
            summary: format!("{kept} of {} fids were never given up.", self.made),
            count: kept,
            first: self.first,
            last: Some(self.most_at),
            evidence: vec![
                Evidence::text(text),
                Evidence::at(
                    self.most_at,
                    format!("{} at the same time, the most there were", self.most),
                ),
            ],
        })
    }
}

impl FidLeak {
    #[inline]
    fn makes(&mut self, life: &Life) {
        let Outcome::Complete(_) = life.outcome else {
            self.unknown += 1;
            return;
        };
        if !is_made(life) {
            return;
        }
        let now = life.moments.used.unwrap_or_default();
        self.first = self.first.or(Some(now));
        self.made += 1;
        let kept = self.made.saturating_sub(self.given_up);
        if kept > self.most {
            (self.most, self.most_at) = (kept, now);
        }
    }
}

/// Whether a request that makes a fid has made one. A walk that goes short has not,
/// and neither has one onto its own fid.
fn is_made(life: &Life) -> bool {
    /// `Twalk`: newfid and the number of names; `Rwalk`: the number of qids.
    const NEWFID: usize = 11;
    const NAMES: usize = 15;
    const QIDS: usize = 7;
    let (request, reply) = (&life.request.bytes, &life.reply.bytes);
    match super::reply_type(life) {
        Some(MessageType::Rwalk) => {
            super::u32_at(request, super::FID) != super::u32_at(request, NEWFID)
                && super::u16_at(request, NAMES) == super::u16_at(reply, QIDS)
        }
        Some(MessageType::Rattach | MessageType::Rxattrwalk) => true,
        _ => false,
    }
}
