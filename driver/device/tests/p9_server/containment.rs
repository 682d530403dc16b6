//! Ways out, all of them tried: names, links, parents, and swaps in mid-walk.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use virtscope_device::p9::Access;

use crate::client::{Client, EXCL, Errno, RDONLY, RDWR, REMOVEDIR, TRUNC, WRONLY};

/// A directory to serve, and one beside it that must stay untouched.
struct House {
    _all: tempfile::TempDir,
    inside: PathBuf,
    outside: PathBuf,
}

impl House {
    fn new() -> Self {
        let all = tempfile::tempdir().expect("a temporary directory");
        let (inside, outside) = (all.path().join("inside"), all.path().join("outside"));
        fs::create_dir_all(inside.join("sub/dir")).expect("directories");
        fs::create_dir(&outside).expect("a directory");
        fs::write(inside.join("file"), b"inside").expect("a file");
        fs::write(outside.join("file"), b"secret").expect("a file");
        Self {
            _all: all,
            inside,
            outside,
        }
    }

    fn client(&self) -> Client {
        Client::new(&self.inside, Access::ReadWrite)
    }

    /// Nothing out there was made, removed or changed.
    fn assert_untouched(&self) {
        let names: Vec<_> = fs::read_dir(&self.outside)
            .expect("still there")
            .map(|entry| entry.expect("an entry").file_name())
            .collect();
        assert_eq!(names, ["file"]);
        assert_eq!(
            fs::read(self.outside.join("file")).expect("still there"),
            b"secret"
        );
    }
}

#[test]
fn names_that_are_paths_are_refused_everywhere() {
    let house = House::new();
    let absolute = house.outside.join("file");
    let client = house.client();
    client.walk(0, 1, &[]).expect("a clone");
    let bad = [
        "",
        ".",
        "a/../..",
        "../outside",
        "../outside/file",
        "sub/dir",
        "sub/",
        "/",
        "/etc/passwd",
        absolute.to_str().expect("UTF-8"),
        "a\0b",
        "\0",
    ];
    for name in bad {
        assert_eq!(client.walk(0, 2, &[name]), Err(Errno::INVAL), "{name:?}");
        let after = client.walk(0, 2, &["sub", name]);
        assert_eq!(after, Err(Errno::INVAL), "{name:?}");
    }
    for name in bad.into_iter().chain([".."]) {
        assert_eq!(
            client.lcreate(1, name, RDWR, 0o600),
            Err(Errno::INVAL),
            "{name:?}"
        );
        assert_eq!(client.mkdir(0, name, 0o700), Err(Errno::INVAL), "{name:?}");
        for flags in [0, REMOVEDIR] {
            let unlinked = client.unlinkat(0, name, flags);
            assert_eq!(unlinked, Err(Errno::INVAL), "{name:?}");
        }
    }
    house.assert_untouched();
}

#[test]
fn names_too_long_for_the_file_system_are_its_error() {
    let house = House::new();
    let client = house.client();
    for len in [256, 300, 4096, 65_535] {
        let name = "n".repeat(len);
        client.walk(0, 1, &[]).expect("a clone");
        assert_eq!(client.walk(0, 2, &[&name]), Err(Errno::NAMETOOLONG));
        assert_eq!(
            client.lcreate(1, &name, RDWR, 0o600),
            Err(Errno::NAMETOOLONG)
        );
        assert_eq!(client.mkdir(0, &name, 0o700), Err(Errno::NAMETOOLONG));
        assert_eq!(client.unlinkat(0, &name, 0), Err(Errno::NAMETOOLONG));
        client.clunk(1).expect("a clone");
    }
}

#[test]
fn names_are_bytes_and_not_text() {
    let house = House::new();
    let client = house.client();
    use std::os::unix::ffi::OsStrExt;
    let name = b"\xff\xfe name\n";
    let path = house.inside.join(std::ffi::OsStr::from_bytes(name));
    fs::write(path, b"odd").expect("a file");
    client.walk_bytes(0, 1, &[name]).expect("there");
    client.lopen(1, RDONLY).expect("opens");
    assert_eq!(client.read(1, 0, 10), Ok(b"odd".to_vec()));
}

#[test]
fn there_is_nothing_above_the_root() {
    let house = House::new();
    let client = house.client();
    let root = client.attach(9).expect("the root");
    for names in [
        &[".."][..],
        &["..", ".."],
        &["sub", "..", ".."],
        &["sub", "dir", "..", "..", "..", "..", ".."],
    ] {
        let qids = client.walk(0, 1, names).expect("up is always possible");
        assert_eq!(qids.last(), Some(&root), "{names:?}");
        assert_eq!(client.walk(1, 2, &["outside"]), Err(Errno::NOENT));
        client.clunk(1).expect("walked to");
    }
    assert_eq!(client.content(1, &["..", "file"]), Ok(b"inside".to_vec()));
}

