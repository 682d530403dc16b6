//! A bounded ring of bytes from one producing thread to the drainer.
//!
//! It carries whole frames (pseudo-header, record, payload), each contiguous and
//! a multiple of 8 bytes long. A frame that does not fit is refused at once: the
//! producer never waits, and counts what it could not hand on.

use std::cell::UnsafeCell;
use std::sync::Arc;

use virtscope_record::{FRAME_LEN, PseudoHeader, Record};
use zerocopy::IntoBytes;

use crate::sync::{AccessCheck, AtomicBool, AtomicUsize, Ordering};

const WORD: usize = 8;
/// Words of a cache line.
#[cfg(all(target_arch = "x86_64", not(miri), not(loom)))]
const LINE_WORDS: usize = 64 / WORD;
/// Words from where a frame is written to where others will be: several frames, which is as
/// long as it takes to fetch a line from another processor.
const AHEAD: usize = 1024 / WORD;
const RECORD_WORDS: usize = Record::LEN / WORD;
/// Stands where a frame's pseudo-header would, when the rest of the ring up to
/// its end is too short for the next frame. Not the magic, so never a frame.
const SKIP: u64 = 0;

/// One cache line each, so that the two sides don't slow each other.
#[repr(align(64))]
#[derive(Debug)]
struct Position(AtomicUsize);

#[derive(Debug)]
struct Shared {
    words: Box<[UnsafeCell<u64>]>,
    check: AccessCheck,
    /// Words written since the beginning; only the writer stores it.
    written: Position,
    /// Words read since the beginning; only the reader stores it.
    read: Position,
    closed: AtomicBool,
}

// SAFETY: the words in `read..written` are touched by the reader alone, all
// others by the writer alone; the release stores and acquire loads of the two
// positions hand them over. There is one `Writer` and one `Reader`, and their
// methods that touch words take `&mut self`.
unsafe impl Sync for Shared {}
// SAFETY: as above.
unsafe impl Send for Shared {}

/// The producing end.
#[derive(Debug)]
pub struct Writer {
    shared: Arc<Shared>,
    /// The reader's position as last seen: mostly good enough.
    read_seen: usize,
}

/// The draining end.
#[derive(Debug)]
pub struct Reader {
    shared: Arc<Shared>,
}

/// A frame did not fit: the record is lost and must be counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the byte ring is full")]
pub struct Full;

/// A ring of at least `bytes` bytes (rounded up to a power of two, at least one
/// frame).
///
/// A frame of up to half the ring always fits an empty one; a longer one only if
/// it happens not to pass the end.
pub fn byte_ring(bytes: usize) -> (Writer, Reader) {
    let words = (bytes.max(FRAME_LEN) / WORD).next_power_of_two();
    let shared = Arc::new(Shared {
        words: zeroed(words),
        check: AccessCheck::new(words),
        written: Position(AtomicUsize::new(0)),
        read: Position(AtomicUsize::new(0)),
        closed: AtomicBool::new(false),
    });
    let writer = Writer {
        shared: Arc::clone(&shared),
        read_seen: 0,
    };
    (writer, Reader { shared })
}

/// Zeroed words whose pages are not touched before they are used: the first
/// record of a thread must not wait for megabytes to be cleared.
fn zeroed(words: usize) -> Box<[UnsafeCell<u64>]> {
    // SAFETY: all bytes zero is a valid `u64`, and a cell has the layout of what
    // it holds.
    unsafe { Box::new_zeroed_slice(words).assume_init() }
}

impl Shared {
    fn len(&self) -> usize {
        self.words.len()
    }

