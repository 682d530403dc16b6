//! What a queue says of its operations: the same in either layout. Nothing here
//! is called where no records are wanted.

use std::marker::PhantomData;

use virtscope_record::{
    Add, Body, Detach, Flags, Generation, Notification, NotificationReason, Reset, RingIndex,
    Timestamp, Token, Used,
};

use super::AddErrorKind;
use super::checks::{Offer, Placement};
use super::handle::Shared;
use super::slots::InFlight;
use crate::instrument::{Instrument, Payload};
use crate::memory::{QueueMemory, Segment};

/// A buffer's device-readable and device-writable segments.
type Buffer<'a> = (&'a [Segment], &'a [Segment]);

/// Where a buffer stands.
#[derive(Clone, Copy)]
pub(super) struct Place {
    /// Free entries after the operation.
    pub(super) free: u16,
    pub(super) head: u16,
    pub(super) position: RingIndex,
}

/// A used entry as the device wrote it: nothing in it is believed yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct UsedEntry {
    /// The used index seen beside it.
    pub(super) used_index: RingIndex,
    pub(super) id: u32,
    pub(super) length: u32,
}

/// What a kick decision saw.
#[derive(Clone, Copy)]
pub(super) struct Decision {
    pub(super) old: RingIndex,
    pub(super) new: RingIndex,
    pub(super) event: RingIndex,
    pub(super) flags: u16,
    pub(super) reason: NotificationReason,
}

/// By id: the device-writable segments of the buffers in flight, whose bytes
/// become the payload when they are used. Empty where no records are wanted. Each
/// keeps its memory for the next buffer.
#[derive(Debug)]
pub(super) struct Recorded<I> {
    writable: Box<[Vec<Segment>]>,
    instrument: PhantomData<fn(I)>,
}

impl<I: Instrument> Recorded<I> {
    pub(super) fn new(size: u16) -> Self {
        let size = if I::ENABLED { size } else { 0 };
        Self {
            writable: (0..size).map(|_| Vec::new()).collect(),
            instrument: PhantomData,
        }
    }

    #[inline(always)]
    pub(super) fn remember(&mut self, id: u16, writable: &[Segment]) {
        if I::ENABLED {
            let held = &mut self.writable[usize::from(id)];
            held.clear();
            // A call of memcpy, for sixteen bytes, would be the dearest part.
            match writable {
                [only] => held.push(*only),
                many => held.extend_from_slice(many),
            }
        }
    }

    pub(super) fn writable(&self, id: u16) -> &[Segment] {
        self.writable
            .get(usize::from(id))
            .map_or(&[], Vec::as_slice)
    }
}

pub(super) fn add<M: QueueMemory, I: Instrument>(
    shared: &Shared<M, I>,
    time: Timestamp,
    (readable, writable): Buffer<'_>,
    token: Token,
    placement: Placement,
    place: Place,
) {
    let mut flags = Flags::empty();
    flags.set(Flags::INDIRECT, placement.table.is_some());
    let body = Body::Add(Add {
        free: place.free,
        error: 0,
        readable_bytes: placement.sums.readable,
        writable_bytes: placement.sums.writable,
        head: place.head,
        position: place.position,
        readable_segments: readable.len() as u16,
        writable_segments: writable.len() as u16,
        descriptors: placement.descriptors,
    });
    let read = |at, into: &mut [u8]| shared.memory.read_buffer(at, into);
    let payload = Payload::segments(readable, placement.sums.readable, &read);
    shared.emit(time, token, flags, body, payload);
}

