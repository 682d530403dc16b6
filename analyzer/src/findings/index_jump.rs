//! A ring index that moved further than the ring is long, or back.

use virtscope_record::Body;

use super::case::{Case, Seen};
use super::finding::{Evidence, Verdict};
use super::{About, Detector, FindingCode, Severity, Tally, times};

pub(super) const ABOUT: About = About {
    severity: Severity::Error,
    sentence: "An index in the ring moved further than the ring has entries, or back.",
    spec: "virtio 1.4 §2.7.8, §2.7.6",
    advice: "The side that writes the index has lost count, as after a migration or a reset that \
             only one side made, or something else writes into the ring's memory; reset the device.",
};

/// Indices of a split ring that jumped. A packed ring has none: there the entries
/// themselves lie, and their ids are not believed.
#[derive(Default, Debug)]
pub(super) struct IndexJump {
    jumps: Tally,
}

impl Detector for IndexJump {
    const CODE: FindingCode = FindingCode::IndexJump;

    #[inline(always)]
    fn record(&mut self, seen: &Seen<'_>) {
        let (what, from, to) = match seen.body {
            Body::Used(used) => ("used", used.position, used.used_index),
            Body::Callback(callback) => ("used", callback.last_used, callback.used_index),
            Body::Taken(taken) => ("available", taken.position, taken.avail_index),
            _ => return,
        };
        if seen.is_jump(from, to) {
            self.jumps.add(seen.time, || {
                Evidence::at(
                    seen.time,
                    format!(
                        "the {what} index was {to} where {from} came next, in a ring of {}",
                        seen.size
                    ),
                )
            });
        }
    }

    fn judge(&self, _: &Case<'_>) -> Verdict {
        self.jumps.verdict(|jumps| {
            format!(
                "An index jumped {}: more entries are announced than the ring has.",
                times(jumps)
            )
        })
    }
}
