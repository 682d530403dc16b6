//! Reading ahead: one thread finds the records, another makes something of them.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread;

use virtscope_record::Record;

use super::{
    CaptureReader, End, Interface, InterfaceStatistics, Item, Packet, PacketProblem, ReadError,
    SectionStart,
};
use crate::CaptureInfo;

/// Packets in a batch.
const BATCH: usize = 1024;
/// Bytes of payload from which on a batch is full.
const FULL: usize = 1 << 20;
/// Batches that wait at most: enough that neither side waits for the other's every
/// hiccup.
const WAITING: usize = 4;

/// A [`CaptureReader`] that is read by a thread of its own, which is some thousand
/// records ahead at most.
///
/// It finds what the reader finds, in the same order. A batch is handed over when it
/// is full or the capture ends, so this is for files: of a pipe that falls silent,
/// the last records would wait for those to come.
///
/// ```no_run
/// use virtscope_captures::{CaptureReader, Item, ReadAhead};
///
/// let reader = CaptureReader::new(std::fs::File::open("x.pcapng")?)?;
/// let mut ahead = ReadAhead::spawn(reader)?;
/// loop {
///     match ahead.next_item()? {
///         Item::Record(packet) => println!("{:?}", packet.record),
///         Item::End(end) => break println!("{end}"),
///         _ => {}
///     }
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct ReadAhead {
    batches: Receiver<Batch>,
    /// Batches that were used up go back to be filled again.
    used_up: Sender<Batch>,
    batch: Batch,
    /// Of the batch: the next packet, and whether the other thing behind the
    /// packets is still to come.
    next: usize,
    end: Option<End>,
}

/// Some packets, and one other thing behind them.
#[derive(Debug, Default)]
struct Batch {
    packets: Vec<Parcel>,
    payloads: Vec<u8>,
    behind: Option<Result<Other, ReadError>>,
    /// As the reader had it when the batch was full.
    tally: Tally,
}

/// A packet whose payload ends at this place of the batch's.
#[derive(Debug)]
struct Parcel {
    record: Record,
    payload_end: usize,
    original_len: u32,
    dropcount: Option<u64>,
    unix_ns: u64,
    number: u64,
}

/// What is no packet.
#[derive(Debug)]
enum Other {
    Section(SectionStart),
    Interface(Interface),
    Statistics(InterfaceStatistics),
    Corrupt {
        packet: u64,
        offset: u64,
        problem: PacketProblem,
    },
    End(End),
}

#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    info: Option<CaptureInfo>,
    packets: u64,
    foreign: u64,
    corrupt: u64,
}

