//! One line a request, one line a record: what `print` shows.

mod blk;
mod record;

use std::collections::BTreeMap;

use unicode_width::UnicodeWidthStr;
use virtscope_analyzer::{Announcement, Errno, Life, Outcome, format_duration};
use virtscope_record::{Body, Kind, QueueFacts, QueueId, Record, Timestamp};

use crate::fit::fit_start;

/// From this width on there is room for the phases beside what a request was.
const ROOM_FOR_PHASES: usize = 120;
/// What a complete life's three phases take, behind its total.
const PHASES: usize = 29;

/// The lines of one capture: as wide as they may be, their columns below each other.
#[derive(Debug)]
pub(crate) struct Lines {
    /// Columns of a line; without, whatever it takes.
    pub(crate) width: Option<usize>,
    /// Where the times count from.
    first: Option<Timestamp>,
    number: Column,
    time: Column,
    queue: Column,
    total: Column,
    phases: Column,
    status: Column,
    producer: Column,
    sequence: Column,
    kind: Column,
    facts: BTreeMap<QueueId, QueueFacts>,
}

impl Lines {
    /// Nothing printed yet.
    pub(crate) fn new(width: Option<usize>) -> Self {
        Self {
            width,
            first: None,
            number: Column::of(5, 12),
            time: Column::of(10, 14),
            queue: Column::of(9, 12),
            total: Column::of(7, 10),
            phases: Column::of(PHASES, PHASES + 6),
            status: Column::of(10, 15),
            producer: Column::of(6, 12),
            sequence: Column::of(6, 12),
            kind: Column::of(18, 24),
            facts: BTreeMap::new(),
        }
    }

    /// Takes in a record: times count from the first, and what a queue is decides how its
    /// buffers read.
    pub(crate) fn observe(&mut self, record: &Record) {
        self.first.get_or_insert(record.time());
        if record.kind() == Ok(Kind::QueueFacts)
            && let Ok(Body::QueueFacts(facts)) = record.body()
        {
            self.facts.insert(record.queue(), facts);
        }
    }

    /// A request: when it began, where, how long it took, how it ended and what it was.
    /// Where there is room, how long each of its phases took.
    ///
    /// ```text
    /// #17     0.001234 virtio0.0 45.6 µs =  1.20 µs + 40.1 µs + 4.30 µs            read /etc/hosts 0..4096 → 220 bytes
    /// #18     0.001300 virtio0.0 45.6 µs =  1.20 µs + 40.1 µs + 4.30 µs ENOENT     walk /etc/host
    /// ```
    pub(crate) fn life(&mut self, life: &Life) -> String {
        let has_phases = self.width.is_none_or(|width| width >= ROOM_FOR_PHASES);
        let facts = self.facts.get(&life.queue);
        let words = Words::of(life, facts);
        let mut detail = words.detail;
        let (total, phases) = match life.outcome {
            Outcome::Complete(phases) => {
                let harvest = match phases.announcement {
                    Announcement::Callback => format_duration(phases.harvest_ns),
                    Announcement::Polled => "polled".to_owned(),
                };
                let text = format!(
                    "= {:>7} + {:>7} + {harvest:>7}",
                    format_duration(phases.queued_ns),
                    format_duration(phases.device_ns),
                );
                (format_duration(phases.total_ns()), text)
            }
            Outcome::InFlight => ("-".to_owned(), String::new()),
            Outcome::Incomplete(reason) => {
                let reason = reason.name();
                if !has_phases {
                    detail = format!("[{reason}] {detail}");
                }
                ("?".to_owned(), format!("  {reason}"))
            }
        };
        let began = life
            .began()
            .map_or_else(String::new, |began| self.seconds(began));
        let mut line = self.number.left(&format!("#{}", life.number));
        line.push_str(&self.time.right(&began));
        line.push_str(&self.queue.left(&life.queue.to_string()));
        line.push_str(&self.total.right(&total));
        if has_phases {
            line.push_str(&self.phases.left(&phases));
        }
        line.push_str(&self.status.left(&words.status));
        line.push_str(&detail);
        self.fitted(&line)
    }

