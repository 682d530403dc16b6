//! The operations: how many, how long, how much of the time.

use ratatui::layout::Rect;
use ratatui::text::Line;
use virtscope_analyzer::{OperationView, Percentiles, format_bytes, format_duration};

use super::app::App;
use super::canvas::Canvas;
use super::number::{cells, exact, share, short};
use super::words::Words;
use crate::fit::{fit, fit_right};

/// Rows below the table, about the chosen operation.
const DETAIL_ROWS: u16 = 7;

/// What stands left of the bar: name, columns, and what is first if it is sorted by.
const COLUMNS: [(&str, usize, SortBy); 8] = [
    ("operation", 11, SortBy::Name),
    ("done", 7, SortBy::Done),
    ("errors", 8, SortBy::Errors),
    ("data", 9, SortBy::Data),
    ("p50", 8, SortBy::P50),
    ("p90", 8, SortBy::P90),
    ("p99", 8, SortBy::P99),
    ("max", 8, SortBy::Max),
];

/// What the operations are sorted by: the largest first, names from A on.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) enum SortBy {
    /// Time in all requests, added up.
    #[default]
    Time,
    Name,
    Done,
    Errors,
    Data,
    P50,
    P90,
    P99,
    Max,
}

/// The order of the operations.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Order {
    by: SortBy,
    is_reversed: bool,
}

impl Order {
    /// By the next column to the right.
    pub(super) fn next(&mut self) {
        let at = COLUMNS.iter().position(|(_, _, by)| *by == self.by);
        let next = at.map_or(0, |at| at + 1);
        *self = Self {
            by: COLUMNS.get(next).map_or(SortBy::Time, |(_, _, by)| *by),
            is_reversed: false,
        };
    }

    /// The other way round.
    pub(super) fn reverse(&mut self) {
        self.is_reversed = !self.is_reversed;
    }

    /// `rows` in this order; those that are equal go by name.
    pub(super) fn sorted(self, rows: &[OperationView]) -> Vec<&OperationView> {
        let key = |row: &OperationView| match self.by {
            SortBy::Name => 0.0,
            SortBy::Time => time_of(row),
            SortBy::Done => row.completed as f64,
            SortBy::Errors => row.errors as f64,
            SortBy::Data => row.data_bytes as f64,
            SortBy::P50 => row.latency.total.p50 as f64,
            SortBy::P90 => row.latency.total.p90 as f64,
            SortBy::P99 => row.latency.total.p99 as f64,
            SortBy::Max => row.latency.total.max as f64,
        };
        let mut rows: Vec<_> = rows.iter().collect();
        rows.sort_by(|a, b| {
            let names = a.operation.name().cmp(b.operation.name());
            let order = key(b).total_cmp(&key(a)).then(names);
            let order = order.then(a.operation.cmp(&b.operation));
            if self.is_reversed {
                order.reverse()
            } else {
                order
            }
        });
        rows
    }

    /// `name` of a column with the direction in which it is sorted, if it is by it.
    fn heading(self, name: &str, by: SortBy) -> String {
        let falls = (by != SortBy::Name) != self.is_reversed;
        match (self.by == by, falls) {
            (false, _) => name.to_owned(),
            (true, true) => format!("{name}▼"),
            (true, false) => format!("{name}▲"),
        }
    }
}

/// Columns of a phase of the chosen operation.
const PHASE: usize = 11;
/// Columns of the share of time as a number.
const SHARE: usize = 9;
/// A bar shorter than this says nothing.
const LEAST_BAR: u16 = 4;
/// From this width of what is left on, the spread of latencies is drawn too.
const SPREAD_FROM: u16 = 50;

/// Draws the table and what is known of the chosen operation.
pub(super) fn draw(canvas: &mut Canvas<'_>, app: &App) {
    let rows = app.order.sorted(&app.snapshot.operations);
    let chosen = app.operation_row();
    let height = canvas.height().saturating_sub(DETAIL_ROWS);
    table(&mut canvas.rows(0, height), &rows, app.order, Some(chosen));
    if let Some(row) = rows.get(chosen) {
        let lines = chosen_lines(app, row);
        canvas.rows(height, DETAIL_ROWS).lines(&lines, 0);
    }
}

/// The operations that take most of the time, for the overview.
pub(super) fn summary(canvas: &mut Canvas<'_>, app: &App) {
    let order = Order::default();
    table(canvas, &order.sorted(&app.snapshot.operations), order, None);
}

/// Time in all its completed requests, added up.
fn time_of(row: &OperationView) -> f64 {
    if row.latency.total.count == 0 {
        return 0.0;
    }
    row.completed as f64 * row.latency.total.mean
}

