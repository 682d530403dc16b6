//! What requests will do, and what their replies say they did.

use super::path::is_plain;
use super::*;
use crate::p9::{
    Rwalk, Tattach, Tcreate, Tlcreate, Tlink, Tmkdir, Tmknod, Trename, Trenameat, Tsymlink,
    Tunlinkat, Twalk, Twstat, Txattrcreate, Txattrwalk,
};

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
    /// What the request will do once it is answered. The nodes of the effect are held.
    pub(super) fn prepare(
        &mut self,
        body: &Body<'_>,
        subject: &mut Subject,
        wrong: &mut Vec<Irregularity>,
    ) -> Effect {
        let mut first = |this: &mut Self, fid| {
            let (node, path) = this.used(fid, wrong);
            subject.path = Some(path);
            node
        };
        let effect = match *body {
            Body::Tversion(_) => Effect::Version,
            Body::Tauth(body) => Effect::Auth { fid: body.afid },
            Body::Tattach(body) => Effect::Attach { fid: body.fid },
            Body::Tflush(body) => {
                self.counts.flushes += 1;
                let flushed = self.tags.get_mut(body.oldtag).map(|request| {
                    request.flushed = true;
                    (request.serial, request.kind)
                });
                subject.flushes = flushed.map(|(_, kind)| kind);
                Effect::Flush {
                    tag: body.oldtag,
                    serial: flushed.map(|(serial, _)| serial),
                }
            }
            Body::Twalk(Twalk { fid, newfid, .. }) => {
                let from = first(self, fid);
                if newfid != fid {
                    self.new_fid(newfid, wrong);
                }
                Effect::Walk { from, fid: newfid }
            }
            Body::Txattrwalk(Txattrwalk { fid, newfid, .. }) => {
                let node = first(self, fid);
                if newfid != fid {
                    self.new_fid(newfid, wrong);
                }
                Effect::Attribute { node, fid: newfid }
            }
            Body::Txattrcreate(Txattrcreate { fid, .. }) => Effect::Attribute {
                node: first(self, fid),
                fid,
            },
            Body::Tlcreate(Tlcreate { fid, .. }) | Body::Tcreate(Tcreate { fid, .. }) => {
                Effect::Create {
                    dir: first(self, fid),
                    fid,
                }
            }
            Body::Tsymlink(Tsymlink { fid, .. })
            | Body::Tmknod(Tmknod { dfid: fid, .. })
            | Body::Tmkdir(Tmkdir { dfid: fid, .. }) => Effect::Make {
                dir: first(self, fid),
            },
            Body::Tlink(Tlink { dfid, fid, .. }) => {
                let dir = first(self, dfid);
                subject.other = Some(self.used(fid, wrong).1);
                Effect::Make { dir }
            }
            Body::Tclunk(body) => {
                first(self, body.fid);
                Effect::Clunk { fid: body.fid }
            }
            Body::Tremove(body) => Effect::Remove {
                node: first(self, body.fid),
                fid: body.fid,
            },
            Body::Trename(Trename { fid, dfid, .. }) => {
                let node = first(self, fid);
                let (dir, path) = self.used(dfid, wrong);
                subject.other = Some(path);
                Effect::Rename { node, dir }
            }
            Body::Trenameat(Trenameat {
                olddirfid,
                newdirfid,
                ..
            }) => {
                let from = first(self, olddirfid);
                let (to, path) = self.used(newdirfid, wrong);
                subject.other = Some(path);
                Effect::RenameAt { from, to }
            }
            Body::Tunlinkat(Tunlinkat { dfid, .. }) => Effect::Unlink {
                dir: first(self, dfid),
            },
            Body::Twstat(Twstat { fid, stat }) => {
                let node = first(self, fid);
                if stat.stat.name.0.is_empty() {
                    Effect::Nothing
                } else {
                    Effect::Rewrite { node }
                }
            }
            Body::Tgetattr(_) | Body::Tlopen(_) | Body::Topen(_) | Body::Tstat(_)
                if !self.roots.is_empty() =>
            {
                let node = only_fid(body).and_then(|fid| first(self, fid));
                match node.filter(|node| self.tree.is_unknown(*node)) {
                    Some(node) => Effect::Look { node },
                    None => Effect::Nothing,
                }
            }
            _ => {
                if let Some(fid) = only_fid(body) {
                    first(self, fid);
                }
                Effect::Nothing
            }
        };
        for node in effect.nodes() {
            self.tree.hold(node);
        }
        effect
    }

    fn new_fid(&mut self, fid: Fid, wrong: &mut Vec<Irregularity>) {
        if self.fids.contains(fid) && !self.fids.is_changing(fid) {
            wrong.push(Irregularity::FidInUse { fid });
        }
    }

    /// A request that the capture has not whole, or that is malformed.
    pub(super) fn damaged(
        &mut self,
        message: &Message<'_>,
        serial: u64,
        wrong: &mut Vec<Irregularity>,
    ) {
        use MessageType as M;
        let mut fids = message.fields().filter_map(|field| match field.value {
            super::super::Value::Fid(fid) => Some(fid),
            _ => None,
        });
        let (first, second) = (fids.next(), fids.next());
        let becomes_unknown = |fid| Effect::Walk { from: None, fid };
        let effect = match message.kind {
            M::Twalk | M::Txattrwalk => second.map(becomes_unknown),
            M::Tlcreate | M::Tcreate | M::Txattrcreate | M::Tattach | M::Tauth => {
                first.map(becomes_unknown)
            }
            M::Tversion => Some(Effect::Version),
            M::Trename | M::Trenameat | M::Tunlinkat | M::Twstat | M::Tclunk | M::Tremove => None,
            kind if kind.is_request() && kind.is_known() => Some(Effect::Nothing),
            _ => None,
        };
        let effect = effect.unwrap_or(Effect::Unknown);
        self.put(message, serial, effect, Vec::new(), [None; 2], wrong);
        if let Some(fid) = effect.fid() {
            self.fids.begin_change(fid, serial);
        }
    }

    /// Puts a request in flight.
    pub(super) fn put(
        &mut self,
        message: &Message<'_>,
        serial: u64,
        effect: Effect,
        bytes: Vec<u8>,
        uses: [Option<Fid>; 2],
        wrong: &mut Vec<Irregularity>,
    ) {
        let request = InFlight {
            serial,
            kind: message.kind,
            effect,
            uses,
            flushed: false,
            bytes,
        };
        if let Some(old) = self.tags.insert(message.tag, request) {
            // A Tversion ends whatever was in flight before it.
            if old.serial > self.replies_lost && message.kind != MessageType::Tversion {
                self.tags.displace(old.serial, message.kind);
            }
            self.finish(old, Ending::Unknown, None, wrong);
        }
    }

    /// From now on, what the request will change is being changed.
    pub(super) fn begin_change(&mut self, serial: u64, effect: &Effect, body: &Body<'_>) {
        if let Some(fid) = effect.fid() {
            self.fids.begin_change(fid, serial);
        }
        if let Some(names) = self.names(effect, body) {
            self.races.begin(serial, names, &mut self.tree);
        }
    }

    /// The names that a request changes the meaning of.
    fn names(&self, effect: &Effect, body: &Body<'_>) -> Option<Names> {
        let edge = |dir: Option<NodeId>, name: &[u8]| Some(self.tree.edge(dir?, name));
        let of_node = |node: Option<NodeId>| self.tree.edge_of(node?);
        let (known, any) = match (*effect, body) {
            (Effect::Rename { node, dir }, Body::Trename(body)) => {
                let from = of_node(node);
                ([from, edge(dir, body.name.0)], from.is_none())
            }
            (Effect::RenameAt { from, to }, Body::Trenameat(body)) => (
                [edge(from, body.oldname.0), edge(to, body.newname.0)],
                from.is_none(),
            ),
            (Effect::Rewrite { node }, Body::Twstat(body)) => {
                let from = of_node(node);
                let to = from.map(|edge| self.tree.edge(edge.parent, body.stat.stat.name.0));
                ([from, to], from.is_none())
            }
            (Effect::Remove { node, .. }, _) => ([of_node(node), None], false),
            (Effect::Unlink { dir }, Body::Tunlinkat(body)) => {
                ([edge(dir, body.name.0), None], false)
            }
            _ => return None,
        };
        Some(Names { known, any })
    }

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
        if doubtful {
            return None;
        }
        self.tree.child(dir, name, Some(qid), self.now)
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

    /// A request that moves or removes names came back.
    fn changed(&mut self, request: &InFlight, ending: Ending, body: Option<&Body<'_>>) {
        let failed = ending == Ending::Failed;
        let names = self
            .races
            .end(request.serial, self.now, failed, &mut self.tree);
        if failed {
            return;
        }
        let Some(names) = names else {
            self.forget();
            return;
        };
        let needs_names = request.effect.needs_names();
        let certain = ending == Ending::Done
            && (body.is_some() || !needs_names)
            && !self
                .races
                .is_contested(&names, (request.serial, self.now), &self.tree);
        if certain {
            self.apply(request.effect, &names, body);
        } else {
            self.doubt(request.effect, &names);
        }
    }

    /// It is not known whether these names mean what they meant.
    fn doubt(&mut self, effect: Effect, names: &Names) {
        for edge in names.known.into_iter().flatten() {
            if let Some(node) = self.tree.at(edge) {
                self.tree.forget(node, self.now);
            }
            self.tree.note_moved(edge, self.now);
        }
        if let Effect::Rename {
            node: Some(node), ..
        }
        | Effect::Rewrite { node: Some(node) }
        | Effect::Remove {
            node: Some(node), ..
        } = effect
        {
            if names.any {
                self.tree.note_moved_from_unknown(node, self.now);
            }
            self.tree.forget(node, self.now);
        } else if names.any {
            self.forget();
        }
    }

    /// The names changed as the request said.
    fn apply(&mut self, effect: Effect, names: &Names, body: Option<&Body<'_>>) {
        let now = self.now;
        let [from, _] = names.known;
        match (effect, body) {
            (Effect::Rename { node, dir }, Some(Body::Trename(body))) => {
                let Some(node) = node else {
                    self.forget();
                    return;
                };
                match from {
                    Some(from) => self.tree.note_moved(from, now),
                    None => self.tree.note_moved_from_unknown(node, now),
                }
                match dir {
                    Some(dir) => self.tree.place(node, dir, body.name.0, now),
                    None => self.tree.forget(node, now),
                }
            }
            (Effect::RenameAt { to, .. }, Some(Body::Trenameat(body))) => {
                let Some(from) = from else {
                    self.forget();
                    return;
                };
                self.tree.note_moved(from, now);
                match (self.tree.at(from), to) {
                    (Some(node), Some(to)) => self.tree.place(node, to, body.newname.0, now),
                    (Some(node), None) => self.tree.forget(node, now),
                    // No fid stands for it; but one may for what it replaces.
                    (None, Some(to)) => {
                        let edge = self.tree.edge(to, body.newname.0);
                        if let Some(replaced) = self.tree.at(edge) {
                            if self.tree.may_be_same(from, edge) {
                                self.tree.forget(replaced, now);
                            } else {
                                self.tree.remove(replaced);
                            }
                        }
                    }
                    (None, None) => {}
                }
            }
            (Effect::Rewrite { node: Some(node) }, Some(Body::Twstat(body))) => match from {
                Some(from) => {
                    self.tree.note_moved(from, now);
                    self.tree
                        .place(node, from.parent, body.stat.stat.name.0, now);
                }
                None => {
                    self.tree.note_moved_from_unknown(node, now);
                    self.tree.forget(node, now);
                }
            },
            (
                Effect::Remove {
                    node: Some(node), ..
                },
                _,
            ) => {
                self.tree.remove(node);
            }
            (Effect::Unlink { dir: Some(_) }, _) => {
                if let Some(node) = from.and_then(|edge| self.tree.at(edge)) {
                    self.tree.remove(node);
                }
            }
            _ => {}
        }
    }
}

