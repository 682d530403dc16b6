//! What a 9P conversation has come to: requests in flight, fids and the files they
//! stand for, the dialect and the largest message.
//!
//! A conversation is told of every request and every reply, in the order in which the
//! guest made and got them. A reply is joined to its request by the ring, not by the
//! tag; that the tags agree is checked elsewhere.
//!
//! Nothing is guessed. What a fid stands for is known if everything that led to it was
//! seen, from the attach on, and if no other request in flight can have come between.
//! The server's order is not known: see `races.rs`. What is done to the served
//! directory by others than this guest is not seen here; where a reply shows it (a name
//! leads to another file than before, or is made anew though it was there), what was
//! known of the name is given up.

mod effects;
mod fids;
mod moved;
mod names;
mod path;
mod races;
mod requests;
mod subject;
mod tags;
#[cfg(test)]
mod tests;
mod tree;

use std::sync::Arc;

use crate::budget::Budget;

use super::{Body, Dialect, End, Fid, Message, MessageType, Qid, Tag};

use effects::Ending;
use fids::{Fids, Stands};
pub use path::Path;
use races::{Names, Races};
pub(crate) use subject::Asked;
pub use subject::Subject;
use tags::{Effect, InFlight, Tags};
use tree::{NodeId, Tree};

/// What a request or a reply did against the protocol.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Irregularity {
    /// The request's tag was given to another one while it was in flight. Said once it
    /// came back, for before that its return may have been lost.
    TagReused {
        /// The tag.
        tag: Tag,
        /// The other request.
        by: MessageType,
    },
    /// The request would have a fid stand for another file, though it is in use.
    FidInUse {
        /// The fid.
        fid: Fid,
    },
    /// The request names a fid that stands for nothing, though the session was seen
    /// whole.
    FidUnknown {
        /// The fid.
        fid: Fid,
    },
    /// The message is larger than the two sides agreed.
    LargerThanMsize {
        /// Its bytes.
        size: u32,
        /// What they agreed.
        msize: u32,
    },
    /// The reply came after the `Rflush` by which the request was given up.
    AnsweredAfterFlush {
        /// The request's tag.
        tag: Tag,
    },
    /// The reply says that a walk followed more names than it was given.
    WalkedTooFar {
        /// Names it was given.
        names: u16,
        /// Names it followed.
        followed: u16,
    },
}

impl std::fmt::Display for Irregularity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TagReused { tag, by } => {
                write!(
                    f,
                    "tag {tag} was given to a {by} while the request was in flight"
                )
            }
            Self::FidInUse { fid } => write!(f, "fid {fid} is in use"),
            Self::FidUnknown { fid } => write!(f, "fid {fid} stands for nothing"),
            Self::LargerThanMsize { size, msize } => {
                write!(
                    f,
                    "the message has {size} bytes, and {msize} are allowed (msize)"
                )
            }
            Self::AnsweredAfterFlush { tag } => {
                write!(
                    f,
                    "the request with tag {tag} was answered after its Rflush"
                )
            }
            Self::WalkedTooFar { names, followed } => {
                write!(
                    f,
                    "the walk had {names} names, and {followed} were followed"
                )
            }
        }
    }
}

/// How a conversation stands: what screens and reports say of it.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct ConversationView {
    /// What is spoken.
    pub dialect: Dialect,
    /// The dialect is a guess: no `Tversion` was seen.
    pub dialect_guessed: bool,
    /// Bytes of the largest message, if its agreement was seen.
    pub msize: Option<u32>,
    /// Requests in flight.
    pub tags_in_flight: usize,
    /// Fids known to be in use.
    pub fids: usize,
    /// The most there ever were.
    pub fids_peak: usize,
    /// Sessions begun by an `Rversion`.
    pub sessions: u64,
    /// Times everything that was known had to be given up, because requests may have
    /// been lost.
    pub forgotten: u64,
    /// `Tflush` requests.
    pub flushes: u64,
    /// Requests that were answered though they were being given up: the answer was on
    /// its way already.
    pub answered_while_flushed: u64,
    /// Requests that an `Rflush` ended, without an answer.
    pub given_up: u64,
}

/// The fids of a session, counted.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct FidAccount {
    /// All that were seen to be made.
    pub(crate) made: u64,
    /// Those of them that are still there.
    pub(crate) kept: u64,
    /// Those of them of which it is not certain that they were made, because too little
    /// of a request or its reply was captured.
    pub(crate) uncertain: u64,
    /// The most at a time, over all sessions.
    pub(crate) peak: u64,
}

/// The root of an attached tree.
#[derive(Debug)]
struct Root {
    tree: Box<[u8]>,
    qid: Qid,
}

