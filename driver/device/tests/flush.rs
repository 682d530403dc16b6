//! Requests that are given up while they are on their way (Linux `p9_virtio_cancel`,
//! `p9_client_flush`), and the races of that with their replies.

mod mounted;

use mounted::{Held, Mounted, O_RDONLY, PATIENCE, config, directory, hold_reads};
use rstest::rstest;
use rustix::io::Errno;
use virtscope_device::p9::Access;
use virtscope_driver::instrument::NoInstrument;
use virtscope_driver::p9::channel::Message;
use virtscope_driver::p9::client::{Client, ClientError};
use virtscope_driver::p9::interrupt::Interrupt;
use virtscope_driver::p9::message::{Fid, Type};
use virtscope_driver::ring::QueueSize;

struct Rig {
    _dir: tempfile::TempDir,
    mounted: Mounted<NoInstrument>,
    client: Client<NoInstrument>,
    fid: Fid,
}

/// A file that is open, on a device whose reads of seven bytes are held up.
fn rig(workers: usize, faults: &str) -> (Rig, Held) {
    let dir = directory();
    let mut config = config(Access::ReadOnly);
    config.workers = workers;
    config.max_queue_size = QueueSize::new(16).unwrap();
    config.faults = faults.parse().unwrap();
    let held = hold_reads(&mut config);
    let (mounted, client) = Mounted::client(dir.path(), config);
    let (fid, _) = client.walk(client.root(), &[b"file"]).unwrap();
    client.open(fid, O_RDONLY).unwrap();
    let rig = Rig {
        _dir: dir,
        mounted,
        client,
        fid,
    };
    (rig, held)
}

impl Rig {
    fn sent(&self, wanted: Type) -> u64 {
        self.client
            .issued()
            .find_map(|(kind, count)| (kind == wanted).then_some(count))
            .unwrap()
    }

    /// Until so many of these have been sent.
    fn wait_for(&self, kind: Type, count: u64) {
        while self.sent(kind) < count {
            std::thread::yield_now();
        }
    }

    fn works(&self) {
        for _ in 0..40 {
            let read = self.client.read(self.fid, 0, 6).unwrap();
            assert_eq!(read, b"conten");
        }
        assert_eq!(self.mounted.device.failure(), None);
    }
}

/// The server is at work on the request and finishes it: the reply comes before the
/// Rflush, and counts as if nobody had interrupted.
#[rstest]
#[timeout(PATIENCE)]
fn a_reply_that_wins_the_race_is_the_result() {
    let (rig, held) = rig(1, "");
    let interrupt = Interrupt::new();
    std::thread::scope(|scope| {
        let held = held;
        let reading = scope.spawn(|| rig.client.read_or(rig.fid, 0, 7, &interrupt));
        held.entered.recv().unwrap();
        assert_eq!(rig.sent(Type::Flush), 0);
        interrupt.raise();
        rig.wait_for(Type::Flush, 1);
        drop(held);
        assert_eq!(reading.join().unwrap().unwrap(), b"content");
    });
    rig.works();
}

/// The server has not begun: it takes the request back, whether it says so (`EINTR`), or
/// returns a buffer with nothing in it as QEMU does, or keeps the buffer.
#[rstest]
#[case::said("", ClientError::Server(Errno::INTR))]
#[case::empty("short-length:at=5", ClientError::Interrupted)]
#[case::kept("never-return:at=5", ClientError::Interrupted)]
#[timeout(PATIENCE)]
fn a_request_that_was_not_begun_is_given_up(#[case] faults: &str, #[case] expected: ClientError) {
    let (rig, held) = rig(1, faults);
    let interrupt = Interrupt::new();
    std::thread::scope(|scope| {
        let held = held;
        let busy = scope.spawn(|| rig.client.read(rig.fid, 0, 7));
        held.entered.recv().unwrap();
        let reading = scope.spawn(|| rig.client.read_or(rig.fid, 1, 7, &interrupt));
        rig.wait_for(Type::Read, 2);
        interrupt.raise();
        let error = reading.join().unwrap().unwrap_err();
        assert_eq!((error, error.errno()), (expected, Errno::INTR));
        assert_eq!(rig.sent(Type::Flush), 1);
        drop(held);
        assert_eq!(busy.join().unwrap().unwrap(), b"content");
    });
    rig.works();
}

