//! The ring buffer between the programs and user space (Linux `BPF_MAP_TYPE_RINGBUF`).
//!
//! Read here and not by aya, which tells the kernel of each record when it has been read: a
//! program asks for that position with every record that it makes, and then waits each time
//! for the cache line that the reader on another CPU has just written. Aya also keeps to itself
//! how full the buffer is.

use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering, fence};

use aya::maps::{Map, MapData};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use rustix::param::page_size;

/// Bytes of the kernel's header before each record (Linux `struct bpf_ringbuf_hdr`).
const HEADER: usize = 8;
/// Set in its first word while the record is being written, and if it is to be passed over.
const BUSY: u32 = 1 << 31;
const DISCARDED: u32 = 1 << 30;

/// The kernel is told once for so many bytes at most that they have been read.
const TOLD_AT_ONCE: usize = 64 << 10;
/// And once for such a part of the buffer, where that is less: it is room that the programs
/// don't have.
const TOLD_PART: usize = 64;

/// A ring buffer, of which this is the only reader.
#[derive(Debug)]
pub(crate) struct Ring {
    /// Keeps the map.
    map: MapData,
    reader: Reader,
}

impl Ring {
    /// Maps the buffer `map`, which has so many bytes.
    ///
    /// # Errors
    /// It is no ring buffer, or its pages can't be had: which and why.
    pub(crate) fn of(map: Map, bytes: u32) -> Result<Self, String> {
        let Map::RingBuf(map) = map else {
            return Err("the buffer of records is no ring buffer".to_owned());
        };
        let pages = Pages::map(map.fd().as_fd(), bytes as usize)
            .map_err(|error| format!("the buffer of {bytes} bytes cannot be mapped: {error}"))?;
        Ok(Self {
            map,
            reader: Reader::new(pages),
        })
    }

    /// Bytes that wait to be read, headers included.
    pub(crate) fn waiting(&self) -> u64 {
        self.reader.waiting() as u64
    }

    /// Whether the last [drain](Self::drain) had to stop at a record that was still being
    /// written.
    pub(crate) fn is_held_up(&self) -> bool {
        self.reader.is_held_up
    }

    /// Hands all that has been written up to now to `take`, in order, up to the first that is
    /// still being written.
    pub(crate) fn drain(&mut self, take: impl FnMut(&[u8])) {
        self.reader.drain(take);
    }
}

impl AsFd for Ring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.map.fd().as_fd()
    }
}

#[derive(Debug)]
struct Reader {
    pages: Pages,
    /// Up to where it has been read.
    read: usize,
    /// Up to where the kernel has been told so.
    told: usize,
    is_held_up: bool,
}

impl Reader {
    fn new(pages: Pages) -> Self {
        let read = pages.consumer().load(Ordering::Acquire);
        Self {
            pages,
            read,
            told: read,
            is_held_up: false,
        }
    }

    fn waiting(&self) -> usize {
        let written = self.pages.written();
        // Positions go round after their last number.
        written.wrapping_sub(self.read).min(self.pages.bytes)
    }

    fn drain(&mut self, mut take: impl FnMut(&[u8])) {
        let at_once = TOLD_AT_ONCE.min(self.pages.bytes / TOLD_PART);
        // No more than that: who writes faster than this reads would never let it end.
        let mut left = self.waiting();
        while left > 0 {
            let header = self.pages.header(self.read);
            let len = (header & !(BUSY | DISCARDED)) as usize;
            let taken = footprint(len);
            // No header that is whole tells of more than waits.
            if header & BUSY != 0 || taken > left {
                break;
            }
            if header & DISCARDED == 0 {
                take(self.pages.record(self.read, len));
            }
            self.read = self.read.wrapping_add(taken);
            left -= taken;
            if self.read.wrapping_sub(self.told) >= at_once {
                self.tell();
            }
        }
        self.is_held_up = left > 0;
        self.tell();
    }

    /// From here on what has been read may be written over.
    fn tell(&mut self) {
        if self.told != self.read {
            self.pages.consumer().store(self.read, Ordering::Release);
            self.told = self.read;
        }
    }
}

