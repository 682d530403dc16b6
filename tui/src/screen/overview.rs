//! The queues: how full, how fast, how well.

use ratatui::text::Line;
use ratatui::widgets::Sparkline;
use virtscope_analyzer::{
    Facts, HistoryBucket, Note, QueueView, device_type, format_bytes, format_duration,
};
use virtscope_record::FeatureBits;

use super::app::App;
use super::canvas::Canvas;
use super::number::{cells, exact, rate, share, short};
use super::theme::Theme;
use super::words::Words;
use super::{findings, found, operations};
use crate::fit::wrap;

/// Rows of a queue beside its history.
const QUEUE_ROWS: usize = 7;
/// Rows of a queue that is shortened.
const SHORT_ROWS: usize = 5;
/// Most rows a history is drawn with.
const HISTORY_ROWS: usize = 10;
/// Columns left and right of a bar or a history.
const LEFT: u16 = 11;

/// Draws the overview.
pub(super) fn draw(canvas: &mut Canvas<'_>, app: &App) {
    let snapshot = &*app.snapshot;
    let top = match found::heading(app) {
        Some(heading) => heading,
        None => top(canvas, app),
    };
    canvas.lines(&top, 0);
    let above = u16::try_from(top.len() + 1).unwrap_or(u16::MAX);
    let below = canvas.height().saturating_sub(above);
    let mut body = canvas.rows(above, below);
    let found = found::waiting(app);
    match (snapshot.queues.is_empty(), found.is_empty()) {
        (true, true) => {
            body.text(1, 0, found::nothing(app), app.theme.dim);
        }
        (true, false) => found::draw(&mut body, app, &found),
        (false, true) => queues(&mut body, app),
        (false, false) => {
            let height = found::height(&found, body.height());
            let above = body.height().saturating_sub(height);
            queues(&mut body.rows(0, above), app);
            found::draw(&mut body.rows(above, height), app, &found);
        }
    }
}

