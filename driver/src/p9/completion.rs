//! Where a thread waits for its reply (Linux: `req->wq`).

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::interrupt::Wake;

/// Filled once, by whoever is first to know the end; taken once by the thread that
/// waits.
#[derive(Debug)]
pub(super) struct Completion<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

#[derive(Debug)]
enum State<T> {
    Empty,
    Filled(T),
    Taken,
}

impl<T> Completion<T> {
    pub(super) fn new() -> Self {
        Self {
            state: Mutex::new(State::Empty),
            changed: Condvar::new(),
        }
    }

    /// Fills it, unless that was done before: a request has one end. Who waits for a
    /// queue that broke hears of it at once, and once more when its buffers are
    /// detached.
    pub(super) fn complete(&self, value: T) {
        let mut state = self.lock();
        if matches!(*state, State::Empty) {
            *state = State::Filled(value);
            self.changed.notify_one();
        }
    }

    pub(super) fn wait(&self) -> T {
        loop {
            if let Some(value) = self.wait_while(|| true) {
                return value;
            }
        }
    }

    /// Waits as long as `go_on` says, which is asked again whenever the thread was
    /// [woken](Wake::wake): `None` if that ended first.
    pub(super) fn wait_while(&self, go_on: impl Fn() -> bool) -> Option<T> {
        let mut state = self.lock();
        loop {
            if let Some(value) = state.take() {
                return Some(value);
            }
            if !go_on() {
                return None;
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The end, if it is known.
    pub(super) fn try_take(&self) -> Option<T> {
        self.lock().take()
    }

    /// Whether the end is known and nobody has taken it.
    pub(super) fn is_filled(&self) -> bool {
        matches!(*self.lock(), State::Filled(_))
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> State<T> {
    fn take(&mut self) -> Option<T> {
        match std::mem::replace(self, Self::Taken) {
            Self::Filled(value) => Some(value),
            Self::Empty => {
                *self = Self::Empty;
                None
            }
            Self::Taken => None,
        }
    }
}

impl<T: Send> Wake for Completion<T> {
    fn wake(&self) {
        // Under the lock, so that it is not missed between a look and the wait.
        let _state = self.lock();
        self.changed.notify_all();
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_first_end_is_the_end() {
        let completion = Completion::new();
        assert!(!completion.is_filled());
        assert_eq!(completion.try_take(), None);
        completion.complete(1);
        assert!(completion.is_filled());
        completion.complete(2);
        assert_eq!(completion.wait(), 1);
        completion.complete(3);
        assert!(matches!(*completion.state.lock().unwrap(), State::Taken));
        assert!(!completion.is_filled());
    }
}
