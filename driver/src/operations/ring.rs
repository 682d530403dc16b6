//! The five operations on a descriptor ring.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use virtscope_record::Token;

use super::{AddBufError, AddBufErrorKind, Callbacks, NotInQueue, Operations, QueueFailure};
use crate::buffer::{Buffer, ExposedBuffer, ReturnedBuffer};
use crate::event::Signal;
use crate::instrument::Instrument;
use crate::memory::{QueueMemory, Segment};
use crate::ring::{Context, QueueHandle, Virtqueue};

/// Makes the device let go of a queue, and says whether it has: a reset of the
/// queue (virtio 1.4 §2.6.1) or of the device (§2.4). Where it has not, the buffers
/// stay the device's.
///
/// A ring has no way to take a single buffer back: "a driver MUST ensure a
/// virtqueue isn't live (by device reset) before removing exposed buffers"
/// (virtio 1.4 §3.3.1).
pub type LetGo = Box<dyn FnMut() -> bool + Send>;

/// A buffer in a [`DescriptorRing`], and its token.
#[derive(Debug)]
pub struct InRing {
    token: Token,
    buffer: ExposedBuffer,
}

/// Draft IV's "more efficient descriptor-based implementation": a virtqueue of
/// either layout, whose device reaches the buffers in guest memory.
///
/// [`detach_buf`](Operations::detach_buf) is for shutdown: the first buffer that is
/// detached makes the device let go of all of them, and none can be added from then
/// on. A device that does not let go counts as gone: nothing is detached, and what it
/// has is never used again, not even when the ring is dropped.
pub struct DescriptorRing<M: QueueMemory, I: Instrument> {
    queue: Virtqueue<M, I, InRing>,
    handle: QueueHandle<M, I>,
    interrupt: Arc<Signal>,
    callbacks_stopped: bool,
    let_go: LetGo,
    shut_down: bool,
    /// The device has let go.
    let_go_of: bool,
    /// The device did not hear of a kick, or did not let go.
    gone: bool,
    /// Used, and not yet asked for.
    used: VecDeque<(Token, ReturnedBuffer)>,
    /// Unused when the device let go, and not yet detached.
    unused: Vec<(Token, Buffer)>,
    readable: Vec<Segment>,
    writable: Vec<Segment>,
}

impl<M: QueueMemory, I: Instrument> DescriptorRing<M, I> {
    /// The operations on `queue`, which must be new. The transport sets `interrupt`
    /// for its used buffer notifications.
    pub fn new(queue: Virtqueue<M, I, InRing>, interrupt: Arc<Signal>, let_go: LetGo) -> Self {
        Self {
            handle: queue.handle(),
            queue,
            interrupt,
            callbacks_stopped: false,
            let_go,
            shut_down: false,
            let_go_of: false,
            gone: false,
            used: VecDeque::new(),
            unused: Vec::new(),
            readable: Vec::new(),
            writable: Vec::new(),
        }
    }

    /// The ring itself: its layout, size and state.
    pub fn queue(&self) -> &Virtqueue<M, I, InRing> {
        &self.queue
    }

    /// Gets all buffers back from the device, used or not.
    fn shut_down(&mut self) {
        if self.let_go_of {
            return;
        }
        self.shut_down = true;
        if !(self.let_go)() {
            self.gone = true;
            return;
        }
        self.let_go_of = true;
        self.take_used();
        while let Some(unused) = self.queue.detach_unused() {
            let InRing { token, buffer } = unused.data;
            self.unused.push((token, buffer.unused()));
        }
    }

    /// Takes what is used out of the ring. Each turn takes a buffer out and none
    /// comes in, so there are no more turns than buffers.
    fn take_used(&mut self) {
        // What breaks the ring here is reported by `get_buf`.
        while let Ok(Some(used)) = self.queue.get_buf() {
            let buffer = used.data.buffer.returned(used.written);
            self.used.push_back((used.token, buffer));
        }
    }

    /// Whether the ring holds a buffer of this token.
    fn holds(&self, token: Token) -> bool {
        let mut held = false;
        self.queue
            .for_each_in_flight(|other| held |= other.token == token);
        held
    }
}

