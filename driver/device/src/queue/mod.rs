//! The device's half of a virtqueue, split or packed.
//!
//! The mirror image of the driver's half, and as distrustful: a chain that
//! leaves the table, runs in circles or mixes its directions is an error, and
//! nothing loops for longer than the ring is.

mod chain;
mod fault;
mod notification;
mod order;
mod packed;
mod split;

use virtscope_driver::instrument::{Event, Instrument, Payload};
use virtscope_driver::memory::QueueMemory;
use virtscope_driver::ring::{Features, InvalidQueueSize, QueueSize};
use virtscope_record::{
    Body, Flags, Layout, Notification, NotificationReason, Returned, RingIndex, Taken, Timestamp,
    Token,
};

use chain::Used;
use order::Order;
use packed::PackedRing;
use split::SplitRing;

pub use chain::Chain;
pub use fault::DriverFault;
pub use notification::NotificationCheck;

/// The device's half: take, return, interrupt, one step at a time.
#[derive(Debug)]
pub struct DeviceQueue<M, I> {
    memory: M,
    size: QueueSize,
    features: Features,
    instrument: I,
    ring: Ring,
    taken: u64,
    order: Order,
    held: Held,
    kicks_wanted: bool,
}

/// Descriptors of buffers that were taken and that the driver does not yet see
/// used: no chain may have one of them.
#[derive(Debug, Default)]
struct Held {
    all: u16,
    /// Of buffers that are staged.
    staged: u16,
}

impl Held {
    /// Whether there is room for a chain beside what is held.
    fn check(&self, chain: &Chain, head: u16, size: QueueSize) -> Result<(), DriverFault> {
        if u32::from(self.all) + u32::from(chain.descriptors) > u32::from(size.get()) {
            return Err(DriverFault::DescriptorsHeld {
                head,
                held: self.all,
                size: size.get(),
            });
        }
        Ok(())
    }

    /// What is staged is visible now. A device that lies may have staged more than
    /// it took.
    fn publish(&mut self) {
        self.all = self.all.saturating_sub(self.staged);
        self.staged = 0;
    }
}

#[derive(Debug)]
enum Ring {
    Split(SplitRing),
    Packed(PackedRing),
}

/// How a device can lie when it makes used buffers visible.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Lie {
    /// So many more are used than were returned.
    Ahead(u16),
    /// Split: the used index falls so far behind where it was.
    Behind(u16),
    /// Packed: they are marked used in the other round.
    OtherRound,
}

/// What an interrupt decision saw.
struct Decision {
    old: RingIndex,
    new: RingIndex,
    event: RingIndex,
    flags: u16,
    reason: NotificationReason,
}

impl<M: QueueMemory, I: Instrument> DeviceQueue<M, I> {
    /// The device's half of the queue of this layout over `memory`.
    ///
    /// # Errors
    /// The size is none of a split ring.
    pub fn new(
        layout: Layout,
        memory: M,
        size: QueueSize,
        features: Features,
        instrument: I,
    ) -> Result<Self, InvalidQueueSize> {
        let ring = match layout {
            Layout::Split => {
                size.for_split()?;
                Ring::Split(SplitRing::default())
            }
            Layout::Packed => Ring::Packed(PackedRing::new()),
        };
        Ok(Self {
            memory,
            size,
            features,
            instrument,
            ring,
            taken: 0,
            order: Order::default(),
            held: Held::default(),
            kicks_wanted: true,
        })
    }

    /// The queue's layout.
    pub fn layout(&self) -> Layout {
        match self.ring {
            Ring::Split(_) => Layout::Split,
            Ring::Packed(_) => Layout::Packed,
        }
    }

    /// The Queue Size.
    pub fn size(&self) -> QueueSize {
        self.size
    }

    /// The queue's memory.
    pub fn memory(&self) -> &M {
        &self.memory
    }

    /// Takes the next available buffer, if there is one (virtio 1.4 §2.7.13.3,
    /// §2.8.21 seen from the other side).
    ///
    /// It asks for no kick: a device that means to sleep calls
    /// [`enable_kicks`](Self::enable_kicks) first, each time.
    ///
    /// # Errors
    /// The driver broke a rule; the entry stays where it is.
    pub fn take(&mut self) -> Result<Option<Chain>, DriverFault> {
        let mut chain = Chain::default();
        Ok(self.take_into(&mut chain)?.then_some(chain))
    }

    /// [`take`](Self::take) into a chain whose memory is used again; whether there
    /// was a buffer.
    ///
    /// # Errors
    /// As for `take`.
    pub fn take_into(&mut self, chain: &mut Chain) -> Result<bool, DriverFault> {
        let (size, features, held) = (self.size, self.features, &self.held);
        let taken = match &mut self.ring {
            Ring::Split(ring) => ring.take(&self.memory, size, features, held, chain)?,
            Ring::Packed(ring) => ring.take(&self.memory, size, features, held, chain)?,
        };
        let Some((position, avail_index)) = taken else {
            return Ok(false);
        };
        self.held.all += chain.descriptors;
        chain.number = self.taken;
        self.taken += 1;
        if I::ENABLED {
            let taken = Taken {
                free: 0,
                error: 0,
                readable_bytes: chain.readable_bytes(),
                writable_bytes: chain.writable_bytes(),
                head: chain.id,
                position,
                avail_index,
                readable_segments: chain.readable.len() as u16,
                writable_segments: chain.writable.len() as u16,
            };
            self.emit(self.instrument.stamp(), Flags::empty(), Body::Taken(taken));
        }
        Ok(true)
    }

