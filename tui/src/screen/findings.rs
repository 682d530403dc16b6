//! What is wrong: the findings, and the proof of the one chosen.

use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::Line;
use virtscope_analyzer::{
    Evidence, Finding, FindingCode, Findings, Severity, Undecided, format_duration,
};
use virtscope_record::Timestamp;

use super::app::App;
use super::canvas::Canvas;
use super::number::exact;
use super::theme::Theme;
use super::words::Words;
use crate::fit::{fit, wrap};

/// Columns of a finding's severity, code and queue in the list.
const SEVERITY: usize = 9;
const CODE: usize = 24;
const QUEUE: usize = 18;
/// Columns that a text of the lower half keeps free.
const MARGIN: usize = 12;

/// A row of the list.
#[derive(Clone, Copy)]
pub(super) enum Row<'a> {
    Found(&'a Finding),
    Undecided(&'a Undecided),
}

/// What tells a row from the others, while they come and go.
pub(super) type Key = (FindingCode, Option<String>, bool);

impl Row<'_> {
    pub(super) fn key(&self) -> Key {
        match self {
            Self::Found(finding) => (finding.code, finding.queue.clone(), true),
            Self::Undecided(undecided) => (undecided.code, undecided.queue.clone(), false),
        }
    }

    /// The pieces of its proof.
    pub(super) fn evidence(&self) -> &[Evidence] {
        match self {
            Self::Found(finding) => &finding.evidence,
            Self::Undecided(_) => &[],
        }
    }
}

/// The rows of the list: what is wrong, then what may be.
pub(super) fn rows(findings: &Findings) -> Vec<Row<'_>> {
    let found = findings.found.iter().map(Row::Found);
    let undecided = findings.undecided.iter().map(Row::Undecided);
    found.chain(undecided).collect()
}

/// How many there are, for the overview; nothing if there are none.
pub(super) fn summary(app: &App) -> Option<Line<'static>> {
    let Findings { found, undecided } = &app.snapshot.findings;
    if found.is_empty() && undecided.is_empty() {
        return None;
    }
    let theme = &app.theme;
    let many = |severity| {
        found
            .iter()
            .filter(|each| each.severity == severity)
            .count()
    };
    let mut words = Words::labelled(theme, "findings");
    let mut separator = "";
    for severity in [Severity::Error, Severity::Warning, Severity::Notice] {
        let count = many(severity);
        if count > 0 {
            let plural = if count == 1 { "" } else { "s" };
            let text = format!("{count} {}{plural}", severity.name());
            words = words.dim(separator).styled(text, style_of(severity, theme));
            separator = ", ";
        }
    }
    if !undecided.is_empty() {
        let text = format!("{} not decided", undecided.len());
        words = words.dim(separator).text(text);
    }
    words = words.dim("; 5 shows them");
    // The worst by name: who looks here may not look there.
    let mut names: Vec<_> = found.iter().map(|each| each.code.name()).collect();
    names.dedup();
    if !names.is_empty() {
        words = words.dim(": ").text(names.join(", "));
    }
    Some(words.line())
}

/// Draws the list, and below it what is known of the chosen row.
pub(super) fn draw(canvas: &mut Canvas<'_>, app: &App) {
    let rows = rows(&app.snapshot.findings);
    if rows.is_empty() {
        canvas.text(1, 0, "Nothing was found.", app.theme.good);
        let text = "What was lost or left out can't be judged: see the notes on the overview.";
        canvas.text(1, 1, text, app.theme.dim);
        return;
    }
    let chosen = app.finding_row();
    let most = (canvas.height() / 3).max(3);
    let height = most.min(u16::try_from(rows.len()).unwrap_or(u16::MAX));
    list(&mut canvas.rows(0, height), &rows, chosen);
    if let Some(row) = rows.get(chosen) {
        let below = canvas.height().saturating_sub(height + 1);
        let mut lower = canvas.rows(height + 1, below);
        let lines = match row {
            Row::Found(finding) => found_lines(finding, app, lower.width()),
            Row::Undecided(undecided) => undecided_lines(undecided, app, lower.width()),
        };
        lower.lines(&lines, 0);
    }
}

