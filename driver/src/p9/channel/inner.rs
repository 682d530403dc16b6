//! What the channel's callers and its interrupt share: the queue under its lock.

use std::sync::{
    Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
};

use virtscope_record::{Layout, Token};

use super::super::completion::Completion;
use super::{ChannelError, Message, Pending};
use crate::bus::{Device, InitError, Queue};
use crate::instrument::Instrument;
use crate::memory::{PageBuffer, Segment, SharedQueueMemory};
use crate::ring::{QueueError, QueueHandle, QueueSize, UsedBuffer};

pub(super) type Outcome = Result<Vec<u8>, ChannelError>;
type Handle<I> = QueueHandle<SharedQueueMemory, I>;

/// What travels with a buffer: its memory, and who waits for it.
#[derive(Debug)]
pub(super) struct InFlight {
    /// Held so that the pages stay the device's until the buffer is back.
    request: PageBuffer,
    reply: PageBuffer,
    done: Arc<Completion<Outcome>>,
}

/// What the channel's lock protects (`virtio_chan::lock`).
pub(super) struct State<I: Instrument> {
    queue: Queue<I, InFlight>,
    /// Whether a thread that found the ring full may try again.
    ring_bufs_avail: bool,
    next_token: u64,
    closed: bool,
    /// Why no request will ever be answered again, if so.
    broken: Option<ChannelError>,
}

pub(super) struct Inner<I: Instrument> {
    pub(super) device: Device,
    pub(super) tag: String,
    state: Mutex<State<I>>,
    /// Threads that wait for room in the ring (`vc_wq`).
    room: Condvar,
    /// For what needs no lock. Another one after a reset of the queue, which waits
    /// until nobody uses this one.
    handle: RwLock<Handle<I>>,
}

