//! What a client can use up: fids, descriptors, depth, room for answers.

use std::fs;

use virtscope_device::p9::{Access, FileServer, MIN_MSIZE};

use crate::client::{Client, Errno, NO_TAG, RDONLY, RDWR, ask, getattr, read, version, walk};

fn tree() -> tempfile::TempDir {
    let tree = tempfile::tempdir().expect("a temporary directory");
    fs::write(tree.path().join("file"), vec![7; 100_000]).expect("a file");
    fs::create_dir_all(tree.path().join("a/b/c")).expect("directories");
    tree
}

#[test]
fn fids_run_out_with_an_error_and_come_back() {
    let tree = tree();
    let client = Client::new(tree.path(), Access::ReadOnly);
    let mut last = 0;
    let full = loop {
        match client.walk(0, last + 1, &[]) {
            Ok(_) => last += 1,
            Err(errno) => break errno,
        }
    };
    assert_eq!((full, last), (Errno::MFILE, 65_535));
    client.clunk(last).expect("held");
    client.walk(0, last, &[]).expect("one came back");
}

#[test]
fn descriptors_run_out_with_an_error_and_come_back() {
    let tree = tree();
    let server = FileServer::new(tree.path(), Access::ReadWrite).expect("serves");
    let client = Client::of(server.with_descriptor_limit(4));
    client.walk(0, 1, &["a", "b", "c"]).expect("three of four");
    client.walk(1, 2, &[]).expect("a clone costs nothing");
    client.lopen(1, RDONLY).expect("four of four");
    assert_eq!(client.walk(0, 3, &["file"]), Err(Errno::MFILE));
    assert_eq!(client.lopen(2, RDONLY), Err(Errno::MFILE));
    client.walk(0, 3, &[]).expect("the root is free");
    assert_eq!(client.lcreate(3, "new", RDWR, 0o600), Err(Errno::MFILE));
    assert!(!tree.path().join("new").exists(), "refused beforehand");
    client.clunk(1).expect("held");
    assert_eq!(client.lcreate(3, "new", RDWR, 0o600), Err(Errno::MFILE));
    assert!(!tree.path().join("new").exists(), "refused beforehand");
    client.clunk(2).expect("held");
    client.lcreate(3, "new", RDWR, 0o600).expect("two of four");
    client.walk(0, 4, &["file"]).expect("three of four");
    assert_eq!(client.walk(0, 5, &["a", "b"]).map(|q| q.len()), Ok(1));
}

#[test]
fn a_walk_can_only_go_so_deep() {
    let tree = tempfile::tempdir().expect("a temporary directory");
    let server = FileServer::new(tree.path(), Access::ReadWrite).expect("serves");
    let client = Client::of(server.with_descriptor_limit(300));
    client.walk(0, 1, &[]).expect("a clone");
    for _ in 0..256 {
        client.mkdir(1, "d", 0o700).expect("made");
        client.walk(1, 1, &["d"]).expect("the process has room");
    }
    client.mkdir(1, "d", 0o700).expect("made");
    assert_eq!(client.walk(1, 2, &["d"]), Err(Errno::NAMETOOLONG));
    assert_eq!(client.lcreate(1, "f", RDWR, 0o600), Err(Errno::NAMETOOLONG));
    client.walk(1, 1, &[".."; 16]).expect("back up");
    client.clunk(1).expect("held");
    client.walk(0, 1, &["d", "d", "d"]).expect("all came back");
}

#[test]
fn answers_keep_to_the_agreed_size_and_to_the_room() {
    let tree = tree();
    let client = Client::new(tree.path(), Access::ReadOnly);
    client.call(&version(NO_TAG, MIN_MSIZE)).expect("a version");
    client.attach(0).expect("the root");
    client.walk(0, 1, &["file"]).expect("there");
    let (_, iounit) = client.lopen(1, RDONLY).expect("opens");
    assert_eq!(iounit, MIN_MSIZE - 24);
    let data = client.read(1, 0, 50_000).expect("as much as fits");
    assert_eq!(data.len(), MIN_MSIZE as usize - 11);

    for room in [11, 12, 100, 4095] {
        let mut body = ask(&client.server, &read(1, 1, 0, 50_000), room).expect("what fits");
        assert_eq!(body.u32() as usize, room - 11);
    }
    let oversized = client
        .message(118)
        .u32(1)
        .u64(0)
        .u32(5000)
        .raw(&[0; 5000])
        .finish();
    let answer = client.call(&oversized).map(drop);
    assert_eq!(
        answer,
        Err(Errno::MSGSIZE),
        "longer than the session's size"
    );
}

#[test]
fn without_room_for_the_answer_nothing_is_done() {
    let tree = tree();
    let client = Client::new(tree.path(), Access::ReadWrite);
    let server = &client.server;
    let small = |request: &[u8]| ask(server, request, 11).map(drop);
    assert_eq!(small(&getattr(1, 0)), Err(Errno::MSGSIZE));
    assert_eq!(small(&walk(1, 0, 5, &["a"])), Err(Errno::MSGSIZE));
    assert_eq!(client.clunk(5), Err(Errno::BADF), "not walked");
    let mkdir = client.message(72).u32(0).text("new").u32(0o700).u32(0);
    assert_eq!(small(&mkdir.finish()), Err(Errno::MSGSIZE));
    assert!(!tree.path().join("new").exists());
    assert_eq!(small(&version(NO_TAG, 8192)), Err(Errno::MSGSIZE));
    client.getattr(0).expect("the session goes on");
    // A target of 90 bytes does not fit an answer of 50.
    std::os::unix::fs::symlink("t".repeat(90), tree.path().join("link")).expect("a link");
    client.walk(0, 6, &["link"]).expect("there");
    let readlink = client.message(22).u32(6).finish();
    let answer = ask(server, &readlink, 50).map(drop);
    assert_eq!(answer, Err(Errno::MSGSIZE));
    // With less than an error takes there is no answer at all.
    for room in 0..11 {
        let mut reply = vec![1, 2, 3];
        server.handle(&getattr(1, 0), &mut reply, room);
        assert!(reply.is_empty());
    }
}
