//! What is checked before a buffer is added, in either layout.

use virtscope_record::Token;

use super::indirect::{Table, Tables};
use super::{AddErrorKind, Context};
use crate::memory::{QueueMemory, Segment};

/// Bytes of a buffer by direction.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sums {
    pub(super) readable: u32,
    pub(super) writable: u32,
}

/// What the caller of an add has.
pub(super) struct Offer<'a, T> {
    pub(super) readable: &'a [Segment],
    pub(super) writable: &'a [Segment],
    pub(super) token: Token,
    pub(super) data: T,
    pub(super) context: Context,
}

impl<'a, T> Offer<'a, T> {
    #[inline(always)]
    pub(super) const fn new(
        readable: &'a [Segment],
        writable: &'a [Segment],
        token: Token,
        data: T,
        context: Context,
    ) -> Self {
        Self {
            readable,
            writable,
            token,
            data,
            context,
        }
    }
}

/// How a buffer will stand in the ring.
#[derive(Clone, Copy, Debug)]
pub(super) struct Placement {
    pub(super) sums: Sums,
    /// Entries of the ring that it takes: one for each segment, or one in all.
    pub(super) descriptors: u16,
    /// The indirect table, already taken, that holds its descriptors.
    pub(super) table: Option<Table>,
}

impl Placement {
    /// Straight in the ring, each segment in an entry.
    #[inline(always)]
    pub(super) const fn direct(sums: Sums, segments: usize) -> Self {
        Self {
            sums,
            descriptors: segments as u16,
            table: None,
        }
    }

    /// In a table, which takes one entry.
    #[inline(always)]
    pub(super) const fn indirect(sums: Sums, table: Table) -> Self {
        Self {
            sums,
            descriptors: 1,
            table: Some(table),
        }
    }
}

/// The sums of a buffer in which nothing is wrong and which has room straight among
/// `free` entries of the ring: for nearly every buffer, in few steps. For any other
/// there is [`place_or_say_why`].
#[inline(always)]
pub(super) fn sums_with_room(
    memory: &impl QueueMemory,
    readable: &[Segment],
    writable: &[Segment],
    free: u16,
) -> Option<Sums> {
    let segments = readable.len() + writable.len();
    // No segment at all wraps round.
    if segments.wrapping_sub(1) >= usize::from(free) {
        return None;
    }
    sums(memory, readable, writable)
}

/// The sums of at most 32768 segments, if nothing is wrong with any.
#[inline(always)]
fn sums(memory: &impl QueueMemory, readable: &[Segment], writable: &[Segment]) -> Option<Sums> {
    let sum = |segments: &[Segment]| {
        let mut sum = 0;
        for segment in segments {
            if segment.len == 0 || !memory.is_buffer(*segment) {
                return None;
            }
            sum += u64::from(segment.len);
        }
        Some(sum)
    };
    let (readable, writable) = (sum(readable)?, sum(writable)?);
    (readable + writable <= u64::from(u32::MAX)).then_some(Sums {
        readable: readable as u32,
        writable: writable as u32,
    })
}

/// Places a buffer, one step after the other, in a ring of `size`: a list into an
/// indirect table where there is one, else straight into the ring, as Linux does
/// (`virtqueue_use_indirect`).
///
/// # Errors
/// What is wrong with the buffer, or that there is no room.
#[cold]
#[inline(never)]
pub(super) fn place_or_say_why(
    memory: &impl QueueMemory,
    readable: &[Segment],
    writable: &[Segment],
    size: u16,
    free: u16,
    tables: &mut Tables,
) -> Result<Placement, AddErrorKind> {
    let segments = readable.len() + writable.len();
    if segments == 0 {
        return Err(AddErrorKind::NoSegments);
    }
    // Also where a table would hold more (virtio 1.4 §2.7.5.3.1, §2.8.17).
    if segments > usize::from(size) {
        return Err(AddErrorKind::TooManySegments { segments, size });
    }
    // Lengths before space: a buffer that can never be added is not told to
    // wait.
    let sums = check_segments(memory, readable, writable)?;
    if free == 0 {
        return Err(AddErrorKind::NoSpace {
            needed: if tables.fit(segments) { 1 } else { segments },
            free,
        });
    }
    if let Some(table) = tables.take_for(segments) {
        return Ok(Placement::indirect(sums, table));
    }
    if segments > usize::from(free) {
        return Err(if tables.fit(segments) {
            AddErrorKind::NoMemory
        } else {
            AddErrorKind::NoSpace {
                needed: segments,
                free,
            }
        });
    }
    Ok(Placement::direct(sums, segments))
}

/// Adds up the segments and looks that none lies in the ring.
fn check_segments(
    memory: &impl QueueMemory,
    readable: &[Segment],
    writable: &[Segment],
) -> Result<Sums, AddErrorKind> {
    let sum = |segments: &[Segment]| {
        let mut sum = 0u32;
        for segment in segments {
            if segment.len == 0 {
                return Err(AddErrorKind::BadLength);
            }
            sum = sum
                .checked_add(segment.len)
                .ok_or(AddErrorKind::BadLength)?;
            if !memory.is_buffer(*segment) {
                return Err(AddErrorKind::SegmentInRing {
                    address: segment.address.0,
                });
            }
        }
        Ok(sum)
    };
    let sums = Sums {
        readable: sum(readable)?,
        writable: sum(writable)?,
    };
    if sums.readable.checked_add(sums.writable).is_none() {
        return Err(AddErrorKind::BadLength);
    }
    Ok(sums)
}