/// Totals and notes.
fn top(canvas: &Canvas<'_>, app: &App) -> Vec<Line<'static>> {
    let (theme, snapshot) = (&app.theme, &*app.snapshot);
    let loud = |count: u64| if count > 0 { theme.loss } else { theme.text };
    let records = snapshot.records;
    let requests = snapshot.requests;
    let mut lines = vec![
        Words::labelled(theme, "records")
            .styled(exact(records.emitted), theme.strong)
            .dim(" emitted = ")
            .text(exact(records.stored))
            .dim(" stored + ")
            .styled(exact(records.lost), loud(records.lost))
            .dim(" lost + ")
            .text(exact(records.filtered))
            .dim(" filtered; ")
            .styled(exact(records.missed), loud(records.missed))
            .dim(" missed")
            .line(),
        Words::labelled(theme, "requests")
            .styled(exact(requests.completed), theme.strong)
            .dim(" completed, ")
            .styled(
                exact(requests.incomplete),
                if requests.incomplete > 0 {
                    theme.bad
                } else {
                    theme.text
                },
            )
            .dim(" incomplete, ")
            .text(exact(requests.in_flight))
            .dim(" in flight")
            .line(),
    ];
    lines.extend(findings::summary(app));
    notes(&mut lines, canvas, &snapshot.notes);
    lines
}

/// As many notes as there is room for, and how many more there are.
fn notes(lines: &mut Vec<Line<'static>>, canvas: &Canvas<'_>, notes: &[Note]) {
    let theme = canvas.theme;
    let width = usize::from(canvas.width().saturating_sub(LEFT + 1));
    let room = usize::from(canvas.height() / 4);
    let mut shown = 0;
    let mut used = 0;
    for note in notes {
        let text = wrap(&note.text, width);
        let last = shown + 1 == notes.len();
        if used + text.len() + usize::from(!last) > room && shown > 0 {
            break;
        }
        used += text.len();
        shown += 1;
        for (i, part) in text.into_iter().enumerate() {
            let label = if i == 0 { "note" } else { "" };
            let words = Words::labelled(theme, label);
            lines.push(words.styled(part, theme.warn).line());
        }
    }
    let hidden = notes.len() - shown;
    if hidden > 0 {
        let words = Words::labelled(theme, "");
        let text = format!("and {hidden} more: they stand in the report");
        lines.push(words.styled(text, theme.warn).line());
    }
}

/// The queues that fit, the chosen one among them, shortened if that shows more
/// of them. What room is left goes to their history and to the operations.
fn queues(canvas: &mut Canvas<'_>, app: &App) {
    let queues = &app.snapshot.queues;
    let height = usize::from(canvas.height());
    // Each has a blank row below it, the last one need not.
    let fitting = |rows: usize| (height + 1) / (rows + 1);
    let is_short = fitting(QUEUE_ROWS + 1) < queues.len();
    let rows = if is_short { SHORT_ROWS } else { QUEUE_ROWS + 1 };
    let fitting = fitting(rows).clamp(1, queues.len());
    let chosen = app.chosen_queue().map(|queue| queue.id);
    let at = queues.iter().position(|queue| Some(queue.id) == chosen);
    let first = (at.unwrap_or(0) + 1).saturating_sub(fitting);
    let spare = (height + 1).saturating_sub(fitting * (rows + 1));
    let taller = if is_short { 0 } else { spare / (2 * fitting) };
    let rows = to_u16(rows + taller.min(HISTORY_ROWS - 1));
    let mut y = 0;
    for queue in queues.iter().skip(first).take(fitting) {
        let is_chosen = queues.len() > 1 && Some(queue.id) == chosen;
        draw_queue(&mut canvas.rows(y, rows), app, queue, is_chosen, is_short);
        y = y.saturating_add(rows + 1);
    }
    let left = canvas.height().saturating_sub(y);
    if fitting < queues.len() {
        let text = format!(" {fitting} of {} queues shown ", queues.len());
        let (width, last) = (canvas.width(), canvas.height().saturating_sub(1));
        canvas.text_before(width, last, &text, app.theme.selected);
    } else if left >= 4 {
        operations::summary(&mut canvas.rows(y, left), app);
    }
}

fn to_u16(rows: usize) -> u16 {
    u16::try_from(rows).unwrap_or(u16::MAX)
}

fn draw_queue(
    canvas: &mut Canvas<'_>,
    app: &App,
    queue: &QueueView,
    is_chosen: bool,
    is_short: bool,
) {
    let theme = &app.theme;
    canvas.line(0, 0, &title(theme, queue, is_chosen));
    occupancy(&mut canvas.rows(1, 1), queue);
    let mut lines = vec![
        rates(theme, queue),
        notifications(theme, queue, is_short),
        latency(theme, queue),
    ];
    let mut below = 2;
    if !is_short {
        lines.extend([phases(theme, queue), totals(theme, queue)]);
        let rows = canvas.height().saturating_sub(to_u16(QUEUE_ROWS));
        history(&mut canvas.rows(below, rows), queue);
        below += rows;
    }
    let height = canvas.height().saturating_sub(below);
    canvas.rows(below, height).lines(&lines, 0);
}

fn title(theme: &Theme, queue: &QueueView, is_chosen: bool) -> Line<'static> {
    let mark = if is_chosen { "▸" } else { " " };
    let words = named(theme, mark, &queue.name);
    match &queue.facts {
        Some(facts) => what(words.text(ring(facts)), facts).line(),
        None => words.dim("its facts were not seen").line(),
    }
}

/// A queue's name, behind a mark.
pub(super) fn named<'a>(theme: &'a Theme, mark: &str, name: &str) -> Words<'a> {
    Words::new(theme)
        .styled(mark, theme.key)
        .styled(name, theme.heading)
        .text("  ")
}

/// A queue's ring, in two words.
pub(super) fn ring(facts: &Facts) -> String {
    format!("{} {}", facts.layout, facts.size)
}

