//! A session between a client, the model's server and the conversation that listens.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::super::{Conversation, Irregularity, Path, Subject};
use super::model::{Answer, Ask, Inode, Server};
use crate::budget::Budget;
use crate::p9::{Body, Message, Tag};
use crate::testing::message;

/// A request on its way.
#[derive(Clone, Debug)]
pub(super) struct OnItsWay {
    pub(super) tag: u16,
    pub(super) ask: Ask,
    /// What the server answered, once it has.
    pub(super) answer: Option<Answer>,
    /// It was given up and will not be answered.
    pub(super) given_up: bool,
    /// What the conversation said of it; none if its request was missed.
    subject: Option<Subject>,
    began: usize,
}

/// A session.
pub(super) struct Session {
    pub(super) server: Server,
    pub(super) heard: Conversation,
    pub(super) budget: Budget,
    pub(super) flying: Vec<OnItsWay>,
    /// Fids that the client believes to be in use.
    pub(super) fids: BTreeSet<u32>,
    /// Where every file stood, event by event.
    history: Vec<BTreeMap<Inode, Option<String>>>,
    pub(super) wrong: Vec<Irregularity>,
    missed: bool,
    /// A reply was missed, which is known with the next request.
    reply_missed: bool,
    /// It was one to a request that was missed.
    unseen: bool,
    /// What happened, for whoever looks at a failure.
    log: Vec<String>,
}

fn text(s: &str) -> Vec<u8> {
    [&(s.len() as u16).to_le_bytes()[..], s.as_bytes()].concat()
}

fn request_bytes(tag: u16, ask: &Ask) -> Vec<u8> {
    let le = |n: &u32| n.to_le_bytes();
    let zero = [0; 4];
    let (kind, body): (u8, Vec<Vec<u8>>) = match ask {
        Ask::Version => (100, vec![8192u32.to_le_bytes().into(), text("9P2000.L")]),
        Ask::Attach { fid, tree } => (
            104,
            vec![
                le(fid).into(),
                vec![0xff; 4],
                text("me"),
                text(tree),
                zero.into(),
            ],
        ),
        Ask::Walk { fid, newfid, names } => {
            let count = (names.len() as u16).to_le_bytes();
            let mut body = vec![le(fid).into(), le(newfid).into(), count.into()];
            body.extend(names.iter().map(|name| text(name)));
            (110, body)
        }
        Ask::Create { fid, name } => (14, vec![le(fid).into(), text(name), vec![0; 12]]),
        Ask::Mkdir { fid, name } => (72, vec![le(fid).into(), text(name), vec![0; 8]]),
        Ask::Rename { fid, dir, name } => (20, vec![le(fid).into(), le(dir).into(), text(name)]),
        Ask::RenameAt { from, old, to, new } => (
            74,
            vec![le(from).into(), text(old), le(to).into(), text(new)],
        ),
        Ask::Unlink { fid, name } => (76, vec![le(fid).into(), text(name), zero.into()]),
        Ask::Remove { fid } => (122, vec![le(fid).into()]),
        Ask::Clunk { fid } => (120, vec![le(fid).into()]),
        Ask::Getattr { fid } => (24, vec![le(fid).into(), vec![0xff; 8]]),
        Ask::Flush { tag } => (108, vec![tag.to_le_bytes().into()]),
    };
    message(kind, tag, &body.concat())
}

fn reply_bytes(tag: u16, ask: &Ask, answer: &Answer) -> Vec<u8> {
    let kind = request_bytes(tag, ask)[4] + 1;
    let qid = |qid: &crate::p9::Qid| {
        let mut bytes = vec![qid.kind];
        bytes.extend(qid.version.to_le_bytes());
        bytes.extend(qid.path.to_le_bytes());
        bytes
    };
    let body = match (ask, answer) {
        (_, Answer::Error(error)) => return message(7, tag, &error.to_le_bytes()),
        (Ask::Version, _) => [8192u32.to_le_bytes().to_vec(), text("9P2000.L")].concat(),
        (_, Answer::Qids(qids)) => {
            let mut body = (qids.len() as u16).to_le_bytes().to_vec();
            body.extend(qids.iter().flat_map(qid));
            body
        }
        (Ask::Create { .. }, Answer::Qid(is)) => [qid(is), vec![0; 4]].concat(),
        (Ask::Getattr { .. }, Answer::Qid(is)) => {
            [vec![0xff; 8], qid(is), vec![0; 12 + 15 * 8]].concat()
        }
        (_, Answer::Qid(is)) => qid(is),
        (_, Answer::Ok) => vec![],
    };
    message(kind, tag, &body)
}

