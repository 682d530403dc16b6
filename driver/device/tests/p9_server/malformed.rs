//! Bytes that are not messages. Whatever comes in, what goes out is either one
//! whole answer or, without a header to answer to, nothing.

use std::fs;

use proptest::prelude::*;
use virtscope_device::p9::{Access, Delay, FileServer, Job, Pool};

use crate::changes::changes;
use crate::client::{Client, Errno, Message, NO_FID, NO_TAG, RDONLY, ROOM, open_answer, version};

/// One good message of each type. What they do does not matter here.
fn samples() -> Vec<Vec<u8>> {
    let m = |kind| Message::new(kind, 0x1234);
    let mut samples = vec![
        version(NO_TAG, 8192),
        m(102).u32(9).text("u").text("a").u32(0).finish(),
        m(104)
            .u32(9)
            .u32(NO_FID)
            .text("u")
            .text("a")
            .u32(0)
            .finish(),
        m(108).u16(77).finish(),
        m(110).u32(0).u32(5).u16(2).text("a").text("b").finish(),
        m(12).u32(1).u32(RDONLY).finish(),
        m(14).u32(2).text("new").u32(2).u32(0o600).u32(0).finish(),
        m(116).u32(1).u64(0).u32(100).finish(),
        m(118).u32(1).u64(0).u32(4).raw(b"data").finish(),
        m(40).u32(3).u64(0).u32(500).finish(),
        m(24).u32(0).u64(0x7ff).finish(),
        m(8).u32(0).finish(),
        m(22).u32(0).finish(),
        m(72).u32(0).text("made").u32(0o700).u32(0).finish(),
        m(76).u32(0).text("made").u32(0x200).finish(),
        m(120).u32(6).finish(),
        m(122).u32(7).finish(),
        m(50).u32(1).u32(0).finish(),
        m(30).u32(0).u32(8).text("user.x").finish(),
        lock(m(52).u32(1).u8(0).u32(1)),
        lock(m(54).u32(1).u8(0)),
    ];
    samples.extend(changes(m));
    samples
}

/// Of a lock or a look for one, what follows its kind.
fn lock(message: Message) -> Vec<u8> {
    message.u64(0).u64(0).u32(1).text("here").finish()
}

fn client() -> (tempfile::TempDir, Client) {
    let tree = tempfile::tempdir().expect("a temporary directory");
    fs::create_dir_all(tree.path().join("a/b")).expect("directories");
    fs::write(tree.path().join("file"), b"content").expect("a file");
    let client = Client::new(tree.path(), Access::ReadWrite);
    client.walk(0, 1, &["file"]).expect("there");
    client.lopen(1, 2).expect("opens");
    client.walk(0, 2, &[]).expect("a clone");
    client.walk(0, 3, &["a"]).expect("there");
    client.lopen(3, RDONLY).expect("opens");
    (tree, client)
}

/// Checks what every answer must fulfil; what it says is returned.
fn answer(server: &FileServer, request: &[u8], room: usize) -> Option<Result<(), Errno>> {
    let mut reply = b"left over".to_vec();
    server.handle(request, &mut reply, room);
    assert!(reply.len() <= room);
    if request.len() < 7 || room < 11 {
        assert!(reply.is_empty(), "no answer is possible");
        return None;
    }
    if request[4] == u8::MAX {
        // No type is one more than the last one, so this can only be an error.
        assert_eq!(reply[4], 7);
    }
    Some(open_answer(request, reply).map(drop))
}

fn with_size(mut request: Vec<u8>, size: usize) -> Vec<u8> {
    let size = u32::try_from(size).expect("a small message");
    if let Some(field) = request.get_mut(..4) {
        field.copy_from_slice(&size.to_le_bytes());
    }
    request
}

#[test]
fn a_message_cut_off_anywhere_is_refused() {
    let (_tree, client) = client();
    for sample in samples() {
        for len in 0..sample.len() {
            let cut = sample[..len].to_vec();
            let refused = (len >= 7).then_some(Err(Errno::INVAL));
            assert_eq!(answer(&client.server, &cut, ROOM), refused, "{sample:?}");
            // Also when its header knows.
            let knowing = with_size(cut, len);
            assert_eq!(
                answer(&client.server, &knowing, ROOM),
                refused,
                "{sample:?}"
            );
        }
    }
    client.getattr(0).expect("the session is unharmed");
}

