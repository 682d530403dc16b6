//! What is known of names once they were moved or removed.

use super::*;

impl Conversation {
    /// A request that moves or removes names came back.
    pub(super) fn changed(&mut self, request: &InFlight, ending: Ending, body: Option<&Body<'_>>) {
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
        self.races.blur(names, &self.tree);
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
                // Where it is not sure which file stands there, it is not known which was
                // moved: it has no node, and whoever had the name is nowhere any more.
                if let Some(node) = self.tree.at(from)
                    && self.tree.is_doubtful(node)
                {
                    self.tree.forget(node, now);
                }
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
                                self.tree.clear_away(replaced, now);
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
            (Effect::Rewrite { node: None }, _) => self.forget(),
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
                    self.tree.clear_away(node, now);
                }
            }
            _ => {}
        }
    }
}
