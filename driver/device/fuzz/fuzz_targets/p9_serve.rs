//! Any conversation gets well-formed answers, or none where a message has no
//! header, and never reaches out of the served directory.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use virtscope_device::p9::{Access, FileServer};

/// Bytes an answer may have.
const ROOM: usize = 8192;

static TREE: OnceLock<tempfile::TempDir> = OnceLock::new();

fn tree() -> &'static std::path::Path {
    TREE.get_or_init(|| {
        let dir = tempfile::tempdir().expect("a directory for the fuzzer");
        std::fs::create_dir(dir.path().join("d")).expect("a directory in it");
        std::fs::write(dir.path().join("d/f"), b"content").expect("a file in it");
        std::os::unix::fs::symlink("/etc", dir.path().join("l")).expect("a link in it");
        dir
    })
    .path()
}

fuzz_target!(|bytes: &[u8]| {
    let server = FileServer::new(tree(), Access::ReadOnly).expect("the tree can be served");
    let mut answer = Vec::new();
    // A session, so that there is something to get wrong.
    let version = b"\x15\0\0\0\x64\xff\xff\0\x20\0\0\x08\x009P2000.L";
    server.handle(version, &mut answer, ROOM);
    let attach = b"\x17\0\0\0\x68\x01\0\0\0\0\0\xff\xff\xff\xff\0\0\0\0\xff\xff\xff\xff";
    server.handle(attach, &mut answer, ROOM);
    let mut rest = bytes;
    while let Some((len, behind)) = rest.split_first() {
        let (message, behind) = behind.split_at(behind.len().min(usize::from(*len)));
        rest = behind;
        // The fuzzer need not learn to count: the size is set right for it, but
        // for messages that end in an odd byte.
        let mut message = message.to_vec();
        if message.len() >= 7 && message.last().is_some_and(|last| last % 2 == 0) {
            let size = message.len() as u32;
            message[..4].copy_from_slice(&size.to_le_bytes());
        }
        answer.clear();
        server.handle(&message, &mut answer, ROOM);
        assert!(answer.len() <= ROOM);
        if let Some(size) = answer.first_chunk::<4>() {
            assert_eq!(u32::from_le_bytes(*size) as usize, answer.len());
            assert_eq!(answer[4] % 2, 1, "answers have odd types");
        }
    }
});
