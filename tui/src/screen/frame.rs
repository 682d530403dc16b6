//! What stands around every screen: tabs, state, keys.

use ratatui::buffer::Buffer;
use ratatui::layout::{Rect, Size};
use virtscope_analyzer::{FilterView, format_duration};

use super::app::{App, View};
use super::canvas::Canvas;
use super::feed::Mode;
use super::keys::{BINDINGS, Command};
use super::number::exact;
use super::words::Words;
use super::{detail, findings, help, operations, overview, prompt, requests, ring};
use crate::fit::{columns, fit, fit_end, harmless};

/// The smallest terminal that the screens are drawn on.
pub(super) const SMALLEST: Size = Size::new(60, 15);

/// Rows above and below the body.
const HEADER: u16 = 2;
const FOOTER: u16 = 1;

/// Where the body of a screen stands on a terminal of `size`.
pub(super) fn body_of(size: Size) -> Rect {
    let height = size.height.saturating_sub(HEADER + FOOTER);
    Rect::new(0, HEADER, size.width, height)
}

/// Draws what `app` shows over all of `buffer`.
pub(crate) fn draw(app: &App, buffer: &mut Buffer) {
    let mut canvas = Canvas::new(buffer, &app.theme);
    let size = Size::new(canvas.width(), canvas.height());
    if size.width < SMALLEST.width || size.height < SMALLEST.height {
        too_small(&mut canvas, size);
        return;
    }
    tabs(&mut canvas.rows(0, 1), app);
    state(&mut canvas.rows(1, 1), app);
    if app.prompt.is_none() {
        keys(&mut canvas.rows(size.height - FOOTER, FOOTER), app);
    }
    let mut body = canvas.part(body_of(size));
    match app.view {
        View::Overview => overview::draw(&mut body, app),
        View::Requests => requests::draw(&mut body, app),
        View::Detail => detail::draw(&mut body, app),
        View::Ring => ring::draw(&mut body, app),
        View::Operations => operations::draw(&mut body, app),
        View::Findings => findings::draw(&mut body, app),
    }
    if let Some(scroll) = app.help {
        help::draw(&mut body, app, scroll);
    }
    if let Some(prompt) = &app.prompt {
        if let Some(scroll) = prompt.fields {
            body.clear();
            let lines = help::fields(&app.theme, usize::from(body.width()));
            let height = body.height().saturating_sub(prompt::HEIGHT - FOOTER);
            body.rows(0, height).lines_or_more(&lines, scroll);
        }
        let top = size.height.saturating_sub(prompt::HEIGHT);
        prompt.draw(&mut canvas.rows(top, prompt::HEIGHT));
    }
}

fn too_small(canvas: &mut Canvas<'_>, size: Size) {
    let need = format!(
        "{}x{} is too small: {}x{} needed, q quits",
        size.width, size.height, SMALLEST.width, SMALLEST.height
    );
    let short = format!("{}x{} needed", SMALLEST.width, SMALLEST.height);
    let text = if columns(&need) <= size.width {
        need
    } else {
        short
    };
    let style = canvas.theme.warn;
    canvas.text(0, size.height / 2, &text, style);
}

/// The tabs, and what is shown. Where both do not fit, the tabs that are not chosen
/// are called by less.
fn tabs(canvas: &mut Canvas<'_>, app: &App) {
    let theme = &app.theme;
    let width = canvas.width();
    let title = &app.status.title;
    let names = |is_short: bool| {
        View::TABS.into_iter().enumerate().map(move |(tab, view)| {
            let is_chosen = app.view.tab() == tab;
            let name = match is_short && !is_chosen {
                true => view.short_name(),
                false => view.name(),
            };
            (format!(" {} {name} ", tab + 1), is_chosen)
        })
    };
    let wide: u16 = names(false).map(|(name, _)| columns(&name) + 1).sum();
    let brand = " virtscope ";
    let is_short = columns(brand) + wide + columns(title) + 3 > width;
    let mut x = canvas.text(0, 0, brand, theme.strong);
    for (name, is_chosen) in names(is_short) {
        let style = if is_chosen {
            theme.selected
        } else {
            theme.text
        };
        x = canvas.text(x + 1, 0, &name, style);
    }
    let room = width.saturating_sub(x + 2);
    let end = width.saturating_sub(1);
    canvas.text_before(end, 0, &fit_end(title, room.into()), theme.dim);
}

