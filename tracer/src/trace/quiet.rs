//! Queues of which no event tells what they are: those on which nothing comes, and those
//! on which nothing comes but interrupts, which tell no facts.

use std::collections::HashMap;
use std::mem::offset_of;
use std::time::{Duration, Instant};

use virtscope_record::{Generation, QueueId};
use virtscope_tracer_shared::QueueState;

use super::counters::queue_of;
use super::found::{Finder, Found};
use super::options::TraceOptions;

/// How long a queue is silent before it is told of without an event.
const QUIET: Duration = Duration::from_millis(200);
/// Between two looks for queues that have come since.
const LATER: Duration = Duration::from_secs(1);
/// How often a queue is looked up that is not found: interrupts may come while its device is
/// still being set up.
const TRIES: u32 = 5;

/// A queue's state as the map has it.
pub(super) type RawState = [u8; size_of::<QueueState>()];

/// What of a queue's state says whether an event has told of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct State {
    /// Where the kernel has it.
    address: u64,
    id: QueueId,
    generation: Generation,
    is_told: bool,
    is_ignored: bool,
    /// The notification that its state tells of, 0 for none.
    promise: u64,
}

impl State {
    pub(super) fn of(address: u64, raw: &RawState) -> Self {
        let (id, rest) = (
            offset_of!(QueueState, id),
            offset_of!(QueueState, generation),
        );
        let id = [raw[id], raw[id + 1], raw[id + 2], raw[id + 3]];
        let promise = offset_of!(QueueState, promise);
        Self {
            address,
            id: queue_of(u32::from_ne_bytes(id).into()),
            generation: Generation(u16::from_ne_bytes([raw[rest], raw[rest + 1]])),
            is_told: raw[offset_of!(QueueState, synced)] != 0,
            is_ignored: raw[offset_of!(QueueState, ignored)] != 0,
            promise: u64::from_ne_bytes(std::array::from_fn(|at| raw[promise + at])),
        }
    }

    /// A notification that was decided on and has not come, as the map of others has it: by
    /// whom, and the queue. There may be more of them than the state tells of.
    pub(super) fn promised(&self) -> Option<(u64, QueueId)> {
        (self.promise != 0).then_some((self.promise & !QueueState::PROMISED, self.id))
    }

    const fn life(&self) -> Life {
        (self.id, self.generation.0)
    }
}

/// A queue from when it is set up until it is deleted. Its place in memory is no part of it:
/// another one may have had that before.
type Life = (QueueId, u16);

/// Tells of them.
pub(super) struct Quiet {
    finder: Option<Finder>,
    options: TraceOptions,
    /// Queues that were there when it began, until it has been seen of which no event comes.
    found: Vec<Found>,
    /// How often each life is still looked up: not at all once it has been told of.
    tries: HashMap<Life, u32>,
    next: Instant,
}

impl Quiet {
    /// `found` were there when it began, just now.
    pub(super) fn new(finder: Option<Finder>, options: &TraceOptions, found: Vec<Found>) -> Self {
        Self {
            finder,
            options: options.clone(),
            tries: found.iter().map(|queue| ((queue.id, 0), 0)).collect(),
            found,
            next: Instant::now() + QUIET,
        }
    }

    /// Those that were there when it began, until it has been looked.
    pub(super) fn found(&self) -> &[Found] {
        &self.found
    }

    /// Whether it is time to look again.
    pub(super) fn is_due(&self) -> bool {
        Instant::now() >= self.next
    }

    /// The queues of which no event has told, each once; `states` reads all there are now.
    pub(super) fn look(&mut self, states: impl Fn() -> Vec<State>) -> Vec<Found> {
        self.next = Instant::now() + LATER;
        let now = states();
        let mut quiet = std::mem::take(&mut self.found);
        quiet.retain(|queue| !is_told(&now, queue));
        let later = self.unknown(&now);
        if !later.is_empty() {
            let found = self.find(&later);
            for queue in &found {
                self.tries.insert((queue.id, queue.generation.0), 0);
            }
            // An event may have come meanwhile, and that tells more.
            let now = states();
            quiet.extend(found.into_iter().filter(|queue| !is_told(&now, queue)));
        }
        quiet
    }

    /// Those that are to be looked up, once more now.
    fn unknown(&mut self, states: &[State]) -> Vec<State> {
        let mut unknown = states.to_vec();
        unknown.retain(|state| !state.is_told && !state.is_ignored && self.tries_again(state));
        unknown
    }

    fn tries_again(&mut self, state: &State) -> bool {
        let left = self.tries.entry(state.life()).or_insert(TRIES);
        let again = *left > 0;
        *left = left.saturating_sub(1);
        again
    }

