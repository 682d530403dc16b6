//! A tag given to a second request while the first is in flight.

use std::sync::Arc;

use virtscope_record::Timestamp;

use crate::findings::case::{Case, Ended};
use crate::findings::finding::{Evidence, Verdict};
use crate::findings::{About, Detector, FindingCode, Severity, Tally, times};
use crate::life::{Life, Outcome};
use crate::p9::MessageType;

/// `NOTAG`: the tag of `Tversion`, which needs none.
const NOTAG: u16 = u16::MAX;
/// Tags that are followed, by their low bits. Clients take the lowest that is free.
const PLACES: usize = 1024;
/// `Tflush`: the tag of the request that is given up.
const OLD_TAG: usize = 7;

pub(in crate::findings) const ABOUT: About = About {
    severity: Severity::Error,
    sentence: "The client gave a tag to a request while another request of that tag was in flight.",
    spec: "9P2000.L (tags), virtio 1.4 §5 (device type 9)",
    advice: "Look in the client at when a tag becomes free: with the reply, or with the Rflush of \
             its request, and not before; two clients on one channel do this too.",
};

/// Tags in use twice.
#[derive(Default, Debug)]
pub(in crate::findings) struct TagReuse {
    places: Vec<Place>,
    reused: Tally,
}

#[derive(Clone, Copy, Default, Debug)]
struct Place {
    tag: u16,
    /// The last request of this tag that came back.
    number: u64,
    added: Timestamp,
    used: Timestamp,
    /// When a flush of this tag was last answered: from then on it was free.
    flushed: Timestamp,
}

impl Detector for TagReuse {
    const CODE: FindingCode = FindingCode::NineTagReuse;

    #[inline]
    fn life(&mut self, ended: &Ended<'_>) {
        let life = ended.life;
        if let Some(kind) = super::kind(life)
            && let Outcome::Complete(_) = life.outcome
        {
            self.follow(life, kind == MessageType::Tflush);
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
    #[inline]
    fn follow(&mut self, life: &Life, is_flush: bool) -> Option<()> {
        let tag = super::u16_at(&life.request.bytes, super::TAG)?;
        let (added, used) = (life.moments.added?, life.moments.used?);
        if tag == NOTAG {
            return None;
        }
        if self.places.is_empty() {
            self.places.resize(PLACES, Place::default());
        }
        let place = self.places.get_mut(usize::from(tag) % PLACES)?;
        if place.tag != tag {
            *place = Place {
                tag,
                ..Place::default()
            };
        }
        let other = *place;
        *place = Place {
            number: life.number,
            added,
            used,
            ..other
        };
        if added < other.used {
            let (first, second) = (added.min(other.added), added.max(other.added));
            // Flushed in between, it was free again.
            if !(first < other.flushed && other.flushed <= second) {
                self.reused(life, tag, other.number, second);
            }
        }
        if is_flush {
            self.flush(life, used);
        }
        Some(())
    }

    #[cold]
    fn reused(&mut self, life: &Life, tag: u16, other: u64, added: Timestamp) {
        self.reused.add(added, || {
            let text = format!(
                "request {} has tag {tag}, as request {other} in flight",
                life.number
            );
            Evidence::at(added, text).of(&Arc::new(life.clone()))
        });
    }

    #[cold]
    fn flush(&mut self, life: &Life, answered: Timestamp) -> Option<()> {
        let old = super::u16_at(&life.request.bytes, OLD_TAG)?;
        let place = self.places.get_mut(usize::from(old) % PLACES)?;
        if place.tag != old {
            *place = Place {
                tag: old,
                ..Place::default()
            };
        }
        place.flushed = answered;
        Some(())
    }
}
