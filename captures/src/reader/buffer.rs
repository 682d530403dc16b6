//! Bytes on their way from the input, and where in it they stand.

use std::io::{self, ErrorKind, Read};
use std::ops::Range;

/// Little enough that what was read is still in the nearest caches when it is looked at.
const INITIAL: usize = 32 * 1024;

/// A window over the input that holds at least the block being read.
#[derive(Debug)]
pub(super) struct Buffer<R> {
    input: R,
    bytes: Vec<u8>,
    unread: Range<usize>,
    offset: u64,
}

impl<R: Read> Buffer<R> {
    pub(super) fn new(input: R) -> Self {
        Self {
            input,
            bytes: vec![0; INITIAL],
            unread: 0..0,
            offset: 0,
        }
    }

    /// Reads until `need` bytes are there; false if the input ends before.
    pub(super) fn fill(&mut self, need: usize) -> io::Result<bool> {
        while self.unread.len() < need {
            if self.bytes.len() - self.unread.start < need {
                self.bytes.copy_within(self.unread.clone(), 0);
                self.unread = 0..self.unread.len();
                if self.bytes.len() < need {
                    self.bytes.resize(need, 0);
                }
            }
            match self.input.read(&mut self.bytes[self.unread.end..]) {
                Ok(0) => return Ok(false),
                // A reader that claims more than it was given room for is wrong.
                Ok(count) => self.unread.end = (self.unread.end + count).min(self.bytes.len()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// What has been read and not consumed.
    #[inline]
    pub(super) fn unread(&self) -> &[u8] {
        &self.bytes[self.unread.clone()]
    }

    /// Where in the input the first unread byte stands.
    pub(super) const fn offset(&self) -> u64 {
        self.offset
    }

    /// Moves past `len` bytes. They can still be had by [`consumed`](Self::consumed)
    /// until the next fill.
    #[inline]
    pub(super) fn consume(&mut self, len: usize) {
        let len = len.min(self.unread.len());
        self.unread.start += len;
        self.offset += len as u64;
    }

    /// The `range` of the last `len` bytes consumed.
    #[inline]
    pub(super) fn consumed(&self, len: usize, range: Range<usize>) -> &[u8] {
        let block = self.bytes.get(self.unread.start.saturating_sub(len)..);
        block.and_then(|block| block.get(range)).unwrap_or(&[])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives one byte at a time, with interruptions.
    struct Slow(Vec<u8>, bool);

    impl Read for Slow {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            self.1 = !self.1;
            if self.1 {
                return Err(ErrorKind::Interrupted.into());
            }
            match self.0.pop() {
                Some(byte) => {
                    buf[0] = byte;
                    Ok(1)
                }
                None => Ok(0),
            }
        }
    }

    #[test]
    fn grows_and_moves_on() {
        let len = INITIAL + 3;
        let input = (0..len).rev().map(|i| i as u8).collect();
        let mut buffer = Buffer::new(Slow(input, false));
        assert!(buffer.fill(2).unwrap());
        buffer.consume(2);
        assert_eq!(buffer.consumed(2, 1..2), [1]);
        assert!(buffer.fill(len - 2).unwrap());
        assert_eq!(buffer.unread()[..2], [2, 3]);
        buffer.consume(len - 3);
        assert_eq!(buffer.offset(), len as u64 - 1);
        assert!(!buffer.fill(2).unwrap());
        assert_eq!(buffer.unread().len(), 1);
    }
}
