//! The files that fids stand for, by the names that led to them.
//!
//! A node is a name in a directory. It lives as long as a fid, a request in flight or
//! a node below it needs it. What is called "root" here is a node above which nothing
//! is known: the root of an attached tree, or a file of which it is not known where it
//! stands. Two nodes below different roots may be one and the same file: so when a
//! name is moved below one root, nodes of that name below the others are doubtful from
//! then on ([`Moved`]).

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::moved::Moved;
use super::path::{Beginning, Path};
use crate::budget::Budget;
use crate::p9::Qid;

/// Steps from a node to its root, at most; what is deeper is not followed further up.
const DEPTH: usize = 512;
/// Bytes of a path, at most; Linux's `PATH_MAX`.
const PATH_BYTES: usize = 4096;

/// A node's number. It is used again once the node is gone.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(super) struct NodeId(u32);

/// What tells one name from another; two names share one by chance only, and by that
/// something is called unknown that is known, never the other way round.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct NameHash(pub(super) u64);

/// A name in a directory.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Edge {
    pub(super) parent: NodeId,
    pub(super) name: NameHash,
}

/// A root's number, never used again.
pub(super) type RootNumber = u64;

#[derive(Debug)]
enum Place {
    /// The root of the tree of this name; `first` if no other was attached before.
    Root { tree: Box<[u8]>, first: bool },
    /// Where it stands is not known.
    Unknown,
    /// What is called so in this directory.
    Below { edge: Edge, name: Box<[u8]> },
}

#[derive(Debug)]
struct Node {
    place: Place,
    /// The name is gone.
    removed: bool,
    /// Who the server said it is.
    qid: Option<Qid>,
    /// When it got its place.
    placed: u64,
    /// A root's own number; of other nodes, the number of the root they were found
    /// below.
    below: RootNumber,
    /// Fids, requests in flight and nodes below that need it.
    needed: u32,
    cost: usize,
    /// Its path, as of this version of the tree.
    path: Option<(u64, Arc<Path>)>,
}

/// All nodes of one session.
#[derive(Debug)]
pub(super) struct Tree {
    nodes: Vec<Option<Node>>,
    free: Vec<NodeId>,
    children: HashMap<Edge, NodeId, RandomState>,
    roots: HashMap<Box<[u8]>, NodeId, RandomState>,
    /// Nodes that are roots.
    root_count: u32,
    moved: Moved,
    /// The number of the next root.
    next_root: RootNumber,
    /// Rises when a node that is there changes its path.
    version: u64,
    hasher: RandomState,
    budget: Budget,
    unknown: Arc<Path>,
}

impl Tree {
    pub(super) fn new(budget: Budget) -> Self {
        Self {
            nodes: Vec::new(),
            free: Vec::new(),
            children: HashMap::default(),
            roots: HashMap::default(),
            root_count: 0,
            moved: Moved::default(),
            next_root: 0,
            version: 0,
            hasher: RandomState::default(),
            budget,
            unknown: Arc::new(Path::unknown()),
        }
    }

    pub(super) fn hash(&self, name: &[u8]) -> NameHash {
        NameHash(self.hasher.hash_one(name))
    }

    pub(super) fn edge(&self, parent: NodeId, name: &[u8]) -> Edge {
        Edge {
            parent,
            name: self.hash(name),
        }
    }

    /// The name under which a node stands in its directory.
    pub(super) fn edge_of(&self, id: NodeId) -> Option<Edge> {
        match &self.get(id)?.place {
            Place::Below { edge, .. } => Some(*edge),
            Place::Root { .. } | Place::Unknown => None,
        }
    }

    fn get(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(id.0 as usize)?.as_ref()
    }

    fn get_mut(&mut self, id: NodeId) -> Option<&mut Node> {
        self.nodes.get_mut(id.0 as usize)?.as_mut()
    }

    /// One more needs the node.
    pub(super) fn hold(&mut self, id: NodeId) -> NodeId {
        if let Some(node) = self.get_mut(id) {
            node.needed += 1;
        }
        id
    }

