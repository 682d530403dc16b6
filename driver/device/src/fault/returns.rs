//! Buffers on their way back that are held up.

use std::time::Duration;

use rand_pcg::Pcg64;
use rand_pcg::rand_core::{Rng, SeedableRng};

use super::dice::Hit;
use crate::queue::Chain;

/// A buffer on its way back, and what is to go wrong with it.
#[derive(Debug)]
pub(super) struct Return {
    /// As it will be returned: its id may be a lie.
    pub(super) chain: Chain,
    /// The id it was taken under.
    pub(super) taken_as: u16,
    pub(super) written: u32,
    /// Something about it is a lie, which must not be mixed with honest entries.
    pub(super) lie: bool,
    pub(super) twice: bool,
    pub(super) reorder: Option<Hit>,
    pub(super) scribble: Option<Hit>,
}

/// Those that are held up: late ones, and ones that wait to be overtaken.
#[derive(Default, Debug)]
pub(super) struct Returns {
    /// With the time each is due, in the order in which they came.
    late: Vec<(Duration, Return)>,
    window: Vec<Return>,
    /// When the window is emptied, full or not.
    deadline: Option<Duration>,
}

impl Returns {
    /// Holds a buffer until `due`.
    pub(super) fn hold(&mut self, due: Duration, back: Return) {
        self.late.push((due, back));
    }

    /// The late buffers that are due, the one that was due first at the front.
    pub(super) fn due(&mut self, now: Duration) -> Vec<Return> {
        let mut due: Vec<_> = self.late.extract_if(.., |late| late.0 <= now).collect();
        due.sort_by_key(|late| late.0);
        due.into_iter().map(|(_, back)| back).collect()
    }

    /// Puts a buffer into the window; returns all that are in it if it is full now.
    pub(super) fn overtake(&mut self, now: Duration, hit: Hit, back: Return) -> Vec<Return> {
        if self.window.is_empty() {
            self.deadline = hit.time.map(|time| now.saturating_add(time));
        }
        self.window.push(back);
        if (self.window.len() as u64) < hit.amount {
            return Vec::new();
        }
        self.empty_window()
    }

    /// All that are in the window, if they have waited long enough.
    pub(super) fn window_due(&mut self, now: Duration) -> Vec<Return> {
        match self.deadline {
            Some(deadline) if deadline <= now => self.empty_window(),
            _ => Vec::new(),
        }
    }

    fn empty_window(&mut self) -> Vec<Return> {
        self.deadline = None;
        let mut held = std::mem::take(&mut self.window);
        let choice = held.last().and_then(|last| last.reorder);
        shuffle(&mut held, choice.map_or(0, |hit| hit.choice));
        held
    }

    /// When the next buffer is due.
    pub(super) fn next_due(&self) -> Option<Duration> {
        let late = self.late.iter().map(|late| late.0);
        late.chain(self.deadline).min()
    }
}

/// Puts `held` into another order, if it has more than one.
fn shuffle<T>(held: &mut [T], choice: u64) {
    let mut random = Pcg64::seed_from_u64(choice);
    let mut moved = false;
    for at in (1..held.len()).rev() {
        let other = (random.next_u64() % (at as u64 + 1)) as usize;
        held.swap(at, other);
        moved |= at != other;
    }
    // Every swap changes the order, and no later one touches the same place again.
    if !moved {
        held.reverse();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shuffled_is_another_order_of_the_same() {
        for len in 0..6u64 {
            for choice in 0..200 {
                let ordered: Vec<u64> = (0..len).collect();
                let mut shuffled = ordered.clone();
                shuffle(&mut shuffled, choice);
                assert_eq!(shuffled == ordered, len < 2, "{shuffled:?}");
                shuffled.sort_unstable();
                assert_eq!(shuffled, ordered);
            }
        }
    }
}
