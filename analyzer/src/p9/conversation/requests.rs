//! What requests will do.

use super::*;
use crate::p9::{
    Tcreate, Tlcreate, Tlink, Tmkdir, Tmknod, Trename, Trenameat, Tsymlink, Tunlinkat, Twalk,
    Twstat, Txattrcreate, Txattrwalk,
};

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
        // What was moved under another name of its directory is moved from nobody knows where.
        let from_node =
            |node: Option<NodeId>| of_node(node.filter(|it| !self.tree.is_doubtful(*it)));
        let (known, any) = match (*effect, body) {
            (Effect::Rename { node, dir }, Body::Trename(body)) => {
                let from = from_node(node);
                ([from, edge(dir, body.name.0)], from.is_none())
            }
            (Effect::RenameAt { from, to }, Body::Trenameat(body)) => (
                [edge(from, body.oldname.0), edge(to, body.newname.0)],
                from.is_none(),
            ),
            (Effect::Rewrite { node }, Body::Twstat(body)) => {
                let from = from_node(node);
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
