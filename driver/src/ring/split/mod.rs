//! The driver's half of a split virtqueue (virtio 1.4 §2.7; Linux
//! `drivers/virtio/virtio_ring.c`).
//!
//! What the driver must be able to trust, it keeps to itself: descriptors are
//! written to shared memory and never read back, and every byte that the device
//! can write is checked against the private copies before it is believed.

mod add;
mod callbacks;
mod handle;
mod kick;
mod used;

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use virtscope_record::{Body, Detach, Flags, RingIndex, Timestamp, Token};

pub use handle::{Notifier, QueueHandle};
pub use used::UsedBuffer;

use super::split_layout::Descriptor;
use super::{QueueError, QueueSize};
use crate::instrument::{Event, Instrument, Payload};
use crate::memory::QueueMemory;
use handle::Shared;

/// The negotiated features that change how the ring works.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Features {
    /// `VIRTIO_F_EVENT_IDX`: suppress notifications by index, not by flag.
    pub event_idx: bool,
}

/// The driver's half of a split virtqueue that carries a `T` with each buffer.
///
/// Methods that Linux wants serialised take `&mut self`; the others are on
/// [`QueueHandle`].
pub struct SplitQueue<M, I, T> {
    shared: Arc<Shared<M, I>>,
    /// What was written to the descriptor table, and how free ones are chained.
    descriptors: Vec<Descriptor>,
    /// By head: the buffers in flight.
    in_flight: Vec<Option<InFlight<T>>>,
    in_flight_count: u16,
    free_head: u16,
    free: u16,
    /// The next available index; those before `published` are visible to the
    /// device.
    avail_idx: RingIndex,
    published: RingIndex,
    /// The same two as numbers that never wrap, which tell a buffer that was
    /// never shown to the device from one that has been with it for long.
    added: u64,
    announced: u64,
    /// The available index at the last kick decision, and how many buffers were
    /// published since (which may be more than 65536).
    kicked: RingIndex,
    published_since_kick: u32,
    last_used: RingIndex,
    avail_flags: u16,
    broken: Option<QueueError>,
}

#[derive(Debug)]
struct InFlight<T> {
    data: T,
    token: Token,
    /// Buffers added before this one.
    number: u64,
    descriptors: u16,
    writable_bytes: u32,
}

impl<M: QueueMemory, I: Instrument, T> SplitQueue<M, I, T> {
    /// A queue of `size` over `memory`, which must be zeroed; the device gets to
    /// know the areas by the transport, after this.
    pub fn new(
        memory: M,
        size: QueueSize,
        features: Features,
        instrument: I,
        notifier: Box<dyn Notifier>,
    ) -> Self {
        let entries = size.get();
        Self {
            shared: Arc::new(Shared {
                memory,
                size,
                features,
                instrument,
                notifier,
                last_used: AtomicU16::new(0),
                free: AtomicU16::new(entries),
                callbacks: AtomicU16::new(0),
                used_event: AtomicU16::new(0),
            }),
            descriptors: (0..entries)
                .map(|i| Descriptor {
                    next: i.wrapping_add(1),
                    ..Descriptor::default()
                })
                .collect(),
            in_flight: (0..entries).map(|_| None).collect(),
            in_flight_count: 0,
            free_head: 0,
            free: entries,
            avail_idx: RingIndex(0),
            published: RingIndex(0),
            added: 0,
            announced: 0,
            kicked: RingIndex(0),
            published_since_kick: 0,
            last_used: RingIndex(0),
            avail_flags: 0,
            broken: None,
        }
    }

    /// What may be called beside the queue's other operations.
    pub fn handle(&self) -> QueueHandle<M, I> {
        QueueHandle {
            shared: Arc::clone(&self.shared),
        }
    }

    /// Linux `virtqueue_get_vring_size`: the Queue Size.
    pub fn size(&self) -> QueueSize {
        self.shared.size
    }

    /// Free descriptors (Linux `struct virtqueue::num_free`).
    pub fn free_descriptors(&self) -> u16 {
        self.free
    }

    /// Buffers added and not yet taken back.
    pub fn in_flight(&self) -> u16 {
        self.in_flight_count
    }

    /// What was given with the buffers in flight, by head.
    pub fn in_flight_data(&self) -> impl Iterator<Item = &T> {
        self.in_flight.iter().flatten().map(|buffer| &buffer.data)
    }

    /// What broke the queue, if it is broken (Linux `virtqueue_is_broken`).
    pub fn broken(&self) -> Option<QueueError> {
        self.broken
    }

    /// Linux `virtqueue_detach_unused_buf`: takes back a buffer that was never
    /// used. Only for a queue that the device no longer works on.
    pub fn detach_unused(&mut self) -> Option<(Token, T)> {
        let head = self.in_flight.iter().position(Option::is_some)?;
        let buffer = self.in_flight[head].take()?;
        let head = head as u16;
        self.free_chain(head, buffer.descriptors);
        self.in_flight_count -= 1;
        self.share_state();
        if I::ENABLED {
            self.emit(
                self.shared.instrument.stamp(),
                buffer.token,
                Flags::empty(),
                Body::Detach(Detach {
                    free: self.free,
                    error: 0,
                    head,
                }),
                Payload::none(),
            );
        }
        Some((buffer.token, buffer.data))
    }

    pub(super) fn share_state(&self) {
        let shared = &*self.shared;
        shared.last_used.store(self.last_used.0, Ordering::Relaxed);
        if I::ENABLED {
            shared.free.store(self.free, Ordering::Relaxed);
        }
    }

    pub(super) fn suppression_flags(&self) -> Flags {
        self.shared.suppression_flags()
    }

    pub(super) fn emit(
        &self,
        time: Timestamp,
        token: Token,
        flags: Flags,
        body: Body,
        payload: Payload<'_>,
    ) {
        let event = Event {
            time,
            token,
            flags,
            body,
        };
        self.shared.instrument.emit(event, payload);
    }
}
