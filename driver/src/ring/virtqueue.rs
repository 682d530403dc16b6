//! Whichever ring was negotiated.

use virtscope_record::{Generation, Layout, Token};

use super::{
    AddError, CallbackState, Context, Features, InvalidQueueSize, Notifier, NotifyError,
    PackedQueue, QueueError, QueueHandle, QueueSize, SplitQueue, UsedBuffer,
};
use crate::instrument::Instrument;
use crate::memory::{QueueMemory, Segment};

/// A virtqueue's driver half, split or packed: the operations of Linux
/// `struct virtqueue`, by their Rust names.
///
/// No two of its operations can be invoked at the same time, because they take
/// `&mut self`. What may run beside them is on [`QueueHandle`].
///
/// ```compile_fail,E0499
/// # use virtscope_driver::{instrument::NoInstrument, memory::*, ring::*};
/// fn twice(queue: &mut Virtqueue<SharedQueueMemory, NoInstrument, ()>) {
///     std::thread::scope(|scope| {
///         scope.spawn(|| queue.kick_prepare());
///         scope.spawn(|| queue.kick_prepare());
///     });
/// }
/// ```
///
/// ```
/// # use virtscope_driver::{instrument::NoInstrument, memory::*, ring::*};
/// fn beside(queue: &mut Virtqueue<SharedQueueMemory, NoInstrument, ()>) {
///     let handle = queue.handle();
///     let since = queue.enable_callbacks_prepare();
///     std::thread::scope(|scope| {
///         scope.spawn(|| queue.kick_prepare());
///         scope.spawn(|| handle.notify());
///         scope.spawn(|| handle.poll(since));
///         scope.spawn(|| handle.disable_callbacks());
///         scope.spawn(|| handle.size());
///     });
/// }
/// ```
#[derive(Debug)]
pub enum Virtqueue<M, I, T> {
    /// Virtio 1.4 §2.7.
    Split(SplitQueue<M, I, T>),
    /// Virtio 1.4 §2.8, `VIRTIO_F_RING_PACKED`.
    Packed(PackedQueue<M, I, T>),
}

macro_rules! either {
    ($self:ident, $queue:ident => $call:expr) => {
        match $self {
            Self::Split($queue) => $call,
            Self::Packed($queue) => $call,
        }
    };
}

impl<M: QueueMemory, I: Instrument, T> Virtqueue<M, I, T> {
    /// A queue of this layout over `memory`, which must be zeroed and laid out for
    /// it; the device gets to know the areas by the transport, after this.
    ///
    /// # Errors
    /// The size is none of a split ring.
    pub fn new(
        layout: Layout,
        memory: M,
        size: QueueSize,
        features: Features,
        instrument: I,
        notifier: Box<dyn Notifier>,
    ) -> Result<Self, InvalidQueueSize> {
        Ok(match layout {
            Layout::Split => Self::Split(SplitQueue::new(
                memory, size, features, instrument, notifier,
            )?),
            Layout::Packed => Self::Packed(PackedQueue::new(
                memory, size, features, instrument, notifier,
            )),
        })
    }

    /// The queue's layout.
    pub fn layout(&self) -> Layout {
        match self {
            Self::Split(_) => Layout::Split,
            Self::Packed(_) => Layout::Packed,
        }
    }

    /// What may be called beside the queue's other operations.
    pub fn handle(&self) -> QueueHandle<M, I> {
        either!(self, queue => queue.handle())
    }

    /// Linux `virtqueue_get_vring_size`: the Queue Size.
    pub fn size(&self) -> QueueSize {
        either!(self, queue => queue.size())
    }

    /// Free descriptors (Linux `struct virtqueue::num_free`).
    pub fn free_descriptors(&self) -> u16 {
        either!(self, queue => queue.free_descriptors())
    }

    /// Buffers added and not yet taken back.
    pub fn in_flight(&self) -> u16 {
        either!(self, queue => queue.in_flight())
    }

    /// Calls `each` with what was given with every buffer in flight.
    pub fn for_each_in_flight(&self, each: impl FnMut(&T)) {
        either!(self, queue => queue.in_flight_data().for_each(each));
    }

    /// What broke the queue, if it is broken (Linux `virtqueue_is_broken`).
    pub fn broken(&self) -> Option<QueueError> {
        either!(self, queue => queue.broken())
    }

    /// Linux `virtqueue_add_sgs`: see [`SplitQueue::add`].
    ///
    /// # Errors
    /// See [`AddErrorKind`](super::AddErrorKind); `data` comes back in the error.
    #[inline]
    pub fn add(
        &mut self,
        readable: &[Segment],
        writable: &[Segment],
        token: Token,
        data: T,
    ) -> Result<u16, AddError<T>> {
        either!(self, queue => queue.add(readable, writable, token, data))
    }

