//! What only a socket has: a peer that sends what it likes, in pieces, or nothing.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use rstest::rstest;
use virtscope_device::requests::{RequestError, Requests, SocketFault, SocketRequests};
use virtscope_driver::buffer::BufferPool;
use virtscope_driver::memory::{GuestAddress, GuestMemory};
use virtscope_driver::operations::frame::{Completion, Submission};
use virtscope_driver::operations::{
    AddBufErrorKind, Callbacks, Operations, QueueFailure, SocketViolation, StreamSocket,
};
use virtscope_driver::ring::QueueSize;
use virtscope_record::Token;

const CAPACITY: u16 = 4;
const PAGES: usize = 600;

/// The driver's end, and a peer that writes bytes.
struct Rig {
    queue: StreamSocket,
    peer: UnixStream,
    pool: BufferPool,
}

impl Rig {
    fn new() -> Self {
        let (ours, peer) = UnixStream::pair().unwrap();
        // Nothing here waits for ever.
        let patience = Some(Duration::from_secs(20));
        peer.set_read_timeout(patience).unwrap();
        peer.set_write_timeout(patience).unwrap();
        Self {
            queue: StreamSocket::new(ours, QueueSize::new(CAPACITY).unwrap()).unwrap(),
            peer,
            pool: BufferPool::new(&Arc::new(GuestMemory::new(PAGES)), GuestAddress(0)),
        }
    }

    fn add(&mut self, token: u64, readable: &[u8], writable: u32) {
        let mut buffer = self.pool.allocate(readable.len() as u32, writable).unwrap();
        buffer.fill(0, readable).unwrap();
        self.queue.add_buf(buffer, Token(token)).unwrap();
    }

    /// What the peer receives next.
    fn received(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.peer.read_exact(&mut bytes).unwrap();
        bytes
    }

    fn answer(&mut self, id: u32, written: u32, bytes: &[u8]) {
        let head = Completion { id, written }.to_bytes();
        self.peer.write_all(&head).unwrap();
        self.peer.write_all(bytes).unwrap();
    }
}

#[test]
fn a_buffer_is_sent_as_the_frame_says() {
    let mut rig = Rig::new();
    rig.add(70, b"request", 5);
    rig.add(71, b"", 1);
    rig.queue.sync();
    let expected = [
        &[0, 0, 0, 0, 7, 0, 0, 0, 5, 0, 0, 0][..],
        b"request",
        &[1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0],
    ]
    .concat();
    assert_eq!(rig.received(expected.len()), expected);
}

#[test]
fn an_answer_may_come_in_any_pieces() {
    let mut rig = Rig::new();
    rig.add(70, b"request", 5);
    rig.add(71, b"", 1);
    rig.queue.sync();
    let stream = [
        &[1, 0, 0, 0, 0, 0, 0, 0][..],
        &[0, 0, 0, 0, 4, 0, 0, 0, b'p', b'o', b'n', b'g'],
    ]
    .concat();
    let mut back = Vec::new();
    for byte in stream {
        assert!(back.len() < 2);
        rig.peer.write_all(&[byte]).unwrap();
        while let Some((token, returned)) = rig.queue.get_buf().unwrap() {
            back.push((token, returned.to_vec()));
        }
    }
    let expected = [(Token(71), vec![]), (Token(70), b"pong".to_vec())];
    assert_eq!(back, expected);
}

fn out_of_range(id: u32) -> SocketViolation {
    SocketViolation::IdOutOfRange {
        id,
        capacity: CAPACITY,
    }
}

fn too_long(written: u32) -> SocketViolation {
    SocketViolation::LengthTooLong {
        written,
        writable: 5,
    }
}

/// Buffer 0 is with the peer and has room for 5 bytes; buffer 1 was answered; 2 was
/// added and not synced; 3 was never added.
#[rstest]
#[case::no_such_id(4, 0, out_of_range(4))]
#[case::an_id_of_more_than_16_bits(65536, 0, out_of_range(65536))]
#[case::the_largest_id(u32::MAX, 0, out_of_range(u32::MAX))]
#[case::answered_twice(1, 0, SocketViolation::IdNotInFlight { id: 1 })]
#[case::never_sent(2, 0, SocketViolation::IdNotInFlight { id: 2 })]
#[case::never_added(3, 0, SocketViolation::IdNotInFlight { id: 3 })]
#[case::one_byte_too_long(0, 6, too_long(6))]
#[case::much_too_long(0, u32::MAX, too_long(u32::MAX))]
fn a_lie_breaks_the_queue(
    #[case] id: u32,
    #[case] written: u32,
    #[case] violation: SocketViolation,
) {
    let mut rig = Rig::new();
    rig.add(70, b"a", 5);
    rig.add(71, b"b", 5);
    rig.queue.sync();
    rig.add(72, b"c", 5);
    rig.answer(1, 2, b"ok");
    rig.answer(id, written, b"x");
    // What came before the lie counts.
    let (token, returned) = rig.queue.get_buf().unwrap().unwrap();
    assert_eq!((token, returned.to_vec()), (Token(71), b"ok".to_vec()));
    drop(returned);
    let failure = QueueFailure::Socket(violation);
    for _ in 0..2 {
        assert_eq!(rig.queue.get_buf().unwrap_err(), failure);
    }
    assert!(!rig.queue.restart());
    assert!(rig.queue.wait(Duration::ZERO));
    let buffer = rig.pool.allocate(1, 1).unwrap();
    let refused = rig.queue.add_buf(buffer, Token(73)).unwrap_err();
    assert_eq!(refused.kind, AddBufErrorKind::Failed(failure));
    drop(refused);
    for token in [70, 72] {
        assert!(rig.queue.detach_buf(Token(token)).is_ok());
        assert!(rig.queue.detach_buf(Token(token)).is_err());
    }
    assert_eq!(rig.pool.available_pages(), PAGES);
}

