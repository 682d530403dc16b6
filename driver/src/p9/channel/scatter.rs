//! The scatter-gather list that a request is packed into.

use super::{ChannelError, VIRTQUEUE_NUM};
use crate::memory::{GuestAddress, Segment};
use crate::ring::AddErrorKind;

/// Linux `virtio_chan::sg`: one list a channel, of as many entries as a channel uses of
/// its ring at most. The channel's lock protects it.
#[derive(Debug)]
pub(super) struct ScatterList {
    entries: Box<[Segment; VIRTQUEUE_NUM as usize]>,
    /// Entries that the device reads; those it writes stand behind them.
    readable: usize,
    len: usize,
}

impl ScatterList {
    pub(super) fn new() -> Self {
        let empty = Segment {
            address: GuestAddress(0),
            len: 0,
        };
        Self {
            entries: Box::new([empty; VIRTQUEUE_NUM as usize]),
            readable: 0,
            len: 0,
        }
    }

    /// Packs what the device reads and then what it writes, replacing what is there.
    ///
    /// # Errors
    /// More segments than the list has entries: no ring of ours takes them.
    pub(super) fn pack(
        &mut self,
        readable: impl Iterator<Item = Segment>,
        writable: impl Iterator<Item = Segment>,
    ) -> Result<(), ChannelError> {
        self.len = 0;
        self.extend(readable)?;
        self.readable = self.len;
        self.extend(writable)
    }

    fn extend(&mut self, mut segments: impl Iterator<Item = Segment>) -> Result<(), ChannelError> {
        while let Some(segment) = segments.next() {
            let Some(entry) = self.entries.get_mut(self.len) else {
                return Err(ChannelError::Add(AddErrorKind::TooManySegments {
                    segments: self.len + 1 + segments.count(),
                    size: VIRTQUEUE_NUM,
                }));
            };
            *entry = segment;
            self.len += 1;
        }
        Ok(())
    }

    /// What was packed: device-readable, device-writable.
    pub(super) fn parts(&self) -> (&[Segment], &[Segment]) {
        self.entries[..self.len].split_at(self.readable)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn segments(count: u64) -> impl Iterator<Item = Segment> {
        (0..count).map(|page| Segment {
            address: GuestAddress(page * 4096),
            len: 1,
        })
    }

    #[test]
    fn a_list_holds_as_many_as_a_ring_and_no_more() {
        let mut list = ScatterList::new();
        list.pack(segments(100), segments(28)).unwrap();
        let (readable, writable) = list.parts();
        assert_eq!((readable.len(), writable.len()), (100, 28));
        assert_eq!(
            list.pack(segments(3), segments(200)),
            Err(ChannelError::Add(AddErrorKind::TooManySegments {
                segments: 203,
                size: 128
            }))
        );
        list.pack(segments(0), segments(1)).unwrap();
        let (readable, writable) = list.parts();
        assert_eq!((readable.len(), writable.len()), (0, 1));
    }
}