fn list(canvas: &mut Canvas<'_>, rows: &[Row<'_>], chosen: usize) {
    let theme = canvas.theme;
    let height = usize::from(canvas.height());
    let first = (chosen + 1).saturating_sub(height);
    for (y, (i, row)) in (0..).zip(rows.iter().enumerate().skip(first).take(height)) {
        let (severity, style, code, name, text) = match row {
            Row::Found(finding) => (
                finding.severity.name(),
                style_of(finding.severity, theme),
                finding.code,
                &finding.name,
                &finding.summary,
            ),
            Row::Undecided(undecided) => (
                "?",
                theme.dim,
                undecided.code,
                &undecided.name,
                &undecided.reason,
            ),
        };
        let x = canvas.text(1, y, &fit(severity, SEVERITY), style);
        let x = canvas.text(x, y, &fit(code.name(), CODE), theme.strong);
        let x = canvas.text(x, y, &fit(name, QUEUE), theme.dim);
        canvas.text(x, y, text, theme.text);
        if i == chosen {
            let width = canvas.width();
            canvas
                .part(Rect::new(0, y, width, 1))
                .restyle_row(0, theme.selected);
        }
    }
}

fn found_lines(finding: &Finding, app: &App, width: u16) -> Vec<Line<'static>> {
    let theme = &app.theme;
    let mut lines = paragraph(theme, "what", &finding.summary, width);
    lines.extend(paragraph(
        theme,
        "means",
        finding.code.about().sentence,
        width,
    ));
    let when = |ns: Option<u64>| ns.map(|ns| at(app, ns));
    let mut words = Words::labelled(theme, "seen").item("times", exact(finding.count));
    if let (Some(first), Some(last)) = (when(finding.first_ns), when(finding.last_ns)) {
        words = words.item("first at", first).item("last at", last);
    }
    lines.push(words.line());
    lines.push(
        Words::labelled(theme, "where")
            .text(finding.spec.clone())
            .line(),
    );
    lines.extend(paragraph(theme, "try", &finding.advice, width));
    lines.push(Line::default());
    for (i, piece) in finding.evidence.iter().enumerate() {
        let label = if i == 0 { "proof" } else { "" };
        let chosen = i == app.chosen_piece();
        let mark = if chosen { "▸ " } else { "  " };
        let style = if chosen { theme.strong } else { theme.text };
        let words = Words::labelled(theme, label)
            .styled(mark, theme.key)
            .when(piece.time_ns, |words, ns| {
                words.dim(format!("{} ", at(app, ns)))
            })
            .styled(piece.text.clone(), style)
            .when(piece.request, |words, number| {
                words.dim(format!("  request {number}"))
            });
        lines.push(words.line());
    }
    lines
}

fn undecided_lines(undecided: &Undecided, app: &App, width: u16) -> Vec<Line<'static>> {
    let theme = &app.theme;
    let about = undecided.code.about();
    let mut lines = vec![
        Words::labelled(theme, "verdict")
            .styled("not enough evidence", theme.warn)
            .line(),
    ];
    lines.extend(paragraph(theme, "because", &undecided.reason, width));
    lines.extend(paragraph(theme, "would be", about.sentence, width));
    lines.push(Words::labelled(theme, "where").text(about.spec).line());
    lines
}

/// A label, and a text that is wrapped behind it.
fn paragraph(theme: &Theme, label: &str, text: &str, width: u16) -> Vec<Line<'static>> {
    let room = usize::from(width).saturating_sub(MARGIN);
    wrap(text, room)
        .into_iter()
        .enumerate()
        .map(|(i, line)| {
            let label = if i == 0 { label } else { "" };
            Words::labelled(theme, label).text(line).line()
        })
        .collect()
}

/// A moment as time into the run.
fn at(app: &App, ns: u64) -> String {
    let first = app.snapshot.first.unwrap_or_default();
    format_duration(Timestamp::from_nanos(ns).nanos_since(first))
}

fn style_of(severity: Severity, theme: &Theme) -> Style {
    match severity {
        Severity::Error => theme.bad,
        Severity::Warning => theme.warn,
        Severity::Notice => theme.text,
    }
}