    /// A record: when, where, who, what.
    pub(crate) fn record(&mut self, record: &Record) -> String {
        let kind = record
            .kind()
            .map_or_else(|error| error.to_string(), |kind| kind.name().to_owned());
        let time = self.seconds(record.time());
        let mut line = self.time.right(&time);
        line.push_str(&self.queue.left(&record.queue().to_string()));
        line.push_str(&self.producer.left(&record.producer().to_string()));
        line.push_str(&self.sequence.left(&format!("#{}", record.sequence().0)));
        line.push_str(&self.kind.left(&kind));
        line.push_str(&record::body(record));
        self.fitted(&line)
    }

    /// Seconds since the first record, to the microsecond.
    fn seconds(&self, time: Timestamp) -> String {
        let ns = time.nanos_since(self.first.unwrap_or_default());
        format!("{}.{:06}", ns / 1_000_000_000, ns / 1_000 % 1_000_000)
    }

    fn fitted(&self, line: &str) -> String {
        let width = self.width.unwrap_or(usize::MAX);
        fit_start(line.trim_end_matches(' '), width)
    }
}

/// A column, as wide as the widest that was in it: what is printed is not taken back, but
/// what follows stands below each other again. Of a value that is wider than all that can
/// be meant, the line alone runs over.
#[derive(Debug)]
struct Column {
    width: usize,
    widest: usize,
}

impl Column {
    const fn of(width: usize, widest: usize) -> Self {
        Self { width, widest }
    }

    fn left(&mut self, text: &str) -> String {
        let missing = self.missing(text);
        format!("{text}{} ", " ".repeat(missing))
    }

    fn right(&mut self, text: &str) -> String {
        let missing = self.missing(text);
        format!("{}{text} ", " ".repeat(missing))
    }

    fn missing(&mut self, text: &str) -> usize {
        let wide = text.width();
        self.width = self.width.max(wide.min(self.widest));
        self.width.saturating_sub(wide)
    }
}

/// How a request ended in a word, and what it was.
#[derive(PartialEq, Eq, Debug)]
struct Words {
    /// The error's name; of a request that has no known end, that.
    status: String,
    detail: String,
}

impl Words {
    fn of(life: &Life, facts: Option<&QueueFacts>) -> Self {
        let mut words = Self::of_9p(life)
            .or_else(|| blk::words(life, facts?))
            .unwrap_or_else(|| Self::of_bytes(life));
        if words.status.is_empty() {
            words.status = match life.outcome {
                Outcome::Complete(_) => "",
                Outcome::InFlight => "in flight",
                Outcome::Incomplete(_) => "incomplete",
            }
            .to_owned();
        }
        for anomaly in &life.anomalies {
            words.detail.push_str(&format!(" [{anomaly}]"));
        }
        words
    }

    /// In the words of 9P. What the status says already is not said again.
    fn of_9p(life: &Life) -> Option<Self> {
        let request = life.describe_request();
        let mut reply = life.describe_reply();
        let is_error = matches!(life.reply_9p(), Some(Ok(reply)) if reply.is_error());
        let status = match life.error {
            Some(error) => {
                reply = reply.filter(|reply| *reply != error.to_string());
                name(error)
            }
            // An `Rerror` without a number.
            None if is_error => "error".to_owned(),
            None => String::new(),
        };
        let said: Vec<_> = [request, reply].into_iter().flatten().collect();
        (!said.is_empty()).then(|| Self {
            status,
            detail: said.join(" → "),
        })
    }

    fn of_bytes(life: &Life) -> Self {
        let shape = &life.shape;
        let used = life
            .used_length
            .map_or_else(|| "?".to_owned(), |used| used.to_string());
        let (readable, writable) = (shape.readable_bytes, shape.writable_bytes);
        Self {
            status: String::new(),
            detail: format!("{readable} bytes readable, {used} of {writable} written"),
        }
    }
}

