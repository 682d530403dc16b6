//! What is held in order, of all streams together.

use std::collections::VecDeque;

use virtscope_record::Timestamp;

use super::stream::{Head, Stream};

/// How far from the end a place is looked for. Each step costs a comparison and the moving of
/// an item; before long a heap costs less.
const LOOK_BACK: usize = 32;

/// Items in the order in which they will leave.
#[derive(Debug)]
pub(super) struct Run<T>(VecDeque<(Place, T)>);

/// What an item is ordered by, as short as it can be kept beside each.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) time: Timestamp,
    pub(super) sequence: u64,
    /// The stream's number, by which the rest of the order is found.
    pub(super) stream: usize,
}

impl Place {
    /// Whether this is behind `other` in the order of all items.
    #[inline]
    fn is_behind<T>(&self, other: &Self, streams: &[Stream<T>]) -> bool {
        if self.time != other.time {
            return self.time > other.time;
        }
        self.head(streams) > other.head(streams)
    }

    pub(super) fn head<T>(&self, streams: &[Stream<T>]) -> Option<Head> {
        let stream = streams.get(self.stream)?;
        Some(stream.head_at(self))
    }
}

impl<T> Run<T> {
    pub(super) const fn new() -> Self {
        Self(VecDeque::new())
    }

    #[inline]
    pub(super) fn front(&self) -> Option<&Place> {
        self.0.front().map(|(place, _)| place)
    }

    /// Whether an item of this `place` stands behind all others.
    #[inline]
    pub(super) fn ends_before(&self, place: &Place, streams: &[Stream<T>]) -> bool {
        let last = self.0.back();
        last.is_none_or(|(last, _)| !last.is_behind(place, streams))
    }

    #[inline]
    pub(super) fn push(&mut self, place: Place, item: T) {
        self.0.push_back((place, item));
    }

    /// The index at which an item of this `place` stands in order, if that is near the end.
    #[inline(never)]
    pub(super) fn index_of(&self, place: &Place, streams: &[Stream<T>]) -> Option<usize> {
        let is_before = |index: usize| {
            let there = self.0.get(index);
            there.is_some_and(|(there, _)| there.is_behind(place, streams))
        };
        let len = self.0.len();
        // Whether the search is worth it shows at its far end.
        let farthest = len.checked_sub(LOOK_BACK);
        if farthest.is_some_and(is_before) {
            return None;
        }
        let near = farthest.unwrap_or(0)..len;
        let behind = near.rev().take_while(|index| is_before(*index));
        Some(behind.last().unwrap_or(len))
    }

    #[inline(never)]
    pub(super) fn insert(&mut self, index: usize, place: Place, item: T) {
        self.0.insert(index, (place, item));
    }

    #[inline]
    pub(super) fn pop(&mut self) -> Option<(Place, T)> {
        self.0.pop_front()
    }
}
