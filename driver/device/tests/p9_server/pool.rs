//! The pool: what is slow holds up nothing else, and what is flushed comes back
//! in the right order. Requests are held at a gate rather than by the clock, so
//! each test knows what is running.

use std::collections::HashMap;
use std::fs;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use rstest::rstest;
use virtscope_device::p9::wire::MessageType;
use virtscope_device::p9::{Access, Delay, Done, FileServer, Job, Operation, Pool};

use crate::client::{
    Client, Errno, NO_TAG, RDONLY, ROOM, flush, getattr, open_answer, read, version,
};

const PATIENCE: Duration = Duration::from_secs(60);

/// Holds back reads of a certain size until they are let through.
#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<GateState>, Condvar)>);

#[derive(Default)]
struct GateState {
    held: usize,
    open: bool,
}

/// What a read asks for when it shall be held.
const HELD: u32 = 4242;

impl Gate {
    fn delay(&self) -> Delay {
        let gate = self.clone();
        Delay::by(move |operation: Operation| {
            if operation.kind == MessageType::TREAD && operation.bytes == HELD {
                gate.hold();
            }
            None
        })
    }

    fn hold(&self) {
        let (state, changed) = &*self.0;
        let mut state = state.lock().expect("no panics");
        state.held += 1;
        changed.notify_all();
        drop(
            changed
                .wait_while(state, |state| !state.open)
                .expect("no panics"),
        );
    }

    fn wait_for(&self, held: usize) {
        let (state, changed) = &*self.0;
        let state = state.lock().expect("no panics");
        let (_state, timeout) = changed
            .wait_timeout_while(state, PATIENCE, |state| state.held < held)
            .expect("no panics");
        assert!(!timeout.timed_out(), "{held} requests get to the gate");
    }

    fn open(&self) {
        self.0.0.lock().expect("no panics").open = true;
        self.0.1.notify_all();
    }
}

/// A pool over a session in which fid 1 is an open file.
struct Setup {
    _tree: tempfile::TempDir,
    pool: Pool,
    woken: Receiver<()>,
    gate: Gate,
}

/// By convention the id of a job is its tag.
fn job(request: Vec<u8>) -> Job {
    Job {
        id: u64::from(u16::from_le_bytes([request[5], request[6]])),
        request,
        reply_capacity: ROOM,
    }
}

impl Setup {
    fn new(workers: usize) -> Self {
        let gate = Gate::default();
        let delay = gate.delay();
        Self::with(workers, gate, delay)
    }

    fn with(workers: usize, gate: Gate, delay: Delay) -> Self {
        let tree = tempfile::tempdir().expect("a temporary directory");
        fs::write(tree.path().join("file"), b"content").expect("a file");
        let client = Client::new(tree.path(), Access::ReadOnly);
        client.walk(0, 1, &["file"]).expect("there");
        client.lopen(1, RDONLY).expect("opens");
        let server: Arc<FileServer> = Arc::new(client.server);
        let (sender, woken) = channel();
        let wake = move || {
            let _ = sender.send(());
        };
        Self {
            pool: Pool::with_delay(server, workers, wake, delay).expect("threads"),
            _tree: tree,
            woken,
            gate,
        }
    }

    fn submit(&self, request: Vec<u8>) {
        self.pool.submit(job(request));
    }

    fn next(&self) -> Done {
        let begin = Instant::now();
        loop {
            if let Some(done) = self.pool.completed() {
                return done;
            }
            let left = PATIENCE.saturating_sub(begin.elapsed());
            self.woken.recv_timeout(left).expect("an answer comes");
        }
    }

    /// The next answer's tag and whether it is an error.
    fn outcome(&self) -> (u64, Result<(), Errno>) {
        let done = self.next();
        let outcome = open_answer(&done.request, done.reply).map(drop);
        (done.id, outcome)
    }
}

impl Drop for Setup {
    /// Lets the workers go, whom a test that failed left at the gate: the pool
    /// waits for them.
    fn drop(&mut self) {
        self.gate.open();
    }
}

