//! A tag given to a second request while the first is in flight.

use std::sync::Arc;

use crate::findings::case::{Case, Ended};
use crate::findings::finding::{Evidence, Verdict};
use crate::findings::{About, Detector, FindingCode, Severity, Tally, times};
use crate::life::{Anomaly, Life, Outcome};
use crate::p9::Irregularity;

pub(in crate::findings) const ABOUT: About = About {
    severity: Severity::Error,
    sentence: "The client gave a tag to a request while another request of that tag was in flight.",
    spec: "9P2000.L (tags), virtio 1.4 §5 (device type 9)",
    advice: "Look in the client at when a tag becomes free: with the reply, or with the Rflush of \
             its request, and not before; two clients on one channel do this too.",
};

/// Tags in use twice, as the conversation has it: it knows of flushes and sessions.
#[derive(Default, Debug)]
pub(in crate::findings) struct TagReuse {
    reused: Tally,
}

impl Detector for TagReuse {
    const CODE: FindingCode = FindingCode::NineTagReuse;

    #[inline]
    fn life(&mut self, ended: &Ended<'_>) {
        if !ended.life.anomalies.is_empty() {
            self.look(ended.life);
        }
    }

    fn judge(&self, _: &Case<'_>) -> Verdict {
        self.reused.verdict(|many| {
            format!(
                "A tag was given {} to a request while it was in use.",
                times(many)
            )
        })
    }
}

impl TagReuse {
    #[cold]
    fn look(&mut self, life: &Life) {
        let Outcome::Complete(_) = life.outcome else {
            return;
        };
        for anomaly in &life.anomalies {
            if let Anomaly::Protocol(Irregularity::TagReused { tag, by }) = anomaly {
                let used = life.moments.used.unwrap_or_default();
                self.reused.add(used, || {
                    let text = format!(
                        "a {by} was given tag {tag}, which request {} had until now",
                        life.number
                    );
                    Evidence::at(used, text).of(&Arc::new(life.clone()))
                });
            }
        }
    }
}
