//! Writing a capture: to a file, or to a pipe that someone reads meanwhile.

mod error;
mod packet;

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Write};
use std::time::Duration;

use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption, InterfaceTsResolution,
};
use pcap_file::pcapng::blocks::interface_statistics::{
    InterfaceStatisticsBlock, InterfaceStatisticsOption,
};
use pcap_file::pcapng::blocks::opt_common::CommonOption;
use pcap_file::pcapng::blocks::section_header::{SectionHeaderBlock, SectionHeaderOption};
use pcap_file::pcapng::{PcapNgBlock, PcapNgWriter};
use pcap_file::{DataLink, Endianness};
use virtscope_record::{FRAME_LEN, Kind, QueueId, Record, Timestamp};

use crate::recent::Recent;
use crate::{CaptureInfo, Ledger, Origin, QueueDescription, Totals};

use packet::Packet;

pub use error::WriteError;

/// The most payload a record can have in a capture.
pub const MAX_SNAPLEN: u32 = 1 << 19;

/// The most it can have for Wireshark, which reads packets of up to 262144 bytes and stops
/// at one that is longer.
pub const WIRESHARK_SNAPLEN: u32 = 262_144 - FRAME_LEN as u32;

/// Bytes that facts may have in any case. Those that open an interface may know less than
/// later ones: a queue of which only the number is known is told of at its first records.
const FACTS_ROOM: usize = 1024;

/// Bytes gathered before they are handed on: whole blocks, so that whoever
/// follows the file seldom sees half of one.
const BATCH: usize = 64 * 1024;

/// `epb_flags`, direction (pcapng §4.3.1).
const INBOUND: u32 = 1;
const OUTBOUND: u32 = 2;

/// Writes records into a pcapng capture.
///
/// Records go in by [`write`](Self::write); [`finish`](Self::finish) adds the
/// statistics of every interface and ends the capture. Without it the capture
/// can be read all the same, and says that it was not finished. The output is
/// never sought in.
#[derive(Debug)]
pub struct CaptureWriter<W: Write> {
    out: W,
    blocks: Blocks,
    snaplen: u32,
    clock: crate::ClockOffset,
    ledger: Ledger,
    interfaces: Vec<Interface>,
    /// By queue: which interface it has.
    numbers: BTreeMap<QueueId, usize>,
    recent: Recent<usize>,
    programs_skipped: u64,
    written: u64,
    ended: bool,
}

#[derive(Debug)]
struct Interface {
    id: u32,
    /// The most payload its packets hold: `snaplen`, or enough for facts.
    payload_limit: usize,
    /// Losses that packets have told of already.
    losses_told: u64,
    first: Timestamp,
    last: Timestamp,
}

impl<W: Write> CaptureWriter<W> {
    /// Begins a capture on `out` and hands its section header on.
    ///
    /// # Errors
    /// A snaplen beyond [`MAX_SNAPLEN`], trouble of the output.
    pub fn new(out: W, info: CaptureInfo) -> Result<Self, WriteError> {
        Self::with_origin(out, info, &Origin::default())
    }

    /// The same of a capture that is made of others, and says so.
    ///
    /// # Errors
    /// A snaplen beyond [`MAX_SNAPLEN`], trouble of the output.
    pub fn with_origin(out: W, info: CaptureInfo, origin: &Origin) -> Result<Self, WriteError> {
        if info.snaplen > MAX_SNAPLEN {
            return Err(WriteError::Snaplen {
                snaplen: info.snaplen,
            });
        }
        let comments = [Some(info.to_comment()), origin.to_comment()];
        let mut options: Vec<_> = comments
            .into_iter()
            .flatten()
            .map(|text| SectionHeaderOption::Common(CommonOption::Comment(text.into())))
            .collect();
        options.push(SectionHeaderOption::OS(operating_system().into()));
        options.push(SectionHeaderOption::UserApplication(
            concat!("virtscope ", env!("CARGO_PKG_VERSION")).into(),
        ));
        let section = SectionHeaderBlock {
            endianness: Endianness::Little,
            options,
            ..SectionHeaderBlock::default()
        };
        let mut writer = Self {
            out,
            blocks: Blocks(
                PcapNgWriter::with_section_header(Vec::with_capacity(2 * BATCH), section)
                    .map_err(WriteError::Block)?,
            ),
            snaplen: info.snaplen,
            clock: info.clock,
            ledger: Ledger::new(info.selection),
            interfaces: Vec::new(),
            numbers: BTreeMap::new(),
            recent: Recent::new(0),
            programs_skipped: 0,
            written: 0,
            ended: false,
        };
        writer.flush()?;
        Ok(writer)
    }

