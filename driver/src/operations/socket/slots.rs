//! The buffers of a socket's queue, by id, and what is believed of the peer.

use std::collections::VecDeque;

use virtscope_record::Token;

use super::SocketViolation;
use super::frame::{Completion, Submission};
use crate::buffer::{Buffer, ExposedBuffer, ReturnedBuffer};

/// What an id stands for.
#[derive(Debug)]
enum Slot {
    Free,
    /// Added, and no byte of it sent.
    Added(Token, ExposedBuffer),
    /// Sent, or being sent: to be answered.
    Sent(Token, ExposedBuffer),
    /// Detached after it was sent. An answer may come all the same, so the id can't
    /// be given to another buffer.
    Detached {
        writable: u32,
    },
}

#[derive(Debug)]
pub(super) struct Slots {
    slots: Box<[Slot]>,
    free: Vec<u16>,
    /// Added and not yet sent, in order.
    added: VecDeque<u16>,
    /// How many of them the driver has kicked for.
    synced: usize,
    /// The buffer whose bytes are still being sent.
    sending: Option<u16>,
}

impl Slots {
    pub(super) fn new(capacity: u16) -> Self {
        Self {
            slots: (0..capacity).map(|_| Slot::Free).collect(),
            // The lowest first.
            free: (0..capacity).rev().collect(),
            added: VecDeque::new(),
            synced: 0,
            sending: None,
        }
    }

    /// Buffers that there is room for.
    pub(super) fn free(&self) -> usize {
        self.free.len()
    }

    /// Takes a buffer in, if there is room.
    pub(super) fn add(&mut self, token: Token, buffer: ExposedBuffer) {
        if let Some(id) = self.free.pop() {
            self.slots[usize::from(id)] = Slot::Added(token, buffer);
            self.added.push_back(id);
        }
    }

    /// All buffers added so far are to be sent.
    pub(super) fn sync(&mut self) {
        self.synced = self.added.len();
    }

    /// Writes the next frame to be sent to the end of `into`; `false` if there is
    /// none. The frame before is sent.
    pub(super) fn next_frame(&mut self, into: &mut Vec<u8>) -> bool {
        self.sending = None;
        if self.synced == 0 {
            return false;
        }
        let Some(id) = self.added.pop_front() else {
            return false;
        };
        self.synced -= 1;
        let slot = &mut self.slots[usize::from(id)];
        if let Slot::Added(token, buffer) = std::mem::replace(slot, Slot::Free) {
            let head = Submission {
                id: u32::from(id),
                readable: buffer.readable_len(),
                writable: buffer.writable_len(),
            };
            into.extend_from_slice(&head.to_bytes());
            buffer.send_readable(into);
            *slot = Slot::Sent(token, buffer);
            self.sending = Some(id);
        }
        true
    }

    /// Whether an answer with this head may come; its id, then.
    pub(super) fn check(&self, head: Completion) -> Result<u16, SocketViolation> {
        let out_of_range = SocketViolation::IdOutOfRange {
            id: head.id,
            capacity: self.slots.len() as u16,
        };
        let id = u16::try_from(head.id).map_err(|_| out_of_range)?;
        let writable = match self.slots.get(usize::from(id)).ok_or(out_of_range)? {
            Slot::Sent(..) | Slot::Detached { .. } if self.sending == Some(id) => {
                return Err(SocketViolation::IdNotInFlight { id });
            }
            Slot::Sent(_, buffer) => buffer.writable_len(),
            Slot::Detached { writable } => *writable,
            Slot::Free | Slot::Added(..) => return Err(SocketViolation::IdNotInFlight { id }),
        };
        if head.written > writable {
            return Err(SocketViolation::LengthTooLong {
                written: head.written,
                writable,
            });
        }
        Ok(id)
    }

    /// Bytes of an answer whose head was checked.
    pub(super) fn receive(&mut self, id: u16, offset: u32, bytes: &[u8]) {
        if let Some(Slot::Sent(_, buffer)) = self.slots.get_mut(usize::from(id)) {
            let written = buffer.receive(offset, bytes);
            debug_assert!(written.is_ok(), "the answer's length was checked");
        }
    }

    /// The end of such an answer: what is returned, unless nobody waits for it.
    pub(super) fn finish(&mut self, id: u16, written: u32) -> Option<(Token, ReturnedBuffer)> {
        let slot = self.slots.get_mut(usize::from(id))?;
        let slot = std::mem::replace(slot, Slot::Free);
        self.free.push(id);
        match slot {
            Slot::Sent(token, buffer) => Some((token, buffer.returned(written))),
            Slot::Free | Slot::Added(..) | Slot::Detached { .. } => None,
        }
    }

    /// Takes an unused buffer out.
    pub(super) fn detach(&mut self, token: Token) -> Option<Buffer> {
        let place = self.slots.iter().position(
            |slot| matches!(slot, Slot::Added(other, _) | Slot::Sent(other, _) if *other == token),
        )?;
        let id = place as u16;
        match std::mem::replace(&mut self.slots[place], Slot::Free) {
            Slot::Added(_, buffer) => {
                let waiting = self.added.iter().position(|other| *other == id)?;
                self.added.remove(waiting);
                self.synced -= usize::from(waiting < self.synced);
                self.free.push(id);
                Some(buffer.unused())
            }
            Slot::Sent(_, buffer) => {
                let writable = buffer.writable_len();
                self.slots[place] = Slot::Detached { writable };
                Some(buffer.unused())
            }
            Slot::Free | Slot::Detached { .. } => None,
        }
    }
}
