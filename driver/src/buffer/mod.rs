//! Buffers whose type says whose they are.
//!
//! A [`Buffer`] is the driver's: it fills the part that the device will read. A
//! queue's `add_buf` takes it and makes it an [`ExposedBuffer`], which stays in
//! the queue: nobody on this side reads or writes it while the device may. What
//! comes back is a [`ReturnedBuffer`], of which only the bytes that the device
//! says it wrote can be read; [`ReturnedBuffer::reuse`] makes it a [`Buffer`]
//! again.
//!
//! ```compile_fail,E0382
//! # use virtscope_driver::{buffer::*, operations::*};
//! # use virtscope_record::Token;
//! fn touched_too_late<Q: Operations>(queue: &mut Q, mut buffer: Buffer) {
//!     let added = queue.add_buf(buffer, Token(1));
//!     // It is in the queue, so it is no longer here.
//!     buffer.fill(0, b"too late");
//! }
//! ```
//!
//! ```compile_fail,E0599
//! # use virtscope_driver::buffer::*;
//! fn read_too_early(buffer: &ExposedBuffer, into: &mut [u8]) {
//!     buffer.read(0, into);
//! }
//! ```
//!
//! ```compile_fail,E0599
//! # use virtscope_driver::buffer::*;
//! fn written_too_late(buffer: &mut ExposedBuffer) {
//!     buffer.fill(0, b"too late");
//! }
//! ```
//!
//! ```compile_fail,E0308
//! # use virtscope_driver::{buffer::*, operations::*};
//! # use virtscope_record::Token;
//! fn unread<Q: Operations>(queue: &mut Q, buffer: ReturnedBuffer) {
//!     // Only `reuse` says that what the device wrote is not needed any more.
//!     queue.add_buf(buffer, Token(1));
//! }
//! ```
//!
//! ```
//! # use virtscope_driver::{buffer::*, operations::*};
//! # use virtscope_record::Token;
//! fn in_time<Q: Operations>(queue: &mut Q, mut buffer: Buffer) {
//!     buffer.fill(0, b"in time").unwrap();
//!     queue.add_buf(buffer, Token(1)).unwrap();
//! }
//! ```

mod parts;

use std::sync::Arc;

use crate::memory::{GuestAddress, GuestMemory, NoPages, PagePool, Segment};
use parts::Parts;

pub use parts::OutsideBuffer;

/// Where buffers come from and where they go when they are dropped: the free
/// pages of guest memory. Cheap to clone.
#[derive(Clone, Debug)]
pub struct BufferPool(Arc<PagePool>);

impl From<Arc<PagePool>> for BufferPool {
    /// Buffers of pages from a stock that others may use, too.
    fn from(pages: Arc<PagePool>) -> Self {
        Self(pages)
    }
}

impl BufferPool {
    /// All whole pages of `memory` from `start` on.
    pub fn new(memory: &Arc<GuestMemory>, start: GuestAddress) -> Self {
        Self(PagePool::new(Arc::clone(memory), start))
    }

    /// A buffer with `readable` bytes for the device to read and `writable` bytes
    /// for it to write. What they hold at first is not said.
    ///
    /// # Errors
    /// Not enough pages are free.
    pub fn allocate(&self, readable: u32, writable: u32) -> Result<Buffer, NoPages> {
        let pages = self.0.allocate(Parts::bytes(readable, writable))?;
        let memory = Arc::clone(self.0.memory());
        Ok(Buffer(Parts::new(pages, memory, readable, writable)))
    }

    /// Pages that are free.
    pub fn available_pages(&self) -> usize {
        self.0.available()
    }
}

/// A buffer that is the driver's. Dropping it gives its memory back to the pool.
#[derive(Debug)]
pub struct Buffer(Parts);

impl Buffer {
    /// Device-readable bytes.
    pub fn readable_len(&self) -> u32 {
        self.0.readable()
    }

    /// Device-writable bytes.
    pub fn writable_len(&self) -> u32 {
        self.0.writable()
    }

    /// Copies `bytes` into the device-readable part from `offset` on.
    ///
    /// # Errors
    /// They don't fit; then nothing was copied.
    pub fn fill(&mut self, offset: u32, bytes: &[u8]) -> Result<(), OutsideBuffer> {
        self.0.write_readable(offset, bytes)
    }

    /// The most segments that either part takes: guest memory comes in pages.
    pub fn segments(&self) -> usize {
        let readable = self.0.readable_segments().count();
        readable.max(self.0.writable_segments().count())
    }

    /// It goes into a queue.
    pub(crate) fn expose(self) -> ExposedBuffer {
        ExposedBuffer(self.0)
    }
}

/// A buffer that is the device's: what a queue holds.
#[derive(Debug)]
pub struct ExposedBuffer(Parts);

impl ExposedBuffer {
    pub(crate) fn readable_len(&self) -> u32 {
        self.0.readable()
    }

    pub(crate) fn writable_len(&self) -> u32 {
        self.0.writable()
    }

