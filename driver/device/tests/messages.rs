//! Every message of 9P2000.L on a real ring, and what it does to a real directory.

mod mounted;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;

use mounted::{Mounted, O_RDONLY, PATIENCE, config, directory};
use rstest::rstest;
use rustix::fs::XattrFlags;
use rustix::io::Errno;
use virtscope_device::p9::Access;
use virtscope_driver::instrument::NoInstrument;
use virtscope_driver::p9::client::{Client, ClientError};
use virtscope_driver::p9::interrupt::Interrupt;
use virtscope_driver::p9::message::{
    Fid, LOCK_BLOCK, Lock, LockKind, LockStatus, SetAttributes, SetTime, Type,
};
use virtscope_record::FeatureBits;

const O_RDWR: u32 = 2;
const S_IFIFO: u32 = 0o010_000;
const S_IFBLK: u32 = 0o060_000;

type Mount = Client<NoInstrument>;

fn writable(root: &Path, features: FeatureBits) -> (Mounted<NoInstrument>, Mount) {
    let mut config = config(Access::ReadWrite);
    config.features = features;
    Mounted::client(root, config)
}

fn walked(client: &Mount, name: &str) -> Fid {
    client.walk(client.root(), &[name.as_bytes()]).unwrap().0
}

fn refused<T: std::fmt::Debug>(result: Result<T, ClientError>) -> Errno {
    match result {
        Err(ClientError::Server(errno)) => errno,
        other => panic!("{other:?}"),
    }
}

/// Whether the directory's file system has attributes for users (xattr(7)).
fn has_attributes(path: &Path) -> bool {
    let set = rustix::fs::setxattr(path, "user.probe", b"1", XattrFlags::empty());
    match set {
        Ok(()) => rustix::fs::removexattr(path, "user.probe").is_ok(),
        Err(errno) => {
            assert_eq!(errno, Errno::OPNOTSUPP);
            false
        }
    }
}

/// One tour through all requests: what was sent is counted, and none is left out.
#[rstest]
#[case::split(FeatureBits::EVENT_IDX)]
#[case::split_indirect(FeatureBits::INDIRECT_DESC.union(FeatureBits::IN_ORDER))]
#[case::packed(FeatureBits::RING_PACKED)]
#[case::packed_indirect(FeatureBits::RING_PACKED.union(FeatureBits::INDIRECT_DESC))]
#[timeout(PATIENCE)]
fn no_message_is_left_out(#[case] features: FeatureBits) {
    let dir = directory();
    let (_mounted, client) = writable(dir.path(), features);
    let root = client.root();

    links_and_names(&client, dir.path());
    attributes(&client, dir.path());
    extended_attributes(&client, dir.path());
    locks(&client);
    let file = walked(&client, "file");
    client.open(file, O_RDWR).unwrap();
    client.fsync(file, false).unwrap();
    client.fsync(file, true).unwrap();
    assert_eq!(client.write(file, 0, b"CONTENT").unwrap(), 7);
    assert_eq!(client.read(file, 0, 100).unwrap(), b"CONTENT");
    client.clunk(file).unwrap();
    let listed = walked(&client, "sub");
    client.open(listed, O_RDONLY).unwrap();
    assert_eq!(client.readdir(listed, 0, 4096).unwrap().len(), 2);
    client.clunk(listed).unwrap();
    let made = client.walk(root, &[]).unwrap().0;
    client.create(made, b"made", O_RDWR, 0o600).unwrap();
    client.clunk(made).unwrap();

    // Nobody is asked who they are.
    assert_eq!(refused(client.auth("user", 0)), Errno::OPNOTSUPP);
    let user = client.attach(None, "user", 1000).unwrap();
    assert!(client.getattr(user).unwrap().qid.is_directory());
    client.clunk(user).unwrap();

    // A reply that is there already needs no flush, one that is not gets it.
    let again = walked(&client, "file");
    client.open(again, O_RDONLY).unwrap();
    let interrupt = Interrupt::new();
    interrupt.raise();
    let flushes = |client: &Mount| count_of(client, Type::Flush);
    while flushes(&client) == 0 {
        match client.read_or(again, 0, 7, &interrupt) {
            Ok(data) => assert_eq!(data, b"CONTENT"),
            Err(error) => assert_eq!(error.errno(), Errno::INTR),
        }
    }
    client.clunk(again).unwrap();

    let sent: BTreeMap<Type, u64> = client.issued().collect();
    assert_eq!(sent.len(), 28);
    for (kind, count) in sent {
        assert!(count > 0, "no {kind:?}");
    }
    client.unmount().unwrap();
}

fn count_of(client: &Mount, wanted: Type) -> u64 {
    client
        .issued()
        .find_map(|(kind, count)| (kind == wanted).then_some(count))
        .unwrap()
}

