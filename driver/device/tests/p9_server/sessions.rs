//! Version, attach, auth, flush and what is not offered.

use virtscope_device::p9::{Access, FileServer, MAX_MSIZE, MIN_MSIZE, ServeError};

use crate::client::{Client, Errno, Message, NO_FID, NO_TAG, ROOM, ask, getattr, version};

fn tree() -> tempfile::TempDir {
    let tree = tempfile::tempdir().expect("a temporary directory");
    std::fs::write(tree.path().join("file"), b"content").expect("a file");
    tree
}

#[test]
fn what_cannot_be_served_is_named() {
    let tree = tree();
    let missing = tree.path().join("missing");
    assert!(matches!(
        FileServer::new(&missing, Access::ReadOnly),
        Err(ServeError::Missing { path }) if path == missing
    ));
    let file = tree.path().join("file");
    assert!(matches!(
        FileServer::new(&file, Access::ReadOnly),
        Err(ServeError::NotADirectory { path }) if path == file
    ));
}

#[test]
fn the_root_itself_may_be_named_by_a_link() {
    let tree = tree();
    let link = tree.path().join("link");
    std::fs::create_dir(tree.path().join("real")).expect("a directory");
    std::fs::write(tree.path().join("real/inner"), b"in").expect("a file");
    std::os::unix::fs::symlink("real", &link).expect("a link");
    let client = Client::new(&link, Access::ReadOnly);
    assert_eq!(client.content(1, &["inner"]), Ok(b"in".to_vec()));
}

#[test]
fn sizes_are_negotiated_downwards() {
    let tree = tree();
    let server = FileServer::new(tree.path(), Access::ReadOnly).expect("serves");
    for (asked, granted) in [
        (MIN_MSIZE, MIN_MSIZE),
        (8192, 8192),
        (MAX_MSIZE, MAX_MSIZE),
        (u32::MAX, MAX_MSIZE),
    ] {
        let mut body = ask(&server, &version(NO_TAG, asked), ROOM).expect("a version");
        assert_eq!(body.u32(), granted);
        assert_eq!(body.text(), b"9P2000.L");
        body.end();
    }
    for asked in [0, 1, MIN_MSIZE - 1] {
        let refused = ask(&server, &version(NO_TAG, asked), ROOM).map(drop);
        assert_eq!(refused, Err(Errno::MSGSIZE));
    }
}

#[test]
fn nothing_is_served_before_a_version_or_after_an_unknown_one() {
    let tree = tree();
    let server = FileServer::new(tree.path(), Access::ReadOnly).expect("serves");
    let refused = |server: &FileServer| ask(server, &getattr(1, 0), ROOM).map(drop);
    assert_eq!(refused(&server), Err(Errno::PROTO));

    let client = Client::of(server);
    client.getattr(0).expect("the root");
    for other in ["9P2000", "9P2000.u", "9P2000.L.x", "", "9p2000.l"] {
        let request = Message::new(100, NO_TAG).u32(8192).text(other).finish();
        let mut body = client.call(&request).expect("an answer, not an error");
        assert_eq!((body.u32(), body.text()), (8192, b"unknown".to_vec()));
        assert_eq!(refused(&client.server), Err(Errno::PROTO));
    }
}

#[test]
fn a_new_version_forgets_all_fids() {
    let tree = tree();
    let client = Client::new(tree.path(), Access::ReadOnly);
    client.walk(0, 7, &["file"]).expect("the file");
    client.call(&version(NO_TAG, 8192)).expect("a version");
    assert_eq!(client.getattr(0).map(drop), Err(Errno::BADF));
    assert_eq!(client.getattr(7).map(drop), Err(Errno::BADF));
    client.attach(0).expect("free again");
}

#[test]
fn the_root_can_be_attached_by_several_fids() {
    let tree = tree();
    let client = Client::new(tree.path(), Access::ReadOnly);
    let first = client.attach(1).expect("once");
    let second = client.attach(2).expect("twice");
    assert_eq!(first, second);
    assert_eq!(first.kind, 0x80);
    assert_eq!(client.attach(2), Err(Errno::INVAL), "the fid is taken");
    assert_eq!(client.attach(NO_FID), Err(Errno::INVAL));
    client.clunk(1).expect("attached");
    assert_eq!(client.content(5, &["file"]), Ok(b"content".to_vec()));
}

#[test]
fn there_is_no_authentication() {
    let tree = tree();
    let client = Client::new(tree.path(), Access::ReadOnly);
    let auth = Message::new(102, 1).u32(9).text("u").text("a").u32(0);
    let auth = client.call(&auth.finish()).map(drop);
    assert_eq!(auth, Err(Errno::OPNOTSUPP));
    let attach = Message::new(104, 1).u32(9).u32(8).text("u").text("a");
    let attach = client.call(&attach.u32(0).finish()).map(drop);
    assert_eq!(attach, Err(Errno::INVAL));
}

#[test]
fn a_flush_without_a_pool_is_answered_at_once() {
    let tree = tree();
    let client = Client::new(tree.path(), Access::ReadOnly);
    client
        .call(&crate::client::flush(3, 9))
        .expect("an answer")
        .end();
}

#[test]
fn all_other_types_are_not_supported() {
    let tree = tree();
    let client = Client::new(tree.path(), Access::ReadWrite);
    let supported = [
        8, 12, 14, 16, 18, 20, 22, 24, 26, 30, 32, 40, 50, 52, 54, 70, 72, 74, 76, 100, 102, 104,
        108, 110, 116, 118, 120, 122,
    ];
    for kind in (0..=u8::MAX).filter(|kind| !supported.contains(kind)) {
        for body in [&[][..], &[0; 4], &[0xff; 40]] {
            let request = Message::new(kind, 1).raw(body).finish();
            let answer = client.call(&request).map(drop);
            assert_eq!(answer, Err(Errno::OPNOTSUPP), "type {kind}");
        }
    }
}