#[test]
fn a_slow_read_does_not_hold_up_a_fast_getattr() {
    let setup = Setup::new(2);
    setup.submit(read(1, 1, 0, HELD));
    setup.gate.wait_for(1);
    setup.submit(getattr(2, 1));
    setup.submit(getattr(3, 1));
    assert_eq!(setup.outcome(), (2, Ok(())));
    assert_eq!(setup.outcome(), (3, Ok(())));
    assert!(setup.pool.completed().is_none(), "the read is still held");
    setup.gate.open();
    let done = setup.next();
    assert_eq!(done.id, 1);
    assert_eq!(&done.reply[11..], b"content");
    assert_eq!(done.request, read(1, 1, 0, HELD), "comes back for reuse");
}

#[test]
fn a_delay_by_the_clock_lets_later_requests_overtake() {
    let delay = Delay::by(|operation| {
        (operation.kind == MessageType::TREAD).then_some(Duration::from_millis(300))
    });
    let setup = Setup::with(2, Gate::default(), delay);
    let begin = Instant::now();
    setup.submit(read(1, 1, 0, 10));
    for tag in 2..40 {
        setup.submit(getattr(tag, 1));
    }
    let order: Vec<_> = (1..40).map(|_| setup.outcome().0).collect();
    assert_eq!(order.last(), Some(&1), "submitted first, finished last");
    assert_eq!(order.len(), 39);
    assert!(begin.elapsed() >= Duration::from_millis(300));
}

#[test]
fn a_burst_gets_all_workers_going() {
    for _ in 0..50 {
        let setup = Setup::new(4);
        for tag in 0..4 {
            setup.submit(read(tag, 1, 0, HELD));
        }
        setup.gate.wait_for(4);
        setup.gate.open();
        for _ in 0..4 {
            assert_eq!(setup.outcome().1, Ok(()));
        }
    }
}

#[test]
fn what_waits_is_taken_back_before_its_rflush() {
    let setup = Setup::new(1);
    setup.submit(read(1, 1, 0, HELD));
    setup.gate.wait_for(1);
    setup.submit(getattr(2, 1));
    setup.submit(getattr(3, 1));
    setup.submit(flush(9, 2));
    assert_eq!(setup.outcome(), (2, Err(Errno::INTR)));
    assert_eq!(setup.outcome(), (9, Ok(())), "with the only worker busy");
    setup.gate.open();
    assert_eq!(setup.outcome(), (1, Ok(())));
    assert_eq!(setup.outcome(), (3, Ok(())));
    assert!(setup.pool.completed().is_none());
}

#[test]
fn what_runs_is_answered_before_its_rflush() {
    let setup = Setup::new(2);
    setup.submit(read(1, 1, 0, HELD));
    setup.gate.wait_for(1);
    setup.submit(flush(8, 1));
    setup.submit(flush(9, 1));
    setup.submit(getattr(2, 1));
    assert_eq!(setup.outcome(), (2, Ok(())), "a worker is free");
    assert!(setup.pool.completed().is_none(), "the flushes wait");
    setup.gate.open();
    assert_eq!(setup.outcome(), (1, Ok(())), "really read");
    assert_eq!(setup.outcome(), (8, Ok(())));
    assert_eq!(setup.outcome(), (9, Ok(())));
}

#[test]
fn an_unknown_tag_is_flushed_at_once() {
    let setup = Setup::new(1);
    setup.submit(getattr(1, 1));
    assert_eq!(setup.outcome(), (1, Ok(())));
    setup.submit(read(2, 1, 0, HELD));
    setup.gate.wait_for(1);
    setup.submit(flush(3, 1));
    setup.submit(flush(4, 4));
    assert_eq!(setup.outcome(), (3, Ok(())), "answered before");
    assert_eq!(setup.outcome(), (4, Ok(())), "itself");
    setup.gate.open();
    assert_eq!(setup.outcome(), (2, Ok(())));
}

