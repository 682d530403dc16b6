//! What the device half said about a buffer before its add was seen.

use virtscope_record::{RingIndex, Timestamp};

use super::open::Open;

/// One such piece.
#[derive(Clone, Copy, Debug)]
pub(super) struct Early {
    head: u16,
    time: Timestamp,
    piece: EarlyPiece,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum EarlyPiece {
    /// Taken from this available index.
    Taken(RingIndex),
    /// Returned at this used index.
    Returned(RingIndex),
}

impl Early {
    /// Pieces remembered at most: disorder is small, and pieces of buffers whose
    /// add was lost are never asked for.
    pub(super) const LIMIT: usize = 64;

    pub(super) fn new(head: u16, time: Timestamp, piece: EarlyPiece) -> Self {
        Self { head, time, piece }
    }

    /// Gives the piece to `open` if it is its own; says whether it was.
    pub(super) fn apply(&self, open: &mut Open) -> bool {
        let moments = &mut open.life.moments;
        if self.head != open.life.head || moments.added.is_none_or(|added| added > self.time) {
            return false;
        }
        match self.piece {
            EarlyPiece::Taken(position) => {
                if open.life.position != Some(position) {
                    return false;
                }
                moments.taken = Some(self.time);
            }
            EarlyPiece::Returned(position) => {
                open.returned_position = Some(position);
                moments.returned = Some(self.time);
            }
        }
        true
    }
}
