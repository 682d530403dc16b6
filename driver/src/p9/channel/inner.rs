//! What the channel's callers and its interrupt share: the queue under its lock.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{
    Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak,
};

use virtscope_record::{Layout, Token};

use super::super::completion::Completion;
use super::super::interrupt::{Interrupt, Wake};
use super::pending::{Answered, Outcome, Payload, Unsent};
use super::pinned::{Pin, Pinned};
use super::scatter::ScatterList;
use super::{ChannelError, Message, Pending};
use crate::bus::{Device, InitError, Queue};
use crate::instrument::Instrument;
use crate::memory::{PageBuffer, SharedQueueMemory};
use crate::ring::{QueueError, QueueHandle, QueueSize, UsedBuffer};

type Handle<I> = QueueHandle<SharedQueueMemory, I>;

/// What travels with a buffer: its memory, and who waits for it.
#[derive(Debug)]
pub(super) struct InFlight {
    packed: Packed,
    done: Arc<Completion<Outcome>>,
}

/// A request's memory. The pages are the device's until the buffer is back.
#[derive(Debug)]
pub(super) struct Packed {
    request: PageBuffer,
    reply: PageBuffer,
    /// The caller's own, and the pin that counts them.
    payload: Option<(Payload, Pin)>,
}

/// What the channel's lock protects (`virtio_chan::lock`).
pub(super) struct State<I: Instrument> {
    queue: Queue<I, InFlight>,
    sg: ScatterList,
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
    /// Whether no request will be sent any more, for those who wait without the lock.
    ended: AtomicBool,
    /// Pages that zero-copy requests have pinned, on all channels of the driver.
    pub(super) pinned: Arc<Pinned>,
    /// How many of them there may be before the next request has to wait.
    pub(super) p9_max_pages: usize,
    /// For what needs no lock. Another one after a reset of the queue, which waits
    /// until nobody uses this one.
    handle: RwLock<Handle<I>>,
}

impl<I: Instrument> Inner<I> {
    pub(super) fn new(
        device: Device,
        tag: String,
        queue: Queue<I, InFlight>,
        pinned: Arc<Pinned>,
    ) -> Self {
        Self {
            // Linux: `nr_free_buffer_pages() / 4`.
            p9_max_pages: device.pages().available() / 4,
            pinned,
            ended: AtomicBool::new(false),
            device,
            tag,
            handle: RwLock::new(queue.handle()),
            state: Mutex::new(State {
                queue,
                sg: ScatterList::new(),
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

    /// Puts a request into guest memory, and takes memory for its reply.
    pub(super) fn pack(&self, message: Message<'_>) -> Result<Packed, ChannelError> {
        let pages = self.device.pages();
        let mut request = pages.allocate(message.request.len())?;
        request.write(message.request);
        Ok(Packed {
            request,
            reply: pages.allocate(message.reply_capacity)?,
            payload: None,
        })
    }

    /// Pins the caller's pages and lets the request carry them.
    pub(super) fn carry(&self, packed: Packed, payload: Payload) -> Result<Packed, Unsent> {
        let pages = payload.pages().pages();
        let go_on = || !self.ended.load(Ordering::SeqCst);
        match self.pinned.pin(pages, self.p9_max_pages, go_on) {
            Some(pin) => Ok(Packed {
                payload: Some((payload, pin)),
                ..packed
            }),
            None => Err(Unsent {
                error: self.lock().usable().err().unwrap_or(ChannelError::Closed),
                payload,
            }),
        }
    }

    /// Adds one request, waiting for room in the ring if need be. What is not added
    /// comes back.
    #[expect(
        clippy::type_complexity,
        clippy::result_large_err,
        reason = "what was moved in is moved back, as it was"
    )]
    pub(super) fn add<'a>(
        self: &'a Arc<Self>,
        mut state: MutexGuard<'a, State<I>>,
        packed: Packed,
        interrupt: Option<&Interrupt>,
    ) -> Result<(MutexGuard<'a, State<I>>, Pending), (ChannelError, Packed)> {
        let done = Arc::new(Completion::new());
        let mut data = InFlight {
            packed,
            done: Arc::clone(&done),
        };
        let token = Token(state.next_token);
        state.next_token += 1;
        loop {
            if let Err(error) = state.usable() {
                return Err((error, data.packed));
            }
            data = match state.pack_and_add(token, data) {
                Ok(()) => return Ok((state, Pending { done })),
                Err((None, data)) => data,
                Err((Some(error), data)) => return Err((error, data.packed)),
            };
            // The ring is full. Said under the lock that saw it, so that room made
            // from now on is noticed.
            state.ring_bufs_avail = false;
            // What is in it must be known to the device before we sleep, or nobody
            // would make room.
            if let Err(error) = self.kick(state) {
                return Err((error, data.packed));
            }
            state = match self.wait_for_room(interrupt) {
                Ok(state) => state,
                Err(error) => return Err((error, data.packed)),
            };
        }
    }

    fn wait_for_room(
        self: &Arc<Self>,
        interrupt: Option<&Interrupt>,
    ) -> Result<MutexGuard<'_, State<I>>, ChannelError> {
        let _attendance = interrupt.map(|interrupt| {
            let place: Weak<dyn Wake> = Arc::downgrade(self) as Weak<dyn Wake>;
            interrupt.attend(place)
        });
        let mut state = self.lock();
        while !state.ring_bufs_avail && state.usable().is_ok() {
            if interrupt.is_some_and(Interrupt::is_raised) {
                return Err(ChannelError::Interrupted);
            }
            state = self
                .room
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        Ok(state)
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
        self.end_waits();
    }

    /// Whoever waits for others' pinned pages hears that this is over.
    fn end_waits(&self) {
        self.ended.store(true, Ordering::SeqCst);
        self.pinned.wake();
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
            unused.data.end(ChannelError::QueueReset);
        }
        Ok(reset?)
    }

