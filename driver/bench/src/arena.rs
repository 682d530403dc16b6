//! Zeroed memory that rings without checks are built in.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ptr::NonNull;

/// Pages, as rings are aligned to.
pub const PAGE: usize = 4096;

/// Zeroed memory, aligned to a page, reached by raw pointer only.
#[derive(Debug)]
pub struct Arena {
    base: NonNull<u8>,
    layout: Layout,
}

impl Arena {
    /// At least `bytes` bytes, in whole pages.
    ///
    /// # Panics
    /// If that is nothing or too much for the address space.
    pub fn new(bytes: usize) -> Self {
        assert!(bytes > 0, "an arena of no bytes");
        let layout = Layout::from_size_align(bytes.next_multiple_of(PAGE), PAGE)
            .expect("an arena that fits the address space");
        // SAFETY: the layout's size is not zero.
        let base = unsafe { alloc_zeroed(layout) };
        let Some(base) = NonNull::new(base) else {
            handle_alloc_error(layout)
        };
        Self { base, layout }
    }

    /// The byte at `offset`.
    ///
    /// # Panics
    /// If the arena ends before it.
    pub fn at(&self, offset: usize) -> *mut u8 {
        assert!(offset < self.layout.size(), "outside the arena");
        // SAFETY: inside the allocation.
        unsafe { self.base.add(offset).as_ptr() }
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this very layout, freed only here.
        unsafe { dealloc(self.base.as_ptr(), self.layout) }
    }
}
