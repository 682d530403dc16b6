//! A used entry that names no buffer the device has.

use virtscope_record::{Body, Used};

use super::case::{Case, Seen};
use super::finding::{Evidence, Verdict};
use super::{About, Detector, FindingCode, Severity, Tally, times};

pub(super) const ABOUT: About = About {
    severity: Severity::Error,
    sentence: "The device returned an id that names no buffer it has: unknown, returned before, or \
               out of its turn.",
    spec: "virtio 1.4 §2.7.8, §2.7.9, §2.8.6, §2.8.8",
    advice: "Look in the device for a request that is completed twice, or under another one's id; \
             the driver has given the queue up, and only a reset of the device helps.",
};

/// Used entries that broke the queue by their id.
#[derive(Default, Debug)]
pub(super) struct UnknownOrRepeatedId {
    found: Tally,
}

impl Detector for UnknownOrRepeatedId {
    const CODE: FindingCode = FindingCode::UnknownOrRepeatedId;

    #[inline(always)]
    fn record(&mut self, seen: &Seen<'_>) {
        if let Body::Used(used) = seen.body
            && used.error != 0
        {
            self.broken(seen, used);
        }
    }

    fn judge(&self, _: &Case<'_>) -> Verdict {
        self.found.verdict(|many| {
            format!(
                "The device returned {} an id that names no buffer it has, which broke the queue.",
                times(many)
            )
        })
    }
}

impl UnknownOrRepeatedId {
    #[cold]
    fn broken(&mut self, seen: &Seen<'_>, used: &Used) {
        if seen.is_jump(used.position, used.used_index) {
            return;
        }
        let id = used.head;
        let text = match seen.lives.in_flight_under(id) {
            _ if seen.size > 0 && id >= seen.size => {
                format!("id {id} (or more) in a ring of {} entries", seen.size)
            }
            None => {
                format!("id {id}, which heads no buffer in flight: returned twice, or never given")
            }
            Some(life) if used.used_length > life.shape.writable_bytes => return,
            Some(_) => format!("id {id}, before buffers that were made available earlier"),
        };
        self.found.add(seen.time, || {
            Evidence::at(seen.time, format!("used entry {}: {text}", used.position))
        });
    }
}
