//! Requests to a disk in a capture, held against `/sys/block/*/stat`: what the
//! guest's block layer counted.

use std::ops::Sub;

use anyhow::{Context, bail, ensure};

use super::capture::GuestQueue;

/// Requests that completed, and what they moved.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct DiskCounts {
    pub(crate) reads: u64,
    pub(crate) read_bytes: u64,
    pub(crate) writes: u64,
    pub(crate) written_bytes: u64,
    pub(crate) flushes: u64,
}

/// The unit of the file, whatever the disk's own sectors are.
const SECTOR: u64 = 512;

impl DiskCounts {
    /// Reads the file (Linux `Documentation/block/stat.rst`).
    ///
    /// # Errors
    /// It is not 17 numbers, or requests are in flight.
    pub(crate) fn parse(stat: &str) -> anyhow::Result<Self> {
        let numbers: Vec<u64> = stat
            .split_ascii_whitespace()
            .map(|word| word.parse().with_context(|| format!("{word} is no number")))
            .collect::<anyhow::Result<_>>()?;
        ensure!(
            numbers.len() == 17,
            "17 numbers stand in a disk's stat, and here {}",
            numbers.len()
        );
        ensure!(numbers[8] == 0, "{} requests are in flight", numbers[8]);
        Ok(Self {
            reads: numbers[0],
            read_bytes: numbers[2] * SECTOR,
            writes: numbers[4],
            written_bytes: numbers[6] * SECTOR,
            flushes: numbers[15],
        })
    }
}

/// `struct virtio_blk_req` (virtio 1.4 §5.2.6): type, reserved, sector.
const HEADER: u32 = 16;
/// The status behind it.
const STATUS: u32 = 1;
const IN: u32 = 0;
const OUT: u32 = 1;
const FLUSH: u32 = 4;
const GET_ID: u32 = 8;

impl DiskCounts {
    /// What the requests in a disk's queues did.
    ///
    /// # Errors
    /// A request whose header is not in the capture, or of a type that no test makes.
    pub(crate) fn of<'a>(queues: impl IntoIterator<Item = &'a GuestQueue>) -> anyhow::Result<Self> {
        let mut counts = Self::default();
        for queue in queues {
            for add in queue.adds_seen() {
                let kind = add
                    .payload
                    .first_chunk()
                    .context("a request without header")?;
                match u32::from_le_bytes(*kind) {
                    IN => {
                        let bytes = add.writable_bytes.checked_sub(STATUS);
                        counts.reads += 1;
                        counts.read_bytes += u64::from(bytes.context("a read without status")?);
                    }
                    OUT => {
                        let bytes = add.readable_bytes.checked_sub(HEADER);
                        counts.writes += 1;
                        counts.written_bytes += u64::from(bytes.context("a write without header")?);
                    }
                    FLUSH => counts.flushes += 1,
                    // The block layer does not count what a driver asks for itself.
                    GET_ID => {}
                    other => bail!("a request of type {other}"),
                }
            }
        }
        // A flush that nothing else rides on comes down as a write without data, and
        // the block layer counts it as that, too (Linux `blkdev_issue_flush`). Here
        // every flush is such a one, and none is joined with another.
        counts.writes += counts.flushes;
        Ok(counts)
    }
}

impl DiskCounts {
    /// Reads, writes and flushes, of which each flush was a write as well.
    pub(crate) const fn requests(&self) -> u64 {
        self.reads + self.writes
    }
}

impl Sub for DiskCounts {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            reads: self.reads - before.reads,
            read_bytes: self.read_bytes - before.read_bytes,
            writes: self.writes - before.writes,
            written_bytes: self.written_bytes - before.written_bytes,
            flushes: self.flushes - before.flushes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::capture::{AddSeen, Added};
    use super::*;

    #[test]
    fn the_difference_is_what_was_done() {
        let before = "3 0 24 7 0 0 0 0 0 4 7 0 0 0 0 0 0";
        let after = "      11        0       88        9        2        3       32        3        0        8       14        0        0        0        0        1        1\n";
        let done = DiskCounts::parse(after).unwrap() - DiskCounts::parse(before).unwrap();
        let expected = DiskCounts {
            reads: 8,
            read_bytes: 8 * 4096,
            writes: 2,
            written_bytes: 4 * 4096,
            flushes: 1,
        };
        assert_eq!(done, expected);
    }

    /// A request with its header alone; of a read or write also its data.
    fn request(kind: u32, readable_bytes: u32, writable_bytes: u32) -> Added {
        Added::Seen(AddSeen {
            at: 0,
            position: 0,
            token: 1,
            head: 0,
            readable_segments: 1,
            writable_segments: 1,
            readable_bytes,
            writable_bytes,
            descriptors: 1,
            payload: kind.to_le_bytes().to_vec(),
        })
    }

    #[test]
    fn requests_are_counted_as_the_block_layer_counts_them() {
        let mut queue = GuestQueue::default();
        queue.adds.push(request(IN, 16, 4097));
        queue.adds.push(request(OUT, 16 + 512, 1));
        queue.adds.push(request(FLUSH, 16, 1));
        queue.adds.push(request(GET_ID, 16, 21));
        let expected = DiskCounts {
            reads: 1,
            read_bytes: 4096,
            writes: 2,
            written_bytes: 512,
            flushes: 1,
        };
        assert_eq!(DiskCounts::of([&queue]).unwrap(), expected);
        queue.adds.push(request(99, 16, 1));
        assert!(DiskCounts::of([&queue]).is_err());
    }

    #[test]
    fn what_is_no_stat_or_not_idle_is_an_error() {
        assert!(DiskCounts::parse("1 2 3").is_err());
        assert!(DiskCounts::parse("0 0 0 0 0 0 0 0 x 0 0 0 0 0 0 0 0").is_err());
        assert!(DiskCounts::parse("0 0 0 0 0 0 0 0 1 0 0 0 0 0 0 0 0").is_err());
    }
}
