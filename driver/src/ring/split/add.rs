//! Adding buffers and making them available.

use std::sync::atomic::Ordering;

use virtscope_record::{Add, Body, Flags, Timestamp, Token};

use super::super::split_layout::{DESC_F_NEXT, DESC_F_WRITE, DESCRIPTOR_LEN, IDX, avail_entry};
use super::super::{AddError, AddErrorKind};
use super::{InFlight, SplitQueue};
use crate::instrument::{Instrument, Payload};
use crate::memory::{QueueMemory, RingWords, Segment};

impl<M: QueueMemory, I: Instrument, T> SplitQueue<M, I, T> {
    /// Adds a buffer and publishes it, as Linux's `virtqueue_add_sgs` does:
    /// device-readable segments first, then device-writable ones. Returns the
    /// remaining capacity in descriptors.
    ///
    /// A running device may take the buffer from now on, whether it is kicked or
    /// not.
    ///
    /// # Errors
    /// See [`AddErrorKind`]; `data` comes back in the error.
    pub fn add(
        &mut self,
        readable: &[Segment],
        writable: &[Segment],
        token: Token,
        data: T,
    ) -> Result<u16, AddError<T>> {
        let capacity = self.add_unpublished(readable, writable, token, data)?;
        self.publish();
        Ok(capacity)
    }

    /// The first half of [`add`](Self::add): the buffer stands in the ring, the
    /// device does not know yet (virtio 1.4 §2.7.13.1, §2.7.13.2).
    ///
    /// # Errors
    /// As for `add`.
    pub fn add_unpublished(
        &mut self,
        readable: &[Segment],
        writable: &[Segment],
        token: Token,
        data: T,
    ) -> Result<u16, AddError<T>> {
        let time = self.shared.instrument.stamp();
        let sums = match self.check_add(readable, writable) {
            Ok(sums) => sums,
            Err(kind) => {
                self.record_failed_add(time, readable, writable, token, kind);
                return Err(AddError { kind, token, data });
            }
        };
        let count = (readable.len() + writable.len()) as u16;
        let head = self.free_head;
        let chain = readable
            .iter()
            .map(|segment| (segment, 0))
            .chain(writable.iter().map(|segment| (segment, DESC_F_WRITE)));
        let mut index = head;
        for (i, (segment, write)) in chain.enumerate() {
            let more = i + 1 < usize::from(count);
            let descriptor = &mut self.descriptors[usize::from(index)];
            descriptor.segment = *segment;
            descriptor.flags = write | if more { DESC_F_NEXT } else { 0 };
            let table = self.shared.memory.descriptor_area();
            let at = usize::from(index) * DESCRIPTOR_LEN;
            table.store_u64(at, segment.address.0, Ordering::Relaxed);
            table.store_u64(at + 8, descriptor.tail_word(), Ordering::Relaxed);
            index = descriptor.next;
        }
        self.free_head = index;
        self.free -= count;
        self.in_flight_count += 1;
        self.in_flight[usize::from(head)] = Some(InFlight {
            data,
            token,
            number: self.added,
            descriptors: count,
            writable_bytes: sums.writable,
        });
        self.added += 1;
        let position = self.avail_idx;
        let slot = position.0 & self.shared.size.mask();
        self.shared
            .memory
            .driver_area()
            .store_u16(avail_entry(slot), head, Ordering::Relaxed);
        self.avail_idx = position.advance(1);
        self.share_state();
        // The record leaves before the buffer is published, so that nothing the
        // device does with it can be recorded earlier.
        if I::ENABLED {
            let memory = &self.shared.memory;
            self.emit(
                time,
                token,
                Flags::empty(),
                Body::Add(Add {
                    free: self.free,
                    error: 0,
                    readable_bytes: sums.readable,
                    writable_bytes: sums.writable,
                    head,
                    position,
                    readable_segments: readable.len() as u16,
                    writable_segments: writable.len() as u16,
                    descriptors: count,
                }),
                Payload::segments(readable, sums.readable, &|at, into| {
                    memory.read_buffer(at, into)
                }),
            );
        }
        Ok(self.free)
    }

    /// The second half of [`add`](Self::add): all buffers added so far become
    /// available to the device (virtio 1.4 §2.7.13.3).
    pub fn publish(&mut self) {
        let count = self.avail_idx.distance_from(self.published);
        self.published = self.avail_idx;
        self.announced = self.added;
        self.published_since_kick = self.published_since_kick.saturating_add(u32::from(count));
        // Release: the device sees the descriptors and the ring entry before
        // the index that makes them available (virtio 1.4 §2.7.13.3.1).
        self.shared
            .memory
            .driver_area()
            .store_u16(IDX, self.avail_idx.0, Ordering::Release);
    }

    fn check_add(&self, readable: &[Segment], writable: &[Segment]) -> Result<Sums, AddErrorKind> {
        if let Some(broken) = self.broken {
            return Err(broken.into());
        }
        let segments = readable.len() + writable.len();
        let size = self.shared.size.get();
        if segments == 0 {
            return Err(AddErrorKind::NoSegments);
        }
        if segments > usize::from(size) {
            return Err(AddErrorKind::TooManySegments { segments, size });
        }
        // Lengths before space: a buffer that can never be added is not told to
        // wait.
        let sums = sums(readable, writable).ok_or(AddErrorKind::BadLength)?;
        let memory = &self.shared.memory;
        let in_ring = |segment: &&Segment| !memory.is_buffer(**segment);
        if let Some(segment) = readable.iter().chain(writable).find(in_ring) {
            return Err(AddErrorKind::SegmentInRing {
                address: segment.address.0,
            });
        }
        if segments > usize::from(self.free) {
            return Err(AddErrorKind::NoSpace {
                needed: segments,
                free: self.free,
            });
        }
        Ok(sums)
    }

    fn record_failed_add(
        &self,
        time: Timestamp,
        readable: &[Segment],
        writable: &[Segment],
        token: Token,
        kind: AddErrorKind,
    ) {
        if !I::ENABLED {
            return;
        }
        let bytes = |segments: &[Segment]| {
            segments
                .iter()
                .fold(0u32, |sum, segment| sum.saturating_add(segment.len))
        };
        let count = |segments: &[Segment]| u16::try_from(segments.len()).unwrap_or(u16::MAX);
        let flags = if self.broken.is_some() {
            Flags::BROKEN
        } else {
            Flags::empty()
        };
        self.emit(
            time,
            token,
            flags,
            Body::AddFailed(Add {
                free: self.free,
                error: kind.errno(),
                readable_bytes: bytes(readable),
                writable_bytes: bytes(writable),
                head: 0,
                position: self.avail_idx,
                readable_segments: count(readable),
                writable_segments: count(writable),
                descriptors: 0,
            }),
            Payload::none(),
        );
    }
}

/// Bytes of a buffer by direction.
#[derive(Clone, Copy)]
struct Sums {
    readable: u32,
    writable: u32,
}

/// Adds up the segments; `None` for an empty one or for more than 2³² − 1 bytes.
fn sums(readable: &[Segment], writable: &[Segment]) -> Option<Sums> {
    let sum = |segments: &[Segment]| {
        segments.iter().try_fold(0u32, |sum, segment| {
            (segment.len > 0).then_some(sum)?.checked_add(segment.len)
        })
    };
    let sums = Sums {
        readable: sum(readable)?,
        writable: sum(writable)?,
    };
    sums.readable.checked_add(sums.writable)?;
    Some(sums)
}
