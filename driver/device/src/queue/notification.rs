//! `VIRTIO_F_NOTIFICATION_DATA`: what a notification says, against what stands in the
//! ring (virtio 1.4 §2.9).

use virtscope_driver::memory::{Barrier, Order, QueueMemory, RingWords};
use virtscope_driver::ring::packed_layout::{DESC_F_AVAIL, Position, Tail, tail_word};
use virtscope_driver::ring::split_layout::IDX;
use virtscope_driver::ring::{AvailableNotification, QueueSize};
use virtscope_record::{Layout, RingIndex};

use super::DriverFault;

/// Checks that a notification speaks of no buffer that the ring does not have.
///
/// It may well lag behind the ring: the driver goes on making buffers available while
/// it is on its way. Nothing can be told of one that lags by a whole ring (packed) or
/// by 32768 buffers (split).
///
/// # Errors
/// It runs ahead of the ring, or names no place of it.
pub fn check_notification(
    layout: Layout,
    memory: &impl QueueMemory,
    size: QueueSize,
    notification: AvailableNotification,
) -> Result<(), DriverFault> {
    let next = notification.next;
    let believable = match layout {
        Layout::Split => {
            let order = Order::Barrier(Barrier::DeviceSplitAvailable);
            let avail_index = RingIndex(memory.driver_area().load_u16(IDX, order));
            avail_index.distance_from(RingIndex(next)) < 1 << 15
        }
        Layout::Packed => {
            let position = Position::from_raw(next);
            position.offset < size.get() && written_before(memory, size, position)
        }
    };
    if believable {
        Ok(())
    } else {
        Err(DriverFault::FalseNotification { next })
    }
}

/// Whether the driver has been at the descriptor before `position`: it bears the mark
/// of that round, available or used.
fn written_before(memory: &impl QueueMemory, size: QueueSize, position: Position) -> bool {
    if position == Position::START {
        return true;
    }
    let (slot, wrap) = match position.offset.checked_sub(1) {
        Some(slot) => (slot, position.wrap),
        None => (size.get() - 1, !position.wrap),
    };
    let order = Order::Barrier(Barrier::DevicePackedAvailable);
    let word = memory.descriptor_area().load_u64(tail_word(slot), order);
    let marked = Tail::from_word(word).flags & DESC_F_AVAIL != 0;
    marked == wrap
}
