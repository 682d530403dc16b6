//! What stands in a split ring: virtio 1.4 §2.7, and what Linux keeps beside it.

use std::collections::HashSet;

use super::ring::{DESCRIPTOR, Found, INDIRECT, Lengths, NEXT};
use super::{InFlight, Queue, Ring, RingLayout, SplitRing, Walk, WalkError, Whereabouts};
use crate::memory::Bytes;

/// Where a descriptor's `flags` are (virtio 1.4 §2.7.5).
const FLAGS: u32 = 12;
/// Where the rings of both sides begin, after `flags` and `idx` (virtio 1.4 §2.7.6).
const RING: u32 = 4;
/// Bytes of an entry of the used ring (virtio 1.4 §2.7.8).
const USED: u32 = 8;

/// The tables of one moment, one entry a descriptor.
struct Tables {
    /// Linux `struct vring_desc_state_split`.
    states: Vec<Bytes>,
    /// Linux `struct vring_desc_extra`.
    extras: Vec<Bytes>,
    /// The descriptor table.
    descriptors: Vec<Bytes>,
}

impl Walk<'_> {
    pub(super) fn split(&self, queue: &Queue, bytes: &Bytes) -> Result<Found, WalkError> {
        let at = &self.offsets.split;
        let size = u32::from(queue.size);
        let read = |address, length: u32| Bytes::read(self.memory, address, length as usize);
        // The flags, the index, the entries, and the other side's event index.
        let avail = read(queue.areas.driver.kernel, RING + 2 * size + 2)?;
        let used = read(queue.areas.device.kernel, RING + USED * size + 2)?;
        let ring = SplitRing {
            avail_idx: avail.le16(2),
            avail_idx_shadow: bytes.u16(at.idx_shadow),
            avail_flags: avail.le16(0),
            used_event: avail.le16(RING + 2 * size),
            used_idx: used.le16(2),
            used_flags: used.le16(0),
            avail_event: used.le16(RING + USED * size),
            last_used_idx: bytes.u16(self.offsets.queue.last_used),
        };
        let tables = Tables {
            states: read(bytes.u64(at.state), at.state_size * size)?
                .pieces(at.state_size)
                .collect(),
            extras: read(bytes.u64(at.extra), at.extras.size * size)?
                .pieces(at.extras.size)
                .collect(),
            descriptors: read(queue.areas.descriptors.kernel, DESCRIPTOR * size)?
                .pieces(DESCRIPTOR)
                .collect(),
        };
        let returned = returned(queue, &ring, &avail, &used);
        let in_flight = (0..queue.size)
            .filter_map(|head| {
                let state = tables.states.get(usize::from(head))?;
                let token = state.u64(at.data);
                (token != 0).then(|| self.split_buffer(&tables, head, token, &returned))
            })
            .collect();
        Ok(Found {
            ring: Ring::Split(ring),
            in_flight,
        })
    }

    fn split_buffer(
        &self,
        tables: &Tables,
        head: u16,
        token: u64,
        returned: &HashSet<u16>,
    ) -> InFlight {
        let chain = self.chain(tables, head);
        let mut indirect = None;
        let mut lengths = chain.as_ref().map(|chain| chain.lengths);
        if let Some(bytes) = chain.as_ref().and_then(|chain| chain.table) {
            indirect = Some(bytes / DESCRIPTOR);
            let state = &tables.states[usize::from(head)];
            let address = state.u64(self.offsets.split.table);
            lengths = self.table(address, bytes / DESCRIPTOR, FLAGS);
        }
        InFlight {
            head,
            token,
            whereabouts: match returned.contains(&head) {
                true => Whereabouts::Returned,
                false => Whereabouts::Device,
            },
            descriptors: chain.map(|chain| chain.descriptors),
            indirect,
            readable: lengths.map(|lengths| lengths.readable),
            writable: lengths.map(|lengths| lengths.writable),
        }
    }

    /// Follows a chain as Linux `detach_buf_split` does: whether it goes on stands in
    /// the descriptor, where to in the driver's own copy. `None` if it leads nowhere.
    fn chain(&self, tables: &Tables, head: u16) -> Option<Chain> {
        let at = &self.offsets.split.extras;
        let mut chain = Chain {
            descriptors: 0,
            table: None,
            lengths: Lengths::default(),
        };
        let mut index = usize::from(head);
        // A chain has at most as many descriptors as there are.
        for _ in 0..tables.descriptors.len() {
            let flags = tables.descriptors.get(index)?.le16(FLAGS);
            let extra = tables.extras.get(index)?;
            chain.descriptors += 1;
            match flags & INDIRECT {
                0 => chain.lengths.add(extra.u32(at.len), flags),
                _ => chain.table = Some(extra.u32(at.len)),
            }
            if flags & NEXT == 0 {
                return Some(chain);
            }
            index = usize::from(extra.u16(at.next));
        }
        None
    }
}

/// What a buffer takes of the ring.
struct Chain {
    descriptors: u16,
    /// Bytes of its indirect table.
    table: Option<u32>,
    lengths: Lengths,
}

/// The heads of buffers that the device has returned and the driver has not taken back.
fn returned(queue: &Queue, ring: &SplitRing, avail: &Bytes, used: &Bytes) -> HashSet<u16> {
    let count = ring.used_idx.wrapping_sub(ring.last_used_idx);
    if count > queue.size {
        // The two are of different moments, or the device lies: nothing can be said.
        return HashSet::new();
    }
    let positions = (0..count).map(|n| {
        let position = ring.last_used_idx.wrapping_add(n);
        u32::from(position % queue.size)
    });
    match queue.layout {
        // A device that uses buffers in order may write one entry for several, and the
        // order is that of the available ring (virtio 1.4 §2.7.9).
        RingLayout::SplitInOrder => positions.map(|slot| avail.le16(RING + 2 * slot)).collect(),
        _ => positions
            .filter_map(|slot| u16::try_from(used.le32(RING + USED * slot)).ok())
            .collect(),
    }
}
