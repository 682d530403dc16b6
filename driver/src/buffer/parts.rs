//! The two parts of a buffer, in one run of pages.

use std::sync::Arc;

use crate::memory::{GuestAddress, GuestMemory, PageBuffer, Segment};

/// Bytes that a part of a buffer does not have.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{len} bytes at offset {offset} of a buffer's part of {size} bytes")]
pub struct OutsideBuffer {
    /// Where they were to begin.
    pub offset: u32,
    /// How many.
    pub len: usize,
    /// Bytes of the part, or those of them that the device wrote.
    pub size: u32,
}

/// Device-readable bytes, and device-writable ones at the next multiple of 8
/// behind them: so that small requests fit one page, and no word belongs to both.
#[derive(Debug)]
pub(super) struct Parts {
    pages: PageBuffer,
    memory: Arc<GuestMemory>,
    readable: u32,
    writable: u32,
}

impl Parts {
    /// Bytes that parts of these lengths take.
    pub(super) fn bytes(readable: u32, writable: u32) -> usize {
        Self::writable_start(readable).saturating_add(writable as usize)
    }

    fn writable_start(readable: u32) -> usize {
        (readable as usize).next_multiple_of(8)
    }

    /// `pages` must hold [`bytes`](Self::bytes).
    pub(super) fn new(
        pages: PageBuffer,
        memory: Arc<GuestMemory>,
        readable: u32,
        writable: u32,
    ) -> Self {
        Self {
            pages,
            memory,
            readable,
            writable,
        }
    }

    pub(super) fn readable(&self) -> u32 {
        self.readable
    }

    pub(super) fn writable(&self) -> u32 {
        self.writable
    }

    pub(super) fn readable_segments(&self) -> impl Iterator<Item = Segment> + '_ {
        self.cut(0, self.readable as usize)
    }

    pub(super) fn writable_segments(&self) -> impl Iterator<Item = Segment> + '_ {
        self.cut(Self::writable_start(self.readable), self.writable as usize)
    }

    /// `len` bytes from `start` on, as the pieces of pages that they are.
    fn cut(&self, start: usize, len: usize) -> impl Iterator<Item = Segment> + '_ {
        let (mut skip, mut rest) = (start, len);
        self.pages.segments().filter_map(move |page| {
            let skipped = skip.min(page.len as usize);
            skip -= skipped;
            let taken = rest.min(page.len as usize - skipped);
            rest -= taken;
            (taken > 0).then_some(Segment {
                address: GuestAddress(page.address.0 + skipped as u64),
                len: taken as u32,
            })
        })
    }

    pub(super) fn write_readable(
        &mut self,
        offset: u32,
        bytes: &[u8],
    ) -> Result<(), OutsideBuffer> {
        check(offset, bytes.len(), self.readable)?;
        self.write(offset as usize, bytes);
        Ok(())
    }

    pub(super) fn write_writable(
        &mut self,
        offset: u32,
        bytes: &[u8],
    ) -> Result<(), OutsideBuffer> {
        check(offset, bytes.len(), self.writable)?;
        let start = Self::writable_start(self.readable);
        self.write(start + offset as usize, bytes);
        Ok(())
    }

    /// Copies all device-readable bytes to the end of `into`.
    pub(super) fn read_readable(&self, into: &mut Vec<u8>) {
        let start = into.len();
        into.resize(start + self.readable as usize, 0);
        self.read(0, &mut into[start..]);
    }

    /// Copies device-writable bytes, of which the first `valid` are worth reading.
    pub(super) fn read_writable(
        &self,
        offset: u32,
        into: &mut [u8],
        valid: u32,
    ) -> Result<(), OutsideBuffer> {
        check(offset, into.len(), valid.min(self.writable))?;
        let start = Self::writable_start(self.readable);
        self.read(start + offset as usize, into);
        Ok(())
    }

    fn write(&mut self, start: usize, bytes: &[u8]) {
        let mut rest = bytes;
        for segment in self.cut(start, bytes.len()) {
            let (now, later) = rest.split_at(segment.len as usize);
            let written = self.memory.write(segment.address, now);
            debug_assert!(written.is_ok(), "a page of the pool lies in guest memory");
            rest = later;
        }
    }

    fn read(&self, start: usize, into: &mut [u8]) {
        let len = into.len();
        let mut rest = into;
        for segment in self.cut(start, len) {
            let (now, later) = rest.split_at_mut(segment.len as usize);
            let read = self.memory.read(segment.address, now);
            debug_assert!(read.is_ok(), "a page of the pool lies in guest memory");
            rest = later;
        }
    }
}

fn check(offset: u32, len: usize, size: u32) -> Result<(), OutsideBuffer> {
    match (offset as usize).checked_add(len) {
        Some(end) if end <= size as usize => Ok(()),
        _ => Err(OutsideBuffer { offset, len, size }),
    }
}
