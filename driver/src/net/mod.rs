//! A small network driver (virtio 1.4 §5.1) without offloads, written against the
//! five [`Operations`] alone: it does not know what its queues are.

mod header;

use std::time::{Duration, Instant};

use virtscope_record::Token;

use crate::buffer::{Buffer, BufferPool, ReturnedBuffer};
use crate::memory::NoPages;
use crate::operations::{AddBufErrorKind, Callbacks, Operations, QueueFailure};

pub use header::{GSO_NONE, MAX_FRAME, NetHeader};

/// Bytes of a receive buffer: "at least 1526" (virtio 1.4 §5.1.9.3.1).
const RECEIVE_LEN: u32 = (NetHeader::LEN + MAX_FRAME) as u32;

/// Why a packet was not sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// No packet, or a longer one than Ethernet has.
    #[error("a packet has 1 to {MAX_FRAME} bytes, not {len}")]
    Length {
        /// Its bytes.
        len: usize,
    },
    /// No memory for it now.
    #[error(transparent)]
    NoMemory(#[from] NoPages),
    /// The queue does not take it.
    #[error(transparent)]
    Queue(#[from] AddBufErrorKind),
    /// The queue has failed.
    #[error(transparent)]
    Failed(#[from] QueueFailure),
}

/// What a network driver took back when it shut down.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Detached {
    /// Receive buffers that no packet had come into.
    pub receive: usize,
    /// Packets that the device had not sent.
    pub transmit: usize,
}

/// A network card behind a receive and a transmit queue.
#[derive(Debug)]
pub struct Nic<Q> {
    receive: Queue<Q>,
    transmit: Queue<Q>,
    pool: BufferPool,
    malformed: u64,
}

/// A queue, and the tokens of the buffers in it.
#[derive(Debug)]
struct Queue<Q> {
    operations: Q,
    next: u64,
    in_flight: Vec<Token>,
}

impl<Q: Operations> Nic<Q> {
    /// A card behind these queues, with memory for packets from `pool`. Nothing is
    /// received before [`fill`](Self::fill).
    pub fn new(receive: Q, transmit: Q, pool: BufferPool) -> Self {
        Self {
            receive: Queue::new(receive),
            transmit: Queue::new(transmit),
            pool,
            malformed: 0,
        }
    }

    /// Gives the device up to `count` more buffers to receive into; returns how many
    /// found room.
    ///
    /// # Errors
    /// The queue takes no buffers, full or not.
    pub fn fill(&mut self, count: usize) -> Result<usize, AddBufErrorKind> {
        let mut added = 0;
        while added < count {
            let Ok(buffer) = self.pool.allocate(0, RECEIVE_LEN) else {
                break;
            };
            match self.receive.add(buffer) {
                Ok(()) => added += 1,
                Err(kind) if kind.is_temporary() => break,
                Err(kind) => return Err(kind),
            }
        }
        self.receive.operations.sync();
        Ok(added)
    }

    /// Sends a packet: an Ethernet frame with its checksums. Returns when the device
    /// can have it, not when it is sent.
    ///
    /// # Errors
    /// See [`SendError`].
    pub fn send(&mut self, frame: &[u8]) -> Result<(), SendError> {
        if frame.is_empty() || frame.len() > MAX_FRAME {
            return Err(SendError::Length { len: frame.len() });
        }
        self.reap()?;
        let mut packet = NetHeader::default().to_bytes().to_vec();
        packet.extend_from_slice(frame);
        let mut buffer = self.pool.allocate(packet.len() as u32, 0)?;
        let filled = buffer.fill(0, &packet);
        debug_assert!(filled.is_ok(), "the buffer was made for this packet");
        self.transmit.add(buffer)?;
        self.transmit.operations.sync();
        Ok(())
    }

    /// Frees the packets that were sent. [`send`](Self::send) does so first: nobody
    /// waits for a packet to be sent.
    ///
    /// # Errors
    /// The queue has failed.
    pub fn reap(&mut self) -> Result<(), QueueFailure> {
        // No more than there are: a device that is quicker than we are can't keep us
        // here.
        for _ in 0..self.transmit.in_flight.len() {
            if self.transmit.get()?.is_none() {
                break;
            }
        }
        Ok(())
    }

    /// The next packet that was received, if there is one. Its buffer goes back to
    /// the device at once.
    ///
    /// # Errors
    /// The queue has failed.
    pub fn receive(&mut self) -> Result<Option<Vec<u8>>, QueueFailure> {
        // As above: bad packets can't keep us here.
        for _ in 0..self.receive.in_flight.len() {
            let Some(buffer) = self.receive.get()? else {
                return Ok(None);
            };
            let frame = read_packet(&buffer);
            // If the queue does not take it back, it has failed, and says so next
            // time.
            let _ = self.receive.add(buffer.reuse());
            self.receive.operations.sync();
            match frame {
                Some(frame) => return Ok(Some(frame)),
                None => self.malformed += 1,
            }
        }
        Ok(None)
    }

    /// Received buffers that held no packet of ours: too short, or of a kind that
    /// was not asked for.
    pub fn malformed(&self) -> u64 {
        self.malformed
    }

    /// Packets that the device has not sent yet, as far as we know.
    pub fn unsent(&self) -> usize {
        self.transmit.in_flight.len()
    }

    /// Takes all buffers back.
    pub fn shut_down(mut self) -> Detached {
        Detached {
            receive: self.receive.detach_all(),
            transmit: self.transmit.detach_all(),
        }
    }
}

impl<Q: Callbacks> Nic<Q> {
    /// The next packet that is received within `timeout`.
    ///
    /// # Errors
    /// The queue has failed.
    pub fn wait(&mut self, timeout: Duration) -> Result<Option<Vec<u8>>, QueueFailure> {
        let started = Instant::now();
        loop {
            if let Some(frame) = self.receive()? {
                return Ok(Some(frame));
            }
            let left = timeout.saturating_sub(started.elapsed());
            if left.is_zero() {
                return Ok(None);
            }
            // All was taken, so we may sleep; if a packet came just now, look again.
            if self.receive.operations.restart() {
                // "The optimal path is to disable further used buffer notifications
                // for the receiveq and process packets until no more are found, then
                // re-enable them" (virtio 1.4 §5.1.9.4).
                self.receive.operations.dispatch(left, |_| false);
            }
        }
    }
}

impl<Q: Operations> Queue<Q> {
    fn new(operations: Q) -> Self {
        Self {
            operations,
            next: 0,
            in_flight: Vec::new(),
        }
    }

    fn add(&mut self, buffer: Buffer) -> Result<(), AddBufErrorKind> {
        let token = Token(self.next);
        self.operations
            .add_buf(buffer, token)
            .map_err(|error| error.kind)?;
        self.next += 1;
        self.in_flight.push(token);
        Ok(())
    }

    fn get(&mut self) -> Result<Option<ReturnedBuffer>, QueueFailure> {
        let Some((token, buffer)) = self.operations.get_buf()? else {
            return Ok(None);
        };
        self.in_flight.retain(|other| *other != token);
        Ok(Some(buffer))
    }

    fn detach_all(&mut self) -> usize {
        let tokens = std::mem::take(&mut self.in_flight);
        let detached = |token: &&Token| self.operations.detach_buf(**token).is_ok();
        tokens.iter().filter(detached).count()
    }
}

/// The packet behind a header that promises nothing we have not asked for.
fn read_packet(buffer: &ReturnedBuffer) -> Option<Vec<u8>> {
    let mut bytes = [0; NetHeader::LEN];
    buffer.read(0, &mut bytes).ok()?;
    let header = NetHeader::from_bytes(bytes);
    // Flags that we don't know are to be ignored (virtio 1.4 §5.1.9.4.2); the other
    // features that would change the header were not negotiated.
    if header.num_buffers != 1 || header.gso_type != GSO_NONE {
        return None;
    }
    let mut frame = vec![0; buffer.written() as usize - NetHeader::LEN];
    buffer.read(NetHeader::LEN as u32, &mut frame).ok()?;
    (!frame.is_empty()).then_some(frame)
}