    /// Returns a buffer into which `written` bytes were written (virtio 1.4
    /// §2.7.8, §2.8). The driver may take it at once, interrupted or not.
    ///
    /// With `VIRTIO_F_IN_ORDER` a buffer that is finished before its turn waits
    /// here for those taken before it.
    pub fn put_used(&mut self, chain: &Chain, written: u32) {
        self.stage_used(chain, written);
        self.publish_used();
    }

    /// The first half of [`put_used`](Self::put_used): the driver does not see it
    /// yet. With `VIRTIO_F_IN_ORDER`, buffers staged one after the other share an
    /// entry where they can: where all but the last are wholly used (virtio 1.4
    /// §2.7.9, §2.8.8).
    pub fn stage_used(&mut self, chain: &Chain, written: u32) {
        let used = Used::new(chain, written);
        if !self.features.in_order {
            self.stage(used);
            return;
        }
        let mut next = self.order.finished(chain.number, used);
        while let Some(used) = next {
            self.stage(used);
            next = self.order.follower();
        }
    }

    /// The second half of [`put_used`](Self::put_used): all buffers staged so far
    /// become visible to the driver.
    pub fn publish_used(&mut self) {
        self.held.publish();
        match &mut self.ring {
            Ring::Split(ring) => ring.publish(&self.memory, self.size),
            Ring::Packed(ring) => ring.publish(&self.memory, self.size),
        }
    }

    /// [`publish_used`](Self::publish_used) by a device that lies.
    pub(crate) fn publish_lie(&mut self, lie: Lie) {
        self.held.publish();
        match &mut self.ring {
            Ring::Split(ring) => ring.publish_lie(&self.memory, self.size, lie),
            Ring::Packed(ring) => ring.publish_lie(&self.memory, self.size, lie),
        }
    }

    /// Whether a buffer for which [`stage_used`](Self::stage_used) was called does
    /// not wait for its turn any more.
    pub(crate) fn had_its_turn(&self, chain: &Chain) -> bool {
        !self.features.in_order || self.order.is_past(chain.number)
    }

    fn stage(&mut self, used: Used) {
        self.held.staged = self.held.staged.saturating_add(used.descriptors);
        let (size, features) = (self.size, self.features);
        let position = match &mut self.ring {
            Ring::Split(ring) => ring.stage(&self.memory, size, features, used),
            Ring::Packed(ring) => ring.stage(&self.memory, size, features, used),
        };
        // The record leaves before the driver can see the entry.
        if I::ENABLED {
            let returned = Returned {
                free: 0,
                error: 0,
                used_length: used.written,
                head: used.id,
                position,
            };
            let time = self.instrument.stamp();
            self.emit(time, Flags::empty(), Body::Returned(returned));
        }
    }

    /// Whether the driver needs a used buffer notification for what was returned
    /// since the last decision (virtio 1.4 §2.7.7.2, §2.8.10). If `true`,
    /// interrupt it.
    pub fn should_interrupt(&mut self) -> bool {
        let (size, features) = (self.size, self.features);
        let decision = match &mut self.ring {
            Ring::Split(ring) => ring.interrupt(&self.memory, size, features),
            Ring::Packed(ring) => ring.interrupt(&self.memory, size, features),
        };
        let needed = decision.reason.verdict() == Some(true);
        if I::ENABLED {
            let mut flags = Flags::empty();
            flags.set(Flags::EVENT_IDX, self.features.event_idx);
            flags.set(Flags::NOTIFICATION_NEEDED, needed);
            let notification = Notification {
                free: 0,
                error: 0,
                old: decision.old,
                new: decision.new,
                event: decision.event,
                event_flags: decision.flags,
                reason: decision.reason,
            };
            // Recorded before the interrupt is raised.
            let time = self.instrument.stamp();
            self.emit(time, flags, Body::InterruptSent(notification));
        }
        needed
    }

    /// Buffers returned since the last [`should_interrupt`](Self::should_interrupt).
    pub fn returned_unsignalled(&self) -> u32 {
        match &self.ring {
            Ring::Split(ring) => ring.returned_unsignalled(),
            Ring::Packed(ring) => ring.returned_unsignalled(),
        }
    }

    /// Asks the driver for no available buffer notifications, because we look
    /// ourselves. It may send some all the same.
    pub fn disable_kicks(&mut self) {
        if !self.kicks_wanted {
            return;
        }
        self.kicks_wanted = false;
        match &self.ring {
            Ring::Split(_) => SplitRing::disable_kicks(&self.memory, self.features),
            Ring::Packed(ring) => ring.disable_kicks(&self.memory),
        }
    }

    /// Asks for available buffer notifications again. Returns `false` if buffers
    /// are available already, for which none may come: take them first.
    pub fn enable_kicks(&mut self) -> bool {
        self.kicks_wanted = true;
        match &mut self.ring {
            Ring::Split(ring) => ring.enable_kicks(&self.memory, self.size, self.features),
            Ring::Packed(ring) => ring.enable_kicks(&self.memory, self.features),
        }
    }

    fn emit(&self, time: Timestamp, mut flags: Flags, body: Body) {
        flags.set(Flags::PACKED, self.layout() == Layout::Packed);
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
