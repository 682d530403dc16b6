//! The one conversation that everybody is measured by.

/// Bytes of every segment.
pub const SEGMENT_LEN: u32 = 64;
/// What the device says it has written into each buffer.
pub const WRITTEN: u32 = 64;
/// Buffers in flight at most: the largest batch.
pub const MAX_BATCH: usize = 64;
/// Bytes of memory for all buffers: each has a device-readable and a
/// device-writable segment.
pub const BUFFER_BYTES: usize = MAX_BATCH * 2 * SEGMENT_LEN as usize;

/// What a buffer looks like.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Shape {
    /// One device-writable segment.
    One,
    /// A device-readable segment, then a device-writable one.
    Two,
}

impl Shape {
    /// Descriptors of such a buffer, if it is not indirect.
    pub const fn descriptors(self) -> u16 {
        match self {
            Self::One => 1,
            Self::Two => 2,
        }
    }
}

/// Offsets of the two segments of buffer `number` from where all buffers begin.
pub const fn segment_offsets(number: u16) -> (u64, u64) {
    let readable = number as u64 * 2 * SEGMENT_LEN as u64;
    (readable, readable + SEGMENT_LEN as u64)
}

/// The driver's half of a queue, as the conversation needs it.
///
/// Buffers are numbered below [`MAX_BATCH`]; their memory was prepared before.
pub trait Driver {
    /// Adds buffer `number` and makes it available.
    fn add(&mut self, number: u16, shape: Shape);
    /// Decides whether the device must hear of it, behind a full fence.
    fn kick(&mut self);
    /// The number of the next used buffer and the bytes written into it.
    fn get_buf(&mut self, shape: Shape) -> Option<(u16, u32)>;
}

/// The device's half: returns every available buffer, in order.
pub trait Device {
    /// Returns all there are.
    fn serve(&mut self);
}

/// Sends `batches` times `batch` buffers through the ring.
///
/// # Panics
/// If a buffer does not come back in its turn, with what was written into it.
#[inline(always)]
pub fn converse(
    driver: &mut impl Driver,
    device: &mut impl Device,
    shape: Shape,
    batch: u16,
    batches: u32,
) {
    for _ in 0..batches {
        for number in 0..batch {
            driver.add(number, shape);
        }
        driver.kick();
        device.serve();
        for number in 0..batch {
            if driver.get_buf(shape) != Some((number, WRITTEN)) {
                lost(number);
            }
        }
    }
}

/// Out of the way, so that nobody's round pays for the message.
#[cold]
#[inline(never)]
fn lost(number: u16) -> ! {
    panic!("buffer {number} did not come back in its turn");
}
