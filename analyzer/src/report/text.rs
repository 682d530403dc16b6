//! The report for people, top down: as wide as the formatter says (`{:80}`), 100
//! columns if it says nothing, with colours if it says so (`{:#}`).

use std::fmt;

use virtscope_record::Timestamp;

use super::page::{COLUMNS, Style};
use super::{OperationReport, QueueReport, Report, plot};
use crate::snapshot::RequestTotals;
use crate::stats::Percentiles;
use crate::text::{bytes, duration};

/// Threads that are named of those that waited for room.
const MOST_WAITERS: usize = 4;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let style = Style::of(f);
        self.verdict(f, style)?;
        self.seen(f)?;
        self.lost(f)?;
        self.chosen(f)?;
        for queue in &self.queues {
            queue.write(f, style, self.time.last_ns)?;
        }
        self.operations(f, style)
    }
}

impl Report {
    fn seen(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RequestTotals {
            completed,
            incomplete,
            in_flight,
        } = self.requests;
        writeln!(
            f,
            "Requests  {completed} completed, {incomplete} incomplete, {in_flight} in flight"
        )?;
        let queues = match self.queues.len() {
            1 => "1 queue".to_owned(),
            n => format!("{n} queues"),
        };
        writeln!(
            f,
            "Seen      {} in {} on {queues}{}",
            plural(self.records.stored, "record"),
            duration(self.time.duration_ns),
            per_second(completed, self.time.duration_ns),
        )
    }

    fn lost(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let r = &self.records;
        let nothing = r.lost == 0 && r.filtered == 0 && r.missed == 0;
        if nothing && self.capture.tail_known && !self.capture.truncated {
            writeln!(f, "Lost      nothing: {} emitted, all stored", r.emitted)?;
        } else {
            let sum = format!(
                "{} emitted = {} stored + {} lost + {} filtered; {} missed",
                r.emitted, r.stored, r.lost, r.filtered, r.missed
            );
            wrapped(f, "Lost      ", &sum)?;
        }
        for note in &self.notes {
            wrapped(f, "Note      ", &note.text)?;
        }
        Ok(())
    }

    fn operations(&self, f: &mut fmt::Formatter<'_>, style: Style) -> fmt::Result {
        if self.operations.is_empty() {
            return Ok(());
        }
        let narrow = style.columns < COLUMNS;
        let heading = match narrow {
            false => format!(
                "{:<11}{:>10}{:>9}{:>9}{:>10}  {:>9} {:>9} {:>9} {:>9} {:>9}",
                "Operation",
                "completed",
                "incompl.",
                "errors",
                "data",
                "p50",
                "p90",
                "p99",
                "p99.9",
                "max"
            ),
            true => format!(
                "{:<11}{:>10}{:>8} {:>9} {:>9} {:>9}",
                "Operation", "completed", "errors", "p50", "p99", "max"
            ),
        };
        writeln!(f, "\n{}", style.heading(&heading))?;
        for operation in &self.operations {
            operation.write(f, narrow)?;
        }
        let mut errors = self
            .operations
            .iter()
            .flat_map(|operation| {
                operation.errors_by_errno.iter().map(|error| {
                    let name = error.name.as_deref().unwrap_or("errno");
                    format!(
                        "{} {name} ({}): {}",
                        operation.name, error.errno, error.count
                    )
                })
            })
            .peekable();
        if errors.peek().is_some() {
            writeln!(f)?;
            wrapped(f, "Errors    ", &errors.collect::<Vec<_>>().join(", "))?;
        }
        Ok(())
    }
}

impl OperationReport {
    fn write(&self, f: &mut fmt::Formatter<'_>, narrow: bool) -> fmt::Result {
        let name = match self.name.as_str() {
            "unknown" => "(unknown)",
            name => name,
        };
        if narrow {
            let p = &self.latency_ns.total;
            let of = |ns| match p.count {
                0 => "-".to_owned(),
                _ => duration(ns),
            };
            return writeln!(
                f,
                "{name:<11}{:>10}{:>8} {:>9} {:>9} {:>9}",
                self.completed,
                self.errors,
                of(p.p50),
                of(p.p99),
                of(p.max)
            );
        }
        writeln!(
            f,
            "{name:<11}{:>10}{:>9}{:>9}{:>10}{}",
            self.completed,
            self.incomplete,
            self.errors,
            bytes(self.data_bytes),
            quantiles(&self.latency_ns.total),
        )
    }
}