/// A buffer that is too large for the socket can't be answered before it was sent.
#[test]
fn an_answer_to_a_buffer_still_being_sent_breaks_the_queue() {
    let mut rig = Rig::new();
    rig.add(70, &vec![0xaa; 2 << 20], 5);
    rig.queue.sync();
    rig.answer(0, 1, b"x");
    let violation = SocketViolation::IdNotInFlight { id: 0 };
    let failure = rig.queue.get_buf().unwrap_err();
    assert_eq!(failure, QueueFailure::Socket(violation));
    assert!(rig.queue.detach_buf(Token(70)).is_ok());
}

/// Nothing waits for a peer that does not read; when it does, all is sent, also by
/// other operations than `sync`.
#[test]
fn a_peer_that_does_not_read_keeps_nobody_waiting() {
    let mut rig = Rig::new();
    let request: Vec<u8> = (0..1u32 << 20).map(|i| (i / 3) as u8).collect();
    rig.add(70, &request, 5);
    rig.add(71, b"second", 5);
    rig.queue.sync();
    assert!(rig.queue.get_buf().unwrap().is_none());
    assert!(rig.queue.restart());
    assert!(!rig.queue.wait(Duration::from_millis(1)));
    let mut peer = rig.peer.try_clone().unwrap();
    let expected = 12 + request.len() + 12 + 6;
    std::thread::scope(|scope| {
        let reader = scope.spawn(move || {
            let mut bytes = vec![0; expected];
            peer.read_exact(&mut bytes).map(|()| bytes)
        });
        // Ends because the reader's patience does.
        while !reader.is_finished() {
            rig.queue.wait(Duration::from_millis(1));
        }
        let bytes = reader.join().unwrap().unwrap();
        assert_eq!(bytes[12..12 + request.len()], request);
        assert!(bytes.ends_with(b"second"));
    });
}

/// A buffer that is detached before it was sent takes nobody else's turn.
#[test]
fn what_was_not_synced_is_not_sent_when_another_is_detached() {
    let mut rig = Rig::new();
    let large = vec![7; 1 << 20];
    rig.add(70, &large, 5);
    rig.add(71, b"detached", 5);
    rig.queue.sync();
    rig.add(72, b"late", 5);
    drop(rig.queue.detach_buf(Token(71)).unwrap());
    rig.peer.set_nonblocking(true).unwrap();
    let (mut received, mut bytes) = (0, vec![0; 1 << 16]);
    // Each turn moves some bytes, else it fails.
    while received < 12 + large.len() {
        received += rig.peer.read(&mut bytes).unwrap();
        assert!(rig.queue.get_buf().unwrap().is_none());
    }
    let nothing = rig.peer.read(&mut bytes).unwrap_err();
    assert_eq!(nothing.kind(), std::io::ErrorKind::WouldBlock);
    rig.queue.sync();
    let received = rig.peer.read(&mut bytes).unwrap();
    assert_eq!(bytes[12..received], *b"late");
}

/// An answer to a buffer that was taken back meanwhile is left out, and its id not
/// given away before.
#[test]
fn a_detached_buffer_takes_room_until_it_is_answered() {
    let mut rig = Rig::new();
    for token in 70..74 {
        rig.add(token, b"x", 5);
    }
    rig.queue.sync();
    // Half of its answer has come.
    rig.answer(0, 4, b"la");
    assert!(rig.queue.get_buf().unwrap().is_none());
    for token in [70, 72] {
        drop(rig.queue.detach_buf(Token(token)).unwrap());
    }
    let buffer = rig.pool.allocate(1, 1).unwrap();
    let refused = rig.queue.add_buf(buffer, Token(74)).unwrap_err();
    assert_eq!(refused.kind, AddBufErrorKind::Full);
    rig.peer.write_all(b"te").unwrap();
    rig.answer(1, 4, b"time");
    let (token, returned) = rig.queue.get_buf().unwrap().unwrap();
    assert_eq!((token, returned.to_vec()), (Token(71), b"time".to_vec()));
    // Two ids are free now, and a late answer is checked like any other.
    rig.queue.add_buf(refused.buffer, Token(74)).unwrap();
    rig.add(75, b"x", 5);
    rig.answer(2, 6, b"");
    let violation = SocketViolation::LengthTooLong {
        written: 6,
        writable: 5,
    };
    let failure = rig.queue.get_buf().unwrap_err();
    assert_eq!(failure, QueueFailure::Socket(violation));
}

