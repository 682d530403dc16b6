//! Files and their attributes, against what std::fs says of the same tree.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};

use proptest::prelude::*;
use virtscope_device::p9::Access;

use crate::client::{APPEND, Client, DIRECTORY, EXCL, Errno, RDONLY, RDWR, TRUNC, WRONLY};

fn tree() -> tempfile::TempDir {
    let tree = tempfile::tempdir().expect("a temporary directory");
    let at = |name: &str| tree.path().join(name);
    fs::create_dir_all(at("a/b/c")).expect("directories");
    fs::write(at("hello"), b"hello, ring").expect("a file");
    fs::write(at("a/b/c/deep"), b"deep").expect("a file");
    fs::write(at("empty"), b"").expect("a file");
    let large: Vec<u8> = (0..3_000_000_u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    fs::write(at("large"), large).expect("a file");
    symlink("hello", at("link")).expect("a link");
    tree
}

#[test]
fn content_is_that_of_the_file() {
    let tree = tree();
    let client = Client::new(tree.path(), Access::ReadOnly);
    for name in ["hello", "empty", "large"] {
        let expected = fs::read(tree.path().join(name)).expect("readable");
        client.walk(0, 1, &[name]).expect("there");
        let (qid, iounit) = client.lopen(1, RDONLY).expect("opens");
        assert_eq!((qid.kind, iounit), (0, (1 << 20) - 24));
        let mut content = Vec::new();
        loop {
            let more = client
                .read(1, content.len() as u64, 700_001)
                .expect("readable");
            if more.is_empty() {
                break;
            }
            content.extend(more);
        }
        assert!(content == expected, "{name} differs");
        client.clunk(1).expect("open");
    }
    assert_eq!(
        client.content(1, &["a", "b", "c", "deep"]),
        Ok(b"deep".to_vec())
    );
}

#[test]
fn reading_behind_the_end_gives_nothing_and_absurd_offsets_an_error() {
    let tree = tree();
    let client = Client::new(tree.path(), Access::ReadWrite);
    client.walk(0, 1, &["hello"]).expect("there");
    client.lopen(1, RDWR).expect("opens");
    assert_eq!(client.read(1, 11, 100), Ok(vec![]));
    assert_eq!(client.read(1, i64::MAX as u64 - 100, 100), Ok(vec![]));
    for offset in [1 << 63, u64::MAX] {
        assert_eq!(client.read(1, offset, 1), Err(Errno::INVAL));
        assert_eq!(client.write(1, offset, b"x"), Err(Errno::INVAL));
    }
    assert!(client.write(1, i64::MAX as u64, b"xyz").is_err());
    assert_eq!(client.read(1, 0, u32::MAX), Ok(b"hello, ring".to_vec()));
    assert_eq!(client.read(1, 0, 0), Ok(vec![]));
}

#[test]
fn attributes_are_those_of_the_file() {
    let tree = tree();
    let path = tree.path().join("hello");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o4751)).expect("a mode");
    fs::hard_link(&path, tree.path().join("other")).expect("a second name");
    let client = Client::new(tree.path(), Access::ReadOnly);
    for name in ["hello", "large", "a", "link"] {
        let expected = fs::symlink_metadata(tree.path().join(name)).expect("there");
        let walked = client.walk(0, 1, &[name]).expect("there")[0];
        let mut body = client.getattr(1).expect("attributes");
        let valid = body.u64();
        assert_eq!(valid & 0x7ff, 0x7ff, "all basic fields are valid");
        let qid = body.qid();
        assert_eq!(qid, walked);
        assert_eq!(qid.path, expected.ino());
        assert_eq!(
            qid.kind,
            match name {
                "a" => 0x80,
                "link" => 2,
                _ => 0,
            }
        );
        assert_eq!(body.u32(), expected.mode());
        assert_eq!(body.u32(), expected.uid());
        assert_eq!(body.u32(), expected.gid());
        assert_eq!(body.u64(), expected.nlink());
        assert_eq!(body.u64(), expected.rdev());
        assert_eq!(body.u64(), expected.size());
        assert_eq!(body.u64(), expected.blksize());
        assert_eq!(body.u64(), expected.blocks());
        for (seconds, nanoseconds) in [
            (expected.atime(), expected.atime_nsec()),
            (expected.mtime(), expected.mtime_nsec()),
            (expected.ctime(), expected.ctime_nsec()),
        ] {
            assert_eq!(body.u64().cast_signed(), seconds);
            assert_eq!(body.u64().cast_signed(), nanoseconds);
        }
        let created = expected
            .created()
            .ok()
            .and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
        let btime = (body.u64(), body.u64());
        match created {
            Some(time) => {
                assert_eq!(valid, 0xfff);
                assert_eq!(btime, (time.as_secs(), u64::from(time.subsec_nanos())));
            }
            None => assert_eq!((valid, btime), (0x7ff, (0, 0))),
        }
        assert_eq!((body.u64(), body.u64()), (0, 0), "reserved");
        body.end();
        client.clunk(1).expect("walked to");
    }
}

