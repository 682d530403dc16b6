//! Requests in flight, by their tag.

use std::collections::{HashMap, VecDeque};

use foldhash::fast::RandomState;

use super::tree::NodeId;
use crate::p9::{Fid, MessageType, Tag};

/// Requests given up that are remembered, should they be answered all the same, and
/// those whose tag was taken.
const REMEMBERED: usize = 256;

/// What a request in flight will do once it is answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Effect {
    /// Nothing that is followed here.
    Nothing,
    /// Begin a session.
    Version,
    /// Make `fid` stand for an authentication.
    Auth { fid: Fid },
    /// Make `fid` stand for a root.
    Attach { fid: Fid },
    /// Make `fid` stand for what is found from `from` on.
    Walk { from: Option<NodeId>, fid: Fid },
    /// Make `fid` stand for what is created in `dir`.
    Create { dir: Option<NodeId>, fid: Fid },
    /// Make something in `dir` that no fid stands for.
    Make { dir: Option<NodeId> },
    /// Make `fid` stand for an attribute of `node`.
    Attribute { node: Option<NodeId>, fid: Fid },
    /// Give up `fid`.
    Clunk { fid: Fid },
    /// Remove `node` and give up `fid`.
    Remove { node: Option<NodeId>, fid: Fid },
    /// Move `node` into `dir`.
    Rename {
        node: Option<NodeId>,
        dir: Option<NodeId>,
    },
    /// Move a name of `from` into `to`.
    RenameAt {
        from: Option<NodeId>,
        to: Option<NodeId>,
    },
    /// Give `node` another name where it is.
    Rewrite { node: Option<NodeId> },
    /// Remove a name of `dir`.
    Unlink { dir: Option<NodeId> },
    /// Say who `node` is, of which it is not known where it stands.
    Look { node: NodeId },
    /// Give up a request: which one.
    Flush { tag: Tag, serial: Option<u64> },
    /// Nobody knows: the capture does not have enough of the request.
    Unknown,
}

impl Effect {
    /// The nodes it needs.
    pub(super) fn nodes(&self) -> impl Iterator<Item = NodeId> + use<> {
        let nodes = match *self {
            Self::Walk { from, .. } => [from, None],
            Self::Create { dir, .. } | Self::Make { dir } | Self::Unlink { dir } => [dir, None],
            Self::Attribute { node, .. } | Self::Remove { node, .. } | Self::Rewrite { node } => {
                [node, None]
            }
            Self::Look { node } => [Some(node), None],
            Self::Rename { node, dir } => [node, dir],
            Self::RenameAt { from, to } => [from, to],
            _ => [None, None],
        };
        nodes.into_iter().flatten()
    }

    /// Whether it is among the changes that are raced with.
    pub(super) const fn changes_names(&self) -> bool {
        matches!(
            self,
            Self::Rename { .. }
                | Self::RenameAt { .. }
                | Self::Rewrite { .. }
                | Self::Remove { .. }
                | Self::Unlink { .. }
        )
    }

    /// The same, if it is not known which files it is about.
    pub(super) const fn without_nodes(self) -> Self {
        match self {
            Self::Walk { fid, .. } => Self::Walk { from: None, fid },
            Self::Create { fid, .. } => Self::Create { dir: None, fid },
            Self::Make { .. } => Self::Make { dir: None },
            Self::Attribute { fid, .. } => Self::Attribute { node: None, fid },
            Self::Remove { fid, .. } => Self::Remove { node: None, fid },
            Self::Rename { .. }
            | Self::RenameAt { .. }
            | Self::Rewrite { .. }
            | Self::Unlink { .. } => Self::Unknown,
            Self::Look { .. } => Self::Nothing,
            other => other,
        }
    }

    /// Whether the names in the request matter when it is answered.
    pub(super) const fn needs_names(&self) -> bool {
        matches!(
            self,
            Self::Version
                | Self::Attach { .. }
                | Self::Walk { .. }
                | Self::Create { .. }
                | Self::Make { .. }
                | Self::Attribute { .. }
                | Self::Rename { .. }
                | Self::RenameAt { .. }
                | Self::Rewrite { .. }
        )
    }

    /// The fid that stands for something else afterwards.
    pub(super) const fn fid(&self) -> Option<Fid> {
        match *self {
            Self::Auth { fid }
            | Self::Attach { fid }
            | Self::Walk { fid, .. }
            | Self::Create { fid, .. }
            | Self::Attribute { fid, .. }
            | Self::Clunk { fid }
            | Self::Remove { fid, .. } => Some(fid),
            _ => None,
        }
    }
}

/// A request in flight.
#[derive(Debug)]
pub(super) struct InFlight {
    /// Its number, which is also when it was made.
    pub(super) serial: u64,
    pub(super) kind: MessageType,
    pub(super) effect: Effect,
    /// The fids by which it names its files.
    pub(super) uses: [Option<Fid>; 2],
    /// A `Tflush` that gives it up is in flight or answered.
    pub(super) flushed: bool,
    /// The request itself, if names in it will be needed.
    pub(super) bytes: Vec<u8>,
}

/// All requests in flight of one session.
#[derive(Debug, Default)]
pub(super) struct Tags {
    in_flight: HashMap<Tag, InFlight, RandomState>,
    given_up: VecDeque<u64>,
    /// Requests whose tag another one took, and what that was.
    displaced: VecDeque<(u64, MessageType)>,
}

impl Tags {
    pub(super) fn len(&self) -> usize {
        self.in_flight.len()
    }

    /// Puts a request in flight; the one that had its tag is returned.
    pub(super) fn insert(&mut self, tag: Tag, request: InFlight) -> Option<InFlight> {
        self.in_flight.insert(tag, request)
    }

    pub(super) fn get_mut(&mut self, tag: Tag) -> Option<&mut InFlight> {
        self.in_flight.get_mut(&tag)
    }

    /// Takes the request of this number out of those in flight.
    pub(super) fn take(&mut self, tag: Tag, serial: u64) -> Option<InFlight> {
        let request = self.in_flight.get(&tag)?;
        if request.serial != serial {
            return None;
        }
        self.in_flight.remove(&tag)
    }

    /// Remembers that a request was given up for good.
    pub(super) fn give_up(&mut self, serial: u64) {
        push(&mut self.given_up, serial);
    }

    /// Remembers that the tag of a request was given to another, of this kind, though
    /// it was in flight by all that was heard.
    pub(super) fn displace(&mut self, serial: u64, by: MessageType) {
        push(&mut self.displaced, (serial, by));
    }

    /// Who took the tag of a request that has now come back.
    pub(super) fn displaced(&self, serial: u64) -> Option<MessageType> {
        let mut all = self.displaced.iter();
        all.find(|(of, _)| *of == serial).map(|(_, by)| *by)
    }

    pub(super) fn was_given_up(&self, serial: u64) -> bool {
        self.given_up.contains(&serial)
    }

    /// When the oldest request in flight was made.
    pub(super) fn oldest(&self) -> Option<u64> {
        self.in_flight.values().map(|request| request.serial).min()
    }

    /// All of them, for good.
    pub(super) fn drain(&mut self) -> Vec<InFlight> {
        self.in_flight.drain().map(|(_, request)| request).collect()
    }

    pub(super) fn all_mut(&mut self) -> impl Iterator<Item = &mut InFlight> {
        self.in_flight.values_mut()
    }
}

fn push<T>(to: &mut VecDeque<T>, value: T) {
    if to.len() >= REMEMBERED {
        to.pop_front();
    }
    to.push_back(value);
}
