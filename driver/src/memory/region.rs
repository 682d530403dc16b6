//! The region itself: the only place where guest memory is touched by pointer.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use super::GuestAddress;

/// Pages are what scatter-gather lists are cut at.
const PAGE: usize = 4096;
/// Bytes of the words that buffers are copied by.
const WORD: usize = 8;

/// A zeroed, page-aligned region of memory shared by driver and device.
///
/// All access is atomic: ring words by their own size, buffers always by aligned
/// words of 8 bytes, because accesses of different sizes to the same bytes would
/// be a race even if each is atomic. So no access of one side races with the
/// other's in the sense of the memory model, as long as no buffer lies in a ring:
/// [`QueueMemory::is_buffer`](super::QueueMemory::is_buffer) is asked before a
/// segment is touched.
#[derive(Debug)]
pub struct GuestMemory {
    base: NonNull<u8>,
    layout: Layout,
}

// SAFETY: the region is plain memory owned by this value; it is reached only
// through atomics (see `word`), which may be used from any thread.
unsafe impl Send for GuestMemory {}
// SAFETY: as above; no method hands out a plain reference into the region.
unsafe impl Sync for GuestMemory {}

/// An access that guest memory does not hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{len} bytes at guest address {:#x} are outside the {size} bytes of guest memory or misaligned", address.0)]
pub struct OutOfRange {
    /// Where the access was to begin.
    pub address: GuestAddress,
    /// How many bytes it was about.
    pub len: usize,
    /// How many bytes guest memory has.
    pub size: usize,
}

impl GuestMemory {
    /// `pages` zeroed pages of 4096 bytes.
    ///
    /// # Panics
    /// If `pages` is zero or the region does not fit the address space; running
    /// out of memory ends the program as for any allocation.
    pub fn new(pages: usize) -> Self {
        assert!(pages > 0, "guest memory of no pages");
        let bytes = pages.checked_mul(PAGE).expect("guest memory too large");
        let layout = Layout::from_size_align(bytes, PAGE).expect("guest memory too large");
        // SAFETY: the layout's size is not zero.
        let base = unsafe { alloc_zeroed(layout) };
        let Some(base) = NonNull::new(base) else {
            handle_alloc_error(layout)
        };
        Self { base, layout }
    }

    /// Bytes of guest memory.
    pub fn size(&self) -> usize {
        self.layout.size()
    }

    /// Where the region begins in this process, for a device in it that maps
    /// guest memory by itself. It stays there as long as this value.
    pub fn as_ptr(&self) -> NonNull<u8> {
        self.base
    }

    /// The offset of `len` bytes at `address`, if the region holds them.
    fn offset(&self, address: GuestAddress, len: usize) -> Result<usize, OutOfRange> {
        let error = OutOfRange {
            address,
            len,
            size: self.size(),
        };
        let start = usize::try_from(address.0).map_err(|_| error)?;
        let end = start.checked_add(len).ok_or(error)?;
        if end > self.size() {
            return Err(error);
        }
        Ok(start)
    }

    /// Where the `len` bytes at `base` begin, for an area of a ring.
    ///
    /// # Errors
    /// Outside guest memory, or not aligned to 8.
    pub(super) fn area(&self, base: GuestAddress, len: usize) -> Result<NonNull<u8>, OutOfRange> {
        let start = self.offset(base, len)?;
        if !start.is_multiple_of(WORD) {
            return Err(OutOfRange {
                address: base,
                len,
                size: self.size(),
            });
        }
        // SAFETY: start + len ≤ size, so the offset stays inside the allocation.
        Ok(unsafe { self.base.add(start) })
    }

    /// Copies the bytes at `address` into `into`.
    ///
    /// # Errors
    /// Outside guest memory; then nothing was copied.
    pub fn read(&self, address: GuestAddress, into: &mut [u8]) -> Result<(), OutOfRange> {
        let start = self.offset(address, into.len())?;
        let (head, words) = split(start, into.len());
        let (first, rest) = into.split_at_mut(head);
        let (middle, last) = rest.split_at_mut(words * WORD);
        let load = |offset| self.word(offset).load(Ordering::Relaxed).to_ne_bytes();
        if !first.is_empty() {
            first.copy_from_slice(&load(start)[start % WORD..][..head]);
        }
        let start = start + head;
        for (i, chunk) in middle.chunks_exact_mut(WORD).enumerate() {
            chunk.copy_from_slice(&load(start + i * WORD));
        }
        if !last.is_empty() {
            last.copy_from_slice(&load(start + words * WORD)[..last.len()]);
        }
        Ok(())
    }