    /// Writes `record` with as much of `payload` as snaplen allows.
    ///
    /// The first queue facts of a queue open its interface; those of a later
    /// generation are a record like any other.
    ///
    /// # Errors
    /// A queue without facts, trouble of the output.
    pub fn write(&mut self, record: &Record, payload: &[u8]) -> Result<(), WriteError> {
        if self.ended {
            return Err(WriteError::Ended);
        }
        let queue = record.queue();
        let kind = record.kind().ok();
        if kind == Some(Kind::QueueFacts) && !self.numbers.contains_key(&queue) {
            let description = QueueDescription::from_payload(payload, queue);
            self.open(record, &description, payload.len())?;
        }
        let number = self.interface(record);
        let Some(interface) = number.and_then(|number| self.interfaces.get_mut(number)) else {
            return Err(WriteError::Undeclared { queue });
        };

        // Facts describe the queue and are no part of a buffer: they are kept.
        let limit = match kind {
            Some(Kind::QueueFacts) => interface.payload_limit,
            _ => self.snaplen as usize,
        };
        let stored = payload.get(..limit).unwrap_or(payload);
        let full = saturate(payload.len()).max(record.full_payload_len().unwrap_or(0));

        let (_, losses) = self.ledger.account(record);
        let flags = kind.map(|kind| match kind.is_towards_device() {
            true => OUTBOUND,
            false => INBOUND,
        });
        let untold = losses.saturating_sub(interface.losses_told);
        interface.losses_told += untold;
        let time = record.time();
        interface.first = interface.first.min(time);
        interface.last = interface.last.max(time);
        self.blocks.push_packet(&Packet {
            interface: interface.id,
            unix_ns: self.clock.to_unix_ns(time),
            original_len: full.saturating_add(FRAME_LEN as u32),
            record,
            payload: stored,
            flags,
            dropcount: (untold > 0).then_some(untold),
        });
        if self.blocks.pending().len() >= BATCH {
            self.send()?;
        }
        Ok(())
    }

    /// Which interface the queue of `record` has.
    #[inline]
    fn interface(&mut self, record: &Record) -> Option<usize> {
        let (queue, producer) = (record.queue(), record.producer().id());
        if let Some(number) = self.recent.get(queue, producer) {
            return Some(number);
        }
        let number = *self.numbers.get(&queue)?;
        self.recent.put(queue, producer, number);
        Some(number)
    }

    /// Opens the interface of the queue that `record` is of, if it is not open
    /// yet, by a name and nothing else: for captures whose facts were lost.
    ///
    /// # Errors
    /// Trouble of the output.
    pub fn declare(&mut self, record: &Record, name: &str) -> Result<(), WriteError> {
        if self.numbers.contains_key(&record.queue()) {
            return Ok(());
        }
        let description = QueueDescription::from_payload(name.as_bytes(), record.queue());
        self.open(record, &description, 0)
    }

    /// So many records of `queue` are known to be lost: for a capture that is a
    /// part of another, whose own holes say nothing. The next packet of the queue
    /// tells of those that none has told of.
    pub fn tell_lost(&mut self, queue: QueueId, lost: u64) {
        self.ledger.tell_lost(queue, lost);
    }

    /// The tail of a capture that goes into this one is not known.
    pub fn tell_tail_unknown(&mut self) {
        self.ledger.tell_tail_unknown();
    }

    /// Up to now the kernel has skipped a program of the tracer so many times, in the whole
    /// recording.
    pub const fn tell_programs_skipped(&mut self, times: u64) {
        self.programs_skipped = times;
    }

    fn open(
        &mut self,
        facts: &Record,
        description: &QueueDescription,
        payload: usize,
    ) -> Result<(), WriteError> {
        let payload_limit = payload
            .min(WIRESHARK_SNAPLEN as usize)
            .max(self.snaplen as usize)
            .max(FACTS_ROOM);
        let mut options = vec![
            InterfaceDescriptionOption::IfName(description.name.as_str().into()),
            InterfaceDescriptionOption::IfTsResol(InterfaceTsResolution::NANO),
            InterfaceDescriptionOption::Common(CommonOption::Comment(
                description.to_comment(facts).into(),
            )),
        ];
        if !description.properties.is_empty() {
            options.push(InterfaceDescriptionOption::IfDescription(
                description.summary().into(),
            ));
        }
        self.blocks.push(InterfaceDescriptionBlock {
            linktype: DataLink::USER0,
            snaplen: saturate(FRAME_LEN + payload_limit),
            options,
        })?;
        let interface = Interface {
            id: saturate(self.interfaces.len()),
            payload_limit,
            losses_told: 0,
            first: facts.time(),
            last: facts.time(),
        };
        self.numbers.insert(facts.queue(), self.interfaces.len());
        self.interfaces.push(interface);
        Ok(())
    }

