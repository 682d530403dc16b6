//! A small block driver (virtio 1.4 §5.2), written against the five
//! [`Operations`] alone: it does not know what its queue is.

mod format;

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use virtscope_record::Token;

use crate::buffer::{Buffer, BufferPool, ReturnedBuffer};
use crate::memory::NoPages;
use crate::operations::{AddBufErrorKind, Callbacks, Operations, QueueFailure};

pub use format::{DiscardSegment, ID_LEN, RequestHeader, RequestStatus, RequestType, SECTOR};

/// What the driver knows of the disk, from its features and configuration (virtio
/// 1.4 §5.2.3, §5.2.4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DiskConfig {
    /// `capacity`: its sectors.
    pub capacity: u64,
    /// `seg_max`, `VIRTIO_BLK_F_SEG_MAX`: the most segments of a request's data.
    pub seg_max: u32,
    /// `VIRTIO_BLK_F_RO`: it can't be written.
    pub read_only: bool,
}

/// Why a request was not made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// "A driver MUST NOT submit a request which would cause a read or write beyond
    /// capacity" (virtio 1.4 §5.2.6.1).
    #[error("{sectors} sectors from {sector} on are more than the disk's {capacity}")]
    PastEnd {
        /// The first.
        sector: u64,
        /// How many.
        sectors: u64,
        /// Those the disk has.
        capacity: u64,
    },
    /// Data that is not one or more whole sectors.
    #[error("{bytes} bytes are not one or more whole sectors of {SECTOR}")]
    NotSectors {
        /// Its bytes.
        bytes: usize,
    },
    /// More segments than the device takes.
    #[error("the request has {segments} segments of data, and the device takes {seg_max}")]
    TooManySegments {
        /// Segments that the data takes.
        segments: usize,
        /// Those that the device takes.
        seg_max: u32,
    },
    /// A write to a disk that can't be written.
    #[error("the disk is read-only")]
    ReadOnly,
    /// No memory for the request now.
    #[error(transparent)]
    NoMemory(#[from] NoPages),
    /// The queue does not take it.
    #[error(transparent)]
    Queue(#[from] AddBufErrorKind),
}

/// What became of a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Completion {
    /// What [`Disk::read`] or its like answered.
    pub token: Token,
    /// The sectors read, or the disk's name; nothing for other requests.
    pub result: Result<Vec<u8>, RequestError>,
}

/// Why a request failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// `VIRTIO_BLK_S_IOERR`.
    #[error("the device reports an error (VIRTIO_BLK_S_IOERR)")]
    Io,
    /// `VIRTIO_BLK_S_UNSUPP`.
    #[error("the device does not support the request (VIRTIO_BLK_S_UNSUPP)")]
    Unsupported,
    /// A status that virtio 1.4 §5.2.6 does not have.
    #[error("the device answered with status {0}, which does not exist")]
    UnknownStatus(u8),
    /// The device wrote less than the data and the status.
    #[error("the device wrote {written} bytes of {expected}: the status is missing")]
    ShortAnswer {
        /// Bytes it wrote.
        written: u32,
        /// Bytes there were.
        expected: u32,
    },
    /// The driver shut down first.
    #[error("the request was taken back unanswered")]
    Detached,
}

/// A disk behind a queue. Requests are made with [`read`](Self::read) and its like,
/// sent by [`sync`](Self::sync), and come back in any order.
#[derive(Debug)]
pub struct Disk<Q> {
    queue: Q,
    pool: BufferPool,
    config: DiskConfig,
    requests: Requests,
}

/// The requests in the queue, and those that came back and were not asked for.
#[derive(Default, Debug)]
struct Requests {
    next: u64,
    in_flight: HashMap<Token, RequestType>,
    done: VecDeque<Completion>,
}

impl<Q: Operations> Disk<Q> {
    /// A disk behind `queue`, with memory for its requests from `pool`.
    pub fn new(queue: Q, pool: BufferPool, config: DiskConfig) -> Self {
        Self {
            queue,
            pool,
            config,
            requests: Requests::default(),
        }
    }