    /// The words from slot `from` on.
    ///
    /// # Safety
    /// The caller's side owns `count` words from `from` on, and they don't pass
    /// the end.
    #[expect(
        clippy::mut_from_ref,
        reason = "the words lie in cells; who owns them is the positions' business"
    )]
    unsafe fn words(&self, from: usize, count: usize) -> &mut [u64] {
        let first = UnsafeCell::raw_get(self.words.as_ptr()).wrapping_add(from);
        // SAFETY: in range and unaliased by the caller's promise; a cell has the
        // layout of what it holds, so the words are contiguous.
        unsafe { std::slice::from_raw_parts_mut(first, count) }
    }

    /// Has the processor fetch the cache lines of `count` words from `position` on, in order
    /// to write to them. The reader's processor has had them last, and each record's
    /// sequence number waits for all stores before it: that of the one before would wait
    /// for its lines.
    #[inline(always)]
    fn fetch_ahead(&self, position: usize, count: usize) {
        #[cfg(all(target_arch = "x86_64", not(miri), not(loom)))]
        for line in (0..count).step_by(LINE_WORDS) {
            let slot = (position + line) & (self.len() - 1);
            let word = self.words.as_ptr().wrapping_add(slot);
            // SAFETY: a hint, which changes nothing, whatever the address; processors that
            // don't know it pass it by. `_mm_prefetch` would fetch for reading only, where
            // the target is any x86-64.
            unsafe {
                std::arch::asm!(
                    "prefetchw [{}]",
                    in(reg) word,
                    options(nostack, preserves_flags, readonly),
                );
            }
        }
        #[cfg(not(all(target_arch = "x86_64", not(miri), not(loom))))]
        let _ = (position, count);
    }

    /// The same as bytes.
    ///
    /// # Safety
    /// As for [`words`](Self::words).
    unsafe fn bytes(&self, from: usize, count: usize) -> &[u8] {
        // SAFETY: the caller's promise.
        unsafe { self.words(from, count) }.as_bytes()
    }
}

impl Writer {
    /// Writes one frame, `payload_len` bytes of payload being filled in by
    /// `fill`.
    ///
    /// # Errors
    /// [`Full`]: nothing was written.
    #[inline]
    pub fn write(
        &mut self,
        record: &Record,
        payload_len: usize,
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<(), Full> {
        self.write_with(payload_len, |payload| {
            fill(payload);
            (record.to_words(), payload_len)
        })
    }

    /// Writes one frame whose payload `make` gathers where it will stand, with
    /// room for `payload_len` bytes. It returns the record ([`Record::words`]), which
    /// may depend on the payload, and how many bytes of it there are. What it leaves alone
    /// holds bytes of earlier frames.
    ///
    /// # Errors
    /// [`Full`]: nothing was written, and `make` was not called.
    #[inline]
    pub fn write_with(
        &mut self,
        payload_len: usize,
        make: impl FnOnce(&mut [u8]) -> ([u64; RECORD_WORDS], usize),
    ) -> Result<(), Full> {
        let shared = &*self.shared;
        let len = shared.len();
        let need = (FRAME_LEN + payload_len).div_ceil(WORD);
        let written = shared.written.0.load(Ordering::Relaxed);
        let slot = written & (len - 1);
        // A frame is contiguous: skip the rest of the ring if it is too short.
        let skip = if need > len - slot { len - slot } else { 0 };
        let total = need + skip;
        if total > len - (written - self.read_seen) {
            self.read_seen = shared.read.0.load(Ordering::Acquire);
            if total > len - (written - self.read_seen) {
                return Err(Full);
            }
        }
        let mut at = slot;
        if skip > 0 {
            shared.check.write(slot..slot + 1);
            // SAFETY: the word is free (checked above), so it is the writer's.
            unsafe { shared.words(slot, 1) }.fill(SKIP);
            at = 0;
        }
        shared.fetch_ahead(written + AHEAD, need);
        shared.check.write(at..at + need);
        // SAFETY: `total` words are free (checked above), so these are the
        // writer's, and they end before the ring does.
        let frame = unsafe { shared.words(at, need) };
        let (header, rest) = frame.split_at_mut(1);
        let (body, rest) = rest.split_at_mut(RECORD_WORDS);
        let (record, kept) = make(&mut rest.as_mut_bytes()[..payload_len]);
        let kept = kept.min(payload_len);
        header[0] = PseudoHeader::new(kept as u32).to_word();
        body.copy_from_slice(&record);
        let total = (FRAME_LEN + kept).div_ceil(WORD) + skip;
        shared.written.0.store(written + total, Ordering::Release);
        Ok(())
    }
}

impl Writer {
    /// Whether somebody is left to read what is written.
    pub fn has_reader(&self) -> bool {
        Arc::strong_count(&self.shared) > 1
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::Release);
    }
}