#[test]
fn links_are_never_followed() {
    let house = House::new();
    let outside = house.outside.to_str().expect("UTF-8");
    for (name, target) in [
        ("etc", "/etc"),
        ("relative", "../outside"),
        ("absolute", outside),
        ("inner", "sub"),
        ("up", ".."),
        ("dangling", "../outside/new"),
        ("to-file", "../outside/file"),
        ("self", "self"),
    ] {
        symlink(target, house.inside.join(name)).expect("a link");
        let client = house.client();
        let qids = client.walk(0, 1, &[name]).expect("the link itself");
        assert_eq!(qids[0].kind, 2);
        assert_eq!(client.readlink(1), Ok(target.as_bytes().to_vec()));
        assert_eq!(client.walk(1, 2, &["file"]), Err(Errno::NOTDIR));
        assert_eq!(client.walk(1, 2, &[".."]), Err(Errno::NOTDIR));
        assert_eq!(client.walk(0, 2, &[name, "file"]).map(|q| q.len()), Ok(1));
        assert_eq!(client.mkdir(1, "new", 0o700), Err(Errno::NOTDIR));
        assert_eq!(client.unlinkat(1, "file", 0), Err(Errno::NOTDIR));
        assert_eq!(client.lcreate(1, "new", RDWR, 0o600), Err(Errno::NOTDIR));
        for flags in [RDONLY, WRONLY, RDWR, WRONLY | TRUNC] {
            assert_eq!(client.lopen(1, flags), Err(Errno::LOOP), "{name}");
        }
        // Creating through it, over it, and where it points.
        client.walk(0, 3, &[]).expect("a clone");
        assert_eq!(
            client.lcreate(3, name, RDWR | EXCL, 0o600),
            Err(Errno::EXIST)
        );
        for flags in [RDONLY, RDWR, WRONLY | TRUNC] {
            assert_eq!(client.lcreate(3, name, flags, 0o600), Err(Errno::LOOP));
        }
        assert_eq!(client.mkdir(0, name, 0o700), Err(Errno::EXIST));
        // Removing it removes the link.
        client.unlinkat(0, name, 0).expect("a link is a name");
        assert!(fs::symlink_metadata(house.inside.join(name)).is_err());
        house.assert_untouched();
    }
}

#[test]
fn the_way_up_is_the_way_we_came() {
    let house = House::new();
    let client = house.client();
    let came = client.walk(0, 1, &["sub", "dir"]).expect("there");
    let moved = house.outside.join("dir");
    fs::rename(house.inside.join("sub/dir"), &moved).expect("moved out");
    // For the kernel its parent is now the outside.
    assert!(moved.join("../file").exists());
    let up = client.walk(1, 2, &[".."]).expect("up is always possible");
    assert_eq!(up[0].path, came[0].path);
    assert_eq!(client.walk(1, 3, &["..", "file"]).map(|q| q.len()), Ok(1));
    client.lopen(1, RDONLY).expect("still held");
    let listed = client.list(1, 1000).expect("a listing");
    let up = listed.iter().find(|entry| entry.name == "..");
    assert_eq!(up.expect("listed").qid.path, came[0].path);
    fs::remove_dir(moved).expect("empty");
    house.assert_untouched();
}

/// Runs `attempt` some thousand times, and on until it has `seen` both sides of
/// the race, while another thread keeps exchanging two names.
fn while_swapping(one: &Path, other: &Path, mut attempt: impl FnMut(&mut Seen)) {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).expect("both exist");
            }
        });
        // Also when an attempt fails, or the scope would wait for ever.
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let begin = Instant::now();
            let mut seen = Seen::default();
            let mut attempts = 0;
            while attempts < 4000 || !(seen.file && seen.link) {
                assert!(
                    begin.elapsed() < Duration::from_secs(60),
                    "no race: {seen:?}"
                );
                attempt(&mut seen);
                attempts += 1;
            }
        }));
        stop.store(true, Ordering::Relaxed);
        if let Err(panic) = result {
            std::panic::resume_unwind(panic);
        }
    });
}

/// Which side of a race was met.
#[derive(Default, Debug)]
struct Seen {
    file: bool,
    link: bool,
}

#[test]
fn a_link_swapped_in_during_a_walk_is_not_followed() {
    let house = House::new();
    let (door, link) = (house.inside.join("door"), house.inside.join("link"));
    fs::create_dir(&door).expect("a directory");
    fs::write(door.join("file"), b"inside").expect("a file");
    symlink("../outside", &link).expect("a link");
    let client = house.client();
    while_swapping(&door, &link, |seen| {
        match client.content(1, &["door", "file"]) {
            Ok(content) => {
                assert_eq!(content, b"inside");
                seen.file = true;
            }
            // "door" was the link just then, and nothing is in a link.
            Err(Errno::NOENT) => seen.link = true,
            Err(other) => panic!("{other}"),
        }
        let made = client
            .walk(0, 2, &["door"])
            .and_then(|_| client.lcreate(2, "made", RDWR, 0o600));
        assert!(matches!(made, Ok(_) | Err(Errno::NOTDIR)), "{made:?}");
        client.clunk(2).expect("walked to");
    });
    house.assert_untouched();
}

#[test]
fn a_link_swapped_in_over_a_file_is_neither_opened_nor_written_through() {
    let house = House::new();
    let (file, link) = (house.inside.join("target"), house.inside.join("link"));
    fs::write(&file, b"inside").expect("a file");
    symlink("../outside/file", &link).expect("a link");
    let client = house.client();
    while_swapping(&file, &link, |seen| {
        client.walk(0, 1, &[]).expect("a clone");
        match client.lcreate(1, "target", RDWR | TRUNC, 0o600) {
            Ok(_) => {
                assert_eq!(client.write(1, 0, b"changed"), Ok(7));
                seen.file = true;
            }
            Err(Errno::LOOP) => seen.link = true,
            Err(other) => panic!("{other}"),
        }
        client.clunk(1).expect("a clone");
        client.walk(0, 1, &["target"]).expect("one or the other");
        match client.lopen(1, WRONLY | TRUNC) {
            Ok(_) | Err(Errno::LOOP) => {}
            Err(other) => panic!("{other}"),
        }
        client.clunk(1).expect("walked to");
    });
    house.assert_untouched();
}
