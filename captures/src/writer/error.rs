//! Why a capture cannot be written on.

use std::io::{self, ErrorKind};

use pcap_file::pcapng::PcapNgWriteError;
use virtscope_record::QueueId;

use super::MAX_SNAPLEN;

/// A capture that could not be written on. What had been written before stands.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The disk, or the user's share of it, is full.
    #[error(
        "the disk is full: {}; free some space or write elsewhere", stands(*written)
    )]
    DiskFull {
        /// Bytes that were written.
        written: u64,
        /// What the system said.
        source: io::Error,
    },
    /// Whoever read the pipe has closed it.
    #[error("the reader of the capture has gone after {written} bytes")]
    ReaderGone {
        /// Bytes that were written.
        written: u64,
        /// What the system said.
        source: io::Error,
    },
    /// Any other trouble of the output.
    #[error(
        "cannot write the capture: {source}; {}", stands(*written)
    )]
    Output {
        /// Bytes that were written.
        written: u64,
        /// What the system said.
        source: io::Error,
    },
    /// The writer was used on after one of the errors above.
    #[error("the capture has ended with an earlier error: start a new one")]
    Ended,
    /// A record of a queue of which nothing was said.
    #[error("queue {queue} is not declared: write its queue facts before its other records")]
    Undeclared {
        /// The queue.
        queue: QueueId,
    },
    /// More payload than a packet may have.
    #[error("a snaplen of {snaplen} is more than a capture can hold: {MAX_SNAPLEN} at most")]
    Snaplen {
        /// What was asked for.
        snaplen: u32,
    },
    /// A block that pcapng cannot express.
    #[error("pcapng cannot express this block")]
    Block(#[source] PcapNgWriteError),
}

impl WriteError {
    pub(super) fn output(source: io::Error, written: u64) -> Self {
        match source.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
                Self::DiskFull { written, source }
            }
            ErrorKind::BrokenPipe => Self::ReaderGone { written, source },
            _ => Self::Output { written, source },
        }
    }

    /// The same, of a capture of which so many bytes stand in other files.
    #[must_use]
    pub fn after(mut self, before: u64) -> Self {
        if let Self::DiskFull { written, .. }
        | Self::ReaderGone { written, .. }
        | Self::Output { written, .. } = &mut self
        {
            *written += before;
        }
        self
    }

    /// Whether the reader of a pipe has gone, which ends a program quietly.
    pub const fn is_reader_gone(&self) -> bool {
        matches!(self, Self::ReaderGone { .. })
    }
}

/// What there is of a capture that could not be written on.
fn stands(written: u64) -> String {
    match written {
        0 => "nothing of the capture was written".to_owned(),
        _ => format!("the capture ends after {written} bytes, which can be read"),
    }
}
