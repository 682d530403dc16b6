//! A ring as it is now.

use super::{InFlight, Inspection, Queue, Ring, Stability, TRIES, Walk, WalkError};
use crate::memory::Bytes;

/// `VIRTQ_DESC_F_NEXT` (virtio 1.4 §2.7.5).
pub(super) const NEXT: u16 = 1;
/// `VIRTQ_DESC_F_WRITE` (virtio 1.4 §2.7.5).
pub(super) const WRITE: u16 = 2;
/// `VIRTQ_DESC_F_INDIRECT` (virtio 1.4 §2.7.5).
pub(super) const INDIRECT: u16 = 4;

/// Bytes of a descriptor, in either layout (virtio 1.4 §2.7.5, §2.8.13).
pub(super) const DESCRIPTOR: u32 = 16;

/// Entries of an indirect table that are looked at. Linux' own tables have at most as
/// many as a request has segments.
const MAX_TABLE: u32 = 4096;

/// What a layout finds in its ring.
pub(super) struct Found {
    pub(super) ring: Ring,
    pub(super) in_flight: Vec<InFlight>,
}

impl Walk<'_> {
    /// What stands in `queue`'s ring now. It is read until two readings agree, and if
    /// they never do, the last one is answered and says so.
    ///
    /// # Errors
    /// Why it cannot be read, for example because its device has been removed.
    pub fn inspect(&self, queue: &Queue) -> Result<Inspection, WalkError> {
        let mut before = self.inspect_once(queue)?;
        for _ in 1..TRIES {
            let now = self.inspect_once(queue)?;
            if now == before {
                before.stability = Stability::Stable;
                break;
            }
            before = now;
        }
        Ok(before)
    }

    fn inspect_once(&self, queue: &Queue) -> Result<Inspection, WalkError> {
        let at = &self.offsets.queue;
        let bytes = Bytes::read(self.memory, queue.vring, at.size as usize)?;
        let found = match queue.layout.is_packed() {
            true => self.packed(queue, &bytes)?,
            false => self.split(queue, &bytes)?,
        };
        let free = bytes.u32(at.free);
        let taken = found
            .in_flight
            .iter()
            .map(|buffer| buffer.descriptors.map(u32::from))
            .sum::<Option<u32>>();
        Ok(Inspection {
            queue: queue.clone(),
            stability: Stability::Moving,
            broken: bytes.flag(at.broken),
            free,
            free_head: bytes.u32(at.free_head),
            added: bytes.u32(at.added),
            event_triggered: at.event_triggered.map(|at| bytes.flag(at)),
            ring: found.ring,
            in_flight: found.in_flight,
            adds_up: taken.map(|taken| taken.checked_add(free) == Some(queue.size.into())),
        })
    }

    /// How many device-readable and device-writable bytes the `entries` descriptors of
    /// the indirect table at `address` have. A table that is gone is told by `None`, and
    /// so is one too long to be one.
    ///
    /// Both layouts have the length of a descriptor at byte 8; `flags` is where they
    /// differ.
    pub(super) fn table(&self, address: u64, entries: u32, flags: u32) -> Option<Lengths> {
        if address == 0 || entries == 0 || entries > MAX_TABLE {
            return None;
        }
        let length = (entries * DESCRIPTOR) as usize;
        let table = Bytes::read(self.memory, address, length).ok()?;
        let mut lengths = Lengths::default();
        for descriptor in table.pieces(DESCRIPTOR) {
            lengths.add(descriptor.le32(8), descriptor.le16(flags));
        }
        Some(lengths)
    }
}

/// Bytes of a buffer, by who may touch them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Lengths {
    pub(super) readable: u64,
    pub(super) writable: u64,
}

impl Lengths {
    pub(super) fn add(&mut self, length: u32, flags: u16) {
        match flags & WRITE {
            0 => self.readable += u64::from(length),
            _ => self.writable += u64::from(length),
        }
    }
}