    /// Hands everything on, so that a reader can see it.
    ///
    /// # Errors
    /// Trouble of the output.
    pub fn flush(&mut self) -> Result<(), WriteError> {
        self.send()?;
        self.out.flush().map_err(|source| self.end(source))
    }

    /// What became of all records written, and of those they tell of.
    pub const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Bytes that the output has taken.
    pub const fn written(&self) -> u64 {
        self.written
    }

    /// Bytes of the capture so far, those that the output has not taken yet among them.
    pub fn size(&self) -> u64 {
        self.written + self.blocks.pending().len() as u64
    }

    /// Ends the capture with one statistics block an interface and returns what
    /// those say in sum.
    ///
    /// # Errors
    /// Trouble of the output.
    pub fn finish(self) -> Result<Totals, WriteError> {
        self.finish_sized().map(|(totals, _)| totals)
    }

    /// The same, and how many bytes the capture has.
    ///
    /// # Errors
    /// Trouble of the output.
    pub fn finish_sized(mut self) -> Result<(Totals, u64), WriteError> {
        let tail = if self.ledger.tail_known() {
            "known"
        } else {
            "unknown"
        };
        for (queue, number) in &self.numbers {
            let Some(interface) = self.interfaces.get(*number) else {
                continue;
            };
            let totals = self.ledger.queue_totals(*queue);
            let unix = |time| Duration::from_nanos(self.clock.to_unix_ns(time));
            let mut comment = format!(
                "virtscope statistics\nmissed={}\ntail={tail}",
                totals.missed
            );
            if self.programs_skipped > 0 {
                comment.push_str(&format!("\nprograms_skipped={}", self.programs_skipped));
            }
            self.blocks.push(InterfaceStatisticsBlock {
                interface_id: interface.id,
                timestamp: unix(interface.last),
                options: vec![
                    InterfaceStatisticsOption::IsbStartTime(unix(interface.first)),
                    InterfaceStatisticsOption::IsbEndTime(unix(interface.last)),
                    InterfaceStatisticsOption::IsbIfRecv(totals.emitted),
                    InterfaceStatisticsOption::IsbIfDrop(totals.lost),
                    InterfaceStatisticsOption::IsbFilterAccept(totals.emitted - totals.filtered),
                    InterfaceStatisticsOption::IsbUsrDeliv(totals.stored),
                    InterfaceStatisticsOption::Common(CommonOption::Comment(comment.into())),
                ],
            })?;
        }
        self.flush()?;
        Ok((self.ledger.totals(), self.written))
    }

    /// Hands the gathered blocks on.
    fn send(&mut self) -> Result<(), WriteError> {
        if self.ended {
            return Err(WriteError::Ended);
        }
        let mut from = 0;
        while let Some(rest) = self.blocks.pending().get(from..)
            && !rest.is_empty()
        {
            match self.out.write(rest) {
                Ok(0) => return Err(self.end(ErrorKind::WriteZero.into())),
                Ok(count) => {
                    from += count;
                    self.written += count as u64;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(self.end(error)),
            }
        }
        self.blocks.clear();
        Ok(())
    }

    /// After an error nothing more is written: behind half a block no reader
    /// would find another.
    fn end(&mut self, source: io::Error) -> WriteError {
        self.ended = true;
        WriteError::output(source, self.written)
    }
}

/// What was gathered is not lost when the writer is dropped unfinished.
impl<W: Write> Drop for CaptureWriter<W> {
    fn drop(&mut self) {
        if !self.ended {
            // There is nobody left to tell of an error.
            let _ = self.flush();
        }
    }
}

/// Whole blocks, waiting to be handed on.
struct Blocks(PcapNgWriter<Vec<u8>>);

impl Blocks {
    fn push<'a>(&mut self, block: impl PcapNgBlock<'a>) -> Result<(), WriteError> {
        self.0
            .write_pcapng_block(block)
            .map(|_| ())
            .map_err(WriteError::Block)
    }

    /// A packet of an interface that was pushed before.
    fn push_packet(&mut self, packet: &Packet<'_>) {
        packet.append(self.0.get_mut());
    }

    fn pending(&self) -> &[u8] {
        self.0.get_ref()
    }

    fn clear(&mut self) {
        self.0.get_mut().clear();
    }
}

impl std::fmt::Debug for Blocks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Blocks({} bytes)", self.pending().len())
    }
}

fn saturate(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

/// Like `Linux 6.1.0`.
fn operating_system() -> String {
    let read = |name| std::fs::read_to_string(format!("/proc/sys/kernel/{name}"));
    match (read("ostype"), read("osrelease")) {
        (Ok(name), Ok(release)) => format!("{} {}", name.trim(), release.trim()),
        _ => std::env::consts::OS.to_owned(),
    }
}
