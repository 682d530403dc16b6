//! A device's end of a queue, however the buffers travel: the other side of the
//! [five operations](virtscope_driver::operations).
//!
//! [`RingRequests`] takes buffers from a virtqueue, [`SocketRequests`] from a stream
//! socket; the devices of [`blk`](crate::blk) and [`net`](crate::net) serve either.

mod ring;
mod socket;

use std::time::Duration;

use virtscope_driver::memory::OutOfRange;

use crate::queue::{Chain, DriverFault};

pub use ring::RingRequests;
pub use socket::{SocketFault, SocketRequests};

/// A buffer that the driver has exposed. It goes back once, because
/// [`Requests::give_back`] takes it.
#[derive(Debug)]
pub struct Request {
    /// The device-readable bytes.
    pub readable: Vec<u8>,
    /// Device-writable bytes that there are.
    pub writable: u32,
    origin: Origin,
}

/// Where a request came from, and so goes back to.
#[derive(Debug)]
enum Origin {
    Chain(Chain),
    Id(u32),
}

/// Why a queue can't be served any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The driver broke a rule of the ring.
    #[error(transparent)]
    Ring(#[from] DriverFault),
    /// The driver broke a rule of the socket's protocol.
    #[error(transparent)]
    Socket(#[from] SocketFault),
    /// A buffer is not in guest memory.
    #[error("a buffer of the driver's is unreachable: {0}")]
    Memory(#[from] OutOfRange),
    /// More device-readable bytes than the device takes.
    #[error("a request of {readable} device-readable bytes, where at most {limit} are taken")]
    TooLong {
        /// Its bytes.
        readable: u32,
        /// The most that are taken.
        limit: u32,
    },
    /// The driver has closed its end.
    #[error("the driver is gone")]
    DriverGone,
}

/// A device's end of a queue. No method but [`wait`](Self::wait) waits.
pub trait Requests {
    /// The next request, if there is one.
    ///
    /// # Errors
    /// The driver broke a rule or is gone: the queue is not served any more.
    fn take(&mut self) -> Result<Option<Request>, RequestError>;

    /// Gives a request back, with `answer` in its device-writable part; what does
    /// not fit there is left out. Interrupts the driver if it wants that.
    ///
    /// # Errors
    /// As for [`take`](Self::take).
    fn give_back(&mut self, request: Request, answer: &[u8]) -> Result<(), RequestError>;

    /// Waits until there may be something to take, at most for `timeout`.
    ///
    /// # Errors
    /// As for [`take`](Self::take).
    fn wait(&mut self, timeout: Duration) -> Result<(), RequestError>;
}