impl Reader {
    /// Hands every frame written up to now to `take`, oldest first, and frees
    /// its room. Returns how many there were.
    pub fn drain(&mut self, mut take: impl FnMut(&Record, &[u8])) -> usize {
        let shared = &*self.shared;
        let mask = shared.len() - 1;
        let written = shared.written.0.load(Ordering::Acquire);
        let mut read = shared.read.0.load(Ordering::Relaxed);
        let mut frames = 0;
        while read != written {
            let slot = read & mask;
            shared.check.read(slot..slot + 1);
            // SAFETY: words between `read` and `written` are the reader's.
            let head: &[u8] = unsafe { shared.bytes(slot, 1) };
            let Ok(header) = PseudoHeader::parse(head) else {
                read += shared.len() - slot;
                continue;
            };
            let payload_len = header.payload_len() as usize;
            let words = (FRAME_LEN + payload_len).div_ceil(WORD);
            shared.check.read(slot..slot + words);
            // SAFETY: as above; the writer wrote the frame whole and contiguous
            // before it stored `written`.
            let frame: &[u8] = unsafe { shared.bytes(slot, words) };
            if let Ok(record) = Record::from_bytes(&frame[PseudoHeader::LEN..FRAME_LEN]) {
                take(&record, &frame[FRAME_LEN..FRAME_LEN + payload_len]);
                frames += 1;
            }
            read += words;
            shared.read.0.store(read, Ordering::Release);
        }
        shared.read.0.store(read, Ordering::Release);
        frames
    }

    /// Whether the writer is gone. What it wrote before may still be there: ask
    /// first, drain then.
    pub fn is_closed(&self) -> bool {
        self.shared.closed.load(Ordering::Acquire)
    }

    /// How full the ring is, from 0 to 1.
    pub fn fill(&self) -> f64 {
        let read = self.shared.read.0.load(Ordering::Relaxed);
        let written = self.shared.written.0.load(Ordering::Relaxed);
        written.saturating_sub(read) as f64 / self.shared.len() as f64
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;
    use virtscope_record::{Body, Common, Notify, Token};

    fn record(token: u64) -> Record {
        Record::new(
            Common {
                token: Token(token),
                ..Common::default()
            },
            Body::Notify(Notify::default()),
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, cases: if cfg!(miri) { 8 } else { 256 }, ..ProptestConfig::default() })]
        /// Against a queue: what went in comes out, whole and in order, and a
        /// frame is refused exactly when it does not fit.
        #[test]
        fn behaves_like_a_queue(steps in proptest::collection::vec((any::<bool>(), 0usize..120), 1..200)) {
            const RING: usize = 1024;
            let (mut writer, mut reader) = byte_ring(RING);
            let mut model: VecDeque<(u64, usize)> = VecDeque::new();
            let (mut end, mut occupied) = (0, 0);
            for (token, (drain, payload_len)) in steps.into_iter().enumerate() {
                if drain {
                    let frames = reader.drain(|record, payload| {
                        let (token, len) = model.pop_front().unwrap();
                        assert_eq!(record.token(), Token(token));
                        assert_eq!(payload.len(), len);
                        assert!(payload.iter().all(|byte| *byte == token as u8));
                    });
                    prop_assert_eq!(model.len(), 0);
                    occupied = 0;
                    prop_assert!(frames == 0 || reader.fill() < f64::EPSILON);
                    continue;
                }
                let token = token as u64;
                let frame = (FRAME_LEN + payload_len).next_multiple_of(WORD);
                // A frame that would pass the end begins at the start instead.
                let skip = if end % RING + frame > RING { RING - end % RING } else { 0 };
                let written = writer.write(&record(token), payload_len, |bytes| bytes.fill(token as u8));
                prop_assert_eq!(written.is_ok(), occupied + skip + frame <= RING);
                if written.is_ok() {
                    model.push_back((token, payload_len));
                    end += skip + frame;
                    occupied += skip + frame;
                }
            }
        }
    }

    #[test]
    fn two_threads_see_every_frame_once() {
        let (mut writer, mut reader) = byte_ring(4096);
        let count = if cfg!(miri) { 200 } else { 200_000 };
        let producer = std::thread::spawn(move || {
            let mut lost = 0u64;
            for token in 0..count {
                let len = (token % 40) as usize;
                if writer
                    .write(&record(token), len, |bytes| bytes.fill(token as u8))
                    .is_err()
                {
                    lost += 1;
                    std::thread::yield_now();
                }
            }
            lost
        });
        let mut last = None;
        let mut seen = 0;
        loop {
            let closed = reader.is_closed();
            seen += reader.drain(|record, payload| {
                let token = record.token().0;
                assert!(last.is_none_or(|last| token > last));
                assert_eq!(payload.len() as u64, token % 40);
                assert!(payload.iter().all(|byte| *byte == token as u8));
                last = Some(token);
            }) as u64;
            if closed {
                break;
            }
            std::thread::yield_now();
        }
        assert_eq!(seen + producer.join().unwrap(), count);
    }
}
