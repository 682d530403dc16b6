//! Listing, making and removing.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{DirEntryExt, symlink};
use std::path::Path;

use virtscope_device::p9::Access;

use crate::client::{Client, Entry, Errno, RDONLY, REMOVEDIR};

fn names(entries: &[Entry]) -> BTreeSet<String> {
    entries.iter().map(|entry| entry.name.clone()).collect()
}

fn on_disk(path: &Path) -> BTreeSet<String> {
    fs::read_dir(path)
        .expect("a directory")
        .map(|entry| entry.expect("an entry").file_name())
        .map(|name| name.into_string().expect("test names are UTF-8"))
        .chain([".".into(), "..".into()])
        .collect()
}

#[test]
fn a_large_directory_is_listed_whole_in_small_pieces() {
    let tree = tempfile::tempdir().expect("a temporary directory");
    for number in 0..5000 {
        let padding = "x".repeat(number % 60);
        fs::write(tree.path().join(format!("entry-{number}-{padding}")), b"").expect("a file");
    }
    let expected = on_disk(tree.path());
    let client = Client::new(tree.path(), Access::ReadOnly);
    client.walk(0, 1, &[]).expect("a clone");
    client.lopen(1, RDONLY).expect("opens");
    for count in [150, 999, 4096, 100_000, u32::MAX] {
        let entries = client.list(1, count).expect("a listing");
        assert_eq!(entries.len(), 5002, "no entry twice, at {count}");
        assert_eq!(names(&entries), expected);
    }
}

#[test]
fn a_listing_goes_on_from_any_entry() {
    let tree = tempfile::tempdir().expect("a temporary directory");
    for number in 0..50 {
        fs::write(tree.path().join(number.to_string()), b"").expect("a file");
    }
    let client = Client::new(tree.path(), Access::ReadOnly);
    client.walk(0, 1, &[]).expect("a clone");
    client.lopen(1, RDONLY).expect("opens");
    let all = client.list(1, 10_000).expect("a listing");
    for (index, entry) in all.iter().enumerate().rev() {
        let rest = client.readdir(1, entry.offset, 10_000).expect("the rest");
        assert_eq!(rest, all[index + 1..], "after {}", entry.name);
    }
}

#[test]
fn entries_say_what_they_are() {
    let tree = tempfile::tempdir().expect("a temporary directory");
    fs::create_dir(tree.path().join("sub")).expect("a directory");
    fs::create_dir(tree.path().join("sub/dir")).expect("a directory");
    fs::write(tree.path().join("sub/file"), b"").expect("a file");
    symlink("file", tree.path().join("sub/link")).expect("a link");
    let client = Client::new(tree.path(), Access::ReadOnly);
    client.walk(0, 1, &["sub"]).expect("there");
    client.lopen(1, RDONLY).expect("opens");
    let entries = client.list(1, 10_000).expect("a listing");
    let kind = |name: &str| {
        let entry = entries.iter().find(|entry| entry.name == name);
        let entry = entry.expect("listed");
        (entry.qid.kind, entry.kind)
    };
    assert_eq!(kind("dir"), (0x80, 4));
    assert_eq!(kind("file"), (0, 8));
    assert_eq!(kind("link"), (2, 10));
    assert_eq!(kind("."), (0x80, 4));
    assert_eq!(kind(".."), (0x80, 4));
    for entry in fs::read_dir(tree.path().join("sub")).expect("a directory") {
        let entry = entry.expect("an entry");
        let listed = entries
            .iter()
            .find(|listed| *listed.name == *entry.file_name())
            .expect("listed");
        assert_eq!(listed.qid.path, entry.ino());
    }
    let root = client.attach(9).expect("the root");
    let up = entries.iter().find(|entry| entry.name == "..");
    assert_eq!(up.expect("listed").qid.path, root.path);
}

#[test]
fn the_roots_parent_is_the_root() {
    let tree = tempfile::tempdir().expect("a temporary directory");
    let client = Client::new(tree.path(), Access::ReadOnly);
    client.walk(0, 1, &[]).expect("a clone");
    client.lopen(1, RDONLY).expect("opens");
    let root = client.attach(9).expect("the root");
    for entry in client.list(1, 1000).expect("a listing") {
        assert_eq!(entry.qid.path, root.path, "{}", entry.name);
    }
}