/// The fids by which a request names files that it changes, or finds others by.
pub(super) fn uses(body: &Body<'_>) -> [Option<Fid>; 2] {
    match body {
        Body::Twalk(body) => [Some(body.fid), None],
        Body::Txattrwalk(body) => [Some(body.fid), None],
        Body::Txattrcreate(body) => [Some(body.fid), None],
        Body::Tlcreate(body) => [Some(body.fid), None],
        Body::Tcreate(body) => [Some(body.fid), None],
        Body::Tsymlink(body) => [Some(body.fid), None],
        Body::Tmknod(body) => [Some(body.dfid), None],
        Body::Tmkdir(body) => [Some(body.dfid), None],
        Body::Tlink(body) => [Some(body.dfid), None],
        Body::Tgetattr(body) => [Some(body.fid), None],
        Body::Tlopen(body) => [Some(body.fid), None],
        Body::Topen(body) => [Some(body.fid), None],
        Body::Tstat(body) => [Some(body.fid), None],
        Body::Tremove(body) => [Some(body.fid), None],
        Body::Trename(body) => [Some(body.fid), Some(body.dfid)],
        Body::Trenameat(body) => [Some(body.olddirfid), Some(body.newdirfid)],
        Body::Tunlinkat(body) => [Some(body.dfid), None],
        Body::Twstat(body) => [Some(body.fid), None],
        _ => [None, None],
    }
}

/// The fid of a request that only uses one.
fn only_fid(body: &Body<'_>) -> Option<Fid> {
    Some(match body {
        Body::Tread(body) => body.fid,
        Body::Twrite(body) => body.fid,
        Body::Tgetattr(body) => body.fid,
        Body::Treaddir(body) => body.fid,
        Body::Tlopen(body) => body.fid,
        Body::Tstatfs(body) => body.fid,
        Body::Treadlink(body) => body.fid,
        Body::Tsetattr(body) => body.fid,
        Body::Tfsync(body) => body.fid,
        Body::Tlock(body) => body.fid,
        Body::Tgetlock(body) => body.fid,
        Body::Topen(body) => body.fid,
        Body::Tstat(body) => body.fid,
        _ => return None,
    })
}
