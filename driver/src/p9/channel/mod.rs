//! The channel: 9P messages through one virtqueue (Linux
//! `net/9p/trans_virtio.c`, `struct virtio_chan`).
//!
//! A request is two lists of pages, one the device reads and one it writes. It
//! is added under the channel's lock; a thread that finds the ring full waits
//! until buffers came back (`ring_bufs_avail`, `vc_wq`). Replies arrive in
//! whatever order the server finishes.

mod error;
mod inner;
mod pending;
mod pinned;
mod scatter;

use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use virtscope_record::{FeatureBits, Layout};

use super::interrupt::Interrupt;
use crate::bus::{Device, InitError, InterruptThread, QueuePlan};
use crate::instrument::Instrument;
use crate::memory::{NoPages, PAGE_SIZE, PageBuffer};
use crate::ring::QueueSize;
use inner::{Inner, Packed};

pub use error::ChannelError;
pub use pending::{Answered, Interrupted, Message, Payload, Pending, Unsent};
pub(super) use pinned::Pinned;

/// The only queue of a 9P device.
pub const REQUEST_QUEUE: u16 = 0;
/// Linux `VIRTQUEUE_NUM`: the descriptors that a channel uses of its ring at most.
pub const VIRTQUEUE_NUM: u16 = 128;
/// The longest message a channel carries (Linux `p9_virtio_trans.maxsize`): all
/// descriptors but one for the request, one for the reply's first bytes, and one more
/// where data do not begin with a page.
pub const MAX_MESSAGE: u32 = PAGE_SIZE as u32 * (VIRTQUEUE_NUM as u32 - 3);
/// Linux asks for [`VIRTQUEUE_NUM`] descriptors, and so do we at most.
pub const MAX_QUEUE_SIZE: QueueSize = match QueueSize::new(VIRTQUEUE_NUM) {
    Ok(size) => size,
    Err(_) => QueueSize::MAX,
};
/// Descriptors of an indirect table: the pages of a message of 32 KiB that does not
/// begin at a page's beginning, those of a short reply, and some to spare.
const INDIRECT: u16 = 16;

/// One virtio-9p device, brought up (Linux `struct virtio_chan`).
pub struct Channel<I: Instrument> {
    inner: Arc<Inner<I>>,
    interrupts: Mutex<Option<InterruptThread>>,
    in_use: AtomicBool,
}

/// A channel that belongs to one mount. Dropping it gives the channel back (Linux
/// `p9_virtio_close`).
pub struct Claim<I: Instrument>(Arc<Channel<I>>);

impl<I: Instrument> Deref for Claim<I> {
    type Target = Channel<I>;

    fn deref(&self) -> &Channel<I> {
        &self.0
    }
}

impl<I: Instrument> Drop for Claim<I> {
    fn drop(&mut self) {
        self.0.in_use.store(false, Ordering::Release);
    }
}

impl<I: Instrument> Channel<I> {
    /// Linux `p9_virtio_probe`: reads the mount tag, sets the request queue up, and
    /// starts the device.
    ///
    /// # Errors
    /// See [`InitError`].
    pub(super) fn probe(
        device: &Device,
        instrument: I,
        pinned: Arc<Pinned>,
    ) -> Result<Self, InitError> {
        let tag = read_tag(device)?;
        let plan = QueuePlan {
            index: REQUEST_QUEUE,
            max_size: MAX_QUEUE_SIZE,
            indirect: INDIRECT,
        };
        let queue = device.queue(plan, instrument)?;
        let interrupt = Arc::clone(&queue.interrupt);
        let inner = Arc::new(Inner::new(device.clone(), tag, queue, pinned));
        let interrupts = InterruptThread::start(format!("{}-irq", device.name()), interrupt, {
            let inner = Arc::clone(&inner);
            move || inner.take_interrupt()
        })?;
        // From here on dropping the channel ends the thread.
        let channel = Self {
            inner,
            interrupts: Mutex::new(Some(interrupts)),
            in_use: AtomicBool::new(false),
        };
        device.ready()?;
        Ok(channel)
    }

    /// The mount tag, as the device's configuration says it.
    pub fn tag(&self) -> &str {
        &self.inner.tag
    }

    /// The device below.
    pub fn device(&self) -> &Device {
        &self.inner.device
    }

    /// The request queue's size.
    pub fn queue_size(&self) -> QueueSize {
        self.inner.handle().size()
    }

    /// The layout of its ring.
    pub fn layout(&self) -> Layout {
        self.inner.lock().layout()
    }

    /// The features negotiated.
    pub fn features(&self) -> FeatureBits {
        self.inner.device.features()
    }

    /// Claims the channel for one mount.
    ///
    /// # Errors
    /// [`ChannelError::Busy`]: another mount has it.
    pub fn claim(self: &Arc<Self>) -> Result<Claim<I>, ChannelError> {
        if self.in_use.swap(true, Ordering::AcqRel) {
            return Err(ChannelError::Busy);
        }
        Ok(Claim(Arc::clone(self)))
    }