#[test]
fn a_version_takes_back_what_waits_and_waits_for_what_runs() {
    let setup = Setup::new(3);
    setup.submit(read(1, 1, 0, HELD));
    setup.submit(read(2, 1, 0, HELD));
    setup.submit(read(3, 1, 0, HELD));
    setup.gate.wait_for(3);
    setup.submit(getattr(4, 1));
    setup.submit(version(NO_TAG, 8192));
    setup.submit(getattr(5, 1));
    assert_eq!(setup.outcome(), (4, Err(Errno::INTR)));
    assert!(setup.pool.completed().is_none(), "the version waits");
    setup.gate.open();
    let mut running: Vec<_> = (0..3).map(|_| setup.outcome()).collect();
    running.sort_unstable_by_key(|(id, _)| *id);
    assert_eq!(running, [(1, Ok(())), (2, Ok(())), (3, Ok(()))]);
    assert_eq!(setup.outcome(), (u64::from(NO_TAG), Ok(())));
    assert_eq!(setup.outcome(), (5, Err(Errno::BADF)), "a new session");
}

#[rstest]
#[timeout(PATIENCE)]
fn dropping_a_pool_does_not_wait_for_delays() {
    let (sender, started) = channel();
    let sender = Mutex::new(sender);
    let delay = Delay::by(move |_| {
        let _ = sender.lock().expect("no panics").send(());
        Some(Duration::from_secs(3600))
    });
    let setup = Setup::with(2, Gate::default(), delay);
    for tag in 0..10 {
        setup.submit(getattr(tag, 1));
    }
    started.recv_timeout(PATIENCE).expect("a worker begins");
    drop(setup);
}

#[test]
fn no_wake_up_is_lost() {
    let setup = Setup::new(4);
    let (pool, total) = (&setup.pool, 20_000_u64);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for number in 0..total {
                let tag = (number % 60_000) as u16;
                pool.submit(job(getattr(tag, 1)));
                if number % 97 == 0 {
                    std::thread::sleep(Duration::from_micros(50));
                }
            }
        });
        // Looks only when woken, and then until there is nothing: a wake-up
        // too few would end this in the timeout.
        let mut collected = 0;
        while collected < total {
            setup.woken.recv_timeout(PATIENCE).expect("woken");
            while setup.pool.completed().is_some() {
                collected += 1;
            }
        }
        assert_eq!(collected, total);
    });
    assert!(setup.pool.completed().is_none());
}

/// Requests and flushes of them from one thread, against several workers, with
/// no gate: whatever the timing, each is answered once, and a flush never
/// before what it flushes.
#[test]
fn flushes_race_with_answers() {
    let setup = Setup::new(3);
    for round in 0..100_u64 {
        let old: Vec<u16> = (0..20).collect();
        for tag in &old {
            setup.submit(if tag % 2 == 0 {
                read(*tag, 1, 0, 100)
            } else {
                getattr(*tag, 1)
            });
            if (u64::from(*tag) + round) % 3 == 0 {
                setup.submit(flush(1000 + tag, *tag));
            }
        }
        for tag in &old {
            if (u64::from(*tag) + round) % 3 != 0 {
                setup.submit(flush(1000 + tag, *tag));
            }
        }
        let mut place = HashMap::new();
        for at in 0..40 {
            let (id, outcome) = setup.outcome();
            assert!(place.insert(id, at).is_none(), "{id} answered once");
            if id >= 1000 {
                assert_eq!(outcome, Ok(()));
            } else {
                assert!(matches!(outcome, Ok(()) | Err(Errno::INTR)), "{outcome:?}");
            }
        }
        for tag in old {
            let (old, flush) = (place[&u64::from(tag)], place[&u64::from(1000 + tag)]);
            assert!(old < flush, "round {round}, tag {tag}");
        }
    }
    assert!(setup.pool.completed().is_none());
}