/// Who waits for room in the ring has sent nothing, and nothing is flushed.
#[rstest]
#[timeout(PATIENCE)]
fn who_waits_for_room_is_interrupted_before_anything_is_sent() {
    let (rig, held) = rig(8, "");
    let interrupt = Interrupt::new();
    std::thread::scope(|scope| {
        let held = held;
        // Two descriptors each.
        let busy: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| rig.client.read(rig.fid, 0, 7)))
            .collect();
        rig.wait_for(Type::Read, 8);
        held.entered.recv().unwrap();
        let waiting = scope.spawn(|| rig.client.read_or(rig.fid, 1, 6, &interrupt));
        interrupt.raise();
        assert_eq!(waiting.join().unwrap(), Err(ClientError::Interrupted));
        assert_eq!((rig.sent(Type::Read), rig.sent(Type::Flush)), (8, 0));
        drop(held);
        for thread in busy {
            assert_eq!(thread.join().unwrap().unwrap(), b"content");
        }
    });
    rig.works();
}

/// Requests are interrupted at any moment, by many threads: each ends in its data or in
/// an interruption, tags never meet, and the ring is as it was.
#[rstest]
#[timeout(PATIENCE)]
fn interruptions_at_any_moment_leave_everything_usable() {
    let (rig, held) = rig(3, "delay:p=0.2,ms=1");
    drop(held);
    std::thread::scope(|scope| {
        for thread in 0..6u64 {
            let rig = &rig;
            scope.spawn(move || {
                for round in 0..60u64 {
                    let interrupt = Interrupt::new();
                    std::thread::scope(|scope| {
                        let raise = interrupt.clone();
                        scope.spawn(move || {
                            for _ in 0..(thread * 7 + round * 3) % 50 {
                                std::thread::yield_now();
                            }
                            raise.raise();
                        });
                        let offset = round % 7;
                        match rig.client.read_or(rig.fid, offset, 6, &interrupt) {
                            Ok(data) => {
                                let all = b"content";
                                let end = all.len().min(offset as usize + 6);
                                assert_eq!(data, all[offset as usize..end]);
                            }
                            Err(error) => assert_eq!(error.errno(), Errno::INTR),
                        }
                    });
                }
            });
        }
    });
    assert!(rig.sent(Type::Flush) > 0);
    rig.works();
}

/// A device that never takes the Tflush: whoever waits for the Rflush waits until the
/// device goes, and then a reply that came meanwhile counts.
#[rstest]
#[timeout(PATIENCE)]
fn a_flush_that_nobody_answers_ends_with_the_device() {
    let (rig, held) = rig(1, "stop-consuming:at=5");
    let interrupt = Interrupt::new();
    std::thread::scope(|scope| {
        let held = held;
        let reading = scope.spawn(|| rig.client.read_or(rig.fid, 0, 7, &interrupt));
        held.entered.recv().unwrap();
        interrupt.raise();
        rig.wait_for(Type::Flush, 1);
        assert!(!reading.is_finished());
        let pages = rig.client.channel().device().pages();
        let free = pages.available();
        drop(held);
        // A page for the request and one for the reply, when that is there.
        while pages.available() < free + 2 {
            std::thread::yield_now();
        }
        rig.mounted.bus.unregister_device(rig.mounted.id).unwrap();
        assert_eq!(reading.join().unwrap().unwrap(), b"content");
    });
}

/// Linux `p9_virtio_cancel`: nothing is taken back, so the server must be asked, unless
/// the reply is there.
#[rstest]
#[timeout(PATIENCE)]
fn cancelling_says_whether_the_server_must_be_asked() {
    let (rig, held) = rig(1, "");
    let message = Message {
        request: b"\x13\0\0\0\x18\x07\0\0\0\0\0\xff\x07\0\0\0\0\0\0",
        reply_capacity: 1024,
    };
    let channel = rig.client.channel();
    std::thread::scope(|scope| {
        let held = held;
        let busy = scope.spawn(|| rig.client.read(rig.fid, 0, 7));
        held.entered.recv().unwrap();
        let pending = channel.request(message).unwrap();
        assert!(channel.cancel(&pending));
        let pending = pending.try_wait().unwrap_err();
        drop(held);
        busy.join().unwrap().unwrap();
        // Its reply came behind the read's or comes soon.
        while channel.cancel(&pending) {
            std::thread::yield_now();
        }
        let answered = pending.try_wait().unwrap().unwrap();
        assert_eq!(answered.reply[4..7], [25, 7, 0], "Rgetattr");
        assert_eq!(answered.written, answered.reply.len());
    });
}