/// Bytes that files and fids of all sessions together may take: some 100,000 of each.
/// A guest that caches more shows some as unknown.
pub(crate) const BYTES: usize = 32 << 20;
/// Bytes of a request that is kept for its names, at most: a walk has 16 of them.
const KEPT: usize = 8192;
/// Requests kept for which there is room without asking for it.
const SPARE: usize = 64;
/// Roots that are remembered: Linux attaches once for each user.
const ROOTS: usize = 16;

/// One conversation.
#[derive(Debug)]
pub(crate) struct Conversation {
    dialect: Dialect,
    guessed: bool,
    msize: Option<u32>,
    /// Everything since the beginning of the session was seen.
    whole: bool,
    tags: Tags,
    fids: Fids,
    tree: Tree,
    races: Races,
    /// The roots that were attached in this session: a file with the identity of one is
    /// that root, whatever was missed.
    roots: Vec<Root>,
    /// Counts requests and replies.
    now: u64,
    /// Replies before this may have been missed.
    replies_lost: u64,
    /// Room for requests that are kept, used again and again.
    spare: Vec<Vec<u8>>,
    budget: Budget,
    counts: ConversationView,
}

impl Conversation {
    pub(crate) fn new(budget: &Budget) -> Self {
        Self {
            dialect: Dialect::default(),
            guessed: true,
            msize: None,
            whole: false,
            tags: Tags::default(),
            fids: Fids::new(budget.clone()),
            tree: Tree::new(budget.clone()),
            races: Races::default(),
            roots: Vec::new(),
            now: 0,
            replies_lost: 0,
            spare: Vec::new(),
            budget: budget.clone(),
            counts: ConversationView::default(),
        }
    }

    pub(crate) fn view(&self) -> ConversationView {
        ConversationView {
            dialect: self.dialect,
            dialect_guessed: self.guessed,
            msize: self.msize,
            tags_in_flight: self.tags.len(),
            fids: self.fids.len(),
            fids_peak: self.fids.peak,
            ..self.counts
        }
    }

    /// What became of the fids of this session.
    pub(crate) fn fid_account(&self) -> FidAccount {
        FidAccount {
            kept: self.fids.kept,
            made: self.fids.made,
            uncertain: self.fids.uncertain,
            peak: self.fids.peak as u64,
        }
    }

    /// How the next message is to be read. Where no `Tversion` was seen, what the
    /// message itself shows counts.
    pub(crate) fn dialect_for(&mut self, message: &Message<'_>) -> Dialect {
        if self.guessed && !fits(message, self.dialect) {
            let others = [Dialect::Linux, Dialect::Unix, Dialect::Plain];
            if let Some(dialect) = others.into_iter().find(|dialect| fits(message, *dialect)) {
                self.dialect = dialect;
            }
        }
        self.dialect
    }

    /// A request was made. What it is about, as far as that is known; what is wrong
    /// with it is added to `wrong`.
    pub(crate) fn request(
        &mut self,
        message: &Message<'_>,
        body: Option<&Body<'_>>,
        wrong: &mut Vec<Irregularity>,
    ) -> Subject {
        self.now += 1;
        let serial = self.now;
        self.check_size(message, wrong);
        let mut subject = Subject {
            dialect: self.dialect,
            dialect_guessed: self.guessed,
            msize: self.msize,
            serial,
            ..Subject::default()
        };
        let Some(body) = body else {
            // What it would do is known by its kind at best.
            subject.path = message.fid().and_then(|fid| self.path(fid));
            self.damaged(message, serial, wrong);
            return subject;
        };
        subject.asked = Asked::of(body);
        let effect = self.prepare(body, &mut subject, wrong);
        let bytes = self.keep(message, &effect);
        let uses = requests::uses(body);
        self.put(message, serial, effect, bytes, uses, wrong);
        self.begin_change(serial, &effect, body);
        subject
    }

    /// A request was made whose kind or tag is not known: it may have done anything.
    pub(crate) fn unreadable_request(&mut self) {
        self.now += 1;
        self.forget();
    }

    /// Requests may have been missed: what is known of fids and names is given up.
    pub(crate) fn requests_lost(&mut self) {
        self.now += 1;
        self.forget();
        // A Tversion may be among them.
        self.guessed = true;
        self.msize = None;
        self.replies_lost = self.now;
    }

    /// Whether a request in flight is being given up, or was.
    pub(crate) fn is_flushed(
        &mut self,
        request: Option<(Tag, MessageType)>,
        subject: &Subject,
    ) -> bool {
        let in_flight = request.and_then(|(tag, _)| self.tags.get_mut(tag));
        in_flight.is_some_and(|request| request.serial == subject.serial && request.flushed)
            || self.tags.was_given_up(subject.serial)
    }

