//! What replies say that requests did.

use super::path::is_plain;
use super::*;
use crate::p9::{Rwalk, Tattach, Twalk};

/// How a request ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ending {
    /// It was done.
    Done,
    /// It failed, and did nothing.
    Failed,
    /// By the protocol it never happened; the server may have done it all the same.
    GivenUp,
    /// Nobody knows.
    Unknown,
}

impl Conversation {
    /// A request with this tag came back: `reply` is what the device wrote, none if it
    /// is not known or, if `is_empty`, if there is none. `subject` is what
    /// [`request`](Self::request) said of it.
    pub(crate) fn reply(
        &mut self,
        tag: Tag,
        reply: Option<(&Message<'_>, Option<&Body<'_>>)>,
        is_empty: bool,
        subject: &mut Subject,
        wrong: &mut Vec<Irregularity>,
    ) {
        self.now += 1;
        if let Some((reply, _)) = reply {
            self.check_size(reply, wrong);
        }
        let Some(request) = self.tags.take(tag, subject.serial) else {
            if self.tags.was_given_up(subject.serial) {
                subject.given_up = true;
                if reply.is_some() {
                    wrong.push(Irregularity::AnsweredAfterFlush { tag });
                }
            } else if let Some(by) = self.tags.displaced(subject.serial) {
                wrong.push(Irregularity::TagReused { tag, by });
            }
            return;
        };
        let ending = match reply {
            Some((reply, _)) if reply.is_error() => Ending::Failed,
            Some((reply, _)) if reply.kind == request.kind.reply() => Ending::Done,
            // The buffer of a request that was given up comes back empty.
            None if is_empty && request.flushed => Ending::GivenUp,
            _ => Ending::Unknown,
        };
        if request.flushed {
            match ending {
                Ending::Done | Ending::Failed => {
                    subject.answered_while_flushed = true;
                    self.counts.answered_while_flushed += 1;
                }
                Ending::GivenUp => {
                    subject.given_up = true;
                    self.counts.given_up += 1;
                }
                Ending::Unknown => {}
            }
        }
        self.finish(request, ending, reply.and_then(|(_, body)| body), wrong);
        let tags = &self.tags;
        self.races.expire(|| tags.oldest(), &mut self.tree);
    }

    /// What a request in flight did, or may have done.
    pub(super) fn finish(
        &mut self,
        mut request: InFlight,
        ending: Ending,
        reply: Option<&Body<'_>>,
        wrong: &mut Vec<Irregularity>,
    ) {
        let bytes = std::mem::take(&mut request.bytes);
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let message = Message::decode(&bytes, length).ok();
        let body = message.and_then(|message| message.in_dialect(self.dialect).body().ok());
        let body = body.as_ref();
        let effect = request.effect;
        if let Some(fid) = effect.fid() {
            self.fids.end_change(fid);
        }
        // A fid by which it names its files was changed beside it.
        let is_astray = request
            .uses
            .iter()
            .flatten()
            .any(|fid| self.fids.is_changed_since(*fid, request.serial));
        if self.tags.len() == 0 {
            self.fids.settle();
        }
        if is_astray && effect.changes_names() {
            self.races
                .end(request.serial, self.now, true, &mut self.tree);
        }
        let held = effect.nodes();
        let effect = if is_astray {
            effect.without_nodes()
        } else {
            effect
        };
        match effect {
            Effect::Nothing => {}
            Effect::Unknown if ending == Ending::Failed => {}
            Effect::Unknown => self.forget(),
            Effect::Version => self.version(ending, body, reply),
            Effect::Flush { tag, serial } => self.flushed(ending, tag, serial, wrong),
            Effect::Auth { fid } if ending == Ending::Done => {
                self.fids.bind(fid, Stands::Authentication, &mut self.tree);
            }
            Effect::Attach { fid } => self.attached(ending, fid, body, reply),
            Effect::Walk { from, fid } => {
                self.walked(&request, ending, from, fid, body, reply, wrong);
            }
            Effect::Look { node } => self.looked(node, reply),
            Effect::Create { dir, fid } => self.created(&request, ending, dir, fid, body, reply),
            Effect::Make { dir } if ending == Ending::Done => {
                self.made(&request, dir, body, reply);
            }
            Effect::Attribute { node, fid } => self.attribute(ending, node, fid, body),
            // Whatever the answer, the fid is free.
            Effect::Clunk { fid } if ending != Ending::GivenUp => {
                self.fids.unbind(fid, &mut self.tree);
            }
            Effect::Remove { fid, .. } => {
                if is_astray && matches!(ending, Ending::Done | Ending::Unknown) {
                    self.forget();
                } else if !is_astray {
                    self.changed(&request, ending, body);
                }
                if ending != Ending::GivenUp {
                    self.fids.unbind(fid, &mut self.tree);
                }
            }
            Effect::Rename { .. }
            | Effect::RenameAt { .. }
            | Effect::Rewrite { .. }
            | Effect::Unlink { .. } => self.changed(&request, ending, body),
            Effect::Auth { .. } | Effect::Make { .. } | Effect::Clunk { .. } => {}
        }
        for node in held {
            self.tree.release(node);
        }
        self.let_go(bytes);
    }

