//! A buffer as the device sees it, and how its descriptors are read.

use virtscope_driver::memory::{GuestAddress, QueueMemory, Segment};
use virtscope_driver::ring::split_layout::{
    DESC_F_INDIRECT, DESC_F_NEXT, DESC_F_WRITE, DESCRIPTOR_LEN, Descriptor,
};
use virtscope_record::Layout;

use super::DriverFault;

/// A buffer taken from the ring.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Chain {
    /// The id to return it under: split, the head of its descriptor chain; packed,
    /// its Buffer ID.
    pub id: u16,
    /// Device-readable segments.
    pub readable: Vec<Segment>,
    /// Device-writable segments.
    pub writable: Vec<Segment>,
    /// Entries of the ring that it takes.
    pub descriptors: u16,
    /// Buffers taken before this one.
    pub number: u64,
}

impl Chain {
    /// Device-readable bytes, at most 2³² − 1.
    pub fn readable_bytes(&self) -> u32 {
        total(&self.readable)
    }

    /// Device-writable bytes, at most 2³² − 1.
    pub fn writable_bytes(&self) -> u32 {
        total(&self.writable)
    }

    pub(super) fn clear(&mut self) {
        self.readable.clear();
        self.writable.clear();
        self.descriptors = 0;
    }

    /// Adds one element; `head` is for the error.
    pub(super) fn push(
        &mut self,
        memory: &impl QueueMemory,
        segment: Segment,
        flags: u16,
        head: u16,
    ) -> Result<(), DriverFault> {
        if !memory.is_buffer(segment) {
            return Err(DriverFault::SegmentInRing { head });
        }
        if flags & DESC_F_WRITE != 0 {
            self.writable.push(segment);
        } else if self.writable.is_empty() {
            self.readable.push(segment);
        } else {
            return Err(DriverFault::ReadableAfterWritable { head });
        }
        Ok(())
    }

    /// Adds the elements of the indirect table that `table` is.
    pub(super) fn push_table(
        &mut self,
        memory: &impl QueueMemory,
        layout: Layout,
        table: Segment,
        size: u16,
        head: u16,
    ) -> Result<(), DriverFault> {
        let bad = DriverFault::IndirectTable {
            head,
            len: table.len,
        };
        let entries = table.len as usize / DESCRIPTOR_LEN;
        if entries == 0 || !(table.len as usize).is_multiple_of(DESCRIPTOR_LEN) {
            return Err(bad);
        }
        if !memory.is_buffer(table) {
            return Err(DriverFault::SegmentInRing { head });
        }
        let Ok(entries) = u16::try_from(entries) else {
            return Err(DriverFault::ChainTooLong { head });
        };
        let mut index = 0;
        for step in 0.. {
            if step == size {
                return Err(DriverFault::ChainTooLong { head });
            }
            if index >= entries {
                return Err(DriverFault::DescriptorOutOfRange {
                    index,
                    size: entries,
                });
            }
            let at = table.address.0 + u64::from(index) * DESCRIPTOR_LEN as u64;
            let mut bytes = [0; DESCRIPTOR_LEN];
            if !memory.read_buffer(GuestAddress(at), &mut bytes) {
                return Err(bad);
            }
            let [first, second] = words(bytes);
            let descriptor = Descriptor::from_words(first, second);
            match layout {
                Layout::Split => {
                    if descriptor.flags & DESC_F_INDIRECT != 0 {
                        return Err(DriverFault::IndirectMisplaced { head });
                    }
                    self.push(memory, descriptor.segment, descriptor.flags, head)?;
                    if descriptor.flags & DESC_F_NEXT == 0 {
                        return Ok(());
                    }
                    index = descriptor.next;
                }
                // All flags but `VIRTQ_DESC_F_WRITE` are reserved, and ignored
                // (virtio 1.4 §2.8.7); they stand in the last two bytes.
                Layout::Packed => {
                    let flags = (second >> 48) as u16;
                    self.push(memory, descriptor.segment, flags, head)?;
                    index += 1;
                    if index == entries {
                        return Ok(());
                    }
                }
            }
        }
        Err(DriverFault::ChainTooLong { head })
    }
}

/// A descriptor's two words.
fn words(bytes: [u8; DESCRIPTOR_LEN]) -> [u64; 2] {
    let mut words = [0; 2];
    for (word, chunk) in words.iter_mut().zip(bytes.chunks_exact(8)) {
        *word = chunk
            .iter()
            .rev()
            .fold(0, |word, byte| word << 8 | u64::from(*byte));
    }
    words
}

fn total(segments: &[Segment]) -> u32 {
    segments
        .iter()
        .fold(0, |sum, segment| sum.saturating_add(segment.len))
}

/// What the device gives back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Used {
    pub(super) id: u16,
    pub(super) written: u32,
    pub(super) descriptors: u16,
    /// Everything writable was written: a batch may skip its entry.
    pub(super) whole: bool,
}

impl Used {
    pub(super) fn new(chain: &Chain, written: u32) -> Self {
        Self {
            id: chain.id,
            written,
            descriptors: chain.descriptors,
            whole: written == chain.writable_bytes(),
        }
    }
}