#[test]
fn a_message_with_bytes_to_spare_is_refused() {
    let (_tree, client) = client();
    for sample in samples() {
        let mut longer = sample.clone();
        longer.push(0);
        let len = longer.len();
        let refused = Some(Err(Errno::INVAL));
        assert_eq!(answer(&client.server, &longer, ROOM), refused);
        assert_eq!(
            answer(&client.server, &with_size(longer, len), ROOM),
            refused
        );
    }
}

#[test]
fn a_size_that_lies_is_refused() {
    let (_tree, client) = client();
    for sample in samples() {
        for size in [0, 1, 6, 7, sample.len() - 1, sample.len() + 1, 1 << 30] {
            if size != sample.len() {
                let lying = with_size(sample.clone(), size);
                let refused = Some(Err(Errno::INVAL));
                assert_eq!(answer(&client.server, &lying, ROOM), refused);
            }
        }
    }
}

#[test]
fn counts_inside_a_message_that_lie_are_refused() {
    let (_tree, client) = client();
    let refused = Some(Err(Errno::INVAL));
    for count in [3, 5, u32::MAX] {
        let write = Message::new(118, 1).u32(1).u64(0).u32(count).raw(b"data");
        assert_eq!(answer(&client.server, &write.finish(), ROOM), refused);
    }
    for count in [0, 1, 3, 17, u16::MAX] {
        let walk = Message::new(110, 1).u32(0).u32(5).u16(count);
        let walk = walk.text("a").text("b").finish();
        assert_eq!(answer(&client.server, &walk, ROOM), refused);
    }
    for len in [0, 3, 5, u16::MAX] {
        let mkdir = Message::new(72, 1).u32(0).u16(len).raw(b"name");
        let mkdir = mkdir.u32(0o700).u32(0).finish();
        assert_eq!(answer(&client.server, &mkdir, ROOM), refused);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_bytes_get_an_answer_or_none(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        room in prop_oneof![0_usize..40, Just(ROOM)],
    ) {
        let tree = tempfile::tempdir().expect("a temporary directory");
        let server = FileServer::new(tree.path(), Access::ReadOnly).expect("serves");
        let said = answer(&server, &bytes, room);
        prop_assert_eq!(said.is_none(), bytes.len() < 7 || room < 11);
    }

    /// Well-formed enough to get past the header, in a live session.
    #[test]
    fn any_bodies_in_any_order_get_answers(
        messages in prop::collection::vec(
            (
                prop_oneof![
                    prop::sample::select(vec![8_u8, 12, 14, 22, 24, 40, 50, 72, 76, 104, 108, 110, 116, 118, 120, 122]),
                    any::<u8>(),
                ],
                prop::collection::vec(prop_oneof![2 => Just(0_u8), 1 => 0..8_u8, 1 => any::<u8>()], 0..40),
            ),
            1..40,
        ),
        room in prop_oneof![11_usize..300, Just(ROOM)],
    ) {
        let (_tree, client) = client();
        for (kind, body) in messages {
            let request = Message::new(kind, 3).raw(&body).finish();
            prop_assert!(answer(&client.server, &request, room).is_some());
        }
    }

    /// Good messages with one byte changed.
    #[test]
    fn any_changed_byte_is_borne(
        which in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let (_tree, client) = client();
        let samples = samples();
        let mut request = samples[which.index(samples.len())].clone();
        let at = at.index(request.len());
        request[at] = byte;
        prop_assert!(answer(&client.server, &request, ROOM).is_some());
    }

    /// The pool looks into messages as well, before the server does.
    #[test]
    fn a_pool_answers_each_of_any_messages_once(
        messages in prop::collection::vec(
            (prop::collection::vec(any::<u8>(), 0..30), 0_usize..30),
            1..20,
        ),
    ) {
        let (_tree, client) = client();
        let (wake, woken) = std::sync::mpsc::channel();
        let wake = move || { let _ = wake.send(()); };
        let pool = Pool::with_delay(client.server.into(), 2, wake, Delay::none()).expect("threads");
        for (id, (request, reply_capacity)) in messages.iter().enumerate() {
            pool.submit(Job { id: id as u64, request: request.clone(), reply_capacity: *reply_capacity });
        }
        let mut seen = vec![false; messages.len()];
        while seen.contains(&false) {
            woken.recv_timeout(std::time::Duration::from_secs(60)).expect("answers keep coming");
            while let Some(done) = pool.completed() {
                let id = done.id as usize;
                prop_assert!(!std::mem::replace(&mut seen[id], true), "answered once");
                prop_assert_eq!(&done.request, &messages[id].0);
                prop_assert!(done.reply.len() <= messages[id].1);
            }
        }
    }
}
