//! Captures made of captures: a part of one, several in one.
//!
//! What comes out says what it is ([`Origin`],
//! [`Selection`](crate::Selection)), and its account adds up: what was left out is
//! *filtered*, and what the captures that went in had lost stays *lost*.

mod combine;
mod redact;
mod requests;
mod seen;
mod slice;
mod source;

use std::io::Write;

use crate::{CaptureWriter, Origin, ReadError, Totals, WriteError};

pub use combine::{Combine, Combined, Placed};
pub use redact::{Rewritten, rewrite};
pub use slice::{SliceSpec, Sliced, slice};
pub use source::Source;

/// Why a capture could not be made of others.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EditError {
    /// One of those that go in cannot be read.
    #[error("{source}")]
    Read {
        /// Which, from 0.
        input: usize,
        /// What is wrong with it.
        source: ReadError,
    },
    /// The one that comes out cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// Someone asked to stop.
    #[error("interrupted: nothing was written")]
    Interrupted,
    /// There are no numbers left for devices.
    #[error("more devices than there are numbers: merge fewer captures")]
    Devices,
    /// Nothing was found of which a capture could be made.
    #[error("nothing in it was chosen: no record is of the queues, times and requests asked for")]
    Nothing,
}

/// What a capture became that was written from others.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Done {
    /// The account of what was written.
    pub totals: Totals,
    /// What it says of its origin.
    pub origin: Origin,
}

/// Opens the queue of `record`, writes the record and tells of losses.
fn write<W: Write>(
    writer: &mut CaptureWriter<W>,
    record: &virtscope_record::Record,
    payload: &[u8],
    name: impl FnOnce() -> String,
) -> Result<(), WriteError> {
    match writer.write(record, payload) {
        Err(WriteError::Undeclared { .. }) => {
            writer.declare(record, &name())?;
            writer.write(record, payload)
        }
        result => result,
    }
}
