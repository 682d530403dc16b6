//! Requests from a virtqueue.

use std::sync::Arc;
use std::time::Duration;

use virtscope_driver::event::Signal;
use virtscope_driver::instrument::Instrument;
use virtscope_driver::memory::{GuestMemory, QueueMemory};

use super::{Origin, Request, RequestError, Requests};
use crate::queue::DeviceQueue;

/// Requests that the driver's [`DescriptorRing`] makes available.
///
/// [`DescriptorRing`]: virtscope_driver::operations::DescriptorRing
#[derive(Debug)]
pub struct RingRequests<M, I> {
    queue: DeviceQueue<M, I>,
    memory: Arc<GuestMemory>,
    doorbell: Arc<Signal>,
    interrupt: Arc<Signal>,
    limit: u32,
}

impl<M: QueueMemory, I: Instrument> RingRequests<M, I> {
    /// The requests of `queue`, whose buffers are in `memory`: of up to `limit`
    /// device-readable bytes. The driver rings `doorbell`, and is interrupted by
    /// `interrupt`.
    pub fn new(
        queue: DeviceQueue<M, I>,
        memory: Arc<GuestMemory>,
        doorbell: Arc<Signal>,
        interrupt: Arc<Signal>,
        limit: u32,
    ) -> Self {
        Self {
            queue,
            memory,
            doorbell,
            interrupt,
            limit,
        }
    }
}

impl<M: QueueMemory, I: Instrument> Requests for RingRequests<M, I> {
    fn take(&mut self) -> Result<Option<Request>, RequestError> {
        let Some(chain) = self.queue.take()? else {
            return Ok(None);
        };
        let len = chain.readable_bytes();
        if len > self.limit {
            return Err(RequestError::TooLong {
                readable: len,
                limit: self.limit,
            });
        }
        let mut readable = vec![0; len as usize];
        let mut rest = &mut readable[..];
        for segment in &chain.readable {
            let (now, later) = rest.split_at_mut(segment.len as usize);
            self.memory.read(segment.address, now)?;
            rest = later;
        }
        Ok(Some(Request {
            readable,
            writable: chain.writable_bytes(),
            origin: Origin::Chain(chain),
        }))
    }

    fn give_back(&mut self, request: Request, answer: &[u8]) -> Result<(), RequestError> {
        // One of a socket's has nothing to do here.
        let Origin::Chain(chain) = request.origin else {
            return Ok(());
        };
        let mut rest = answer;
        for segment in &chain.writable {
            let (now, later) = rest.split_at(rest.len().min(segment.len as usize));
            self.memory.write(segment.address, now)?;
            rest = later;
        }
        self.queue
            .put_used(&chain, (answer.len() - rest.len()) as u32);
        if self.queue.should_interrupt() {
            self.interrupt.set();
        }
        Ok(())
    }

    fn wait(&mut self, timeout: Duration) -> Result<(), RequestError> {
        if self.queue.enable_kicks() {
            self.doorbell.wait_timeout(timeout);
        }
        self.queue.disable_kicks();
        Ok(())
    }
}
