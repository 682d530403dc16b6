//! Tags and fids: small numbers that are lent out and come back.

use std::sync::{Condvar, Mutex, PoisonError};

/// Lends out the numbers from 0 below a limit, lowest first as far as cheap.
#[derive(Debug)]
pub(super) struct Numbers {
    state: Mutex<State>,
    returned: Condvar,
    limit: u32,
}

#[derive(Debug, Default)]
struct State {
    back: Vec<u32>,
    next: u32,
}

impl Numbers {
    pub(super) fn below(limit: u32) -> Self {
        Self {
            state: Mutex::default(),
            returned: Condvar::new(),
            limit,
        }
    }

    /// A number nobody else has; waits for one if all are lent out.
    pub(super) fn take(&self) -> u32 {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(number) = state.back.pop() {
                return number;
            }
            if state.next < self.limit {
                state.next += 1;
                return state.next - 1;
            }
            state = self
                .returned
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    pub(super) fn give_back(&self, number: u32) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        debug_assert!(!state.back.contains(&number), "{number} came back twice");
        state.back.push(number);
        self.returned.notify_one();
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[timeout(std::time::Duration::from_secs(60))]
    fn a_number_is_lent_to_one_at_a_time() {
        let numbers = Numbers::below(3);
        let mut lent: Vec<u32> = (0..3).map(|_| numbers.take()).collect();
        lent.sort_unstable();
        assert_eq!(lent, [0, 1, 2]);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| numbers.take());
            numbers.give_back(1);
            assert_eq!(waiting.join().unwrap(), 1);
        });
    }
}