impl QueueReport {
    /// `end` is the time of the last record.
    fn write(&self, f: &mut fmt::Formatter<'_>, style: Style, end: u64) -> fmt::Result {
        self.heading(f)?;
        let latency = &self.latency_ns;
        if latency.total.count > 0 && style.columns < COLUMNS {
            writeln!(
                f,
                "  {:<10} {:>9} {:>9} {:>9}",
                "time goes", "p50", "p99", "max"
            )?;
            for (name, p) in [
                ("queued", &latency.queued),
                ("device", &latency.device),
                ("  served", &latency.service),
                ("harvest", &latency.harvest),
                ("total", &latency.total),
            ] {
                if p.count > 0 {
                    let (p50, p99, max) = (duration(p.p50), duration(p.p99), duration(p.max));
                    writeln!(f, "  {name:<10} {p50:>9} {p99:>9} {max:>9}")?;
                }
            }
        } else if latency.total.count > 0 {
            writeln!(
                f,
                "  {:<39}  {:>9} {:>9} {:>9} {:>9} {:>9}",
                "where the time goes", "p50", "p90", "p99", "p99.9", "max"
            )?;
            for (name, percentiles) in [
                ("queued   add to kick decision", &latency.queued),
                ("device   kick decision to callback", &latency.device),
                ("  of it served (taken to returned)", &latency.service),
                ("harvest  callback to used", &latency.harvest),
                ("total", &latency.total),
            ] {
                if percentiles.count > 0 {
                    writeln!(f, "  {name:<39}{}", quantiles(percentiles))?;
                }
            }
        }
        plot::histogram(f, &self.latency_histogram, style)?;
        self.notifications(f)?;
        self.occupancy_lines(f)?;
        let end = Some(Timestamp::from_nanos(end));
        if let Some(waits) = self.space_waits.in_words(MOST_WAITERS, end) {
            wrapped(f, "  waits      ", &waits)?;
        }
        plot::occupancy(f, self, style)
    }

    fn heading(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut facts = Vec::new();
        if self.name != self.id {
            facts.push(self.id.clone());
        }
        match (self.size, &self.layout) {
            (Some(size), Some(layout)) => facts.push(format!("{layout} ring of {size}")),
            _ => facts.push("facts not seen".to_owned()),
        }
        if let Some(device_type) = self.device_type {
            facts.push(crate::device_type(device_type.into()));
        }
        facts.extend(
            self.properties
                .iter()
                .map(|(key, value)| format!("{key} {value}")),
        );
        writeln!(f)?;
        wrapped(f, "", &format!("{}: {}", self.name, facts.join(", ")))?;
        let r = &self.requests;
        let requests = format!(
            "{} completed, {} incomplete, {} in flight, {}, {} of data",
            r.completed,
            r.incomplete,
            r.in_flight,
            plural(self.errors, "error"),
            bytes(self.data_bytes)
        );
        wrapped(f, "  requests   ", &requests)?;
        match &self.conversation {
            Some(conversation) => wrapped(f, "  9P         ", &conversation.in_words()),
            None => Ok(()),
        }
    }

