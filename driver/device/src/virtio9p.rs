//! The virtio-9p device: a queue in front of a file server.
//!
//! It does one thing at a time: give back what is finished, decide about an
//! interrupt, take what is available. [`Virtio9p::step`] does the next of these;
//! a thread loops over it ([`in_process`](crate::in_process)).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use virtscope_driver::event::Signal;
use virtscope_driver::instrument::Instrument;
use virtscope_driver::memory::{GuestMemory, OutOfRange, Segment, SharedQueueMemory};
use virtscope_driver::ring::InvalidQueueSize;

use crate::fault::FaultyQueue;
use crate::p9::{Job, MAX_MSIZE, Pool};
use crate::queue::{Chain, DriverFault};

/// What a step did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// A request was taken and handed to the server.
    Taken,
    /// A reply was put into the used ring.
    Returned,
    /// An interrupt was decided on; sent or not.
    Interrupt {
        /// Whether it was sent.
        sent: bool,
    },
    /// There is nothing to do now.
    Idle,
}

/// Why the device can't go on: its driver needs to reset it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DeviceError {
    /// The driver broke the ring's rules.
    #[error(transparent)]
    Driver(#[from] DriverFault),
    /// The driver set up a queue of a size that its layout forbids.
    #[error(transparent)]
    QueueSize(#[from] InvalidQueueSize),
    /// A buffer is not in guest memory.
    #[error("a buffer of the driver's is unreachable: {0}")]
    Memory(#[from] OutOfRange),
    /// It was told to: [`FaultKind::NeedsReset`](crate::fault::FaultKind::NeedsReset).
    #[error("the device was told to need a reset")]
    Injected,
    /// The device's thread could not be started.
    #[error("no thread could be started for the device")]
    NoThread,
}

/// The device half of one virtio-9p device.
pub struct Virtio9p<I> {
    queue: FaultyQueue<SharedQueueMemory, I>,
    memory: Arc<GuestMemory>,
    pool: Pool,
    interrupt: Arc<Signal>,
    /// By job: the buffers that wait for their reply.
    in_service: HashMap<u64, Chain>,
    next_job: u64,
    /// Request buffers that finished jobs left, for the next ones.
    spare: Vec<Vec<u8>>,
}

impl<I: Instrument> Virtio9p<I> {
    /// A device that serves `queue` by `pool` and interrupts through `interrupt`.
    pub fn new(
        queue: FaultyQueue<SharedQueueMemory, I>,
        memory: Arc<GuestMemory>,
        pool: Pool,
        interrupt: Arc<Signal>,
    ) -> Self {
        Self {
            queue,
            memory,
            pool,
            interrupt,
            in_service: HashMap::new(),
            next_job: 0,
            spare: Vec::new(),
        }
    }

    /// Does the next thing there is to do.
    ///
    /// Replies go first, then the interrupt that announces them, then new
    /// requests: so the driver hears of finished requests in batches, and never
    /// later than the next one is taken.
    ///
    /// # Errors
    /// The driver broke a rule, or a fault was injected; the device needs a reset.
    pub fn step(&mut self) -> Result<Step, DeviceError> {
        if self.queue.needs_reset() {
            return Err(DeviceError::Injected);
        }
        if self.give_back()? {
            return Ok(Step::Returned);
        }
        if self.queue.returned_unsignalled() > 0 {
            let sent = self.queue.should_interrupt();
            if sent {
                self.interrupt.set();
            }
            return Ok(Step::Interrupt { sent });
        }
        if let Some(chain) = self.queue.take()? {
            self.serve(chain)?;
            return Ok(Step::Taken);
        }
        Ok(Step::Idle)
    }

    /// Before work: no kicks are needed while we look ourselves.
    pub fn begin_work(&mut self) {
        self.queue.disable_kicks();
    }

    /// A kick has come: whether it reaches the device, as far as faults go.
    pub fn kicked(&mut self) -> bool {
        self.queue.kicked()
    }

    /// How long the device may sleep, if there is a limit: then something that a
    /// fault holds up is due.
    pub fn next_due(&self) -> Option<Duration> {
        self.queue.next_due()
    }

    /// Before sleep: asks for kicks again. `false` if there is work already.
    pub fn may_sleep(&mut self) -> bool {
        self.queue.enable_kicks()
    }

    /// Puts the next finished reply, if any, into its buffer and the used ring.
    fn give_back(&mut self) -> Result<bool, DeviceError> {
        let Some(done) = self.pool.completed() else {
            return Ok(false);
        };
        // The pool finishes each job once, so its chain is there.
        if let Some(chain) = self.in_service.remove(&done.id) {
            let written = scatter(&self.memory, &chain.writable, &done.reply)?;
            self.queue.put_used(&chain, written);
        }
        self.spare.push(done.request);
        Ok(true)
    }

    fn serve(&mut self, chain: Chain) -> Result<(), DeviceError> {
        let mut request = self.spare.pop().unwrap_or_default();
        // A request longer than any agreed msize is cut here, and refused by the
        // server because its size field then disagrees with its length.
        let limit = chain.readable_bytes().min(MAX_MSIZE);
        gather(&self.memory, &chain.readable, limit as usize, &mut request)?;
        let id = self.next_job;
        self.next_job += 1;
        let reply_capacity = chain.writable_bytes() as usize;
        self.in_service.insert(id, chain);
        self.pool.submit(Job {
            id,
            request,
            reply_capacity,
        });
        Ok(())
    }
}

/// Copies up to `limit` bytes of `segments` into `into`, replacing what is there.
fn gather(
    memory: &GuestMemory,
    segments: &[Segment],
    limit: usize,
    into: &mut Vec<u8>,
) -> Result<(), OutOfRange> {
    into.clear();
    into.resize(limit, 0);
    let mut rest = &mut into[..];
    for segment in segments {
        let take = rest.len().min(segment.len as usize);
        let (now, later) = rest.split_at_mut(take);
        memory.read(segment.address, now)?;
        rest = later;
    }
    Ok(())
}

/// Copies `bytes` over `segments`; returns how many found room.
fn scatter(memory: &GuestMemory, segments: &[Segment], bytes: &[u8]) -> Result<u32, OutOfRange> {
    let mut rest = bytes;
    for segment in segments {
        let take = rest.len().min(segment.len as usize);
        let (now, later) = rest.split_at(take);
        memory.write(segment.address, now)?;
        rest = later;
    }
    Ok((bytes.len() - rest.len()) as u32)
}