impl Session {
    pub(super) fn new() -> Self {
        let budget = Budget::of(1 << 20);
        Self {
            server: Server::new(),
            heard: Conversation::new(&budget),
            budget,
            flying: Vec::new(),
            fids: BTreeSet::new(),
            history: Vec::new(),
            wrong: Vec::new(),
            missed: false,
            reply_missed: false,
            unseen: false,
            log: Vec::new(),
        }
    }

    fn note(&mut self) {
        let server = &self.server;
        self.history.push(
            server
                .files()
                .map(|file| (file, server.path(file)))
                .collect(),
        );
    }

    /// Fids that requests on their way will change.
    pub(super) fn changing(&self) -> BTreeSet<u32> {
        let changes = self.flying.iter().filter_map(|flying| flying.ask.changes());
        changes.collect()
    }

    /// The client asks. `heard`: the record of it is not missed.
    pub(super) fn ask(&mut self, ask: Ask, heard: bool) -> usize {
        let taken: BTreeSet<u16> = self.flying.iter().map(|flying| flying.tag).collect();
        let tag = (1..).find(|tag| !taken.contains(tag)).unwrap_or(u16::MAX);
        self.note();
        let mut subject = None;
        if heard {
            let reply_missed = std::mem::take(&mut self.reply_missed);
            self.unseen = false;
            if std::mem::take(&mut self.missed) {
                self.heard.requests_lost();
            } else if reply_missed {
                self.heard.replies_lost();
            }
            let bytes = request_bytes(tag, &ask);
            let message = Message::decode(&bytes, bytes.len() as u32).unwrap();
            let message = message.in_dialect(self.heard.dialect_for(&message));
            let body = message.body().unwrap();
            let said = self.heard.request(&message, Some(&body), &mut self.wrong);
            self.check_subject(&ask, &said);
            subject = Some(said);
        } else {
            self.missed = true;
        }
        self.log.push(format!("{tag} asks {ask:?}, heard: {heard}"));
        self.flying.push(OnItsWay {
            tag,
            ask,
            answer: None,
            given_up: false,
            subject,
            began: self.history.len() - 1,
        });
        self.flying.len() - 1
    }

    /// Whether the device may give a request back: what a `Tflush` gives up comes
    /// before its `Rflush`, if it comes with an answer.
    pub(super) fn is_ready(&self, at: usize) -> bool {
        let flying = &self.flying[at];
        let Ask::Flush { tag } = flying.ask else {
            return flying.answer.is_some() || flying.given_up;
        };
        let waits = |old: &OnItsWay| old.tag == tag && old.answer.is_some();
        flying.answer.is_some() && !self.flying[..at].iter().any(waits)
    }

    /// The server gets to a request.
    pub(super) fn serve(&mut self, at: usize, cancel: bool, secretly: bool) {
        if self.flying[at].answer.is_some() || self.flying[at].given_up {
            return;
        }
        let ask = self.flying[at].ask.clone();
        if let Ask::Flush { tag } = ask {
            let old = self.flying[..at]
                .iter()
                .position(|old| old.tag == tag && !matches!(old.ask, Ask::Flush { .. }));
            if let Some(old) = old
                && self.flying[old].answer.is_none()
            {
                if cancel {
                    if secretly && self.flying[old].ask.changes_names_only() {
                        self.server.serve(&self.flying[old].ask.clone());
                    }
                    self.flying[old].given_up = true;
                } else {
                    // It is answered before the Tflush is.
                    self.serve(old, false, false);
                }
            }
        }
        let answer = self.server.serve(&ask);
        let tag = self.flying[at].tag;
        self.log.push(format!("{tag} served: {answer:?}"));
        self.flying[at].answer = Some(answer);
        self.note();
    }

