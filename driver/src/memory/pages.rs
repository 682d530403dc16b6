//! Who has which page of guest memory: single pages for buffers, not contiguous,
//! as a kernel's are, and runs of them for rings.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{GuestAddress, GuestMemory, Segment};

/// Bytes of a page: what scatter-gather lists are cut at.
pub const PAGE_SIZE: usize = 4096;

/// A stock of free pages of guest memory.
#[derive(Debug)]
pub struct PagePool {
    memory: Arc<GuestMemory>,
    free: Mutex<Vec<GuestAddress>>,
}

/// Not enough free pages, or not next to each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("guest memory has no {pages} free pages left (ENOMEM)")]
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
        self.allocate_at(0, len)
    }

    /// Pages that hold `len` bytes of which the first stands at `start` in its page, as
    /// a program's buffer does that begins anywhere. Whole pages in `start` are left
    /// out.
    ///
    /// # Errors
    /// There are not so many.
    pub fn allocate_at(self: &Arc<Self>, start: usize, len: usize) -> Result<PageBuffer, NoPages> {
        let start = if len == 0 { 0 } else { start % PAGE_SIZE };
        let count = (start + len).div_ceil(PAGE_SIZE);
        let mut free = self.lock();
        let keep = free
            .len()
            .checked_sub(count)
            .ok_or(NoPages { pages: count })?;
        let pages = free.split_off(keep);
        Ok(PageBuffer {
            pool: Arc::clone(self),
            pages,
            start,
            len,
        })
    }

    /// Zeroed pages next to each other that hold `len` bytes: for a ring.
    ///
    /// # Errors
    /// There are not so many in a row.
    pub fn allocate_area(self: &Arc<Self>, len: usize) -> Result<PageArea, NoPages> {
        let pages = len.div_ceil(PAGE_SIZE);
        let mut free = self.lock();
        let base = lowest_run(&mut free, pages).ok_or(NoPages { pages })?;
        let area = PageArea {
            pool: Arc::clone(self),
            base,
            pages,
        };
        let end = area.base.0 + area.len() as u64;
        free.retain(|page| !(area.base.0..end).contains(&page.0));
        drop(free);
        // What was there before must not be taken for a ring's.
        let zeroed = self.memory.write(area.base, &vec![0; area.len()]);
        debug_assert!(zeroed.is_ok(), "a page of the pool lies in guest memory");
        Ok(area)
    }

    /// Pages that are free.
    pub fn available(&self) -> usize {
        self.lock().len()
    }

    /// The memory they are of.
    pub fn memory(&self) -> &Arc<GuestMemory> {
        &self.memory
    }

    fn lock(&self) -> MutexGuard<'_, Vec<GuestAddress>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The lowest address from which `count` pages in a row are free. Sorts them.
fn lowest_run(free: &mut [GuestAddress], count: usize) -> Option<GuestAddress> {
    free.sort_unstable();
    let first = free.first().copied();
    if count < 2 {
        return first;
    }
    let page = PAGE_SIZE as u64;
    let run = (count - 1) as u64 * page;
    // In sorted order a run is one whose last page stands where it would if none
    // were missing.
    free.windows(count)
        .find(|pages| pages[count - 1].0 - pages[0].0 == run)
        .map(|pages| pages[0])
}

/// Pages next to each other: the memory of a ring. Dropping it gives them back.
#[derive(Debug)]
pub struct PageArea {
    pool: Arc<PagePool>,
    base: GuestAddress,
    pages: usize,
}

impl PageArea {
    /// Where it begins: at a page.
    pub fn base(&self) -> GuestAddress {
        self.base
    }

    /// Its bytes: whole pages.
    pub fn len(&self) -> usize {
        self.pages * PAGE_SIZE
    }

    /// Whether it has no page at all.
    pub fn is_empty(&self) -> bool {
        self.pages == 0
    }
}

impl Drop for PageArea {
    fn drop(&mut self) {
        let (base, end) = (self.base.0, self.base.0 + self.len() as u64);
        let pages = (base..end).step_by(PAGE_SIZE).map(GuestAddress);
        self.pool.lock().extend(pages);
    }
}

/// Pages that belong to one message. While a queue holds the buffer, nobody else
/// can reach it; dropping it gives the pages back.
#[derive(Debug)]
pub struct PageBuffer {
    pool: Arc<PagePool>,
    pages: Vec<GuestAddress>,
    /// Where in the first page it begins.
    start: usize,
    len: usize,
}