#[cold]
pub(super) fn failed_add<M: QueueMemory, I: Instrument, T>(
    shared: &Shared<M, I>,
    time: Timestamp,
    offer: &Offer<'_, T>,
    kind: AddErrorKind,
    place: Place,
) {
    if !I::ENABLED {
        return;
    }
    let Offer {
        readable,
        writable,
        token,
        ..
    } = *offer;
    let bytes = |segments: &[Segment]| {
        segments
            .iter()
            .fold(0u32, |sum, segment| sum.saturating_add(segment.len))
    };
    let count = |segments: &[Segment]| u16::try_from(segments.len()).unwrap_or(u16::MAX);
    let mut flags = Flags::empty();
    flags.set(Flags::BROKEN, matches!(kind, AddErrorKind::Broken(_)));
    let body = Body::AddFailed(Add {
        free: place.free,
        error: kind.errno(),
        readable_bytes: bytes(readable),
        writable_bytes: bytes(writable),
        head: 0,
        position: place.position,
        readable_segments: count(readable),
        writable_segments: count(writable),
        descriptors: 0,
    });
    shared.emit(time, token, flags, body, Payload::none());
}

/// `free` is that after the buffer's entries were given back.
pub(super) fn used<M: QueueMemory, I: Instrument, T>(
    shared: &Shared<M, I>,
    free: u16,
    entry: UsedEntry,
    position: RingIndex,
    buffer: &InFlight<T>,
    writable: &[Segment],
) {
    let mut flags = Flags::empty();
    flags.set(Flags::INDIRECT, buffer.table.is_some());
    let body = Body::Used(Used {
        free,
        error: 0,
        used_length: entry.length,
        writable_bytes: buffer.writable_bytes,
        head: entry.id as u16,
        position,
        used_index: entry.used_index,
        descriptors: buffer.descriptors,
    });
    let read = |at, into: &mut [u8]| shared.memory.read_buffer(at, into);
    let payload = Payload::segments(writable, entry.length, &read);
    let time = shared.instrument.stamp();
    shared.emit(time, buffer.token, flags, body, payload);
}

/// The used entry that broke the queue.
#[cold]
pub(super) fn broken<M: QueueMemory, I: Instrument>(
    shared: &Shared<M, I>,
    free: u16,
    entry: UsedEntry,
    position: RingIndex,
) {
    if !I::ENABLED {
        return;
    }
    let body = Body::Used(Used {
        free,
        error: rustix::io::Errno::IO.raw_os_error() as u16,
        used_length: entry.length,
        writable_bytes: 0,
        head: u16::try_from(entry.id).unwrap_or(u16::MAX),
        position,
        used_index: entry.used_index,
        descriptors: 0,
    });
    let time = shared.instrument.stamp();
    shared.emit(time, Token::default(), Flags::BROKEN, body, Payload::none());
}

pub(super) fn kick<M: QueueMemory, I: Instrument>(
    shared: &Shared<M, I>,
    free: u16,
    decision: Decision,
) {
    let mut flags = Flags::empty();
    let needed = decision.reason.verdict() == Some(true);
    flags.set(Flags::NOTIFICATION_NEEDED, needed);
    let body = Body::Kick(Notification {
        free,
        error: 0,
        old: decision.old,
        new: decision.new,
        event: decision.event,
        event_flags: decision.flags,
        reason: decision.reason,
    });
    let time = shared.instrument.stamp();
    shared.emit(time, Token::default(), flags, body, Payload::none());
}

pub(super) fn detach<M: QueueMemory, I: Instrument>(
    shared: &Shared<M, I>,
    head: u16,
    token: Token,
    free: u16,
) {
    if I::ENABLED {
        let body = Body::Detach(Detach {
            free,
            error: 0,
            head,
        });
        let time = shared.instrument.stamp();
        shared.emit(time, token, Flags::empty(), body, Payload::none());
    }
}

/// The last record of a generation; those behind it belong to the next.
pub(super) fn reset<M: QueueMemory, I: Instrument>(
    shared: &Shared<M, I>,
    free: u16,
    in_flight: u16,
    next: Generation,
) {
    if I::ENABLED {
        let body = Body::Reset(Reset {
            free,
            error: 0,
            in_flight,
        });
        let time = shared.instrument.stamp();
        shared.emit(
            time,
            Token::default(),
            Flags::empty(),
            body,
            Payload::none(),
        );
        shared.instrument.start_generation(next);
    }
}
