//! A capture on its way into the analyzer, and what reading it showed beside its
//! records.

use std::collections::BTreeMap;

use virtscope_analyzer::{Analyzer, CaptureEnd, Options};
use virtscope_captures::{End, Item};
use virtscope_record::{QueueId, Timestamp};

use crate::input::Counted;

/// The analyzer of one capture, and how the capture fared.
pub(crate) struct Analysis {
    options: Options,
    pub(crate) analyzer: Analyzer,
    any_record: bool,
    first_corrupt: Option<String>,
    end: Option<End>,
    /// Losses that packets told of, of a capture that is a part of another.
    dropped: BTreeMap<QueueId, u64>,
    /// Times that the kernel skipped a program of the tracer, as its statistics say.
    programs_skipped: u64,
    /// What the capture was made of.
    origin: Vec<String>,
}

/// What an item amounted to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Progress {
    /// A record, made at this time.
    Record(Timestamp),
    /// Something else.
    Other,
    /// The end.
    End,
}

impl Analysis {
    /// Nothing read yet; the analyzer will keep what `options` say.
    pub(crate) fn new(options: Options) -> Self {
        Self {
            analyzer: Analyzer::new(options.clone()),
            options,
            any_record: false,
            first_corrupt: None,
            end: None,
            dropped: BTreeMap::new(),
            programs_skipped: 0,
            origin: Vec::new(),
        }
    }

    /// Takes in what the reader found. At the end the analyzer is told so.
    pub(crate) fn observe(&mut self, item: &Item<'_>) -> Progress {
        match item {
            Item::Record(packet) => {
                self.any_record = true;
                if let Some(lost) = packet.dropcount
                    && !self.options.selection.is_whole()
                {
                    let queue = packet.record.queue();
                    let dropped = self.dropped.entry(queue).or_default();
                    *dropped = dropped.saturating_add(lost);
                    self.analyzer.tell_lost(queue, *dropped);
                }
                self.analyzer.push(&packet.record, packet.payload);
                return Progress::Record(packet.record.time());
            }
            // What was left out on purpose must be known before the first record.
            Item::Section(section) if !self.any_record => {
                self.origin = section.origin.lines().to_vec();
                if let Some(info) = &section.info {
                    self.options.selection = info.selection;
                    self.analyzer = Analyzer::new(self.options.clone());
                }
            }
            Item::Corrupt {
                packet,
                offset,
                problem,
            } => {
                self.first_corrupt
                    .get_or_insert_with(|| format!("packet {packet} at byte {offset}: {problem}"));
            }
            Item::End(end) => {
                if self.end.replace(*end).is_none() {
                    self.analyzer.finish();
                }
                return Progress::End;
            }
            Item::Statistics(statistics) => {
                let skipped = statistics.programs_skipped;
                self.programs_skipped = self.programs_skipped.max(skipped);
                // Of a whole capture its records tell.
                if self.options.selection.is_whole() {
                    return Progress::Other;
                }
                if let (Some(queue), Some(totals)) = (statistics.queue, statistics.totals) {
                    self.analyzer.tell_lost(queue, totals.lost);
                }
                if !statistics.tail_known {
                    self.analyzer.tell_tail_unknown();
                }
            }
            Item::Section(_) | Item::Interface(_) => {}
        }
        Progress::Other
    }

    /// What the report needs to know of the capture whose reader counted so much.
    pub(crate) fn capture_end(&self, counted: Counted) -> CaptureEnd {
        CaptureEnd {
            packets: Some(counted.packets),
            snaplen: counted.snaplen,
            truncated_at: match self.end {
                Some(End::Truncated { offset, .. } | End::Damaged { offset, .. }) => Some(offset),
                Some(End::Complete) | None => None,
            },
            corrupt_packets: counted.corrupt,
            foreign_packets: counted.foreign,
            programs_skipped: self.programs_skipped,
            selection: self.options.selection,
            origin: self.origin.clone(),
        }
    }

    /// In one line, why the capture was not read as it was meant to be, if so.
    pub(crate) fn trouble(&self) -> Option<String> {
        let cut = match self.end {
            Some(end @ (End::Truncated { .. } | End::Damaged { .. })) => Some(format!(
                "{end}; all before that was read, what came after is not known"
            )),
            Some(End::Complete) | None => None,
        };
        let corrupt = self.first_corrupt.as_ref().map(|first| {
            format!(
                "corrupt packets were skipped, the first is {first}; record it again if you can"
            )
        });
        match (cut, corrupt) {
            (Some(cut), Some(corrupt)) => Some(format!("{cut}; {corrupt}")),
            (one, other) => one.or(other),
        }
    }
}