    /// Linux `virtqueue_add_outbuf`: a buffer that the device only reads.
    ///
    /// # Errors
    /// As for [`add`](Self::add).
    #[inline]
    pub fn add_outbuf(
        &mut self,
        readable: &[Segment],
        token: Token,
        data: T,
    ) -> Result<u16, AddError<T>> {
        self.add(readable, &[], token, data)
    }

    /// Linux `virtqueue_add_inbuf`: a buffer that the device only writes.
    ///
    /// # Errors
    /// As for [`add`](Self::add).
    #[inline]
    pub fn add_inbuf(
        &mut self,
        writable: &[Segment],
        token: Token,
        data: T,
    ) -> Result<u16, AddError<T>> {
        self.add(&[], writable, token, data)
    }

    /// Linux `virtqueue_add_inbuf_ctx`: the same, with a context that comes back
    /// beside the token.
    ///
    /// # Errors
    /// As for [`add`](Self::add).
    #[inline]
    pub fn add_inbuf_ctx(
        &mut self,
        writable: &[Segment],
        token: Token,
        data: T,
        context: Context,
    ) -> Result<u16, AddError<T>> {
        either!(self, queue => queue.add_with_context(&[], writable, token, data, context))
    }

    /// Adds a buffer without making it available: see
    /// [`SplitQueue::add_unpublished`].
    ///
    /// # Errors
    /// As for [`add`](Self::add).
    #[inline]
    pub fn add_unpublished(
        &mut self,
        readable: &[Segment],
        writable: &[Segment],
        token: Token,
        data: T,
        context: Context,
    ) -> Result<u16, AddError<T>> {
        either!(self, queue => queue.add_unpublished(readable, writable, token, data, context))
    }

    /// Makes all buffers added so far available.
    #[inline]
    pub fn publish(&mut self) {
        either!(self, queue => queue.publish());
    }

    /// Linux `virtqueue_kick_prepare`: whether the device needs an available buffer
    /// notification; if so, call [`QueueHandle::notify`].
    #[inline]
    pub fn kick_prepare(&mut self) -> bool {
        either!(self, queue => queue.kick_prepare())
    }

    /// Linux `virtqueue_kick`: decides and notifies. Returns whether the device was
    /// notified.
    ///
    /// # Errors
    /// The device is gone, or the queue is broken.
    #[inline]
    pub fn kick(&mut self) -> Result<bool, NotifyError> {
        either!(self, queue => queue.kick())
    }

    /// Linux `virtqueue_get_buf` and `virtqueue_get_buf_ctx`: the next used buffer,
    /// if there is one.
    ///
    /// # Errors
    /// The device broke a rule: the queue is broken from now on.
    #[inline]
    pub fn get_buf(&mut self) -> Result<Option<UsedBuffer<T>>, QueueError> {
        either!(self, queue => queue.get_buf())
    }

    /// Linux `virtqueue_disable_cb`: asks for no used buffer notifications.
    pub fn disable_callbacks(&mut self) {
        either!(self, queue => queue.disable_callbacks());
    }

    /// Linux `virtqueue_enable_cb_prepare`: asks for them again; the answer is for
    /// [`QueueHandle::poll`].
    pub fn enable_callbacks_prepare(&mut self) -> CallbackState {
        either!(self, queue => queue.enable_callbacks_prepare())
    }

    /// Linux `virtqueue_enable_cb`: asks for them again; `false` if used buffers are
    /// pending already.
    pub fn enable_callbacks(&mut self) -> bool {
        either!(self, queue => queue.enable_callbacks())
    }

    /// Linux `virtqueue_enable_cb_delayed`: asks for one after most buffers in
    /// flight; `false` if many are pending already.
    pub fn enable_callbacks_delayed(&mut self) -> bool {
        either!(self, queue => queue.enable_callbacks_delayed())
    }

    /// Linux `virtqueue_detach_unused_buf`: takes back a buffer that was never used.
    pub fn detach_unused(&mut self) -> Option<UsedBuffer<T>> {
        either!(self, queue => queue.detach_unused())
    }

    /// Linux `virtqueue_reset`: begins afresh, see [`SplitQueue::reset`].
    pub fn reset(&mut self, generation: Generation, recycle: impl FnMut(UsedBuffer<T>)) {
        either!(self, queue => queue.reset(generation, recycle));
    }
}
