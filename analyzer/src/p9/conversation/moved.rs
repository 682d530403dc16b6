//! Names that were moved below one root, and may by that have been moved below another.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::tree::{NameHash, RootNumber};

/// Names that are remembered one by one; beyond, all names are doubtful.
const LIMIT: usize = 1 << 14;
/// Roots that are told apart for one name.
const ROOTS: usize = 4;

/// When names were moved, and below which root.
#[derive(Debug, Default)]
pub(super) struct Moved {
    names: HashMap<NameHash, Moves, RandomState>,
    /// Moves of names that are not known.
    any: Moves,
}

/// The latest move of one name, by root; `None` where that is not told apart.
#[derive(Debug, Default)]
struct Moves(Vec<(Option<RootNumber>, u64)>);

impl Moves {
    fn note(&mut self, root: Option<RootNumber>, now: u64) {
        if let Some((_, when)) = self.0.iter_mut().find(|(of, _)| *of == root) {
            *when = now;
        } else if self.0.len() < ROOTS {
            self.0.push((root, now));
        } else {
            // Whoever is not told apart is doubtful to all.
            self.0 = vec![(None, now)];
        }
    }

    fn is_doubtful(&self, roots: [Option<RootNumber>; 2], placed: u64) -> bool {
        let mut moves = self.0.iter();
        moves.any(|(of, when)| *when > placed && (of.is_none() || roots != [*of; 2]))
    }
}

impl Moved {
    /// A name was moved below `root`; `None` if it is not known which name.
    pub(super) fn note(&mut self, name: Option<NameHash>, root: Option<RootNumber>, now: u64) {
        match name {
            Some(name) if self.names.len() < LIMIT || self.names.contains_key(&name) => {
                self.names.entry(name).or_default().note(root, now);
            }
            Some(_) => {
                self.names.clear();
                self.any.note(None, now);
            }
            None => self.any.note(root, now),
        }
    }

    /// Whether a name may have been moved by way of a root that is none of `roots`: the
    /// one it stands below and the one it was found below, where it is since `placed`.
    pub(super) fn is_doubtful(
        &self,
        name: NameHash,
        roots: [Option<RootNumber>; 2],
        placed: u64,
    ) -> bool {
        self.any.is_doubtful(roots, placed)
            || self
                .names
                .get(&name)
                .is_some_and(|moves| moves.is_doubtful(roots, placed))
    }
}
