//! The model: a queue as numbers that never wrap.

use std::collections::{BTreeMap, VecDeque};

use virtscope_driver::memory::Segment;
use virtscope_driver::ring::AddErrorKind;
use virtscope_record::NotificationReason;

/// A buffer between being added and being taken back.
#[derive(Clone, Debug)]
pub(crate) struct Buffer {
    pub(crate) readable: Vec<Segment>,
    pub(crate) writable: Vec<Segment>,
    /// The id that the implementation gave it.
    pub(crate) head: u16,
}

impl Buffer {
    pub(crate) fn descriptors(&self) -> u16 {
        (self.readable.len() + self.writable.len()) as u16
    }
}

/// Bytes of some segments.
pub(crate) fn bytes(segments: &[Segment]) -> u32 {
    segments.iter().map(|segment| segment.len).sum()
}

/// How one half asks for notifications, and how far they were decided.
///
/// Everything is counted from the beginning of the ring and never wraps.
#[derive(Clone, Debug, Default)]
pub(crate) struct Notifications {
    /// Entries published at the last decision.
    pub(crate) decided: u64,
    /// Whether the receiver wants them.
    pub(crate) wanted: bool,
    /// If the receiver sleeps: how many entries it knew of. One more, and it
    /// must be woken.
    pub(crate) sleeping_at: Option<u64>,
    /// If notifications were switched off for good: the entry from which on none
    /// comes, unless the index goes round.
    pub(crate) quiet_from: Option<u64>,
}

impl Notifications {
    /// A receiver that sleeps at the beginning, as flags and events of zero say.
    pub(crate) fn new() -> Self {
        Self {
            decided: 0,
            wanted: true,
            sleeping_at: Some(0),
            quiet_from: None,
        }
    }

    /// The verdict that the specification wants for the entries up to
    /// `published`, and why; `flags` and `event` are what stands in memory.
    ///
    /// virtio 1.4 §2.7.7.2, §2.7.10.1: with event indices, notify if one of the
    /// entries was written where the index was `event`; without, if the flag is
    /// 0. And nobody needs to hear of nothing.
    pub(crate) fn decide(
        &mut self,
        published: u64,
        event_idx: bool,
        flags: u16,
        event: u16,
    ) -> (bool, NotificationReason) {
        let mut entries = self.decided..published;
        let reason = if entries.is_empty() {
            NotificationReason::NothingAdded
        } else if event_idx {
            if entries.any(|index| index as u16 == event) {
                NotificationReason::EventCrossed
            } else {
                NotificationReason::EventNotCrossed
            }
        } else if flags == 0 {
            NotificationReason::FlagClear
        } else {
            NotificationReason::FlagSet
        };
        let needed = matches!(
            reason,
            NotificationReason::EventCrossed | NotificationReason::FlagClear
        );
        if self.sleeping_at.is_some_and(|known| published > known) {
            assert!(needed, "a sleeper is not woken: {reason}");
            self.sleeping_at = None;
        }
        if let Some(from) = self.quiet_from
            && self.decided >= from
            && published - from < u64::from(u16::MAX)
        {
            assert!(!needed, "notified although it was switched off: {reason}");
        }
        self.decided = published;
        (needed, reason)
    }
}

/// The queue.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    pub(crate) size: u16,
    pub(crate) free: u16,
    /// Buffers by token, from added to taken back.
    pub(crate) buffers: BTreeMap<u64, Buffer>,
    /// Buffers the device has not taken yet, in order; the last ones may not be
    /// published.
    pub(crate) available: VecDeque<u64>,
    /// Buffers the device holds.
    pub(crate) held: Vec<u64>,
    /// Buffers the driver has not taken back yet, with the bytes written.
    pub(crate) used: VecDeque<(u64, u32)>,
    /// Buffers ever added, published, taken by the device, returned by it and
    /// taken back.
    pub(crate) added: u64,
    pub(crate) published: u64,
    pub(crate) taken: u64,
    pub(crate) returned: u64,
    pub(crate) harvested: u64,
    pub(crate) kicks: Notifications,
    pub(crate) interrupts: Notifications,
}

impl Model {
    pub(crate) fn new(size: u16) -> Self {
        Self {
            size,
            free: size,
            buffers: BTreeMap::new(),
            available: VecDeque::new(),
            held: Vec::new(),
            used: VecDeque::new(),
            added: 0,
            published: 0,
            taken: 0,
            returned: 0,
            harvested: 0,
            kicks: Notifications::new(),
            interrupts: Notifications::new(),
        }
    }

    /// `rounds` buffers went through, one at a time and without a decision.
    pub(crate) fn skip(&mut self, rounds: u64) {
        if rounds == 0 {
            return;
        }
        self.added = rounds;
        self.published = rounds;
        self.taken = rounds;
        self.returned = rounds;
        self.harvested = rounds;
        self.kicks.sleeping_at = None;
        self.interrupts.sleeping_at = None;
    }

    /// What an add of segments of these lengths must come to.
    pub(crate) fn check_add(&self, readable: &[u32], writable: &[u32]) -> Result<(), AddErrorKind> {
        let segments = readable.len() + writable.len();
        if segments == 0 {
            Err(AddErrorKind::NoSegments)
        } else if segments > usize::from(self.size) {
            Err(AddErrorKind::TooManySegments {
                segments,
                size: self.size,
            })
        } else if readable.iter().chain(writable).any(|len| *len == 0) {
            Err(AddErrorKind::BadLength)
        } else if segments > usize::from(self.free) {
            Err(AddErrorKind::NoSpace {
                needed: segments,
                free: self.free,
            })
        } else {
            Ok(())
        }
    }

    /// A buffer was added; its id must be in range and nobody else's.
    pub(crate) fn add(&mut self, token: u64, buffer: Buffer) {
        assert!(buffer.head < self.size);
        for (other, known) in &self.buffers {
            assert_ne!(known.head, buffer.head, "{token} and {other} share an id");
        }
        self.free -= buffer.descriptors();
        self.buffers.insert(token, buffer);
        self.available.push_back(token);
        self.added += 1;
    }

    /// A buffer is the driver's again.
    pub(crate) fn remove(&mut self, token: u64) -> Buffer {
        let buffer = self.buffers.remove(&token).expect("a buffer in flight");
        self.free += buffer.descriptors();
        buffer
    }
}
