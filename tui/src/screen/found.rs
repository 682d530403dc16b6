//! Queues that are there and of which there is no record: all of them while tracing begins,
//! and for a moment afterwards those on which nothing has happened.

use ratatui::text::Line;

use super::app::App;
use super::canvas::Canvas;
use super::feed::FoundQueue;
use super::overview::{named, ring, what};
use super::words::Words;

/// Rows of a queue, where there is room for more than one.
const ROWS: usize = 2;

/// What stands above the queues in place of what has been counted, while nothing is.
pub(super) fn heading(app: &App) -> Option<Vec<Line<'static>>> {
    if !app.is_starting() {
        return None;
    }
    let theme = &app.theme;
    let found = &app.status.found;
    let mut devices: Vec<u16> = found.iter().map(|queue| queue.id.device).collect();
    devices.dedup();
    let words = Words::labelled(theme, "found");
    let words = match found.len() {
        0 => words.dim("nothing yet"),
        _ => words
            .styled(counted(found.len(), devices.len()), theme.strong)
            .dim(", not traced yet"),
    };
    Some(vec![
        Words::labelled(theme, "records")
            .dim("none before all programs are attached")
            .line(),
        words.line(),
    ])
}

/// So many queues of so many devices.
pub(crate) fn counted(queues: usize, devices: usize) -> String {
    let plural = |count: usize, one: &str| match count {
        1 => format!("1 {one}"),
        _ => format!("{count} {one}s"),
    };
    format!(
        "{} of {}",
        plural(queues, "queue"),
        plural(devices, "device")
    )
}

/// Those of which the analysis knows nothing.
pub(super) fn waiting(app: &App) -> Vec<&FoundQueue> {
    let found = app.status.found.iter();
    found
        .filter(|queue| app.snapshot.queue(queue.id).is_none())
        .collect()
}

/// What is said where there is no queue.
pub(super) fn nothing(app: &App) -> &'static str {
    match app.is_starting() {
        true => "No queue has been found yet.",
        false => "No queue has been seen yet.",
    }
}

/// Rows that they take below queues that are shown already.
pub(super) fn height(found: &[&FoundQueue], most: u16) -> u16 {
    u16::try_from(found.len()).unwrap_or(u16::MAX).min(most / 2)
}

/// Draws them: with their state in a row below each if there is room for that.
pub(super) fn draw(canvas: &mut Canvas<'_>, app: &App, found: &[&FoundQueue]) {
    let theme = &app.theme;
    let height = usize::from(canvas.height());
    // With a blank row between two.
    let is_short = found.len() * (ROWS + 1) > height + 1;
    let state = match app.is_starting() {
        true => "not traced yet",
        false => "no record yet",
    };
    let rows = if is_short { 1 } else { ROWS + 1 };
    let fitting = height.div_ceil(rows);
    let first = app.found_scroll.min(found.len().saturating_sub(fitting));
    let mut lines = Vec::new();
    for queue in found.iter().skip(first).take(fitting) {
        let FoundQueue { name, facts, .. } = queue;
        let words = named(theme, " ", name).text(ring(facts));
        if is_short {
            let words = words.text(format!("  {} in flight", facts.in_flight));
            let words = words.styled(format!("  {state}"), theme.warn);
            lines.push(what(words, facts).line());
        } else {
            lines.push(what(words, facts).line());
            let words = Words::labelled(theme, "in flight")
                .text(facts.in_flight.to_string())
                .dim(" when it was looked at  ")
                .styled(format!("found, {state}"), theme.warn);
            lines.push(words.line());
            lines.push(Line::default());
        }
    }
    canvas.lines(&lines, 0);
    if fitting < found.len() {
        let text = format!(" {fitting} of {} queues shown ", found.len());
        let (width, last) = (canvas.width(), canvas.height().saturating_sub(1));
        canvas.text_before(width, last, &text, theme.selected);
    }
}