impl ReadAhead {
    /// Reads `reader` in a thread of its own from now on.
    ///
    /// # Errors
    /// No thread can be had.
    pub fn spawn<R: Read + Send + 'static>(reader: CaptureReader<R>) -> io::Result<Self> {
        let (sender, batches) = sync_channel(WAITING);
        let (used_up, empty) = channel();
        let tally = Tally::of(&reader);
        thread::Builder::new()
            .name("capture".into())
            .spawn(move || read(reader, &sender, &empty))?;
        Ok(Self {
            batches,
            used_up,
            batch: Batch {
                tally,
                ..Batch::default()
            },
            next: 0,
            end: None,
        })
    }

    /// The next thing in the capture.
    ///
    /// # Errors
    /// Those of [`CaptureReader::next_item`]; after one there is no more to read.
    pub fn next_item(&mut self) -> Result<Item<'_>, ReadError> {
        if let Some(end) = self.end {
            return Ok(Item::End(end));
        }
        while self.next == self.batch.packets.len() {
            if let Some(behind) = self.batch.behind.take() {
                let other = behind?;
                if let Other::End(end) = other {
                    self.end = Some(end);
                }
                return Ok(other.into());
            }
            let Ok(batch) = self.batches.recv() else {
                // The thread is gone without a last word: it has panicked.
                let gone = io::Error::other("the thread that reads the capture is gone");
                return Err(ReadError::Input(gone));
            };
            // If nobody fills it any more, there is no use for it.
            let _ = self.used_up.send(std::mem::replace(&mut self.batch, batch));
            self.next = 0;
        }
        let at = self.next;
        self.next += 1;
        let Batch {
            packets, payloads, ..
        } = &self.batch;
        let begin = at
            .checked_sub(1)
            .map_or(0, |before| packets[before].payload_end);
        let parcel = &packets[at];
        Ok(Item::Record(Packet {
            record: parcel.record,
            payload: payloads.get(begin..parcel.payload_end).unwrap_or_default(),
            original_len: parcel.original_len,
            dropcount: parcel.dropcount,
            unix_ns: parcel.unix_ns,
            number: parcel.number,
        }))
    }

    /// [`CaptureReader::info`], of what was handed over.
    pub const fn info(&self) -> Option<&CaptureInfo> {
        self.batch.tally.info.as_ref()
    }

    /// [`CaptureReader::packets`], of what was handed over: exact at the end.
    pub const fn packets(&self) -> u64 {
        self.batch.tally.packets
    }

    /// [`CaptureReader::foreign_packets`], likewise.
    pub const fn foreign_packets(&self) -> u64 {
        self.batch.tally.foreign
    }

    /// [`CaptureReader::corrupt_packets`], likewise.
    pub const fn corrupt_packets(&self) -> u64 {
        self.batch.tally.corrupt
    }
}

impl Tally {
    fn of<R: Read>(reader: &CaptureReader<R>) -> Self {
        Self {
            info: reader.info().copied(),
            packets: reader.packets(),
            foreign: reader.foreign_packets(),
            corrupt: reader.corrupt_packets(),
        }
    }
}

impl From<Other> for Item<'_> {
    fn from(other: Other) -> Self {
        match other {
            Other::Section(section) => Item::Section(section),
            Other::Interface(interface) => Item::Interface(interface),
            Other::Statistics(statistics) => Item::Statistics(statistics),
            Other::Corrupt {
                packet,
                offset,
                problem,
            } => Item::Corrupt {
                packet,
                offset,
                problem,
            },
            Other::End(end) => Item::End(end),
        }
    }
}

/// What the thread does, until the capture ends or nobody listens any more.
fn read<R: Read>(mut reader: CaptureReader<R>, full: &SyncSender<Batch>, empty: &Receiver<Batch>) {
    loop {
        let mut batch = empty.try_recv().unwrap_or_default();
        batch.fill(&mut reader);
        let is_last = matches!(batch.behind, Some(Ok(Other::End(_)) | Err(_)));
        if full.send(batch).is_err() || is_last {
            return;
        }
    }
}

impl Batch {
    fn fill<R: Read>(&mut self, reader: &mut CaptureReader<R>) {
        self.packets.clear();
        self.payloads.clear();
        self.behind = None;
        while self.behind.is_none() && self.packets.len() < BATCH && self.payloads.len() < FULL {
            let other = match reader.next_item() {
                Ok(Item::Record(packet)) => {
                    self.payloads.extend_from_slice(packet.payload);
                    self.packets.push(Parcel {
                        record: packet.record,
                        payload_end: self.payloads.len(),
                        original_len: packet.original_len,
                        dropcount: packet.dropcount,
                        unix_ns: packet.unix_ns,
                        number: packet.number,
                    });
                    continue;
                }
                Ok(Item::Section(section)) => Ok(Other::Section(section)),
                Ok(Item::Interface(interface)) => Ok(Other::Interface(interface)),
                Ok(Item::Statistics(statistics)) => Ok(Other::Statistics(statistics)),
                Ok(Item::Corrupt {
                    packet,
                    offset,
                    problem,
                }) => Ok(Other::Corrupt {
                    packet,
                    offset,
                    problem,
                }),
                Ok(Item::End(end)) => Ok(Other::End(end)),
                Err(error) => Err(error),
            };
            self.behind = Some(other);
        }
        self.tally = Tally::of(reader);
    }
}
