//! Taking used buffers back, and distrusting whoever returns them.

use virtscope_record::{Body, Flags, Timestamp, Token, Used};

use super::super::split_layout::{AVAIL_F_NO_INTERRUPT, DESC_F_WRITE};
use super::super::{QueueError, Violation};
use super::handle::UsedEntry;
use super::{InFlight, SplitQueue};
use crate::instrument::{Instrument, Payload};
use crate::memory::QueueMemory;

/// A buffer that came back.
#[derive(Debug)]
pub struct UsedBuffer<T> {
    /// What was given with it.
    pub data: T,
    /// The token given with it.
    pub token: Token,
    /// Bytes the device says it wrote; at most the buffer's writable bytes.
    pub written: u32,
}

impl<M: QueueMemory, I: Instrument, T> SplitQueue<M, I, T> {
    /// Linux `virtqueue_get_buf`: the next used buffer, if there is one.
    ///
    /// # Errors
    /// The device broke a rule: the queue is broken from now on.
    pub fn get_buf(&mut self) -> Result<Option<UsedBuffer<T>>, QueueError> {
        if let Some(broken) = self.broken {
            return Err(broken);
        }
        let Some(entry) = self.shared.used_entry(self.last_used) else {
            return Ok(None);
        };
        let (head, buffer) = match self.take_in_flight(entry) {
            Ok(taken) => taken,
            Err(violation) => return Err(self.break_queue(violation, entry)),
        };
        let time = self.shared.instrument.stamp();
        if I::ENABLED {
            self.record_used(time, head, entry, &buffer);
        }
        self.free_chain(head, buffer.descriptors);
        self.last_used = self.last_used.advance(1);
        self.share_state();
        if self.shared.features.event_idx && self.avail_flags & AVAIL_F_NO_INTERRUPT == 0 {
            self.write_used_event(self.last_used);
            // The caller may look once more, find nothing and sleep: the device
            // must see the new event index before that look.
            self.shared.memory.full_fence();
        }
        Ok(Some(UsedBuffer {
            data: buffer.data,
            token: buffer.token,
            written: entry.length,
        }))
    }

    /// Takes the buffer that a used entry names out of the buffers in flight, if
    /// every word of the entry is believable.
    fn take_in_flight(&mut self, entry: UsedEntry) -> Result<(u16, InFlight<T>), Violation> {
        // What was added and not published is not the device's to return.
        let announced = self.announced;
        let unpublished = self.avail_idx.distance_from(self.published);
        let in_flight = self.in_flight_count.saturating_sub(unpublished);
        if entry.used_index.distance_from(self.last_used) > in_flight {
            return Err(Violation::UsedIndexJumped {
                last_used: self.last_used,
                used_index: entry.used_index,
                in_flight,
            });
        }
        let (id, used_length) = (entry.id, entry.length);
        let size = self.shared.size.get();
        let head = u16::try_from(id)
            .ok()
            .filter(|head| *head < size)
            .ok_or(Violation::IdOutOfRange { id, size })?;
        let slot = &mut self.in_flight[usize::from(head)];
        let buffer = slot
            .take_if(|buffer| buffer.number < announced)
            .ok_or(Violation::IdNotInFlight { id: head })?;
        if used_length > buffer.writable_bytes {
            let writable = buffer.writable_bytes;
            // It stays the device's: only a reset brings it back.
            *slot = Some(buffer);
            return Err(Violation::UsedLengthTooLong {
                used_length,
                writable,
            });
        }
        self.in_flight_count -= 1;
        Ok((head, buffer))
    }

    /// Gives the descriptors of a chain back, by the private copy of it.
    pub(super) fn free_chain(&mut self, head: u16, count: u16) {
        let mut last = head;
        for _ in 1..count {
            last = self.descriptors[usize::from(last)].next;
        }
        self.descriptors[usize::from(last)].next = self.free_head;
        self.free_head = head;
        self.free += count;
    }

    fn record_used(&self, time: Timestamp, head: u16, entry: UsedEntry, buffer: &InFlight<T>) {
        let mut writable = Vec::with_capacity(usize::from(buffer.descriptors));
        let mut index = head;
        for _ in 0..buffer.descriptors {
            let descriptor = self.descriptors[usize::from(index)];
            if descriptor.flags & DESC_F_WRITE != 0 {
                writable.push(descriptor.segment);
            }
            index = descriptor.next;
        }
        let memory = &self.shared.memory;
        self.emit(
            time,
            buffer.token,
            Flags::empty(),
            Body::Used(Used {
                free: self.free + buffer.descriptors,
                error: 0,
                used_length: entry.length,
                writable_bytes: buffer.writable_bytes,
                head,
                position: self.last_used,
                used_index: entry.used_index,
                descriptors: buffer.descriptors,
            }),
            Payload::segments(&writable, entry.length, &|at, into| {
                memory.read_buffer(at, into)
            }),
        );
    }

    /// Marks the queue broken; the offending entry becomes a record.
    fn break_queue(&mut self, violation: Violation, entry: UsedEntry) -> QueueError {
        let error = QueueError { violation };
        self.broken = Some(error);
        if I::ENABLED {
            self.emit(
                self.shared.instrument.stamp(),
                Token::default(),
                Flags::BROKEN,
                Body::Used(Used {
                    free: self.free,
                    error: rustix::io::Errno::IO.raw_os_error() as u16,
                    used_length: entry.length,
                    writable_bytes: 0,
                    head: u16::try_from(entry.id).unwrap_or(u16::MAX),
                    position: self.last_used,
                    used_index: entry.used_index,
                    descriptors: 0,
                }),
                Payload::none(),
            );
        }
        error
    }
}