    /// Ends everything: no request is sent from now on, and none is waited for.
    pub(super) fn close(&self) {
        // First, so that nobody takes the device's end for its failure.
        self.lock().closed = true;
        self.room.notify_all();
        self.end_waits();
        let reset = self.device.reset();
        let mut state = self.lock();
        match reset {
            // The device has let go of the ring: what it did not use is ours again,
            // and so is what it used shortly before.
            Ok(()) => {
                let mut finished = Vec::new();
                // A queue that is broken has lost its used buffers.
                let _ = state.take_used(&mut finished);
                finished.into_iter().for_each(InFlight::answer);
                while let Some(unused) = state.queue.ring.detach_unused() {
                    unused.data.end(ChannelError::Closed);
                }
            }
            // It may still write into the buffers, which stay where they are.
            Err(_) => state.queue.ring.for_each_in_flight(|in_flight| {
                in_flight.done.complete(Err(ChannelError::Closed));
            }),
        }
    }
}

impl InFlight {
    /// The device has written the reply: hands it to whoever waits for it.
    fn answer(used: UsedBuffer<Self>) {
        let written = used.written as usize;
        let reply = used.data.packed.reply.read(written);
        let Self { packed, done } = used.data;
        let payload = packed.into_payload();
        done.complete(Ok(Answered {
            reply,
            written,
            payload,
        }));
    }

    /// The buffer is back, and unanswered.
    fn end(self, error: ChannelError) {
        let Self { packed, done } = self;
        drop(packed);
        done.complete(Err(error));
    }
}

impl Packed {
    /// Frees the request's pages and lets go of the caller's. Before anyone hears of the
    /// request's end, so that there is memory for what they do next.
    fn into_payload(self) -> Option<Payload> {
        self.payload.map(|(payload, _)| payload)
    }

    /// It was not sent.
    pub(super) fn give_back(self, error: ChannelError) -> Unsent {
        match self.into_payload() {
            Some(payload) => Unsent { error, payload },
            None => unreachable!("only a request that carries a payload is given back"),
        }
    }
}

impl<I: Instrument> Wake for Inner<I> {
    fn wake(&self) {
        let _state = self.lock();
        self.room.notify_all();
    }
}

impl<I: Instrument> State<I> {
    pub(super) fn layout(&self) -> Layout {
        self.queue.ring.layout()
    }

    /// Packs the request's memory into the channel's list, and adds that. Without an
    /// error in what comes back there is no room now.
    #[expect(
        clippy::result_large_err,
        reason = "what was moved in is moved back, as it was"
    )]
    fn pack_and_add(
        &mut self,
        token: Token,
        data: InFlight,
    ) -> Result<(), (Option<ChannelError>, InFlight)> {
        let Packed {
            request,
            reply,
            payload,
        } = &data.packed;
        let (mut to_device, mut from_device) = (None, None);
        match payload {
            Some((Payload::ToDevice(pages), _)) => to_device = Some(pages.segments()),
            Some((Payload::FromDevice(pages), _)) => from_device = Some(pages.segments()),
            None => {}
        }
        let readable = request.segments().chain(to_device.into_iter().flatten());
        let writable = reply.segments().chain(from_device.into_iter().flatten());
        if let Err(error) = self.sg.pack(readable, writable) {
            return Err((Some(error), data));
        }
        let (readable, writable) = self.sg.parts();
        match self.queue.ring.add(readable, writable, token, data) {
            Ok(_) => Ok(()),
            Err(error) if error.kind.is_temporary() => Err((None, error.data)),
            Err(error) => Err((Some(error.kind.into()), error.data)),
        }
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