    /// One less needs it. It goes if nobody does, and what is above it likewise.
    pub(super) fn release(&mut self, id: NodeId) {
        let mut next = Some(id);
        while let Some(id) = next.take() {
            let Some(node) = self.get_mut(id) else {
                return;
            };
            node.needed = node.needed.saturating_sub(1);
            if node.needed > 0 {
                return;
            }
            let Some(node) = self.nodes.get_mut(id.0 as usize).and_then(Option::take) else {
                return;
            };
            self.budget.give(node.cost);
            self.free.push(id);
            match node.place {
                Place::Below { edge, .. } => {
                    self.unlink(edge, id);
                    next = Some(edge.parent);
                }
                Place::Root { tree, .. } => {
                    self.roots.remove(&tree);
                    self.root_count -= 1;
                }
                Place::Unknown => self.root_count -= 1,
            }
        }
    }

    /// Makes a node that one needs, or none if there are too many already.
    fn insert(&mut self, place: Place, qid: Option<Qid>, now: u64) -> Option<NodeId> {
        let name = match &place {
            Place::Below { name, .. } => name.len(),
            Place::Root { tree, .. } => tree.len(),
            Place::Unknown => 0,
        };
        // With its path, and its place in the tables.
        let cost = size_of::<Node>() + 2 * name + 96;
        if !self.budget.take(cost) {
            return None;
        }
        let below = match &place {
            Place::Below { edge, .. } => self.root_number(edge.parent).unwrap_or(RootNumber::MAX),
            Place::Root { .. } | Place::Unknown => {
                self.root_count += 1;
                self.new_root()
            }
        };
        let node = Some(Node {
            place,
            removed: false,
            qid,
            placed: now,
            below,
            needed: 1,
            cost,
            path: None,
        });
        if let Some(id) = self.free.pop() {
            if let Some(slot) = self.nodes.get_mut(id.0 as usize) {
                *slot = node;
            }
            return Some(id);
        }
        // The budget ends long before the numbers do.
        let id = NodeId(u32::try_from(self.nodes.len()).ok()?);
        self.nodes.push(node);
        Some(id)
    }

    fn new_root(&mut self) -> RootNumber {
        self.next_root += 1;
        self.next_root
    }

    /// A file of which nothing is known.
    pub(super) fn unknown(&mut self, now: u64) -> Option<NodeId> {
        self.insert(Place::Unknown, None, now)
    }

    /// The root of the tree of this name; `first` if no other was attached before.
    pub(super) fn root(&mut self, tree: &[u8], first: bool, qid: Qid, now: u64) -> Option<NodeId> {
        if let Some(id) = self.roots.get(tree).copied() {
            if self.get(id).and_then(|node| node.qid) == Some(qid) {
                return Some(self.hold(id));
            }
            // The server answers with another file now.
            self.forget(id, now);
        }
        let place = Place::Root {
            tree: tree.into(),
            first,
        };
        let id = self.insert(place, Some(qid), now)?;
        self.roots.insert(tree.into(), id);
        Some(id)
    }

    /// Whether nothing is known of where this file stands.
    pub(super) fn is_unknown(&self, id: NodeId) -> bool {
        self.get(id)
            .is_some_and(|node| matches!(node.place, Place::Unknown))
    }

    /// Who the server said this file is.
    pub(super) fn qid(&self, id: NodeId) -> Option<Qid> {
        self.get(id)?.qid
    }

    /// When it got its place.
    pub(super) fn placed(&self, id: NodeId) -> u64 {
        self.get(id).map_or(0, |node| node.placed)
    }

    /// It turned out that this file is the root of the tree of this name.
    pub(super) fn become_root(&mut self, id: NodeId, tree: &[u8], qid: Qid, first: bool) {
        if self.roots.contains_key(tree) || !self.is_unknown(id) {
            return;
        }
        let Some(node) = self.get_mut(id) else {
            return;
        };
        node.place = Place::Root {
            tree: tree.into(),
            first,
        };
        node.qid = Some(qid);
        self.roots.insert(tree.into(), id);
        self.version += 1;
    }

    /// What is called `name` in `parent`, where the server just found `qid`.
    pub(super) fn child(
        &mut self,
        parent: NodeId,
        name: &[u8],
        qid: Option<Qid>,
        now: u64,
    ) -> Option<NodeId> {
        let edge = self.edge(parent, name);
        if let Some(id) = self.children.get(&edge).copied() {
            let was = self.get(id).and_then(|node| node.qid);
            let is_same = match (was, qid) {
                (Some(was), Some(is)) => (was.kind, was.path) == (is.kind, is.path),
                _ => true,
            };
            if is_same {
                if let Some(node) = self.get_mut(id) {
                    node.qid = node.qid.or(qid);
                }
                return Some(self.hold(id));
            }
            // It is another file: somebody else has moved or removed what was there.
            self.forget(id, now);
        }
        let place = Place::Below {
            edge,
            name: name.into(),
        };
        let id = self.insert(place, qid, now)?;
        self.hold(parent);
        self.children.insert(edge, id);
        Some(id)
    }