fn links_and_names(client: &Mount, on_disk: &Path) {
    let root = client.root();
    client.mkdir(root, b"sub", 0o755).unwrap();
    let sub = walked(client, "sub");

    client.symlink(root, b"link", b"/no/where").unwrap();
    let target = fs::read_link(on_disk.join("link")).unwrap();
    assert_eq!(target, Path::new("/no/where"));
    let link = walked(client, "link");
    assert_eq!(client.readlink(link).unwrap(), b"/no/where");

    client
        .mknod(root, b"fifo", S_IFIFO | 0o600, (0, 0))
        .unwrap();
    let fifo = fs::symlink_metadata(on_disk.join("fifo")).unwrap();
    assert!(fifo.file_type().is_fifo());
    // A device node would be one of the host's devices.
    let node = client.mknod(root, b"disk", S_IFBLK | 0o600, (8, 0));
    assert_eq!(refused(node), Errno::PERM);
    assert!(!on_disk.join("disk").exists());

    let file = walked(client, "file");
    client.link(sub, file, b"second").unwrap();
    client.link(sub, link, b"second link").unwrap();
    let inode = |name| fs::symlink_metadata(on_disk.join(name)).unwrap().ino();
    assert_eq!(inode("file"), inode("sub/second"));
    assert_eq!(inode("link"), inode("sub/second link"));
    assert_eq!(refused(client.link(root, sub, b"x")), Errno::PERM);

    // The fid goes with the file, the name by which it is removed included.
    client.rename(link, sub, b"moved").unwrap();
    assert!(!on_disk.join("link").is_symlink());
    client.rename(link, root, b"back").unwrap();
    assert_eq!(client.readlink(link).unwrap(), b"/no/where");
    client.remove(link).unwrap();
    assert!(!on_disk.join("back").is_symlink());
    assert_eq!(refused(client.readlink(link)), Errno::BADF);

    client.renameat((root, b"fifo"), (sub, b"pipe")).unwrap();
    assert!(on_disk.join("sub/pipe").exists());
    client.unlink(sub, b"pipe", 0).unwrap();
    client.unlink(sub, b"second link", 0).unwrap();
    client.unlink(sub, b"second", 0).unwrap();
    for fid in [sub, file] {
        client.clunk(fid).unwrap();
    }
}

fn attributes(client: &Mount, on_disk: &Path) {
    let file = walked(client, "file");
    let path = on_disk.join("file");
    let set = |attributes| client.setattr(file, attributes);
    let none = SetAttributes::default();
    set(SetAttributes {
        mode: Some(0o6640),
        size: Some(3),
        mtime: Some(SetTime::To(1000, 5)),
        ..none
    })
    .unwrap();
    let now = fs::metadata(&path).unwrap();
    assert_eq!(now.permissions().mode() & 0o7777, 0o640, "no set-uid");
    assert_eq!((now.len(), now.mtime(), now.mtime_nsec()), (3, 1000, 5));
    let atime = now.atime();
    assert!(atime > 1000, "left as it was");
    set(SetAttributes {
        atime: Some(SetTime::To(2000, 0)),
        mtime: Some(SetTime::Now),
        uid: Some(now.uid()),
        gid: Some(now.gid()),
        size: Some(7),
        ..none
    })
    .unwrap();
    let now = fs::metadata(&path).unwrap();
    assert_eq!((now.atime(), now.len()), (2000, 7));
    assert!(now.mtime() > 1000);
    set(SetAttributes {
        ctime: true,
        ..none
    })
    .unwrap();
    // Nobody is given a file.
    let given = set(SetAttributes {
        uid: Some(now.uid() + 1),
        mode: Some(0o600),
        ..none
    });
    assert_eq!(refused(given), Errno::PERM);
    let now = fs::metadata(&path).unwrap();
    assert_eq!(
        now.permissions().mode() & 0o777,
        0o640,
        "nothing else either"
    );

    let system = client.statfs(file).unwrap();
    let expected = rustix::fs::statvfs(&path).unwrap();
    assert_eq!(u64::from(system.namelen), expected.f_namemax);
    assert_eq!(system.blocks, expected.f_blocks);
    client.clunk(file).unwrap();
}

