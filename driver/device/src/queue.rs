//! The device's half of a split virtqueue (virtio 1.4 §2.7).
//!
//! The mirror image of the driver's half, and as distrustful: a chain that
//! leaves the table, runs in circles or mixes its directions is an error, and
//! nothing loops for longer than the ring is.

use std::sync::atomic::Ordering;

use virtscope_driver::instrument::{Event, Instrument, Payload};
use virtscope_driver::memory::{QueueMemory, RingWords, Segment};
use virtscope_driver::ring::split_layout::{
    AVAIL_F_NO_INTERRUPT, DESC_F_INDIRECT, DESC_F_NEXT, DESC_F_WRITE, DESCRIPTOR_LEN, Descriptor,
    FLAGS, IDX, USED_F_NO_NOTIFY, avail_entry, avail_event, used_entry, used_event,
};
use virtscope_driver::ring::{Features, QueueSize};
use virtscope_record::{
    Body, Flags, Notification, NotificationReason, Returned, RingIndex, Taken, Token,
};

/// A rule of virtio 1.4 that the driver broke. A device that sees one needs a
/// reset.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DriverFault {
    /// The available index moved further than the ring is long, or back.
    #[error("the driver's available index went from {taken} to {avail_index} in a ring of {size}")]
    AvailIndexJumped {
        /// The next entry the device expected.
        taken: RingIndex,
        /// The index the driver wrote.
        avail_index: RingIndex,
        /// The Queue Size.
        size: u16,
    },
    /// An available entry or a `next` names a descriptor that the ring lacks.
    #[error("descriptor {index} of a table of {size} (virtio 1.4 §2.7.5)")]
    DescriptorOutOfRange {
        /// The descriptor.
        index: u16,
        /// The Queue Size.
        size: u16,
    },
    /// A chain longer than the ring: it runs in circles.
    #[error("the chain from descriptor {head} is longer than the ring (virtio 1.4 §2.7.5.2)")]
    ChainTooLong {
        /// Where it begins.
        head: u16,
    },
    /// A device-readable descriptor behind a device-writable one.
    #[error(
        "the chain from descriptor {head} has a readable part behind a writable one (virtio 1.4 §2.7.4.2)"
    )]
    ReadableAfterWritable {
        /// Where it begins.
        head: u16,
    },
    /// A segment that lies in the ring itself.
    #[error("the chain from descriptor {head} has a segment in the ring")]
    SegmentInRing {
        /// Where it begins.
        head: u16,
    },
    /// An indirect descriptor, which was not negotiated.
    #[error(
        "the chain from descriptor {head} is indirect, which was not negotiated (virtio 1.4 §2.7.5.3.1)"
    )]
    IndirectNotNegotiated {
        /// Where it begins.
        head: u16,
    },
}

/// A buffer taken from the available ring.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Chain {
    /// The id to return it under.
    pub head: u16,
    /// Device-readable segments.
    pub readable: Vec<Segment>,
    /// Device-writable segments.
    pub writable: Vec<Segment>,
}

impl Chain {
    /// Device-readable bytes, at most 2³² − 1.
    pub fn readable_bytes(&self) -> u32 {
        total(&self.readable)
    }

    /// Device-writable bytes, at most 2³² − 1.
    pub fn writable_bytes(&self) -> u32 {
        total(&self.writable)
    }
}

fn total(segments: &[Segment]) -> u32 {
    segments
        .iter()
        .fold(0, |sum, segment| sum.saturating_add(segment.len))
}

/// The device's half: take, return, interrupt, one step at a time.
pub struct DeviceQueue<M, I> {
    memory: M,
    size: QueueSize,
    features: Features,
    instrument: I,
    /// The next available entry to take.
    taken: RingIndex,
    /// The next used entry to write; those before it are published.
    used_idx: RingIndex,
    /// The used index at the last interrupt decision, and how many entries were
    /// returned since.
    signalled: RingIndex,
    returned_since: u32,
    kicks_wanted: bool,
}

