//! The device says that it wrote more than it was given room for.

use virtscope_record::Body;

use super::case::{Case, Seen};
use super::finding::{Evidence, Found, Verdict};
use super::{About, Detector, FindingCode, MOST_EVIDENCE, Severity, times};

pub(super) const ABOUT: About = About {
    severity: Severity::Error,
    sentence: "The device says that it wrote more bytes into a buffer than the buffer has room for.",
    spec: "virtio 1.4 §2.7.8, §2.8.4",
    advice: "Look in the device for a used length that counts the device-readable bytes too, or \
             that is that of another buffer; the bytes behind the buffer may have been overwritten.",
};

/// Used entries whose length lies.
#[derive(Default, Debug)]
pub(super) struct UsedLength {
    found: Found,
}

impl Detector for UsedLength {
    const CODE: FindingCode = FindingCode::UsedLength;

    #[inline]
    fn record(&mut self, seen: &Seen<'_>) {
        if let Body::Used(used) = seen.body
            && used.error == 0
            && used.used_length > used.writable_bytes
        {
            let text = format!(
                "used entry {} says {} bytes for id {}, which has {} device-writable",
                used.position, used.used_length, used.head, used.writable_bytes
            );
            note(&mut self.found, seen, text);
        }
    }

    fn judge(&self, _: &Case<'_>) -> Verdict {
        if self.found.count == 0 {
            return Verdict::Nothing;
        }
        Verdict::Found(Found {
            summary: format!(
                "The device claimed {} to have written more than a buffer can hold.",
                times(self.found.count)
            ),
            ..self.found.clone()
        })
    }
}

/// Counts one more, and keeps what it was if there are few.
#[cold]
pub(super) fn note(found: &mut Found, seen: &Seen<'_>, text: String) {
    found.count += 1;
    found.first = found.first.or(Some(seen.time));
    found.last = Some(seen.time);
    if found.evidence.len() < MOST_EVIDENCE {
        found.evidence.push(Evidence::at(seen.time, text));
    }
}
