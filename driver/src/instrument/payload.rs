//! The bytes that go with a record, still where they are.

use crate::memory::{GuestAddress, Segment};

/// Copies buffer bytes; `false` if they can't be reached.
type Read<'a> = &'a dyn Fn(GuestAddress, &mut [u8]) -> bool;

/// The buffer bytes an operation is about: they are copied only as far as the
/// instrument wants them.
#[derive(Clone, Copy)]
pub struct Payload<'a> {
    segments: &'a [Segment],
    limit: usize,
    read: Option<Read<'a>>,
}

impl std::fmt::Debug for Payload<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Payload({} bytes)", self.len())
    }
}

impl<'a> Payload<'a> {
    /// No bytes.
    pub const fn none() -> Self {
        Self {
            segments: &[],
            limit: 0,
            read: None,
        }
    }

    /// The first `limit` bytes of `segments`, copied by `read`.
    pub fn segments(segments: &'a [Segment], limit: u32, read: Read<'a>) -> Self {
        Self {
            segments,
            limit: limit as usize,
            read: Some(read),
        }
    }

    /// How many bytes there are.
    pub fn len(&self) -> usize {
        let held: usize = self.segments.iter().map(|s| s.len as usize).sum();
        held.min(self.limit)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Copies the first bytes into `into`, which is no longer than
    /// [`len`](Self::len). Returns `false` if some could not be reached; `into`
    /// is then zero from there on.
    pub fn copy_to(&self, mut into: &mut [u8]) -> bool {
        if into.is_empty() {
            return true;
        }
        let Some(read) = self.read else {
            into.fill(0);
            return false;
        };
        for segment in self.segments {
            if into.is_empty() {
                break;
            }
            let take = into.len().min(segment.len as usize);
            let (now, later) = into.split_at_mut(take);
            if !read(segment.address, now) {
                now.fill(0);
                later.fill(0);
                return false;
            }
            into = later;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letters(address: GuestAddress, into: &mut [u8]) -> bool {
        for (i, byte) in into.iter_mut().enumerate() {
            *byte = b'a' + (address.0 as u8) + i as u8;
        }
        address.0 < 20
    }

    fn segment(address: u64, len: u32) -> Segment {
        Segment {
            address: GuestAddress(address),
            len,
        }
    }

    #[test]
    fn gathers_across_segments_up_to_the_limit() {
        let segments = [segment(0, 2), segment(10, 3)];
        let payload = Payload::segments(&segments, 4, &letters);
        assert_eq!(payload.len(), 4);
        let mut bytes = [0; 4];
        assert!(payload.copy_to(&mut bytes));
        assert_eq!(&bytes, b"abkl");
    }

    #[test]
    fn says_what_could_not_be_reached() {
        let segments = [segment(0, 2), segment(20, 3)];
        let mut bytes = [9; 5];
        assert!(!Payload::segments(&segments, 9, &letters).copy_to(&mut bytes));
        assert_eq!(&bytes, b"ab\0\0\0");
    }
}