#[test]
fn a_changed_file_gets_another_version() {
    let tree = tree();
    let client = Client::new(tree.path(), Access::ReadWrite);
    let before = client.walk(0, 1, &["hello"]).expect("there")[0];
    fs::write(tree.path().join("hello"), b"hello, another").expect("writable");
    let after = client.walk(0, 2, &["hello"]).expect("there")[0];
    assert_eq!(before.path, after.path);
    assert_ne!(before.version, after.version);
}

#[test]
fn statfs_is_that_of_the_file_system() {
    let tree = tree();
    let client = Client::new(tree.path(), Access::ReadOnly);
    let expected = rustix::fs::statvfs(tree.path()).expect("a file system");
    let mut body = client.statfs(0).expect("numbers");
    assert_ne!(body.u32(), 0, "a magic number");
    assert_eq!(u64::from(body.u32()), expected.f_bsize);
    assert_eq!(body.u64(), expected.f_blocks);
    let (_free, _available) = (body.u64(), body.u64());
    assert_eq!(body.u64(), expected.f_files);
    let _free = body.u64();
    assert_eq!(body.u64(), expected.f_fsid);
    assert_eq!(u64::from(body.u32()), expected.f_namemax);
    body.end();
}

#[test]
fn a_link_can_be_read_but_not_opened() {
    let tree = tree();
    let client = Client::new(tree.path(), Access::ReadOnly);
    client.walk(0, 1, &["link"]).expect("there");
    assert_eq!(client.readlink(1), Ok(b"hello".to_vec()));
    assert_eq!(client.lopen(1, RDONLY), Err(Errno::LOOP));
    assert_eq!(client.readlink(0), Err(Errno::INVAL), "not a link");
    assert_eq!(client.readlink(9), Err(Errno::BADF));
}

#[test]
fn what_is_written_is_in_the_file() {
    let tree = tree();
    let client = Client::new(tree.path(), Access::ReadWrite);
    client.walk(0, 1, &["a"]).expect("there");
    let qid = client.lcreate(1, "new", RDWR, 0o666).expect("made");
    let path = tree.path().join("a/new");
    assert_eq!(qid.path, fs::metadata(&path).expect("made").ino());
    assert_eq!(client.write(1, 0, b"hello"), Ok(5));
    assert_eq!(client.write(1, 10, b"world"), Ok(5));
    assert_eq!(client.read(1, 0, 100), Ok(b"hello\0\0\0\0\0world".to_vec()));
    client.fsync(1, 0).expect("fsync");
    client.fsync(1, 1).expect("fdatasync");
    assert_eq!(fs::read(&path).expect("there"), b"hello\0\0\0\0\0world");
    client.clunk(1).expect("open");

    client.walk(0, 1, &["a", "new"]).expect("there");
    client.lopen(1, WRONLY | TRUNC).expect("opens");
    assert_eq!(fs::metadata(&path).expect("there").len(), 0);
    assert_eq!(client.read(1, 0, 1), Err(Errno::BADF), "write-only");
    client.clunk(1).expect("open");

    client.walk(0, 1, &["hello"]).expect("there");
    client.lopen(1, WRONLY | APPEND).expect("opens");
    assert_eq!(client.write(1, 0, b"!"), Ok(1));
    assert_eq!(
        fs::read(tree.path().join("hello")).expect("there"),
        b"hello, ring!"
    );
}

#[test]
fn creating_obeys_the_exclusive_flag_and_drops_special_bits() {
    let tree = tree();
    let client = Client::new(tree.path(), Access::ReadWrite);
    client.walk(0, 1, &[]).expect("a clone");
    assert_eq!(
        client.lcreate(1, "hello", WRONLY | EXCL, 0o600),
        Err(Errno::EXIST)
    );
    assert_eq!(client.lcreate(1, "a", WRONLY, 0o600), Err(Errno::ISDIR));
    client
        .lcreate(1, "hello", RDWR, 0o600)
        .expect("opens what is there");
    assert_eq!(client.read(1, 0, 100), Ok(b"hello, ring".to_vec()));
    assert_eq!(
        client.lcreate(1, "x", RDWR, 0o600),
        Err(Errno::INVAL),
        "the fid is a file now"
    );
    client.walk(0, 2, &[]).expect("a clone");
    client
        .lcreate(2, "hello", RDWR | TRUNC, 0o600)
        .expect("cut");
    assert_eq!(client.read(1, 0, 100), Ok(vec![]));

    client.walk(0, 3, &[]).expect("a clone");
    client
        .lcreate(3, "mode", WRONLY | EXCL, 0o107_700)
        .expect("made");
    let mode = fs::metadata(tree.path().join("mode")).expect("made").mode();
    assert_eq!(mode & 0o7777, 0o700, "no set-uid, set-gid or sticky bit");
    client.mkdir(0, "sticky", 0o7700).expect("made");
    let mode = fs::metadata(tree.path().join("sticky"))
        .expect("made")
        .mode();
    assert_eq!(mode & 0o7777, 0o700);
}

