//! Requests that were in flight when the queue was reset or taken down.

use std::sync::Arc;

use super::case::{Case, Ended, is_request};
use super::finding::{Evidence, Verdict};
use super::{About, Detector, FindingCode, Severity, Tally, count};
use crate::life::{Incomplete, Outcome};

pub(super) const ABOUT: About = About {
    severity: Severity::Warning,
    sentence: "The queue was reset or taken down while requests were in flight, and nobody knows \
               whether the device has done them.",
    spec: "virtio 1.4 §2.6.1, §3.3.1",
    advice: "See why the driver reset the device (an error, a timeout, an unbind in the middle of \
             work), and whether what it asked for was done before it is asked for again.",
};

/// Requests that a reset cut short.
#[derive(Default, Debug)]
pub(super) struct ResetInFlight {
    cut: Tally,
}

impl Detector for ResetInFlight {
    const CODE: FindingCode = FindingCode::ResetInFlight;

    #[inline]
    fn life(&mut self, ended: &Ended<'_>) {
        let Outcome::Incomplete(reason) = ended.life.outcome else {
            return;
        };
        let how = match reason {
            Incomplete::QueueReset => "in flight when the queue was reset",
            Incomplete::Detached => "taken out of the ring unanswered",
            _ => return,
        };
        let life = ended.life;
        if !is_request(life) {
            return;
        }
        let added = life.began().unwrap_or_default();
        self.cut.add(added, || {
            let text = format!("{} id {} was {how}", life.operation.name(), life.head);
            Evidence::at(added, text).of(&Arc::new(life.clone()))
        });
    }

    fn judge(&self, case: &Case<'_>) -> Verdict {
        if let (Some(doubt), 1..) = (case.doubt, self.cut.count) {
            return Verdict::Undecided(format!(
                "{} cut short by a reset, but {doubt}: they may have come back before",
                count(
                    self.cut.count,
                    "request seems to have been",
                    "requests seem to have been"
                )
            ));
        }
        self.cut.verdict(|many| {
            format!(
                "{} in flight when the queue was reset or taken down.",
                count(many, "request was", "requests were")
            )
        })
    }
}
