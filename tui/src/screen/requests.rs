//! The requests, newest first, each with its life as a bar.

use std::sync::Arc;

use ratatui::layout::Rect;
use virtscope_analyzer::{Announcement, Incomplete, Life, Outcome, format_bytes, format_duration};
use virtscope_record::Timestamp;

use super::app::App;
use super::canvas::Canvas;
use super::request_list::HEADINGS;
use super::waterfall::{self, Part};
use super::words::Words;
use crate::fit::{columns, fit, fit_right};

/// Marks behind a request, with what they mean.
pub(super) const MARKS: [(&str, &str); 4] = [
    (
        "p",
        "polled: taken back without a callback that announced it",
    ),
    ("o", "overlap: the device had it before the kick decision"),
    (
        "r",
        "reordered: used while an earlier one was still in flight",
    ),
    ("!", "contradicts itself: see its details"),
];

/// From this width on, replies have a column of their own.
const WIDE: u16 = 120;

/// Where the columns of the list stand.
struct Columns {
    request: u16,
    reply: u16,
    latency: u16,
    marks: u16,
    bar: u16,
    end: u16,
}

impl Columns {
    fn of(width: u16) -> Self {
        let bar_width = width * 3 / 10;
        let bar = width.saturating_sub(bar_width + 1);
        let marks = bar.saturating_sub(5);
        let latency = marks.saturating_sub(10);
        let request = 10;
        let reply = if width >= WIDE {
            request + latency.saturating_sub(request) * 6 / 10
        } else {
            latency
        };
        Self {
            request,
            reply,
            latency,
            marks,
            bar,
            end: width.saturating_sub(1),
        }
    }
}

/// Draws the list.
pub(super) fn draw(canvas: &mut Canvas<'_>, app: &App) {
    let theme = &app.theme;
    let rows = app.requests.rows(&app.snapshot);
    let height = usize::from(canvas.height()).saturating_sub(HEADINGS);
    let first = app.requests.first_visible(&rows, height);
    let chosen = app.requests.position(&rows);
    let visible = rows.get(first..).unwrap_or_default();
    let visible = visible.get(..height.min(visible.len())).unwrap_or_default();
    let now = app.snapshot.now;
    let scale = scale_ns(visible, now);
    let at = Columns::of(canvas.width());
    legend(canvas);
    let listed = format!("request ({} {})", rows.len(), app.requests.filter.name());
    headings(canvas, &at, &listed, scale);
    if rows.is_empty() {
        let text = format!("No requests ({}).", app.requests.filter.name());
        canvas.text(1, 3, &text, theme.dim);
    }
    for (i, life) in visible.iter().enumerate() {
        let y = u16::try_from(HEADINGS + i).unwrap_or(u16::MAX);
        row(&mut canvas.rows(y, 1), &at, life, now, scale);
        if first + i == chosen {
            let to = at.bar.saturating_sub(1);
            canvas
                .part(Rect::new(0, y, to, 1))
                .restyle_row(0, theme.selected);
        }
    }
}

/// The slowest complete request visible; without one, the oldest in flight.
fn scale_ns(visible: &[Arc<Life>], now: Option<Timestamp>) -> u64 {
    let longest = |lives: &mut dyn Iterator<Item = &Arc<Life>>| {
        lives
            .filter_map(|life| waterfall::length_ns(life, now))
            .max()
    };
    longest(&mut visible.iter().filter(|life| life.phases().is_some()))
        .or_else(|| longest(&mut visible.iter()))
        .unwrap_or(0)
}

fn legend(canvas: &mut Canvas<'_>) {
    let theme = canvas.theme;
    let mut words = Words::new(theme).text(" ");
    for part in Part::ALL {
        words = words
            .styled(part.symbol(), part.style(theme))
            .dim(format!(" {}  ", part.name()));
    }
    canvas.line(0, 0, &words.line());
}

fn headings(canvas: &mut Canvas<'_>, at: &Columns, listed: &str, scale: u64) {
    let style = canvas.theme.heading;
    canvas.text(1, 1, "number", style);
    canvas.text(at.request, 1, listed, style);
    if at.reply < at.latency {
        canvas.text(at.reply, 1, "reply", style);
    }
    canvas.text_before(at.latency + 9, 1, "latency", style);
    canvas.text(at.bar, 1, "life", style);
    canvas.text_before(at.end, 1, &format_duration(scale), style);
}

fn row(canvas: &mut Canvas<'_>, at: &Columns, life: &Life, now: Option<Timestamp>, scale: u64) {
    let theme = canvas.theme;
    canvas.text(0, 0, &fit_right(&life.number.to_string(), 9), theme.dim);
    let error = life.error.map(|error| error.to_string());
    let is_wide = at.reply < at.latency;
    // A place stays free before what comes next.
    let room = usize::from((at.reply - at.request).saturating_sub(1));
    let narrow_error = error.as_deref().filter(|_| !is_wide);
    let room = room.saturating_sub(narrow_error.map_or(0, |text| usize::from(columns(text)) + 1));
    let x = canvas.text(at.request, 0, &fit(&summary(life), room), theme.text);
    if let Some(error) = narrow_error {
        canvas.text(x + 1, 0, error, theme.bad);
    }
    if is_wide {
        let room = usize::from(at.latency - at.reply - 1);
        let style = if error.is_some() {
            theme.bad
        } else {
            theme.dim
        };
        canvas.text(at.reply, 0, &fit(&reply_summary(life), room), style);
    }
    let latency = waterfall::length_ns(life, now).map_or_else(|| "–".to_owned(), format_duration);
    let style = match life.outcome {
        Outcome::InFlight => theme.warn,
        Outcome::Complete(_) => theme.text,
        Outcome::Incomplete(_) => theme.bad,
    };
    canvas.text_before(at.latency + 9, 0, &latency, style);
    canvas.text(at.marks, 0, &marks(life), theme.warn);
    let mut bar = canvas.part(Rect::new(at.bar, 0, at.end - at.bar, 1));
    match life.outcome {
        Outcome::Incomplete(why) => {
            let text = incomplete_text(why, bar.width());
            bar.text(0, 0, &text, theme.bad);
        }
        Outcome::InFlight | Outcome::Complete(_) => {
            waterfall::draw(&mut bar, &waterfall::parts(life, now), scale);
        }
    }
}

/// As much of the reason as there is room for.
fn incomplete_text(why: Incomplete, width: u16) -> String {
    let long = format!("incomplete: {}", why.explain());
    if columns(&long) <= width {
        long
    } else {
        fit(&format!("✗ {}", why.explain()), width.into())
    }
}

fn marks(life: &Life) -> String {
    let polled = life
        .phases()
        .is_some_and(|phases| phases.announcement == Announcement::Polled);
    let held = [
        polled,
        life.overlap_ns > 0,
        life.out_of_order,
        !life.anomalies.is_empty(),
    ];
    MARKS
        .iter()
        .zip(held)
        .map(|((mark, _), holds)| if holds { mark } else { " " })
        .collect()
}

/// What a request asks, in one line.
pub(super) fn summary(life: &Life) -> String {
    let shape = &life.shape;
    match life.describe_request() {
        Some(text) => text,
        None => format!(
            "{} {} to the device, room for {} back",
            life.operation.name(),
            format_bytes(shape.readable_bytes.into()),
            format_bytes(shape.writable_bytes.into())
        ),
    }
}

/// What came back, in one line.
fn reply_summary(life: &Life) -> String {
    match (life.describe_reply(), life.used_length) {
        (Some(text), _) => text,
        (None, Some(length)) => format!("{} written", format_bytes(length.into())),
        (None, None) => String::new(),
    }
}