fn name(error: Errno) -> String {
    error
        .name()
        .map_or_else(|| error.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use super::*;
    use crate::analysis::{Analysis, Progress};
    use crate::input::open;
    use virtscope_analyzer::Options;

    /// The requests of one of the samples, and lines that have seen its records.
    fn requests(sample: &str, width: Option<usize>) -> (Vec<Arc<Life>>, Lines) {
        let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../captures/samples");
        let mut reader = open(&samples.join(sample), None).unwrap();
        let mut lines = Lines::new(width);
        let mut analysis = Analysis::new(Options {
            collect_ended: true,
            ..Options::default()
        });
        let mut lives = Vec::new();
        loop {
            let item = reader.next_item().unwrap();
            if let virtscope_captures::Item::Record(packet) = &item {
                lines.observe(&packet.record);
            }
            let progress = analysis.observe(&item);
            lives.extend(analysis.analyzer.take_ended());
            if progress == Progress::End {
                return (lives, lines);
            }
        }
    }

    #[test]
    fn a_block_device_says_how_it_went_in_its_last_byte() {
        let (lives, mut lines) = requests("blk-split-6.12.pcapng", Some(100));
        let mut life = Life::clone(&lives[0]);
        let mut line = |status: u8| {
            life.reply.bytes = vec![status];
            lines.life(&life)
        };
        assert!(line(0).ends_with("            write sector 512, 65536 bytes → ok"));
        assert!(line(1).contains(" IOERR      write sector 512, 65536 bytes"));
        assert!(line(2).contains(" UNSUPP     write"));
        assert!(line(99).contains(" status 99  write"));
        // A name that is wider than its column widens it.
        assert!(line(4).contains(" ZONE_UNALIGNED_WP write"));
        assert!(line(1).contains(" IOERR           write"), "{}", line(1));
        life.reply.bytes = vec![0, 0];
        assert!(!lines.life(&life).contains('→'), "not the last byte");
        life.request.bytes.truncate(15);
        assert!(lines.life(&life).contains("65552 bytes readable"));
    }

    #[test]
    fn how_a_request_ended_stands_in_one_place() {
        let (lives, mut lines) = requests("9p-split-6.12.pcapng", Some(100));
        let failed = lives.iter().find(|life| life.error.is_some()).unwrap();
        let mut life = Life::clone(failed);
        let line = lines.life(&life);
        assert!(line.contains(" ENOENT     walk /"), "{line}");
        assert_eq!(line.matches("ENOENT").count(), 1, "{line}");
        life.error = Some(Errno(4711));
        life.outcome = Outcome::Incomplete(virtscope_analyzer::Incomplete::BegunBefore);
        let line = lines.life(&life);
        assert!(
            line.contains(" ? errno 4711 [begun_before] walk /"),
            "{line}"
        );
        life.error = None;
        life.reply.bytes.clear();
        assert!(
            lines
                .life(&life)
                .contains(" ? incomplete [begun_before] walk /")
        );
        lines.width = None;
        assert!(lines.life(&life).contains("  begun_before            "));
        life.outcome = Outcome::InFlight;
        assert!(
            lines
                .life(&life)
                .contains(" -                               in flight  walk /")
        );
    }

    #[test]
    fn what_does_not_fit_is_cut() {
        let (lives, mut lines) = requests("9p-split-6.12.pcapng", None);
        let whole = lines.life(&lives[1]);
        for width in 0..=whole.width() {
            lines.width = Some(width);
            let line = lines.life(&lives[1]);
            assert!(line.width() <= width, "{line}");
            if !(40..ROOM_FOR_PHASES).contains(&width) {
                let is_whole = line == whole;
                assert_eq!(line.ends_with('…'), width > 0 && !is_whole, "{line}");
            }
        }
    }

    #[test]
    fn columns_grow_with_what_is_in_them_up_to_what_can_be_meant() {
        let mut column = Column::of(2, 4);
        assert_eq!(column.left("a"), "a  ");
        assert_eq!(column.right("abc"), "abc ");
        assert_eq!(column.right("a"), "  a ");
        assert_eq!(column.left("abcdef"), "abcdef ");
        assert_eq!(column.left("a"), "a    ");
    }
}
