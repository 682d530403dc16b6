//! Messages that change something, and what they must leave alone.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use virtscope_device::p9::Access;

use crate::client::{Client, Errno, Message, RDONLY, RDWR};

/// What a setattr changes: `P9_ATTR_*`.
const MODE: u32 = 1;
const SIZE: u32 = 8;
const MTIME_TO: u32 = 0x20 | 0x100;

fn setattr(message: Message, fid: u32, valid: u32, mode: u32, size: u64) -> Vec<u8> {
    let message = message
        .u32(fid)
        .u32(valid)
        .u32(mode)
        .u32(0)
        .u32(0)
        .u64(size);
    message.u64(0).u64(0).u64(1000).u64(0).finish()
}

/// One good message of each type that changes names or attributes, all about fid 0 and
/// what it may have in it.
pub(crate) fn changes(m: impl Fn(u8) -> Message) -> Vec<Vec<u8>> {
    vec![
        m(16).u32(0).text("new").text("target").u32(0).finish(),
        m(18)
            .u32(0)
            .text("new")
            .u32(0o010_600)
            .u32(0)
            .u32(0)
            .u32(0)
            .finish(),
        m(20).u32(0).u32(0).text("new").finish(),
        setattr(m(26), 0, MODE, 0o700, 0),
        m(32).u32(0).text("user.x").u64(1).u32(0).finish(),
        m(70).u32(0).u32(0).text("new").finish(),
        m(74).u32(0).text("file").u32(0).text("new").finish(),
    ]
}

fn tree() -> tempfile::TempDir {
    let tree = tempfile::tempdir().expect("a temporary directory");
    fs::create_dir_all(tree.path().join("root/dir/deep")).expect("directories");
    fs::write(tree.path().join("root/file"), b"inside").expect("a file");
    fs::write(tree.path().join("outside"), b"secret").expect("a file");
    symlink("../outside", tree.path().join("root/link")).expect("a link");
    tree
}

fn client(tree: &Path) -> Client {
    Client::new(&tree.join("root"), Access::ReadWrite)
}

/// A fid of a link stands for the link: nothing is changed where it leads.
#[test]
fn attributes_of_a_link_are_not_those_of_its_target() {
    let tree = tree();
    let outside = tree.path().join("outside");
    let client = client(tree.path());
    client.walk(0, 1, &["link"]).expect("there");
    let before = fs::metadata(&outside).expect("there");
    for (valid, expected) in [(MODE, Errno::OPNOTSUPP), (SIZE, Errno::INVAL)] {
        let request = setattr(client.message(26), 1, valid, 0o777, 0);
        assert_eq!(client.call(&request).map(drop), Err(expected), "{valid}");
    }
    let times = setattr(client.message(26), 1, MTIME_TO, 0, 0);
    client.call(&times).map(drop).expect("the link's own");
    let link = fs::symlink_metadata(tree.path().join("root/link")).expect("there");
    assert_eq!(link.mtime(), 1000);
    let xattr = client.message(30).u32(1).u32(9).text("user.x").finish();
    assert_eq!(client.call(&xattr).map(drop), Err(Errno::OPNOTSUPP));
    let after = fs::metadata(&outside).expect("there");
    assert_eq!(
        (after.permissions().mode(), after.len(), after.ctime_nsec()),
        (before.permissions().mode(), 6, before.ctime_nsec())
    );
}