    fn notifications(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let c = &self.counts;
        let k = &c.kicks;
        let mut kicks = format!(
            "{} sent, {} suppressed{}",
            k.sent,
            k.suppressed,
            parenthesised(&[
                (k.suppressed_flag, "flag"),
                (k.suppressed_event, "event index"),
                (k.suppressed_nothing_added, "nothing added"),
                (k.suppressed_other, "unknown"),
            ])
        );
        if k.raced > 0 {
            kicks += &format!(", {} raced", k.raced);
        }
        if let Some(ratio) = self.buffers_per_notification {
            kicks += &format!("; {ratio:.1} buffers a kick");
        }
        wrapped(f, "  kicks      ", &kicks)?;

        let mut callbacks = format!("{} run, {} spurious", c.callbacks, c.callbacks_spurious);
        if let Some(ratio) = self.completions_per_callback {
            callbacks += &format!("; {ratio:.1} completions each");
        }
        callbacks += &format!("; {} polled, {} out of order", c.polled, c.out_of_order);
        wrapped(f, "  callbacks  ", &callbacks)?;

        let i = &c.interrupts;
        if i.sent + i.suppressed > 0 {
            let interrupts = format!(
                "{} sent, {} suppressed by the device half",
                i.sent, i.suppressed
            );
            wrapped(f, "  interrupts ", &interrupts)?;
        }
        if c.overlapped > 0 {
            let overlap = format!(
                "the device had {} before the kick decision, by {} on average",
                plural(c.overlapped, "buffer"),
                duration(c.overlap_ns / c.overlapped),
            );
            wrapped(f, "  overlap    ", &overlap)?;
        }
        Ok(())
    }

    fn occupancy_lines(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let o = &self.occupancy;
        let in_flight = format!(
            "{:.1} on average, {} at most; descriptors {:.1} on average, {} at most",
            o.in_flight_mean, o.in_flight_peak, o.descriptors_mean, o.descriptors_peak
        );
        wrapped(f, "  in flight  ", &in_flight)?;
        let c = &self.counts;
        let share = if o.observed_ns == 0 {
            0.0
        } else {
            100.0 * o.full_ns as f64 / o.observed_ns as f64
        };
        let full = format!(
            "{} ({share:.1} % of the time); {} refused, {} for want of descriptors",
            duration(o.full_ns),
            plural(c.adds_failed, "add"),
            c.adds_no_space
        );
        wrapped(f, "  full       ", &full)
    }
}

fn quantiles(p: &Percentiles) -> String {
    if p.count == 0 {
        return format!("  {:>9} {:>9} {:>9} {:>9} {:>9}", "-", "-", "-", "-", "-");
    }
    format!(
        "  {:>9} {:>9} {:>9} {:>9} {:>9}",
        duration(p.p50),
        duration(p.p90),
        duration(p.p99),
        duration(p.p99_9),
        duration(p.max)
    )
}

fn parenthesised(counts: &[(u64, &str)]) -> String {
    let said: Vec<_> = counts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    if said.is_empty() {
        return String::new();
    }
    format!(" ({})", said.join(", "))
}

fn per_second(count: u64, ns: u64) -> String {
    if ns == 0 {
        return String::new();
    }
    format!(": {:.0} requests/s", count as f64 * 1e9 / ns as f64)
}

pub(super) fn plural(count: u64, noun: &str) -> String {
    let s = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{s}")
}

/// Writes `text` broken between words, later lines indented like the first. A
/// word that does not fit a line is cut where the line ends.
pub(super) fn wrapped(f: &mut fmt::Formatter<'_>, label: &str, text: &str) -> fmt::Result {
    let columns = Style::of(f).columns;
    let indent = if label.is_empty() { 4 } else { label.len() };
    let mut line = label.to_owned();
    let mut width = label.chars().count();
    let mut empty = true;
    for word in text.split(' ') {
        let mut rest: Vec<char> = word.chars().collect();
        if !empty && width + 1 + rest.len() > columns {
            writeln!(f, "{}", line.trim_end())?;
            line = " ".repeat(indent);
            width = indent;
            empty = true;
        }
        if !empty {
            line.push(' ');
            width += 1;
        }
        while width + rest.len() > columns {
            let tail = rest.split_off(columns - width);
            line.extend(&rest);
            writeln!(f, "{line}")?;
            line = " ".repeat(indent);
            width = indent;
            rest = tail;
        }
        width += rest.len();
        line.extend(&rest);
        empty = false;
    }
    writeln!(f, "{}", line.trim_end())
}