/// What else is known of a queue.
pub(super) fn what<'a>(words: Words<'a>, facts: &Facts) -> Words<'a> {
    let mut words = words.dim(format!("  {}", short_type(facts.device_type.into())));
    for (feature, name) in [
        (FeatureBits::EVENT_IDX, "EVENT_IDX"),
        (FeatureBits::INDIRECT_DESC, "INDIRECT_DESC"),
    ] {
        if facts.features.contains(feature) {
            words = words.dim(format!("  {name}"));
        }
    }
    for (key, value) in &facts.properties {
        words = words.dim(format!("  {key}={value}"));
    }
    words
}

/// What a device is, without the words that say only that it is one.
fn short_type(number: u32) -> String {
    let name = device_type(number);
    let short = name.strip_suffix(" device");
    let short = short.or_else(|| name.strip_suffix(" transport"));
    short.unwrap_or(&name).to_owned()
}

/// Descriptors in use, as a bar with the peak marked.
fn occupancy(canvas: &mut Canvas<'_>, queue: &QueueView) {
    let theme = canvas.theme;
    canvas.text(1, 0, "in use", theme.dim);
    let view = &queue.occupancy;
    let Some(size) = view.size.filter(|size| *size > 0) else {
        let text = format!(
            "{} buffers in flight, peak {}; the ring's size is not known",
            view.in_flight.now, view.in_flight.peak
        );
        canvas.text(LEFT, 0, &text, theme.text);
        return;
    };
    let level = view.descriptors;
    let full = share(view.full_ns as f64, view.observed_ns as f64);
    let figures = format!(
        " {}/{size}  peak {}  mean {:.1}  full {full}",
        level.now, level.peak, level.mean
    );
    let bar = canvas.width().saturating_sub(LEFT + 42).min(100);
    let filled = cells(level.now.into(), size.into(), bar.into());
    let peak = cells(level.peak.into(), size.into(), bar.into());
    let style = match level.now {
        now if now >= u32::from(size) => theme.bad,
        now if now * 4 >= u32::from(size) * 3 => theme.warn,
        _ => theme.good,
    };
    let mut x = LEFT;
    for cell in 0..usize::from(bar) {
        let (symbol, style) = match cell {
            cell if cell < filled => ("█", style),
            cell if cell + 1 == peak => ("│", theme.strong),
            _ => ("·", theme.dim),
        };
        x = canvas.text(x, 0, symbol, style);
    }
    canvas.text(x, 0, &figures, theme.text);
}

/// The most descriptors in use (without a known size: buffers in flight), from
/// the start of the run on the left to now on the right.
fn history(canvas: &mut Canvas<'_>, queue: &QueueView) {
    let theme = canvas.theme;
    let view = &queue.occupancy;
    canvas.text(1, 0, "history", theme.dim);
    let span = view
        .history
        .bucket_ns
        .saturating_mul(view.history.buckets.len() as u64);
    if canvas.height() > 1 {
        canvas.text(1, 1, &format_duration(span), theme.dim);
    }
    let width = canvas.width().saturating_sub(LEFT + 1);
    let peak_of = |bucket: &HistoryBucket| match view.size {
        Some(_) => bucket.peak_descriptors,
        None => bucket.peak_in_flight,
    };
    let peaks: Vec<u32> = view.history.buckets.iter().map(peak_of).collect();
    let bars = resample(&peaks, width.into());
    let highest = view.size.map_or(view.in_flight.peak, u32::from);
    let height = canvas.height();
    canvas
        .part(ratatui::layout::Rect::new(LEFT, 0, width, height))
        .widget(
            Sparkline::default()
                .data(bars)
                .max(u64::from(highest.max(1)))
                .style(theme.service),
        );
}

/// The peaks of `width` equal stretches; a shorter series keeps its values.
fn resample(peaks: &[u32], width: usize) -> Vec<u64> {
    if peaks.len() <= width {
        return peaks.iter().map(|peak| u64::from(*peak)).collect();
    }
    (0..width)
        .map(|i| {
            let from = i * peaks.len() / width;
            let to = ((i + 1) * peaks.len() / width).max(from + 1);
            let stretch = peaks.get(from..to).unwrap_or_default();
            u64::from(stretch.iter().copied().max().unwrap_or(0))
        })
        .collect()
}

