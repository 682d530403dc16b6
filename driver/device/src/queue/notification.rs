//! `VIRTIO_F_NOTIFICATION_DATA`: what a notification says, against what stands in the
//! ring (virtio 1.4 §2.9).

use virtscope_driver::memory::{Barrier, Order, QueueMemory, RingWords};
use virtscope_driver::ring::packed_layout::{DESC_F_AVAIL, Position, Tail, tail_word};
use virtscope_driver::ring::split_layout::IDX;
use virtscope_driver::ring::{AvailableNotification, QueueSize};
use virtscope_record::{Layout, RingIndex};

use super::DriverFault;

/// How often is looked before a notification is called false.
const LOOKS: usize = 64;

/// What notifications of a queue are held against: its ring.
#[derive(Clone, Debug)]
pub struct NotificationCheck<M> {
    /// The queue's memory.
    pub memory: M,
    /// Its layout.
    pub layout: Layout,
    /// Its entries.
    pub size: QueueSize,
}

impl<M: QueueMemory> NotificationCheck<M> {
    /// Checks that a notification speaks of no buffer that the ring does not have.
    ///
    /// It may well lag behind the ring: the driver goes on making buffers available
    /// while it is on its way. Nothing can be told of one that lags by a whole ring
    /// (packed) or by 32768 buffers (split). And it may run ahead for a moment, where
    /// one thread notifies while another is just making a buffer available; so there
    /// are some looks before the driver is blamed.
    ///
    /// # Errors
    /// It runs ahead of the ring, or names no place of it.
    pub fn check(&self, notification: AvailableNotification) -> Result<(), DriverFault> {
        for _ in 1..LOOKS {
            if self.is_borne_out(notification) {
                return Ok(());
            }
            std::thread::yield_now();
        }
        self.check_now(notification)
    }

    /// The last look.
    fn check_now(&self, notification: AvailableNotification) -> Result<(), DriverFault> {
        let next = notification.next;
        if self.is_borne_out(notification) {
            return Ok(());
        }
        Err(DriverFault::FalseNotification { next })
    }

    fn is_borne_out(&self, notification: AvailableNotification) -> bool {
        match self.layout {
            Layout::Split => {
                let order = Order::Barrier(Barrier::DeviceSplitAvailable);
                let avail_index = RingIndex(self.memory.driver_area().load_u16(IDX, order));
                avail_index.distance_from(RingIndex(notification.next)) < 1 << 15
            }
            Layout::Packed => {
                let position = Position::from_raw(notification.next);
                position.offset < self.size.get() && self.written_before(position)
            }
        }
    }

    /// Whether the driver has been at the descriptor before `position`: it bears the
    /// mark of that round, available or used. Before the first round, memory full of
    /// zeros looks like a round with the wrap counter 0.
    fn written_before(&self, position: Position) -> bool {
        let (slot, wrap) = match position.offset.checked_sub(1) {
            Some(slot) => (slot, position.wrap),
            None => (self.size.get() - 1, !position.wrap),
        };
        let order = Order::Barrier(Barrier::DevicePackedAvailable);
        let ring = self.memory.descriptor_area();
        let tail = Tail::from_word(ring.load_u64(tail_word(slot), order));
        (tail.flags & DESC_F_AVAIL != 0) == wrap
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU16, Ordering};

    use virtscope_driver::instrument::NoInstrument;
    use virtscope_driver::memory::{GuestAddress, GuestMemory, Segment, SharedQueueMemory};
    use virtscope_driver::ring::{
        Features, Notifier, NotifyError, Virtqueue, packed_layout, split_layout,
    };
    use virtscope_record::Token;

    use super::*;
    use crate::queue::DeviceQueue;

    /// Remembers the last notification.
    struct Doorbell(Arc<AtomicU16>);

    impl Notifier for Doorbell {
        fn notify(&self, notification: AvailableNotification) -> Result<(), NotifyError> {
            self.0.store(notification.next, Ordering::Relaxed);
            Ok(())
        }
    }

    /// Every notification of a driver is believed, now and a little later; one that
    /// is ahead by any number of buffers is not.
    #[test]
    fn what_is_ahead_of_the_ring_is_not_believed() {
        for layout in [Layout::Split, Layout::Packed] {
            let size = QueueSize::new(8).unwrap();
            let memory = Arc::new(GuestMemory::new(2));
            let base = GuestAddress(0);
            let areas = match layout {
                Layout::Split => {
                    let (addresses, _) = split_layout::contiguous(base, size);
                    SharedQueueMemory::split(memory, addresses, size)
                }
                Layout::Packed => {
                    let (addresses, _) = packed_layout::contiguous(base, size);
                    SharedQueueMemory::packed(memory, addresses, size)
                }
            };
            let areas = areas.unwrap();
            let next = Arc::new(AtomicU16::new(0));
            let bell = Box::new(Doorbell(Arc::clone(&next)));
            let (features, none) = (Features::default(), NoInstrument);
            let mut driver =
                Virtqueue::new(layout, areas.clone(), size, features, none, bell).unwrap();
            let mut device = DeviceQueue::new(layout, areas.clone(), size, features, none).unwrap();
            let ring = NotificationCheck {
                memory: areas,
                layout,
                size,
            };
            let check = |next| ring.check(AvailableNotification { next });
            let mut before = None;
            for round in 0..100u64 {
                let segment = Segment {
                    address: GuestAddress(4096),
                    len: 8,
                };
                let list = [segment; 2];
                // Of one and of two descriptors by turns.
                let list = &list[..1 + (round % 2) as usize];
                driver.add_inbuf(list, Token(round), ()).unwrap();
                driver.handle().notify().unwrap();
                let next = next.load(Ordering::Relaxed);
                assert_eq!(check(next), Ok(()), "{layout:?}, round {round}");
                if let Some(before) = before.replace(next) {
                    assert_eq!(check(before), Ok(()), "a late one, round {round}");
                }
                for ahead in 1..4 {
                    let false_next = match layout {
                        Layout::Split => next.wrapping_add(ahead),
                        Layout::Packed => Position::from_raw(next).advance(ahead, size).to_raw(),
                    };
                    let fault = DriverFault::FalseNotification { next: false_next };
                    // Nobody else is at the ring: it will not come to bear this out. Waiting
                    // for that takes long where others want the processor.
                    let false_next = AvailableNotification { next: false_next };
                    let seen = ring.check_now(false_next);
                    assert_eq!(seen, Err(fault), "{layout:?}, round {round}");
                    if round == 0 {
                        assert_eq!(ring.check(false_next), Err(fault), "{layout:?}");
                    }
                }
                let chain = device.take().unwrap().unwrap();
                device.put_used(&chain, 8);
                assert!(driver.get_buf().unwrap().is_some());
                assert_eq!(check(next), Ok(()), "of used buffers, round {round}");
            }
            if layout == Layout::Packed {
                // Places that a ring of eight does not have.
                assert!(check(8).is_err() && check(0x7fff).is_err());
            }
        }
    }
}
