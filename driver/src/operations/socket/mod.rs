//! The five operations on a stream socket.

pub mod frame;
mod incoming;
mod slots;

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use virtscope_record::Token;

use super::{AddBufError, AddBufErrorKind, Callbacks, NotInQueue, Operations, QueueFailure};
use crate::buffer::{Buffer, ReturnedBuffer};
use crate::ring::{AddErrorKind, QueueSize};
use incoming::Incoming;
use slots::Slots;

/// A rule of [`frame`] that the peer broke.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SocketViolation {
    /// An answer names a buffer that the queue can't have.
    #[error("the peer answered id {id}, but the queue has room for {capacity} buffers")]
    IdOutOfRange {
        /// The id.
        id: u32,
        /// Buffers that the queue has room for.
        capacity: u16,
    },
    /// An answer names a buffer that the peer does not have: answered twice, or not
    /// yet sent to it whole.
    #[error("the peer answered id {id}, which it does not have")]
    IdNotInFlight {
        /// The id.
        id: u16,
    },
    /// An answer is longer than the buffer's device-writable part.
    #[error("the peer answers {written} bytes where {writable} have room")]
    LengthTooLong {
        /// The length announced.
        written: u32,
        /// The bytes there were.
        writable: u32,
    },
}

/// Draft IV's "read-write socket-style implementation": buffers are copied through
/// a stream socket, as [`frame`] says.
///
/// A peer that is slow to read delays what is sent, never an operation.
/// [`detach_buf`](Operations::detach_buf) takes any buffer back at any time, because
/// the peer can't reach it; what the peer still says of it is ignored, and until then
/// the queue has less room.
#[derive(Debug)]
pub struct StreamSocket {
    stream: UnixStream,
    slots: Slots,
    /// A frame that is being sent, and how much of it was.
    outgoing: Vec<u8>,
    sent: usize,
    incoming: Incoming,
    returned: VecDeque<(Token, ReturnedBuffer)>,
    /// The peer takes nothing more. What it has answered before counts.
    deaf: bool,
    failure: Option<QueueFailure>,
    callbacks_stopped: bool,
}

impl StreamSocket {
    /// The operations on one end of a connected socket, for up to `capacity` buffers
    /// at a time.
    ///
    /// # Errors
    /// The socket can't be made non-blocking.
    pub fn new(stream: UnixStream, capacity: QueueSize) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream,
            slots: Slots::new(capacity.get()),
            outgoing: Vec::new(),
            sent: 0,
            incoming: Incoming::new(),
            returned: VecDeque::new(),
            deaf: false,
            failure: None,
            callbacks_stopped: false,
        })
    }

    /// Sends as much as the socket takes; whether there is more to be sent.
    fn send(&mut self) -> bool {
        while !self.deaf && self.failure.is_none() {
            if self.sent == self.outgoing.len() {
                self.outgoing.clear();
                self.sent = 0;
                if !self.slots.next_frame(&mut self.outgoing) {
                    return false;
                }
            }
            match (&self.stream).write(&self.outgoing[self.sent..]) {
                Ok(0) => self.deaf = true,
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                Err(_) => self.deaf = true,
            }
        }
        false
    }

    /// Receives until a buffer comes back or nothing more is there; whether there is
    /// something for `get_buf` to say.
    fn look(&mut self) -> bool {
        if self.returned.is_empty() {
            self.receive();
        }
        !self.returned.is_empty() || self.failure.is_some()
    }

    /// Receives one more buffer, if it has come; whether there was one.
    fn receive(&mut self) -> bool {
        if self.failure.is_some() {
            return false;
        }
        match self.incoming.next(&self.stream, &mut self.slots) {
            Ok(Some(returned)) => {
                self.returned.push_back(returned);
                return true;
            }
            Ok(None) if self.deaf => self.failure = Some(QueueFailure::DeviceGone),
            Ok(None) => {}
            Err(failure) => self.failure = Some(failure),
        }
        false
    }

    /// Sleeps until the socket can be read, or written if `unsent`.
    fn sleep(&self, unsent: bool, timeout: Duration) {
        let mut wanted = PollFlags::IN;
        wanted.set(PollFlags::OUT, unsent);
        // One that is too long for the kernel is one without end.
        let timeout = Timespec::try_from(timeout).ok();
        // Whatever it says, the caller looks for itself.
        let _ = poll(&mut [PollFd::new(&self.stream, wanted)], timeout.as_ref());
    }
}

impl Operations for StreamSocket {
    fn add_buf(&mut self, buffer: Buffer, token: Token) -> Result<(), AddBufError> {
        let kind = match self.failure {
            Some(failure) => failure.into(),
            // As on a ring, where a buffer has a descriptor.
            None if buffer.readable_len() == 0 && buffer.writable_len() == 0 => {
                AddBufErrorKind::Unfit(AddErrorKind::NoSegments)
            }
            // As there: a buffer has its room until the driver has taken it.
            None if self.slots.free() <= self.returned.len() => AddBufErrorKind::Full,
            None => {
                self.slots.add(token, buffer.expose());
                return Ok(());
            }
        };
        Err(AddBufError {
            kind,
            token,
            buffer,
        })
    }

    fn sync(&mut self) {
        self.slots.sync();
        self.send();
    }

    fn get_buf(&mut self) -> Result<Option<(Token, ReturnedBuffer)>, QueueFailure> {
        self.send();
        self.look();
        match (self.returned.pop_front(), self.failure) {
            (None, Some(failure)) => Err(failure),
            (returned, _) => Ok(returned),
        }
    }

    fn detach_buf(&mut self, token: Token) -> Result<Buffer, NotInQueue> {
        // What was answered is used. Each turn ends a buffer and none comes in, so
        // there are no more turns than buffers.
        while self.receive() {}
        self.slots.detach(token).ok_or(NotInQueue { token })
    }

    fn restart(&mut self) -> bool {
        self.send();
        if self.look() {
            return false;
        }
        self.callbacks_stopped = false;
        true
    }
}

impl Callbacks for StreamSocket {
    fn wait(&mut self, timeout: Duration) -> bool {
        let started = Instant::now();
        loop {
            let unsent = self.send();
            if self.look() {
                return true;
            }
            let left = timeout.saturating_sub(started.elapsed());
            if left.is_zero() {
                return false;
            }
            self.sleep(unsent, left);
        }
    }

    fn stop_callbacks(&mut self) {
        self.callbacks_stopped = true;
    }

    fn callbacks_stopped(&self) -> bool {
        self.callbacks_stopped
    }
}