    /// Copies `from` to `address`.
    ///
    /// # Errors
    /// Outside guest memory; then nothing was copied.
    pub fn write(&self, address: GuestAddress, from: &[u8]) -> Result<(), OutOfRange> {
        let start = self.offset(address, from.len())?;
        let (head, words) = split(start, from.len());
        let (first, rest) = from.split_at(head);
        let (middle, last) = rest.split_at(words * WORD);
        if !first.is_empty() {
            self.write_part(start, first);
        }
        let start = start + head;
        for (i, chunk) in middle.chunks_exact(WORD).enumerate() {
            let mut bytes = [0; WORD];
            bytes.copy_from_slice(chunk);
            self.word(start + i * WORD)
                .store(u64::from_ne_bytes(bytes), Ordering::Relaxed);
        }
        if !last.is_empty() {
            self.write_part(start + words * WORD, last);
        }
        Ok(())
    }

    /// Writes a part of one word and leaves the rest of it to whoever writes
    /// there at the same time.
    fn write_part(&self, offset: usize, from: &[u8]) {
        let word = self.word(offset);
        let mut seen = word.load(Ordering::Relaxed);
        loop {
            let mut bytes = seen.to_ne_bytes();
            bytes[offset % WORD..][..from.len()].copy_from_slice(from);
            let new = u64::from_ne_bytes(bytes);
            match word.compare_exchange_weak(seen, new, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return,
                Err(changed) => seen = changed,
            }
        }
    }

    /// The 64-bit word that holds the byte at `offset`.
    fn word(&self, offset: usize) -> &AtomicU64 {
        debug_assert!(offset < self.size());
        // SAFETY: the callers stay within a length that `offset` checked, the
        // region is a whole number of words and begins at a page; everybody
        // uses atomics.
        unsafe { AtomicU64::from_ptr(self.base.add(offset / WORD * WORD).cast().as_ptr()) }
    }
}

/// How many of `len` bytes from `start` on come before the first aligned word,
/// and how many whole words follow them.
fn split(start: usize, len: usize) -> (usize, usize) {
    let head = (start.wrapping_neg() % WORD).min(len);
    (head, (len - head) / WORD)
}

impl Drop for GuestMemory {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this very layout, freed only here.
        unsafe { dealloc(self.base.as_ptr(), self.layout) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nothing_outside_is_reachable() {
        let memory = GuestMemory::new(1);
        assert!(memory.area(GuestAddress(4088), 8).is_ok());
        assert!(memory.area(GuestAddress(4088), 9).is_err());
        assert!(memory.area(GuestAddress(4092), 4).is_err());
        assert!(memory.area(GuestAddress(u64::MAX - 7), 4).is_err());
        assert!(memory.read(GuestAddress(4090), &mut [0; 7]).is_err());
        assert!(memory.read(GuestAddress(u64::MAX), &mut [0; 2]).is_err());
        assert!(memory.write(GuestAddress(4096), &[]).is_ok());
    }

    /// Two sides that share a word write only their own bytes of it.
    #[test]
    fn neighbours_are_left_alone() {
        let memory = GuestMemory::new(1);
        let rounds = if cfg!(miri) { 50 } else { 10_000u32 };
        std::thread::scope(|scope| {
            for (at, len) in [(13, 3), (16, 5), (21, 7)] {
                let memory = &memory;
                scope.spawn(move || {
                    for round in 0..rounds {
                        let bytes = [round as u8; 7];
                        memory.write(GuestAddress(at), &bytes[..len]).unwrap();
                        let mut back = [0; 7];
                        memory.read(GuestAddress(at), &mut back[..len]).unwrap();
                        assert_eq!(back[..len], bytes[..len]);
                    }
                });
            }
        });
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, cases: if cfg!(miri) { 8 } else { 256 }, ..ProptestConfig::default() })]
        /// What is written at any alignment is read back, and its neighbours
        /// are left alone.
        #[test]
        fn bytes_round_trip(at in 1u64..200, bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let memory = GuestMemory::new(1);
            memory.write(GuestAddress(0), &[0xee; 400]).unwrap();
            memory.write(GuestAddress(at), &bytes).unwrap();
            let mut back = vec![0; bytes.len() + 2];
            memory.read(GuestAddress(at - 1), &mut back).unwrap();
            prop_assert_eq!(back[0], 0xee);
            prop_assert_eq!(&back[1..=bytes.len()], &bytes[..]);
            prop_assert_eq!(back[bytes.len() + 1], 0xee);
        }
    }
}
