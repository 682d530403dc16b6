//! A server that only reads: no message changes anything.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use virtscope_device::p9::Access;

use crate::changes::changes;
use crate::client::{APPEND, Client, EXCL, Errno, RDONLY, RDWR, REMOVEDIR, TRUNC, WRONLY};

/// Names, contents and times of change: whatever a change would leave behind.
fn picture(path: &Path) -> BTreeMap<String, (Vec<u8>, i64, i64)> {
    fs::read_dir(path)
        .expect("a directory")
        .map(|entry| entry.expect("an entry").path())
        .chain([path.to_owned()])
        .map(|path| {
            let metadata = fs::symlink_metadata(&path).expect("there");
            let content = fs::read(&path).unwrap_or_default();
            let changed = (content, metadata.ctime(), metadata.ctime_nsec());
            (path.display().to_string(), changed)
        })
        .collect()
}

#[test]
fn every_change_is_refused_and_nothing_changes() {
    let tree = tempfile::tempdir().expect("a temporary directory");
    fs::write(tree.path().join("file"), b"content").expect("a file");
    fs::create_dir(tree.path().join("dir")).expect("a directory");
    let before = picture(tree.path());
    let client = Client::new(tree.path(), Access::ReadOnly);

    client.walk(0, 1, &["file"]).expect("there");
    for flags in [WRONLY, RDWR, RDONLY | TRUNC, WRONLY | APPEND, RDWR | TRUNC] {
        assert_eq!(client.lopen(1, flags), Err(Errno::ROFS), "{flags:o}");
    }
    client.lopen(1, RDONLY | APPEND).expect("reading is fine");
    assert_eq!(client.write(1, 0, b"x"), Err(Errno::ROFS));
    client.fsync(1, 0).expect("nothing to change");
    assert_eq!(client.read(1, 0, 10), Ok(b"content".to_vec()));

    client.walk(0, 2, &[]).expect("a clone");
    for (name, flags) in [
        ("new", RDWR),
        ("new", RDONLY),
        ("new", WRONLY | EXCL),
        ("file", RDONLY),
        ("file", WRONLY | TRUNC),
    ] {
        let created = client.lcreate(2, name, flags, 0o600);
        assert_eq!(created, Err(Errno::ROFS), "{name} {flags:o}");
    }
    assert_eq!(client.mkdir(0, "new", 0o700), Err(Errno::ROFS));
    assert_eq!(client.unlinkat(0, "file", 0), Err(Errno::ROFS));
    assert_eq!(client.unlinkat(0, "dir", REMOVEDIR), Err(Errno::ROFS));
    client.walk(0, 3, &["file"]).expect("there");
    assert_eq!(client.remove(3), Err(Errno::ROFS));
    assert_eq!(client.clunk(3), Err(Errno::BADF), "the fid is gone anyway");

    for request in changes(|kind| client.message(kind)) {
        let answer = client.call(&request).map(drop);
        assert_eq!(answer, Err(Errno::ROFS), "type {}", request[4]);
    }
    assert_eq!(picture(tree.path()), before);
}