    fn version(&mut self, ending: Ending, body: Option<&Body<'_>>, reply: Option<&Body<'_>>) {
        if ending == Ending::Failed {
            return;
        }
        self.end_session();
        match reply {
            Some(Body::Rversion(agreed)) => {
                let dialect = Dialect::of_version(agreed.version.0);
                self.whole = dialect.is_some();
                self.guessed = dialect.is_none();
                self.dialect = dialect.unwrap_or(self.dialect);
                self.msize = dialect.map(|_| agreed.msize);
                self.counts.sessions += u64::from(dialect.is_some());
            }
            _ => {
                // What was agreed is not known; what was wanted is likely.
                self.whole = false;
                self.guessed = true;
                self.msize = None;
                if let Some(Body::Tversion(wanted)) = body
                    && let Some(dialect) = Dialect::of_version(wanted.version.0)
                {
                    self.dialect = dialect;
                }
            }
        }
    }

    fn flushed(
        &mut self,
        ending: Ending,
        tag: Tag,
        serial: Option<u64>,
        wrong: &mut Vec<Irregularity>,
    ) {
        let Some(serial) = serial.filter(|_| ending == Ending::Done) else {
            return;
        };
        if let Some(request) = self.tags.take(tag, serial) {
            self.counts.given_up += 1;
            self.tags.give_up(serial);
            self.finish(request, Ending::GivenUp, None, wrong);
        }
    }

    fn attached(
        &mut self,
        ending: Ending,
        fid: Fid,
        body: Option<&Body<'_>>,
        reply: Option<&Body<'_>>,
    ) {
        let node = match (body, reply) {
            (Some(Body::Tattach(Tattach { aname, .. })), Some(Body::Rattach(reply))) => {
                self.remember(aname.0, reply.qid);
                let first = self
                    .roots
                    .first()
                    .is_some_and(|root| *root.tree == *aname.0);
                self.tree.root(aname.0, first, reply.qid, self.now)
            }
            _ if matches!(ending, Ending::Failed | Ending::GivenUp) => return,
            _ => {
                self.fids.uncertain += 1;
                self.tree.unknown(self.now)
            }
        };
        self.stand(fid, node);
    }

    fn remember(&mut self, tree: &[u8], qid: Qid) {
        if let Some(root) = self.roots.iter_mut().find(|root| *root.tree == *tree) {
            root.qid = qid;
        } else if self.roots.len() < ROOTS {
            self.roots.push(Root {
                tree: tree.into(),
                qid,
            });
        }
    }

    /// The server said who a file is of which it was not known where it stands.
    fn looked(&mut self, node: NodeId, reply: Option<&Body<'_>>) {
        let qid = match reply {
            Some(Body::Rgetattr(reply)) => reply.qid,
            Some(Body::Rlopen(reply)) => reply.qid,
            Some(Body::Ropen(reply)) => reply.qid,
            Some(Body::Rstat(reply)) => reply.stat.stat.qid,
            _ => return,
        };
        let is_it = |root: &Root| (root.qid.kind, root.qid.path) == (qid.kind, qid.path);
        if let Some(at) = self.roots.iter().position(is_it)
            && let Some(root) = self.roots.get(at)
        {
            self.tree.become_root(node, &root.tree, qid, at == 0);
        }
    }