impl<M: QueueMemory, I: Instrument> Operations for DescriptorRing<M, I> {
    fn add_buf(&mut self, buffer: Buffer, token: Token) -> Result<(), AddBufError> {
        let refuse = |kind, buffer| {
            Err(AddBufError {
                kind,
                token,
                buffer,
            })
        };
        if self.shut_down {
            return refuse(AddBufErrorKind::ShutDown, buffer);
        }
        let buffer = buffer.expose();
        self.readable.clear();
        self.readable.extend(buffer.readable_segments());
        self.writable.clear();
        self.writable.extend(buffer.writable_segments());
        let (readable, writable) = (&self.readable, &self.writable);
        let data = InRing { token, buffer };
        match self
            .queue
            .add_unpublished(readable, writable, token, data, Context::default())
        {
            Ok(_) => Ok(()),
            Err(error) => refuse(error.kind.into(), error.data.buffer.unused()),
        }
    }

    fn sync(&mut self) {
        if self.shut_down {
            return;
        }
        self.queue.publish();
        if self.queue.kick().is_err() {
            self.gone = true;
        }
    }

    fn get_buf(&mut self) -> Result<Option<(Token, ReturnedBuffer)>, QueueFailure> {
        if let Some(used) = self.used.pop_front() {
            return Ok(Some(used));
        }
        // Also of a device that is gone: what it has returned counts.
        if let Some(used) = self.queue.get_buf()? {
            let buffer = used.data.buffer.returned(used.written);
            return Ok(Some((used.token, buffer)));
        }
        if self.gone {
            return Err(QueueFailure::DeviceGone);
        }
        Ok(None)
    }

    fn detach_buf(&mut self, token: Token) -> Result<Buffer, NotInQueue> {
        // Nobody loses a device over a buffer that is not there.
        self.take_used();
        if self.holds(token) {
            self.shut_down();
        }
        let place = self.unused.iter().position(|(other, _)| *other == token);
        let place = place.ok_or(NotInQueue { token })?;
        Ok(self.unused.swap_remove(place).1)
    }

    fn restart(&mut self) -> bool {
        if self.gone || !self.used.is_empty() || self.queue.broken().is_some() {
            return false;
        }
        if !self.queue.enable_callbacks() {
            self.queue.disable_callbacks();
            return false;
        }
        self.callbacks_stopped = false;
        true
    }
}

impl<M: QueueMemory, I: Instrument> Callbacks for DescriptorRing<M, I> {
    fn wait(&mut self, timeout: Duration) -> bool {
        if self.gone || self.queue.broken().is_some() {
            return true;
        }
        let started = Instant::now();
        let mut left = timeout;
        while self.interrupt.wait_timeout(left) {
            // One with nothing behind it is not for the driver.
            if self.handle.interrupt() {
                return true;
            }
            left = timeout.saturating_sub(started.elapsed());
            if left.is_zero() {
                break;
            }
        }
        false
    }

    fn stop_callbacks(&mut self) {
        self.queue.disable_callbacks();
        self.callbacks_stopped = true;
    }

    fn callbacks_stopped(&self) -> bool {
        self.callbacks_stopped
    }
}

impl<M: QueueMemory, I: Instrument> Drop for DescriptorRing<M, I> {
    fn drop(&mut self) {
        if self.queue.in_flight() > 0 {
            self.shut_down();
        }
        // Their memory must not go back to the pool while the device may write it:
        // what a device does not let go of is lost.
        while let Some(unused) = self.queue.detach_unused() {
            std::mem::forget(unused.data);
        }
    }
}

impl<M: QueueMemory, I: Instrument> std::fmt::Debug for DescriptorRing<M, I> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DescriptorRing")
            .field("layout", &self.queue.layout())
            .field("in_flight", &self.queue.in_flight())
            .field("callbacks_stopped", &self.callbacks_stopped)
            .field("shut_down", &self.shut_down)
            .finish_non_exhaustive()
    }
}
