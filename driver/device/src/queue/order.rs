//! `VIRTIO_F_IN_ORDER`: buffers that are finished early wait for those before
//! them, and one entry stands for several (virtio 1.4 §2.7.9, §2.8.8).

use std::collections::BTreeMap;

use virtscope_driver::ring::QueueSize;

use super::chain::Used;

/// What is finished and can't be returned yet.
#[derive(Debug, Default)]
pub(super) struct Order {
    /// By number.
    early: BTreeMap<u64, Used>,
    /// The number of the next buffer to return.
    next: u64,
}

impl Order {
    /// A buffer is finished: returns it if it is its turn. Those that waited for it
    /// come from [`follower`](Self::follower).
    pub(super) fn finished(&mut self, number: u64, used: Used) -> Option<Used> {
        if number == self.next {
            self.next += 1;
            return Some(used);
        }
        // One that was returned already (a device that lies) goes its own way.
        if number < self.next {
            return Some(used);
        }
        self.early.insert(number, used);
        None
    }

    /// Whether the buffer of this number was given back by now.
    pub(super) const fn is_past(&self, number: u64) -> bool {
        number < self.next
    }

    /// The next buffer, if it was finished early.
    pub(super) fn follower(&mut self) -> Option<Used> {
        let used = self.early.remove(&self.next)?;
        self.next += 1;
        Some(used)
    }
}

/// Buffers returned by one entry, which names the last of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    pub(super) last: Used,
    pub(super) buffers: u16,
    pub(super) descriptors: u16,
}

impl Run {
    pub(super) const fn of(used: Used) -> Self {
        Self {
            last: used,
            buffers: 1,
            descriptors: used.descriptors,
        }
    }

    /// The run with one buffer more, if the last may be skipped: skipped buffers
    /// count as wholly used. It is never longer than the ring, not even if a device
    /// that lies returns a buffer again and again.
    pub(super) fn and(self, used: Used, size: QueueSize) -> Option<Self> {
        let descriptors = self.descriptors.checked_add(used.descriptors)?;
        if !self.last.whole || descriptors > size.get() {
            return None;
        }
        Some(Self {
            last: used,
            buffers: self.buffers + 1,
            descriptors,
        })
    }
}