    /// Reads `sectors` sectors from `sector` on.
    ///
    /// # Errors
    /// See [`SubmitError`].
    pub fn read(&mut self, sector: u64, sectors: u32) -> Result<Token, SubmitError> {
        self.check_range(sector, u64::from(sectors))?;
        let bytes = sectors
            .checked_mul(SECTOR)
            .filter(|bytes| *bytes > 0 && *bytes < u32::MAX)
            .ok_or(SubmitError::NotSectors {
                bytes: sectors as usize * SECTOR as usize,
            })?;
        self.submit(RequestType::In, sector, &[], bytes)
    }

    /// Writes `data` to the sectors from `sector` on.
    ///
    /// # Errors
    /// See [`SubmitError`].
    pub fn write(&mut self, sector: u64, data: &[u8]) -> Result<Token, SubmitError> {
        if self.config.read_only {
            return Err(SubmitError::ReadOnly);
        }
        let whole = !data.is_empty() && data.len().is_multiple_of(SECTOR as usize);
        if !whole || data.len() > (u32::MAX - SECTOR) as usize {
            return Err(SubmitError::NotSectors { bytes: data.len() });
        }
        self.check_range(sector, data.len() as u64 / u64::from(SECTOR))?;
        self.submit(RequestType::Out, sector, data, 0)
    }

    /// Makes the writes that have come back stable.
    ///
    /// # Errors
    /// See [`SubmitError`].
    pub fn flush(&mut self) -> Result<Token, SubmitError> {
        self.submit(RequestType::Flush, 0, &[], 0)
    }

    /// Asks for the disk's name: up to 20 bytes, the rest zero.
    ///
    /// # Errors
    /// See [`SubmitError`].
    pub fn identify(&mut self) -> Result<Token, SubmitError> {
        self.submit(RequestType::GetId, 0, &[], ID_LEN)
    }

    /// Tells that the contents of `sectors` sectors from `sector` on are not needed.
    ///
    /// # Errors
    /// See [`SubmitError`].
    pub fn discard(&mut self, sector: u64, sectors: u32) -> Result<Token, SubmitError> {
        if self.config.read_only {
            return Err(SubmitError::ReadOnly);
        }
        self.check_range(sector, u64::from(sectors))?;
        let segment = DiscardSegment {
            sector,
            sectors,
            flags: 0,
        };
        self.submit(RequestType::Discard, 0, &segment.to_bytes(), 0)
    }

    /// Sends the requests made so far.
    pub fn sync(&mut self) {
        self.queue.sync();
    }

    /// A request that has come back, if there is one.
    ///
    /// # Errors
    /// The queue has failed: [`shut_down`](Self::shut_down) gives the requests back.
    pub fn completed(&mut self) -> Result<Option<Completion>, QueueFailure> {
        while self.requests.done.is_empty() {
            let Some((token, buffer)) = self.queue.get_buf()? else {
                break;
            };
            self.requests.finish(token, &buffer);
        }
        Ok(self.requests.done.pop_front())
    }

    /// Requests in the queue.
    pub fn in_flight(&self) -> usize {
        self.requests.in_flight.len()
    }

    /// The disk's queue.
    pub fn queue(&self) -> &Q {
        &self.queue
    }

    /// Takes all requests back, and says what became of each that was not asked for
    /// yet.
    pub fn shut_down(mut self) -> Vec<Completion> {
        let mut tokens: Vec<Token> = self.requests.in_flight.keys().copied().collect();
        tokens.sort_unstable();
        for token in tokens {
            // One that is not there any more was used meanwhile.
            if self.queue.detach_buf(token).is_ok() {
                self.requests.end(token, Err(RequestError::Detached));
            }
        }
        // What can't be detached was used, and comes back before any failure.
        while let (true, Ok(Some((token, buffer)))) = (self.in_flight() > 0, self.queue.get_buf()) {
            self.requests.finish(token, &buffer);
        }
        self.requests.done.into()
    }