fn rates(theme: &Theme, queue: &QueueView) -> Line<'static> {
    let rates = &queue.rates;
    Words::labelled(theme, "rates")
        .item("adds", rate(rates.adds))
        .item("done", rate(rates.completions))
        .item("data", format!("{}/s", format_bytes(rates.bytes as u64)))
        .when(queue.counts.buffers_per_notification(), |words, ratio| {
            words.item("adds a kick", short(ratio))
        })
        .line()
}

/// Where there is no room for a line of its own, who waits for the ring stands here.
fn notifications(theme: &Theme, queue: &QueueView, is_short: bool) -> Line<'static> {
    let rates = &queue.rates;
    let words = Words::labelled(theme, "notify")
        .item("kicks sent", rate(rates.kicks_sent))
        .item("suppressed", rate(rates.kicks_suppressed))
        .item("callbacks", rate(rates.callbacks));
    let w = &queue.waits;
    let is_said = is_short && w.count + w.unknown + w.waiting > 0;
    if is_said { waits(words, queue) } else { words }.line()
}

/// Waits for room in the ring, and how long the longest was or who waits now.
fn waits<'a>(words: Words<'a>, queue: &QueueView) -> Words<'a> {
    let waits = &queue.waits;
    let many = short((waits.count + waits.unknown + waits.waiting) as f64);
    match (waits.waiting, waits.longest_ns) {
        (0, 0) => words.item("waits", many),
        (0, longest) => words.item("waits", format!("{many}, max {}", format_duration(longest))),
        (now, _) => {
            let style = words.theme.warn;
            words.item_styled("waits", format!("{many}, {now} now"), style)
        }
    }
}

fn latency(theme: &Theme, queue: &QueueView) -> Line<'static> {
    let total = &queue.latency.total;
    let words = Words::labelled(theme, "latency");
    let bad = if queue.errors > 0 {
        theme.bad
    } else {
        theme.text
    };
    if total.count == 0 {
        return words
            .dim("nothing has completed yet  ")
            .item_styled("errors", exact(queue.errors), bad)
            .line();
    }
    words
        .item_styled("p50", format_duration(total.p50), theme.strong)
        .item("p90", format_duration(total.p90))
        .item_styled("p99", format_duration(total.p99), theme.strong)
        .item("max", format_duration(total.max))
        .item_styled("errors", exact(queue.errors), bad)
        .line()
}

fn phases(theme: &Theme, queue: &QueueView) -> Line<'static> {
    let latency = &queue.latency;
    let words = Words::labelled(theme, "phase p50");
    if latency.total.count == 0 {
        return words.dim("–").line();
    }
    let service = (latency.service.count > 0).then_some(latency.service.p50);
    words
        .item("queued", format_duration(latency.queued.p50))
        .item("device", format_duration(latency.device.p50))
        .when(service, |words, ns| {
            words.item("(service", format!("{})", format_duration(ns)))
        })
        .item("harvest", format_duration(latency.harvest.p50))
        .line()
}

fn totals(theme: &Theme, queue: &QueueView) -> Line<'static> {
    let counts = &queue.counts;
    let words = Words::labelled(theme, "totals")
        .item("done", short(queue.requests.completed as f64))
        .item("incomplete", exact(queue.requests.incomplete))
        .item("reordered", short(counts.out_of_order as f64))
        .item("polled", short(counts.polled as f64));
    waits(words, queue).line()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_peak_is_lost_when_a_history_is_squeezed() {
        assert_eq!(resample(&[1, 2, 3], 10), [1, 2, 3]);
        assert_eq!(resample(&[1, 9, 3, 4, 5, 8, 0], 3), [9, 4, 8]);
        assert_eq!(resample(&[1, 2], 0), [0; 0]);
    }
}
