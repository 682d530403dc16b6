//! Any reply is an answer or an error to any request.
#![no_main]

use libfuzzer_sys::fuzz_target;
use virtscope_driver::p9::message::{Fid, GETATTR_BASIC, Lock, LockKind, Reply, Request};

fuzz_target!(|bytes: &[u8]| {
    let Some((which, bytes)) = bytes.split_first() else {
        return;
    };
    let fid = Fid(1);
    let names: [&[u8]; 3] = [b"a", b"b", b"c"];
    let lock = Lock { kind: LockKind::Read, start: 0, length: 0, proc_id: 1, client_id: "c" };
    let requests = [
        Request::Version { msize: 8192, version: "9P2000.L" },
        Request::Attach { fid, afid: None, uname: "u", aname: "", n_uname: 0 },
        Request::Walk { fid, newfid: Fid(2), names: &names },
        Request::Lopen { fid, flags: 0 },
        Request::Read { fid, offset: 0, count: 4096 },
        Request::Write { fid, offset: 0, data: b"data" },
        Request::Readdir { fid, offset: 0, count: 4096 },
        Request::Getattr { fid, request_mask: GETATTR_BASIC },
        Request::Mkdir { dfid: fid, name: b"d", mode: 0o755, gid: 0 },
        Request::Clunk { fid },
        Request::Auth { afid: fid, uname: "u", aname: "", n_uname: 0 },
        Request::Statfs { fid },
        Request::Readlink { fid },
        Request::Xattrwalk { fid, newfid: Fid(2), name: b"user.x" },
        Request::Lock { fid, lock, flags: 0 },
        Request::Getlock { fid, lock },
        Request::WriteFrom { fid, offset: 0, count: 4 },
    ];
    let request = &requests[usize::from(*which) % requests.len()];
    let mut bytes = bytes.to_vec();
    if bytes.len() >= 7 {
        let size = bytes.len() as u32;
        bytes[..4].copy_from_slice(&size.to_le_bytes());
        if which % 2 == 0 {
            bytes[4] = request.kind() as u8 + 1;
        }
        bytes[5..7].copy_from_slice(&[1, 0]);
    }
    // Of a zero-copy read the data stand elsewhere, however many they say they are.
    if let Ok(Ok(count)) = requests[4].decode_zero_copy_reply(1, &bytes, bytes.len() + 100) {
        assert!(count <= 4096);
    }
    match request.decode_reply(1, &bytes) {
        Ok(Ok(Reply::Read { data })) => assert!(data.len() <= 4096),
        Ok(Ok(Reply::Write { count })) => assert!(count <= 4),
        Ok(Ok(Reply::Walk { qids })) => assert!(qids.len() <= names.len()),
        Ok(_) => {}
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
