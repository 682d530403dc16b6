//! The channel: 9P messages through one virtqueue (Linux
//! `net/9p/trans_virtio.c`, `struct virtio_chan`).
//!
//! A request is two lists of pages, one the device reads and one it writes. It
//! is added under the channel's lock; a thread that finds the ring full waits
//! until buffers came back (`ring_bufs_avail`, `vc_wq`). Replies arrive in
//! whatever order the server finishes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use virtscope_record::{Body, FeatureBits, Flags, Generation, Reset, Token};

use super::buffers::{NoPages, PageBuffer, PagePool};
use super::completion::Completion;
use crate::event::Signal;
use crate::instrument::{Event, Instrument, Payload};
use crate::memory::{GuestAddress, Segment, SharedQueueMemory};
use crate::ring::{
    AddErrorKind, AvailableNotification, Features, Notifier, NotifyError, QueueError, QueueHandle,
    QueueSize, SplitQueue, split_layout,
};
use crate::transport::{
    self, DEVICE_TYPE_9P, InitError, QueueSetup, Status, Transport, driver_ok, negotiate,
};

/// The only queue of a 9P device.
const REQUEST_QUEUE: u16 = 0;
/// `VIRTQUEUE_NUM`: Linux asks for 128 descriptors, and so do we at most.
pub const MAX_QUEUE_SIZE: QueueSize = match QueueSize::new(128) {
    Ok(size) => size,
    Err(_) => QueueSize::MAX,
};