fn extended_attributes(client: &Mount, on_disk: &Path) {
    let file = walked(client, "file");
    let path = on_disk.join("file");
    let set = |name: &[u8], value: &[u8], flags: u32| {
        let (fid, _) = client.walk(file, &[]).unwrap();
        client.xattr_create(fid, name, value.len() as u64, flags)?;
        if !value.is_empty() {
            assert_eq!(client.write(fid, 0, value)?, value.len() as u32);
        }
        client.clunk(fid)
    };
    let get = |name: &[u8]| {
        let (fid, size) = client.xattr_walk(file, name)?;
        let value = client.read(fid, 0, 1000)?;
        assert_eq!(value.len() as u64, size);
        assert_eq!(client.read(fid, size, 1000)?, b"");
        client.clunk(fid)?;
        Ok(value)
    };
    let foreign = client.xattr_create(file, b"security.capability", 4, 0);
    assert_eq!(refused(foreign), Errno::OPNOTSUPP);
    assert_eq!(refused(get(b"trusted.x")), Errno::OPNOTSUPP);
    if !has_attributes(on_disk) {
        assert_eq!(refused(set(b"user.a", b"1", 0)), Errno::OPNOTSUPP);
        assert_eq!(refused(get(b"user.a")), Errno::OPNOTSUPP);
        client.clunk(file).unwrap();
        return;
    }
    set(b"user.a", b"value", 0).unwrap();
    let mut value = [0; 100];
    let len = rustix::fs::getxattr(&path, "user.a", &mut value).unwrap();
    assert_eq!(&value[..len], b"value");
    assert_eq!(get(b"user.a").unwrap(), b"value");
    set(b"user.b", b"", 0).unwrap();
    let names: Vec<u8> = get(b"").unwrap();
    let mut names: Vec<&[u8]> = names.split_inclusive(|byte| *byte == 0).collect();
    names.sort_unstable();
    assert_eq!(names, [b"user.a\0", b"user.b\0"]);
    // setxattr(2)'s flags.
    let (create, replace) = (XattrFlags::CREATE.bits(), XattrFlags::REPLACE.bits());
    assert_eq!(refused(set(b"user.a", b"x", create)), Errno::EXIST);
    assert_eq!(refused(set(b"user.c", b"x", replace)), Errno::NODATA);
    // As Linux asks for removexattr(2).
    set(b"user.a", b"", replace).unwrap();
    assert_eq!(refused(get(b"user.a")), Errno::NODATA);
    // Less written than was announced, or more.
    let (fid, _) = client.walk(file, &[]).unwrap();
    client.xattr_create(fid, b"user.d", 4, 0).unwrap();
    assert_eq!(client.write(fid, 0, b"abc").unwrap(), 3);
    assert_eq!(refused(client.write(fid, 3, b"de")), Errno::NOSPC);
    assert_eq!(refused(client.clunk(fid)), Errno::INVAL);
    assert_eq!(refused(get(b"user.d")), Errno::NODATA);
    client.clunk(file).unwrap();
}

fn locks(client: &Mount) {
    let open = || {
        let fid = walked(client, "file");
        client.open(fid, O_RDWR).unwrap();
        fid
    };
    let (one, two) = (open(), open());
    let lock = |kind, proc_id, start, length| Lock {
        kind,
        start,
        length,
        proc_id,
        client_id: "here",
    };
    use LockKind::{Read, Unlock, Write};
    let take = |fid, lock| client.lock(fid, lock, LOCK_BLOCK).unwrap();
    assert_eq!(take(one, lock(Write, 1, 10, 5)), LockStatus::Success);
    assert_eq!(take(two, lock(Read, 2, 0, 10)), LockStatus::Success);
    assert_eq!(take(two, lock(Read, 2, 14, 0)), LockStatus::Blocked);
    let held = client.getlock(two, lock(Read, 2, 0, 0)).unwrap();
    assert_eq!((held.kind, held.start, held.length), (Write, 10, 5));
    assert_eq!((held.proc_id, &held.client_id[..]), (1, &b"here"[..]));
    let free = client.getlock(one, lock(Write, 1, 11, 2)).unwrap();
    assert_eq!((free.kind, free.start, free.length), (Unlock, 11, 2));
    assert_eq!(take(one, lock(Unlock, 1, 12, 1)), LockStatus::Success);
    assert_eq!(take(two, lock(Write, 2, 12, 1)), LockStatus::Success);
    // With the fid go its locks.
    client.clunk(one).unwrap();
    assert_eq!(take(two, lock(Write, 2, 0, 0)), LockStatus::Success);
    let closed = walked(client, "file");
    let refusal = client.lock(closed, lock(Read, 1, 0, 1), 0);
    assert_eq!(refused(refusal), Errno::BADF);
    for fid in [two, closed] {
        client.clunk(fid).unwrap();
    }
}

/// A server that only reads changes nothing, whatever it is asked.
#[rstest]
#[timeout(PATIENCE)]
fn a_server_that_only_reads_refuses_all_changes() {
    let dir = directory();
    let (_mounted, client) = Mounted::client(dir.path(), config(Access::ReadOnly));
    let root = client.root();
    let file = walked(&client, "file");
    let set = client.setattr(file, SetAttributes::default());
    for errno in [
        refused(set),
        refused(client.symlink(root, b"x", b"y")),
        refused(client.mknod(root, b"x", S_IFIFO, (0, 0))),
        refused(client.link(root, file, b"x")),
        refused(client.rename(file, root, b"x")),
        refused(client.renameat((root, b"file"), (root, b"x"))),
        refused(client.xattr_create(file, b"user.x", 1, 0)),
        refused(client.remove(file)),
    ] {
        assert_eq!(errno, Errno::ROFS);
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}
