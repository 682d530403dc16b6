//! How full the buffer between kernel and user space is.
//!
//! A BPF ring buffer shows its two positions in its first two pages; aya keeps them to
//! itself, so they are mapped once more, to be read only.

use std::os::fd::BorrowedFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use rustix::param::page_size;

/// The two positions of a ring buffer.
#[derive(Debug)]
pub(crate) struct Fill {
    pages: NonNull<u8>,
    bytes: u64,
}

// SAFETY: the pages are shared memory that is only read, by atomic operations.
unsafe impl Send for Fill {}
// SAFETY: see above.
unsafe impl Sync for Fill {}

impl Fill {
    /// Of the buffer `map`, which has so many bytes; `None` where its pages can't be had.
    pub(crate) fn of(map: BorrowedFd<'_>, bytes: u32) -> Option<Self> {
        // SAFETY: a new mapping, at a place that the kernel chooses.
        let pages = unsafe {
            mmap(
                std::ptr::null_mut(),
                2 * page_size(),
                ProtFlags::READ,
                MapFlags::SHARED,
                map,
                0,
            )
        };
        Some(Self {
            pages: NonNull::new(pages.ok()?.cast())?,
            bytes: bytes.into(),
        })
    }

    /// Bytes that wait to be read, headers included.
    pub(crate) fn waiting(&self) -> u64 {
        // Never more written than there is room for behind what was read before.
        let read = self.position(0);
        let written = self.position(page_size());
        (written.wrapping_sub(read) as u64).min(self.bytes)
    }

    fn position(&self, at: usize) -> usize {
        // SAFETY: both pages are mapped until `self` goes, each begins with a position
        // (Linux `struct bpf_ringbuf`), and everybody reaches it atomically.
        unsafe { self.pages.add(at).cast::<AtomicUsize>().as_ref() }.load(Ordering::Acquire)
    }
}

/// Bytes that a frame takes in the buffer, with the kernel's header before it.
pub(crate) const fn footprint(frame: &[u8]) -> u64 {
    footprint_of(frame.len() as u64)
}

/// The same of a frame of so many bytes.
pub(crate) const fn footprint_of(len: u64) -> u64 {
    (len + 8).next_multiple_of(8)
}

impl Drop for Fill {
    fn drop(&mut self) {
        // SAFETY: mapped in `of`, and nobody else knows of it. That it can't fail now
        // matters to nobody.
        let _ = unsafe { munmap(self.pages.as_ptr().cast(), 2 * page_size()) };
    }
}
