//! Our decoder against another crate's encoder: what tshark does not dissect.
//!
//! jetstream_9p, because it is maintained, encodes every message of 9P2000.L, and
//! comes from another family (crosvm's) than Wireshark's dissector and our own driver.

use jetstream_9p::{
    Dirent, Qid, Rframe, Rgetlock, Rlerror, Rmessage, Rread, Rreaddir, Tauth, Tframe, Tfsync,
    Tgetlock, Tmessage, Twrite,
};
use jetstream_wireformat::{Data, WireFormat};
use virtscope_analyzer::p9::{Body, DirectoryEntries, End, Message};

fn encoded(frame: &impl WireFormat) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame.encode(&mut bytes).unwrap();
    bytes
}

fn request(message: Tmessage) -> Vec<u8> {
    encoded(&Tframe {
        tag: 3,
        msg: Ok(message),
    })
}

fn reply(message: Rmessage) -> Vec<u8> {
    encoded(&Rframe {
        tag: 3,
        msg: message,
    })
}

fn decode(bytes: &[u8]) -> Message<'_> {
    let message = Message::decode(bytes, bytes.len() as u32).unwrap();
    assert_eq!(message.end(), End::Whole, "{message}");
    assert_eq!(message.tag.0, 3);
    message
}

#[test]
fn requests_are_what_was_encoded() {
    let bytes = request(Tmessage::GetLock(Tgetlock {
        fid: 5,
        type_: 1,
        start: 10,
        length: 20,
        proc_id: 77,
        client_id: "host".to_owned(),
    }));
    let Ok(Body::Tgetlock(lock)) = decode(&bytes).body() else {
        panic!("a Tgetlock");
    };
    assert_eq!((lock.fid.0, lock.kind, lock.proc_id), (5, 1, 77));
    assert_eq!((lock.start, lock.length), (10, 20));
    assert_eq!(lock.client_id.as_str(), Some("host"));

    let bytes = request(Tmessage::Fsync(Tfsync {
        fid: 5,
        datasync: 1,
    }));
    let Ok(Body::Tfsync(fsync)) = decode(&bytes).body() else {
        panic!("a Tfsync");
    };
    assert_eq!((fsync.fid.0, fsync.datasync), (5, 1));

    let bytes = request(Tmessage::Write(Twrite {
        fid: 5,
        offset: 9,
        data: Data(b"abc".to_vec()),
    }));
    let Ok(Body::Twrite(write)) = decode(&bytes).body() else {
        panic!("a Twrite");
    };
    assert_eq!((write.fid.0, write.offset), (5, 9));
    assert_eq!((write.data.declared, write.data.bytes), (3, &b"abc"[..]));

    let bytes = request(Tmessage::Auth(Tauth {
        afid: 9,
        uname: "me".to_owned(),
        aname: "/x".to_owned(),
        n_uname: 1000,
    }));
    let Ok(Body::Tauth(auth)) = decode(&bytes).body() else {
        panic!("a Tauth");
    };
    assert_eq!((auth.afid.0, auth.n_uname.0), (9, Some(1000)));
}

#[test]
fn replies_are_what_was_encoded() {
    let bytes = reply(Rmessage::Lerror(Rlerror { ecode: 2 }));
    assert_eq!(decode(&bytes).to_string(), "Rlerror tag 3 ENOENT (2)");

    let bytes = reply(Rmessage::GetLock(Rgetlock {
        type_: 2,
        start: 10,
        length: 20,
        proc_id: 77,
        client_id: "host".to_owned(),
    }));
    let Ok(Body::Rgetlock(lock)) = decode(&bytes).body() else {
        panic!("an Rgetlock");
    };
    assert_eq!((lock.kind, lock.start, lock.length), (2, 10, 20));
    assert_eq!((lock.proc_id, lock.client_id.as_str()), (77, Some("host")));

    let bytes = reply(Rmessage::Read(Rread {
        data: Data(b"abc".to_vec()),
    }));
    assert_eq!(decode(&bytes).body().unwrap().data().unwrap().bytes, b"abc");

    let mut entries = Vec::new();
    for (number, name) in ["a", "longer name"].iter().enumerate() {
        let entry = Dirent {
            qid: Qid {
                ty: 0x80,
                version: 3,
                path: number as u64,
            },
            offset: 7 + number as u64,
            ty: 4,
            name: (*name).to_owned(),
        };
        entries.extend(encoded(&entry));
    }
    let bytes = reply(Rmessage::Readdir(Rreaddir {
        data: Data(entries),
    }));
    let data = decode(&bytes).body().unwrap().data().unwrap();
    let read: Vec<_> = DirectoryEntries::new(data.bytes)
        .map(|entry| (entry.qid.path, entry.offset, entry.kind, entry.name))
        .collect();
    assert_eq!(read, [(0, 7, 4, &b"a"[..]), (1, 8, 4, &b"longer name"[..])]);
}