impl<M: QueueMemory, I: Instrument> DeviceQueue<M, I> {
    /// The device's half of the queue over `memory`.
    pub fn new(memory: M, size: QueueSize, features: Features, instrument: I) -> Self {
        Self {
            memory,
            size,
            features,
            instrument,
            taken: RingIndex(0),
            used_idx: RingIndex(0),
            signalled: RingIndex(0),
            returned_since: 0,
            kicks_wanted: true,
        }
    }

    /// Takes the next available buffer, if there is one (virtio 1.4 §2.7.13.3
    /// seen from the other side).
    ///
    /// It does not move `avail_event`: a device that means to sleep calls
    /// [`enable_kicks`](Self::enable_kicks) first, each time.
    ///
    /// # Errors
    /// The driver broke a rule; the entry stays where it is.
    pub fn take(&mut self) -> Result<Option<Chain>, DriverFault> {
        let avail_index = self.avail_index();
        let pending = avail_index.distance_from(self.taken);
        if pending == 0 {
            return Ok(None);
        }
        if pending > self.size.get() {
            return Err(DriverFault::AvailIndexJumped {
                taken: self.taken,
                avail_index,
                size: self.size.get(),
            });
        }
        let slot = self.taken.slot(self.size.get());
        let head = self
            .memory
            .driver_area()
            .load_u16(avail_entry(slot), Ordering::Relaxed);
        let chain = self.read_chain(head)?;
        let time = self.instrument.stamp();
        let position = self.taken;
        self.taken = position.advance(1);
        if I::ENABLED {
            self.emit(
                time,
                Flags::empty(),
                Body::Taken(Taken {
                    free: 0,
                    error: 0,
                    readable_bytes: chain.readable_bytes(),
                    writable_bytes: chain.writable_bytes(),
                    head,
                    position,
                    avail_index,
                    readable_segments: chain.readable.len() as u16,
                    writable_segments: chain.writable.len() as u16,
                }),
            );
        }
        Ok(Some(chain))
    }

    /// The driver's available index. Acquire: the entries before it and their
    /// descriptors are seen if it is.
    fn avail_index(&self) -> RingIndex {
        let area = self.memory.driver_area();
        RingIndex(area.load_u16(IDX, Ordering::Acquire))
    }

    fn read_chain(&self, head: u16) -> Result<Chain, DriverFault> {
        let size = self.size.get();
        let table = self.memory.descriptor_area();
        let mut chain = Chain {
            head,
            readable: Vec::new(),
            writable: Vec::new(),
        };
        let mut index = head;
        for _ in 0..size {
            if index >= size {
                return Err(DriverFault::DescriptorOutOfRange { index, size });
            }
            let at = usize::from(index) * DESCRIPTOR_LEN;
            let descriptor = Descriptor::from_words(
                table.load_u64(at, Ordering::Relaxed),
                table.load_u64(at + 8, Ordering::Relaxed),
            );
            if descriptor.flags & DESC_F_INDIRECT != 0 {
                return Err(DriverFault::IndirectNotNegotiated { head });
            }
            if !self.memory.is_buffer(descriptor.segment) {
                return Err(DriverFault::SegmentInRing { head });
            }
            if descriptor.flags & DESC_F_WRITE != 0 {
                chain.writable.push(descriptor.segment);
            } else if chain.writable.is_empty() {
                chain.readable.push(descriptor.segment);
            } else {
                return Err(DriverFault::ReadableAfterWritable { head });
            }
            if descriptor.flags & DESC_F_NEXT == 0 {
                return Ok(chain);
            }
            index = descriptor.next;
        }
        Err(DriverFault::ChainTooLong { head })
    }

