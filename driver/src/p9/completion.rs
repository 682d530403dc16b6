//! Where a thread waits for its reply (Linux: `req->wq`).

use std::sync::{Condvar, Mutex, PoisonError};

/// Filled once by the callback, taken once by the thread that waits.
#[derive(Debug)]
pub(super) struct Completion<T> {
    value: Mutex<Option<T>>,
    filled: Condvar,
}

impl<T> Completion<T> {
    pub(super) fn new() -> Self {
        Self {
            value: Mutex::new(None),
            filled: Condvar::new(),
        }
    }

    pub(super) fn complete(&self, value: T) {
        let mut slot = self.value.lock().unwrap_or_else(PoisonError::into_inner);
        *slot = Some(value);
        self.filled.notify_one();
    }

    pub(super) fn wait(&self) -> T {
        let mut slot = self.value.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(value) = slot.take() {
                return value;
            }
            slot = self
                .filled
                .wait(slot)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}
