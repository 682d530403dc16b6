//! The synchronisation primitives of the byte ring, and of what a queue shares
//! with those beside it, so that loom can stand in for them: build with
//! `--cfg loom`.

#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU32, AtomicUsize, Ordering};

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU16, AtomicU32, AtomicUsize, Ordering};

/// Says who touches which words, so that loom finds two who touch the same ones
/// at once. Costs nothing without loom.
#[cfg(not(loom))]
#[derive(Debug)]
pub(crate) struct AccessCheck;

#[cfg(not(loom))]
impl AccessCheck {
    pub(crate) fn new(_: usize) -> Self {
        Self
    }
    pub(crate) fn write(&self, _: std::ops::Range<usize>) {}
    pub(crate) fn read(&self, _: std::ops::Range<usize>) {}
}

#[cfg(loom)]
#[derive(Debug)]
pub(crate) struct AccessCheck(Vec<loom::cell::UnsafeCell<()>>);

#[cfg(loom)]
impl AccessCheck {
    pub(crate) fn new(words: usize) -> Self {
        Self(
            (0..words)
                .map(|_| loom::cell::UnsafeCell::new(()))
                .collect(),
        )
    }
    pub(crate) fn write(&self, words: std::ops::Range<usize>) {
        for cell in &self.0[words] {
            cell.with_mut(|_| ());
        }
    }
    pub(crate) fn read(&self, words: std::ops::Range<usize>) {
        for cell in &self.0[words] {
            cell.with(|_| ());
        }
    }
}