impl<I: Instrument> Inner<I> {
    pub(super) fn new(device: Device, tag: String, queue: Queue<I, InFlight>) -> Self {
        Self {
            device,
            tag,
            handle: RwLock::new(queue.handle()),
            state: Mutex::new(State {
                queue,
                ring_bufs_avail: true,
                next_token: 1,
                closed: false,
                broken: None,
            }),
            room: Condvar::new(),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State<I>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn handle(&self) -> RwLockReadGuard<'_, Handle<I>> {
        self.handle.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn handle_mut(&self) -> RwLockWriteGuard<'_, Handle<I>> {
        self.handle.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds one request, waiting for room in the ring if need be.
    pub(super) fn add<'a>(
        &'a self,
        mut state: MutexGuard<'a, State<I>>,
        message: Message<'_>,
    ) -> Result<(MutexGuard<'a, State<I>>, Pending), ChannelError> {
        let pages = self.device.pages();
        let mut request = pages.allocate(message.request.len())?;
        request.write(message.request);
        let reply = pages.allocate(message.reply_capacity)?;
        let readable: Vec<Segment> = request.segments().collect();
        let writable: Vec<Segment> = reply.segments().collect();
        let done = Arc::new(Completion::new());
        let mut data = InFlight {
            request,
            reply,
            done: Arc::clone(&done),
        };
        let token = Token(state.next_token);
        state.next_token += 1;
        loop {
            state.usable()?;
            match state.queue.ring.add(&readable, &writable, token, data) {
                Ok(_) => return Ok((state, Pending { done })),
                Err(error) => {
                    if !error.kind.is_temporary() {
                        return Err(error.kind.into());
                    }
                    data = error.data;
                }
            }
            // The ring is full. Said under the lock that saw it, so that room made
            // from now on is noticed.
            state.ring_bufs_avail = false;
            // What is in it must be known to the device before we sleep, or nobody
            // would make room.
            self.kick(state)?;
            state = self.lock();
            while !state.ring_bufs_avail && state.usable().is_ok() {
                state = self
                    .room
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    /// Decides under the lock, notifies outside it, as Linux does. A device that
    /// can't be notified will answer nobody, so then everyone hears of it.
    pub(super) fn kick(&self, mut state: MutexGuard<'_, State<I>>) -> Result<(), ChannelError> {
        let needed = state.queue.ring.kick_prepare();
        drop(state);
        if !needed {
            return Ok(());
        }
        let Err(error) = self.handle().notify() else {
            return Ok(());
        };
        let mut state = self.lock();
        // Of a channel that was closed meanwhile, everyone has heard.
        state.usable()?;
        self.fail(&mut state, error.into());
        Err(error.into())
    }

    /// The thread that stands in for the guest's interrupt handling is here after
    /// each interrupt.
    pub(super) fn take_interrupt(&self) {
        let any = self.handle().interrupt();
        if any {
            self.request_done();
        }
    }

    /// Linux `req_done`: takes all used buffers and wakes those who wait. While
    /// it is at it, it wants no further interrupts.
    fn request_done(&self) {
        let mut finished = Vec::new();
        let mut state = self.lock();
        while state.usable().is_ok() {
            state.queue.ring.disable_callbacks();
            if let Err(broken) = state.take_used(&mut finished) {
                self.fail(&mut state, broken.into());
            } else if state.queue.ring.enable_callbacks() {
                break;
            }
        }
        drop(state);
        self.room.notify_all();
        finished.into_iter().for_each(InFlight::answer);
    }

    /// No request will be answered any more: everyone who waits hears of it. The
    /// pages stay with the queue, because the device may still write to them.
    pub(super) fn fail(&self, state: &mut State<I>, broken: ChannelError) {
        if state.usable().is_err() {
            return;
        }
        state.broken = Some(broken);
        // The device is given up before anyone hears of it: whoever was told
        // finds the status as it will stay.
        self.device.give_up();
        state.queue.ring.for_each_in_flight(|in_flight| {
            in_flight.done.complete(Err(broken));
        });
        // Those who wait for room hold nothing in the ring.
        self.room.notify_all();
    }

    pub(super) fn reset_queue(&self, max_size: QueueSize) -> Result<(), ChannelError> {
        let mut state = self.lock();
        state.usable()?;
        let mut handle = self.handle_mut();
        let mut lost = Vec::new();
        let take = |unused: UsedBuffer<InFlight>| lost.push(unused);
        let reset = self.device.reset_queue(&mut state.queue, max_size, take);
        *handle = state.queue.handle();
        drop(handle);
        state.ring_bufs_avail = true;
        if let Err(error @ InitError::NoQueueReset { .. }) = reset {
            self.fail(&mut state, error.into());
        }
        drop(state);
        self.room.notify_all();
        for unused in lost {
            unused.data.end(Err(ChannelError::QueueReset));
        }
        Ok(reset?)
    }

    /// Ends everything: no request is sent from now on, and none is waited for.
    pub(super) fn close(&self) {
        // First, so that nobody takes the device's end for its failure.
        self.lock().closed = true;
        self.room.notify_all();
        let reset = self.device.reset();
        let mut state = self.lock();
        let closed = || Err(ChannelError::Closed);
        match reset {
            // The device has let go of the ring: what it did not use is ours again,
            // and so is what it used shortly before.
            Ok(()) => {
                let mut finished = Vec::new();
                // A queue that is broken has lost its used buffers.
                let _ = state.take_used(&mut finished);
                finished.into_iter().for_each(InFlight::answer);
                while let Some(unused) = state.queue.ring.detach_unused() {
                    unused.data.end(closed());
                }
            }
            // It may still write into the buffers, which stay where they are.
            Err(_) => state
                .queue
                .ring
                .for_each_in_flight(|in_flight| in_flight.done.complete(closed())),
        }
    }
}

impl InFlight {
    /// The device has written the reply: hands it to whoever waits for it.
    fn answer(used: UsedBuffer<Self>) {
        let reply = used.data.reply.read(used.written as usize);
        used.data.end(Ok(reply));
    }

    /// The buffer is back. Its pages are free before anyone hears of its end, so that
    /// there is memory for what they do next.
    fn end(self, outcome: Outcome) {
        let Self {
            request,
            reply,
            done,
        } = self;
        drop((request, reply));
        done.complete(outcome);
    }
}

impl<I: Instrument> State<I> {
    pub(super) fn layout(&self) -> Layout {
        self.queue.ring.layout()
    }

    /// Takes all used buffers that there are now.
    fn take_used(&mut self, into: &mut Vec<UsedBuffer<InFlight>>) -> Result<(), QueueError> {
        while let Some(used) = self.queue.ring.get_buf()? {
            self.ring_bufs_avail = true;
            into.push(used);
        }
        Ok(())
    }

    fn usable(&self) -> Result<(), ChannelError> {
        match self.broken {
            Some(broken) => Err(broken),
            None if self.closed => Err(ChannelError::Closed),
            None => Ok(()),
        }
    }
}