    /// A request will not be answered any more, or was answered unseen.
    pub(crate) fn abandoned(&mut self, tag: Tag, subject: &Subject) {
        self.now += 1;
        if let Some(request) = self.tags.take(tag, subject.serial) {
            self.finish(request, Ending::Unknown, None, &mut Vec::new());
        }
    }

    /// A reply came to a request that was not seen. Only one that changes names, or
    /// begins a session, can have changed what is known.
    pub(crate) fn unexpected_reply(&mut self, reply: Option<&Message<'_>>) {
        use MessageType as M;
        let harmless = reply.is_some_and(|reply| {
            !matches!(
                reply.kind,
                M::Rversion | M::Rrename | M::Rrenameat | M::Runlinkat | M::Rremove | M::Rwstat
            ) && reply.kind.is_known()
        });
        if !harmless {
            self.unreadable_request();
        }
    }

    /// Replies may have been missed.
    pub(crate) fn replies_lost(&mut self) {
        self.now += 1;
        // One may have been to a request that was not seen either, and that changed names
        // since what is known was found out.
        if !self.whole {
            self.forget();
        }
        self.replies_lost = self.now;
    }

    /// The device was reset: whatever was in flight is gone, and so is the session.
    pub(crate) fn reset(&mut self) {
        self.now += 1;
        self.end_session();
        self.whole = false;
        self.guessed = true;
        self.dialect = Dialect::default();
        self.msize = None;
    }

    fn forget(&mut self) {
        self.counts.forgotten += 1;
        self.whole = false;
        for request in self.tags.all_mut() {
            for node in request.effect.nodes() {
                self.tree.release(node);
            }
            request.effect = request.effect.without_nodes();
        }
        let coming: Vec<Fid> = self
            .tags
            .all_mut()
            .filter_map(|request| request.effect.fid())
            .collect();
        self.races.forget(self.now);
        self.fids.clear(&mut self.tree);
        self.tree.clear();
        for fid in coming {
            self.fids.begin_change(fid, self.now);
        }
    }

    /// Everything that belongs to a session ends.
    fn end_session(&mut self) {
        for request in self.tags.drain() {
            self.let_go(request.bytes);
        }
        self.roots.clear();
        self.races.clear();
        self.fids.clear(&mut self.tree);
        self.tree.clear();
    }

    /// Keeps a request whose names will be needed when it is answered; empty if they
    /// will not, or if there is no room.
    fn keep(&mut self, message: &Message<'_>, effect: &Effect) -> Vec<u8> {
        let bytes = message.captured();
        if !effect.needs_names() || bytes.len() > KEPT || !self.budget.take(bytes.len()) {
            return Vec::new();
        }
        let mut kept = self.spare.pop().unwrap_or_default();
        kept.extend_from_slice(bytes);
        kept
    }

    fn let_go(&mut self, mut bytes: Vec<u8>) {
        self.budget.give(bytes.len());
        if bytes.capacity() > 0 && self.spare.len() < SPARE {
            bytes.clear();
            self.spare.push(bytes);
        }
    }

    fn check_size(&self, message: &Message<'_>, wrong: &mut Vec<Irregularity>) {
        if let Some(msize) = self.msize
            && message.size > msize
            && !matches!(message.kind, MessageType::Tversion | MessageType::Rversion)
        {
            wrong.push(Irregularity::LargerThanMsize {
                size: message.size,
                msize,
            });
        }
    }

    fn path(&mut self, fid: Fid) -> Option<Arc<Path>> {
        self.fids.path(fid, &mut self.tree)
    }

    /// What a fid that is being used stands for. One that was never seen to stand for
    /// anything gets a node of its own, so that what is found from it on stays
    /// together.
    fn used(&mut self, fid: Fid, wrong: &mut Vec<Irregularity>) -> (Option<NodeId>, Arc<Path>) {
        if !self.fids.contains(fid) && !self.fids.is_changing(fid) {
            if self.whole {
                wrong.push(Irregularity::FidUnknown { fid });
            } else if let Some(node) = self.tree.unknown(self.now) {
                self.fids.find(fid, Stands::File(node), &mut self.tree);
            }
        }
        let path = self.path(fid);
        (
            self.fids.node(fid),
            path.unwrap_or_else(|| self.tree.unknown_path()),
        )
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        for request in self.tags.drain() {
            self.let_go(request.bytes);
        }
    }
}

/// Whether the message can be one of this dialect, as far as it was captured.
fn fits(message: &Message<'_>, dialect: Dialect) -> bool {
    message.kind.is_in(dialect)
        && !matches!(
            message.in_dialect(dialect).end(),
            End::Malformed { .. } | End::NotDecoded
        )
}
