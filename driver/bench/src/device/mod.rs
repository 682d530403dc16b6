//! Device halves without any checks, the same for every driver of a layout.
//!
//! They ask for no kicks, return every buffer in order, and say that the same
//! number of bytes was written into each. They look at no more of the ring than
//! that takes. Where the ring stands they know by raw pointers; the words are
//! reached atomically, which costs nothing on any machine that Linux runs on.

mod packed;
mod split;

pub use packed::PackedDevice;
pub use split::SplitDevice;

use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64};

/// Where the three areas of a ring stand in this process.
#[derive(Clone, Copy, Debug)]
pub struct Areas {
    /// The descriptor area.
    pub descriptor: *mut u8,
    /// The driver area.
    pub driver: *mut u8,
    /// The device area.
    pub device: *mut u8,
}

/// The 16-bit word `offset` bytes behind `area`.
///
/// # Safety
/// The word lies in memory that lives as long as `'a`, is aligned, and is
/// reached only atomically while it is used.
#[inline(always)]
pub(crate) unsafe fn word16<'a>(area: *mut u8, offset: usize) -> &'a AtomicU16 {
    // SAFETY: the caller's promise.
    unsafe { AtomicU16::from_ptr(area.add(offset).cast()) }
}

/// The 32-bit word `offset` bytes behind `area`.
///
/// # Safety
/// As for [`word16`].
#[inline(always)]
pub(crate) unsafe fn word32<'a>(area: *mut u8, offset: usize) -> &'a AtomicU32 {
    // SAFETY: the caller's promise.
    unsafe { AtomicU32::from_ptr(area.add(offset).cast()) }
}

/// The 64-bit word `offset` bytes behind `area`.
///
/// # Safety
/// As for [`word16`].
#[inline(always)]
pub(crate) unsafe fn word64<'a>(area: *mut u8, offset: usize) -> &'a AtomicU64 {
    // SAFETY: the caller's promise.
    unsafe { AtomicU64::from_ptr(area.add(offset).cast()) }
}
