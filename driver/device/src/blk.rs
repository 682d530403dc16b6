//! A block device (virtio 1.4 §5.2) on a file.

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use rustix::fs::{FallocateFlags, fallocate};
use virtscope_driver::blk::{
    DiscardSegment, ID_LEN, RequestHeader, RequestStatus, RequestType, SECTOR,
};

use crate::requests::{Request, RequestError, Requests};

/// The most data of a request, so that a driver can't make the device ask for
/// memory without end.
const MAX_DATA: usize = 4 << 20;

/// What a block device offers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BlockConfig {
    /// Its sectors of 512 bytes (`capacity`).
    pub capacity: u64,
    /// `VIRTIO_BLK_F_RO`: writes fail.
    pub read_only: bool,
    /// `VIRTIO_BLK_F_DISCARD`.
    pub discard: bool,
    /// Its name (`VIRTIO_BLK_T_GET_ID`), padded with zeroes.
    pub id: [u8; ID_LEN as usize],
}

/// A block device that keeps its sectors in a file, and serves one queue.
#[derive(Debug)]
pub struct BlockDevice<R> {
    requests: R,
    file: File,
    config: BlockConfig,
}

impl<R: Requests> BlockDevice<R> {
    /// A device on `file`; what the file lacks at its end reads as zeroes.
    pub fn new(requests: R, file: File, config: BlockConfig) -> Self {
        Self {
            requests,
            file,
            config,
        }
    }

    /// Serves the next request; whether there was one.
    ///
    /// # Errors
    /// The driver broke a rule of the queue, or is gone.
    pub fn step(&mut self) -> Result<bool, RequestError> {
        let Some(request) = self.requests.take()? else {
            return Ok(false);
        };
        let answer = self.serve(&request);
        self.requests.give_back(request, &answer)?;
        Ok(true)
    }

    /// Serves what there is, then sleeps until there is more or `timeout` is over.
    ///
    /// # Errors
    /// As for [`step`](Self::step).
    pub fn run_for(&mut self, timeout: Duration) -> Result<(), RequestError> {
        while self.step()? {}
        self.requests.wait(timeout)
    }

    /// What is to stand in the request's device-writable part: data, and the status
    /// in its last byte. A used length counts from the beginning, so what a failed
    /// request leaves of the data is zeroes.
    fn serve(&self, request: &Request) -> Vec<u8> {
        let Some(len) = (request.writable as usize).checked_sub(1) else {
            // Nowhere to write the status.
            return Vec::new();
        };
        if len > MAX_DATA {
            // Without the status the driver can tell that it got no answer.
            return Vec::new();
        }
        let mut answer = vec![0; len];
        let status = match self.execute(&request.readable, &mut answer) {
            Ok(()) => RequestStatus::Ok,
            Err(status) => {
                answer.fill(0);
                status
            }
        };
        answer.push(status as u8);
        answer
    }

    fn execute(&self, readable: &[u8], answer: &mut [u8]) -> Result<(), RequestStatus> {
        let (header, data) = readable.split_first_chunk().ok_or(RequestStatus::IoError)?;
        let header = RequestHeader::from_bytes(*header);
        match RequestType::from_raw(header.kind).ok_or(RequestStatus::Unsupported)? {
            RequestType::In => self.read(header.sector, answer),
            RequestType::Out => self.write(header.sector, data),
            RequestType::Flush => self.file.sync_data().map_err(|_| RequestStatus::IoError),
            RequestType::GetId if answer.len() == self.config.id.len() => {
                answer.copy_from_slice(&self.config.id);
                Ok(())
            }
            RequestType::GetId => Err(RequestStatus::IoError),
            RequestType::Discard => self.discard(data),
        }
    }

    fn read(&self, sector: u64, into: &mut [u8]) -> Result<(), RequestStatus> {
        let mut offset = self.offset(sector, into.len() as u64)?;
        let mut rest = into;
        while !rest.is_empty() {
            match self.file.read_at(rest, offset) {
                // The file is shorter than the disk.
                Ok(0) => {
                    rest.fill(0);
                    break;
                }
                Ok(count) => {
                    offset += count as u64;
                    rest = &mut rest[count..];
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Err(RequestStatus::IoError),
            }
        }
        Ok(())
    }

    fn write(&self, sector: u64, data: &[u8]) -> Result<(), RequestStatus> {
        if self.config.read_only {
            return Err(RequestStatus::IoError);
        }
        let offset = self.offset(sector, data.len() as u64)?;
        self.file
            .write_all_at(data, offset)
            .map_err(|_| RequestStatus::IoError)
    }

    /// All ranges are looked at before the first is discarded.
    fn discard(&self, data: &[u8]) -> Result<(), RequestStatus> {
        if !self.config.discard {
            return Err(RequestStatus::Unsupported);
        }
        if self.config.read_only {
            return Err(RequestStatus::IoError);
        }
        let (segments, rest) = data.as_chunks::<{ DiscardSegment::LEN }>();
        if !rest.is_empty() {
            return Err(RequestStatus::IoError);
        }
        let mut ranges = Vec::new();
        for segment in segments.iter().copied().map(DiscardSegment::from_bytes) {
            // `unmap` and all unknown flags (virtio 1.4 §5.2.6.2).
            if segment.flags != 0 {
                return Err(RequestStatus::Unsupported);
            }
            let bytes = u64::from(segment.sectors) * u64::from(SECTOR);
            ranges.push((self.offset(segment.sector, bytes)?, bytes));
        }
        for (offset, bytes) in ranges {
            if bytes > 0 {
                // Only a hint: a file system that keeps the bytes is no error.
                let how = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
                let _ = fallocate(&self.file, how, offset, bytes);
            }
        }
        Ok(())
    }

    /// Where `bytes` bytes from `sector` on stand in the file, if they are whole
    /// sectors of the disk.
    fn offset(&self, sector: u64, bytes: u64) -> Result<u64, RequestStatus> {
        if !bytes.is_multiple_of(u64::from(SECTOR)) {
            return Err(RequestStatus::IoError);
        }
        let end = sector.checked_add(bytes / u64::from(SECTOR));
        let offset = sector.checked_mul(u64::from(SECTOR));
        match (end, offset) {
            (Some(end), Some(offset)) if end <= self.config.capacity => Ok(offset),
            _ => Err(RequestStatus::IoError),
        }
    }
}