    /// What a descriptor ring says of the device-readable part.
    pub(crate) fn readable_segments(&self) -> impl Iterator<Item = Segment> + '_ {
        self.0.readable_segments()
    }

    /// What a descriptor ring says of the device-writable part.
    pub(crate) fn writable_segments(&self) -> impl Iterator<Item = Segment> + '_ {
        self.0.writable_segments()
    }

    /// Copies all device-readable bytes to the end of `into`: what a device that
    /// does not reach guest memory is sent.
    pub(crate) fn send_readable(&self, into: &mut Vec<u8>) {
        self.0.read_readable(into);
    }

    /// Writes what such a device answers.
    pub(crate) fn receive(&mut self, offset: u32, bytes: &[u8]) -> Result<(), OutsideBuffer> {
        self.0.write_writable(offset, bytes)
    }

    /// The device returned it; the queue has checked that `written` is no more
    /// than there was.
    pub(crate) fn returned(self, written: u32) -> ReturnedBuffer {
        ReturnedBuffer {
            written: written.min(self.0.writable()),
            parts: self.0,
        }
    }

    /// The device never got it, or has let go of it without using it.
    pub(crate) fn unused(self) -> Buffer {
        Buffer(self.0)
    }
}

/// A buffer that the device has used. It is the driver's again, to read as far as
/// the device wrote.
#[derive(Debug)]
pub struct ReturnedBuffer {
    parts: Parts,
    written: u32,
}

impl ReturnedBuffer {
    /// Bytes that the device says it wrote, from the beginning of the
    /// device-writable part on.
    pub fn written(&self) -> u32 {
        self.written
    }

    /// Device-writable bytes that there were.
    pub fn writable_len(&self) -> u32 {
        self.parts.writable()
    }

    /// Copies what the device wrote from `offset` on into `into`.
    ///
    /// # Errors
    /// It did not write so much: "The driver MUST NOT make assumptions about data in
    /// device-writable buffers beyond the first len bytes" (virtio 1.4 §2.7.8.3).
    /// Then nothing was copied.
    pub fn read(&self, offset: u32, into: &mut [u8]) -> Result<(), OutsideBuffer> {
        self.parts.read_writable(offset, into, self.written)
    }

    /// All that the device wrote.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.written as usize];
        let read = self.read(0, &mut bytes);
        debug_assert!(read.is_ok(), "what was written lies in the buffer");
        bytes
    }

    /// The same memory for another request of the same lengths.
    pub fn reuse(self) -> Buffer {
        Buffer(self.parts)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn pool(pages: usize) -> BufferPool {
        BufferPool::new(&Arc::new(GuestMemory::new(pages)), GuestAddress(0))
    }

    #[test]
    fn only_what_was_written_can_be_read() {
        let pool = pool(3);
        let mut buffer = pool.allocate(20, 5000).unwrap();
        buffer.fill(16, b"head").unwrap();
        let mut exposed = buffer.expose();
        let answer: Vec<u8> = (0..4990u32).map(|i| i as u8).collect();
        exposed.receive(0, &answer[..100]).unwrap();
        exposed.receive(100, &answer[100..]).unwrap();
        let returned = exposed.returned(4990);
        assert_eq!(returned.to_vec(), answer);
        let mut bytes = [0; 10];
        returned.read(4980, &mut bytes).unwrap();
        assert_eq!(bytes, answer[4980..]);
        let refused = returned.read(4981, &mut bytes).unwrap_err();
        assert_eq!(
            (refused.offset, refused.len, refused.size),
            (4981, 10, 4990)
        );
        assert!(returned.read(u32::MAX, &mut bytes).is_err());
    }

    #[test]
    fn the_parts_do_not_touch_each_other() {
        let pool = pool(4);
        // The device-writable part begins inside the second page.
        let mut buffer = pool.allocate(4099, 4101).unwrap();
        let request = vec![0xaa; 4099];
        buffer.fill(0, &request).unwrap();
        assert!(buffer.fill(4098, &[0; 2]).is_err());
        assert_eq!(buffer.segments(), 2);
        let mut exposed = buffer.expose();
        exposed.receive(0, &vec![0xbb; 4101]).unwrap();
        assert!(exposed.receive(4101, &[0]).is_err());
        let mut seen = vec![1];
        exposed.send_readable(&mut seen);
        assert_eq!((seen[0], &seen[1..]), (1, &request[..]));
        let lengths = |segments: &mut dyn Iterator<Item = Segment>| -> Vec<u32> {
            segments.map(|segment| segment.len).collect()
        };
        assert_eq!(lengths(&mut exposed.readable_segments()), [4096, 3]);
        assert_eq!(lengths(&mut exposed.writable_segments()), [4088, 13]);
        let first = exposed.writable_segments().next().unwrap();
        assert_eq!(first.address.0 % 4096, 8);
        assert_eq!(exposed.returned(4101).to_vec(), vec![0xbb; 4101]);
    }

    #[test]
    fn memory_comes_back_whoever_had_the_buffer() {
        let pool = pool(3);
        let [first, second, third] = [1, 2, 3].map(|len| pool.allocate(len, len).unwrap());
        assert_eq!(pool.available_pages(), 0);
        assert_eq!(pool.allocate(1, 0).unwrap_err(), NoPages { pages: 1 });
        drop(first);
        drop(second.expose());
        drop(third.expose().returned(1).reuse().expose().unused());
        assert_eq!(pool.available_pages(), 3);
    }
}
