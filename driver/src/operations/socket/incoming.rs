//! Answers, as they come in piece by piece.

use std::io::{ErrorKind, Read};
use std::os::unix::net::UnixStream;

use virtscope_record::Token;

use super::frame::Completion;
use super::slots::Slots;
use crate::buffer::ReturnedBuffer;
use crate::operations::QueueFailure;

/// Bytes read at once.
const CHUNK: usize = 16 * 1024;

/// What has been received and not yet been given to a buffer.
#[derive(Debug)]
pub(super) struct Incoming {
    bytes: Box<[u8]>,
    /// Those of `bytes` that were received and not looked at.
    start: usize,
    end: usize,
    state: State,
}

/// Where in a frame the next byte stands.
#[derive(Debug)]
enum State {
    Head {
        bytes: [u8; Completion::LEN],
        have: usize,
    },
    Body {
        id: u16,
        written: u32,
        have: u32,
    },
}

impl State {
    const START: Self = Self::Head {
        bytes: [0; Completion::LEN],
        have: 0,
    };
}

impl Incoming {
    pub(super) fn new() -> Self {
        Self {
            bytes: vec![0; CHUNK].into_boxed_slice(),
            start: 0,
            end: 0,
            state: State::START,
        }
    }

    /// The next returned buffer, as far as bytes have come. Never waits, and takes
    /// no more bytes than the answers to the buffers in flight have.
    pub(super) fn next(
        &mut self,
        stream: &UnixStream,
        slots: &mut Slots,
    ) -> Result<Option<(Token, ReturnedBuffer)>, QueueFailure> {
        loop {
            while let Some((id, written)) = self.frame(slots)? {
                if let Some(returned) = slots.finish(id, written) {
                    return Ok(Some(returned));
                }
            }
            if !self.read(stream)? {
                return Ok(None);
            }
        }
    }

    /// Receives some bytes, if there are any; those before must be used up.
    fn read(&mut self, mut stream: &UnixStream) -> Result<bool, QueueFailure> {
        loop {
            return match stream.read(&mut self.bytes) {
                Ok(0) => Err(QueueFailure::DeviceGone),
                Ok(count) => {
                    (self.start, self.end) = (0, count);
                    Ok(true)
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
                Err(_) => Err(QueueFailure::DeviceGone),
            };
        }
    }

    /// Goes on in the frame; its id and length if it is whole.
    fn frame(&mut self, slots: &mut Slots) -> Result<Option<(u16, u32)>, QueueFailure> {
        if let State::Head { bytes, have } = &mut self.state {
            let taken = (self.end - self.start).min(bytes.len() - *have);
            bytes[*have..*have + taken]
                .copy_from_slice(&self.bytes[self.start..self.start + taken]);
            self.start += taken;
            *have += taken;
            if *have < bytes.len() {
                return Ok(None);
            }
            let head = Completion::from_bytes(*bytes);
            self.state = State::Body {
                id: slots.check(head)?,
                written: head.written,
                have: 0,
            };
        }
        if let State::Body { id, written, have } = &mut self.state {
            let taken = (self.end - self.start).min((*written - *have) as usize);
            slots.receive(*id, *have, &self.bytes[self.start..self.start + taken]);
            self.start += taken;
            *have += taken as u32;
            if *have == *written {
                let whole = (*id, *written);
                self.state = State::START;
                return Ok(Some(whole));
            }
        }
        Ok(None)
    }
}