/// Bytes that a record of `len` takes in the buffer.
pub(crate) const fn footprint(len: usize) -> usize {
    (HEADER + len).next_multiple_of(HEADER)
}

/// The pages of a ring buffer: its two positions, and its bytes twice, one behind the other,
/// so that no record is cut in two.
#[derive(Debug)]
struct Pages {
    /// The page that user space may write to.
    consumer: NonNull<u8>,
    /// The one with the kernel's position, and the bytes behind it.
    producer: NonNull<u8>,
    /// A power of two.
    bytes: usize,
}

// SAFETY: the pages are shared memory. Both positions and the headers are reached by atomic
// operations, and records are read only as long as their writer may not have them back.
unsafe impl Send for Pages {}
// SAFETY: see above.
unsafe impl Sync for Pages {}

impl Pages {
    fn map(buffer: BorrowedFd<'_>, bytes: usize) -> Result<Self, Errno> {
        if !bytes.is_power_of_two() || !bytes.is_multiple_of(page_size()) {
            return Err(Errno::INVAL);
        }
        let pages = |at: Range<usize>, access| {
            // SAFETY: a new mapping, at a place that the kernel chooses.
            let place = unsafe {
                mmap(
                    std::ptr::null_mut(),
                    at.len(),
                    access,
                    MapFlags::SHARED,
                    buffer,
                    at.start as u64,
                )
            };
            NonNull::new(place?.cast::<u8>()).ok_or(Errno::NOMEM)
        };
        let page = page_size();
        let consumer = pages(0..page, ProtFlags::READ | ProtFlags::WRITE)?;
        match pages(page..2 * page + 2 * bytes, ProtFlags::READ) {
            Ok(producer) => Ok(Self {
                consumer,
                producer,
                bytes,
            }),
            Err(error) => {
                unmap(consumer, page);
                Err(error)
            }
        }
    }

    /// Up to where the kernel knows that it was read.
    fn consumer(&self) -> &AtomicUsize {
        // SAFETY: the page is mapped as long as this is, begins with a position (Linux `struct
        // bpf_ringbuf`), and everybody reaches it atomically.
        unsafe { self.consumer.cast().as_ref() }
    }

    fn producer(&self) -> &AtomicUsize {
        // SAFETY: as above.
        unsafe { self.producer.cast().as_ref() }
    }

    /// Up to where has been written. In memory that can't be written to, Rust allows relaxed
    /// loads alone, hence the fence.
    fn written(&self) -> usize {
        let written = self.producer().load(Ordering::Relaxed);
        fence(Ordering::Acquire);
        written
    }

    /// The first word of the header at `position`, which changes by an atomic operation when
    /// the record is there.
    fn header(&self, position: usize) -> u32 {
        let header = self.header_at(position).load(Ordering::Relaxed);
        fence(Ordering::Acquire);
        header
    }

    fn header_at(&self, position: usize) -> &AtomicU32 {
        // SAFETY: within the bytes, and aligned, since all that is reserved is a multiple of 8.
        unsafe { self.at(position).cast().as_ref() }
    }

    /// The record of `len` bytes whose header is at `position`. It must be one that has been
    /// written whole and of which the kernel has not been told that it was read.
    fn record(&self, position: usize, len: usize) -> &[u8] {
        assert!(footprint(len) <= self.bytes);
        // SAFETY: it begins within the bytes and is no longer than they are, which are mapped
        // twice; nobody writes there before the kernel is told.
        unsafe { std::slice::from_raw_parts(self.at(position).add(HEADER).as_ptr(), len) }
    }

    fn at(&self, position: usize) -> NonNull<u8> {
        let offset = page_size() + (position & (self.bytes - 1));
        // SAFETY: within the pages.
        unsafe { self.producer.add(offset) }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        unmap(self.consumer, page_size());
        unmap(self.producer, page_size() + 2 * self.bytes);
    }
}

fn unmap(pages: NonNull<u8>, len: usize) {
    // SAFETY: mapped by `Pages::map`, and nobody else knows of them. That it can't fail now
    // matters to nobody.
    let _ = unsafe { munmap(pages.as_ptr().cast(), len) };
}

#[cfg(test)]
mod tests;
