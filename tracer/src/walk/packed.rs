//! What stands in a packed ring: virtio 1.4 §2.8, and what Linux keeps beside it.

use std::collections::HashSet;

use super::ring::{DESCRIPTOR, Found, INDIRECT, Lengths};
use super::{
    EventSuppression, InFlight, PackedRing, Queue, Ring, RingLayout, Walk, WalkError, Whereabouts,
};
use crate::memory::Bytes;

/// Where a descriptor's buffer id and `flags` are (virtio 1.4 §2.8.13).
const ID: u32 = 12;
const FLAGS: u32 = 14;
/// `VIRTQ_DESC_F_AVAIL` (virtio 1.4 §2.8.1).
const AVAIL: u16 = 1 << 7;
/// `VIRTQ_DESC_F_USED` (virtio 1.4 §2.8.1).
const USED: u16 = 1 << 15;
/// The wrap counter in an event suppression's position (virtio 1.4 §2.8.14), and in
/// Linux' `last_used_idx`.
const WRAP: u16 = 1 << 15;

/// The tables of one moment, one entry a descriptor.
struct Tables {
    /// Linux `struct vring_desc_state_packed`.
    states: Vec<Bytes>,
    /// Linux `struct vring_desc_extra`; none where this ring does not keep them.
    extras: Option<Vec<Bytes>>,
    /// The ring itself.
    descriptors: Vec<Bytes>,
}

impl Walk<'_> {
    pub(super) fn packed(&self, queue: &Queue, bytes: &Bytes) -> Result<Found, WalkError> {
        let at = &self.offsets.packed;
        let size = u32::from(queue.size);
        let read = |address, length: u32| Bytes::read(self.memory, address, length as usize);
        let event = |area: u64| {
            let bytes = read(area, 4)?;
            Ok::<_, WalkError>(EventSuppression {
                offset: bytes.le16(0) & !WRAP,
                wrap: bytes.le16(0) & WRAP != 0,
                flags: bytes.le16(2) & 3,
            })
        };
        let last_used = bytes.u16(self.offsets.queue.last_used);
        let (next_used, used_wrap) = match at.used_wrap {
            Some(at) => (last_used, bytes.flag(at)),
            None => (last_used & !WRAP, last_used & WRAP != 0),
        };
        let ring = PackedRing {
            next_avail: bytes.u16(at.next),
            avail_wrap: bytes.flag(at.wrap),
            next_used,
            used_wrap,
            driver_event: event(queue.areas.driver.kernel)?,
            device_event: event(queue.areas.device.kernel)?,
        };
        let keeps_extras = self.offsets.queue.maps.is_some_and(|at| bytes.flag(at));
        let tables = Tables {
            states: read(bytes.u64(at.state), at.state_size * size)?
                .pieces(at.state_size)
                .collect(),
            extras: match keeps_extras {
                true => Some(
                    read(bytes.u64(at.extra), at.extras.size * size)?
                        .pieces(at.extras.size)
                        .collect(),
                ),
                false => None,
            },
            descriptors: read(queue.areas.descriptors.kernel, DESCRIPTOR * size)?
                .pieces(DESCRIPTOR)
                .collect(),
        };
        let batch = self.offsets.queue.batch.map(|at| bytes.u32(at));
        let batch = batch.filter(|id| queue.layout == RingLayout::PackedInOrder && *id < size);
        let returned = self.returned(queue, &ring, &tables, batch.map(|id| id as u16));
        let in_flight = (0..queue.size)
            .filter_map(|id| {
                let token = tables.states.get(usize::from(id))?.u64(at.data);
                let whereabouts = match returned.contains(&id) {
                    true => Whereabouts::Returned,
                    false => Whereabouts::Device,
                };
                (token != 0).then(|| self.packed_buffer(&tables, id, token, whereabouts))
            })
            .collect();
        Ok(Found {
            ring: Ring::Packed(ring),
            in_flight,
        })
    }

    fn packed_buffer(
        &self,
        tables: &Tables,
        id: u16,
        token: u64,
        whereabouts: Whereabouts,
    ) -> InFlight {
        let at = &self.offsets.packed;
        let state = &tables.states[usize::from(id)];
        let count = state.u16(at.count);
        let table = state.u64(at.table);
        let mut chain = self.extras(tables, id, count);
        if let Some((_, Some(bytes))) = chain {
            let lengths = self.table(table, bytes / DESCRIPTOR, FLAGS);
            chain = lengths.map(|lengths| (lengths, Some(bytes)));
        } else if table != 0 {
            // What the ring has of an indirect buffer is its table, not its bytes.
            chain = None;
        }
        let table = chain.and_then(|(_, table)| table);
        InFlight {
            head: id,
            token,
            whereabouts,
            descriptors: (count > 0 && usize::from(count) <= tables.states.len()).then_some(count),
            indirect: table.map(|bytes| bytes / DESCRIPTOR),
            readable: chain.map(|(lengths, _)| lengths.readable),
            writable: chain.map(|(lengths, _)| lengths.writable),
        }
    }

    /// The bytes of the buffer `id` and of its indirect table, from the driver's own
    /// copies. Linux keeps them only for rings whose buffers it maps itself; the ring
    /// cannot stand in for them, because the device writes over descriptors of buffers
    /// that are still in flight.
    fn extras(&self, tables: &Tables, id: u16, count: u16) -> Option<(Lengths, Option<u32>)> {
        let at = &self.offsets.packed.extras;
        let extras = tables.extras.as_ref()?;
        let mut lengths = Lengths::default();
        let mut table = None;
        let mut index = usize::from(id);
        for _ in 0..count {
            let extra = extras.get(index)?;
            match extra.u16(at.flags) & INDIRECT {
                0 => lengths.add(extra.u32(at.len), extra.u16(at.flags)),
                _ => table = Some(extra.u32(at.len)),
            }
            index = usize::from(extra.u16(at.next));
        }
        Some((lengths, table))
    }

    /// The ids of buffers that the device has returned and the driver has not taken back:
    /// as Linux `more_used_packed` sees it, from where the driver reads next. `batch` is the
    /// last of several that the driver is about to take back for one used descriptor.
    fn returned(
        &self,
        queue: &Queue,
        ring: &PackedRing,
        tables: &Tables,
        batch: Option<u16>,
    ) -> HashSet<u16> {
        let mut returned = HashSet::new();
        let (mut position, mut wrap) = (ring.next_used, ring.used_wrap);
        let mut left = queue.size;
        let mut batch = batch;
        while let Some(last) = batch.take().or_else(|| tables.used(position, wrap)) {
            // In order, one descriptor may stand for several buffers, up to the one that it
            // names (virtio 1.4 §2.8.8). Linux numbers them by their places in the ring then.
            let id = match queue.layout {
                RingLayout::PackedInOrder => position,
                _ => last,
            };
            let state = tables.states.get(usize::from(id));
            let count = state.map_or(0, |state| state.u16(self.offsets.packed.count));
            if count == 0 || count > left || !returned.insert(id) {
                break;
            }
            left -= count;
            position += count;
            if position >= queue.size {
                position -= queue.size;
                wrap = !wrap;
            }
            batch = (id != last).then_some(last);
        }
        returned
    }
}

impl Tables {
    /// The id in the descriptor at `position`, if the device has used it.
    fn used(&self, position: u16, wrap: bool) -> Option<u16> {
        let descriptor = self.descriptors.get(usize::from(position))?;
        let flags = descriptor.le16(FLAGS);
        let used = flags & USED != 0;
        ((flags & AVAIL != 0) == used && used == wrap).then(|| descriptor.le16(ID))
    }
}