#[test]
fn no_room_for_one_entry_is_an_error_and_not_the_end() {
    let tree = tempfile::tempdir().expect("a temporary directory");
    let client = Client::new(tree.path(), Access::ReadOnly);
    client.walk(0, 1, &[]).expect("a clone");
    client.lopen(1, RDONLY).expect("opens");
    for count in [0, 1, 24] {
        assert_eq!(client.readdir(1, 0, count), Err(Errno::INVAL));
    }
    assert_eq!(client.readdir(1, u64::MAX, 1000), Err(Errno::INVAL));
    assert_eq!(client.readdir(1, 1 << 63, 1000), Err(Errno::INVAL));
    let end = client.list(1, 1000).expect("a listing");
    let end = end.last().expect("two entries").offset;
    assert_eq!(client.readdir(1, end, 1000), Ok(vec![]));
    assert_eq!(client.readdir(1, end, 0), Ok(vec![]));
}

#[test]
fn directories_are_made_and_removed() {
    let tree = tempfile::tempdir().expect("a temporary directory");
    let client = Client::new(tree.path(), Access::ReadWrite);
    let made = client.mkdir(0, "new", 0o755).expect("made");
    assert_eq!(made.kind, 0x80);
    assert_eq!(client.walk(0, 1, &["new"]), Ok(vec![made]));
    assert_eq!(client.mkdir(0, "new", 0o755), Err(Errno::EXIST));
    client.mkdir(1, "inner", 0o755).expect("made");
    assert_eq!(client.unlinkat(0, "new", 0), Err(Errno::ISDIR));
    assert_eq!(client.unlinkat(0, "new", REMOVEDIR), Err(Errno::NOTEMPTY));
    assert_eq!(client.unlinkat(1, "inner", 0x1000), Err(Errno::INVAL));
    client.unlinkat(1, "inner", REMOVEDIR).expect("empty");
    client.unlinkat(0, "new", REMOVEDIR).expect("empty");
    assert_eq!(client.unlinkat(0, "new", REMOVEDIR), Err(Errno::NOENT));
    assert!(!tree.path().join("new").exists());
}

#[test]
fn only_directories_have_names_in_them() {
    let tree = tempfile::tempdir().expect("a temporary directory");
    fs::write(tree.path().join("file"), b"").expect("a file");
    let client = Client::new(tree.path(), Access::ReadWrite);
    client.walk(0, 1, &["file"]).expect("there");
    assert_eq!(client.walk(1, 2, &["x"]), Err(Errno::NOTDIR));
    assert_eq!(client.walk(1, 2, &[".."]), Err(Errno::NOTDIR));
    assert_eq!(client.mkdir(1, "x", 0o700), Err(Errno::NOTDIR));
    assert_eq!(client.unlinkat(1, "x", 0), Err(Errno::NOTDIR));
    assert_eq!(client.lcreate(1, "x", 1, 0o600), Err(Errno::NOTDIR));
}

#[test]
fn remove_takes_the_file_and_the_fid() {
    let tree = tempfile::tempdir().expect("a temporary directory");
    fs::create_dir(tree.path().join("dir")).expect("a directory");
    fs::write(tree.path().join("dir/file"), b"").expect("a file");
    symlink("file", tree.path().join("dir/link")).expect("a link");
    let client = Client::new(tree.path(), Access::ReadWrite);

    client.walk(0, 1, &["dir"]).expect("there");
    assert_eq!(client.remove(1), Err(Errno::NOTEMPTY));
    assert_eq!(client.getattr(1).map(drop), Err(Errno::BADF), "clunked");

    for path in [&["dir", "link"][..], &["dir", "file"], &["dir"]] {
        client.walk(0, 1, path).expect("there");
        client.remove(1).expect("removed");
        assert!(!tree.path().join(path.join("/")).exists());
        assert_eq!(client.clunk(1), Err(Errno::BADF));
    }
    assert_eq!(client.remove(0), Err(Errno::BUSY), "the root stays");
    assert!(tree.path().exists());
}

#[test]
fn remove_spares_what_took_the_name_meanwhile() {
    let tree = tempfile::tempdir().expect("a temporary directory");
    let (old, new) = (tree.path().join("name"), tree.path().join("new"));
    fs::write(&old, b"old").expect("a file");
    fs::write(&new, b"new").expect("a file");
    let client = Client::new(tree.path(), Access::ReadWrite);
    client.walk(0, 1, &["name"]).expect("there");
    fs::rename(&new, &old).expect("replaced");
    assert_eq!(client.remove(1), Err(Errno::NOENT));
    assert_eq!(fs::read(&old).expect("spared"), b"new");
}
