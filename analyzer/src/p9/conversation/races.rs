//! Changes of names that other requests may have overtaken, or been overtaken by.
//!
//! The server works on requests in any order, and of two that were in flight together
//! nobody but the server knows which came first. If both were about the same name and
//! one changed what it means, then what the other found by that name is not known.

use std::collections::VecDeque;

use super::tree::{Edge, NodeId, Tree};

/// Changes that are looked through one by one; with more of them around, everything
/// that was in flight beside them is doubtful.
const LIMIT: usize = 256;

/// The names that a request changes.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Names {
    pub(super) known: [Option<Edge>; 2],
    /// There is one that is not known.
    pub(super) any: bool,
}

impl Names {
    fn may_concern(&self, edge: Edge, tree: &Tree) -> bool {
        self.any
            || self
                .known
                .iter()
                .flatten()
                .any(|known| tree.may_be_same(*known, edge))
    }

    fn may_meet(&self, other: &Self, tree: &Tree) -> bool {
        other.any
            || self.any
            || self
                .known
                .iter()
                .flatten()
                .any(|edge| other.may_concern(*edge, tree))
    }

    fn nodes(&self) -> impl Iterator<Item = NodeId> + use<> {
        self.known.into_iter().flatten().map(|edge| edge.parent)
    }
}

/// Changes in flight and those just done.
#[derive(Debug, Default)]
pub(super) struct Races {
    /// By the number of their request.
    in_flight: Vec<(u64, Names)>,
    /// With the moment they were done, in that order.
    done: VecDeque<(u64, Names)>,
    /// Changes in flight beyond the limit.
    untracked: usize,
    /// Changes beyond the limit: all that was in flight then is doubtful.
    crowded: u64,
}

impl Races {
    /// A request that will change names is in flight.
    pub(super) fn begin(&mut self, serial: u64, names: Names, tree: &mut Tree) {
        if self.in_flight.len() >= LIMIT {
            self.untracked += 1;
            return;
        }
        names.nodes().for_each(|node| {
            tree.hold(node);
        });
        self.in_flight.push((serial, names));
    }

    /// It is answered at `now`, and may have changed them unless it `failed`. The names
    /// it was about; none if they were too many to follow.
    pub(super) fn end(
        &mut self,
        serial: u64,
        now: u64,
        failed: bool,
        tree: &mut Tree,
    ) -> Option<Names> {
        let Some(at) = self.in_flight.iter().position(|(of, _)| *of == serial) else {
            self.untracked = self.untracked.saturating_sub(1);
            self.crowded = now;
            return None;
        };
        let (_, names) = self.in_flight.swap_remove(at);
        if failed {
            names.nodes().for_each(|node| tree.release(node));
        } else {
            self.done.push_back((now, names));
        }
        Some(names)
    }

    /// Nothing that is still in flight began before `oldest`: changes done before are
    /// of no more interest.
    pub(super) fn expire(&mut self, oldest: impl Fn() -> Option<u64>, tree: &mut Tree) {
        if self.done.is_empty() {
            return;
        }
        let oldest = oldest();
        while let Some((done, names)) = self.done.front().copied() {
            let expired = oldest.is_none_or(|oldest| done < oldest);
            if !expired && self.done.len() <= LIMIT {
                return;
            }
            if !expired {
                self.crowded = done;
            }
            self.done.pop_front();
            names.nodes().for_each(|node| tree.release(node));
        }
    }

    /// Whether there is any change at all beside which something could have been in
    /// flight.
    pub(super) fn is_quiet(&self) -> bool {
        self.in_flight.is_empty()
            && self.done.is_empty()
            && self.untracked == 0
            && self.crowded == 0
    }

    fn is_crowded(&self, began: u64) -> bool {
        self.crowded > began || self.untracked > 0
    }

    /// Whether what a request found under a name may be the doing of another. `began`
    /// is when it was made.
    pub(super) fn is_doubtful(&self, edge: Edge, began: u64, tree: &Tree) -> bool {
        if self.is_quiet() {
            return false;
        }
        let beside = |(at, names): &(u64, Names)| *at > began && names.may_concern(edge, tree);
        self.is_crowded(began)
            || self.done.iter().any(beside)
            || self
                .in_flight
                .iter()
                .any(|(_, names)| names.may_concern(edge, tree))
    }

    /// It is not known what a change of `names` has made of them: nor is it what those do
    /// that are about the same.
    pub(super) fn blur(&mut self, names: &Names, tree: &Tree) {
        for (_, other) in self.in_flight.iter_mut().chain(&mut self.done) {
            other.any |= other.may_meet(names, tree);
        }
    }

    /// Whether a change that was in flight from `began` to `ended` was so beside another
    /// that may be about the same names.
    pub(super) fn is_contested(
        &self,
        names: &Names,
        (began, ended): (u64, u64),
        tree: &Tree,
    ) -> bool {
        let beside = |(at, _): &&(u64, Names)| *at > began && *at < ended;
        let done = self.done.iter().filter(beside);
        self.is_crowded(began)
            || done
                .chain(&self.in_flight)
                .any(|(_, other)| other.may_meet(names, tree))
    }

    /// All nodes go. What is still in flight will change names of which it is not known any
    /// more which they are; and whatever is in flight now was so beside what is done.
    pub(super) fn forget(&mut self, now: u64) {
        for (_, names) in &mut self.in_flight {
            *names = Names {
                known: [None; 2],
                any: true,
            };
        }
        self.done.clear();
        self.crowded = now;
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}