fn state(canvas: &mut Canvas<'_>, app: &App) {
    let theme = &app.theme;
    let elapsed = format_duration(app.snapshot.elapsed_ns());
    let words = Words::new(theme).text(" ");
    let words = match app.status.mode {
        Mode::Live | Mode::Stream { ended: false, .. } if app.frozen => words
            .styled("PAUSED", theme.warn)
            .dim(format!(" at {elapsed}; the run goes on")),
        Mode::Stream {
            what, ended: true, ..
        } => words
            .styled("END", theme.warn)
            .text(format!(" after {elapsed}"))
            .dim(format!("  {}", what.to_lowercase())),
        Mode::Stream { what, silence, .. } => words
            .styled(what, theme.good)
            .text(format!(" {elapsed}"))
            .when(silence, |words, silence| {
                let text = format!("  nothing has come for {} s", silence.as_secs());
                words.styled(text, theme.warn)
            }),
        Mode::Starting(starting) => words
            .styled("STARTING", theme.warn)
            .text(format!(" {starting}")),
        Mode::Live if app.status.finished => words
            .styled("ENDED", theme.warn)
            .text(format!(" after {elapsed}")),
        Mode::Live => words.styled("LIVE", theme.good).text(format!(" {elapsed}")),
        Mode::Replay {
            position_ns,
            length_ns,
            speed,
            paused,
            ended,
        } => {
            let words = match (ended, paused) {
                (true, _) => words.styled("END", theme.warn),
                (false, true) => words.styled("PAUSED", theme.warn),
                (false, false) => words.styled("REPLAY", theme.good),
            };
            words
                .text(format!(" {}", format_duration(position_ns)))
                .when(length_ns, |words, length| {
                    words.text(format!(" of {}", format_duration(length)))
                })
                .when((!ended).then_some(speed), |words, speed| {
                    words.dim(format!("  speed ×{speed}"))
                })
        }
    };
    let records = &app.snapshot.records;
    let lost = (records.lost > 0).then_some(records.lost);
    let missed = (records.missed > 0).then_some(records.missed);
    let line = words
        .when(lost, |words, lost| {
            words
                .text("  ")
                .styled(format!(" {} RECORDS LOST ", exact(lost)), theme.loss)
        })
        .when(missed, |words, missed| {
            words
                .text("  ")
                .styled(format!(" {} MISSED ", exact(missed)), theme.loss)
        })
        .when(app.snapshot.filter.as_ref(), |words, filter| {
            filtered(words, app, filter, usize::from(canvas.width()))
        })
        .when(app.status.message.as_ref(), |words, message| {
            words.text("  ").styled(message.clone(), theme.warn)
        })
        .when(app.status.capture.as_ref(), |words, capture| {
            words.text("  ").dim(capture.clone())
        })
        .line();
    canvas.line(0, 0, &line);
}

/// That only some requests are shown, and which, how many, and from when on.
fn filtered<'a>(words: Words<'a>, app: &App, filter: &FilterView, width: usize) -> Words<'a> {
    let theme = words.theme;
    let text = harmless(&filter.text);
    let most = (width / 3).max(16);
    let text = fit(&text, usize::from(columns(&text)).min(most));
    let since = filter.since.zip(app.snapshot.first);
    let since = since.map(|(since, first)| format_duration(since.nanos_since(first)));
    let asked = filter.matching + filter.others + filter.unknown + filter.failed;
    words
        .text("  ")
        .styled(" FILTER ", theme.selected)
        .text(format!(
            " {} of {} match",
            exact(filter.matching),
            exact(asked)
        ))
        .when(since, |words, since| words.dim(format!(" since {since}")))
        .text(format!(": {text}"))
}

/// As many keys as fit; how to get help and how to quit are always among them.
fn keys(canvas: &mut Canvas<'_>, app: &App) {
    let theme = &app.theme;
    let shown = BINDINGS
        .iter()
        .filter(|binding| !binding.hint.is_empty() && binding.applies(app.view, app.is_replay()))
        // What has not begun cannot stand still.
        .filter(|binding| binding.command != Command::Pause || !app.is_starting());
    let (last, first): (Vec<_>, Vec<_>) =
        shown.partition(|binding| matches!(binding.command, Command::Help | Command::Quit));
    let width = |label: &str, hint: &str| columns(label) + columns(hint) + 3;
    let kept: u16 = last.iter().map(|b| width(b.label, b.hint)).sum();
    let mut x = 1;
    for binding in first {
        if x + width(binding.label, binding.hint) + kept > canvas.width() {
            break;
        }
        x = canvas.text(x, 0, binding.label, theme.key);
        x = canvas.text(x + 1, 0, binding.hint, theme.dim) + 2;
    }
    for binding in last {
        x = canvas.text(x, 0, binding.label, theme.key);
        x = canvas.text(x + 1, 0, binding.hint, theme.dim) + 2;
    }
}