    /// Makes a fid stand for a node, which is held.
    fn stand(&mut self, fid: Fid, node: Option<NodeId>) {
        match node {
            Some(node) => self.fids.bind(fid, Stands::File(node), &mut self.tree),
            None => {
                self.fids.unbind(fid, &mut self.tree);
                // There is no room to follow it.
                self.whole = false;
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "all that a walk is about")]
    fn walked(
        &mut self,
        request: &InFlight,
        ending: Ending,
        from: Option<NodeId>,
        fid: Fid,
        body: Option<&Body<'_>>,
        reply: Option<&Body<'_>>,
        wrong: &mut Vec<Irregularity>,
    ) {
        if matches!(ending, Ending::Failed | Ending::GivenUp) {
            return;
        }
        let node = match (body, reply) {
            (Some(Body::Twalk(walk)), Some(Body::Rwalk(Rwalk { wqid }))) => {
                if wqid.len() < walk.wname.len() {
                    // It went a part of the way; the fid stands for what it did.
                    return;
                }
                if wqid.len() > walk.wname.len() {
                    wrong.push(Irregularity::WalkedTooFar {
                        names: walk.wname.len() as u16,
                        followed: wqid.len() as u16,
                    });
                    self.tree.unknown(self.now)
                } else {
                    from.and_then(|from| self.follow(request.serial, from, walk, *wqid))
                        .or_else(|| self.tree.unknown(self.now))
                }
            }
            _ => {
                self.fids.uncertain += 1;
                self.tree.unknown(self.now)
            }
        };
        self.stand(fid, node);
    }

    /// Goes the way that a walk went; holds where it ends.
    fn follow(
        &mut self,
        began: u64,
        from: NodeId,
        walk: &Twalk<'_>,
        qids: crate::p9::Qids<'_>,
    ) -> Option<NodeId> {
        let mut at = self.tree.hold(from);
        for (name, qid) in walk.wname.iter().zip(qids.iter()) {
            let next = match name.0 {
                b"." => continue,
                b".." => {
                    let edge = self.tree.edge_of(at);
                    let doubtful =
                        edge.is_some_and(|edge| self.races.is_doubtful(edge, began, &self.tree));
                    match doubtful {
                        true => self.tree.unknown(self.now),
                        false => self.tree.parent(at, self.now),
                    }
                }
                name => {
                    let edge = self.tree.edge(at, name);
                    if !is_plain(name) || self.races.is_doubtful(edge, began, &self.tree) {
                        self.tree.unknown(self.now)
                    } else {
                        self.tree.child(at, name, Some(qid), self.now)
                    }
                }
            };
            self.tree.release(at);
            at = next?;
        }
        Some(at)
    }

    fn created(
        &mut self,
        request: &InFlight,
        ending: Ending,
        dir: Option<NodeId>,
        fid: Fid,
        body: Option<&Body<'_>>,
        reply: Option<&Body<'_>>,
    ) {
        if matches!(ending, Ending::Failed | Ending::GivenUp) {
            return;
        }
        let name = match body {
            Some(Body::Tlcreate(body)) => Some(body.name.0),
            Some(Body::Tcreate(body)) => Some(body.name.0),
            _ => None,
        };
        let qid = match reply {
            Some(Body::Rlcreate(reply)) => Some(reply.qid),
            Some(Body::Rcreate(reply)) => Some(reply.qid),
            _ => None,
        };
        let node = match (dir, name, qid) {
            (Some(dir), Some(name), Some(qid)) => self.find(request.serial, dir, name, qid),
            _ => None,
        };
        let node = node.or_else(|| self.tree.unknown(self.now));
        self.stand(fid, node);
    }

    /// What is called `name` in `dir` by what a request found; holds it.
    fn find(
        &mut self,
        began: u64,
        dir: NodeId,
        name: &[u8],
        qid: crate::p9::Qid,
    ) -> Option<NodeId> {
        let edge = self.tree.edge(dir, name);
        let doubtful = !is_plain(name) || self.races.is_doubtful(edge, began, &self.tree);
        if doubtful || self.is_moving(dir, began) {
            return None;
        }
        self.tree.child(dir, name, Some(qid), self.now)
    }

    /// Whether a directory or one above it may have been moved meanwhile: what is new in it
    /// may never have been where it stood.
    fn is_moving(&self, dir: NodeId, began: u64) -> bool {
        if self.races.is_quiet() {
            return false;
        }
        let mut at = dir;
        while let Some(edge) = self.tree.edge_of(at) {
            if self.races.is_doubtful(edge, began, &self.tree) {
                return true;
            }
            at = edge.parent;
        }
        false
    }

    /// Something new has this name now. What a fid stood for under it must have gone
    /// before, whoever did that.
    fn made(
        &mut self,
        request: &InFlight,
        dir: Option<NodeId>,
        body: Option<&Body<'_>>,
        reply: Option<&Body<'_>>,
    ) {
        let name = match body {
            Some(Body::Tsymlink(body)) => body.name.0,
            Some(Body::Tmknod(body)) => body.name.0,
            Some(Body::Tmkdir(body)) => body.name.0,
            Some(Body::Tlink(body)) => body.name.0,
            _ => return,
        };
        let qid = match reply {
            Some(Body::Rsymlink(reply)) => Some(reply.qid),
            Some(Body::Rmknod(reply)) => Some(reply.qid),
            Some(Body::Rmkdir(reply)) => Some(reply.qid),
            _ => None,
        };
        let Some(dir) = dir else {
            return;
        };
        let edge = self.tree.edge(dir, name);
        if let Some(there) = self.tree.at(edge)
            // A walk that came back before may have found it already.
            && self.tree.placed(there) < request.serial
            && self.tree.qid(there).map(|qid| qid.path) != qid.map(|qid| qid.path)
        {
            self.tree.forget(there, self.now);
        }
    }

    fn attribute(
        &mut self,
        ending: Ending,
        node: Option<NodeId>,
        fid: Fid,
        body: Option<&Body<'_>>,
    ) {
        if matches!(ending, Ending::Failed | Ending::GivenUp) {
            return;
        }
        let name = match body {
            Some(Body::Txattrwalk(body)) => Some(body.name.0),
            Some(Body::Txattrcreate(body)) => Some(body.name.0),
            _ => None,
        };
        match (node, name) {
            (Some(node), Some(name)) if ending == Ending::Done => {
                self.tree.hold(node);
                let stands = Stands::Attribute(node, name.into());
                self.fids.bind(fid, stands, &mut self.tree);
            }
            _ => {
                self.fids.uncertain += u64::from(ending != Ending::Done);
                let node = self.tree.unknown(self.now);
                self.stand(fid, node);
            }
        }
    }
}