    /// A request with `data` and room for an answer, and for the status behind it.
    fn submit(
        &mut self,
        kind: RequestType,
        sector: u64,
        data: &[u8],
        answer: u32,
    ) -> Result<Token, SubmitError> {
        let header = RequestHeader {
            kind: kind as u32,
            sector,
        };
        let mut request = header.to_bytes().to_vec();
        request.extend_from_slice(data);
        let mut buffer = self.pool.allocate(request.len() as u32, answer + 1)?;
        self.check_segments(&buffer)?;
        let filled = buffer.fill(0, &request);
        debug_assert!(filled.is_ok(), "the buffer was made for this request");
        let token = Token(self.requests.next);
        self.queue
            .add_buf(buffer, token)
            .map_err(|error| error.kind)?;
        self.requests.next += 1;
        self.requests.in_flight.insert(token, kind);
        Ok(token)
    }

    fn check_range(&self, sector: u64, sectors: u64) -> Result<(), SubmitError> {
        let capacity = self.config.capacity;
        match sector.checked_add(sectors) {
            Some(end) if end <= capacity => Ok(()),
            _ => Err(SubmitError::PastEnd {
                sector,
                sectors,
                capacity,
            }),
        }
    }

    /// Header and status share segments with the data, so they need none of their
    /// own.
    fn check_segments(&self, buffer: &Buffer) -> Result<(), SubmitError> {
        let (segments, seg_max) = (buffer.segments(), self.config.seg_max);
        if segments > seg_max as usize {
            return Err(SubmitError::TooManySegments { segments, seg_max });
        }
        Ok(())
    }
}

impl<Q: Callbacks> Disk<Q> {
    /// The next request that comes back, within `timeout`. Sends what was made.
    ///
    /// # Errors
    /// As for [`completed`](Self::completed).
    pub fn wait(&mut self, timeout: Duration) -> Result<Option<Completion>, QueueFailure> {
        self.sync();
        if let Some(completion) = self.completed()? {
            return Ok(Some(completion));
        }
        let requests = &mut self.requests;
        self.queue
            .dispatch(timeout, |queue| requests.callback(queue));
        self.completed()
    }
}

impl Requests {
    /// The driver's callback: takes all that is there, and wants to be called
    /// again.
    fn callback(&mut self, queue: &mut impl Operations) -> bool {
        // A failure is asked for by `completed`.
        while let Ok(Some((token, buffer))) = queue.get_buf() {
            self.finish(token, &buffer);
        }
        true
    }

    fn finish(&mut self, token: Token, buffer: &ReturnedBuffer) {
        let answers = self
            .in_flight
            .get(&token)
            .is_some_and(|kind| matches!(kind, RequestType::In | RequestType::GetId));
        let result = check_answer(buffer).map(|mut data| {
            if !answers {
                data.clear();
            }
            data
        });
        self.end(token, result);
    }

    fn end(&mut self, token: Token, result: Result<Vec<u8>, RequestError>) {
        if self.in_flight.remove(&token).is_some() {
            self.done.push_back(Completion { token, result });
        }
    }
}

/// The data of an answer whose last byte says that it is one.
fn check_answer(buffer: &ReturnedBuffer) -> Result<Vec<u8>, RequestError> {
    let short = RequestError::ShortAnswer {
        written: buffer.written(),
        expected: buffer.writable_len(),
    };
    if buffer.written() < buffer.writable_len() {
        return Err(short);
    }
    let mut data = buffer.to_vec();
    let status = data.pop().ok_or(short)?;
    match RequestStatus::from_raw(status) {
        Some(RequestStatus::Ok) => Ok(data),
        Some(RequestStatus::IoError) => Err(RequestError::Io),
        Some(RequestStatus::Unsupported) => Err(RequestError::Unsupported),
        None => Err(RequestError::UnknownStatus(status)),
    }
}