    /// The directory that a file stands in.
    pub(super) fn parent(&mut self, id: NodeId, now: u64) -> Option<NodeId> {
        match &self.get(id)?.place {
            Place::Root { .. } => Some(self.hold(id)),
            Place::Unknown => self.unknown(now),
            Place::Below { edge, .. } => {
                let parent = edge.parent;
                Some(self.hold(parent))
            }
        }
    }

    /// The node at an edge, if there is one.
    pub(super) fn at(&self, edge: Edge) -> Option<NodeId> {
        self.children.get(&edge).copied()
    }

    fn unlink(&mut self, edge: Edge, id: NodeId) {
        if self.children.get(&edge) == Some(&id) {
            self.children.remove(&edge);
        }
    }

    /// It is not known any more where this file stands. What is below it is still
    /// below it.
    pub(super) fn forget(&mut self, id: NodeId, now: u64) {
        let number = self.new_root();
        let Some(node) = self.get_mut(id) else {
            return;
        };
        if matches!(node.place, Place::Unknown) {
            return;
        }
        let was = std::mem::replace(&mut node.place, Place::Unknown);
        node.placed = now;
        node.below = number;
        node.removed = false;
        self.version += 1;
        match was {
            Place::Below { edge, .. } => {
                self.unlink(edge, id);
                self.root_count += 1;
                self.release(edge.parent);
            }
            Place::Root { tree, .. } => {
                self.roots.remove(&tree);
            }
            Place::Unknown => {}
        }
    }

    /// The name of this file is gone.
    pub(super) fn remove(&mut self, id: NodeId) {
        let Some(node) = self.get_mut(id) else {
            return;
        };
        node.removed = true;
        if let Some(edge) = self.edge_of(id) {
            self.unlink(edge, id);
        }
        self.version += 1;
    }

    /// What stood here is gone: this file, unless it may have been moved away before. Then
    /// it is not known where that stands.
    pub(super) fn clear_away(&mut self, id: NodeId, now: u64) {
        if self.is_doubtful(id) {
            self.forget(id, now);
        } else {
            self.remove(id);
        }
    }

    /// This file is now called `name` in `parent`; what was called so is gone.
    pub(super) fn place(&mut self, id: NodeId, parent: NodeId, name: &[u8], now: u64) {
        let edge = self.edge(parent, name);
        if self.at(edge) == Some(id) {
            return;
        }
        if let Some(replaced) = self.at(edge) {
            match (self.qid(id), self.qid(replaced)) {
                (Some(is), Some(was)) if is.path != was.path => self.clear_away(replaced, now),
                // Two names of one file: rename(2) leaves both as they are.
                (Some(_), Some(_)) if !self.is_doubtful(replaced) => return,
                // It may be the same, and may have had this name before.
                _ => self.forget(replaced, now),
            }
        }
        // A directory can't stand below itself.
        if !super::path::is_plain(name) || self.is_below(parent, id) {
            self.forget(id, now);
            return;
        }
        let below = self.root_number(parent).unwrap_or(RootNumber::MAX);
        self.hold(parent);
        let Some(node) = self.get_mut(id) else {
            return;
        };
        let to = Place::Below {
            edge,
            name: name.into(),
        };
        let was = std::mem::replace(&mut node.place, to);
        node.placed = now;
        node.below = below;
        node.removed = false;
        self.version += 1;
        match was {
            Place::Below { edge, .. } => {
                self.unlink(edge, id);
                self.release(edge.parent);
            }
            Place::Root { tree, .. } => {
                self.roots.remove(&tree);
                self.root_count -= 1;
            }
            Place::Unknown => self.root_count -= 1,
        }
        self.children.insert(edge, id);
    }

    /// Whether `id` is `above` or stands below it, as far as that can be told.
    fn is_below(&self, id: NodeId, above: NodeId) -> bool {
        let mut at = id;
        for _ in 0..DEPTH {
            if at == above {
                return true;
            }
            match self.edge_of(at) {
                Some(edge) => at = edge.parent,
                None => return false,
            }
        }
        true
    }