    /// The client gets what came of a request. `heard`: the record is not missed.
    pub(super) fn deliver(&mut self, at: usize, heard: bool) {
        let mut flying = self.flying.remove(at);
        self.log
            .push(format!("{} delivered, heard: {heard}", flying.tag));
        let bytes = match &flying.answer {
            Some(answer) => reply_bytes(flying.tag, &flying.ask, answer),
            None => vec![],
        };
        self.learn(&flying);
        let reply = Message::decode(&bytes, bytes.len() as u32).ok();
        let body: Option<Body<'_>> = reply.as_ref().map(|reply| reply.body().unwrap());
        match &mut flying.subject {
            Some(subject) if heard => self.heard.reply(
                Tag(flying.tag),
                reply.as_ref().map(|reply| (reply, body.as_ref())),
                bytes.is_empty(),
                subject,
                &mut self.wrong,
            ),
            Some(subject) => self.heard.abandoned(Tag(flying.tag), subject),
            None if heard => self.heard.unexpected_reply(reply.as_ref()),
            None => {}
        }
        self.reply_missed |= !heard;
        self.unseen |= !heard && flying.subject.is_none();
        self.note();
        self.check_all();
    }

    /// What the client takes from an answer.
    fn learn(&mut self, flying: &OnItsWay) {
        if flying.given_up {
            return;
        }
        match (&flying.ask, &flying.answer) {
            (Ask::Version, _) => self.fids.clear(),
            (Ask::Clunk { fid } | Ask::Remove { fid }, _) => {
                self.fids.remove(fid);
            }
            (_, Some(Answer::Error(_)) | None) => {}
            (Ask::Attach { fid, .. }, _) => {
                self.fids.insert(*fid);
            }
            (Ask::Walk { newfid, names, .. }, Some(Answer::Qids(qids)))
                if qids.len() == names.len() =>
            {
                self.fids.insert(*newfid);
            }
            _ => {}
        }
    }

    /// The places that a file had while any request now on its way was.
    fn places(&self, inode: Inode) -> Vec<Option<String>> {
        let since = self.flying.iter().map(|flying| flying.began).min();
        let since = since.unwrap_or(self.history.len() - 1);
        let seen = self.history[since..].iter();
        seen.map(|at| at.get(&inode).cloned().flatten()).collect()
    }

    /// What is said of a fid is true, of now or of a moment that the client can't tell
    /// from now; and of a file that was removed, of the last place it had.
    fn check_path(&self, fid: u32, path: &Path) {
        let Some(inode) = self.server.fids.get(&fid).copied() else {
            return;
        };
        let mut places = self.places(inode);
        if places.iter().any(Option::is_none) {
            let last = self.history.iter().rev();
            places.extend(
                last.filter_map(|at| at.get(&inode))
                    .find(|place| place.is_some())
                    .cloned(),
            );
        }
        let is_true = places.iter().flatten().any(|place| match path.known() {
            Some(known) => known == place.as_bytes(),
            None => place.as_bytes().ends_with(path.known_end()),
        });
        // Of a file that is gone, the way to it may have changed since.
        let is_gone = self.server.path(inode).is_none();
        assert!(
            is_true || is_gone,
            "fid {fid} is {places:?}, and {path} was said:\n{}",
            self.log.join("\n")
        );
        if path.is_removed() {
            let log = self.log.join("\n");
            assert!(is_gone, "fid {fid} is there, and {path} was said:\n{log}");
        }
    }

    fn check_subject(&self, ask: &Ask, said: &Subject) {
        let paths = [&said.path, &said.other];
        for (fid, path) in ask.uses().into_iter().zip(paths) {
            self.check_path(fid, path.as_ref().unwrap());
        }
    }

    pub(super) fn path(&mut self, fid: u32) -> Option<Arc<Path>> {
        self.heard.path(crate::p9::Fid(fid))
    }

    /// That something was missed is only known with the next request.
    fn check_all(&mut self) {
        if self.missed || self.unseen {
            return;
        }
        for fid in self
            .fids
            .difference(&self.changing())
            .copied()
            .collect::<Vec<_>>()
        {
            if let Some(path) = self.path(fid) {
                self.check_path(fid, &path);
            }
        }
    }

    /// Everything is known of every fid.
    pub(super) fn assert_complete(&mut self) {
        for fid in self.fids.clone() {
            let path = self.path(fid).expect("a fid that is in use");
            let inode = self.server.fids[&fid];
            match self.server.path(inode) {
                Some(place) => {
                    assert_eq!(path.known(), Some(place.as_bytes()), "fid {fid}: {path}");
                    assert!(!path.is_removed(), "fid {fid}: {path}");
                }
                None => assert!(path.is_removed(), "fid {fid}: {path}"),
            }
        }
    }
}
