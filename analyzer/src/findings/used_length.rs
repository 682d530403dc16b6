//! The device says that it wrote more than it was given room for.

use std::collections::BTreeSet;

use virtscope_record::{Body, Kind, Used};

use super::case::{Case, Seen};
use super::finding::{Evidence, Verdict};
use super::{About, Detector, FindingCode, Severity, Tally, times};

pub(super) const ABOUT: About = About {
    severity: Severity::Error,
    sentence: "The device says that it wrote more bytes into a buffer than the buffer has room for.",
    spec: "virtio 1.4 §2.7.8, §2.8.4",
    advice: "Look in the device for a used length that counts the device-readable bytes too, or \
             that is that of another buffer; the bytes behind the buffer may have been overwritten.",
};

/// Used entries whose length lies, whether the driver believed them or gave the queue
/// up.
#[derive(Default, Debug)]
pub(super) struct UsedLength {
    found: Tally,
    /// Those of them whose buffer has room at all. A buffer whose add was missed has none as far
    /// as its record knows.
    with_room: Tally,
    /// Whether adds were missed, which is told of when the buffer may be back already.
    adds_missed: bool,
    /// Ids of buffers that were in flight when tracing began: how much room they have is
    /// not known.
    unknown: BTreeSet<u16>,
}

impl Detector for UsedLength {
    const CODE: FindingCode = FindingCode::UsedLength;

    #[inline(always)]
    fn record(&mut self, seen: &Seen<'_>) {
        match seen.body {
            Body::Used(used) => {
                let is_unknown = !self.unknown.is_empty() && self.unknown.remove(&used.head);
                if is_unknown && used.writable_bytes == 0 {
                    return;
                }
                if used.used_length > used.writable_bytes || used.error != 0 {
                    self.look(seen, used);
                }
            }
            Body::InFlight(found) if found.writable_bytes == 0 && found.readable_bytes == 0 => {
                self.unknown.insert(found.head);
            }
            Body::Add(add) if !self.unknown.is_empty() => {
                self.unknown.remove(&add.head);
            }
            Body::Missed(missed) if missed.operation() == Some(Kind::Add) => {
                self.adds_missed = true;
            }
            Body::Reset(_) => self.unknown.clear(),
            _ => {}
        }
    }

    fn judge(&self, _: &Case<'_>) -> Verdict {
        if !self.adds_missed {
            return self.verdict(&self.found);
        }
        if self.with_room.count == 0 && self.found.count > 0 {
            return Verdict::Undecided(format!(
                "The device wrote into a buffer that has no room {} as far as is known, but adds \
                 were missed, and how much room their buffers have is not known",
                times(self.found.count)
            ));
        }
        self.verdict(&self.with_room)
    }
}

impl UsedLength {
    fn verdict(&self, found: &Tally) -> Verdict {
        found.verdict(|many| {
            format!(
                "The device claimed {} to have written more than a buffer can hold.",
                times(many)
            )
        })
    }

    #[cold]
    fn look(&mut self, seen: &Seen<'_>, used: &Used) {
        // An entry that broke the queue does not say what its buffer holds.
        let writable = match used.error {
            0 => used.writable_bytes,
            _ => match seen.lives.in_flight_under(used.head) {
                Some(life) if !seen.is_jump(used.position, used.used_index) => {
                    life.shape.writable_bytes
                }
                _ => return,
            },
        };
        if used.used_length <= writable {
            return;
        }
        let evidence = || {
            let text = format!(
                "used entry {} says {} bytes for id {}, which has {writable} device-writable",
                used.position, used.used_length, used.head
            );
            Evidence::at(seen.time, text)
        };
        self.found.add(seen.time, evidence);
        if writable > 0 || used.error != 0 {
            self.with_room.add(seen.time, evidence);
        }
    }
}
