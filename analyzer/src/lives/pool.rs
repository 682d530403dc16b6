//! Where lives are kept while they are not over.
//!
//! A request needs no allocation of its own: its place, and the room for what is
//! kept of its messages, is that of one that has ended.

use super::open::Open;

/// The place of a life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Id(u32);

/// Lives by place, and those that are in flight in the order of their adds.
#[derive(Debug, Default)]
pub(super) struct Pool {
    lives: Vec<Open>,
    spare: Vec<Id>,
    oldest: Option<Id>,
    newest: Option<Id>,
    in_flight: usize,
}

/// Lives in flight before and behind one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Neighbours {
    older: Option<Id>,
    newer: Option<Id>,
}

impl Pool {
    /// A place for a life that begins; what stands there is of an earlier one.
    pub(super) fn take(&mut self) -> Id {
        if let Some(id) = self.spare.pop() {
            return id;
        }
        self.lives.push(Open::default());
        // More than 2³² lives are never there at once: each has a record.
        Id(u32::try_from(self.lives.len() - 1).unwrap_or(u32::MAX))
    }

    /// The life at `id` is over and was looked at for the last time.
    pub(super) fn give_back(&mut self, id: Id) {
        self.spare.push(id);
    }

    pub(super) fn at(&self, id: Id) -> &Open {
        &self.lives[id.0 as usize]
    }

    pub(super) fn at_mut(&mut self, id: Id) -> &mut Open {
        &mut self.lives[id.0 as usize]
    }

    /// The life at `id` is in flight from now on, added after all others.
    pub(super) fn link(&mut self, id: Id) {
        let older = self.newest.replace(id);
        self.at_mut(id).neighbours = Neighbours { older, newer: None };
        match older {
            Some(older) => self.at_mut(older).neighbours.newer = Some(id),
            None => self.oldest = Some(id),
        }
        self.in_flight += 1;
    }

    /// The life at `id`, which was linked, is no longer in flight.
    pub(super) fn unlink(&mut self, id: Id) {
        let Neighbours { older, newer } = std::mem::take(&mut self.at_mut(id).neighbours);
        match older {
            Some(older) => self.at_mut(older).neighbours.newer = newer,
            None => self.oldest = newer,
        }
        match newer {
            Some(newer) => self.at_mut(newer).neighbours.older = older,
            None => self.newest = older,
        }
        self.in_flight -= 1;
    }

    /// Lives in flight.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// The life in flight that was added first.
    pub(super) fn oldest(&self) -> Option<Id> {
        self.oldest
    }

    /// The lives in flight, oldest first.
    pub(super) fn oldest_first(&self) -> impl Iterator<Item = Id> {
        std::iter::successors(self.oldest, |id| self.at(*id).neighbours.newer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Against a list: in flight is what was linked and not unlinked, in order.
        #[test]
        fn the_order_is_that_of_linking(steps in prop::collection::vec(any::<Option<prop::sample::Index>>(), 0..100)) {
            let mut pool = Pool::default();
            let mut list = Vec::new();
            for step in steps {
                match step {
                    Some(which) if !list.is_empty() => {
                        let id = list.remove(which.index(list.len()));
                        pool.unlink(id);
                        pool.give_back(id);
                    }
                    _ => {
                        let id = pool.take();
                        pool.link(id);
                        list.push(id);
                    }
                }
                prop_assert_eq!(pool.oldest_first().collect::<Vec<_>>(), list.clone());
                prop_assert_eq!(pool.oldest(), list.first().copied());
                prop_assert_eq!(pool.in_flight(), list.len());
            }
        }
    }
}
