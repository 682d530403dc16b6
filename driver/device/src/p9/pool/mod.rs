//! Worker threads, so that a slow request holds up no other.
//!
//! # What is taken back, and how
//! `Tflush` never occupies a worker; [`Pool::submit`] settles it:
//!
//! - The old request has not been started: it is taken back and completed with
//!   `Rlerror EINTR`, and the `Rflush` follows at once.
//! - It is running: system calls are not interrupted. Its answer comes when it
//!   comes, and the `Rflush` right behind it.
//! - It is unknown, because it was answered before: the `Rflush` comes at once.
//!   (Also before a version is agreed on: the pool does not ask the server.)
//!
//! So an old request's buffer is always back before the `Rflush`, as flush(5)
//! demands of an answer. Where this differs from QEMU: flush(5) lets a request
//! that was taken back go without any answer, and QEMU returns its buffer with
//! a used length of 0, which Linux passes over (`req_done` in
//! `net/9p/trans_virtio.c` looks only at buffers that hold bytes). Here it gets
//! an error instead, so that whoever watches the ring sees how each request
//! ended. Linux takes that for the request's result, `-EINTR`, which is also
//! what a signal would have given.
//!
//! `Tversion` ends a session, so it takes back all that has not been started,
//! waits for what runs, and lets nothing submitted later begin before it is
//! answered. A file system that never answers thereby keeps the next session
//! from beginning, and not only the request that is stuck in it.

mod delay;
mod queue;

use std::fmt;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

pub use delay::{Delay, Operation};
use queue::{Queue, Started};

use super::server::FileServer;

/// One request to be answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Job {
    /// The submitter's own number for it; the pool hands it back unread.
    pub id: u64,
    /// The T message.
    pub request: Vec<u8>,
    /// Bytes of room for the R message.
    pub reply_capacity: usize,
}

/// One request answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Done {
    /// [`Job::id`].
    pub id: u64,
    /// The R message; empty only where [`FileServer::handle`] says so.
    pub reply: Vec<u8>,
    /// [`Job::request`], for reuse.
    pub request: Vec<u8>,
}

/// Threads that answer requests through a [`FileServer`].
///
/// Dropping the pool ends its threads: what they are working on is finished
/// (a [`Delay`] cut short), what has not been started is dropped, and so is
/// what was not collected.
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

struct Shared {
    server: Arc<FileServer>,
    delay: Delay,
    wake: Box<dyn Fn() + Send + Sync>,
    state: Mutex<State>,
    work: Condvar,
    stop: Condvar,
}

#[derive(Default)]
struct State {
    queue: Queue,
    /// Workers asleep for whom no call is on its way.
    asleep: usize,
    /// Calls on their way to sleeping workers.
    calls: usize,
    stopping: bool,
}

impl Pool {
    /// `workers` threads (at least one) that answer through `server`. `wake`
    /// is called, from any thread, when there is something to collect and was
    /// nothing before; so collect until [`Self::completed`] has no more.
    ///
    /// # Errors
    /// What the system says if it cannot make the threads.
    pub fn new(
        server: Arc<FileServer>,
        workers: usize,
        wake: impl Fn() + Send + Sync + 'static,
    ) -> io::Result<Self> {
        Self::with_delay(server, workers, wake, Delay::none())
    }

    /// [`Self::new`], with requests slowed down as `delay` says.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn with_delay(
        server: Arc<FileServer>,
        workers: usize,
        wake: impl Fn() + Send + Sync + 'static,
        delay: Delay,
    ) -> io::Result<Self> {
        let mut pool = Self {
            shared: Arc::new(Shared {
                server,
                delay,
                wake: Box::new(wake),
                state: Mutex::default(),
                work: Condvar::new(),
                stop: Condvar::new(),
            }),
            workers: Vec::with_capacity(workers.max(1)),
        };
        for number in 0..workers.max(1) {
            let shared = Arc::clone(&pool.shared);
            let worker = Builder::new()
                .name(format!("9p-worker-{number}"))
                .spawn(move || shared.run())?;
            pool.workers.push(worker);
        }
        Ok(pool)
    }

    /// Takes on a request. Never waits for a file system or for a worker.
    pub fn submit(&self, job: Job) {
        let mut state = self.shared.lock();
        let announce = state.change(|queue| queue.submit(job));
        let call = state.call_worker();
        drop(state);
        if call {
            self.shared.work.notify_one();
        }
        if announce {
            (self.shared.wake)();
        }
    }

    /// The next answered request, in the order they were finished; `None` if
    /// there is none at the moment.
    #[must_use]
    pub fn completed(&self) -> Option<Done> {
        self.shared.lock().queue.completed()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.lock().stopping = true;
        self.shared.work.notify_all();
        self.shared.stop.notify_all();
        for worker in self.workers.drain(..) {
            // A worker that panicked has said so on standard error already.
            let _ = worker.join();
        }
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("workers", &self.workers.len())
            .finish_non_exhaustive()
    }
}

impl State {
    /// Changes the queue; whether that put the first thing there to collect.
    fn change(&mut self, change: impl FnOnce(&mut Queue)) -> bool {
        let nothing_before = !self.queue.has_completed();
        change(&mut self.queue);
        nothing_before && self.queue.has_completed()
    }

    /// Whether a sleeping worker must be woken now. One is on its way at most:
    /// it calls the next itself if it finds more than it can take. So a burst
    /// costs the submitter one wake-up, and short requests are answered by a
    /// worker that is awake rather than by many that have to get up.
    fn call_worker(&mut self) -> bool {
        let call = self.queue.has_startable() && self.asleep > 0 && self.calls == 0;
        if call {
            self.asleep -= 1;
            self.calls += 1;
        }
        call
    }
}

impl Shared {
    fn run(&self) {
        let mut state = self.lock();
        while !state.stopping {
            let Some(started) = state.queue.start() else {
                state = self.sleep(state);
                continue;
            };
            let call = state.call_worker();
            drop(state);
            if call {
                self.work.notify_one();
            }
            let (ticket, done) = self.answer(started);
            state = self.lock();
            if state.change(|queue| queue.finish(ticket, done)) {
                drop(state);
                (self.wake)();
                state = self.lock();
            }
        }
    }

    /// Until called. A call is counted rather than merely felt, so neither a
    /// wake-up without a call nor a call before the wait is mistaken.
    fn sleep<'a>(&self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        state.asleep += 1;
        let mut state = self
            .work
            .wait_while(state, |state| state.calls == 0 && !state.stopping)
            .unwrap_or_else(PoisonError::into_inner);
        // When stopping there may be no call to use up, and none is needed.
        state.calls = state.calls.saturating_sub(1);
        state
    }

    fn answer(&self, started: Started) -> (queue::Ticket, Done) {
        let Started { ticket, job } = started;
        if let Some(time) = self.delay.of(&job.request) {
            self.pause(time);
        }
        let mut reply = Vec::new();
        self.server
            .handle(&job.request, &mut reply, job.reply_capacity);
        let done = Done {
            id: job.id,
            reply,
            request: job.request,
        };
        (ticket, done)
    }

    fn pause(&self, time: Duration) {
        let _ = self
            .stop
            .wait_timeout_while(self.lock(), time, |state| !state.stopping);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that can panic runs under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