    /// Linux `p9_virtio_request`: sends one request. Waits while the ring is
    /// full.
    ///
    /// # Errors
    /// See [`ChannelError`].
    pub fn request(&self, message: Message<'_>) -> Result<Pending, ChannelError> {
        self.send(message, None)
    }

    /// [`request`](Self::request), which stops waiting for room when `interrupt` is
    /// raised.
    ///
    /// # Errors
    /// [`ChannelError::Interrupted`]: it was not sent. Else see [`ChannelError`].
    pub fn request_or(
        &self,
        message: Message<'_>,
        interrupt: &Interrupt,
    ) -> Result<Pending, ChannelError> {
        self.send(message, Some(interrupt))
    }

    fn send(
        &self,
        message: Message<'_>,
        interrupt: Option<&Interrupt>,
    ) -> Result<Pending, ChannelError> {
        let packed = self.inner.pack(message)?;
        let (state, pending) = self
            .inner
            .add(self.inner.lock(), packed, interrupt)
            .map_err(|(error, _)| error)?;
        self.inner.kick(state)?;
        Ok(pending)
    }

    /// Memory that a zero-copy request may carry: `len` bytes, the first of which stands
    /// at `start` in its page.
    ///
    /// # Errors
    /// There are not so many free pages.
    pub fn allocate(&self, start: usize, len: usize) -> Result<PageBuffer, NoPages> {
        self.inner.device.pages().allocate_at(start, len)
    }

    /// Linux `p9_virtio_zc_request`: sends one request whose data, or whose reply's data,
    /// are the caller's own pages. They are pinned until the reply is there, of all
    /// channels together about a quarter of the free memory
    /// ([`max_pages`](Self::max_pages)); who wants more waits. Waits too while the ring
    /// is full.
    ///
    /// # Errors
    /// See [`ChannelError`]; the pages come back with it.
    pub fn zero_copy_request(
        &self,
        message: Message<'_>,
        payload: Payload,
    ) -> Result<Pending, Unsent> {
        let packed = match self.inner.pack(message) {
            Ok(packed) => packed,
            Err(error) => return Err(Unsent { error, payload }),
        };
        let packed = self.inner.carry(packed, payload)?;
        let (state, pending) = match self.inner.add(self.inner.lock(), packed, None) {
            Ok(added) => added,
            Err((error, unsent)) => return Err(unsent.give_back(error)),
        };
        // It was added: whoever waits for it hears if the device can't be told.
        let _ = self.inner.kick(state);
        Ok(pending)
    }

    /// Linux `p9_virtio_cancel`: a buffer that the device has can't be taken back. So
    /// this does nothing but say whether the server must be asked, by a Tflush, to give
    /// the request up: `true`, unless its reply is there.
    pub fn cancel(&self, pending: &Pending) -> bool {
        !pending.done.is_filled()
    }

    /// How many pages zero-copy requests may have pinned before the next one has to wait
    /// (Linux `virtio_chan::p9_max_pages`).
    pub fn max_pages(&self) -> usize {
        self.inner.p9_max_pages
    }

    /// Pages that zero-copy requests of all channels of the driver have pinned now (Linux
    /// `vp_pinned`).
    pub fn pinned_pages(&self) -> usize {
        self.inner.pinned.pages()
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
            let added = self.inner.pack(*message).and_then(|packed: Packed| {
                let added = self.inner.add(self.inner.lock(), packed, None);
                added.map_err(|(error, _)| error)
            });
            match added {
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

    /// Resets the request queue, with `VIRTIO_F_RING_RESET`, and goes on with up to
    /// `max_size` entries. Whoever waits for a reply gets
    /// [`ChannelError::QueueReset`].
    ///
    /// # Errors
    /// See [`Device::reset_queue`]; or the channel is closed or broken.
    pub fn reset_queue(&self, max_size: QueueSize) -> Result<(), ChannelError> {
        self.inner.reset_queue(max_size)
    }

    /// Linux `p9_virtio_remove`: resets the device and gives up what is in
    /// flight. Whoever waits gets [`ChannelError::Closed`].
    pub(super) fn remove(&self) {
        self.inner.close();
        // Ends the thread, and so waits for a callback that runs.
        let thread = self
            .interrupts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        drop(thread);
    }

    /// The device has failed: everyone who waits hears of it.
    pub(super) fn fail(&self) {
        self.inner
            .fail(&mut self.inner.lock(), ChannelError::DeviceFailed);
    }
}

impl<I: Instrument> Drop for Channel<I> {
    fn drop(&mut self) {
        self.remove();
    }
}

/// `struct virtio_9p_config`: the tag's length and its bytes (Linux
/// `p9_virtio_probe`).
fn read_tag(device: &Device) -> Result<String, InitError> {
    let feature = FeatureBits::P9_MOUNT_TAG;
    let mut len = [0; 2];
    device.read_config_with(feature, 0, &mut len)?;
    let mut tag = vec![0; usize::from(u16::from_le_bytes(len))];
    device.read_config_with(feature, len.len(), &mut tag)?;
    Ok(String::from_utf8_lossy(&tag).into_owned())
}