/// A second name for a link names the link, and one made over a name is refused.
#[test]
fn names_are_made_for_the_file_itself_and_over_none() {
    let tree = tree();
    let client = client(tree.path());
    client.walk(0, 1, &["link"]).expect("there");
    client.walk(0, 2, &["dir"]).expect("there");
    let link = |name: &str| client.call(&client.message(70).u32(2).u32(1).text(name).finish());
    link("second").map(drop).expect("a name");
    let second = tree.path().join("root/dir/second");
    assert!(second.is_symlink());
    assert_eq!(link("second").map(drop), Err(Errno::EXIST));
    for name in ["", ".", "..", "a/b", "../outside", "a\0"] {
        assert_eq!(link(name).map(drop), Err(Errno::INVAL), "{name:?}");
        let request = client
            .message(16)
            .u32(0)
            .text(name)
            .text("x")
            .u32(0)
            .finish();
        assert_eq!(
            client.call(&request).map(drop),
            Err(Errno::INVAL),
            "{name:?}"
        );
        let request = client.message(18).u32(0).text(name).u32(0o010_600);
        let request = request.u32(0).u32(0).u32(0).finish();
        assert_eq!(
            client.call(&request).map(drop),
            Err(Errno::INVAL),
            "{name:?}"
        );
        let request = client.message(20).u32(1).u32(0).text(name).finish();
        assert_eq!(
            client.call(&request).map(drop),
            Err(Errno::INVAL),
            "{name:?}"
        );
        for (old, new) in [("file", name), (name, "file")] {
            let request = client
                .message(74)
                .u32(0)
                .text(old)
                .u32(0)
                .text(new)
                .finish();
            assert_eq!(
                client.call(&request).map(drop),
                Err(Errno::INVAL),
                "{name:?}"
            );
        }
    }
    let text = client
        .message(16)
        .u32(0)
        .text("x")
        .text("a\0b")
        .u32(0)
        .finish();
    assert_eq!(client.call(&text).map(drop), Err(Errno::INVAL));
    assert_eq!(
        fs::read(tree.path().join("outside")).expect("there"),
        b"secret"
    );
}

/// The root can't be moved, nor a directory into itself; what took the name of a moved
/// file meanwhile stays where it is.
#[test]
fn what_is_moved_is_what_the_fid_stands_for() {
    let tree = tree();
    let root = tree.path().join("root");
    let client = client(tree.path());
    let rename = |fid: u32, dfid: u32, name: &str| {
        let request = client.message(20).u32(fid).u32(dfid).text(name).finish();
        client.call(&request).map(drop)
    };
    client.walk(0, 1, &["file"]).expect("there");
    client.walk(0, 2, &["dir"]).expect("there");
    client.walk(2, 3, &["deep"]).expect("there");
    assert_eq!(rename(0, 2, "new"), Err(Errno::BUSY));
    assert_eq!(rename(2, 3, "new"), Err(Errno::INVAL));
    assert_eq!(rename(1, 1, "new"), Err(Errno::NOTDIR));
    // An open fid goes with its file and stays open.
    client.lopen(1, RDWR).expect("opens");
    rename(1, 3, "moved").expect("moved");
    assert_eq!(client.read(1, 0, 10), Ok(b"inside".to_vec()));
    assert_eq!(client.write(1, 0, b"INSIDE"), Ok(6));
    assert_eq!(
        fs::read(root.join("dir/deep/moved")).expect("there"),
        b"INSIDE"
    );
    // Up from where it is now.
    client.walk(3, 4, &["moved"]).expect("there");
    fs::rename(root.join("dir/deep/moved"), root.join("elsewhere")).expect("moved");
    fs::write(root.join("dir/deep/moved"), b"another").expect("a file");
    assert_eq!(rename(4, 0, "new"), Err(Errno::NOENT));
    assert_eq!(
        fs::read(root.join("dir/deep/moved")).expect("there"),
        b"another"
    );
}

/// A lock has an end, an owner and a file that is open for what it is about.
#[test]
fn locks_that_make_no_sense_are_refused() {
    let tree = tree();
    let client = client(tree.path());
    client.walk(0, 1, &["file"]).expect("there");
    client.lopen(1, RDONLY).expect("opens");
    let ask = |message: Message, start: u64, length: u64| {
        let request = message.u64(start).u64(length).u32(1).text("here").finish();
        client.call(&request).map(drop)
    };
    let lock = |kind, start, length| ask(client.message(52).u32(1).u8(kind).u32(0), start, length);
    let look = |kind| ask(client.message(54).u32(1).u8(kind), 0, 0);
    assert_eq!(lock(0, 0, 0), Ok(()));
    assert_eq!(lock(1, 0, 0), Err(Errno::BADF), "open for reading only");
    assert_eq!(lock(3, 0, 0), Err(Errno::INVAL));
    assert_eq!(lock(0, u64::MAX, 2), Err(Errno::OVERFLOW));
    assert_eq!(look(0), Ok(()));
    assert_eq!(look(2), Err(Errno::INVAL));
    assert_eq!(look(7), Err(Errno::INVAL));
}
