//! A capture that goes into another, with its clock and its account.

use std::collections::HashMap;
use std::io::Read;

use virtscope_record::{QueueId, Record, Timestamp};

use crate::{CaptureInfo, CaptureReader, ClockOffset, End, Item, Ledger, Origin, ReadError};

/// The most payload of a capture that does not say so itself.
const UNKNOWN_SNAPLEN: u32 = crate::MAX_SNAPLEN;

/// Reads a capture record by record and keeps its account.
#[derive(Debug)]
pub struct Source<R> {
    reader: CaptureReader<R>,
    /// Of the first section, or made up of the first packet.
    info: Option<CaptureInfo>,
    origin: Origin,
    ledger: Ledger,
    names: HashMap<QueueId, String>,
    dropped: HashMap<QueueId, u64>,
    first: Option<Record>,
    payload: Vec<u8>,
    /// What brings a later section's times onto the first one's clock.
    shift_ns: i64,
    corrupt: u64,
    end: Option<End>,
    tail_unknown: bool,
    programs_skipped: u64,
}

impl<R: Read> Source<R> {
    /// Nothing read yet.
    pub fn new(reader: CaptureReader<R>) -> Self {
        Self {
            reader,
            info: None,
            origin: Origin::default(),
            ledger: Ledger::new(crate::Selection::WHOLE),
            names: HashMap::new(),
            dropped: HashMap::new(),
            first: None,
            payload: Vec::new(),
            shift_ns: 0,
            corrupt: 0,
            end: None,
            tail_unknown: false,
            programs_skipped: 0,
        }
    }

    /// The next record, brought onto the clock of the capture's first section;
    /// its payload is [`payload`](Self::payload).
    ///
    /// # Errors
    /// Input that cannot be read.
    pub fn next_record(&mut self) -> Result<Option<Record>, ReadError> {
        loop {
            match self.reader.next_item()? {
                Item::Section(section) => {
                    if self.first.is_none() && self.info.is_none() {
                        self.info = section.info;
                        self.origin = section.origin;
                        let selection = section.info.map(|info| info.selection);
                        self.ledger = Ledger::new(selection.unwrap_or_default());
                    } else if let (Some(first), Some(later)) = (&self.info, &section.info) {
                        self.shift_ns = later
                            .clock
                            .offset_ns()
                            .saturating_sub(first.clock.offset_ns());
                    }
                }
                Item::Interface(interface) => {
                    if let Some(queue) = interface.queue {
                        self.names.insert(queue, interface.name);
                    }
                }
                Item::Statistics(statistics) => {
                    self.tail_unknown |= !statistics.tail_known;
                    let skipped = statistics.programs_skipped;
                    self.programs_skipped = self.programs_skipped.max(skipped);
                    if let (Some(queue), Some(totals)) = (statistics.queue, statistics.totals) {
                        self.ledger.tell_lost(queue, totals.lost);
                    }
                }
                Item::Corrupt { .. } => self.corrupt += 1,
                Item::End(end) => {
                    self.end = Some(end);
                    return Ok(None);
                }
                Item::Record(packet) => {
                    let record = packet.record;
                    let time = record.time().as_nanos();
                    let record = record.at(Timestamp::from_nanos(
                        time.saturating_add_signed(self.shift_ns),
                    ));
                    if let Some(lost) = packet.dropcount {
                        let told = self.dropped.entry(record.queue()).or_default();
                        *told += lost;
                        self.ledger.tell_lost(record.queue(), *told);
                    }
                    self.payload.clear();
                    self.payload.extend_from_slice(packet.payload);
                    let unix_ns = packet.unix_ns;
                    self.info.get_or_insert_with(|| {
                        let offset = unix_ns.wrapping_sub(time).cast_signed();
                        CaptureInfo::new(UNKNOWN_SNAPLEN, ClockOffset::new(offset, 0))
                    });
                    self.first.get_or_insert(record);
                    self.ledger.observe(&record);
                    return Ok(Some(record));
                }
            }
        }
    }

    /// The payload of the record read last.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// What the capture says about itself; after the first record always there.
    pub fn info(&self) -> Option<&CaptureInfo> {
        self.info.as_ref()
    }

    /// What it was made of.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The first record.
    pub fn first(&self) -> Option<&Record> {
        self.first.as_ref()
    }

    /// Its account so far.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// What its interface calls the queue.
    pub fn name(&self, queue: QueueId) -> String {
        let name = self.names.get(&queue).filter(|name| !name.is_empty());
        name.cloned().unwrap_or_else(|| queue.to_string())
    }

    /// Which recording it is, or is a part of; after the first record.
    pub fn recording(&self) -> Option<u64> {
        Some(self.info?.recording_of(self.first.as_ref()?))
    }

    /// Whether the producers' last counters are in it, or in what it was made of.
    pub fn tail_known(&self) -> bool {
        let complete = self.end.is_some_and(End::is_complete);
        complete && !self.tail_unknown && self.ledger.tail_known()
    }

    /// Times that the kernel skipped a program of the tracer, as its statistics say that
    /// were read so far.
    pub fn programs_skipped(&self) -> u64 {
        self.programs_skipped
    }

    /// Why it was not read as it was meant to be, if so.
    pub fn trouble(&self) -> Option<String> {
        let cut = self.end.filter(|end| !end.is_complete());
        let cut = cut.map(|end| format!("{end}; what came after is not known"));
        let corrupt = (self.corrupt > 0).then(|| {
            let s = if self.corrupt == 1 { "" } else { "s" };
            format!("{} corrupt packet{s} left out", self.corrupt)
        });
        match (cut, corrupt) {
            (Some(cut), Some(corrupt)) => Some(format!("{cut}; {corrupt}")),
            (one, other) => one.or(other),
        }
    }
}