    /// The node above which nothing is known.
    fn root_of(&self, id: NodeId) -> Option<NodeId> {
        let mut at = id;
        for _ in 0..DEPTH {
            match self.edge_of(at) {
                Some(edge) => at = edge.parent,
                None => return Some(at),
            }
        }
        None
    }

    fn root_number(&self, id: NodeId) -> Option<RootNumber> {
        Some(self.get(self.root_of(id)?)?.below)
    }

    /// Whether two names may be one and the same.
    pub(super) fn may_be_same(&self, one: Edge, other: Edge) -> bool {
        if one.name != other.name {
            return false;
        }
        if one.parent == other.parent {
            return true;
        }
        match (self.root_of(one.parent), self.root_of(other.parent)) {
            (Some(one), Some(other)) => one != other,
            _ => true,
        }
    }

    /// A name was moved away; nodes below other roots may be about the same one.
    pub(super) fn note_moved(&mut self, edge: Edge, now: u64) {
        if self.root_count > 1 {
            let root = self.root_number(edge.parent);
            self.moved.note(Some(edge.name), root, now);
            self.version += 1;
        }
    }

    /// A file was moved of which it is not known where it stood: if it has a name, that is
    /// no longer believed, and it may have stood under any other, below the same root, too.
    pub(super) fn note_moved_from_unknown(&mut self, id: NodeId, now: u64) {
        let had_a_name = self.edge_of(id).is_some();
        if had_a_name || self.root_count > 1 {
            let root = self.root_number(id).filter(|_| !had_a_name);
            self.moved.note(None, root, now);
            self.version += 1;
        }
    }

    /// Whether this file may have been moved away from where it stood, under a name of its
    /// directory that is not known to be one: then another may stand there now.
    pub(super) fn is_doubtful(&self, id: NodeId) -> bool {
        let root = self.root_number(id);
        self.get(id).is_some_and(|node| match &node.place {
            Place::Below { edge, .. } => {
                let roots = [root, Some(node.below)];
                self.moved.is_doubtful(edge.name, roots, node.placed)
            }
            Place::Root { .. } | Place::Unknown => false,
        })
    }

    /// The path of a node, as it stands.
    pub(super) fn path(&mut self, id: NodeId) -> Arc<Path> {
        let version = self.version;
        match self.get(id).map(|node| &node.path) {
            Some(Some((of, path))) if *of == version => return Arc::clone(path),
            Some(_) => {}
            None => return Arc::clone(&self.unknown),
        }
        let path = Arc::new(self.render(id));
        if let Some(node) = self.get_mut(id) {
            node.path = Some((version, Arc::clone(&path)));
        }
        path
    }

    fn render(&self, id: NodeId) -> Path {
        let root = self.root_number(id);
        let mut names: Vec<&[u8]> = Vec::new();
        let mut bytes = 0;
        let mut at = id;
        let beginning = loop {
            let Some(node) = self.get(at) else {
                break Beginning::Unknown;
            };
            match &node.place {
                Place::Root { first: true, .. } => break Beginning::Root,
                Place::Root { tree, .. } => break Beginning::OtherRoot(tree.clone()),
                Place::Unknown => break Beginning::Unknown,
                Place::Below { edge, name } => {
                    bytes += name.len() + 1;
                    if self
                        .moved
                        .is_doubtful(edge.name, [root, Some(node.below)], node.placed)
                        || names.len() == DEPTH
                        || bytes > PATH_BYTES
                    {
                        break Beginning::Unknown;
                    }
                    names.push(name);
                    at = edge.parent;
                }
            }
        };
        let mut text = Vec::with_capacity(bytes + 1);
        for name in names.iter().rev() {
            text.push(b'/');
            text.extend_from_slice(name);
        }
        if text.is_empty() && beginning != Beginning::Unknown {
            text.push(b'/');
        }
        Path {
            bytes: text.into(),
            beginning,
            removed: self.get(id).is_some_and(|node| node.removed),
            attribute: None,
        }
    }

    /// The path of a file of which nothing is known.
    pub(super) fn unknown_path(&self) -> Arc<Path> {
        Arc::clone(&self.unknown)
    }

    /// All nodes go.
    pub(super) fn clear(&mut self) {
        let budget = self.budget.clone();
        *self = Self::new(budget);
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        for node in self.nodes.iter().flatten() {
            self.budget.give(node.cost);
        }
    }
}