fn table(canvas: &mut Canvas<'_>, rows: &[&OperationView], order: Order, chosen: Option<usize>) {
    let theme = canvas.theme;
    if rows.is_empty() {
        canvas.text(1, 0, "No operation has been seen yet.", theme.dim);
        return;
    }
    let mut heading = String::from(" ");
    for (i, (name, width, by)) in COLUMNS.into_iter().enumerate() {
        let name = order.heading(name, by);
        heading.push_str(&if i == 0 {
            fit(&name, width)
        } else {
            fit_right(&name, width)
        });
    }
    let name = order.heading("of time", SortBy::Time);
    heading.push_str(&fit_right(&name, SHARE));
    let right = canvas.text(0, 0, &heading, theme.heading) + 1;
    let left = canvas.width().saturating_sub(right + 1);
    let left = if left < LEAST_BAR { 0 } else { left };
    let (bar, spread) = if left >= SPREAD_FROM {
        (left / 3, left - left / 3 - 1)
    } else {
        (left, 0)
    };
    let (fastest, slowest) = range(rows);
    if spread > 0 {
        let label = format!(
            "min-p50-p99-max, {} to {}",
            format_duration(fastest),
            format_duration(slowest)
        );
        canvas.text(right + bar + 1, 0, &label, theme.heading);
    }
    let whole: f64 = rows.iter().map(|row| time_of(row)).sum();
    let height = usize::from(canvas.height()).saturating_sub(1);
    let first = (chosen.unwrap_or(0) + 1).saturating_sub(height);
    for (i, row) in rows.iter().enumerate().skip(first).take(height) {
        let y = u16::try_from(1 + i - first).unwrap_or(u16::MAX);
        let mut line = canvas.rows(y, 1);
        cells_of(&mut line, row, whole);
        if chosen == Some(i) {
            line.part(Rect::new(0, 0, right - 1, 1))
                .restyle_row(0, theme.selected);
        }
        let filled = cells(time_of(row), whole, bar.into());
        line.text(right, 0, &"█".repeat(filled), theme.service);
        draw_spread(
            &mut line.part(Rect::new(right + bar + 1, 0, spread, 1)),
            &row.latency.total,
            fastest,
            slowest,
        );
    }
}

fn cells_of(canvas: &mut Canvas<'_>, row: &OperationView, whole: f64) {
    let theme = canvas.theme;
    let total = &row.latency.total;
    let values = [
        row.operation.name().to_owned(),
        short(row.completed as f64),
        short(row.errors as f64),
        format_bytes(row.data_bytes),
        duration(total, total.p50),
        duration(total, total.p90),
        duration(total, total.p99),
        duration(total, total.max),
    ];
    let mut x = 1;
    for (i, (value, (name, width, _))) in values.iter().zip(COLUMNS).enumerate() {
        let style = match name {
            "operation" => theme.strong,
            "errors" if row.errors > 0 => theme.bad,
            _ => theme.text,
        };
        let text = if i == 0 {
            fit(value, width)
        } else {
            fit_right(value, width)
        };
        x = canvas.text(x, 0, &text, style);
    }
    canvas.text(
        x,
        0,
        &fit_right(&share(time_of(row), whole), SHARE),
        theme.text,
    );
}

/// The fastest and the slowest request of all rows, ns.
fn range(rows: &[&OperationView]) -> (u64, u64) {
    let totals = || {
        rows.iter()
            .map(|row| &row.latency.total)
            .filter(|total| total.count > 0)
    };
    let fastest = totals().map(|total| total.min).min().unwrap_or(0);
    let slowest = totals().map(|total| total.max).max().unwrap_or(0);
    (fastest, slowest)
}

/// A distribution on a logarithmic scale.
fn draw_spread(canvas: &mut Canvas<'_>, of: &Percentiles, fastest: u64, slowest: u64) {
    let width = canvas.width();
    if of.count == 0 || width == 0 {
        return;
    }
    let log = |ns: u64| (ns.max(1) as f64).ln();
    let whole = (log(slowest) - log(fastest)).max(f64::MIN_POSITIVE);
    let place = |ns: u64| {
        let at = (log(ns) - log(fastest)) / whole * f64::from(width - 1);
        at.round().clamp(0.0, f64::from(width - 1)) as u16
    };
    let theme = canvas.theme;
    let (min, p50, p99, max) = (place(of.min), place(of.p50), place(of.p99), place(of.max));
    for x in min..=max {
        let symbol = if (p50..=p99).contains(&x) {
            "━"
        } else {
            "─"
        };
        canvas.text(x, 0, symbol, theme.dim);
    }
    canvas.text(p99, 0, "┫", theme.warn);
    canvas.text(p50, 0, "█", theme.service);
}

fn chosen_lines(app: &App, row: &OperationView) -> Vec<Line<'static>> {
    let theme = &app.theme;
    let latency = &row.latency;
    let mut errors = Words::labelled(theme, "errors");
    for (errno, count) in &row.errors_by_errno {
        errors = errors.item_styled(&errno.to_string(), exact(*count), theme.bad);
    }
    if row.errors_by_errno.is_empty() {
        errors = errors.text("none");
    }
    let mut lines = vec![
        Line::default(),
        Words::labelled(theme, row.operation.name())
            .item("completed", exact(row.completed))
            .item("incomplete", exact(row.incomplete))
            .item("data", format_bytes(row.data_bytes))
            .line(),
        errors.line(),
    ];
    let phases = [
        ("total", &latency.total),
        ("queued", &latency.queued),
        ("device", &latency.device),
        ("(service)", &latency.service),
        ("harvest", &latency.harvest),
    ];
    let mut heading = Words::labelled(theme, "");
    for (name, _) in phases {
        heading = heading.dim(fit_right(name, PHASE));
    }
    lines.push(heading.line());
    for (label, pick) in [("p50", P50), ("p99", P99)] {
        let mut words = Words::labelled(theme, label);
        for (_, of) in phases {
            words = words.text(fit_right(&duration(of, pick(of)), PHASE));
        }
        lines.push(words.line());
    }
    lines
}

/// Of a distribution; a dash if there is nothing in it.
fn duration(of: &Percentiles, ns: u64) -> String {
    if of.count == 0 {
        "–".to_owned()
    } else {
        format_duration(ns)
    }
}

/// Which percentile a line is about.
type Pick = fn(&Percentiles) -> u64;
const P50: Pick = |of| of.p50;
const P99: Pick = |of| of.p99;