impl PageBuffer {
    /// Its bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many pages it lies in.
    pub fn pages(&self) -> usize {
        self.pages.len()
    }

    /// The buffer as a scatter-gather list, cut at page boundaries: Linux
    /// `pack_sg_list`, and where it begins within a page, `pack_sg_list_p`.
    pub fn segments(&self) -> impl Iterator<Item = Segment> + '_ {
        let mut start = self.start;
        let mut rest = self.len;
        self.pages.iter().map(move |page| {
            let len = rest.min(PAGE_SIZE - start);
            let address = GuestAddress(page.0 + start as u64);
            rest -= len;
            start = 0;
            Segment {
                address,
                len: len as u32,
            }
        })
    }

    /// Copies `bytes` to the start of the buffer; what does not fit is left out.
    pub fn write(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        for segment in self.segments() {
            let (now, later) = rest.split_at(rest.len().min(segment.len as usize));
            let written = self.pool.memory.write(segment.address, now);
            debug_assert!(written.is_ok(), "a page of the pool lies in guest memory");
            rest = later;
        }
    }

    /// Copies the first `len` bytes out, or as many as the buffer has.
    pub fn read(&self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len.min(self.len)];
        let mut rest = &mut bytes[..];
        for segment in self.segments() {
            let (now, later) = rest.split_at_mut(rest.len().min(segment.len as usize));
            let read = self.pool.memory.read(segment.address, now);
            debug_assert!(read.is_ok(), "a page of the pool lies in guest memory");
            rest = later;
        }
        bytes
    }
}

impl Drop for PageBuffer {
    fn drop(&mut self) {
        self.pool.lock().append(&mut self.pages);
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

    /// Linux `pack_sg_list_p`: what stands before the buffer in its first page is not
    /// packed, and the last page is packed as far as the buffer goes.
    #[test]
    fn a_buffer_may_begin_anywhere_in_a_page() {
        let memory = Arc::new(GuestMemory::new(8));
        let pool = PagePool::new(memory, GuestAddress(0));
        for (start, len, expected) in [
            (4000, 96, vec![(4000, 96)]),
            (4000, 97, vec![(4000, 96), (0, 1)]),
            (1, 8192, vec![(1, 4095), (0, 4096), (0, 1)]),
            (4096, 10, vec![(0, 10)]),
            (5000, 4096, vec![(904, 3192), (0, 904)]),
            (77, 0, vec![]),
        ] {
            let mut buffer = pool.allocate_at(start, len).unwrap();
            let bytes: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
            buffer.write(&bytes);
            assert_eq!(buffer.read(usize::MAX), bytes, "{start} {len}");
            assert_eq!(buffer.read(3), bytes[..len.min(3)], "{start} {len}");
            let packed: Vec<(usize, usize)> = buffer
                .segments()
                .map(|s| (s.address.0 as usize % PAGE_SIZE, s.len as usize))
                .collect();
            assert_eq!(packed, expected, "{start} {len}");
            assert_eq!(buffer.pages(), expected.len(), "{start} {len}");
        }
        assert_eq!(pool.available(), 8);
    }

    #[test]
    fn an_area_is_in_one_piece_and_zeroed() {
        let memory = Arc::new(GuestMemory::new(8));
        let pool = PagePool::new(Arc::clone(&memory), GuestAddress(0));
        memory.write(GuestAddress(0), &[0xee; 8 * 4096]).unwrap();
        // The highest page is taken, so seven in a row are left.
        let top = pool.allocate(1).unwrap();
        let first = pool.allocate_area(4097).unwrap();
        assert_eq!((first.base(), first.len()), (GuestAddress(0), 8192));
        let mut bytes = vec![1; 8192];
        memory.read(first.base(), &mut bytes).unwrap();
        assert_eq!(bytes, vec![0; 8192]);
        let second = pool.allocate_area(4096).unwrap();
        assert_eq!(second.base(), GuestAddress(8192));
        drop(first);
        // Six are free, but no more than four next to each other.
        assert_eq!(pool.available(), 6);
        let refused = pool.allocate_area(5 * PAGE_SIZE).unwrap_err();
        assert_eq!(refused, NoPages { pages: 5 });
        let third = pool.allocate_area(4 * PAGE_SIZE).unwrap();
        assert_eq!(third.base(), GuestAddress(3 * 4096));
        drop((second, third, top));
        assert_eq!(pool.available(), 8);
        assert_eq!(pool.allocate_area(8 * PAGE_SIZE).unwrap().len(), 8 * 4096);
    }
}