    /// Returns a buffer into which `written` bytes were written (virtio 1.4
    /// §2.7.8). The driver may take it at once, interrupted or not.
    pub fn put_used(&mut self, head: u16, written: u32) {
        let position = self.used_idx;
        let entry = used_entry(position.slot(self.size.get()));
        let area = self.memory.device_area();
        area.store_u32(entry, u32::from(head), Ordering::Relaxed);
        area.store_u32(entry + 4, written, Ordering::Relaxed);
        // The record leaves before the driver can see the entry.
        if I::ENABLED {
            self.emit(
                self.instrument.stamp(),
                Flags::empty(),
                Body::Returned(Returned {
                    free: 0,
                    error: 0,
                    used_length: written,
                    head,
                    position,
                }),
            );
        }
        self.used_idx = position.advance(1);
        self.returned_since = self.returned_since.saturating_add(1);
        // Release: what was written into the buffer and the entry are seen
        // before the index (virtio 1.4 §2.7.8.2).
        self.memory
            .device_area()
            .store_u16(IDX, self.used_idx.0, Ordering::Release);
    }

    /// Whether the driver needs a used buffer notification for what was returned
    /// since the last decision (virtio 1.4 §2.7.7.2). If `true`,
    /// interrupt it.
    pub fn should_interrupt(&mut self) -> bool {
        // The driver must see the new index before we look at what it asks for.
        self.memory.full_fence();
        let area = self.memory.driver_area();
        let (event, event_flags) = if self.features.event_idx {
            let event = area.load_u16(used_event(self.size), Ordering::Relaxed);
            (RingIndex(event), 0)
        } else {
            (RingIndex(0), area.load_u16(FLAGS, Ordering::Relaxed))
        };
        let (old, new) = (self.signalled, self.used_idx);
        let reason = if self.returned_since == 0 {
            NotificationReason::NothingAdded
        } else if self.features.event_idx {
            // Past 65535 entries every event index was crossed.
            if self.returned_since > u32::from(u16::MAX) || event.is_crossed_by(old, new) {
                NotificationReason::EventCrossed
            } else {
                NotificationReason::EventNotCrossed
            }
        } else if event_flags & AVAIL_F_NO_INTERRUPT == 0 {
            NotificationReason::FlagClear
        } else {
            NotificationReason::FlagSet
        };
        let needed = reason.verdict() == Some(true);
        self.signalled = new;
        self.returned_since = 0;
        if I::ENABLED {
            let mut flags = Flags::empty();
            flags.set(Flags::EVENT_IDX, self.features.event_idx);
            flags.set(Flags::NOTIFICATION_NEEDED, needed);
            // Recorded before the interrupt is raised.
            self.emit(
                self.instrument.stamp(),
                flags,
                Body::InterruptSent(Notification {
                    free: 0,
                    error: 0,
                    old,
                    new,
                    event,
                    event_flags,
                    reason,
                }),
            );
        }
        needed
    }

    /// Buffers returned since the last [`should_interrupt`](Self::should_interrupt).
    pub fn returned_unsignalled(&self) -> u32 {
        self.returned_since
    }

    /// Asks the driver for no available buffer notifications, because we look
    /// ourselves. It may send some all the same.
    pub fn disable_kicks(&mut self) {
        if !self.kicks_wanted {
            return;
        }
        self.kicks_wanted = false;
        // With event indices a stale `avail_event` does the work: it lies behind.
        if !self.features.event_idx {
            self.memory
                .device_area()
                .store_u16(FLAGS, USED_F_NO_NOTIFY, Ordering::Relaxed);
        }
    }

    /// Asks for available buffer notifications again. Returns `false` if buffers
    /// are available already, for which none may come: take them first.
    pub fn enable_kicks(&mut self) -> bool {
        self.kicks_wanted = true;
        let area = self.memory.device_area();
        if self.features.event_idx {
            area.store_u16(avail_event(self.size), self.taken.0, Ordering::Relaxed);
        } else {
            area.store_u16(FLAGS, 0, Ordering::Relaxed);
        }
        // The driver must see our wish before we look whether it was too late.
        self.memory.full_fence();
        self.avail_index() == self.taken
    }

    fn emit(&self, time: virtscope_record::Timestamp, flags: Flags, body: Body) {
        // The device does not know the driver's tokens.
        self.instrument.emit(
            Event {
                time,
                token: Token::default(),
                flags,
                body,
            },
            Payload::none(),
        );
    }
}
