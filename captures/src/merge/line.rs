//! What is held of one stream beside the run.

use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, VecDeque};

use virtscope_record::Timestamp;

/// What is held of a stream: the lowest sequence first, equal ones in the order they came.
#[derive(Debug)]
pub(super) struct Line<T> {
    /// Those that came in order, as most do.
    run: VecDeque<Held<T>>,
    /// Those that came behind a later one. A heap, because the threads of one producer
    /// bring their records in long runs that interleave.
    rest: BinaryHeap<Reverse<Held<T>>>,
}

impl<T> Line<T> {
    pub(super) const fn new() -> Self {
        Self {
            run: VecDeque::new(),
            rest: BinaryHeap::new(),
        }
    }

    #[inline]
    pub(super) fn push(&mut self, held: Held<T>) {
        if self.run.back().is_none_or(|last| *last <= held) {
            self.run.push_back(held);
        } else {
            self.rest.push(Reverse(held));
        }
    }

    #[inline]
    pub(super) fn first(&self) -> Option<&Held<T>> {
        let rest = self.rest.peek().map(|Reverse(held)| held);
        match (self.run.front(), rest) {
            (Some(run), Some(rest)) => Some(run.min(rest)),
            (run, rest) => run.or(rest),
        }
    }

    #[inline]
    pub(super) fn pop(&mut self) -> Option<Held<T>> {
        let is_of_rest = match (self.run.front(), self.rest.peek()) {
            (Some(run), Some(Reverse(rest))) => rest < run,
            (run, _) => run.is_none(),
        };
        if is_of_rest {
            self.rest.pop().map(|Reverse(held)| held)
        } else {
            self.run.pop_front()
        }
    }
}

#[derive(Debug)]
pub(super) struct Held<T> {
    pub(super) sequence: u64,
    pub(super) arrival: u64,
    pub(super) time: Timestamp,
    pub(super) item: T,
}

impl<T> Ord for Held<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.sequence, self.arrival).cmp(&(other.sequence, other.arrival))
    }
}

impl<T> PartialOrd for Held<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> PartialEq for Held<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<T> Eq for Held<T> {}
