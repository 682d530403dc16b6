//! Requests from a stream socket.

use std::collections::HashSet;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use virtscope_driver::operations::frame::{Completion, Submission};
use virtscope_driver::ring::QueueSize;

use super::{Origin, Request, RequestError, Requests};

/// A rule of [`frame`](virtscope_driver::operations::frame) that the driver broke.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SocketFault {
    /// A buffer's id is none of the queue's.
    #[error("the driver sent id {id} in a queue with room for {capacity} buffers")]
    IdOutOfRange {
        /// The id.
        id: u32,
        /// Buffers that the queue has room for.
        capacity: u16,
    },
    /// A buffer has the id of one that was not answered yet.
    #[error("the driver sent id {id} a second time, before the first was answered")]
    IdInUse {
        /// The id.
        id: u32,
    },
}

/// Requests that the driver's [`StreamSocket`] sends.
///
/// [`StreamSocket`]: virtscope_driver::operations::StreamSocket
#[derive(Debug)]
pub struct SocketRequests {
    stream: UnixStream,
    capacity: QueueSize,
    limit: u32,
    in_service: HashSet<u32>,
    head: [u8; Submission::LEN],
    /// Bytes of `head` that have come.
    have: usize,
    /// The request whose bytes come behind it.
    body: Option<Body>,
    /// Answers that were not sent yet, and how much of them was.
    outgoing: Vec<u8>,
    sent: usize,
}

#[derive(Debug)]
struct Body {
    head: Submission,
    bytes: Vec<u8>,
    have: usize,
}

impl SocketRequests {
    /// The requests from one end of a connected socket: up to `capacity` at a time,
    /// of up to `limit` device-readable bytes.
    ///
    /// # Errors
    /// The socket can't be made non-blocking.
    pub fn new(stream: UnixStream, capacity: QueueSize, limit: u32) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream,
            capacity,
            limit,
            in_service: HashSet::new(),
            head: [0; Submission::LEN],
            have: 0,
            body: None,
            outgoing: Vec::new(),
            sent: 0,
        })
    }

    /// Sends as much as the socket takes; whether there is more to be sent.
    fn send(&mut self) -> Result<bool, RequestError> {
        while self.sent < self.outgoing.len() {
            match (&self.stream).write(&self.outgoing[self.sent..]) {
                Ok(0) => return Err(RequestError::DriverGone),
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
                Err(_) => return Err(RequestError::DriverGone),
            }
        }
        self.outgoing.clear();
        self.sent = 0;
        Ok(false)
    }

    /// Checks a head, and makes room for what follows it.
    fn begin(&self, head: Submission) -> Result<Body, RequestError> {
        let capacity = self.capacity.get();
        if head.id >= u32::from(capacity) {
            return Err(SocketFault::IdOutOfRange {
                id: head.id,
                capacity,
            }
            .into());
        }
        if self.in_service.contains(&head.id) {
            return Err(SocketFault::IdInUse { id: head.id }.into());
        }
        if head.readable > self.limit {
            return Err(RequestError::TooLong {
                readable: head.readable,
                limit: self.limit,
            });
        }
        Ok(Body {
            head,
            bytes: vec![0; head.readable as usize],
            have: 0,
        })
    }
}

/// Receives into `into[*have..]`; whether it is full.
fn receive(
    mut stream: &UnixStream,
    into: &mut [u8],
    have: &mut usize,
) -> Result<bool, RequestError> {
    while *have < into.len() {
        match stream.read(&mut into[*have..]) {
            Ok(0) => return Err(RequestError::DriverGone),
            Ok(count) => *have += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(_) => return Err(RequestError::DriverGone),
        }
    }
    Ok(true)
}

impl Requests for SocketRequests {
    fn take(&mut self) -> Result<Option<Request>, RequestError> {
        // A driver that does not read its answers is served no further: so they can't
        // fill our memory.
        if self.send()? {
            return Ok(None);
        }
        let mut body = match self.body.take() {
            Some(body) => body,
            None => {
                if !receive(&self.stream, &mut self.head, &mut self.have)? {
                    return Ok(None);
                }
                self.have = 0;
                self.begin(Submission::from_bytes(self.head))?
            }
        };
        if !receive(&self.stream, &mut body.bytes, &mut body.have)? {
            self.body = Some(body);
            return Ok(None);
        }
        self.in_service.insert(body.head.id);
        Ok(Some(Request {
            readable: body.bytes,
            writable: body.head.writable,
            origin: Origin::Id(body.head.id),
        }))
    }

    fn give_back(&mut self, request: Request, answer: &[u8]) -> Result<(), RequestError> {
        // One of a ring's has nothing to do here.
        let Origin::Id(id) = request.origin else {
            return Ok(());
        };
        self.in_service.remove(&id);
        let written = answer.len().min(request.writable as usize);
        let head = Completion {
            id,
            written: written as u32,
        };
        self.outgoing.extend_from_slice(&head.to_bytes());
        self.outgoing.extend_from_slice(&answer[..written]);
        self.send()?;
        Ok(())
    }

    fn wait(&mut self, timeout: Duration) -> Result<(), RequestError> {
        let mut wanted = PollFlags::IN;
        if self.send()? {
            wanted = PollFlags::OUT;
        }
        // One that is too long for the kernel is one without end.
        let timeout = Timespec::try_from(timeout).ok();
        // Whatever it says, the caller looks for itself.
        let _ = poll(&mut [PollFd::new(&self.stream, wanted)], timeout.as_ref());
        Ok(())
    }
}
