//! A network device (virtio 1.4 §5.1), and the wire that it hangs on.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use virtscope_driver::net::NetHeader;

use crate::requests::{Request, RequestError, Requests};

/// Packets that a wire holds in one direction before its sender has to wait.
const WIRE: usize = 64;

type Packets = Arc<Mutex<VecDeque<Vec<u8>>>>;

/// One end of a wire that loses nothing.
#[derive(Debug)]
pub struct WireEnd {
    outgoing: Packets,
    incoming: Packets,
}

impl WireEnd {
    /// Both ends of a wire: what goes into one comes out of the other.
    pub fn pair() -> (Self, Self) {
        let (there, back) = (Packets::default(), Packets::default());
        let first = Self {
            outgoing: Arc::clone(&there),
            incoming: Arc::clone(&back),
        };
        let second = Self {
            outgoing: back,
            incoming: there,
        };
        (first, second)
    }

    /// A wire that leads back to where it comes from.
    pub fn echo() -> Self {
        let packets = Packets::default();
        Self {
            outgoing: Arc::clone(&packets),
            incoming: packets,
        }
    }
}

fn lock(packets: &Packets) -> MutexGuard<'_, VecDeque<Vec<u8>>> {
    packets.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A network device with one pair of queues and no offloads.
#[derive(Debug)]
pub struct NetDevice<R> {
    receive: R,
    transmit: R,
    wire: WireEnd,
    /// An empty receive buffer that waits for a packet.
    empty: Option<Request>,
    dropped: u64,
}

impl<R: Requests> NetDevice<R> {
    /// A device that serves the driver's receive and transmit queues.
    pub fn new(receive: R, transmit: R, wire: WireEnd) -> Self {
        Self {
            receive,
            transmit,
            wire,
            empty: None,
            dropped: 0,
        }
    }

    /// Moves a packet each way, where there is one and room for it; whether any
    /// moved.
    ///
    /// # Errors
    /// The driver broke a rule of a queue, or is gone.
    pub fn step(&mut self) -> Result<bool, RequestError> {
        let sent = self.send()?;
        Ok(self.deliver()? || sent)
    }

    /// Packets that were too short to be one when they were sent, or too long for
    /// the buffer they were to be received into.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    fn send(&mut self) -> Result<bool, RequestError> {
        // While the wire is full, packets wait in the queue.
        if lock(&self.wire.outgoing).len() >= WIRE {
            return Ok(false);
        }
        let Some(request) = self.transmit.take()? else {
            return Ok(false);
        };
        match request.readable.get(NetHeader::LEN..) {
            Some(packet) if !packet.is_empty() => {
                lock(&self.wire.outgoing).push_back(packet.to_vec());
            }
            _ => self.dropped += 1,
        }
        self.transmit.give_back(request, &[])?;
        Ok(true)
    }

    fn deliver(&mut self) -> Result<bool, RequestError> {
        if self.empty.is_none() {
            self.empty = self.receive.take()?;
        }
        if self.empty.is_none() {
            return Ok(false);
        }
        let Some(packet) = lock(&self.wire.incoming).pop_front() else {
            return Ok(false);
        };
        let needed = NetHeader::LEN + packet.len();
        let fits = |request: &mut Request| request.writable as usize >= needed;
        if let Some(request) = self.empty.take_if(fits) {
            let header = NetHeader {
                num_buffers: 1,
                ..NetHeader::default()
            };
            let mut answer = header.to_bytes().to_vec();
            answer.extend_from_slice(&packet);
            self.receive.give_back(request, &answer)?;
        } else {
            self.dropped += 1;
        }
        Ok(true)
    }
}