#[rstest]
#[case::between_answers(&[])]
#[case::in_a_head(&[0, 0, 0])]
#[case::in_an_answer(&[0, 0, 0, 0, 5, 0, 0, 0, b'x'])]
fn a_peer_that_closes_is_gone(#[case] last: &[u8]) {
    let mut rig = Rig::new();
    rig.add(70, b"a", 5);
    rig.add(71, b"b", 5);
    rig.queue.sync();
    rig.answer(1, 2, b"ok");
    rig.peer.write_all(last).unwrap();
    // What was not received would make the close an error of its own.
    rig.received(2 * (12 + 1));
    drop(rig.peer);
    rig.queue.sync();
    assert_eq!(rig.queue.get_buf().unwrap().unwrap().0, Token(71));
    let failure = rig.queue.get_buf().unwrap_err();
    assert_eq!(failure, QueueFailure::DeviceGone);
    assert!(rig.queue.detach_buf(Token(70)).is_ok());
}

/// Also one that only stops to listen.
#[test]
fn a_deaf_peer_is_gone() {
    let mut rig = Rig::new();
    rig.add(70, b"a", 5);
    rig.queue.sync();
    rig.answer(0, 2, b"ok");
    rig.peer.shutdown(std::net::Shutdown::Read).unwrap();
    rig.add(71, b"b", 5);
    rig.queue.sync();
    assert_eq!(rig.queue.get_buf().unwrap().unwrap().0, Token(70));
    assert!(rig.queue.wait(Duration::from_secs(20)));
    let failure = rig.queue.get_buf().unwrap_err();
    assert_eq!(failure, QueueFailure::DeviceGone);
}

/// The device's end is as distrustful. Its id 0 is in service.
#[rstest]
#[case::no_such_id(
    Submission { id: 4, readable: 0, writable: 0 },
    SocketFault::IdOutOfRange { id: 4, capacity: CAPACITY }.into()
)]
#[case::an_id_in_use(
    Submission { id: 0, readable: 0, writable: 0 },
    SocketFault::IdInUse { id: 0 }.into()
)]
#[case::too_long(
    Submission { id: 1, readable: 101, writable: 0 },
    RequestError::TooLong { readable: 101, limit: 100 }
)]
fn a_driver_that_lies_is_not_served(#[case] lie: Submission, #[case] expected: RequestError) {
    let (mut peer, theirs) = UnixStream::pair().unwrap();
    let size = QueueSize::new(CAPACITY).unwrap();
    let mut device = SocketRequests::new(theirs, size, 100).unwrap();
    let sound = Submission {
        id: 0,
        readable: 100,
        writable: 9,
    };
    peer.write_all(&sound.to_bytes()).unwrap();
    assert!(device.take().unwrap().is_none());
    peer.write_all(&[7; 100]).unwrap();
    let request = device.take().unwrap().unwrap();
    assert_eq!((request.readable, request.writable), (vec![7; 100], 9));
    peer.write_all(&lie.to_bytes()).unwrap();
    assert_eq!(device.take().unwrap_err(), expected);
}

#[test]
fn a_driver_that_closes_is_gone() {
    let (peer, theirs) = UnixStream::pair().unwrap();
    let size = QueueSize::new(CAPACITY).unwrap();
    let mut device = SocketRequests::new(theirs, size, 100).unwrap();
    drop(peer);
    device.wait(Duration::from_secs(20)).unwrap();
    assert_eq!(device.take().unwrap_err(), RequestError::DriverGone);
}

/// Answers that the driver does not read are not followed by more requests.
#[test]
fn a_driver_that_does_not_read_is_served_no_further() {
    let (mut peer, theirs) = UnixStream::pair().unwrap();
    peer.set_nonblocking(true).unwrap();
    let size = QueueSize::new(CAPACITY).unwrap();
    let mut device = SocketRequests::new(theirs, size, 100).unwrap();
    let answer = vec![1; 1 << 20];
    for id in 0..2 {
        let head = Submission {
            id,
            readable: 0,
            writable: 1 << 20,
        };
        peer.write_all(&head.to_bytes()).unwrap();
    }
    let first = device.take().unwrap().unwrap();
    device.give_back(first, &answer).unwrap();
    assert!(device.take().unwrap().is_none());
    let mut received = 0;
    let mut bytes = vec![0; 1 << 16];
    // Each turn moves some bytes, else it fails.
    while received < 8 + answer.len() {
        let count = peer.read(&mut bytes).unwrap();
        assert!(count > 0);
        received += count;
        device.wait(Duration::ZERO).unwrap();
    }
    assert!(device.take().unwrap().is_some());
}