    /// What they are. One that is gone again has no facts any more, and none is needed.
    fn find(&self, states: &[State]) -> Vec<Found> {
        let found = self
            .finder
            .as_ref()
            .map(|finder| finder.queues(&self.options));
        let mut found = found.and_then(Result::ok).unwrap_or_default();
        found.retain_mut(|queue| {
            let state = states.iter().find(|state| state.address == queue.address);
            if let Some(state) = state {
                queue.generation = state.generation;
            }
            state.is_some_and(|state| state.id == queue.id)
        });
        found
    }
}

fn is_told(states: &[State], queue: &Found) -> bool {
    let mut states = states.iter().filter(|state| state.is_told);
    states.any(|state| state.id == queue.id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use virtscope_record::QueueFacts;

    fn raw(id: u32, generation: u16, is_told: bool, is_ignored: bool) -> RawState {
        let mut raw = [0; size_of::<QueueState>()];
        raw[..4].copy_from_slice(&id.to_ne_bytes());
        let at = offset_of!(QueueState, generation);
        raw[at..at + 2].copy_from_slice(&generation.to_ne_bytes());
        raw[offset_of!(QueueState, synced)] = is_told.into();
        raw[offset_of!(QueueState, ignored)] = is_ignored.into();
        raw
    }

    #[test]
    fn a_promise_stands_in_the_state_as_in_the_map() {
        let mut raw = raw(0x0003_0001, 0, true, false);
        assert_eq!(State::of(7, &raw).promised(), None);
        let promiser: u64 = (4711 << 32) | 5;
        let at = offset_of!(QueueState, promise);
        let word = (promiser | QueueState::PROMISED).to_ne_bytes();
        raw[at..at + word.len()].copy_from_slice(&word);
        let promised = Some((promiser, QueueId::new(3, 1)));
        assert_eq!(State::of(7, &raw).promised(), promised);
    }

    fn found(address: u64, id: QueueId) -> Found {
        Found {
            id,
            generation: Generation(0),
            address,
            name: None,
            facts: QueueFacts::default(),
            in_flight: Vec::new(),
        }
    }

    fn quiet(found: Vec<Found>) -> Quiet {
        Quiet::new(None, &TraceOptions::default(), found)
    }

    #[test]
    fn interrupts_alone_tell_of_no_facts() {
        let (control, used) = (QueueId::new(3, 2), QueueId::new(3, 0));
        let mut quiet = quiet(vec![found(0x10, control), found(0x20, used)]);
        assert!(quiet.found().len() == 2 && !quiet.is_due());
        let states = || {
            vec![
                State::of(0x10, &raw(0x0003_0002, 0, false, false)),
                State::of(0x20, &raw(0x0003_0000, 0, true, false)),
            ]
        };
        let ids: Vec<_> = quiet.look(states).iter().map(|queue| queue.id).collect();
        assert_eq!(ids, [control]);
        assert!(quiet.look(states).is_empty());
    }

    #[test]
    fn queues_that_come_later_are_looked_up_until_they_are_found() {
        let mut quiet = quiet(vec![found(0x10, QueueId::new(0, 0))]);
        let state = |address, id, generation, is_told, is_ignored| {
            State::of(address, &raw(id, generation, is_told, is_ignored))
        };
        let new = state(0x30, 0x0004_0001, 0, false, false);
        assert_eq!(new.id, QueueId::new(4, 1));
        // Where the first one was, which is gone.
        let in_its_place = state(0x10, 0x0004_0002, 0, false, false);
        let states = [
            // Was there when it began, and is told of otherwise.
            state(0x10, 0, 0, false, false),
            new,
            in_its_place,
            state(0x40, 0x0004_0003, 0, true, false),
            state(0x50, 0x0004_0004, 0, false, true),
        ];
        // Not found so far, and then one is.
        assert_eq!(quiet.unknown(&states), [new, in_its_place]);
        assert_eq!(quiet.unknown(&states), [new, in_its_place]);
        quiet.tries.insert(new.life(), 0);
        assert_eq!(quiet.unknown(&states), [in_its_place]);
        // The next life of a queue is another one.
        let next = [
            state(0x30, 0x0004_0001, 1, false, false),
            state(0x10, 0, 1, false, false),
        ];
        for _ in 0..TRIES {
            assert_eq!(quiet.unknown(&next), next);
        }
        assert_eq!(quiet.unknown(&next), [], "they are known by their numbers");
        // Nothing to look with.
        assert!(quiet.find(&next).is_empty());
    }
}
