//! What each fid stands for.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::path::Path;
use super::tree::{NodeId, Tree};
use crate::budget::Budget;
use crate::p9::Fid;

/// Bytes that one takes, with its place in the table.
const COST: usize = 64;

/// Changes of fids that are remembered one by one.
const CHANGES: usize = 1024;

/// What a fid stands for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Stands {
    /// A file.
    File(NodeId),
    /// An extended attribute of a file, or the list of them.
    Attribute(NodeId, Box<[u8]>),
    /// An authentication.
    Authentication,
}

impl Stands {
    const fn node(&self) -> Option<NodeId> {
        match self {
            Self::File(node) | Self::Attribute(node, _) => Some(*node),
            Self::Authentication => None,
        }
    }
}

#[derive(Debug)]
struct State {
    stands: Stands,
    /// Requests in flight that will make it stand for something else.
    changing: u16,
    /// It was seen to be made, and not merely to be there.
    seen_made: bool,
}

/// The fids of one session.
#[derive(Debug)]
pub(super) struct Fids {
    states: HashMap<Fid, State, RandomState>,
    /// Fids that will stand for something, and do not yet.
    coming: HashMap<Fid, u16, RandomState>,
    /// When the latest request was made that changes a fid, while anything is in
    /// flight; and of those that are not listed any more.
    changed: HashMap<Fid, u64, RandomState>,
    changed_unlisted: u64,
    budget: Budget,
    pub(super) peak: usize,
    /// Fids that were seen to be made.
    pub(super) made: u64,
    /// Of these, those that are still there.
    pub(super) kept: u64,
    /// Of those made, those of which it is not certain.
    pub(super) uncertain: u64,
}

impl Fids {
    pub(super) fn new(budget: Budget) -> Self {
        Self {
            states: HashMap::default(),
            coming: HashMap::default(),
            changed: HashMap::default(),
            changed_unlisted: 0,
            budget,
            peak: 0,
            made: 0,
            kept: 0,
            uncertain: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.states.len()
    }

    pub(super) fn contains(&self, fid: Fid) -> bool {
        self.states.contains_key(&fid)
    }

    /// Whether a request in flight will make it stand for something else, or nothing.
    pub(super) fn is_changing(&self, fid: Fid) -> bool {
        self.coming.contains_key(&fid)
    }

    /// The file a fid stands for (or whose attribute it stands for), unless that is
    /// just changing.
    pub(super) fn node(&self, fid: Fid) -> Option<NodeId> {
        let state = self.states.get(&fid)?;
        state.stands.node().filter(|_| state.changing == 0)
    }

    /// Its path.
    pub(super) fn path(&self, fid: Fid, tree: &mut Tree) -> Option<Arc<Path>> {
        let state = self.states.get(&fid)?;
        if state.changing > 0 {
            return None;
        }
        Some(match &state.stands {
            Stands::File(node) => tree.path(*node),
            Stands::Attribute(node, name) => Arc::new(Path {
                attribute: Some(name.clone()),
                ..(*tree.path(*node)).clone()
            }),
            Stands::Authentication => Arc::new(Path::authentication()),
        })
    }

    /// A fid was made that stands for something; `stands` holds its node already.
    pub(super) fn bind(&mut self, fid: Fid, stands: Stands, tree: &mut Tree) {
        self.put(fid, stands, true, tree);
    }

    /// A fid turned out to be there.
    pub(super) fn find(&mut self, fid: Fid, stands: Stands, tree: &mut Tree) {
        self.put(fid, stands, false, tree);
    }

    fn put(&mut self, fid: Fid, stands: Stands, seen_made: bool, tree: &mut Tree) {
        if fid.0 == u32::MAX {
            release(&stands, tree);
            return;
        }
        match self.states.entry(fid) {
            Entry::Occupied(mut entry) => {
                let old = std::mem::replace(&mut entry.get_mut().stands, stands);
                release(&old, tree);
            }
            Entry::Vacant(entry) => {
                if !self.budget.take(COST) {
                    release(&stands, tree);
                    return;
                }
                let changing = self.coming.get(&fid).copied().unwrap_or(0);
                entry.insert(State {
                    stands,
                    changing,
                    seen_made,
                });
                self.made += u64::from(seen_made);
                self.kept += u64::from(seen_made);
            }
        }
        self.peak = self.peak.max(self.states.len());
    }

    /// The fid stands for nothing any more.
    pub(super) fn unbind(&mut self, fid: Fid, tree: &mut Tree) {
        if let Some(state) = self.states.remove(&fid) {
            self.budget.give(COST);
            self.kept -= u64::from(state.seen_made);
            release(&state.stands, tree);
        }
    }

    /// A request that will change it is in flight.
    pub(super) fn begin_change(&mut self, fid: Fid, serial: u64) {
        if self.changed.len() >= CHANGES {
            self.changed.clear();
            self.changed_unlisted = serial;
        }
        self.changed.insert(fid, serial);
        let coming = self.coming.entry(fid).or_default();
        *coming = coming.saturating_add(1);
        if let Some(state) = self.states.get_mut(&fid) {
            state.changing = *coming;
        }
    }

    /// Whether a request that was made later than `serial` changes this fid: then it is
    /// not known what the fid was when the server looked at it.
    pub(super) fn is_changed_since(&self, fid: Fid, serial: u64) -> bool {
        self.changed_unlisted > serial || self.changed.get(&fid).is_some_and(|at| *at > serial)
    }

    /// Nothing is in flight any more.
    pub(super) fn settle(&mut self) {
        self.changed.clear();
    }

    /// It is no more.
    pub(super) fn end_change(&mut self, fid: Fid) {
        let Some(coming) = self.coming.get_mut(&fid) else {
            return;
        };
        *coming -= 1;
        let left = *coming;
        if left == 0 {
            self.coming.remove(&fid);
        }
        if let Some(state) = self.states.get_mut(&fid) {
            state.changing = left;
        }
    }

    /// None stands for anything any more.
    pub(super) fn clear(&mut self, tree: &mut Tree) {
        for (_, state) in self.states.drain() {
            self.budget.give(COST);
            release(&state.stands, tree);
        }
        self.coming.clear();
        (self.made, self.kept, self.uncertain) = (0, 0, 0);
    }
}

fn release(stands: &Stands, tree: &mut Tree) {
    if let Some(node) = stands.node() {
        tree.release(node);
    }
}

impl Drop for Fids {
    fn drop(&mut self) {
        self.budget.give(self.states.len() * COST);
    }
}