/// A request that got no reply.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChannelError {
    /// Its buffers can't be added, now or ever.
    #[error(transparent)]
    Add(#[from] AddErrorKind),
    /// No memory for its buffers.
    #[error(transparent)]
    NoPages(#[from] NoPages),
    /// The device can't be told of it.
    #[error(transparent)]
    Notify(#[from] NotifyError),
    /// The device broke the queue.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// The device asks for a reset (virtio 1.4 §2.1.2, `DEVICE_NEEDS_RESET`).
    #[error("the device has failed and needs a reset")]
    DeviceFailed,
    /// The channel was closed meanwhile.
    #[error("the channel is closed")]
    Closed,
    /// Another mount has the channel (Linux `EBUSY`).
    #[error("the channel is in use by another mount (EBUSY)")]
    Busy,
}

/// What travels with a buffer: its memory, and who waits for it.
#[derive(Debug)]
struct InFlight {
    /// Held so that the pages stay the device's until the buffer is back.
    _request: PageBuffer,
    reply: PageBuffer,
    done: Arc<Completion<Outcome>>,
}

type Outcome = Result<Vec<u8>, ChannelError>;
type Queue<I> = SplitQueue<SharedQueueMemory, I, InFlight>;

/// What the channel's lock protects (`virtio_chan::lock`).
struct State<I> {
    queue: Queue<I>,
    /// Whether a thread that found the ring full may try again.
    ring_bufs_avail: bool,
    next_token: u64,
    closed: bool,
    /// Why no request will ever be answered again, if so.
    broken: Option<ChannelError>,
}

struct Inner<I> {
    transport: Arc<dyn Transport>,
    tag: String,
    features: FeatureBits,
    state: Mutex<State<I>>,
    /// Threads that wait for room in the ring (`vc_wq`).
    room: Condvar,
    handle: QueueHandle<SharedQueueMemory, I>,
    size: QueueSize,
    pages: Arc<PagePool>,
    interrupt: Arc<Signal>,
    stop: AtomicBool,
    in_use: AtomicBool,
}

/// One virtio-9p device, brought up (Linux `struct virtio_chan`).
pub struct Channel<I: Instrument> {
    inner: Arc<Inner<I>>,
    interrupts: Mutex<Option<JoinHandle<()>>>,
}

/// A message to send: the request's bytes and the longest reply it may have.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// The whole T-message.
    pub request: &'a [u8],
    /// Bytes its reply may have.
    pub reply_capacity: usize,
}

/// A request on its way.
#[derive(Debug)]
#[must_use = "the reply is lost unless it is waited for"]
pub struct Pending {
    done: Arc<Completion<Outcome>>,
}

impl Pending {
    /// Waits for the reply's bytes: as many as the device says it wrote.
    ///
    /// # Errors
    /// The queue broke or the channel was closed.
    pub fn wait(self) -> Result<Vec<u8>, ChannelError> {
        self.done.wait()
    }
}

struct Doorbell {
    transport: Arc<dyn Transport>,
}

impl Notifier for Doorbell {
    fn notify(&self, notification: AvailableNotification) -> Result<(), NotifyError> {
        self.transport.notify(REQUEST_QUEUE, notification)
    }
}

impl<I: Instrument> Channel<I> {
    /// Linux `p9_virtio_probe`: brings the device up and makes its channel.
    /// `instrument` takes the driver half's records; `name` names the thread
    /// that takes its interrupts.
    ///
    /// # Errors
    /// See [`InitError`].
    pub fn probe(
        transport: Arc<dyn Transport>,
        name: &str,
        event_idx: bool,
        instrument: I,
    ) -> Result<Self, InitError> {
        Self::probe_again(transport, name, event_idx, instrument, Generation(0))
    }

    /// [`probe`](Self::probe) for a device that was removed before: its queue
    /// begins the life `generation`, and the reset in between becomes a record.
    ///
    /// # Errors
    /// As for `probe`.
    pub fn probe_again(
        transport: Arc<dyn Transport>,
        name: &str,
        event_idx: bool,
        instrument: I,
        generation: Generation,
    ) -> Result<Self, InitError> {
        let optional = if event_idx {
            FeatureBits::EVENT_IDX
        } else {
            FeatureBits::default()
        };
        let required = FeatureBits::VERSION_1.union(FeatureBits::P9_MOUNT_TAG);
        let features = negotiate(&*transport, DEVICE_TYPE_9P, required, optional)?;
        let tag = read_tag(&*transport)?;
        let max = transport
            .max_queue_size(REQUEST_QUEUE)
            .ok_or(InitError::NoQueue {
                index: REQUEST_QUEUE,
            })?;
        let size = max.min(MAX_QUEUE_SIZE).power_of_two_below();
        let (addresses, ring_bytes) = split_layout::contiguous(GuestAddress(0), size);
        let memory = Arc::clone(transport.memory());
        // What an earlier life has left there must not be taken for this one's.
        memory
            .write(GuestAddress(0), &vec![0; ring_bytes as usize])
            .map_err(|_| InitError::NoMemory { what: "the ring" })?;
        if I::ENABLED && generation != Generation(0) {
            instrument.emit(
                Event {
                    time: instrument.now(),
                    token: Token::default(),
                    flags: Flags::empty(),
                    body: Body::Reset(Reset::default()),
                },
                Payload::none(),
            );
        }
        instrument.start_generation(generation);
        let queue_memory = SharedQueueMemory::split(Arc::clone(&memory), addresses, size)
            .map_err(|_| InitError::NoMemory { what: "the ring" })?;
        let queue = SplitQueue::new(
            queue_memory,
            size,
            Features::from_bits(features),
            instrument,
            Box::new(Doorbell {
                transport: Arc::clone(&transport),
            }),
        )?;
        let interrupt = Arc::new(Signal::new());
        let inner = Arc::new(Inner {
            tag,
            features,
            handle: queue.handle(),
            state: Mutex::new(State {
                queue,
                ring_bufs_avail: true,
                next_token: 1,
                closed: false,
                broken: None,
            }),
            room: Condvar::new(),
            size,
            pages: PagePool::new(memory, GuestAddress(ring_bytes)),
            interrupt: Arc::clone(&interrupt),
            stop: AtomicBool::new(false),
            in_use: AtomicBool::new(false),
            transport,
        });
        let interrupts = std::thread::Builder::new()
            .name(format!("{name}-irq"))
            .spawn({
                let inner = Arc::clone(&inner);
                move || inner.take_interrupts()
            })
            .map_err(|_| InitError::NoThread)?;
        inner.transport.enable_queue(
            REQUEST_QUEUE,
            QueueSetup {
                size,
                addresses,
                interrupt,
            },
        );
        // From here on dropping the channel ends the thread.
        let channel = Self {
            inner,
            interrupts: Mutex::new(Some(interrupts)),
        };
        driver_ok(&*channel.inner.transport)?;
        Ok(channel)
    }

    /// The mount tag, as the device's configuration says it.
    pub fn tag(&self) -> &str {
        &self.inner.tag
    }

    /// The request queue's size.
    pub fn queue_size(&self) -> QueueSize {
        self.inner.size
    }

    /// The features negotiated.
    pub fn features(&self) -> FeatureBits {
        self.inner.features
    }

    /// Linux `p9_virtio_create`: claims the channel for one mount.
    ///
    /// # Errors
    /// [`ChannelError::Busy`]: another mount has it.
    pub fn claim(&self) -> Result<(), ChannelError> {
        if self.inner.in_use.swap(true, Ordering::AcqRel) {
            return Err(ChannelError::Busy);
        }
        Ok(())
    }

    /// Linux `p9_virtio_close`: gives the channel back.
    pub fn release(&self) {
        self.inner.in_use.store(false, Ordering::Release);
    }

    /// Linux `p9_virtio_request`: sends one request. Waits while the ring is
    /// full.
    ///
    /// # Errors
    /// See [`ChannelError`].
    pub fn request(&self, message: Message<'_>) -> Result<Pending, ChannelError> {
        let mut state = self.inner.lock();
        let pending;
        (state, pending) = self.inner.add(state, message)?;
        self.inner.kick(state)?;
        Ok(pending)
    }

    /// Sends several requests with one kick, as a driver that batches does.
    /// Those that did not fit at once are kicked before waiting for room.
    ///
    /// Where one can't be sent, those behind it are not; those before it are on
    /// their way, so all that were sent come back, with the error beside them.
    pub fn request_batch(
        &self,
        messages: &[Message<'_>],
    ) -> (Vec<Pending>, Result<(), ChannelError>) {
        let mut sent = Vec::with_capacity(messages.len());
        let mut result = Ok(());
        for message in messages {
            match self.inner.add(self.inner.lock(), *message) {
                Ok((_, pending)) => sent.push(pending),
                Err(error) => {
                    result = Err(error);
                    break;
                }
            }
        }
        let kicked = self.inner.kick(self.inner.lock());
        (sent, result.and(kicked))
    }

    /// Linux `p9_virtio_remove`: resets the device and gives up what is in
    /// flight. Whoever waits gets [`ChannelError::Closed`].
    pub fn remove(&self) {
        self.inner.transport.set_status(Status::empty());
        // The device has let go of the ring: what it did not use is ours again.
        let mut state = self.inner.lock();
        state.closed = true;
        while let Some(unused) = state.queue.detach_unused() {
            unused.data.done.complete(Err(ChannelError::Closed));
        }
        drop(state);
        self.inner.room.notify_all();
        self.inner.stop.store(true, Ordering::Release);
        self.inner.interrupt.set();
        let thread = self
            .interrupts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = thread {
            // It ends on its own; a panic in it was reported by its hook.
            let _ = thread.join();
        }
    }
}

impl<I: Instrument> Drop for Channel<I> {
    fn drop(&mut self) {
        self.remove();
    }
}

impl<I: Instrument> Inner<I> {
    fn lock(&self) -> MutexGuard<'_, State<I>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds one request, waiting for room in the ring if need be.
    fn add<'a>(
        &'a self,
        mut state: MutexGuard<'a, State<I>>,
        message: Message<'_>,
    ) -> Result<(MutexGuard<'a, State<I>>, Pending), ChannelError> {
        let mut request = self.pages.allocate(message.request.len())?;
        request.write(message.request);
        let reply = self.pages.allocate(message.reply_capacity)?;
        let readable: Vec<Segment> = request.segments().collect();
        let writable: Vec<Segment> = reply.segments().collect();
        let done = Arc::new(Completion::new());
        let mut data = InFlight {
            _request: request,
            reply,
            done: Arc::clone(&done),
        };
        let token = Token(state.next_token);
        state.next_token += 1;
        loop {
            if let Some(broken) = state.broken {
                return Err(broken);
            }
            if state.closed {
                return Err(ChannelError::Closed);
            }
            match state.queue.add(&readable, &writable, token, data) {
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
            while !state.ring_bufs_avail && !state.closed && state.broken.is_none() {
                state = self
                    .room
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    /// Decides under the lock, notifies outside it, as Linux does. A device that
    /// can't be notified will answer nobody, so then everyone hears of it.
    fn kick(&self, mut state: MutexGuard<'_, State<I>>) -> Result<(), ChannelError> {
        let needed = state.queue.kick_prepare();
        drop(state);
        if needed && let Err(error) = self.handle.notify() {
            self.fail(&mut self.lock(), error.into());
            return Err(error.into());
        }
        Ok(())
    }

    /// The thread that stands in for the guest's interrupt handling.
    fn take_interrupts(&self) {
        loop {
            self.interrupt.wait();
            if self.stop.load(Ordering::Acquire) {
                return;
            }
            // The same signal tells of a change of the configuration (virtio 1.4
            // §2.1.2).
            if self.transport.status().contains(Status::DEVICE_NEEDS_RESET) {
                self.fail(&mut self.lock(), ChannelError::DeviceFailed);
                continue;
            }
            if self.handle.interrupt() {
                self.request_done();
            }
        }
    }

    /// Linux `req_done`: takes all used buffers and wakes those who wait. While
    /// it is at it, it wants no further interrupts.
    fn request_done(&self) {
        let mut finished = Vec::new();
        let mut state = self.lock();
        loop {
            state.queue.disable_callbacks();
            loop {
                match state.queue.get_buf() {
                    Ok(Some(used)) => {
                        state.ring_bufs_avail = true;
                        finished.push(used);
                    }
                    Ok(None) => break,
                    Err(broken) => {
                        self.fail(&mut state, broken.into());
                        break;
                    }
                }
            }
            if state.broken.is_some() || state.queue.enable_callbacks() {
                break;
            }
        }
        drop(state);
        self.room.notify_all();
        for used in finished {
            let reply = used.data.reply.read(used.written as usize);
            used.data.done.complete(Ok(reply));
        }
    }

    /// No request will be answered any more: everyone who waits hears of it. The
    /// pages stay with the queue, because the device may still write to them.
    fn fail(&self, state: &mut State<I>, broken: ChannelError) {
        if state.broken.is_some() || state.closed {
            return;
        }
        state.broken = Some(broken);
        // The device is given up before anyone hears of it: whoever was told
        // finds the status as it will stay.
        let status = self.transport.status();
        self.transport.set_status(status | Status::FAILED);
        for in_flight in state.queue.in_flight_data() {
            in_flight.done.complete(Err(broken));
        }
        // Those who wait for room hold nothing in the ring.
        self.room.notify_all();
    }
}

/// `struct virtio_9p_config`: the tag's length and its bytes (Linux
/// `p9_virtio_probe`).
fn read_tag(transport: &dyn Transport) -> Result<String, InitError> {
    let mut len = [0; 2];
    transport::read_config_stable(transport, 0, &mut len)?;
    let mut tag = vec![0; usize::from(u16::from_le_bytes(len))];
    transport::read_config_stable(transport, 2, &mut tag)?;
    Ok(String::from_utf8_lossy(&tag).into_owned())
}
