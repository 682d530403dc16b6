//! Against bytes written by hand, and against any bytes at all.

use super::*;
use proptest::prelude::*;

#[test]
fn a_walk_stands_as_the_text_says() {
    let mut bytes = Vec::new();
    Request::Walk {
        fid: Fid(1),
        newfid: Fid(2),
        names: &[b"usr", b"x"],
    }
    .encode(3, 8192, &mut bytes)
    .unwrap();
    assert_eq!(
        bytes,
        b"\x19\0\0\0\x6e\x03\0\x01\0\0\0\x02\0\0\0\x02\0\x03\0usr\x01\0x"
    );
}

#[test]
fn what_does_not_fit_is_refused() {
    let mut bytes = Vec::new();
    let write = |data| Request::Write {
        fid: Fid(1),
        offset: 0,
        data,
    };
    assert_eq!(
        write(&[0; 100]).encode(1, 122, &mut bytes),
        Err(EncodeError::TooLong {
            len: 123,
            msize: 122
        })
    );
    assert_eq!(write(&[0; 100]).encode(1, 123, &mut bytes), Ok(()));
    let name: &[u8] = b"a";
    let names = [name; 17];
    let walk = Request::Walk {
        fid: Fid(1),
        newfid: Fid(2),
        names: &names,
    };
    assert_eq!(
        walk.encode(1, 8192, &mut bytes),
        Err(EncodeError::TooManyNames { names: 17 })
    );
}

#[test]
fn replies_are_checked_against_their_request() {
    let read = Request::Read {
        fid: Fid(1),
        offset: 0,
        count: 2,
    };
    let good = b"\x0d\0\0\0\x75\x05\0\x02\0\0\0ab";
    assert_eq!(
        read.decode_reply(5, good),
        Ok(Ok(Reply::Read {
            data: b"ab".to_vec()
        }))
    );
    assert_eq!(
        read.decode_reply(6, good),
        Err(DecodeError::Tag {
            expected: 6,
            found: 5
        })
    );
    let too_much = b"\x0e\0\0\0\x75\x05\0\x03\0\0\0abc";
    assert_eq!(
        read.decode_reply(5, too_much),
        Err(DecodeError::TooMuch { asked: 2, found: 3 })
    );
    let error = b"\x0b\0\0\0\x07\x05\0\x02\0\0\0";
    assert_eq!(
        read.decode_reply(5, error),
        Ok(Err(rustix::io::Errno::NOENT))
    );
    let other = b"\x07\0\0\0\x79\x05\0";
    assert_eq!(
        read.decode_reply(5, other),
        Err(DecodeError::Type {
            expected: 117,
            found: 121
        })
    );
}

proptest! {
    // Miri is slow, and looks for other things than wrong answers.
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: if cfg!(miri) { 8 } else { 256 }, ..ProptestConfig::default() })]
    /// Whatever a server sends, decoding ends with an answer or an error.
    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..300), kind in 0usize..4) {
        let names: [&[u8]; 2] = [b"a", b"b"];
        let request = match kind {
            0 => Request::Walk { fid: Fid(0), newfid: Fid(1), names: &names },
            1 => Request::Readdir { fid: Fid(0), offset: 0, count: 100 },
            2 => Request::Getattr { fid: Fid(0), request_mask: GETATTR_BASIC },
            _ => Request::Version { msize: 8192, version: "9P2000.L" },
        };
        let mut bytes = bytes;
        // Mostly get past the header, where there is more to go wrong.
        if bytes.len() >= 7 {
            let len = bytes.len() as u32;
            bytes[..4].copy_from_slice(&len.to_le_bytes());
            bytes[4] = request.kind() as u8 + 1;
            bytes[5..7].copy_from_slice(&1u16.to_le_bytes());
        }
        match request.decode_reply(1, &bytes) {
            Ok(Ok(Reply::Walk { qids })) => prop_assert!(qids.len() <= 2),
            Ok(Ok(Reply::Readdir { entries })) => prop_assert!(entries.len() <= 4),
            Ok(_) => prop_assert!(bytes.len() >= 7),
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
    }
}
