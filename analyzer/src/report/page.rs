//! How the page is laid out: what is wrong, what was seen and lost, where the time
//! goes, and then the tables.

use std::fmt;

use super::Report;
use super::text::{plural, wrapped};
use crate::findings::{Finding, Severity};

/// The widest page and the narrowest.
const WIDEST: usize = 160;
const NARROWEST: usize = 60;
/// Where nothing is said about the width.
pub(super) const COLUMNS: usize = 100;

/// Pieces of evidence that are shown of each finding.
const MOST_EVIDENCE: usize = 3;

/// What the page is written on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Style {
    pub(super) columns: usize,
    colour: bool,
}

impl Style {
    /// `{:80}` is 80 columns, `{:#}` is with colours.
    pub(super) fn of(f: &fmt::Formatter<'_>) -> Self {
        Self {
            columns: f.width().unwrap_or(COLUMNS).clamp(NARROWEST, WIDEST),
            colour: f.alternate(),
        }
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.colour && !text.is_empty() {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    pub(super) fn bar(self, text: &str) -> String {
        self.paint("36", text)
    }

    pub(super) fn heading(self, text: &str) -> String {
        self.paint("1", text)
    }

    fn severity(self, severity: Severity, text: &str) -> String {
        self.paint(
            match severity {
                Severity::Error => "1;31",
                Severity::Warning => "1;33",
                Severity::Notice => "1;36",
            },
            text,
        )
    }
}

impl Report {
    /// What is wrong, or that nothing is.
    pub(super) fn verdict(&self, f: &mut fmt::Formatter<'_>, style: Style) -> fmt::Result {
        let of = |severity| {
            let found = self.findings.iter().filter(|f| f.severity == severity);
            found.count() as u64
        };
        let counts: Vec<_> = [Severity::Error, Severity::Warning, Severity::Notice]
            .into_iter()
            .map(|severity| (of(severity), severity.name()))
            .filter(|(count, _)| *count > 0)
            .map(|(count, name)| plural(count, name))
            .collect();
        if counts.is_empty() {
            writeln!(f, "Found     nothing wrong")?;
        } else {
            writeln!(f, "Found     {}", counts.join(", "))?;
        }
        for finding in &self.findings {
            write_finding(f, finding, style)?;
        }
        for undecided in &self.not_enough_evidence {
            let text = format!(
                "not enough evidence: {} on {}: {}",
                undecided.code, undecided.name, undecided.reason
            );
            wrapped(f, "  maybe   ", &text)?;
        }
        if !self.findings.is_empty() || !self.not_enough_evidence.is_empty() {
            writeln!(f)?;
        }
        Ok(())
    }

    /// What was chosen, if something was.
    pub(super) fn chosen(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(filter) = &self.filter {
            let mut text = format!(
                "{}: {} match, {} do not",
                filter.expression, filter.matching, filter.not_matching
            );
            if filter.unknown > 0 {
                text += &format!(", of {} it is not known", filter.unknown);
            }
            if filter.failed > 0 {
                text += &format!(", for {} it cannot be evaluated", filter.failed);
            }
            text += "; requests, latencies, errors and data below are of those that match, \
                     findings, records, notifications and occupancy of all";
            wrapped(f, "Filter    ", &text)?;
        }
        let selection = &self.capture.selection;
        let words: Vec<_> = [
            (
                selection.filtered,
                "records were left out by a filter when it was recorded",
            ),
            (
                selection.sampled,
                "only some of the operations were recorded",
            ),
            (selection.cut, "it is a part of another capture"),
        ]
        .into_iter()
        .filter_map(|(is, word)| is.then_some(word))
        .collect();
        if !words.is_empty() {
            wrapped(f, "Part      ", &words.join("; "))?;
        }
        for line in &self.capture.origin {
            wrapped(f, "Origin    ", line)?;
        }
        Ok(())
    }
}

fn write_finding(f: &mut fmt::Formatter<'_>, finding: &Finding, style: Style) -> fmt::Result {
    let severity = finding.severity;
    let label = format!("{:<10}", severity.name().to_uppercase());
    // A colour takes no column: the text is broken without it.
    let mut lines = Wrapped(String::new());
    let text = format!("{} on {}: {}", finding.code, finding.name, finding.summary);
    lines.add(style, &label, &text);
    let painted = lines
        .0
        .replacen(&label, &style.severity(severity, &label), 1);
    f.write_str(&painted)?;
    for evidence in finding.evidence.iter().take(MOST_EVIDENCE) {
        wrapped(f, "          - ", &evidence.text)?;
    }
    wrapped(f, "          rule: ", &finding.spec)?;
    wrapped(f, "          try:  ", &finding.advice)
}

/// Lines as [`wrapped`] makes them.
struct Wrapped(String);

impl Wrapped {
    fn add(&mut self, style: Style, label: &str, text: &str) {
        struct Line<'a>(&'a str, &'a str);
        impl fmt::Display for Line<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                wrapped(f, self.0, self.1)
            }
        }
        self.0 += &format!("{:1$}", Line(label, text), style.columns);
    }
}
