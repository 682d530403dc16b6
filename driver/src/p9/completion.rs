//! Where a thread waits for its reply (Linux: `req->wq`).

use std::sync::{Condvar, Mutex, PoisonError};

/// Filled once, by whoever is first to know the end; taken once by the thread that
/// waits.
#[derive(Debug)]
pub(super) struct Completion<T> {
    state: Mutex<State<T>>,
    filled: Condvar,
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
            filled: Condvar::new(),
        }
    }

    /// Fills it, unless that was done before: a request has one end. Who waits for a
    /// queue that broke hears of it at once, and once more when its buffers are
    /// detached.
    pub(super) fn complete(&self, value: T) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*state, State::Empty) {
            *state = State::Filled(value);
            self.filled.notify_one();
        }
    }

    pub(super) fn wait(&self) -> T {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match std::mem::replace(&mut *state, State::Taken) {
                State::Filled(value) => return value,
                State::Empty => *state = State::Empty,
                State::Taken => {}
            }
            state = self
                .filled
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_first_end_is_the_end() {
        let completion = Completion::new();
        completion.complete(1);
        completion.complete(2);
        assert_eq!(completion.wait(), 1);
        completion.complete(3);
        assert!(matches!(*completion.state.lock().unwrap(), State::Taken));
    }
}