#[test]
fn opening_twice_and_using_what_is_not_open_are_errors() {
    let tree = tree();
    let client = Client::new(tree.path(), Access::ReadWrite);
    client.walk(0, 1, &["hello"]).expect("there");
    assert_eq!(client.read(1, 0, 1), Err(Errno::BADF));
    assert_eq!(client.write(1, 0, b"x"), Err(Errno::BADF));
    assert_eq!(client.fsync(1, 0), Err(Errno::BADF));
    assert_eq!(client.readdir(1, 0, 100), Err(Errno::BADF));
    client.lopen(1, RDONLY).expect("opens");
    assert_eq!(client.lopen(1, RDONLY), Err(Errno::INVAL));
    assert_eq!(client.write(1, 0, b"x"), Err(Errno::BADF), "read-only");
    assert_eq!(client.readdir(1, 0, 100), Err(Errno::NOTDIR));
    assert_eq!(client.walk(1, 1, &[]), Err(Errno::INVAL), "open");

    client.walk(1, 2, &[]).expect("an open fid can be cloned");
    assert_eq!(client.read(2, 0, 1), Err(Errno::BADF), "but not open");
    assert_eq!(client.lopen(2, 3), Err(Errno::INVAL), "no such mode");
    assert_eq!(client.lopen(2, DIRECTORY), Err(Errno::NOTDIR));

    client.walk(0, 3, &[]).expect("a clone");
    for flags in [WRONLY, RDWR, TRUNC] {
        assert_eq!(client.lopen(3, flags), Err(Errno::ISDIR));
    }
    client.lopen(3, RDONLY | DIRECTORY).expect("a directory");
    assert_eq!(client.read(3, 0, 1), Err(Errno::ISDIR));
    client.fsync(3, 0).expect("a directory can be synced");
}

#[test]
fn an_unlinked_file_stays_readable_through_its_fid() {
    let tree = tree();
    let client = Client::new(tree.path(), Access::ReadWrite);
    client.walk(0, 1, &["hello"]).expect("there");
    client.walk(0, 2, &["hello"]).expect("there");
    client.lopen(1, RDONLY).expect("opens");
    client.unlinkat(0, "hello", 0).expect("there");
    assert_eq!(client.read(1, 0, 100), Ok(b"hello, ring".to_vec()));
    client.lopen(2, RDONLY).expect("a fid is not a path");
    let mut body = client.getattr(2).expect("attributes");
    body.take(8 + 13 + 12);
    assert_eq!(body.u64(), 0, "no names left");
}

#[test]
fn fifos_sockets_and_devices_are_seen_but_never_opened() {
    let tree = tree();
    let path = tree.path().join("fifo");
    rustix::fs::mkfifoat(rustix::fs::CWD, &path, 0o666.into()).expect("a FIFO");
    let _socket =
        std::os::unix::net::UnixListener::bind(tree.path().join("socket")).expect("a socket");
    assert!(
        fs::symlink_metadata(&path)
            .expect("there")
            .file_type()
            .is_fifo()
    );
    let client = Client::new(tree.path(), Access::ReadWrite);
    // Elsewhere, so that a server that blocks fails the test and not the run.
    let (done, finished) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for name in ["fifo", "socket"] {
            for flags in [RDONLY, WRONLY, RDWR] {
                client.walk(0, 1, &[name]).expect("there");
                assert_eq!(client.lopen(1, flags), Err(Errno::NXIO));
                client.clunk(1).expect("walked to");
                client.walk(0, 1, &[]).expect("a clone");
                assert_eq!(client.lcreate(1, name, flags, 0o600), Err(Errno::NXIO));
                client.clunk(1).expect("a clone");
            }
        }
        done.send(()).expect("someone waits");
    });
    finished
        .recv_timeout(std::time::Duration::from_secs(60))
        .expect("opening a FIFO does not block");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Writes and reads at any offsets do to the file what they do to a vector.
    #[test]
    fn a_file_behaves_as_a_vector_of_bytes(
        steps in prop::collection::vec(
            (0_u64..5000, prop::collection::vec(any::<u8>(), 0..600), 0_u64..6000, 0_u32..3000),
            1..30,
        ),
    ) {
        let tree = tempfile::tempdir().expect("a temporary directory");
        let client = Client::new(tree.path(), Access::ReadWrite);
        client.walk(0, 1, &[]).expect("a clone");
        client.lcreate(1, "file", RDWR | EXCL, 0o600).expect("made");
        let mut model: Vec<u8> = Vec::new();
        for (at, data, from, count) in steps {
            let start = at as usize;
            let end = start + data.len();
            prop_assert_eq!(client.write(1, at, &data), Ok(data.len() as u32));
            if !data.is_empty() {
                model.resize(model.len().max(end), 0);
                model[start..end].copy_from_slice(&data);
            }
            let from_index = (from as usize).min(model.len());
            let to_index = (from_index + count as usize).min(model.len());
            prop_assert_eq!(client.read(1, from, count), Ok(model[from_index..to_index].to_vec()));
        }
        prop_assert_eq!(fs::read(tree.path().join("file")).expect("there"), model);
    }
}
