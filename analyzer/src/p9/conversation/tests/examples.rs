//! Single cases, in the words that a reader sees.

use rstest::rstest;

use super::super::Irregularity;
use super::model::Ask;
use super::session::Session;
use crate::p9::{Fid, Path, Tag};

/// Asks, has it served and delivers the answer.
fn done(session: &mut Session, ask: Ask) {
    let at = session.ask(ask, true);
    session.serve(at, false, false);
    session.deliver(at, true);
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn walk(fid: u32, newfid: u32, path: &[&str]) -> Ask {
    Ask::Walk {
        fid,
        newfid,
        names: names(path),
    }
}

/// `/a` becomes `/c`.
fn rename() -> Ask {
    Ask::RenameAt {
        from: 0,
        old: "a".to_owned(),
        to: 0,
        new: "c".to_owned(),
    }
}

/// A session with `/a/b` made, fid 0 at the root, fid 2 at `/a` and fid 1 at `/a/b`.
fn mounted() -> Session {
    let mut session = Session::new();
    done(&mut session, Ask::Version);
    done(&mut session, Ask::Attach { fid: 0, tree: "" });
    let name = "a".to_owned();
    done(&mut session, Ask::Mkdir { fid: 0, name });
    done(&mut session, walk(0, 2, &["a"]));
    let name = "b".to_owned();
    done(&mut session, Ask::Mkdir { fid: 2, name });
    done(&mut session, walk(0, 1, &["a", "b"]));
    session
}

fn path(session: &mut Session, fid: u32) -> String {
    let path = session.path(fid);
    path.map_or_else(|| "none".to_owned(), |path| path.to_string())
}

#[test]
fn renaming_a_directory_moves_what_is_below() {
    let mut session = mounted();
    assert_eq!(path(&mut session, 1), "/a/b");
    done(&mut session, rename());
    assert_eq!(path(&mut session, 1), "/c/b");
    let name = "b".to_owned();
    done(&mut session, Ask::Unlink { fid: 2, name });
    assert_eq!(path(&mut session, 1), "/c/b (removed)");
}

/// The walk may have found what was there before the rename or after it.
#[test]
fn a_walk_beside_a_rename_is_not_guessed() {
    let mut session = mounted();
    session.ask(rename(), true);
    let walk = session.ask(walk(0, 3, &["a", "b"]), true);
    session.serve(walk, false, false);
    session.deliver(walk, true);
    assert_eq!(path(&mut session, 3), "?/b");
    // What was known before is still where it was, as far as the guest was told.
    assert_eq!(path(&mut session, 1), "/a/b");
}

/// A file that may have been moved to any other name, and then is moved from there: what
/// stands under any name may be that file.
#[test]
fn what_is_moved_from_a_doubtful_name_may_have_had_any_other() {
    let mut session = Session::new();
    done(&mut session, Ask::Version);
    done(&mut session, Ask::Attach { fid: 1, tree: "" });
    let name = "d".to_owned();
    done(&mut session, Ask::Mkdir { fid: 1, name });
    done(&mut session, walk(1, 4, &["d"]));
    done(&mut session, walk(1, 0, &[]));
    let name = "c".to_owned();
    done(&mut session, Ask::Create { fid: 0, name });
    // Listening begins here: fids 0, 1 and 4 are not known.
    session.heard = super::super::Conversation::new(&session.budget);
    done(&mut session, Ask::Attach { fid: 3, tree: "" });
    let (dir, name) = (3, "c".to_owned());
    done(&mut session, Ask::Rename { fid: 0, dir, name });
    assert_eq!(path(&mut session, 0), "/c");
    let away = Ask::RenameAt {
        from: 1,
        old: "c".to_owned(),
        to: 1,
        new: "a".to_owned(),
    };
    done(&mut session, away);
    assert_eq!(path(&mut session, 0), "?");
    // It is the same file.
    done(&mut session, walk(3, 5, &["a"]));
    assert_eq!(path(&mut session, 5), "/a");
    let (dir, name) = (4, "b".to_owned());
    done(&mut session, Ask::Rename { fid: 0, dir, name });
    assert_eq!(path(&mut session, 0), "?/b");
    assert_eq!(path(&mut session, 5), "?");
}

/// By way of one tree a file is moved away and back to a name that another tree knows it by:
/// that name was not its second one meanwhile.
#[test]
fn a_file_comes_back_to_a_name_of_which_only_another_tree_knew() {
    let mut session = Session::new();
    done(&mut session, Ask::Version);
    let other = "other";
    for (fid, tree) in [(0, ""), (1, ""), (2, other), (3, other)] {
        done(&mut session, Ask::Attach { fid, tree });
    }
    let name = "b".to_owned();
    done(&mut session, Ask::Create { fid: 3, name });
    assert_eq!(path(&mut session, 3), "other:/b");
    done(&mut session, walk(1, 1, &["b"]));
    assert_eq!(path(&mut session, 1), "/b");
    let away = Ask::RenameAt {
        from: 0,
        old: "b".to_owned(),
        to: 2,
        new: "c".to_owned(),
    };
    done(&mut session, away);
    assert_eq!(path(&mut session, 1), "other:/c");
    let (dir, name) = (2, "b".to_owned());
    done(&mut session, Ask::Rename { fid: 1, dir, name });
    assert_eq!(path(&mut session, 1), "other:/b");
}

/// What is known is given up while a rename is in flight: that will still move something.
#[test]
fn a_rename_that_is_in_flight_is_not_forgotten() {
    let mut session = mounted();
    let name = "c".to_owned();
    done(&mut session, Ask::Mkdir { fid: 0, name });
    let rename = Ask::RenameAt {
        from: 0,
        old: "c".to_owned(),
        to: 0,
        new: "d".to_owned(),
    };
    let rename = session.ask(rename, true);
    let missed = session.ask(Ask::Getattr { fid: 0 }, false);
    session.serve(missed, false, false);
    session.deliver(missed, true);
    done(&mut session, walk(0, 3, &["c"]));
    assert_eq!(path(&mut session, 3), "?");
    let name = "x".to_owned();
    let create = session.ask(Ask::Create { fid: 3, name }, true);
    session.serve(rename, false, false);
    session.serve(create, false, false);
    session.deliver(create, true);
    assert_eq!(path(&mut session, 3), "?");
}

#[test]
fn a_partial_walk_leaves_its_fid_alone() {
    let mut session = mounted();
    done(&mut session, walk(0, 3, &["a", "none", "x"]));
    assert_eq!(path(&mut session, 3), "none");
}

#[test]
fn after_a_missing_request_only_the_root_comes_back() {
    let mut session = mounted();
    let missed = session.ask(Ask::Getattr { fid: 0 }, false);
    session.serve(missed, false, false);
    session.deliver(missed, true);
    done(&mut session, walk(1, 3, &[]));
    assert_eq!(path(&mut session, 3), "?");
    // The server says who fid 0 is: the root that was attached.
    done(&mut session, Ask::Getattr { fid: 0 });
    assert_eq!(path(&mut session, 0), "/");
    done(&mut session, walk(0, 4, &["a"]));
    assert_eq!(path(&mut session, 4), "/a");
    assert_eq!(session.heard.view().forgotten, 1);
}

#[rstest]
#[case::answered(false, 1, 0)]
#[case::given_up(true, 0, 1)]
fn a_flush_is_counted_as_it_ended(
    #[case] cancel: bool,
    #[case] answered: u64,
    #[case] given_up: u64,
) {
    let mut session = mounted();
    session.ask(Ask::Getattr { fid: 1 }, true);
    let flush = session.ask(Ask::Flush { tag: 1 }, true);
    session.serve(flush, cancel, false);
    session.deliver(0, true);
    session.deliver(0, true);
    let view = session.heard.view();
    assert_eq!(view.flushes, 1);
    assert_eq!(
        (view.answered_while_flushed, view.given_up),
        (answered, given_up)
    );
    assert_eq!(session.wrong, []);
}

#[test]
fn an_answer_after_the_rflush_is_wrong() {
    let mut session = mounted();
    session.ask(Ask::Getattr { fid: 1 }, true);
    let flush = session.ask(Ask::Flush { tag: 1 }, true);
    session.serve(flush, false, false);
    session.deliver(1, true);
    session.deliver(0, true);
    let late = Irregularity::AnsweredAfterFlush { tag: Tag(1) };
    assert_eq!(session.wrong, [late]);
}

#[test]
fn a_lost_reply_may_have_been_to_a_lost_rename() {
    let mut session = mounted();
    let lost = session.ask(rename(), false);
    // Heard after the loss, and true until the rename comes about.
    done(&mut session, Ask::Getattr { fid: 0 });
    done(&mut session, walk(0, 3, &["a"]));
    assert_eq!(path(&mut session, 3), "/a");
    session.serve(lost, false, false);
    session.deliver(lost, false);
    done(&mut session, Ask::Getattr { fid: 0 });
    assert_eq!(path(&mut session, 3), "none");
}

#[test]
fn fids_that_are_in_use_or_unknown_are_told() {
    let mut session = mounted();
    done(&mut session, walk(0, 1, &[]));
    done(&mut session, Ask::Getattr { fid: 77 });
    let expected = [
        Irregularity::FidInUse { fid: Fid(1) },
        Irregularity::FidUnknown { fid: Fid(77) },
    ];
    assert_eq!(session.wrong, expected);
}

#[test]
fn a_new_session_forgets_everything() {
    let mut session = mounted();
    done(&mut session, Ask::Version);
    assert_eq!(path(&mut session, 0), "none");
    let view = session.heard.view();
    assert_eq!((view.sessions, view.fids, view.msize), (2, 0, Some(8192)));
}

#[rstest]
#[case("/", "a", "/a")]
#[case("/a/b", "..", "/a")]
#[case("/a", "..", "/")]
#[case("/a", ".", "/a")]
#[case("/a", "x/y", "?")]
#[case("/a", "", "?")]
fn names_are_joined(#[case] directory: &str, #[case] name: &str, #[case] joined: &str) {
    let directory = Path {
        bytes: directory.as_bytes().into(),
        beginning: super::super::path::Beginning::Root,
        removed: false,
        attribute: None,
    };
    assert_eq!(directory.join(name.as_bytes()).to_string(), joined);
    let unknown = Path::unknown().join(name.as_bytes());
    assert!(unknown.known().is_none() && unknown.to_string().starts_with('?'));
}
