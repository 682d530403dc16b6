//! Buffers for messages: pages of guest memory, not contiguous, as a kernel's
//! are.

use std::sync::{Arc, Mutex, PoisonError};

use crate::memory::{GuestAddress, GuestMemory, Segment};

/// Bytes of a page: what scatter-gather lists are cut at.
pub const PAGE_SIZE: usize = 4096;

/// A stock of free pages of guest memory.
#[derive(Debug)]
pub struct PagePool {
    memory: Arc<GuestMemory>,
    free: Mutex<Vec<GuestAddress>>,
}

/// No page is free.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("guest memory has no {pages} free pages left for a message (ENOMEM)")]
pub struct NoPages {
    /// How many were wanted.
    pub pages: usize,
}

impl PagePool {
    /// All whole pages of `memory` from `start` on.
    pub fn new(memory: Arc<GuestMemory>, start: GuestAddress) -> Arc<Self> {
        let size = memory.size() as u64;
        let first = start.0.next_multiple_of(PAGE_SIZE as u64);
        let free = (first..size)
            .step_by(PAGE_SIZE)
            .filter(|page| page + PAGE_SIZE as u64 <= size)
            .map(GuestAddress)
            .collect();
        Arc::new(Self {
            memory,
            free: Mutex::new(free),
        })
    }

    /// Pages that hold `len` bytes.
    ///
    /// # Errors
    /// There are not so many.
    pub fn allocate(self: &Arc<Self>, len: usize) -> Result<PageBuffer, NoPages> {
        let count = len.div_ceil(PAGE_SIZE);
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let keep = free
            .len()
            .checked_sub(count)
            .ok_or(NoPages { pages: count })?;
        let pages = free.split_off(keep);
        Ok(PageBuffer {
            pool: Arc::clone(self),
            pages,
            len,
        })
    }

    /// Pages that are free.
    pub fn available(&self) -> usize {
        self.free
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
    }
}

/// Pages that belong to one message. While a queue holds the buffer, nobody else
/// can reach it; dropping it gives the pages back.
#[derive(Debug)]
pub struct PageBuffer {
    pool: Arc<PagePool>,
    pages: Vec<GuestAddress>,
    len: usize,
}

impl PageBuffer {
    /// Linux `pack_sg_list`: the buffer as a scatter-gather list, cut at page
    /// boundaries.
    pub fn segments(&self) -> impl Iterator<Item = Segment> + '_ {
        let mut rest = self.len;
        self.pages.iter().map(move |page| {
            let len = rest.min(PAGE_SIZE);
            rest -= len;
            Segment {
                address: *page,
                len: len as u32,
            }
        })
    }

    /// Copies `bytes` to the start of the buffer; what does not fit is left out.
    pub fn write(&mut self, bytes: &[u8]) {
        let bytes = &bytes[..bytes.len().min(self.len)];
        for (page, chunk) in self.pages.iter().zip(bytes.chunks(PAGE_SIZE)) {
            let written = self.pool.memory.write(*page, chunk);
            debug_assert!(written.is_ok(), "a page of the pool lies in guest memory");
        }
    }

    /// Copies the first `len` bytes out, or as many as the buffer has.
    pub fn read(&self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len.min(self.len)];
        for (page, chunk) in self.pages.iter().zip(bytes.chunks_mut(PAGE_SIZE)) {
            let read = self.pool.memory.read(*page, chunk);
            debug_assert!(read.is_ok(), "a page of the pool lies in guest memory");
        }
        bytes
    }
}

impl Drop for PageBuffer {
    fn drop(&mut self) {
        let mut free = self
            .pool
            .free
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        free.append(&mut self.pages);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn buffers_hold_what_was_written_and_give_their_pages_back() {
        let memory = Arc::new(GuestMemory::new(4));
        let pool = PagePool::new(memory, GuestAddress(100));
        assert_eq!(pool.available(), 3);
        let mut buffer = pool.allocate(PAGE_SIZE + 10).unwrap();
        let bytes: Vec<u8> = (0..PAGE_SIZE + 10).map(|i| i as u8).collect();
        buffer.write(&bytes);
        assert_eq!(buffer.read(usize::MAX), bytes);
        let lengths: Vec<u32> = buffer.segments().map(|segment| segment.len).collect();
        assert_eq!(lengths, [4096, 10]);
        assert_eq!(
            pool.allocate(2 * PAGE_SIZE).unwrap_err(),
            NoPages { pages: 2 }
        );
        drop(buffer);
        assert_eq!(pool.available(), 3);
    }
}
